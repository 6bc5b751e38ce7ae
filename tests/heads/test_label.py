"""Labels of texts: what each pooling looks at.

Legend: B batch, T positions, D model width, C labels.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from heed.backbone.layout import Padded
from heed.heads.label import LabelHead

LAYOUT = Padded(torch.tensor([3, 5]), 5)


@pytest.mark.parametrize("pooling", ["first", "mean", "last", "last_unbiased"])
def test_pooling_looks_at_tokens_alone(pooling: str) -> None:
    torch.manual_seed(1)
    hidden = torch.randn(2, 5, 7)
    head = LabelHead(d_model=7, n_labels=3, pooling=pooling)
    expected = {
        "first": torch.stack((hidden[0, 0], hidden[1, 0])),
        "mean": torch.stack((hidden[0, :3].mean(0), hidden[1].mean(0))),
        "last": torch.stack((hidden[0, 2], hidden[1, 4])),
    }[pooling.removesuffix("_unbiased")]
    torch.testing.assert_close(head.pool(hidden, LAYOUT), expected)
    hidden[0, 3:] = float("nan")
    assert head(hidden, LAYOUT).isfinite().all()
    assert head(hidden, LAYOUT).shape == (2, 3)


def test_pooled_is_the_first_position_through_berts_pooler() -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.models.bert.modeling_bert import BertPooler

    torch.manual_seed(1)
    theirs = BertPooler(transformers.BertConfig(hidden_size=7, num_attention_heads=1))
    head = LabelHead(d_model=7, n_labels=3, pooling="pooled")
    weights = {f"0.{name}": weight for name, weight in theirs.dense.state_dict().items()}
    head.pooler.load_state_dict(weights)
    hidden = torch.randn(2, 5, 7)
    torch.testing.assert_close(head.pool(hidden, LAYOUT), theirs(hidden))
    logits = theirs(hidden) @ head.output.weight.T + head.output.bias
    torch.testing.assert_close(head(hidden, LAYOUT), logits)


@pytest.mark.parametrize(
    ("pooling", "place", "bend"),
    [
        ("pooled_relu", "first", torch.nn.functional.relu),
        ("pooled_gelu", "first", torch.nn.functional.gelu),
        ("mean_gelu", "mean", torch.nn.functional.gelu),
    ],
)
def test_a_layer_of_its_own(pooling: str, place: str, bend: Any) -> None:
    torch.manual_seed(1)
    hidden = torch.randn(2, 5, 7)
    head = LabelHead(d_model=7, n_labels=3, pooling=pooling)
    gathered = LabelHead(d_model=7, n_labels=3, pooling=place).pool(hidden, LAYOUT)
    layer = head.pooler[0]
    expected = bend(gathered @ layer.weight.T + (0 if layer.bias is None else layer.bias))
    if "gelu" in pooling:
        assert layer.bias is None
        expected = torch.nn.functional.layer_norm(expected, (7,))
    torch.testing.assert_close(head.pool(hidden, LAYOUT), expected)


def test_labels_without_scores_of_their_own() -> None:
    head = LabelHead(d_model=7, n_labels=3, pooling="last_unbiased")
    assert [name for name, _ in head.named_parameters()] == ["output.weight"]
    assert torch.equal(head(torch.zeros(1, 2, 7), Padded.unpadded(1, 2)), torch.zeros(1, 3))


def test_a_row_without_tokens_is_finite() -> None:
    head = LabelHead(d_model=7, n_labels=3, pooling="mean")
    assert head(torch.randn(1, 5, 7), Padded(torch.tensor([0]), 5)).isfinite().all()


def test_a_fresh_head_has_even_odds() -> None:
    torch.manual_seed(1)
    logits = LabelHead(d_model=64, n_labels=3)(torch.randn(512, 1, 64), Padded.unpadded(512, 1))
    assert abs(logits.log_softmax(-1).mean().item() - torch.tensor(1 / 3).log().item()) < 0.05
