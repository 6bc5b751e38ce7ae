"""Windowed attention in chunks against the full matrix with a mask.

Legend: B batch, H heads, G groups of heads, T positions, K head width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from heed.backbone import windowed
from heed.backbone.kernels import Kernel, auto_attention, reference_attention, sdpa_attention
from heed.backbone.layout import Padded
from heed.backbone.soft_cap import CappedAttention
from heed.backbone.transformer import Transformer
from heed.backbone.windowed import WindowedAttention

B, H, G, K, V = 3, 4, 2, 5, 31
KERNELS = {
    "reference": reference_attention,
    "sdpa": sdpa_attention,
    "auto": auto_attention,
    "capped": CappedAttention(cap=1.3),
}


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowed, "SHORTEST_CHUNK", 4)


def band(length: int, window: int, *, causal: bool) -> Tensor:
    rows = [
        [abs(j - i) <= window and (j <= i or not causal) for j in range(length)]
        for i in range(length)
    ]
    return torch.tensor(rows)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("length", "window"),
    [(1, 1), (4, 1), (5, 1), (9, 2), (13, 5), (15, 5), (16, 5), (11, 10), (7, 30)],
)
def test_chunks_give_what_the_masked_matrix_gives(
    name: str, causal: bool, padded: bool, length: int, window: int
) -> None:
    mask = None
    allowed = band(length, window, causal=causal)[None, None]
    if padded:
        lengths = torch.tensor([length, max(1, length // 2), 0])
        mask = (torch.arange(length) < lengths[:, None])[:, None, None]
        allowed = allowed & mask
    results = []
    for in_chunks in (False, True):
        torch.manual_seed(1)
        inputs = [torch.randn(B, heads, length, K, requires_grad=True) for heads in (H, G, G)]
        if in_chunks:
            kernel: Kernel = WindowedAttention(window=window, kernel=KERNELS[name])
            output = kernel(*inputs, mask=mask, causal=causal)
        else:
            output = KERNELS[name](*inputs, mask=allowed)
        output.square().sum().backward()
        results.append([output, *(x.grad for x in inputs)])
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_the_work_grows_with_the_length(causal: bool) -> None:
    scores = []

    def counting(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        scores.append(query.shape[0] * query.shape[2] * key.shape[2])
        return reference_attention(query, key, value, **options)

    kernel = WindowedAttention(window=8, kernel=counting)
    for length in (64, 128, 256):
        kernel(*(torch.randn(1, 1, length, K) for _ in range(3)), causal=causal)
    seen = 8 + 8 if causal else 8 + 2 * 8
    assert scores == [64 * seen, 128 * seen, 256 * seen]


def build(**values: Any) -> Transformer:
    torch.manual_seed(1)
    sizes: dict[str, Any] = {
        "vocabulary_size": V,
        "d_model": 24,
        "n_heads": 4,
        "d_feed_forward": 37,
        "n_layers": 2,
        "attention": "windowed",
        "window": 3,
        "dropout": 0.0,
    }
    return Transformer(**{"shape": "decoder", **sizes, **values})


def tokens(rows: int, length: int) -> Tensor:
    torch.manual_seed(2)
    return torch.randint(V, (rows, length))


@pytest.mark.parametrize("shape", ["encoder", "decoder"])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary"])
def test_two_layers_see_two_windows_far(shape: str, positions: str) -> None:
    model = build(shape=shape, positions=positions).eval()
    ids = tokens(1, 23)
    changed = ids.clone()
    changed[0, 11] = (ids[0, 11] + 1) % V
    differs = (model.features(ids) != model.features(changed)).any(-1)[0].nonzero()[:, 0].tolist()
    assert differs == list(range(5 if shape == "encoder" else 11, 18))


def test_a_global_layer_sees_all() -> None:
    model = build(shape="encoder", global_layers=[1]).eval()
    ids = tokens(1, 23)
    changed = ids.clone()
    changed[0, 0] = (ids[0, 0] + 1) % V
    assert (model.features(ids) != model.features(changed)).any(-1).all()


@pytest.mark.parametrize("shape", ["encoder", "decoder", "encoder_decoder"])
def test_padding_changes_nothing(shape: str) -> None:
    model = build(shape=shape).eval()
    layout = Padded(torch.tensor([13, 5, 9]), 13)
    ids = tokens(3, 13)
    found = model.features(ids, layout)
    for row, length in enumerate(layout.lengths.tolist()):
        alone = model.features(ids[row : row + 1, :length])[0]
        torch.testing.assert_close(found[row, :length], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("global_layers", [(), (0,)])
def test_cached_decoding_equals_parallel(global_layers: tuple[int, ...]) -> None:
    model = build(global_layers=global_layers, positions="rotary", n_kv_heads=2).eval()
    ids = tokens(B, 17)
    expected = model.decode(ids)
    cache = model.new_cache()
    steps = [model.decode(ids[:, :9], cache=cache)]
    steps += [model.decode(ids[:, t : t + 1], cache=cache) for t in range(9, 17)]
    torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-5, rtol=1e-5)


def test_layers_with_a_window_may_have_a_rotary_base_of_their_own() -> None:
    """As if each kind of layer were in a model by itself."""
    settings: dict[str, Any] = {"positions": "rotary", "rotary_base": 97.0}
    mixed = build(**settings, local_rotary_base=13.0, global_layers=[1]).eval()
    same = build(**settings, local_rotary_base=97.0, global_layers=[1]).eval()
    plain = build(**settings, global_layers=[1]).eval()
    ids = tokens(2, 17)
    assert torch.equal(same.decode(ids), plain.decode(ids))
    assert not torch.allclose(mixed.decode(ids), plain.decode(ids))
    all_local = build(**settings, local_rotary_base=13.0).eval()
    other_base = build(positions="rotary", rotary_base=13.0).eval()
    assert torch.equal(all_local.decode(ids), other_base.decode(ids))


def test_cached_prompts_may_have_different_lengths() -> None:
    """A window counts positions of the row, not columns of padding between."""
    model = build(positions="rotary").eval()
    layout = Padded(torch.tensor([3, 11, 7]), 11)
    prompts, added = tokens(3, 11), tokens(3, 4)
    cache = model.new_cache()
    model.decode(prompts, layout, cache=cache)
    steps = torch.cat([model.decode(added[:, t : t + 1], cache=cache) for t in range(4)], 1)
    for row, length in enumerate(layout.lengths.tolist()):
        whole = torch.cat((prompts[row, :length], added[row]))[None]
        torch.testing.assert_close(steps[row], model.decode(whole)[0, -4:], atol=1e-5, rtol=1e-5)
