"""A trained run as `heed evaluate` and `heed predict` use it: config amended, weights loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from heed.commands.amend import amend
from heed.commands.arguments import Arguments
from heed.commands.compose import compose
from heed.commands.rules import validate
from heed.commands.run_paths import find_checkpoint, open_run
from heed.errors import UserError, UserErrors, raise_together
from heed.tracking.folder import TOKENIZER

if TYPE_CHECKING:
    import torch

    from heed.commands.assemble import Parts
    from heed.tracking.record import RunRecord

# What a trained run no longer needs: its tokenizers and weights are in its folder.
LEARNED = ("tokenizer.", "tokenizer must be that of", "model.init_from")
# Keys that choose the data; the others say how they are read into batches.
OF_THE_DATA = ("data.path=", "data.source", "data.columns", "data.split_columns", "data.labels")


class Request(NamedTuple):
    """What somebody asks of a trained run.

    Attributes:
        asked: The verb's own keys (`run`, `checkpoint`, ...).
        record: The run's record.
        config: Its frozen config with the changes.
        changes: The words that made them.
    """

    asked: dict[str, Any]
    record: RunRecord
    config: dict[str, Any]
    changes: list[str]


def read_request(verb: str, arguments: Arguments) -> Request:
    """Find the run that a verb is asked to work on, and amend its config.

    Words whose key stands in the verb's own config are the verb's; all others amend the run's.

    Args:
        verb: "evaluate" or "predict", whose config has the verb's own keys.
        arguments: The words after the verb.

    Raises:
        UserError: If there is no such run or key.
    """
    if arguments.multirun:
        raise UserError(f"heed {verb} works on one run at a time, and has no -m", "repeat it")
    own = compose(verb, ["run=none"]).keys()
    mine = [word for word in arguments.overrides if word.partition("=")[0].lstrip("+") in own]
    changes = [word for word in arguments.overrides if word not in mine]
    asked = compose(verb, mine, arguments.config_dir)
    asked["run"] = str(asked["run"])
    record, config = open_run(asked["run"], trust=arguments.trust)
    return Request(asked, record, amend(config, changes, arguments.config_dir, own=own), changes)


def check_amended(
    config: dict[str, Any], config_dir: Path | None, *, unused: tuple[str, ...] = LEARNED
) -> None:
    """Validate an amended config, but for keys that will not be used.

    Args:
        config: The config.
        config_dir: The user's own folder of configs.
        unused: Beginnings of keys whose mistakes do no harm.

    Raises:
        UserError: With every mistake that matters.
    """
    try:
        validate(config, config_dir)
    except UserError as error:
        found = error.errors if isinstance(error, UserErrors) else [error]
        raise_together([one for one in found if not one.problem.startswith(unused)])


def names_data(changes: list[str]) -> bool:
    """Whether words that amend a run's config choose other data."""
    return any(word.lstrip("+").startswith(("data=", *OF_THE_DATA)) for word in changes)


def unused_data(record: RunRecord, config: dict[str, Any], changes: list[str]) -> tuple[str, ...]:
    """Keys of the data that do no harm, since the cache has kept the run's own."""
    from heed.commands.run_data import is_kept

    kept = not names_data(changes) and is_kept(record.fields["data"], config["data"]["cache_dir"])
    return ("data.path", "data.source.path") if kept else ()


def load_parts(
    record: RunRecord,
    config: dict[str, Any],
    which: str,
    *,
    reads_data: bool = True,
    changes: list[str] | None = None,
) -> tuple[Parts, Path]:
    """Corpus, tokenizer and task of a run, with a checkpoint's weights, ready to evaluate.

    Args:
        record: The run's record.
        config: Its frozen config, amended or not.
        which: "best", "last" or a file.
        reads_data: Whether the data set is wanted.
        changes: The words that amended the config; if they name other data, the run's are not
            looked for.

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
    parts = assemble(
        config,
        tokenizer_dir=record.run_dir / TOKENIZER,
        labels=labels,
        warm_start=False,
        reads_data=reads_data,
        recorded=None if names_data(changes or []) else record.fields["data"],
        use="told",
        record=record,
    )
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


def accelerator_here(accelerator: str) -> str:
    """The accelerator that a run was trained on, or the CPU where this machine has none such."""
    import torch

    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        return "cpu"
    if accelerator == "mps" and not torch.backends.mps.is_available():
        return "cpu"
    return accelerator


def device_of(config: dict[str, Any]) -> torch.device:
    """Where a trained run computes: where it was trained, if this machine has such."""
    import torch

    accelerator = accelerator_here(config["trainer"]["accelerator"])
    if torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda"):
        return torch.device("cuda")
    return torch.device("mps" if accelerator == "mps" else "cpu")
