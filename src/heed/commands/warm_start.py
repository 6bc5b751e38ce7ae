"""A model that starts from the weights of an earlier run (`model.init_from=RUN`), or from a
checkpoint of others (`model.pretrained=NAME`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.carried_over import CarriedOver, carry_over
from heed.commands.run_paths import find_checkpoint, open_run
from heed.errors import UserError
from heed.files import sha256_of
from heed.tracking.folder import CONFIG
from heed.tracking.record import RunRecord

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "backbone."


def ancestor(run: str, carried: CarriedOver | None = None) -> dict[str, Any]:
    """What a model starts from, for the run record.

    Args:
        run: The run folder.
        carried: What was taken from it.

    Returns:
        Run, checkpoint file and checksum; tensors carried over, fresh and left out, by part.
    """
    from heed.training.checksum import written_checksum

    path = find_checkpoint(RunRecord.open(run), "best")
    checksum = written_checksum(path) if path.is_file() else None
    found = {"run": run, "checkpoint": path.name, "sha256": checksum}
    return found if carried is None else {**found, **carried.record()}


def checkpoint_facts(model: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint of others that a model starts from, for the run record."""
    from heed.commands.pretrained_model import open_checkpoint

    checkpoint, _ = open_checkpoint(model)
    revision = None if checkpoint.folder else checkpoint.revision
    return {"name": checkpoint.name, "revision": revision, "sha256": sha256_of(*checkpoint.files)}


def load_checkpoint_of_others(
    task: nn.Module, model: dict[str, Any], *, silent: bool = False
) -> None:
    """Fill a task's backbone, and its head where it can be, from what `model.pretrained` names.

    Args:
        task: The task to fill.
        model: The node of the model in the config.
        silent: Whether nothing is printed.

    Raises:
        UserError: If a tensor is missing, misshapen or unknown.
    """
    from heed.commands.pretrained_model import open_checkpoint
    from heed.pretrained.load import load_pretrained

    checkpoint, family = open_checkpoint(model)
    report = load_pretrained(
        checkpoint,
        family,
        model,
        task.get_submodule("backbone"),
        task.get_submodule("head"),
        labels=getattr(task, "labels", None),
    )
    if silent:
        return
    print(f"started from {checkpoint.name} ({family.name}): {report.sentence()}")
    if hasattr(task, "decoder"):
        from heed.pretrained.generation import advice

        for words in advice(checkpoint):
            print(f"its makers write with {words}")


def run_weights(run: str, checkpoint: Path | None = None) -> dict[str, Tensor]:
    """The weights of a run by name; adapters of its own are worked into them.

    Args:
        run: The run folder.
        checkpoint: One of its checkpoints; None: the best.
    """
    from heed.tracking.config_file import load_config
    from heed.training.checkpoint_io import load_checkpoint

    record = RunRecord.open(run)  # its weights are wanted, and nothing that its config names
    path = checkpoint or find_checkpoint(record, "best")
    if load_config(record.run_dir / CONFIG).get("adapter"):
        return _merged(run, path)
    weights: dict[str, Tensor] = load_checkpoint(path)["state_dict"]
    return weights


def _merged(run: str, checkpoint: Path) -> dict[str, Tensor]:
    """The weights of a run whose checkpoints hold an adapter alone."""
    from heed.commands.trained import load_parts
    from heed.finetuning.adapters import merge_adapters

    record, config = open_run(run)
    parts, _ = load_parts(record, config, str(checkpoint), reads_data=False)
    merge_adapters(parts.task)
    weights: dict[str, Tensor] = parts.task.state_dict()
    return weights


def start_from(
    task: nn.Module,
    run: str,
    *,
    weights: dict[str, Tensor] | None = None,
    silent: bool = False,
) -> CarriedOver:
    """Copy what fits of a run into a fresh task, and say what that was.

    Args:
        task: The task to fill.
        run: The run folder.
        weights: Those of the run, if they are at hand; see `run_weights`.
        silent: Whether nothing is printed.

    Raises:
        UserError: If a tensor has another shape there, or nothing fits.
    """
    found = run_weights(run) if weights is None else weights
    carried = carry_over(task, found, start=run, of_task=str(RunRecord.open(run).fields["task"]))
    if not silent:
        print("\n".join(carried.lines()))
    return carried


def load_head(task: nn.Module, run: str, weights: dict[str, Tensor]) -> None:
    """Copy a run's head into a task.

    Args:
        task: The task to fill, of the same kind as the run's.
        run: The run folder.
        weights: The run's weights by name.

    Raises:
        UserError: If the run's head is another.
    """
    own = {name: t for name, t in task.state_dict().items() if not name.startswith(PREFIX)}
    theirs = {name: t for name, t in weights.items() if not name.startswith(PREFIX)}
    odd = [n for n in own if n not in theirs or theirs[n].shape != own[n].shape]
    labels, known = getattr(task, "labels", None), RunRecord.open(run).fields["data"].get("labels")
    if odd or labels != known:
        why = (
            f"tells {', '.join(known or ['nothing'])} apart, and this task {', '.join(labels)}"
            if labels and labels != known
            else f"has another {odd[0]}"
        )
        raise UserError(
            f"finetuning.keep_head needs a run with the same head, but that of {run} {why}",
            "leave finetuning.keep_head=false for a fresh head",
        )
    task.load_state_dict({name: theirs[name] for name in own}, strict=False)
    print(f"kept the head of {run}: {len(own)} tensors")
