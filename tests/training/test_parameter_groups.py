"""Which parameters decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from heed.backbone.transformer import Transformer
from heed.commands.compose import compose
from heed.heads.vocabulary import VocabularyHead
from heed.training.parameter_groups import parameter_groups

SIZES = {"d_model": 14, "n_heads": 2, "d_feed_forward": 19, "n_layers": 1, "max_length": 23}


def model(**changes) -> nn.Module:
    """An encoder-decoder with its vocabulary head."""
    values = {k: v for k, v in compose("train", [])["model"].items() if k != "_target_"}
    for name in ("init_from", "learning_rate"):
        values.pop(name, None)
    backbone = Transformer(
        **{**values, "shape": "encoder_decoder", "vocabulary_size": 31, **SIZES, **changes}
    )
    head = VocabularyHead(
        d_model=14, vocabulary_size=31, tied=backbone.output_embedding, bias=False
    )
    return nn.ModuleDict({"backbone": backbone, "head": head})


def split(module) -> tuple[set[str], set[str]]:
    """Names of the parameters with and without decay."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    decayed, plain = set(), set()
    for group in parameter_groups(module, weight_decay=0.3):
        assert group["weight_decay"] in (0.3, 0.0)
        found = decayed if group["weight_decay"] else plain
        found.update(names[id(parameter)] for parameter in group["params"])
    return decayed, plain


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_matrices_decay_and_nothing_else_does(norm, positions):
    module = model(norm=norm, positions=positions)
    decayed, plain = split(module)
    assert decayed.isdisjoint(plain)
    assert decayed | plain == {name for name, _ in module.named_parameters()}
    for kind, where in ((nn.Linear, decayed), (nn.Embedding, plain)):
        for name, child in module.named_modules():
            if isinstance(child, kind) and not name.startswith("head"):
                assert f"{name}.weight" in where
    norms = [name for name in decayed | plain if "norm" in name]
    assert norms
    assert plain.issuperset(norms)
    assert plain.issuperset(name for name in decayed | plain if name.endswith("bias"))
    assert all(module.get_parameter(name).ndim == 2 for name in decayed)


def test_a_tied_parameter_counts_once_and_as_an_embedding():
    module = model(tie_embeddings="all")
    groups = parameter_groups(module, weight_decay=0.3)
    all_parameters = [id(p) for group in groups for p in group["params"]]
    assert len(all_parameters) == len(set(all_parameters))
    tied = id(module["head"].output.weight)
    without = next(group for group in groups if group["weight_decay"] == 0.0)
    assert [id(p) for p in without["params"]].count(tied) == 1
    untied = model(tie_embeddings="none")
    decayed, _ = split(untied)
    assert "head.output.weight" in decayed  # a matrix of its own


def test_what_is_not_trained_is_in_no_group():
    module = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    module[0].requires_grad_(False)
    groups = parameter_groups(module, weight_decay=0.3)
    assert [len(group["params"]) for group in groups] == [1, 1]


def test_groups_that_would_be_empty_are_left_out():
    (only,) = parameter_groups(nn.Linear(3, 5, bias=False), weight_decay=0.3)
    assert only["weight_decay"] == 0.3
    (only,) = parameter_groups(nn.LayerNorm(3), weight_decay=0.3)
    assert only["weight_decay"] == 0.0


def test_decay_shrinks_matrices_alone():
    """A step with gradients of zero is decay and nothing else."""
    from heed.training.optimizers import adamw

    module = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 7), nn.LayerNorm(7))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    adamw(module, lr=0.1, betas=[0.9, 0.98], eps=1e-9, weight_decay=0.5).step()
    for name, value in module.state_dict().items():
        factor = 0.95 if name == "1.weight" else 1.0  # 1 - lr * decay
        torch.testing.assert_close(value, before[name] * factor)
