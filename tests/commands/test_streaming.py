"""Runs whose training rows are streamed: what is asked of them, and that they go on exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed.commands.rules import validate
from heed.tracking.csv_logger import read_metrics

STREAMED = ["data.streaming=true", "data.shuffle_buffer=30", "trainer.val_check_interval=5"]
QUIET = ("ignore:.*does not have many workers", "ignore:.*LeafSpec.* is deprecated")
pytestmark = [pytest.mark.filterwarnings(words) for words in QUIET]


def losses(run: Path) -> dict[int, float]:
    rows = read_metrics(run / "metrics.csv")
    return {int(row["step"]): float(row["train/loss"]) for row in rows if row.get("train/loss")}


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["trainer.max_steps=-1"], "trainer.max_steps must be given"),
        (["trainer.val_check_interval=0.5"], "trainer.val_check_interval must be a whole number"),
        (["trainer.auto_batch=true"], "trainer.auto_batch must be off"),
        (["trainer.overfit_batches=2"], "trainer.overfit_batches must be off"),
        (["trainer.limit_train_batches=0.5"], "trainer.limit_train_batches must be null or"),
        (["task=sentiment", "data.labels=null"], "data.labels must be given"),
        (["data.shuffle_buffer=0"], "data.shuffle_buffer must be a whole number of at least 1"),
    ],
)
def test_what_a_stream_cannot_do_is_told_first(
    frozen: Callable[..., dict[str, Any]],
    told: Callable[..., list[str]],
    overrides: list[str],
    key: str,
) -> None:
    config = frozen(*STREAMED, "trainer.max_steps=9", *overrides)
    (fault,) = told(validate, config)
    assert key in fault
    assert not told(validate, frozen(*STREAMED, "trainer.max_steps=9"))


def test_a_streamed_run_that_stops_goes_on_as_if_it_had_not(
    heed: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    only_run: Callable[[Path], Path],
    record: Callable[[Path], dict[str, Any]],
) -> None:
    def train(name: str, steps: int) -> Path:
        where = tmp_path / name
        answer = heed(
            *("train", *tiny, *STREAMED, "trainer.limit_test_batches=0"),
            *(f"trainer.max_steps={steps}", f"paths.output_dir={where}"),
        )
        assert answer.code == 0, answer.err + answer.out
        return only_run(where)

    whole, stopped = train("whole", 11), train("stopped", 7)
    answer = heed("train", f"resume={stopped}", "trainer.max_steps=11")
    assert answer.code == 0, answer.err + answer.out

    assert len(losses(whole)) == 11
    assert losses(stopped) == losses(whole)
    assert record(whole)["data"]["train"]["streamed"] is True
    assert record(stopped)["steps"] == 11
