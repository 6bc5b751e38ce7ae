"""Compares the kernels of norms and of the vocabulary's loss with torch, forward and backward.

Run in a process of its own, since Triton decides at its import whether to interpret:
`TRITON_INTERPRET=1 python norm_cases.py`.

Legend: N rows, D columns, V vocabulary.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from heed.backbone.dropout import Dropout
from heed.backbone.norm_operator import LEVELS, normalize
from heed.backbone.norms import add_and_normalize, build_norm
from heed.heads.loss import label_smoothed_cross_entropy

warnings.filterwarnings("ignore", module="triton")
EPSILON = 1e-5


def norm(x: Tensor, weight: Tensor, bias: Tensor | None, *, centered: bool) -> Tensor:
    if centered:
        return F.layer_norm(x, x.shape[-1:], weight, bias, EPSILON)
    return F.rms_norm(x, x.shape[-1:], weight, EPSILON)


def outcome(found: Callable[..., Tensor], given: list[Tensor], gradient: Tensor) -> list[Tensor]:
    given = [x.clone().requires_grad_() for x in given]
    output = found(*given)
    return [output.detach(), *torch.autograd.grad(output, given, gradient)]


def compare(found: list[Tensor], expected: list[Tensor], what: object) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        close = a.numel() == 0 or (a - b).abs().max() <= 2e-5 * max(1.0, float(b.abs().max()))
        assert close, f"{what} differs"


def plain_norms() -> None:
    for rows, columns in itertools.product((0, 1, 7, 70), (5, 48, 512)):
        for centered, biased in ((True, True), (True, False), (False, False)):
            drawn = [torch.randn(2, rows, columns) * 3 + 1, torch.randn(columns) + 1]
            drawn += [torch.randn(columns)] if biased else []
            gradient = torch.randn(2, rows, columns)

            def ours(x: Tensor, w: Tensor, b: Tensor | None = None, c: bool = centered) -> Tensor:
                return normalize(x, w, b, epsilon=EPSILON, centered=c)

            def theirs(x: Tensor, w: Tensor, b: Tensor | None = None, c: bool = centered) -> Tensor:
                return norm(x, w, b, centered=c)

            what = (rows, columns, centered, biased)
            compare(outcome(ours, drawn, gradient), outcome(theirs, drawn, gradient), what)
    print("norms agree")


def residual_sums() -> None:
    for rows, columns, p in itertools.product((1, 70), (5, 512), (0.0, 0.25)):
        for centered in (True, False):
            x, y, gradient = (torch.randn(2, rows, columns) for _ in range(3))
            drawn = [x, y, torch.randn(columns) + 1, *([torch.randn(columns)] if centered else [])]

            def ours(
                x: Tensor, y: Tensor, w: Tensor, b: Tensor | None = None, p: float = p,
                c: bool = centered,
            ) -> Tensor:  # fmt: skip
                torch.manual_seed(3)
                return normalize(x, w, b, epsilon=EPSILON, centered=c, added=y, dropout=p)

            found = outcome(ours, drawn, gradient)
            kept = torch.full_like(y, 1.0)
            if p:  # what was kept is seen at a norm that changes nothing but the scale
                torch.manual_seed(3)
                one, seed = torch.ones(columns), torch.randint(2**31 - 1, (1,))
                level = round(p * LEVELS)
                _, total, *_ = torch.ops.heed.norm(x, y, one, None, seed, level, 0.0, True, False)
                kept = ((total - x) / y > 0.5).float() / (1 - p)
                if kept.numel() > 10_000:
                    share = (kept > 0).float()
                    assert abs(share.mean() - 0.75) < 0.01
                    assert share.mean((0, 1)).std() < 0.05  # columns alike
                    assert share.mean(-1).std() < 0.03  # rows alike

            def theirs(
                x: Tensor, y: Tensor, w: Tensor, b: Tensor | None = None, kept: Tensor = kept,
                c: bool = centered,
            ) -> Tensor:  # fmt: skip
                return norm(x + y * kept, w, b, centered=c)

            compare(found, outcome(theirs, drawn, gradient), (rows, columns, p, centered))
    print("residual sums agree")


def half_precision() -> None:
    """A residual sum of fp32 and half; under autocast the norm comes out in fp32."""
    x, y = torch.randn(9, 48), torch.randn(9, 48).half()
    weight, bias = torch.randn(48), torch.randn(48)
    with torch.autocast("cpu", torch.bfloat16):
        found = normalize(x, weight, bias, epsilon=EPSILON, centered=True, added=y)
    compare([found], [norm(x + y.float(), weight, bias, centered=True)], "half")
    x, y = x.requires_grad_(), y.requires_grad_()
    found = normalize(x, weight, bias, epsilon=EPSILON, centered=True, added=y)
    of_x, of_y = torch.autograd.grad(found.sum() * 3, (x, y))
    assert (of_x.dtype, of_y.dtype) == (torch.float32, torch.float16)
    print("half precision agrees")


def compiled() -> None:
    """As the backbone calls them in a compiled training step, and only there."""
    for kind in ("layer_norm", "rms_norm"):
        layer, dropout = build_norm(kind, 48, bias=True, epsilon=EPSILON), Dropout(p=0.0)
        x, y = torch.randn(2, 9, 48), torch.randn(2, 9, 48)
        calls: list[str] = []

        def watched(graph: torch.fx.GraphModule, _: object, calls: list[str] = calls):
            calls += [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
            return graph

        def step(x: Tensor, y: Tensor, layer=layer, dropout=dropout) -> Tensor:
            return layer(add_and_normalize(layer, dropout, x, y))

        found = torch.compile(step, backend=watched, fullgraph=True)(x, y)
        assert sum("heed.norm" in name for name in calls) == 2, calls
        compare([found.detach()], [layer(layer(x + y)).detach()], kind)
        calls.clear()
        torch._dynamo.reset()
        torch.compile(step, backend=watched, fullgraph=True)(x, y, layer.eval())
        assert not any("heed.norm" in name for name in calls)
    print("compiled steps agree")


def losses() -> None:
    for size, smoothing in itertools.product((1024, 1500, 20_000), (0.0, 0.1)):
        logits, labels = torch.randn(3, 4, size) * 4, torch.randint(0, size, (3, 4))
        mask = torch.rand(3, 4) > 0.3
        given = [x.clone().requires_grad_() for x in (logits, logits.double())]
        ours = label_smoothed_cross_entropy(given[0], labels, mask=mask, smoothing=smoothing)
        asked = labels.masked_fill(~mask, -100).flatten()
        theirs = F.cross_entropy(
            given[1].flatten(0, 1), asked, reduction="sum", label_smoothing=smoothing
        )
        assert int(ours.count) == int(mask.sum())
        compare([ours.sum.detach()], [theirs.detach().float()], (size, smoothing))
        found = torch.autograd.grad(0.7 * ours.sum, given[0])[0]
        expected = torch.autograd.grad(0.7 * theirs, given[1])[0]
        assert (found - expected).abs().max() < 5e-6
        assert torch.equal(found[~mask], torch.zeros(int((~mask).sum()), size))
    print("losses agree")


if __name__ == "__main__":
    torch.manual_seed(0)
    plain_norms()
    residual_sums()
    half_precision()
    compiled()
    losses()
