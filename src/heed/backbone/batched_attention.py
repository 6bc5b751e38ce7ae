"""Attention for training on a CPU: batched matrix products with a backward pass of its own.

Of (B, H, Tq, Tk) there are two tensors, the weights and their gradient, in the inputs' type; mask,
softmax and its gradient are computed where they lie. (Automatic differentiation of the definition
makes and reads some ten, most of them in fp32.)

Legend: B batch, H heads, G groups of heads, Tq queries, Tk keys, K head width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from heed.backbone.dropout import cheap_level, keep_mask
from heed.backbone.kernels import combine, reference_attention, share_heads


def batched_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    causal: bool = False,
    dropout_p: float = 0.0,
) -> Tensor:
    """See `heed.backbone.kernels.Kernel`. With a bias, or compiled, it is the definition that is
    computed."""
    if bias is not None or torch.compiler.is_compiling():
        return reference_attention(
            query, key, value, mask=mask, bias=bias, causal=causal, dropout_p=dropout_p
        )
    device = query.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    key, value = share_heads(key, query.shape[1]), share_heads(value, query.shape[1])
    found = _BatchedAttention.apply(query, key, value, combine(mask, causal, query), dropout_p)
    assert isinstance(found, Tensor)
    return found


class _BatchedAttention(torch.autograd.Function):
    """With P the weights, M what dropout multiplies them by, O = (P M) V and g the gradient of O:
    dV = (P M)^T g, dP = (g V^T) M, dS = P (dP - sum of P dP over keys), dQ = dS K / sqrt(K),
    dK = dS^T Q / sqrt(K).
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout_p: float
    ) -> Tensor:
        """(B, H, Tq, K), 2 x (B, H, Tk, K), bool broadcastable to (B, H, Tq, Tk) -> like query."""
        ctx.sizes = query.shape
        scale = query.shape[-1] ** -0.5
        # (B, H, T, K) -> (B H, T, K)
        query, key, value = (query * scale).flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)
        weights = torch.bmm(query, key.transpose(1, 2))
        _softmax_where(weights.view(*ctx.sizes[:3], key.shape[1]), mask)
        kept = _kept(weights, dropout_p)
        ctx.save_for_backward(query, key, value, weights, kept)
        seen = weights if kept is None else weights * kept
        return torch.bmm(seen, value).view(ctx.sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Like query -> the gradients of query, key and value."""
        query, key, value, weights, kept = ctx.saved_tensors
        gradient = gradient.flatten(0, 1)
        dvalue = torch.bmm((weights if kept is None else weights * kept).transpose(1, 2), gradient)
        dscores = torch.bmm(gradient, value.transpose(1, 2))
        if kept is not None:
            dscores.mul_(kept)
        torch.ops.aten._softmax_backward_data.out(
            dscores, weights, -1, weights.dtype, grad_input=dscores
        )
        dquery = torch.bmm(dscores, key).mul_(ctx.sizes[-1] ** -0.5)
        dkey = torch.bmm(dscores.transpose(1, 2), query)
        heads = (*ctx.sizes[:2], -1, ctx.sizes[-1])
        return dquery.view(ctx.sizes), dkey.view(heads), dvalue.view(heads), None, None


def _softmax_where(scores: Tensor, mask: Tensor | None) -> None:
    """Scores become weights; rows with nothing to attend to become zeros."""
    if mask is None:
        torch.softmax(scores, -1, out=scores)
        return
    scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
    torch.softmax(scores, -1, out=scores)
    empty = ~mask.any(-1, keepdim=True)
    if bool(empty.any()):
        scores.masked_fill_(empty, 0.0)


def _kept(weights: Tensor, p: float) -> Tensor | None:
    """What the weights are multiplied by: 0 where dropped; None: nothing is."""
    if p == 0.0:
        return None
    level = cheap_level(p, weights.device)
    if level:
        return keep_mask(weights, level)
    return F.dropout(torch.ones_like(weights), p, training=True)
