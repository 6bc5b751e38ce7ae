"""`trainer.auto_batch`: how a size is chosen, and that the one found fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from heed.commands.auto_batch import (
    MULTIPLE,
    Asking,
    Found,
    Probe,
    doubling,
    evaluation_limit,
    extrapolated,
    find_batch,
    largest,
    useful_most,
)
from heed.commands.batch_probe import worst_batches
from heed.data.sampler import TokenBudgetSampler
from heed.errors import RunFailed

MIB = 2**20


class Pretend(Asking):
    """A process that takes `base` bytes and `each` for a token, and is killed above `killed`.

    With `bend`, so many tokens cost twice as much each.
    """

    def __init__(
        self,
        base: int,
        each: float,
        budget: int,
        killed: float = np.inf,
        bend: float = np.inf,
    ) -> None:
        super().__init__(Path("nowhere"), 1, budget)
        self.base, self.each, self.killed, self.bend = base, each, killed, bend
        self.asked: list[int] = []

    def __call__(self, stage: str, sizes: Sequence[int]) -> list[Probe]:
        probes: list[Probe] = []
        for tokens in sizes:
            if len(probes) > 1 and extrapolated(probes, self.budget) < tokens:
                break
            self.asked.append(tokens)
            peak = round(self.base + self.each * tokens * (1 + tokens / self.bend))
            probes.append(Probe(tokens, None if peak > self.killed else peak))
            if probes[-1].peak is None or peak > self.budget:
                break
        return probes


def test_sizes_double_up_to_the_most() -> None:
    assert list(doubling(1024, 5000)) == [1024, 2048, 4096, 5000]
    assert list(doubling(1024, 1024)) == [1024]


@pytest.mark.parametrize("budget", [701 * MIB, 997 * MIB, 4099 * MIB])
def test_what_is_found_is_the_largest_that_fits(budget: int) -> None:
    base, each = 523 * MIB, 31_013.0
    found, reason = largest(Pretend(base, each, budget), 1024, 10**9, "")
    assert reason == "memory"
    assert found.tokens % MULTIPLE == 0
    best = (budget - base) / each
    assert 0.95 * best - MULTIPLE < found.tokens <= best


@pytest.mark.parametrize("budget", [811 * MIB, 1301 * MIB, 2003 * MIB])
def test_memory_that_grows_faster_than_a_line_is_not_overrun(budget: int) -> None:
    pretend = Pretend(523 * MIB, 31_013.0, budget, bend=20_000)
    found, reason = largest(pretend, 1024, 10**9, "")
    assert reason == "memory"
    assert found.peak is not None
    assert 0.8 * budget < found.peak <= budget
    assert max(pretend.asked) > found.tokens  # a line has promised more


def test_a_killed_process_is_an_answer() -> None:
    pretend = Pretend(523 * MIB, 31_013.0, 10**12, killed=997 * MIB)
    found, reason = largest(pretend, 1024, 10**9, "")
    assert reason == "memory"
    assert found.tokens == 12288  # halfway between one that fits and one that does not
    assert found.peak is not None
    assert found.peak <= 997 * MIB


def test_a_useful_size_is_not_passed() -> None:
    found, reason = largest(Pretend(523 * MIB, 31.0, 997 * MIB), 1024, 7680, "enough")
    assert (found.tokens, reason) == (7680, "enough")


def test_a_model_that_does_not_fit_is_refused() -> None:
    with pytest.raises(RunFailed, match=r"data\.max_tokens=1024 takes 553 MiB, and 509 MiB may be"):
        largest(Pretend(523 * MIB, 31_013.0, 509 * MIB), 1024, 4096, "")


def test_evaluation_is_halved_until_it_fits() -> None:
    assert evaluation_limit(Pretend(523 * MIB, 31_013.0, 997 * MIB), 65536) == 8192
    assert evaluation_limit(Pretend(523 * MIB, 31.0, 997 * MIB), 4001) == 4001


def test_an_epoch_keeps_its_steps() -> None:
    lengths = np.full((1000, 2), 51)
    config: dict[str, Any] = {"trainer": {"accumulate_grad_batches": 1, "auto_batch": True}}
    assert useful_most(config, lengths, 1)[0] == 102_000 // 50 // 256 * 256
    config["trainer"]["accumulate_grad_batches"] = 2
    assert useful_most(config, lengths, 1)[0] == 102_000 // 100 // 256 * 256
    config["trainer"] = {"accumulate_grad_batches": 1, "auto_batch": 1111}
    assert useful_most(config, lengths, 1) == (1024, "trainer.auto_batch=1111")
    # every process gets a row of every batch
    assert useful_most(config, lengths, 7)[0] == 1536


@pytest.fixture
def prepared(
    tiny: list[str], tmp_path: Path, frozen: Callable[..., dict[str, Any]]
) -> Callable[..., tuple[dict[str, Any], Any]]:
    """A run folder as it is before its first step; the config and the parts of the run."""
    from heed.commands.assemble import assemble
    from heed.commands.own_runs import remember
    from heed.tracking.config_file import save_config
    from heed.tracking.folder import CONFIG, TOKENIZER
    from heed.tracking.record import RunRecord

    def make(*words: str) -> tuple[dict[str, Any], Any]:
        sizes = ["data.source.train_size=1201", f"paths.cache_dir={tmp_path / 'cache'}"]
        config = frozen(*tiny, *sizes, "trainer.auto_batch=true", *words)
        run_dir = tmp_path / "run"
        run_dir.mkdir()
        config["paths"]["run_dir"] = str(run_dir)
        save_config(config, run_dir / CONFIG)
        record = RunRecord.create(run_dir, task=config["task"]["name"], name="run", seed=1)
        remember(record, config)  # or its cache is not trusted, and the rows are encoded once more
        parts = assemble(config)
        parts.datamodule.prepare_data()
        parts.tokenizers.save(run_dir / TOKENIZER)
        return config, parts

    return make


def test_the_worst_batches_are_among_those_of_the_epoch(
    prepared: Callable[..., tuple[dict[str, Any], Any]],
) -> None:
    _, parts = prepared("task=translation")
    rows = parts.datamodule.rows("train").lengths
    batches = worst_batches(parts, "train", 701, 1)
    assert 1 <= len(batches) <= 4
    assert all(batch.token_positions <= 701 for batch in batches)
    sampler = TokenBudgetSampler(
        lengths=rows, max_tokens=701, batch_size=None, seed=parts.datamodule.seed
    )
    widths = [(len(numbers), np.asarray(rows)[numbers].max(axis=0)) for numbers in sampler]
    for costs, dearest in (
        ([n * w.sum() for n, w in widths], max(b.token_positions for b in batches)),
        ([n * w[1] for n, w in widths], max(b.target.token_positions for b in batches)),
    ):
        assert dearest == max(costs) > min(costs)


@pytest.mark.learning
@pytest.mark.parametrize("task", ["translation", "qa"])
def test_a_real_size_is_found_within_a_budget(
    task: str, prepared: Callable[..., tuple[dict[str, Any], Any]]
) -> None:
    """The size found takes less than the budget, and one half as large again takes more."""
    words = ["model.d_model=128", "model.d_feed_forward=512", "model.n_layers=2"]
    words += ["data.source.train_size=9001", "data.eval_max_tokens=2048"]
    config, parts = prepared(f"task={task}", *words)
    run_dir = Path(config["paths"]["run_dir"])
    small, large = (Asking(run_dir, 1, 2**40)("train", [size])[0].peak for size in (1024, 4096))
    assert small is not None
    assert large is not None
    assert large > small + 32 * MIB
    budget = large - 8 * MIB
    found = find_batch(config, run_dir, parts, budget=budget)
    assert found.reason == "memory"
    assert found.peak <= budget
    assert 1024 <= found.max_tokens < 4096
    assert found.eval_max_tokens is not None
    assert found.eval_max_tokens <= 2048
    (more,) = Asking(run_dir, 1, 2**40)("train", [found.max_tokens * 3 // 2])
    assert more.peak is not None
    assert more.peak > budget


@pytest.mark.learning
def test_the_size_is_frozen_and_used(
    heed: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    only_run: Callable[..., Path],
    record: Callable[..., dict[str, Any]],
) -> None:
    words = [f"paths.output_dir={tmp_path}", f"paths.cache_dir={tmp_path / 'c'}"]
    words += ["trainer.auto_batch=1300", "data.source.train_size=4001", "task=sentiment"]
    answer = heed("train", *tiny, *words)
    assert answer.code == 0, answer.err
    assert "auto_batch  data.max_tokens=1280 (a step takes " in answer.out
    assert "limited by trainer.auto_batch=1300" in answer.out
    assert "optimizer.lr stays" in answer.out
    run = only_run(tmp_path)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["max_tokens"] == 1280
    assert config["trainer"]["auto_batch"] is False
    facts = record(run)["data"]
    assert facts["auto_batch"]["max_tokens"] == 1280
    assert facts["train"]["batches"] > 50
    answer = heed("train", f"resume={run}", "trainer.auto_batch=true", "trainer.max_steps=5")
    assert answer.code == 2
    assert "goes on with the batches that it began with" in answer.err


def test_two_limits_are_one_too_many(heed: Callable[..., Any], tiny: list[str]) -> None:
    answer = heed("train", *tiny, "trainer.auto_batch=true", "data.batch_size=8")
    assert answer.code == 2
    assert "data.batch_size must be null with trainer.auto_batch" in answer.err
    answer = heed("train", *tiny, "trainer.auto_batch=100")
    assert answer.code == 2
    assert (
        "trainer.auto_batch must be a whole number of at least 256 or true or false" in answer.err
    )


def test_the_line_says_all() -> None:
    line = Found(1280, 8192, 600 * MIB, 900 * MIB, "memory").line(0.001)
    assert "data.max_tokens=1280 (a step takes 600 MiB of the 900 MiB" in line
    assert "optimizer.lr stays 0.001" in line
