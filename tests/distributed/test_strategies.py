"""Every strategy takes the same steps as one process does with the same global batches."""

from __future__ import annotations

import json
import math

import pytest

from heed.cli import main

pytestmark = [
    pytest.mark.learning,  # a command of two processes takes its time
    *(
        pytest.mark.filterwarnings(words)
        for words in (
            "ignore:.*does not have many workers",
            "ignore:.*LeafSpec.* is deprecated",
            "ignore:.*Trying to infer the `batch_size`",
        )
    ),
]
TASKS = ("translation", "summarization", "sentiment", "qa", "generative_qa")
TOLERANCE = 1e-4  # of losses near 6: sums of 32-bit numbers in another order
ACCUMULATED = ("trainer.accumulate_grad_batches=3", "trainer.val_check_interval=9")
CASES = [("fsdp2", task, ACCUMULATED) for task in TASKS]
CASES += [("ddp", task, ACCUMULATED) for task in ("translation", "sentiment", "qa")]  # a head each
CASES += [("ddp_static_graph", "translation", ()), ("ddp_static_graph", "qa", ACCUMULATED)]


def curves(run) -> dict[str, list[tuple[int, float]]]:
    return {n: run.column(n) for n in ("train/loss", "train/gradient_norm", "val/loss")}


@pytest.mark.parametrize(("strategy", "task", "more"), CASES)
def test_the_curve_is_that_of_one_process(trained, strategy, task, more):
    plain = "" if more else "-plain"
    one = trained(task, f"one{plain}", 1, *more)
    two = trained(task, f"{strategy}{plain}", 2, f"trainer={strategy}", *more)
    for name, expected in curves(one).items():
        found = curves(two)[name]
        assert [step for step, _ in found] == [step for step, _ in expected], name
        assert len(expected) >= (2 if name == "val/loss" else 11), name
        for (step, value), (_, wanted) in zip(found, expected, strict=True):
            assert value == pytest.approx(wanted, abs=TOLERANCE), (name, step)
    losses = {value for _, value in one.column("train/loss")}
    assert len(losses) > 5  # steps were taken


def test_the_ranks_had_different_numbers_of_tokens(trained):
    """Else the comparison above would say nothing of how sums are divided."""
    from heed.commands.assemble import assemble
    from heed.tracking.config_file import load_config

    run = trained("translation", "one", 1, *ACCUMULATED)
    config = load_config(run.folder / "config.yaml")
    parts = assemble(config, tokenizer_dir=run.folder / "tokenizer")
    lengths = parts.datamodule.rows("train").lengths
    from heed.data.sampler import TokenBudgetSampler

    tokens = []
    for rank in range(2):
        sampler = TokenBudgetSampler(
            lengths=lengths, max_tokens=700, batch_size=None, seed=42, rank=rank, world_size=2
        )
        tokens.append([int(lengths[rows].sum()) for rows in sampler])
    assert sum(a != b for a, b in zip(*tokens, strict=True)) > len(tokens[0]) // 2


@pytest.mark.parametrize(("begin", "end"), [("fsdp2", "one"), ("ddp", "fsdp2")])
def test_a_checkpoint_goes_on_under_any_strategy(trained, command, begin, end):
    """On another number of processes too: global batches do not know how many there are."""
    whole = trained("translation", "one", 1, *ACCUMULATED)
    place = f"{begin}-{end}"
    first = trained(
        "translation", place, 2, f"trainer={begin}", *ACCUMULATED, "trainer.max_steps=6"
    )
    moved = {"one": ("trainer=cpu",), "fsdp2": ("trainer=fsdp2", "trainer.devices=2")}[end]
    done = command(
        *("train", f"resume={first.folder}", *moved),
        *("trainer.accelerator=cpu", "trainer.max_steps=11"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("train/loss", "train/gradient_norm"):
        expected = [value for _, value in curves(whole)[name]]
        assert [v for _, v in curves(first)[name]] == pytest.approx(expected, abs=TOLERANCE), name


def test_shards_in_a_folder(trained, command):
    """A sharded checkpoint goes on, is evaluated, and holds what the one file holds."""
    whole = trained("translation", "fsdp2", 2, "trainer=fsdp2", *ACCUMULATED)
    sharded = ("trainer=fsdp2", "trainer.strategy.sharded_checkpoints=true", *ACCUMULATED)
    first = trained("translation", "shards", 2, *sharded, "trainer.max_steps=6")
    assert (first.folder / "checkpoints" / "last.ckpt").is_dir()
    done = command("train", f"resume={first.folder}", "trainer.max_steps=11")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [v for _, v in first.column("train/loss")] == [v for _, v in whole.column("train/loss")]
    assert main(["evaluate", f"run={first.folder}", "checkpoint=last"]) == 0


@pytest.mark.parametrize("options", [
    ("trainer.strategy.activation_checkpointing=true",),
    ("trainer.strategy.reshard_after_forward=false",),
])  # fmt: skip
def test_choices_of_sharding_change_no_number(trained, options):
    whole = trained("translation", "fsdp2", 2, "trainer=fsdp2", *ACCUMULATED)
    place = options[0].partition("=")[0].rpartition(".")[2]
    other = trained("translation", place, 2, "trainer=fsdp2", *ACCUMULATED, *options)
    expected = [value for _, value in whole.column("train/loss")]
    assert [value for _, value in other.column("train/loss")] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("task", "processes"), [*zip(TASKS, (2, 2, 3, 3, 2), strict=True)])
def test_scores_do_not_depend_on_the_number_of_processes(
    trained, command, task, processes, tmp_path
):
    """29 examples on one and on several processes: uneven shares, each example once."""
    run = trained(task, "one", 1, *ACCUMULATED)
    reports, predictions = [], []
    for devices in (1, processes):
        output = tmp_path / f"{devices}.jsonl"
        words = ["evaluate", f"run={run.folder}", f"devices={devices}", f"output={output}"]
        if devices == 1:
            assert main(words) == 0
        else:
            done = command(*words)
            assert done.returncode == 0, done.stdout + done.stderr
        lines = [json.loads(line) for line in output.read_text().splitlines()]
        assert [line["index"] for line in lines] == list(range(29))
        predictions.append([line["prediction"] for line in lines])
        reports.append(json.loads(output.with_suffix(".scores.json").read_text())["scores"])
    assert predictions[0] == predictions[1]
    for name, value in reports[0].items():
        if name in ("test/loss", "test/perplexity", "test/calibration_error"):
            assert math.isclose(reports[1][name], value, rel_tol=1e-5), name  # sums of floats
        else:
            assert reports[1][name] == value, name
