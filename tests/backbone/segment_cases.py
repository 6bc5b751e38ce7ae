"""Compares the kernels for short packed rows with the definition, forward and backward.

Run in a process of its own, since Triton decides at its import whether to interpret:
`TRITON_INTERPRET=1 python segment_cases.py`. Rows are empty, of one token, of a tile, of one more.

Legend: H heads, G groups of heads, N positions, K head width.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from heed.backbone import segment_attention as module
from heed.backbone.kernels import auto_attention, reference_attention
from heed.backbone.packed import Packed, Segments
from heed.backbone.packed_attention import packed_attention
from heed.backbone.segment_attention import projected_segment_attention, segment_attention

warnings.filterwarnings("ignore", module="triton")


class Case:
    """Rows of these lengths, in heads of a width."""

    def __init__(
        self,
        lengths: list[int],
        keys: list[int] | None = None,
        *,
        heads: int = 2,
        groups: int = 2,
        width: int = 16,
        causal: bool = False,
        room: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        queries = Packed.of(torch.tensor(lengths), sum(lengths) + room)
        others = queries if keys is None else Packed.of(torch.tensor(keys), sum(keys) + 2 * room)
        self.segments = Segments(queries, others)
        self.heads, self.width, self.causal, self.dtype = heads, width, causal, dtype
        torch.manual_seed(1)
        shapes = [(queries.width, heads), (others.width, groups), (others.width, groups)]
        self.drawn = [torch.randn(1, n, h * width).to(dtype).float() for n, h in shapes]
        real = queries.mask()[..., None]
        self.gradient = torch.randn(1, queries.width, heads * width).to(dtype).float() * real
        self.real = real

    def split(self, x: Tensor) -> Tensor:
        """(1, N, H K) -> (1, H, N, K)."""
        return x.unflatten(-1, (-1, self.width)).transpose(1, 2)

    def definition(self, *given: Tensor) -> Tensor:
        queries, keys = self.segments.queries, self.segments.keys
        mask = (queries.segments()[:, None] == keys.segments()) & queries.mask()[0, :, None]
        if self.causal:
            mask &= keys.positions() <= queries.positions()[:, None]
        found = reference_attention(*(self.split(x) for x in given), mask=mask[None, None])
        return found.transpose(1, 2).flatten(2)

    def apart(self, *given: Tensor) -> Tensor:
        heads = (self.split(x) for x in given)
        found = segment_attention(*heads, segments=self.segments, causal=self.causal)
        assert found.transpose(1, 2).is_contiguous()
        return found.transpose(1, 2).flatten(2)

    def of_queries_and_rest(self, *given: Tensor) -> Tensor:
        return self._projected([given[0], torch.cat(given[1:], -1)])

    def of_one(self, *given: Tensor) -> Tensor:
        return self._projected([torch.cat(given, -1)])

    def _projected(self, parts: list[Tensor]) -> Tensor:
        sizes = {"n_heads": self.heads, "head_width": self.width}
        return projected_segment_attention(
            parts, **sizes, segments=self.segments, causal=self.causal
        )

    def compiled(self, *given: Tensor) -> Tensor:
        return torch.compile(self.apart, backend="aot_eager", fullgraph=True)(*given)

    def automatic(self, *given: Tensor) -> Tensor:
        """As attention layers call it, which must come to the same kernels."""
        called = []
        kernel = module.segment_attention
        module.segment_attention = lambda *x, **how: called.append(1) or kernel(*x, **how)
        heads = (self.split(x) for x in given)
        found = packed_attention(auto_attention, *heads, segments=self.segments, causal=self.causal)
        module.segment_attention = kernel
        assert called, "another kernel was taken"
        return found.transpose(1, 2).flatten(2)

    def outcome(self, how: str, dtype: torch.dtype) -> list[Tensor]:
        given = [x.to(dtype, copy=True).requires_grad_() for x in self.drawn]
        found = getattr(self, how)(*given)
        assert found.isfinite().all()
        gradients = torch.autograd.grad(found, given, self.gradient.to(dtype))
        return [(found.detach() * self.real).float(), *(x.float() for x in gradients)]

    def check(self, name: str, how: str) -> None:
        expected = self.outcome("definition", torch.float32)
        found = self.outcome(how, self.dtype)
        allowed = 1e-5 if self.dtype == torch.float32 else 2e-3
        for a, b in zip(found, expected, strict=True):
            assert (a - b).abs().max() <= allowed * b.abs().max(), f"{name} differs"
        print(f"{name} agrees")


if __name__ == "__main__":
    odd, longer = [5, 0, 1, 16, 17], [3, 20, 0, 33, 16]
    Case(odd, room=3).check("self", "apart")
    Case(odd, room=3).check("automatic", "automatic")
    Case(odd, causal=True).check("compiled", "compiled")
    Case(odd, heads=4, groups=2, causal=True).check("one projection", "of_one")
    Case(odd, longer, heads=4, groups=1, room=2).check("cross", "of_queries_and_rest")
    Case([65, 70, 3], heads=2, groups=1, causal=True).check("several tiles", "of_one")
    Case([65, 1, 3], [2, 70, 64]).check("several tiles, cross", "of_queries_and_rest")
    Case([520, 2], heads=1, groups=1, causal=True).check("several programs", "apart")
    Case([9, 20], heads=1, groups=1, width=128, causal=True).check("wide", "apart")
    Case(odd, dtype=torch.float16, causal=True).check("half precision", "of_one")
    Case([70, 3], dtype=torch.float16, room=4).check("half, several tiles", "of_one")
