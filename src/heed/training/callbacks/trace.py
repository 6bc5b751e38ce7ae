"""What a training did, batch by batch, in a form that two runs can be compared by."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from heed.backbone.layout import Padded
from heed.backbone.packed import Packed
from heed.files import replacing


class Trace(Callback):
    """Writes `trace-rank-N.jsonl` in the run folder, one line a micro-batch.

    A line holds `step` (optimizer steps done after it), `epoch` and `position` (of the next
    batch), `rows` (their numbers in the data), `tokens` (a digest of all that is in the batch),
    `loss` and, where a step ended, `gradient_norm` (of the gradient as summed), both to the last
    bit as `float.hex` writes them. Lines are handed to the system at once, so that a killed process
    loses none. A resumed run drops the lines that came after its checkpoint.

    Reading the loss waits for the device in every batch; leave it off where speed matters.
    """

    def __init__(self) -> None:
        self._file: IO[str] | None = None
        self._lines = 0
        self._gradient_norm: Tensor | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._path = trace_path(Path(trainer.default_root_dir), trainer.global_rank)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        keep_lines(self._path, self._lines)
        self._file = self._path.open("a", encoding="utf-8")

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        self._gradient_norm = torch.nn.utils.get_total_norm(gradients)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        place = trainer.datamodule.state_dict()  # type: ignore[attr-defined]
        line: dict[str, Any] = {
            "step": trainer.global_step,
            "epoch": place["epoch"],
            "position": place["position"],
            "rows": list(batch.indices),
            "tokens": digest(batch),
            "loss": float(outputs["loss"]).hex(),
        }
        if self._gradient_norm is not None:
            line["gradient_norm"] = float(self._gradient_norm).hex()
            self._gradient_norm = None
        assert self._file is not None
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._lines += 1

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def state_dict(self) -> dict[str, Any]:
        return {"lines": self._lines}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._lines = state_dict["lines"]


def trace(*, enabled: bool = False) -> Trace | None:
    """The callback, or None where no trace is wanted."""
    return Trace() if enabled else None


def trace_path(run_dir: Path, rank: int) -> Path:
    """Where a process of a run writes its trace."""
    return run_dir / f"trace-rank-{rank}.jsonl"


def read_trace(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a trace; a last one that was cut short is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def keep_lines(path: Path, count: int) -> None:
    """Cut a trace after so many lines, in one step."""
    if not path.exists():
        return
    with path.open("rb") as file:
        kept = [line for _, line in zip(range(count), file) if line.endswith(b"\n")]  # noqa: B905
    if sum(map(len, kept)) != path.stat().st_size:
        with replacing(path) as file:
            file.writelines(kept)


def digest(batch: Any) -> str:
    """A short fingerprint of all tensors in a batch."""
    hasher = hashlib.blake2b(digest_size=8)
    for tensor in _tensors(batch):
        array = tensor.detach().cpu().contiguous().numpy()
        hasher.update(f"{array.dtype}{array.shape}".encode())
        hasher.update(array.tobytes())
    return hasher.hexdigest()


def _tensors(part: Any) -> Iterator[Tensor]:
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, (Padded, Packed)):
        yield part.lengths
    elif dataclasses.is_dataclass(part) and not isinstance(part, type):
        for field in dataclasses.fields(part):
            yield from _tensors(getattr(part, field.name))
