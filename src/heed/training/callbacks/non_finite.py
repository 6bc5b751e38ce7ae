"""What happens when a loss or a gradient is not finite, or a loss jumps."""

from __future__ import annotations

import functools
import math
import statistics
import sys
from collections import deque
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from heed.arrival import Arrival
from heed.errors import RunFailed, UserError, nearest
from heed.training.callbacks.exact_state import ExactState, random_state
from heed.training.callbacks.saving import FOLDER as CHECKPOINTS
from heed.training.faults import FOLDER, Fault, SeenBatch, free_name, save_fault
from heed.training.finder import NonFiniteFinder, non_finite_parameters
from heed.training.judged_step import (
    JudgedStep,
    leave_out_if,
    leaves_out_steps,
)

Action = Literal["stop", "skip", "roll_back"]
ACTIONS = ("stop", "skip", "roll_back")
SPIKE_WINDOW = 100  # steps whose median loss a spike is measured by
SPIKE_LEAST = 20  # steps before a spike can be told


class RollBack(Exception):
    """Leaves a training that shall go on from its last checkpoint without some batches.

    Args:
        places: (epoch, position) of the global batches to leave out.
    """

    def __init__(self, places: list[tuple[int, int]]) -> None:
        super().__init__(f"roll back, and leave out {places}")
        self.places = places


class NonFinite(Callback):
    """Catches a step whose loss or gradient is not finite, before it reaches the weights.

    The mean loss of a step and the norm of its gradient are the same numbers on every process, so
    all of them find the fault in the same step and do the same. The step's batches, random states
    and the weights before it are kept in the run folder, for `heed replay`.

    Actions:
    - "stop" ends the run with exit code 1 and says what to look at;
    - "skip" leaves weights and optimizer as they are and goes on with the next batch; schedule and
      step count go on too;
    - "roll_back" goes back to `last.ckpt` and leaves the step's batches out from then on.

    A checkpoint is refused when the weights are not all finite. In 16-bit floats a gradient that
    overflows is what the loss scaler is for, and no fault until its scale is down to 1.

    It reads two numbers a step. On a GPU, where a fault stops the run and AdamW is fused, it reads
    them a step late, so that nothing is waited for: the optimizer leaves out such a step by itself,
    and the run stops before the next one is made.

    Args:
        action: What to do.
        most: Faults that are borne; one more stops the run whatever the action.
        spike_factor: A loss above this many times the median of the last 100 steps is a fault too;
            None takes any finite loss.
        find_module: Whether every module is watched and the first to make such a number is named;
            slow, for `debug=nan`.

    Raises:
        UserError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        action: Action = "stop",
        most: int = 5,
        spike_factor: float | None = None,
        find_module: bool = False,
    ) -> None:
        if action not in ACTIONS:
            raise UserError(
                f"callbacks.non_finite.action must be one of {', '.join(ACTIONS)}, "
                f"but is {action!r}",
                nearest(str(action), ACTIONS),
            )
        if most < 0:
            raise UserError(f"callbacks.non_finite.most must be at least 0, but is {most}")
        if spike_factor is not None and spike_factor <= 1:
            raise UserError(
                f"callbacks.non_finite.spike_factor must be more than 1, but is {spike_factor}",
                "try callbacks.non_finite.spike_factor=3",
            )
        self.action = action
        self.most = most
        self.spike_factor = spike_factor
        self.find_module = find_module
        self.faults = 0
        self.skipped = 0
        self.found: list[dict[str, Any]] = []  # for the run record
        self._losses: deque[float] = deque(maxlen=SPIKE_WINDOW)
        self._batches: list[SeenBatch] = []
        self._judged = True
        self._coming: tuple[JudgedStep, Arrival] | None = None
        self._finder: NonFiniteFinder | None = None

    # The course of a training --------------------------------------------------------------------

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.action == "skip" and trainer.strategy.handles_gradient_accumulation:
            raise UserError(
                "callbacks.non_finite.action=skip needs a strategy that leaves the step to the "
                f"trainer, which {type(trainer.strategy).__name__} does not",
                "try callbacks.non_finite.action=roll_back",
            )
        task: Any = pl_module
        task.step_guard = functools.partial(self._judge, trainer)
        if self.find_module:
            self._finder = NonFiniteFinder(pl_module).__enter__()
            self._finder.watching = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches, self._judged, self._coming = [], True, None
        if self.action == "roll_back" and not last_checkpoint(trainer).exists():
            trainer.save_checkpoint(last_checkpoint(trainer))  # so that there is one to go back to

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._judged:
            self._batches, self._judged = [], False
        next_place = getattr(trainer.datamodule, "next_place", None)  # type: ignore[attr-defined]
        state = _kept_state(trainer) or random_state(pl_module.device)
        self._batches.append(SeenBatch(batch, next_place() if next_place else None, state))
        if self._finder is not None:
            self._finder.watching = True

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if self._finder is not None and self._finder.first is not None:
            pl_module.spoil_step()  # type: ignore[operator]  # so that all processes stop together

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._finder is not None:
            self._finder.watching = False
        if self._coming and trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._settle(trainer)  # so that nothing is logged of a fault

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._settle(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._settle(trainer)

    def step_metrics(self) -> dict[str, float]:
        """What is logged of training."""
        return {"train/skipped_steps": float(self.skipped)} if self.skipped else {}

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._end(trainer, pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end(trainer, pl_module)

    def _end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches, self._coming = [], None
        for optimizer in trainer.optimizers:
            leave_out_if(optimizer, None)
        task: Any = pl_module
        task.step_guard = None
        if self._finder is not None:
            self._finder.__exit__(None, None, None)
            self._finder = None

    # Checkpoints ---------------------------------------------------------------------------------

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse weights that are not finite: an update with finite gradients can overflow."""
        if trainer.state.fn != "fit":
            return
        self._settle(trainer)
        if _finite_everywhere(trainer, pl_module):
            return
        self.faults += 1
        places = [seen.place for seen in self._batches if seen.place is not None]
        if self.action == "roll_back" and places and self.faults <= self.most:
            raise RollBack(places)
        raise RunFailed(
            f"after step {trainer.global_step:,} the weights are not finite "
            f"({_some(non_finite_parameters(pl_module))}), and no checkpoint of them is kept",
            f"lower optimizer.lr, and go on from the last checkpoint in {_run_dir(trainer)}",
            cause="weights not finite",
        )

    def state_dict(self) -> dict[str, Any]:
        return {"faults": self.faults, "skipped": self.skipped, "losses": list(self._losses)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the losses of the checkpoint; faults since then stay counted."""
        self.faults = max(self.faults, state_dict["faults"])
        self.skipped = state_dict["skipped"]
        self._losses = deque(state_dict["losses"], maxlen=SPIKE_WINDOW)

    # A step --------------------------------------------------------------------------------------

    def _judge(self, trainer: pl.Trainer, loss: Tensor, norm: Tensor) -> bool:
        """Whether the step may be made; the same on all processes."""
        self._judged = True
        task: Any = trainer.lightning_module
        step = JudgedStep(trainer.global_step + 1, self._batches, task.batch_losses)
        numbers = torch.stack([loss.float(), norm.float().to(loss.device)])
        decides = self.action != "stop" or self.spike_factor is not None or self._finder is not None
        if decides or not leaves_out_steps(trainer, numbers.device):
            return self._verdict(trainer, step, *numbers.tolist())
        self._settle(trainer)
        leave_out_if(trainer.optimizers[0], ~numbers.isfinite().all())
        self._coming = (step, Arrival([numbers]))
        return True

    def _settle(self, trainer: pl.Trainer) -> None:
        """Judge the step whose numbers have not been looked at."""
        if self._coming is not None:
            (step, arrival), self._coming = self._coming, None
            self._verdict(trainer, step, *arrival.lists()[0])

    def _verdict(
        self, trainer: pl.Trainer, step: JudgedStep, mean_loss: float, gradient_norm: float
    ) -> bool:
        scale = _scale(trainer)
        if not math.isfinite(mean_loss):
            cause = "the loss is not finite"
        elif not math.isfinite(gradient_norm):
            if scale > 1.0:
                return True  # the scaler leaves this step out and lowers its scale
            cause = "the gradient is not finite"
        elif self._spikes(mean_loss):
            median = statistics.median(self._losses)
            cause = f"the loss is {mean_loss / median:.1f} times the median of late ({median:.4g})"
        else:
            self._losses.append(mean_loss)
            return True
        fault = self._describe(trainer, step, cause, mean_loss, gradient_norm, scale)
        self._act(trainer, step, fault)
        return False

    def _spikes(self, loss: float) -> bool:
        if self.spike_factor is None or len(self._losses) < SPIKE_LEAST:
            return False
        return loss > self.spike_factor * max(statistics.median(self._losses), 1e-12)

    def _describe(
        self,
        trainer: pl.Trainer,
        step: JudgedStep,
        cause: str,
        loss: float,
        gradient_norm: float,
        scale: float,
    ) -> Fault:
        first = None if self._finder is None else self._finder.first
        own = (
            [float(one) for one in step.losses],
            "" if first is None else first.text,
        )
        all_of_them: list[Any] = [own]
        if trainer.world_size > 1 and dist.is_initialized():
            all_of_them = [None] * trainer.world_size
            dist.all_gather_object(all_of_them, own)
        if any(text for _, text in all_of_them):
            cause = "a number is not finite"
        folder = free_name(Path(trainer.default_root_dir), step.number)
        name = trainer.strategy.broadcast(folder)
        return Fault(
            step=step.number,
            cause=cause,
            loss=loss,
            gradient_norm=gradient_norm,
            losses=[losses for losses, _ in all_of_them],
            places=[seen.place for seen in step.batches if seen.place is not None],
            findings=[text for _, text in all_of_them],
            scale=scale,
            folder=name,
        )

    def _act(self, trainer: pl.Trainer, step: JudgedStep, fault: Fault) -> None:
        """Keep the fault, and raise unless the step is only to be skipped."""
        self.faults += 1
        kept = self._keep(trainer, step, fault)
        damaged = not _finite_everywhere(trainer, trainer.lightning_module)
        stops = self.action == "stop" or self.faults > self.most
        if stops or (damaged and self.action == "skip"):
            raise RunFailed(
                fault.sentence(), self._advice(trainer, fault, kept, damaged), cause="not finite"
            )
        if trainer.is_global_zero:
            done = "skipped" if self.action == "skip" else "going back to the last checkpoint"
            count = f"fault {self.faults} of {self.most} that are borne"
            print(f"\n{fault.sentence()}; {done} ({count}; {kept})", file=sys.stderr)
        if self.action == "roll_back":
            raise RollBack(fault.places)
        self.skipped += 1

    def _keep(self, trainer: pl.Trainer, step: JudgedStep, fault: Fault) -> str:
        """Save what replaying the step takes; returns where, or why not."""
        self.found.append(
            {"step": fault.step, "cause": fault.cause, "action": self.action, "fault": fault.folder}
        )
        folder = Path(trainer.default_root_dir) / FOLDER / fault.folder
        weights = {
            name: _whole(value)
            for name, value in trainer.strategy.lightning_module_state_dict().items()
        }
        try:
            save_fault(folder, fault, step.batches, rank=trainer.global_rank, weights=weights)
        except (UserError, OSError, TypeError) as error:
            return f"the step could not be kept: {error}"
        return f"kept in {_run_dir(trainer)}/{FOLDER}/{fault.folder}"

    def _advice(self, trainer: pl.Trainer, fault: Fault, kept: str, damaged: bool) -> str:
        run = _run_dir(trainer)
        lines = [kept]
        if kept.startswith("kept"):
            lines.append(f"  heed replay run={run}    names the module and shows the rows")
        if damaged:
            lines.append("the weights themselves are not finite: skipping would not help")
        if self.action != "stop" and self.faults > self.most:
            lines.append(f"callbacks.non_finite.most={self.most} faults have been borne already")
        if last_checkpoint(trainer).exists():
            lines.append(
                f"  heed train resume={run} callbacks.non_finite.action=roll_back"
                "    goes on without these batches"
            )
        return "\n".join(lines)


def last_checkpoint(trainer: pl.Trainer) -> Path:
    """Where `last.ckpt` of this run is, or will be."""
    return Path(trainer.default_root_dir) / CHECKPOINTS / "last.ckpt"


def _run_dir(trainer: pl.Trainer) -> str:
    folder, here = Path(trainer.default_root_dir).absolute(), Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def _kept_state(trainer: pl.Trainer) -> dict[str, Any] | None:
    """The generators' states that `ExactState` has put in place for this batch."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, ExactState):
            return callback.state
    return None


def _scale(trainer: pl.Trainer) -> float:
    """What a loss scaler multiplies losses by; 1 where there is none."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return 1.0 if scaler is None else float(scaler.get_scale())


def _finite_everywhere(trainer: pl.Trainer, module: pl.LightningModule) -> bool:
    """Whether all weights of all processes are finite."""
    weights = [p.detach() for p in module.parameters()]
    weights = [getattr(weight, "to_local", lambda weight=weight: weight)() for weight in weights]
    norms = torch._foreach_norm([weight.float() for weight in weights], math.inf)
    finite = bool(torch.stack(norms).isfinite().all())
    if trainer.world_size > 1 and dist.is_initialized():
        return trainer.strategy.reduce_boolean_decision(finite, all=True)
    return finite


def _whole(value: Any) -> Any:
    """A tensor put together from the shards of all processes; anything else as it is."""
    whole = getattr(value, "full_tensor", None)
    return value if whole is None else whole()


def _some(names: list[str], most: int = 3) -> str:
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
