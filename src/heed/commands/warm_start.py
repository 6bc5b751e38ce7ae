"""A model that starts from the weights of an earlier run (`model.init_from=RUN`), or from a
checkpoint of others (`model.pretrained=NAME`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heed.commands.run_paths import find_checkpoint
from heed.errors import UserError
from heed.tracking.record import RunRecord

if TYPE_CHECKING:
    from torch import nn

PREFIX = "backbone."


def ancestor(run: str) -> dict[str, Any]:
    """The checkpoint that a model starts from, for the run record: run, file and checksum."""
    from heed.training.checksum import written_checksum

    path = find_checkpoint(RunRecord.open(run), "best")
    checksum = written_checksum(path) if path.is_file() else None
    return {"run": run, "checkpoint": path.name, "sha256": checksum}


def load_checkpoint_of_others(task: nn.Module, model: dict[str, Any]) -> None:
    """Fill a task's backbone, and its head where it can be, from what `model.pretrained` names.

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
    print(f"started from {checkpoint.name} ({family.name}): {report.sentence()}")


def load_backbone(backbone: nn.Module, run: str) -> list[str]:
    """Copy what fits of a run's backbone into a fresh one.

    Args:
        backbone: The model to fill.
        run: The run folder.

    Returns:
        The names of tensors that the run has not, and that stay fresh.

    Raises:
        UserError: If a tensor has another shape there, or nothing fits.
    """
    from heed.training.checkpoint_io import load_checkpoint

    record = RunRecord.open(run)  # its weights are wanted, and nothing that its config names
    path = find_checkpoint(record, "best")
    weights = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in load_checkpoint(path)["state_dict"].items()
        if name.startswith(PREFIX)
    }
    own = backbone.state_dict()
    shared = [name for name in own if name in weights]
    if not shared:
        raise UserError(f"model.init_from={run} has no tensor of this model", "give another run")
    for name in shared:
        if weights[name].shape != own[name].shape:
            raise UserError(
                f"model.init_from={run} must have a model of the same size, but its {name} is "
                f"{tuple(weights[name].shape)} and here {tuple(own[name].shape)}",
                "use the run's model= and tokenizer=file tokenizer.path=RUN/tokenizer",
            )
    backbone.load_state_dict({name: weights[name] for name in shared}, strict=False)
    fresh = [name for name in own if name not in weights]
    print(
        f"started from {run}: {len(shared)} of {len(own)} tensors"
        + (f"; fresh: {', '.join(sorted({n.split('.')[0] for n in fresh}))}" if fresh else "")
    )
    return fresh
