"""Config nodes held against the signatures of what they build, read from source."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest

from heed.commands.annotations import misfit
from heed.commands.bind import bind
from heed.commands.signatures import Module, signature_of
from heed.errors import UserError

Frozen = Callable[..., dict[str, Any]]

NOWHERE = Module("nowhere", {}, {})


def words(annotation: str, value: Any) -> str | None:
    found = misfit(value, ast.parse(annotation, mode="eval").body, NOWHERE)
    return None if found is None else "; ".join(part for part in found if part)


@pytest.mark.parametrize(
    ("annotation", "fits", "does_not", "must_be"),
    [
        ("int", [3, -1, 0], [1.5, "3", True, None, [3]], "a whole number"),
        ("float", [3, 0.5, -1e-9], ["0.5", True, None], "a number"),
        ("str", ["", "x"], [3, None, True], "text"),
        ("bool", [True, False], [0, 1, "true", None], "true or false"),
        ("int | None", [3, None], [1.5, "x"], "a whole number or null"),
        ("Optional[int]", [3, None], [1.5, "x"], "a whole number or null"),
        ("Union[int, str]", [3, "auto"], [1.5, None], "a whole number or text"),
        ("bool | str", [True, "warn"], [1, None], "true or false or text"),
        ("list[str]", [[], ["a"]], ["a", [1], None], "a list, each item text"),
        ("list[int | None]", [[1, None]], [["a"]], "a list, each item a whole number or null"),
        ("dict[str, float]", [{}, {"a": 1}], [[], {"a": "b"}], "a mapping, each value a number"),
        ("dict", [{"a": object()}], [3], "a mapping"),
        ("Literal['pre', 'post']", ["pre", "post"], [1, None, True], "one of pre, post"),
        ("Literal[1, 2]", [1, 2], [3, "1", True], "one of 1, 2"),
        ("'int | None'", [3, None], ["x"], "a whole number or null"),
    ],
)
def test_plain_annotations(
    annotation: str, fits: list[Any], does_not: list[Any], must_be: str
) -> None:
    for value in fits:
        assert words(annotation, value) is None, value
    for value in does_not:
        assert words(annotation, value) == must_be, value


@pytest.mark.parametrize("annotation", ["Tensor", "Path | str", "Callable[..., int]", "nn.Module"])
def test_what_is_not_plain_is_left_to_building(annotation: str) -> None:
    for value in (3, "x", None, [1], {"a": 1}):
        assert words(annotation, value) is None


def test_remedies() -> None:
    assert words("Literal['pre', 'post']", "prre") == "one of pre, post; did you mean 'pre'?"
    assert words("int", 100000.0) == "a whole number; write 100000"


@pytest.mark.parametrize(
    ("target", "some", "required"),
    [
        (
            "heed.backbone.transformer.Transformer",
            {"d_model", "n_heads", "dropout"},
            {"shape", "vocabulary_size"},
        ),
        ("heed.training.optimizers.adamw", {"lr", "betas"}, {"module", "lr", "betas"}),
        # Its settings are handed on to the two classes above it.
        (
            "heed.tasks.translation.Translation",
            {"lowercase", "label_smoothing", "monitor", "n_samples"},
            {"backbone", "label_smoothing", "monitor", "mode", "optimizer"},
        ),
        ("heed.text.tokenizer.Tokenizer.from_hub", {"name"}, {"name"}),
    ],
)
def test_signatures_are_read_from_source(target: str, some: set[str], required: set[str]) -> None:
    signature = signature_of(target, "key")
    assert not signature.open
    assert some <= set(signature.parameters)
    needed = {name for name, parameter in signature.parameters.items() if parameter.required}
    assert required <= needed
    assert "self" not in signature.parameters
    assert "cls" not in signature.parameters


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (
            "heed.tasks.sentiment.Sentimet",
            "key is heed.tasks.sentiment.Sentimet, but heed.tasks.sentiment has no 'Sentimet'; "
            "did you mean 'Sentiment'?",
        ),
        (
            "heed.tasks.sentimet.Sentiment",
            "key is heed.tasks.sentimet.Sentiment, but Heed has no such module; "
            "did you mean 'heed.tasks.sentiment'?",
        ),
        (
            "heed.text.tokenizer.Tokenizer.from_hubb",
            "key is heed.text.tokenizer.Tokenizer.from_hubb, which has no 'from_hubb'",
        ),
        (
            "heed.training.precision.PRECISIONS",
            "key must name a class or function, but heed.training.precision.PRECISIONS is neither",
        ),
    ],
)
def test_targets_that_are_not_there(target: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        signature_of(target, "key")
    assert str(error.value) == told


def test_a_shipped_config_binds(frozen: Frozen) -> None:
    assert bind(frozen()) == []


def test_all_faults_of_all_nodes_are_told(frozen: Frozen) -> None:
    config = frozen()
    config["model"]["n_headz"] = 4
    config["model"]["d_model"] = 1.5
    config["model"]["norm_position"] = "prre"
    config["task"]["preparation"]["max_source_len"] = 7
    config["trainer"]["max_steps"] = 100000.0
    config["callbacks"]["ema"]["decay"] = "much"
    config["optimizer"]["betas"] = [0.9, "x"]
    del config["optimizer"]["lr"]
    config["decoding"]["_target_"] = "heed.decoding.beam.BeamDecodr"
    assert sorted(map(str, bind(config))) == [
        "callbacks.ema.decay must be a number or null, but is 'much'",
        "decoding._target_ is heed.decoding.beam.BeamDecodr, but heed.decoding.beam has no "
        "'BeamDecodr'; did you mean 'BeamDecoder'?",
        "model.d_model must be a whole number, but is 1.5",
        "model.n_headz is not a key that heed.backbone.transformer.Transformer takes; "
        "did you mean 'n_heads'?",
        "model.norm_position must be one of pre, post, sandwich, parallel, parallel_one_norm, "
        "but is 'prre'; did you mean 'pre'?",
        "optimizer.betas must be a list, each item a number, but is [0.9, 'x']",
        "optimizer.lr must be given, but is not (heed.training.optimizers.adamw needs it); "
        "add optimizer.lr=..., or choose one of Heed's own configs for optimizer",
        "task.preparation.max_source_len is not a key that heed.data.pairs.PairPreparation takes; "
        "did you mean 'max_source_length'?",
        "trainer.max_steps must be a whole number, but is 100000.0; write 100000",
    ]


def test_a_part_that_only_the_program_has_cannot_be_typed(frozen: Frozen) -> None:
    config = frozen()
    config["task"]["backbone"] = "mine"
    (fault,) = bind(config)
    assert str(fault).startswith("task.backbone is not a key that heed.tasks.translation")


def test_targets_of_others_are_left_to_building(frozen: Frozen) -> None:
    config = frozen()
    config["task"] = {"_target_": "no_such_module.Task", "anything": 3}
    config["callbacks"]["mine"] = {"_target_": "lightning.pytorch.callbacks.Timer", "x": 3}
    assert bind(config) == []
