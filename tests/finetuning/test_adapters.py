"""Adapters: what they add, what a checkpoint holds of them, and that merging changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from heed.errors import UserError
from heed.finetuning.adapters import IA3, Adapter, Lora, add_adapter, merge_adapters

SMALL = {"r": 3, "alpha": 7.0, "dropout": 0.0}
KINDS: dict[str, Adapter] = {
    "lora": Lora(**SMALL, targets=["attention"]),
    "rslora": Lora(**SMALL, targets="all-linear", rank_stabilized=True),
    "dora": Lora(**SMALL, targets=["qkv", "feed_forward"], decomposed=True),
    "ia3": IA3(targets=["qkv", "feed_forward.output"]),
}
IDS = torch.arange(10).reshape(2, 5)


def disturb(model: nn.Module) -> None:
    """Move everything that is trained, as training would."""
    torch.manual_seed(11)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.1 * torch.randn_like(parameter))


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("shape", ["encoder", "decoder", "encoder_decoder"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_starts_as_nothing_and_merges_into_the_same_model(
    make_model: Callable[..., Any], kind: str, shape: str
) -> None:
    model = make_model(shape).eval()
    plain, names = model.features(IDS), list(model.state_dict())
    add_adapter(model, KINDS[kind])
    torch.testing.assert_close(model.features(IDS), plain, atol=1e-6, rtol=0)
    disturb(model)
    adapted = model.features(IDS)
    assert (adapted - plain).abs().max() > 1e-2
    assert merge_adapters(model) > 0
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model.features(IDS), adapted, atol=1e-5, rtol=0)
    assert merge_adapters(model) == 0


def test_lora_is_the_formula_of_the_paper(make_model: Callable[..., Any]) -> None:
    for kind, scale in (("lora", 7 / 3), ("rslora", 7 / 3**0.5)):
        model = make_model("encoder")
        before = weights(model)["encoder.layers.1.self_attention.qkv.weight"]
        add_adapter(model, KINDS[kind])
        disturb(model)
        kept = model.state_dict()
        layer = "encoder.layers.1.self_attention.qkv"
        a, b = (kept[f"{layer}.lora_{side}.default.weight"] for side in "AB")
        expected = before + scale * b @ a
        merge_adapters(model)
        torch.testing.assert_close(model.state_dict()[f"{layer}.weight"], expected)


def test_all_but_the_adapter_is_frozen_and_stays(make_model: Callable[..., Any]) -> None:
    model = make_model("encoder")
    before = weights(model)
    add_adapter(model, KINDS["lora"])
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 2 * 3  # A and B of two matrices in three layers
    assert all(".lora_" in name for name in trained)
    model.features(IDS).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (".lora_" not in name)
    for name, parameter in model.named_parameters():
        if ".lora_" not in name:
            assert parameter.equal(before[name.replace(".base_layer", "")])


def test_parts_can_be_trained_in_full_besides(make_model: Callable[..., Any]) -> None:
    model = make_model("encoder")
    add_adapter(model, Lora(**SMALL, targets=["qkv"], train=["embeddings", "encoder.2"]))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert "encoder.embeddings.tokens.weight" in trained
    assert "encoder.layers.2.feed_forward.input.weight" in trained
    assert "encoder.layers.1.feed_forward.input.weight" not in trained
    assert trained == set(model.state_dict())


def test_a_state_holds_what_is_trained_alone_and_loads_into_the_same_base(
    make_model: Callable[..., Any],
) -> None:
    model, other = make_model("encoder").eval(), make_model("encoder").eval()
    for each in (model, other):
        add_adapter(each, KINDS["lora"])
    disturb(model)
    state = model.state_dict()
    assert all(".lora_" in name for name in state)
    around = nn.ModuleDict({"backbone": other, "head": nn.Linear(2, 2)})
    outer = {f"backbone.{name}": value for name, value in state.items()}
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "head.weight"'):
        around.load_state_dict(outer)
    other.load_state_dict(state)
    assert other.features(IDS).equal(model.features(IDS))
    twin = copy.deepcopy(model)  # as averaging makes one
    assert twin.state_dict().keys() == state.keys()
    twin.load_state_dict(state)


def test_what_is_missing_of_an_adapter_is_named(make_model: Callable[..., Any]) -> None:
    model = make_model("encoder")
    add_adapter(model, KINDS["lora"])
    state = model.state_dict()
    name = next(iter(state))
    del state[name]
    with pytest.raises(RuntimeError, match=f'Missing key.*"{name}"'):
        model.load_state_dict(state)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        model.load_state_dict({**model.state_dict(), "odd": torch.zeros(1)})


@pytest.mark.parametrize(
    ("targets", "fault"),
    [
        (
            ["cross_attention"],
            "names 'cross_attention', which no layer of the model is; its layers",
        ),
        (["qkv", "key_value"], "names 'key_value', which no layer"),
        ([], "must name layers, but is empty"),
    ],
)
def test_targets_that_match_nothing_are_named(
    make_model: Callable[..., Any], targets: list[str], fault: str
) -> None:
    model = make_model("encoder")
    with pytest.raises(UserError, match=fault):
        add_adapter(model, Lora(**SMALL, targets=targets))
    assert all(p.requires_grad for p in model.parameters())


def test_targets_mean_layers_by_any_part_of_their_names(make_model: Callable[..., Any]) -> None:
    def chosen(*targets: str) -> set[str]:
        model = make_model("encoder_decoder", n_layers=1)
        add_adapter(model, Lora(**SMALL, targets=list(targets)))
        return {name.partition(".lora_")[0] for name in model.state_dict()}

    own, cross = "decoder.layers.0.self_attention", "decoder.layers.0.cross_attention"
    assert chosen("decoder.layers.0.self_attention") == {f"{own}.qkv", f"{own}.output"}
    assert chosen("query", "key_value") == {f"{cross}.query", f"{cross}.key_value"}
    assert len(chosen("attention")) == 2 + 2 + 3
    assert len(chosen("all-linear")) == 4 + 7


def test_without_peft_it_says_what_to_install(
    make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heed.finetuning.adapters.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package peft.*pip install 'heed-nlp\[peft\]'"):
        add_adapter(make_model("encoder"), KINDS["lora"])
