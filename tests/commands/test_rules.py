"""What must hold between the values of a config, and the words for what does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed.commands.compose import compose, config_dir
from heed.commands.groups import group_options
from heed.commands.ranges import RANGES, Range, count
from heed.commands.rules import validate

Frozen = Callable[..., dict[str, Any]]
Told = Callable[..., list[str]]
MODELS = ", ".join(group_options([config_dir()], "model"))


def put(config: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Set dotted keys, written with __ for the dot."""
    for key, value in values.items():
        *parents, last = key.split("__")
        node = config
        for name in parents:
            node = node[name]
        node[last] = value
    return config


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["task=sentiment", "data=sst2", "tokenizer=wordpiece", "optimizer=sgd"],
        ["task=qa", "data=squad", "model=base", "model.shape=decoder"],
        ["task=generative_qa", "data=squad_v2", "decoding=sample"],
        ["task=summarization", "model.shape=decoder", "task.bidirectional_prefix=true"],
        ["tokenizer.joint=false", "model.tie_embeddings=decoder", "scheduler=cosine"],
        ["model.attention=windowed", "model.window=9", "model.global_layers=[1]"],
        ["model.positions=alibi", "model.n_kv_heads=2", "+model.qk_norm=true"],
        ["model.positions=rotary", "data.max_tokens=null", "data.batch_size=32", "logger=null"],
    ],
)
def test_what_is_right_passes(overrides: list[str], frozen: Frozen) -> None:
    validate(frozen(*overrides))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"model__n_heads": 7},
            "model.n_heads must divide model.d_model (128), but is 7; try model.n_heads=8",
        ),
        (
            {"model__positions": "rotary", "model__d_model": 12},
            "model.d_model / model.n_heads must be even with model.positions=rotary, but is 3; "
            "change model.n_heads, or use model.positions=sinusoidal",
        ),
        (
            {"model__shape": "encoder"},
            "model.shape must be encoder_decoder or decoder for task=translation, but is "
            "'encoder'; try model.shape=encoder_decoder",
        ),
        (
            {"model__shape": "decoder", "task__preparation__max_source_length": 777},
            "task.preparation.max_source_length plus task.preparation.max_target_length (256) must "
            "be at most model.max_length (1024) with model.shape=decoder, which has both in one "
            "row, but is 777; try task.preparation.max_source_length=768",
        ),
        (
            {"model__shape": "decoder", "decoding__max_length": 1023},
            "task.preparation.max_source_length plus decoding.max_length (1023) must be at most "
            "model.max_length (1024) with model.shape=decoder, which has both in one row, but is "
            "256; try model.max_length=1279",
        ),
        (
            {"model__shape": "decoder", "tokenizer__joint": False},
            "tokenizer.joint must be true with model.shape=decoder, which has one vocabulary, "
            "but is false; leave tokenizer.joint out",
        ),
        (
            {"task__bidirectional_prefix": True},
            "task.bidirectional_prefix must be false with model.shape=encoder_decoder, whose "
            "encoder sees the whole source anyway, but is true; leave it out, or try "
            "model.shape=decoder",
        ),
        (
            {"task__preparation__max_source_length": 2000},
            "task.preparation.max_source_length must be at most model.max_length (1024), but is "
            "2000; try task.preparation.max_source_length=1024, or model.max_length=2000",
        ),
        (
            {"data__max_tokens": None},
            "data.max_tokens must be given when data.batch_size is null, but is null; "
            "try data.max_tokens=4096",
        ),
        (
            {"data__path": "no/where"},
            "data.path must be a folder or file, but no/where does not exist",
        ),
        (
            {"data__columns": {"sorce": "en"}},
            "data.columns.sorce is not a column of pairs records; did you mean 'source'?",
        ),
        (
            {"data__split_columns": {"test": {"referencs": "en"}}},
            "data.split_columns.test.referencs is not a column of pairs records; "
            "did you mean 'references'?",
        ),
        (
            {"data__invalid": "drp"},
            "data.invalid must be drop or error, but is 'drp'; did you mean 'drop'?",
        ),
        (
            {"data__max_token": 3},
            "data.max_token is not a key of the config; did you mean 'max_tokens'?",
        ),
        ({"trainr": {}}, "trainr is not a key of the config; did you mean 'trainer'?"),
        (
            {"tokenizer__joint": False},
            "model.tie_embeddings must be decoder or none with tokenizer.joint not true, which "
            "makes two vocabularies, but is all; try model.tie_embeddings=decoder",
        ),
        ({"name": "a/b"}, "name must be a plain folder name, but is 'a/b'; try name=my_run"),
        (
            {"decoding__min_length": 300},
            "decoding.min_length must be less than decoding.max_length (256), which counts the end "
            "of the sentence, but is 300; try decoding.max_length=301",
        ),
        (
            {"decoding__n_best": 9},
            "decoding.n_best must be at most decoding.beam_size (5), but is 9; "
            "try decoding.beam_size=9",
        ),
        (
            {"task__monitor": "test/bleu"},
            "task.monitor must be a validation score (val/...), but is 'test/bleu'; "
            "try task.monitor=val/bleu",
        ),
        (
            {"callbacks__early_stopping__monitor": "train/loss"},
            "callbacks.early_stopping.monitor must be a validation score (val/...), "
            "but is 'train/loss'; try callbacks.early_stopping.monitor=val/loss",
        ),
        (
            {"trainer__max_time": "3h"},
            "trainer.max_time must be DAYS:HOURS:MINUTES:SECONDS, but is '3h'; "
            "half an hour is trainer.max_time=00:00:30:00",
        ),
        (
            {"trainer__precision": "bf16"},
            "trainer.precision must be one of auto, 32-true, bf16-mixed, 16-mixed, bf16-true, "
            "16-true, 64-true, but is 'bf16'; did you mean 'bf16-true'?",
        ),
        (
            {"scheduler___target_": "heed.training.schedules.linear", "scheduler__final": 0.0}
            | {"trainer__max_epochs": -1},
            "trainer.max_steps or trainer.max_epochs must be given with scheduler=linear, which "
            "ends, but neither is; try trainer.max_epochs=10, or scheduler=inverse_square_root",
        ),
        (
            {"model": None},
            f"model must be chosen, but is null; choose one of: {MODELS}",
        ),
        (
            {"model__init_from": "no/run"},
            "model.init_from must be the folder of a run, but no/run does not exist",
        ),
        (
            {"seed": -1},
            "seed must be a whole number of at least 0 and at most 4294967295, but is -1",
        ),
        ({"optimizer__lr": 0}, "optimizer.lr must be more than 0, but is 0"),
        (
            {"task__label_smoothing": 1},
            "task.label_smoothing must be at least 0 and less than 1, but is 1",
        ),
        (
            {"trainer__max_steps": 0},
            "trainer.max_steps must be a whole number of at least 1 or -1, but is 0",
        ),
        (
            {"data__max_tokens": "many"},
            "data.max_tokens must be a whole number of at least 1 or null, but is 'many'",
        ),
        (
            {"trainer__limit_val_batches": 1.5},
            "trainer.limit_val_batches must be a whole number of batches (at least 1) or a share "
            "of them (more than 0 and at most 1.0), but is 1.5",
        ),
    ],
)
def test_one_mistake(values: dict[str, Any], words: str, frozen: Frozen, told: Told) -> None:
    assert told(validate, put(frozen(), **values)) == [words]


@pytest.mark.parametrize("value", [True, 3, "x", ["a"]])
@pytest.mark.parametrize("group", ["decoding", "sweep"])
def test_a_group_is_a_mapping(group: str, value: Any, frozen: Frozen, told: Told) -> None:
    (fault,) = told(validate, put(frozen(), **{group: value}))
    assert fault.startswith(f"{group} must be a mapping")


@pytest.mark.parametrize("key", ["model.d_model", "model.n_heads", "model.n_layers"])
def test_a_size_that_is_null(key: str, frozen: Frozen, told: Told) -> None:
    (fault,) = told(validate, put(frozen(), **{key.replace(".", "__"): None}))
    assert fault == f"{key} must be a whole number, but is null"


@pytest.mark.parametrize("key", ["task.monitor", "task.mode", "sweep.study_name"])
def test_what_a_search_needs(key: str, frozen: Frozen, told: Told) -> None:
    config = frozen("sweep=optuna")
    config["task"]["_target_"] = "package.of.the.User"
    group, name = key.split(".")
    del config[group][name]
    (fault,) = told(validate, config)
    assert fault.startswith(f"{key} must be given")


def test_data_that_do_not_suit_the_task(frozen: Frozen, told: Told) -> None:
    assert told(validate, frozen("data=squad")) == [
        "data=squad must suit task=translation, which needs pairs, but has passages for qa and "
        "generative_qa; choose one of: data=builtin, data=local, data=multi30k, data=opus_books, "
        "data=wmt14, task=qa, task=generative_qa"
    ]
    (words,) = told(validate, frozen("data=multi30k", "task=summarization"))
    assert words.startswith("data=multi30k must suit task=summarization, which needs pairs")


def test_a_users_data_set_is_suggested_too(user_configs: Callable[..., Path], told: Told) -> None:
    mine = user_configs(
        {"data/mine": "# Mine.\ndefaults: [multi30k, _self_]\nname: mine\ntasks: [summarization]\n"}
    )
    (words,) = told(validate, compose("train", ["data=mine"], mine), mine)
    assert words.endswith("data=multi30k, data=opus_books, data=wmt14, task=summarization")
    (words,) = told(validate, compose("train", ["task=summarization", "data=sst2"], mine), mine)
    assert "data=mine" in words


def test_local_data_need_a_path(frozen: Frozen, told: Told) -> None:
    assert told(validate, frozen("data=local")) == [
        "data.path must be given with data=local, but is null; "
        "add data.path=FOLDER (with train, validation and test files) or data.path=FILE"
    ]


def test_a_path_that_is_nearly_right(tmp_path: Path, frozen: Frozen, told: Told) -> None:
    (tmp_path / "reviews").mkdir()
    config = put(frozen(), data__path=str(tmp_path / "review"))
    assert told(validate, config) == [
        f"data.path must be a folder or file, but {tmp_path}/review does not exist; "
        "did you mean 'reviews'?"
    ]


def test_two_tokenizers_need_two_sides(frozen: Frozen, told: Told) -> None:
    config = put(frozen("task=sentiment"), tokenizer__joint=False)
    assert told(validate, config) == [
        "tokenizer.joint must be true with model.shape=encoder, which has one vocabulary, "
        "but is false; leave tokenizer.joint out"
    ]


def test_everything_is_told_together_and_each_key_once(frozen: Frozen, told: Told) -> None:
    config = put(
        frozen(),
        model__n_heads=7,
        model__dropout=1.0,
        model__norm="x",
        model__shape="encoder",
        data__max_tokens=None,
        optimizer__lr=-1,
        seed="x",
        decoding__beam_size="five",
    )
    keys = sorted(error.split(" ")[0] for error in told(validate, config))
    assert keys == [
        "data.max_tokens",
        "decoding.beam_size",
        "model.dropout",
        "model.n_heads",
        "model.norm",
        "model.shape",
        "optimizer.lr",
        "seed",
    ]


@pytest.fixture
def run(tmp_path: Path, frozen: Frozen) -> Path:
    """The folder of a run of the tiny model."""
    (tmp_path / "run" / "tokenizer").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text(json.dumps({}))
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(frozen()))
    return tmp_path / "run"


def test_a_start_needs_its_tokenizer(run: Path, frozen: Frozen, told: Told) -> None:
    config = put(frozen(), model__init_from=str(run))
    assert told(validate, config) == [
        f"tokenizer must be that of {run}, whose weights stand for its tokens; "
        f"add tokenizer=file tokenizer.path={run}/tokenizer"
    ]
    words = ["tokenizer=file", f"tokenizer.path={run}/tokenizer", f"model.init_from={run}"]
    validate(compose("train", words))


def test_a_start_needs_its_sizes(run: Path, told: Told) -> None:
    words = ["tokenizer=file", f"tokenizer.path={run}/tokenizer", f"model.init_from={run}"]
    assert told(validate, compose("train", [*words, "model.d_model=256"])) == [
        f"model.d_model must be 128, as in {run}, but is 256; write model.d_model=128"
    ]
    assert told(validate, compose("train", [*words, "model.n_kv_heads=2"])) == [
        f"model.n_kv_heads must be 4, as in {run}, but is 2; write model.n_kv_heads=4"
    ]
    validate(compose("train", [*words, "model.n_kv_heads=4"]))  # as many as there are heads


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("model.norm_position=post", "model.norm_position must be 'pre', as in RUN, but is 'post'"),
        ("model.activation=gelu", "model.activation must be 'relu', as in RUN, but is 'gelu'"),
        ("model.attention=additive", "model.attention must be 'scaled_dot_product', as in RUN"),
        ("+model.qk_norm=true", "model.qk_norm must be false, as in RUN, but is true"),
        ("+model.scale_embeddings=false", "model.scale_embeddings must be true, as in RUN"),
        ("model.n_layers=3", "model.n_layers must be 2, as the encoder of RUN has, but is 3"),
        (
            "model.n_decoder_layers=1",
            "model.n_decoder_layers must be 2, as the decoder of RUN has, but is 1",
        ),
    ],
)
def test_a_start_needs_its_kind_of_model(run: Path, told: Told, word: str, fault: str) -> None:
    words = ["tokenizer=file", f"tokenizer.path={run}/tokenizer", f"model.init_from={run}"]
    (found, *_) = told(validate, compose("train", [*words, word]))
    assert found.startswith(fault.replace("RUN", str(run)))


def test_what_does_not_shape_weights_may_differ_from_a_start(run: Path) -> None:
    words = ["tokenizer=file", f"tokenizer.path={run}/tokenizer", f"model.init_from={run}"]
    other = ["model.dropout=0.3", "model.max_length=77", "model.kernel=sdpa"]
    other += ["task.preparation.max_source_length=77", "task.preparation.max_target_length=77"]
    other += ["decoding.max_length=77", "+model.rotary_base=500.0"]
    validate(compose("train", [*words, *other]))
    wider = ["model.attention=windowed", "model.window=16"]
    validate(compose("train", [*words, *wider]))


def test_a_start_has_a_stack_that_the_model_has_too(
    tmp_path: Path, run: Path, frozen: Frozen, told: Told
) -> None:
    (run / "config.yaml").write_text(yaml.safe_dump(frozen("task=causal_lm")))
    words = ["tokenizer=file", f"tokenizer.path={run}/tokenizer", f"model.init_from={run}"]
    assert told(validate, compose("train", ["task=masked_lm", *words])) == [
        f"model.shape must be decoder or encoder_decoder with model.init_from={run}, whose "
        "weights are a bare decoder's, but is 'encoder'; "
        "start from a run whose model has the encoder"
    ]
    validate(compose("train", ["task=translation", *words]))


def test_one_table_cannot_start_from_two(run: Path, frozen: Frozen, told: Told) -> None:
    (run / "config.yaml").write_text(yaml.safe_dump(frozen("model.tie_embeddings=none")))
    words = ["tokenizer=file", f"tokenizer.path={run}/tokenizer", f"model.init_from={run}"]
    assert told(validate, compose("train", words)) == [
        f"model.tie_embeddings must be none, as in {run}, which has a table for each side, "
        "but is all; write model.tie_embeddings=none"
    ]
    validate(compose("train", [*words, "task=sentiment"]))


def test_a_start_must_be_a_run(tmp_path: Path, frozen: Frozen, told: Told) -> None:
    config = put(frozen(), model__init_from=str(tmp_path))
    assert told(validate, config) == [
        f"model.init_from must be the folder of a run, but {tmp_path} holds no run.json"
    ]


def test_groups_and_targets_of_the_users_own_pass(user_configs: Callable[..., Path]) -> None:
    mine = user_configs(
        {
            "task/tagging": "# Tags.\n_target_: my.Tagging\nname: tagging\nkind: tags\nmood: 3\n"
            "preparation: {_target_: my.Preparation}\n",
            "data/tags": "# T.\ndefaults: [local, _self_]\nname: tags\ntasks: [tagging]\npath: .\n",
            "model/mine": "# Mine.\n_target_: my.Model\nsize: 3\n",
            "extra/one": "# More.\nsize: 3\n",
        }
    )
    words = ["task=tagging", "data=tags", "model=mine", "callbacks=none", "+extra=one", "+_x=3"]
    validate(compose("train", words, mine), mine)


def test_ranges_say_what_they_hold() -> None:
    assert str(Range(0, 1, above=True, below=True)) == "more than 0 and less than 1"
    assert str(count(1, -1, None)) == "a whole number of at least 1 or -1 or null"
    assert str(Range(high=0, below=True)) == "less than 0"
    assert count(1, -1).holds(-1)
    assert not count(1, -1).holds(0)
    assert not count(0).holds(True)
    assert not count(0).holds(1.0)
    assert Range(0, 1).holds(1)
    assert not Range(0, 1, below=True).holds(1)
    assert not Range(0, above=True).holds(float("nan"))


def test_every_range_is_of_a_key_that_some_config_has(frozen: Frozen) -> None:
    configs = [
        frozen("task=sentiment", "optimizer=sgd", "scheduler=linear", "adapter=lora"),
        frozen("task=qa", "optimizer=adafactor", "decoding=sample", "trainer=ddp"),
        frozen("task=masked_lm"),
        frozen(),
    ]
    for key in RANGES:
        found = False
        for config in configs:
            node: Any = config
            for word in key.split("."):
                node = node.get(word, {}) if isinstance(node, dict) else {}
            found = found or node != {}
        assert found, key
