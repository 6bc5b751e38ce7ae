"""A faulty optimizer step kept on disk: its batches, and all that is needed to make it again.

    RUN/faults/step=000124/
        fault.json   what was wrong, for people
        weights.pt   the weights before the step
        rank-0.pt    that process's batches, with the states of its random generators

Everything is tensors and plain values, read with `weights_only`.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from heed.data.plain_batch import from_plain, to_plain
from heed.errors import UserError, nearest
from heed.files import replacing
from heed.training.callbacks.exact_state import plain_random_state
from heed.training.checkpoint_io import load_checkpoint

FOLDER = "faults"
REPORT = "fault.json"
WEIGHTS = "weights.pt"


@dataclass
class SeenBatch:
    """A batch of the step under way, as one process had it.

    Attributes:
        batch: What the training step received.
        place: (epoch, position) of the global batch that it is a share of; None where unknown.
        random_state: The random generators before it, as `callbacks.exact_state` keeps them.
    """

    batch: Any
    place: tuple[int, int] | None
    random_state: dict[str, Any]


@dataclass
class Fault:
    """What was wrong with a step, alike on all processes.

    Attributes:
        step: Number of the optimizer step that was to be made, from 1.
        cause: What was wrong, in a few words.
        loss: Mean loss of the step over all processes; NaN where it has none.
        gradient_norm: Norm of its gradient before clipping.
        losses: Summed loss of each batch of each process.
        places: (epoch, position) of each global batch of the step.
        findings: What the finder saw on each process, "" for nothing.
        scale: What losses were multiplied by before backward (fp16), else 1.
        folder: Its folder's name.
    """

    step: int
    cause: str
    loss: float
    gradient_norm: float
    losses: list[list[float]]
    places: list[tuple[int, int]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    scale: float = 1.0
    folder: str = ""

    def bad_batches(self) -> list[tuple[int, int]]:
        """(rank, number within the step) of the batches whose own loss is not finite."""
        return [
            (rank, number)
            for rank, losses in enumerate(self.losses)
            for number, loss in enumerate(losses)
            if not math.isfinite(loss)
        ]

    def sentence(self) -> str:
        """One sentence: the step, the numbers, and whose batch it was where that can be told."""
        said = f"step {self.step:,}: {self.cause}"
        said += f" (loss {self.loss:.5g}, gradient norm {self.gradient_norm:.5g})"
        bad = self.bad_batches()
        batches, ranks = len(self.losses[0]), len(self.losses)
        if bad and batches * ranks > 1:
            rank, number = bad[0]
            whose = f"batch {number + 1} of {batches}" if batches > 1 else "the batch"
            said += f", from {whose}" + (f" of process {rank}" if ranks > 1 else "")
            said += f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        for rank, finding in enumerate(self.findings):
            if finding:
                said += f"\n  {finding}" + (f" (process {rank})" if ranks > 1 else "")
        return said


def free_name(run_dir: Path, step: int) -> str:
    """A folder name for a fault at a step; numbered where the step has had one before."""
    name, count = f"step={step:06d}", 1
    while (run_dir / FOLDER / name).exists():
        count += 1
        name = f"step={step:06d}-{count}"
    return name


def save_fault(
    folder: Path, fault: Fault, batches: list[SeenBatch], *, rank: int, weights: dict[str, Any]
) -> None:
    """Write this process's part of a faulty step; the first process also writes what is shared.

    Args:
        folder: The fault's folder.
        fault: What was wrong.
        batches: The step's batches of this process.
        rank: Number of this process.
        weights: The module's state before the step; may be empty but on the first process.

    Raises:
        UserError: If the disk is full or may not be written to.
        OSError: If it cannot be written for another reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if rank == 0:
        with replacing(folder / WEIGHTS) as file:
            torch.save(
                {"state_dict": {name: _on_cpu(value) for name, value in weights.items()}}, file
            )
        with replacing(folder / REPORT, "w") as file:
            file.write(json.dumps(_json(asdict(fault)), indent=2) + "\n")
    with replacing(folder / f"rank-{rank}.pt") as file:
        torch.save([_plain(seen) for seen in batches], file)


def find_fault(run_dir: Path, name: str | None) -> Path:
    """The folder of a fault: the one of this name, or the last.

    Raises:
        UserError: If the run has none, or none of that name.
    """
    root = run_dir / FOLDER
    found = sorted(path.parent for path in root.glob(f"*/{REPORT}"))
    if not found:
        raise UserError(
            f"{run_dir} has no faulty step to replay",
            "callbacks.non_finite keeps one when a loss or a gradient is not finite",
        )
    if name is None:
        return max(found, key=lambda path: ((path / REPORT).stat().st_mtime_ns, path.name))
    for path in found:
        if name in (path.name, path.name.removeprefix("step=").lstrip("0")):
            return path
    raise UserError(f"fault={name} is not in {root}", nearest(name, [path.name for path in found]))


def load_fault(folder: Path) -> tuple[Fault, list[list[SeenBatch]], dict[str, Any]]:
    """A fault, the batches of each process, and the weights before the step.

    Raises:
        UserError: If a file is missing or broken.
    """
    try:
        values = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        values["places"] = [tuple(place) for place in values["places"]]
        values["losses"] = [[float(loss) for loss in losses] for losses in values["losses"]]
        for name in ("loss", "gradient_norm"):
            values[name] = float(values[name])
        fault = Fault(**values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / REPORT} is broken: {error}", "replay another fault=") from error
    weights = load_checkpoint(folder / WEIGHTS)["state_dict"]
    batches = [_rank_batches(folder / f"rank-{rank}.pt") for rank in range(len(fault.losses))]
    return fault, batches, weights


def _rank_batches(path: Path) -> list[SeenBatch]:
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path} cannot be read: {error}", "replay another fault=") from error
    return [
        SeenBatch(
            from_plain(one["batch"]),
            None if one["place"] is None else tuple(one["place"]),
            one["random_state"],
        )
        for one in kept
    ]


def _plain(seen: SeenBatch) -> dict[str, Any]:
    place = None if seen.place is None else list(seen.place)
    return {
        "batch": to_plain(seen.batch),
        "place": place,
        "random_state": plain_random_state(seen.random_state),
    }


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def _json(value: Any) -> Any:
    """The value with numbers that JSON lacks as words, which `float` reads."""
    if isinstance(value, dict):
        return {key: _json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
