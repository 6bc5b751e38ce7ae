"""`heed check`: parameters, steps, operations and memory without reading data."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from heed import cli
from heed.backbone.layout import Padded
from heed.commands.check import (
    by_part,
    count_parameters,
    human,
    models,
    report,
    step_lines,
    steps_of_epoch,
    steps_of_training,
)
from heed.commands.costs import memory_bytes, split_tokens, training_flops
from heed.commands.prepared import KnownData, known_data

Frozen = Callable[..., dict[str, Any]]


def test_a_right_config_is_reported(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEED_CACHE", str(tmp_path / "cache"))
    words = ["task=sentiment", "model=small", "trainer.max_steps=100"]
    assert cli.main(["check", *words]) == 0
    shown = capsys.readouterr().out
    for line in ("task        sentiment", "model       small", "data        builtin"):
        assert line in shown
    assert re.search(r"epoch       12,000 rows, about \d+ steps", shown)
    assert re.search(r"training    about 100 steps, ", shown)
    assert "memory      about" in shown
    assert shown.endswith("  heed train task=sentiment model=small trainer.max_steps=100\n")
    assert not (tmp_path / "outputs").exists()


def test_a_wrong_config_is_refused_with_all_its_mistakes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["check", "model.n_heads=7", "trainer.max_steps=0"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.split()[1] for line in shown.err.splitlines()] == [
        "trainer.max_steps",
        "model.n_heads",
    ]


@pytest.mark.parametrize("task", ["translation", "sentiment", "qa"])
def test_parameters_are_those_of_the_model_that_is_trained(task: str, frozen: Frozen) -> None:
    from heed.commands.assemble import build_backbone

    config = frozen(f"task={task}")
    backbone, head = models(config, (97, None))
    assert all(parameter.is_meta for parameter in backbone.parameters())
    real = build_backbone(config, vocabulary_size=97)
    assert count_parameters(backbone) == sum(p.numel() for p in real.parameters())
    # A tied vocabulary head has no weights of its own; the others have a matrix and a bias.
    own = 0 if task == "translation" else 2 * 128 + 2
    assert count_parameters(backbone, head) - count_parameters(backbone) == own
    assert sum(count for _, count in by_part(backbone, head)) == count_parameters(backbone, head)


def test_the_base_model_has_the_papers_size(frozen: Frozen) -> None:
    """Vaswani et al. (2017), table 3: base 65 million, with about 37,000 tokens."""
    backbone, head = models(frozen("model=base"), (37_000, None))
    assert count_parameters(backbone, head) == pytest.approx(65e6, rel=0.05)


@pytest.mark.parametrize("shape", ["encoder_decoder", "encoder", "decoder"])
def test_operations_are_those_that_torch_counts(shape: str, frozen: Frozen) -> None:
    """Forward operations of one batch by torch's own counter, three times (backward is twice)."""
    rows, read, written, vocabulary = 3, 211, 211, 89
    task = "translation" if shape == "encoder_decoder" else "sentiment"
    config = frozen(f"task={task}")
    config["model"].update(shape=shape, kernel="reference", dropout=0.0)
    sizes = (vocabulary, None)
    from heed.commands.assemble import build_backbone

    backbone = build_backbone(config, vocabulary_size=vocabulary)
    _, head = models(config, sizes)
    ids = torch.randint(vocabulary, (rows, read))
    layout = Padded.unpadded(rows, read)
    with FlopCounterMode(display=False) as counter:
        if shape == "encoder_decoder":
            hidden = backbone.decode(ids, layout, backbone.encode(ids, layout), layout)
            hidden @ torch.zeros(128, vocabulary)
        else:
            backbone.features(ids, layout)
    lengths = (float(read), float(written)) if shape == "encoder_decoder" else (float(read),)
    tokens = split_tokens(rows * sum(lengths), lengths, shape)
    if shape != "encoder_decoder":
        head = torch.nn.Module()  # negligible, and not counted above
    told = training_flops(config["model"], backbone, head, tokens)
    # The reference kernel computes the whole square where causal attention needs half of it.
    width, layers = config["model"]["d_model"], config["model"]["n_layers"]
    unneeded = {"encoder": 0, "decoder": rows * read, "encoder_decoder": rows * written}[shape]
    needed = 3 * counter.get_total_flops() - 6 * layers * width * unneeded * read
    assert told == pytest.approx(needed, rel=1e-6)


def test_only_what_is_written_is_scored() -> None:
    assert split_tokens(90.0, (13.0, 17.0), "encoder_decoder").scored == pytest.approx(51.0)
    assert split_tokens(90.0, (13.0, 17.0), "decoder").scored == pytest.approx(51.0)
    assert split_tokens(90.0, (30.0,), "decoder").scored == 90.0


def test_memory_of_weights_gradients_and_optimizer(frozen: Frozen) -> None:
    config = frozen()
    tokens = split_tokens(1000.0, (13.0, 17.0), "encoder_decoder")
    parts = memory_bytes(config, 1000, tokens, outputs=0)
    assert (parts["weights"], parts["gradients"], parts["optimizer"]) == (4000, 4000, 8000)
    averaged = copy.deepcopy(config)
    averaged["callbacks"]["ema"]["decay"] = 0.99
    assert memory_bytes(averaged, 1000, tokens, outputs=0)["weights"] == 8000
    config["optimizer"]["_target_"] = "heed.training.optimizers.sgd"
    assert memory_bytes(config, 1000, tokens, outputs=0)["optimizer"] == 4000
    config["trainer"]["precision"] = "bf16-mixed"
    half = memory_bytes(config, 1000, tokens, outputs=0)["activations"]
    assert half == parts["activations"] / 2


@pytest.mark.parametrize(
    ("changes", "batches", "epoch", "total"),
    [
        ({"max_epochs": 10}, 50, 50, 500),
        ({"max_epochs": 10, "accumulate_grad_batches": 4}, 50, 13, 130),
        ({"max_epochs": 10, "max_steps": 77}, 50, 50, 77),
        ({"max_epochs": -1}, 50, 50, None),
        ({"max_epochs": 2, "limit_train_batches": 7}, 50, 7, 14),
        ({"max_epochs": 2, "limit_train_batches": 0.5}, 50, 25, 50),
        ({"max_epochs": 200, "overfit_batches": 1}, 50, 1, 200),
    ],
)
def test_steps(
    changes: dict[str, Any], batches: int, epoch: int, total: int | None, frozen: Frozen
) -> None:
    config = frozen()
    config["trainer"].update(changes)
    assert steps_of_epoch(config, batches) == epoch
    assert steps_of_training(config, epoch) == total


def test_steps_of_unknown_data(frozen: Frozen) -> None:
    (line,) = step_lines(frozen("data=multi30k"), KnownData())
    assert line == "epoch       steps unknown until the data are prepared (heed train does)"


def test_the_hub_is_not_asked(frozen: Frozen, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*args: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert known_data(frozen("data=multi30k")) == KnownData()
    assert known_data(frozen("data=multi30k", "tokenizer=hub", "tokenizer.name=x")) == KnownData()


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        ("translation", "encoder_decoder"),
        ("translation", "decoder"),
        ("sentiment", "encoder"),
        ("qa", "encoder"),
    ],
)
def test_what_was_prepared_is_counted(
    task: str, shape: str, frozen: Frozen, tmp_path: Path
) -> None:
    """An estimate before, the data module's own numbers after."""
    from heed.commands.assemble import assemble

    config = frozen(
        f"task={task}",
        f"model.shape={shape}",
        "data.source.train_size=400",
        "data.source.validation_size=20",
        "data.source.test_size=20",
        "tokenizer.vocabulary_size=2000",
    )
    config["paths"]["cache_dir"] = config["data"]["cache_dir"] = str(tmp_path)
    guess = known_data(config)
    assert not guess.exact
    assert guess.rows == 400

    module = assemble(config).datamodule
    module.prepare_data()
    facts = module.statistics()["train"]
    known = known_data(config)
    assert known.exact
    assert (known.rows, known.batches) == (facts["rows"], facts["batches"])
    assert known.tokenizers is not None
    means = [tokens / facts["rows"] for tokens in facts["tokens"].values()]
    if shape == "decoder":  # one row for both, told apart
        assert sum(known.lengths) == pytest.approx(means[0])
        prefixes = module.rows("train").column("prefix")
        assert known.lengths[0] == pytest.approx(prefixes.mean())
    else:
        assert known.lengths == pytest.approx(means)
    assert guess.batches is not None
    assert 0.5 < guess.batches / facts["batches"] < 2

    config["data"]["limit_examples"] = 100  # not prepared
    assert not known_data(config).exact


def test_a_report_without_a_transformer(
    user_configs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A model of the user's own has parameters, but no sizes that a formula knows."""
    from heed.commands.compose import compose

    mine = user_configs({"model/mine": "# Mine.\n_target_: torch.nn.LazyLinear\nout_features: 3\n"})
    config = compose("train", ["task=sentiment", "model=mine"], mine)
    config["model"] = {"_target_": "tests_own_model.make", "size": 7}
    import sys
    import types

    module = types.ModuleType("tests_own_model")

    def make(*, size: int, vocabulary_size: int) -> torch.nn.Module:
        model = torch.nn.Embedding(vocabulary_size, size)
        model.d_model = size  # type: ignore[assignment]
        return model

    module.make = make  # type: ignore[attr-defined]
    sys.modules["tests_own_model"] = module
    try:
        report(config, [])
    finally:
        del sys.modules["tests_own_model"]
    shown = capsys.readouterr().out
    assert "parameters  " in shown
    assert "FLOPs" not in shown


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 "), (12, "12 "), (999, "999 "), (1000, "1 k"), (1.234e7, "12.3 M")]
)
def test_numbers_for_people(number: float, shown: str) -> None:
    assert human(number) == shown


def test_the_pooler_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "task=sentiment", "task.pooling=pooled"]) == 0
    layer, output = 128 * 128 + 128, 2 * 128 + 2
    assert f"{layer + output:,}" in capsys.readouterr().out
