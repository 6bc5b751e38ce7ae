"""Keys and values shared by groups of heads, against attention that repeats them.

Legend: B batch, H heads, G groups, Tq queries, Tk keys, K head width, D model width.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from heed.backbone.additive import AdditiveAttention
from heed.backbone.attention import MultiHeadAttention
from heed.backbone.cache import LayerCache
from heed.backbone.kernels import KERNELS, Kernel
from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer

B, H, TQ, TK, K, D = 2, 6, 5, 7, 4, 11
GROUPS = [1, 2, 3]


def repeated(x: Tensor) -> Tensor:
    return x.repeat_interleave(H // x.shape[1], dim=1)


def masks(keys: int) -> list[Tensor | None]:
    torch.manual_seed(5)
    anything = torch.rand(B, 1, TQ, keys) < 0.6
    anything[0, 0, 2] = False  # a query with nothing to attend to
    padding = torch.ones(B, 1, 1, keys, dtype=torch.bool)
    padding[1, ..., 3:] = False
    return [None, padding, anything]


@pytest.mark.parametrize("name", [*KERNELS, "additive"])
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("causal", [False, True])
def test_a_kernel_gives_each_group_one_key_and_value(name: str, groups: int, causal: bool) -> None:
    torch.manual_seed(1)
    kernel: Kernel = KERNELS.get(name) or AdditiveAttention(n_heads=H, head_width=K)
    keys = TQ if causal else TK
    for mask in masks(keys):
        results = []
        for prepare in (repeated, lambda x: x):
            torch.manual_seed(3)
            shapes = ((H, TQ), (groups, keys), (groups, keys))
            tensors = [torch.randn(B, *shape, K, requires_grad=True) for shape in shapes]
            query, key, value = tensors
            output = kernel(query, prepare(key), prepare(value), mask=mask, causal=causal)
            output.square().sum().backward()
            results.append([output, *(tensor.grad for tensor in tensors)])
        for expected, actual in zip(*results, strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def repeat_rows(weight: Tensor, groups: int) -> Tensor:
    """(G K, ...) -> (H K, ...), the rows of a group once for each of its heads."""
    return weight.unflatten(0, (groups, K)).repeat_interleave(H // groups, dim=0).flatten(0, 1)


def widened(grouped: MultiHeadAttention, groups: int) -> MultiHeadAttention:
    """Attention without groups that does the same."""
    full = MultiHeadAttention(d_model=D, n_heads=H, head_width=K, cross=grouped.cross)
    full.load_state_dict({**full.state_dict(), **shared_weights(grouped)})
    fused, target = (
        (grouped.key_value, full.key_value) if grouped.cross else (grouped.qkv, full.qkv)
    )
    with torch.no_grad():
        for source, wide in ((fused.weight, target.weight), (fused.bias, target.bias)):
            *query, key, value = source.split(
                grouped.widths[1:] if grouped.cross else grouped.widths
            )
            wide.copy_(torch.cat([*query, repeat_rows(key, groups), repeat_rows(value, groups)]))
    return full


def shared_weights(module: nn.Module) -> dict[str, Tensor]:
    weights = module.state_dict()
    return {name: w for name, w in weights.items() if name.startswith(("query", "output"))}


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("cross", [False, True])
def test_a_layer_equals_one_whose_projections_are_repeated(groups: int, cross: bool) -> None:
    torch.manual_seed(1)
    grouped = MultiHeadAttention(d_model=D, n_heads=H, n_kv_heads=groups, head_width=K, cross=cross)
    full = widened(grouped, groups)
    x, memory = torch.randn(B, TQ, D), torch.randn(B, TK, D) if cross else None
    torch.testing.assert_close(grouped(x, memory), full(x, memory), atol=1e-5, rtol=1e-5)


def test_the_cache_holds_a_key_and_a_value_a_group() -> None:
    torch.manual_seed(1)
    attention = MultiHeadAttention(d_model=D, n_heads=H, n_kv_heads=2, head_width=K)
    cache = LayerCache()
    attention(torch.randn(B, TQ, D), cache=cache)
    assert cache.key is not None
    assert cache.value is not None
    assert cache.key.shape == cache.value.shape == (B, 2, TQ, K)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", ["decoder", "encoder_decoder"])
def test_cached_decoding_equals_parallel(groups: int, shape: str) -> None:
    torch.manual_seed(1)
    model = Transformer(
        shape=shape,  # type: ignore[arg-type]
        vocabulary_size=31,
        d_model=24,
        n_heads=4,
        n_kv_heads=groups,
        head_width=10,
        d_feed_forward=37,
        n_layers=2,
        positions="rotary",
    ).eval()
    source, target = torch.randint(31, (3, 7)), torch.randint(31, (3, 5))
    layout = Padded(torch.tensor([7, 2, 5]), 7)
    memory = model.encode(source, layout) if shape == "encoder_decoder" else None
    expected = model.decode(target, None, memory, layout)
    cache = model.new_cache()
    steps = [model.decode(target[:, :2], None, memory, layout, cache)]
    steps += [model.decode(target[:, t : t + 1], cache=cache) for t in range(2, 5)]
    torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-5, rtol=1e-5)
