"""Shares of an epoch, such as `trainer.limit_val_batches=0.1`: each has to hold a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from heed.commands.ranks import processes
from heed.errors import UserError

if TYPE_CHECKING:
    from heed.data.files import Split
    from heed.data.module import DataModule


def check_shares(trainer: Mapping[str, Any], data: DataModule) -> None:
    """Refuse a share of a split's batches that training or the test at its end would find empty.

    Raises:
        UserError: As `check_share`.
    """
    overfit = trainer.get("overfit_batches")  # stands in the place of two limits
    check_share("overfit_batches" if overfit else "limit_train_batches", trainer, data, "train")
    if trainer.get("limit_val_batches") != 0:
        key = "overfit_batches" if overfit else "limit_val_batches"
        check_share(key, trainer, data, "validation")
    check_share("limit_test_batches", trainer, data, "test")


def check_share(key: str, trainer: Mapping[str, Any], data: DataModule, split: Split) -> None:
    """Refuse a share in which there is no whole batch; Lightning does so once it comes to it.

    Args:
        key: The key in `trainer`.
        trainer: `trainer` of the frozen config.
        data: The data, prepared.
        split: The split that it limits.

    Raises:
        UserError: If it is a share, and one of the processes would round it down to no batch.
    """
    share = trainer.get(key)
    if not isinstance(share, float) or share == 0:
        return
    world = processes(dict(trainer)) * int(trainer.get("num_nodes", 1))
    trained_on = key != "limit_test_batches" and split == "train"
    batches = data.training_batches() if trained_on else data.evaluation_batches(split, world)
    if batches and int(batches * share) < 1:
        each = " of each process" if world > 1 else ""
        raise UserError(
            f"trainer.{key} must be at least {least_share(batches)} to hold one of the "
            f"{batches:,} {split} batches{each}, but is {share}",
            f"a whole number counts batches: trainer.{key}=1",
        )


def least_share(batches: int) -> float:
    """The least share that holds a batch, rounded up to be short: 0.0034 of 300 batches."""
    fine = 10 ** (len(str(batches)) + 1)
    return math.ceil(fine / batches) / fine
