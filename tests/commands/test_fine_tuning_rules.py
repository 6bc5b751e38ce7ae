"""What is checked of `finetuning=` and `adapter=` before any data are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from heed.commands.compose import config_dirs
from heed.commands.fine_tuning_rules import FINE_TUNING_RULES, model_layers
from heed.commands.rules import validate

START = "model.init_from=gone"  # another rule tells that it is


@pytest.fixture
def faults(frozen: Callable[..., Any]) -> Callable[..., list[str]]:
    """`faults("adapter=lora")` are the mistakes that these rules see in a config."""

    def see(*words: str) -> list[str]:
        config = frozen(*words)

        def each() -> Iterator[str]:
            for rule in FINE_TUNING_RULES:
                yield from map(str, rule(config, config_dirs()))

        return list(each())

    return see


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (
            ["finetuning.freeze=[embedings]", START],
            "finetuning.freeze names 'embedings', which is no part of a model; "
            "did you mean 'embeddings'?",
        ),
        (
            ["finetuning.freeze=decoder.0-2", START],
            "finetuning.freeze names 'decoder.0-2', but the decoder has 2 layers, 0 to 1; "
            "try decoder.0-1",
        ),
        (
            ["task=sentiment", "finetuning.freeze=[decoder]", START],
            "finetuning.freeze names 'decoder', which is no part of the model; "
            "there is all, embeddings, encoder, encoder.0-1",
        ),
        (
            ["finetuning.reinitialize_layers=3", START],
            "finetuning.reinitialize_layers must be at most 2, the layers of the decoder, but is 3;"
            " try finetuning.reinitialize_layers=2",
        ),
        (
            ["finetuning.reinitialize_layers=1", "finetuning.freeze=[decoder.1]", START],
            "finetuning.reinitialize_layers must name layers that are trained, "
            "but decoder.layers.1 is frozen; leave it out of finetuning.freeze",
        ),
        (
            ["finetuning=probe"],
            "finetuning.freeze needs a model that starts from weights, but this one starts from "
            "nothing; add model.init_from=RUN with tokenizer=file tokenizer.path=RUN/tokenizer",
        ),
        (
            ["adapter=lora"],
            "adapter needs a model that starts from weights, but this one starts from nothing; "
            "add model.init_from=RUN with tokenizer=file tokenizer.path=RUN/tokenizer",
        ),
        (
            ["adapter=lora", "adapter.targets=[qkw]", START],
            "adapter.targets names 'qkw', which no layer of the model is; did you mean 'qkv'?",
        ),
        (
            ["task=sentiment", "adapter=ia3", "adapter.targets=[qkv,cross_attention]", START],
            "adapter.targets names 'cross_attention', which no layer of the model is; "
            "did you mean 'self_attention'?",
        ),
        (
            ["adapter=lora", "adapter.targets=[]", START],
            "adapter.targets must name layers, but is empty; try [attention]",
        ),
        (
            ["adapter=lora", "adapter.train=[encoder.7]", START],
            "adapter.train names 'encoder.7', but the encoder has 2 layers, 0 to 1; "
            "try encoder.0-1",
        ),
        (
            ["adapter=lora", "finetuning=probe", START],
            "finetuning.freeze must be left out with adapter=, which freezes all of the model by "
            "itself; choose the layers that get the adapter by adapter.targets",
        ),
    ],
)
def test_a_mistake_is_told_by_key_value_and_remedy(
    faults: Callable[..., list[str]], words: list[str], fault: str
) -> None:
    assert faults(*words) == [fault]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["finetuning.layer_decay=0.9", "finetuning.head_rate=5"],
        ["adapter=dora", START, "adapter.targets=[query,decoder.layers.1,feed_forward.output]"],
        ["adapter=lora", START, "adapter.targets=all-linear", "adapter.train=[embeddings]"],
        ["task=sentiment", "finetuning.freeze=[embeddings,encoder.0]", START],
    ],
)
def test_what_is_right_passes(faults: Callable[..., list[str]], words: list[str]) -> None:
    assert faults(*words) == []


def test_without_peft_it_says_what_to_install(
    faults: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heed.commands.fine_tuning_rules.find_spec", lambda name: None)
    (fault,) = faults("adapter=lora", START)
    assert "needs the package peft" in fault
    assert "pip install 'heed-nlp[peft]'" in fault


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["finetuning.layer_decay=1.5"], "finetuning.layer_decay must be more than 0 and at most"),
        (["finetuning.head_rate=0"], "finetuning.head_rate must be more than 0, but is 0"),
        (["finetuning.reinitialize_layers=-1"], "must be a whole number of at least 0, but is -1"),
        (["finetuning.freeze=3"], "finetuning.freeze must be a list, each item text or text"),
        (["finetuning.keep_head=2"], "finetuning.keep_head must be true or false, but is 2"),
        (["adapter=lora", "adapter.r=0"], "adapter.r must be a whole number of at least 1"),
        (["adapter=lora", "adapter.dropout=1"], "adapter.dropout must be at least 0 and less than"),
        (["adapter=lora", "+adapter.aplha=2"], "did you mean 'alpha'?"),
    ],
)
def test_numbers_and_kinds_are_checked_with_all_others(
    frozen: Callable[..., Any], told: Callable[..., list[str]], words: list[str], fault: str
) -> None:
    assert any(fault in each for each in told(validate, frozen(*words)))


def test_the_layers_of_a_model_that_the_config_does_not_tell_are_left_to_building(
    frozen: Callable[..., Any],
) -> None:
    model = frozen()["model"]
    assert model_layers(model) == {"encoder": 2, "decoder": 2}
    assert model_layers({**model, "n_decoder_layers": 1}) == {"encoder": 2, "decoder": 1}
    assert model_layers({**model, "shape": "decoder"}) == {"decoder": 2}
    assert model_layers({**model, "n_layers": None}) is None
    assert model_layers({**model, "_target_": "mine.Model"}) is None
