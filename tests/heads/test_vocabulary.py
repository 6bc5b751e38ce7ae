"""The vocabulary head, with a table of its own or a shared one."""

from __future__ import annotations

import torch
from torch import nn

from heed.backbone.transformer import Transformer
from heed.heads.vocabulary import VocabularyHead


def test_a_tied_head_scores_by_the_embeddings() -> None:
    torch.manual_seed(1)
    table = nn.Parameter(torch.randn(11, 7))
    head = VocabularyHead(d_model=7, vocabulary_size=11, tied=table)
    hidden = torch.randn(2, 3, 7)
    torch.testing.assert_close(head(hidden), hidden @ table.T)
    assert [weight is table for weight in head.parameters()] == [True]


def test_a_head_may_have_its_own_table_and_bias() -> None:
    head = VocabularyHead(d_model=7, vocabulary_size=11, bias=True)
    assert {name: tuple(w.shape) for name, w in head.named_parameters()} == {
        "output.weight": (11, 7),
        "output.bias": (11,),
    }
    assert (head.output.bias == 0).all()


def test_a_cap_bends_the_scores() -> None:
    torch.manual_seed(1)
    head = VocabularyHead(d_model=7, vocabulary_size=11, soft_cap=0.3)
    hidden = torch.randn(2, 3, 7)
    logits = hidden @ head.output.weight.T
    e = (2 * logits / 0.3).exp()
    torch.testing.assert_close(head(hidden), 0.3 * (e - 1) / (e + 1))
    assert head(100 * hidden).abs().max() <= 0.3


def test_a_head_as_the_backbone_describes_it() -> None:
    """Scores are scaled, and their bias is not."""
    torch.manual_seed(1)
    backbone = Transformer(
        shape="encoder_decoder",
        vocabulary_size=11,
        target_vocabulary_size=13,
        d_model=6,
        n_heads=2,
        d_feed_forward=8,
        n_layers=1,
        tie_embeddings="decoder",
        logit_scale=0.5,
        logit_bias=True,
    )
    head = VocabularyHead.of(backbone)
    assert head.output.weight is backbone.output_embedding
    nn.init.normal_(head.output.bias)
    hidden = torch.randn(2, 3, 6)
    expected = 0.5 * (hidden @ head.output.weight.T) + head.output.bias
    torch.testing.assert_close(head(hidden), expected)
