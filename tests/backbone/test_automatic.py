"""Which kernel computes a window. That both compute the same is tested beside them.

Legend: B batch, H heads, T positions, K head width.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from heed.backbone import automatic, packed_attention
from heed.backbone.automatic import FLEX_FROM, AutomaticAttention
from heed.backbone.flex import FlexAttention
from heed.backbone.kernels import auto_attention, reference_attention
from heed.backbone.packed import Packed, Segments
from heed.backbone.transformer import Transformer
from heed.backbone.windowed import WindowedAttention

B, H, T, K = 1, 2, FLEX_FROM, 16


class Blocks(FlexAttention):
    """Says that it was called."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__(window=3, cap=None, otherwise=reference_attention)
        self.failure = failure
        self.calls = 0

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, **options: object) -> Tensor:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        return value


def queries(length: int = T, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(B, H, length, K, dtype=dtype)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automatic, "DEVICES", ("cpu",))
    monkeypatch.setattr(automatic, "_failed", [])


@pytest.mark.usefixtures("on_cpu")
def test_long_rows_in_half_precision_go_by_blocks() -> None:
    flex = Blocks()
    kernel = AutomaticAttention(flex=flex, otherwise=reference_attention)
    x = queries()
    real = torch.ones(B, 1, 1, T, dtype=torch.bool)
    assert torch.equal(kernel(x, x, x, mask=real, causal=True), x)
    assert flex.calls == 1


@pytest.mark.parametrize(
    ("x", "options"),
    [
        (queries(dtype=torch.float32), {}),
        (queries(FLEX_FROM - 1), {}),
        (queries()[..., :15], {}),
        (queries(), {"dropout_p": 0.5}),
        (queries(), {"bias": torch.zeros(1, H, T, T)}),
        (queries(), {"mask": torch.ones(B, 1, T, T, dtype=torch.bool)}),
    ],
    ids=["fp32", "short", "narrow", "dropout", "bias", "pairs"],
)
@pytest.mark.usefixtures("on_cpu")
def test_others_do_not(x: Tensor, options: dict[str, object]) -> None:
    flex = Blocks()
    AutomaticAttention(flex=flex, otherwise=reference_attention)(x, x, x, **options)
    assert flex.calls == 0


def test_a_cpu_does_not() -> None:
    flex, x = Blocks(), queries()
    found = AutomaticAttention(flex=flex, otherwise=reference_attention)(x, x, x, causal=True)
    assert torch.equal(found, reference_attention(x, x, x, causal=True))
    assert flex.calls == 0


@pytest.mark.usefixtures("on_cpu")
def test_what_cannot_be_compiled_is_told_once_and_computed_otherwise() -> None:
    from torch._dynamo.exc import TorchDynamoException

    flex, x = Blocks(TorchDynamoException("no compiler of C")), queries()
    kernel = AutomaticAttention(flex=flex, otherwise=reference_attention)
    with pytest.warns(UserWarning, match="in chunks, more slowly: no compiler of C"):
        found = kernel(x, x, x)
    assert torch.equal(found, reference_attention(x, x, x))
    kernel(x, x, x)
    assert flex.calls == 1


@pytest.mark.usefixtures("on_cpu")
def test_other_faults_are_not_hidden() -> None:
    kernel = AutomaticAttention(
        flex=Blocks(torch.OutOfMemoryError("full")), otherwise=reference_attention
    )
    x = queries()
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        kernel(x, x, x)


def test_a_model_chooses_for_its_windows_alone() -> None:
    sizes = {"d_model": 32, "n_heads": 2, "d_feed_forward": 7, "n_layers": 2}
    model = Transformer(
        shape="encoder",
        vocabulary_size=11,
        attention="windowed",
        window=3,
        global_layers=[1],
        **sizes,
    )
    assert model.encoder is not None
    kernels = [layer.self_attention.kernel for layer in model.encoder.layers]
    assert [isinstance(kernel, AutomaticAttention) for kernel in kernels] == [True, False]


def test_packed_windows_go_to_flash_attention_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def varying(query: Tensor, *_: Tensor, window: int | None, **__: object) -> Tensor:
        asked.append(window)
        return query

    monkeypatch.setattr(packed_attention, "can_vary", lambda query, window: True)
    monkeypatch.setattr(packed_attention, "varying_attention", varying)
    layout = Packed.of(torch.tensor([3, T - 3]))
    chunks = WindowedAttention(window=5, kernel=auto_attention)
    packed_attention.packed_attention(
        AutomaticAttention(flex=Blocks(), otherwise=chunks),
        *(queries() for _ in range(3)),
        segments=Segments(layout, layout),
    )
    assert asked == [5]
