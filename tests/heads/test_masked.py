"""The head of hidden tokens, against its formula."""

from __future__ import annotations

import math

import torch
from torch import nn

from heed.backbone.transformer import Transformer
from heed.heads.masked import MaskedTokenHead, at_places


def test_a_layer_gelu_and_a_norm_come_before_the_table() -> None:
    torch.manual_seed(1)
    table = nn.Parameter(torch.randn(11, 7))
    head = MaskedTokenHead(d_model=7, vocabulary_size=11, tied=table)
    for parameter in (head.transform.bias, head.norm.bias, head.vocabulary.output.bias):
        nn.init.normal_(parameter)
    hidden = torch.randn(2, 3, 7)
    inner = torch.einsum("btd,ed->bte", hidden, head.transform.weight) + head.transform.bias
    inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    inner = (inner - inner.mean(-1, keepdim=True)) / (
        inner.var(-1, keepdim=True, correction=0) + 1e-5
    ).sqrt()
    inner = inner * head.norm.weight + head.norm.bias
    expected = inner @ table.T + head.vocabulary.output.bias
    torch.testing.assert_close(head(hidden), expected)


def test_it_may_have_a_table_of_its_own() -> None:
    head = MaskedTokenHead(d_model=7, vocabulary_size=11)
    assert head.vocabulary.output.weight.shape == (11, 7)


def test_a_backbones_head_bounds_and_scales_its_logits() -> None:
    sizes = {"vocabulary_size": 11, "d_model": 8, "n_heads": 2, "d_feed_forward": 9, "n_layers": 1}
    backbone = Transformer(shape="encoder", **sizes, logit_scale=0.5, logit_soft_cap=0.3)
    head, hidden = MaskedTokenHead.of(backbone), torch.randn(2, 3, 8)
    plain = MaskedTokenHead(d_model=8, vocabulary_size=11, tied=backbone.output_embedding)
    plain.load_state_dict(head.state_dict())
    torch.testing.assert_close(head(hidden), 0.3 * torch.tanh(plain(hidden) * 0.5 / 0.3))


def test_places_are_picked_row_by_row() -> None:
    hidden = torch.arange(2 * 3 * 2.0).view(2, 3, 2)
    picked = at_places(hidden, torch.tensor([[2, 0], [1, 1]]))
    assert picked.tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]
