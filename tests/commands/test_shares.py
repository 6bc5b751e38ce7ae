"""A share of the batches, `trainer.limit_val_batches=0.1`, holds one or is refused in time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heed.commands.shares import check_share, check_shares, least_share
from heed.errors import UserError

ALONE = {"strategy": "auto", "devices": 1, "accelerator": "cpu"}


def data(train: int, evaluated: int) -> Any:
    """Data of so many batches."""
    return SimpleNamespace(
        training_batches=lambda: train,
        evaluation_batches=lambda split, world: evaluated // world,
    )


def test_the_least_share_is_one_batch() -> None:
    for batches in range(1, 5000):
        least = least_share(batches)
        assert int(batches * least) == 1
        assert int(batches * 0.8 * least) == 0 or batches == 1


@pytest.mark.parametrize("key", ["limit_train_batches", "limit_val_batches", "limit_test_batches"])
def test_less_than_a_batch_is_refused(key: str) -> None:
    for enough in (0.02, 1.0, 1, None):
        check_shares({**ALONE, key: enough}, data(50, 50))
    with pytest.raises(UserError, match=rf"trainer\.{key} must be at least 0\.02 .* is 0\.019"):
        check_shares({**ALONE, key: 0.019}, data(50, 50))
    check_shares({**ALONE, key: 0.019}, data(0, 0))  # of no batches Lightning takes none


def test_overfitting_stands_in_the_place_of_two_limits() -> None:
    limits = {"limit_train_batches": 0.001, "limit_val_batches": 0.001}
    check_shares({**ALONE, **limits, "overfit_batches": 0.1}, data(10, 10))
    with pytest.raises(UserError, match=r"overfit_batches .* one of the 10 train batches"):
        check_shares({**ALONE, "overfit_batches": 0.09}, data(10, 50))
    with pytest.raises(UserError, match=r"overfit_batches .* one of the 10 validation batches"):
        check_shares({**ALONE, "overfit_batches": 0.09}, data(50, 10))
    check_shares({**ALONE, "overfit_batches": 0.09, "limit_val_batches": 0}, data(50, 10))


def test_every_process_has_its_share() -> None:
    two = {**ALONE, "strategy": "ddp", "devices": 2, "num_nodes": 2, "limit_test_batches": 0.05}
    check_shares({**two, "devices": 1, "num_nodes": 1}, data(50, 20))
    with pytest.raises(UserError, match=r"one of the 5 test batches of each process"):
        check_shares(two, data(50, 20))


def test_an_evaluated_training_split_has_other_batches() -> None:
    trainer = {**ALONE, "limit_test_batches": 0.1}
    check_share("limit_test_batches", trainer, data(5, 10), "train")


@pytest.mark.parametrize("share", ["1.25e-281", "0.05"])
def test_it_is_told_before_training(
    share: str, heed: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    words = [f"paths.output_dir={tmp_path}", f"trainer.limit_test_batches={share}"]
    answer = heed("train", *tiny, *words, "data.eval_max_tokens=500")
    assert answer.code == 2
    assert "trainer.limit_test_batches must be at least" in answer.err
    assert "a whole number counts batches: trainer.limit_test_batches=1" in answer.err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_evaluation_tells_it_too(heed: Callable[..., Any], run_folder: Callable[..., Path]) -> None:
    answer = heed("evaluate", f"run={run_folder('sentiment')}", "trainer.limit_test_batches=1e-9")
    assert answer.code == 2
    assert "trainer.limit_test_batches must be at least" in answer.err
