"""A run's parts with the weights of one of its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.run_paths import TOKENIZER, find_checkpoint
from heed.errors import UserError

if TYPE_CHECKING:
    from heed.commands.assemble import Parts
    from heed.tracking.record import RunRecord


def split_overrides(overrides: list[str], own: set[str]) -> tuple[list[str], list[str]]:
    """The words that a verb takes itself, and those that amend the run's config."""
    mine = [word for word in overrides if word.partition("=")[0].lstrip("+") in own]
    return mine, [word for word in overrides if word not in mine]


def load_parts(record: RunRecord, config: dict[str, Any], which: str) -> tuple[Parts, Path]:
    """Corpus, tokenizer and task of a run, with a checkpoint's weights, ready to evaluate.

    Args:
        record: The run's record.
        config: Its frozen config, amended or not.
        which: "best", "last" or a file.

    Raises:
        UserError: If the checkpoint is missing, broken or of another model.
    """
    from heed.commands.assemble import assemble
    from heed.training.checkpoint_io import load_checkpoint

    checkpoint = find_checkpoint(record, which)
    weights = load_checkpoint(checkpoint).get("state_dict")
    if weights is None:
        raise UserError(f"{checkpoint} holds no weights (state_dict)", "give another checkpoint=")
    labels = record.fields["data"].get("labels")
    without_start = {**config, "model": {**config["model"], "init_from": None}}
    parts = assemble(without_start, tokenizer_dir=record.run_dir / TOKENIZER, labels=labels)
    try:
        parts.task.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{checkpoint} must fit the run's model, but does not: "
            f"{str(error).splitlines()[-1].strip()}",
            "leave model.* and task.* as the run has them",
        ) from error
    parts.task.eval()
    return parts, checkpoint
