"""What every task shares: summed losses, exact gradient means, evaluation, predictions.

A task says what its loss is, what it predicts and how that is scored. This class turns it into a
LightningModule whose numbers do not depend on how the work was cut up: a loss is a sum and a
count, gradients are divided by the count of the whole step (over accumulation and processes), and
every example is scored once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple, cast

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from heed.heads.loss import Loss
from heed.metrics.mean_loss import MeanLoss

Stage = Literal["val", "test"]
Prediction = dict[str, Any]
OF_A_STEP = frozenset(
    {
        *("_current_fx_name", "work", "batch_losses", "gradient_norm"),
        *("_step_sum", "_step_count", "_step_loss", "_logged_sum", "_logged_count"),
    }
)
"""Attributes that are set at every step (the first by Lightning, at every hook)."""
StepGuard = Callable[[Tensor, Tensor], bool]
"""From the mean loss and the gradient norm of a step, alike on all processes, to "make it"."""


class Work(NamedTuple):
    """What a task is at, for whoever has to tell that it failed.

    Attributes:
        stage: "train", "val", "test" or "predict".
        rows: Rows of the batch.
        positions: Its token positions, padding included.
        decoding: Whether outputs are being written.
    """

    stage: str
    rows: int
    positions: int
    decoding: bool = False

    def sentence(self) -> str:
        """For instance "a training step of 64 rows, 3,904 token positions"."""
        names = {"train": "a training step", "val": "validation", "test": "the test"}
        what = names.get(self.stage, "prediction") + (", decoding" if self.decoding else "")
        return f"{what} of {self.rows:,} rows, {self.positions:,} token positions with padding"


class Task(pl.LightningModule):
    """A LightningModule with a task's loss, predictions and scores.

    A task overrides `loss`, `predict_batch`, `new_scores` and `update_scores`.

    Args:
        optimizer: Makes the optimizer of this module.
        scheduler: Makes the learning-rate schedule from the optimizer and `total_steps`.
        monitor: The validation score that selects checkpoints, for instance "val/bleu".
        mode: Whether that score is better when larger ("max") or smaller ("min").
        n_samples: How many predictions of each validation are kept to be looked at.
    """

    def __init__(
        self,
        *,
        optimizer: Callable[[nn.Module], Optimizer],
        scheduler: Callable[..., LRScheduler],
        monitor: str,
        mode: Literal["max", "min"],
        n_samples: int = 8,
    ) -> None:
        super().__init__()
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.monitor = monitor
        self.mode = mode
        self.n_samples = n_samples
        self.samples: list[Prediction] = []
        self.predictions: list[tuple[int, Prediction]] = []
        self.signatures: dict[str, str] = {}  # how scores were computed, once they have been
        self.gradient_norm: Tensor | None = None
        self.work: Work | None = None
        self.carried_over: Any = None  # what it has of the weights of a run that it starts from
        self.step_guard: StepGuard | None = None  # asked before every optimizer step
        self.batch_losses: list[Tensor] = []  # summed losses of this step's batches, this process
        self._compiled_loss: Callable[[Any], Loss] | None = None
        self._step_sum: Tensor | None = None  # loss of the step in flight
        self._step_count: Tensor | None = None  # what its gradients are sums over
        self._step_loss: Tensor | None = None  # mean loss of the step, all processes
        self._logged_sum: Tensor | None = None  # loss since the last log line
        self._logged_count: Tensor | None = None
        self._weights: list[nn.Parameter] | None = None  # what may have gradients, once known
        self.eval_losses = nn.ModuleDict({"val": MeanLoss(), "test": MeanLoss()})
        self.eval_scores = nn.ModuleDict()  # filled by `add_scores`, once the task knows its own

    # What a task says ---------------------------------------------------------------------------

    def loss(self, batch: Any) -> Loss:
        """The loss of a batch as a sum over what is counted (tokens, examples) and that count."""
        raise AssertionError("a task defines its loss")  # pragma: no cover

    def predict_batch(self, batch: Any, *, stage: Stage | Literal["predict"]) -> list[Prediction]:
        """One prediction for each example of the batch (`batch.examples`), in their order."""
        raise AssertionError("a task defines its predictions")  # pragma: no cover

    def predict_batches(self, batches: Iterable[Any]) -> Iterator[list[Prediction]]:
        """As `predict_batch` of each batch, in their order, at the stage "predict"."""
        for batch in batches:
            yield self.predict_batch(batch, stage="predict")

    def new_scores(self) -> nn.Module:
        """The torchmetrics Metric that `update_scores` feeds; `compute()` gives name -> score."""
        raise AssertionError("a task defines its scores")  # pragma: no cover

    def update_scores(
        self, scores: Any, predictions: list[Prediction], records: list[dict[str, Any]]
    ) -> None:
        """Feed the predictions of a batch, and the records they are for, to the scores."""
        raise AssertionError("a task defines its scores")  # pragma: no cover

    def references(self, record: dict[str, Any]) -> list[str] | None:
        """What is right for an example, kept beside its test prediction; None keeps nothing."""
        return None

    def describe_sample(self, prediction: Prediction, record: dict[str, Any]) -> dict[str, str]:
        """A row of the table of samples: short strings by column."""
        return {"prediction": str(prediction["prediction"])}

    def example_input(self, record: dict[str, Any]) -> dict[str, Any]:
        """What might be predicted from, made of an example of the data."""
        return record

    def derived_scores(self, loss: float) -> dict[str, float]:
        """Further scores that follow from the mean loss, such as a perplexity."""
        return {}

    # Training -----------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        """As any module, but at once for what changes in every step and is no part of the model."""
        if name in OF_A_STEP:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def setup(self, stage: str) -> None:
        """Forget what an earlier training left unfinished; comes before a checkpoint is read."""
        if stage == "fit":
            self._weights = None
            self._begin_step()
            self._logged_sum = self._logged_count = None

    def _begin_step(self) -> None:
        self.batch_losses = []
        self._step_sum = self._step_count = None

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The summed loss; `on_before_optimizer_step` turns its gradients into means."""
        self.work = _work("train", batch)
        loss = (self._compiled_loss or self.loss)(batch)
        count, total = loss.count.detach(), loss.sum.detach()
        if self._compiled_loss:  # what a CUDA graph gives is overwritten by the next step
            count, total = count.clone(), total.clone()
        self.batch_losses.append(total)
        self._step_sum = total if self._step_sum is None else self._step_sum + total
        self._step_count = count if self._step_count is None else self._step_count + count
        if self._engine_owns_gradients:
            return loss.sum * (self.trainer.world_size / _over_processes(count.float()))
        return loss.sum

    def compile_loss(self, *, mode: str | None, dynamic: bool | None) -> None:
        """Have the loss of training batches compiled, see `torch.compile`; evaluation stays as it
        is."""
        self._compiled_loss = torch.compile(self.loss, dynamic=dynamic, mode=mode)

    @property
    def _engine_owns_gradients(self) -> bool:
        """Whether an engine (DeepSpeed's) keeps the gradients, so that the loss is made a mean."""
        return getattr(self.trainer.strategy, "owns_gradients", False)

    def spoil_step(self) -> None:
        """Make the step under way one that the guards of all processes refuse."""
        assert self._step_sum is not None
        self._step_sum = self._step_sum + math.nan

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divide the summed gradients by the count of the whole step.

        Lightning has divided by `accumulate_grad_batches` and data parallelism by the number of
        processes; both are undone here, so that one process with one large batch and many with
        small ones take the same step. The loss travels with the count: where one process's is not
        finite, the mean is not finite on any.
        """
        assert self._step_sum is not None
        assert self._step_count is not None
        sums = torch.stack([self._step_sum.float(), self._step_count.float()])
        total, count = _over_processes(sums).unbind()
        self._step_loss = total / count
        if self._engine_owns_gradients:
            return
        factor = self.trainer.accumulate_grad_batches * self.trainer.world_size / count
        gradients = [_local(p.grad) for p in self._trained() if p.grad is not None]
        torch._foreach_mul_(gradients, factor.to(gradients[0].device))  # which may be the host

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the trainer says, keep the norm (before clipping) for the log, ask the guard.

        A step that the guard refuses leaves weights and optimizer as they are, for no gradient is
        left; schedule and step count go on.
        """
        if self._engine_owns_gradients:
            assert self._step_loss is not None
            if self.step_guard is not None:
                self.step_guard(self._step_loss, self._step_loss)
            self._count_for_log()
            self._begin_step()
            return
        logs_now = (self.global_step + 1) % self._steps_between_logs == 0
        wanted = logs_now or self.step_guard is not None
        makes_step = True
        if gradient_clip_val is not None or wanted:
            norm = self._clip(optimizer, gradient_clip_val, gradient_clip_algorithm)
            if self.step_guard is not None:
                assert self._step_loss is not None
                makes_step = self.step_guard(self._step_loss, norm)
            if makes_step:
                self.gradient_norm = norm
        if makes_step:
            self._count_for_log()
        else:
            optimizer.zero_grad(set_to_none=True)
        self._begin_step()

    def _clip(self, optimizer: Optimizer, most: float | None, algorithm: str | None) -> Tensor:
        """Clip the gradients; returns their norm before."""
        if algorithm == "value":
            gradients = [p.grad for p in self._trained() if p.grad is not None]
            norm = nn.utils.get_total_norm(gradients)
            self.clip_gradients(optimizer, most, algorithm)
        else:
            norm = nn.utils.clip_grad_norm_(self._trained(), math.inf if most is None else most)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _trained(self) -> list[nn.Parameter]:
        """The parameters, looked up once a training: walking all modules takes its time."""
        if self._weights is None:
            self._weights = list(self.parameters())
        return self._weights

    def _count_for_log(self) -> None:
        total, count = self._step_sum, self._step_count
        assert total is not None
        assert count is not None
        self._logged_sum = total if self._logged_sum is None else self._logged_sum + total
        self._logged_count = count if self._logged_count is None else self._logged_count + count

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Ask training to stop at `max_steps`, and not only to be left: it ends by validating."""
        if 0 < self.trainer.max_steps <= self.global_step:
            self.trainer.should_stop = True

    def step_metrics(self) -> dict[str, float | Tensor]:
        """What is logged of training: the mean loss since the last call, rate and gradient norm."""
        if self._logged_sum is None or self._logged_count is None:
            return {"train/loss": math.nan}  # every step since was refused
        sums = _over_processes(torch.stack([self._logged_sum.float(), self._logged_count.float()]))
        self._logged_sum = self._logged_count = None
        optimizer = cast("Optimizer", self.optimizers())
        metrics: dict[str, float | Tensor] = {
            "train/loss": sums[0] / sums[1],
            "train/learning_rate": optimizer.param_groups[0]["lr"],
        }
        if self.gradient_norm is not None:
            metrics["train/gradient_norm"] = self.gradient_norm
        return metrics

    def sums_in_flight(self) -> dict[str, Tensor]:
        """The loss of this process since the last log line, for a checkpoint."""
        if self._logged_sum is None or self._logged_count is None:
            return {}
        return {"loss_sum": self._logged_sum.cpu(), "loss_count": self._logged_count.cpu()}

    def take_up_sums(self, sums: dict[str, Tensor]) -> None:
        """Go on from what `sums_in_flight` gave."""
        self._logged_sum = sums["loss_sum"].to(self.device) if sums else None
        self._logged_count = sums["loss_count"].to(self.device) if sums else None

    @property
    def _steps_between_logs(self) -> int:
        return self.trainer.log_every_n_steps  # type: ignore[attr-defined]

    def configure_optimizers(self) -> Any:
        """The optimizer over the task's parameters, and the schedule stepped once a step."""
        optimizer = self.make_optimizer(self)
        total_steps = self.trainer.estimated_stepping_batches
        scheduler = self.make_scheduler(
            optimizer, total_steps=None if math.isinf(total_steps) else int(total_steps)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    # Evaluation ---------------------------------------------------------------------------------

    def add_scores(self) -> None:
        """Make the scores of both stages; called once by a task that can make them."""
        self.eval_scores = nn.ModuleDict({"val": self.new_scores(), "test": self.new_scores()})

    def _meters(self, stage: Stage) -> tuple[MeanLoss, Any]:
        return cast("MeanLoss", self.eval_losses[stage]), self.eval_scores[stage]

    def _evaluate(self, batch: Any, stage: Stage) -> None:
        self.work = _work(stage, batch)
        loss = self.loss(batch)
        mean_loss, scores = self._meters(stage)
        mean_loss.update(loss.sum, loss.count)
        self.work = self.work._replace(decoding=True)
        predictions = self.predict_batch(batch, stage=stage)
        indices = [index for index, _ in batch.examples]
        records = [record for _, record in batch.examples]
        self.update_scores(scores, predictions, records)
        if len(self.samples) < self.n_samples:
            rows = zip(predictions, records, strict=True)
            self.samples += [self.describe_sample(p, r) for p, r in rows]
            del self.samples[self.n_samples :]
        if stage == "test":
            right = [self.references(record) for record in records]
            self.predictions += [
                (index, p if refs is None else {**p, "references": refs})
                for index, p, refs in zip(indices, predictions, right, strict=True)
            ]

    def _finish(self, stage: Stage) -> None:
        mean_loss, meter = self._meters(stage)
        loss = float(mean_loss.compute())
        scores = {"loss": loss, **self.derived_scores(loss), **meter.compute()}
        on_bar = {self.monitor.removeprefix("val/"), "loss"}
        loggers = self.trainer.loggers
        wanted = False if loggers else None  # Lightning would number the row by the step before
        for name, score in scores.items():
            self.log(f"{stage}/{name}", float(score), prog_bar=name in on_bar, logger=wanted)
        if not self.trainer.sanity_checking:
            row = {f"{stage}/{name}": float(score) for name, score in scores.items()}
            if stage == "val":
                row["epoch"] = float(self.current_epoch)
            for logger in loggers:
                logger.log_metrics(row, step=self.global_step)
                logger.save()
        self.signatures.update(getattr(meter, "signatures", {}))
        mean_loss.reset()
        meter.reset()

    def on_validation_epoch_start(self) -> None:
        self.samples = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch, "val")

    def on_validation_epoch_end(self) -> None:
        self._finish("val")

    def on_test_epoch_start(self) -> None:
        self.samples = []
        self.predictions = []

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch, "test")

    def on_test_epoch_end(self) -> None:
        self._finish("test")
        self.predictions = _gathered(self.predictions)


def _over_processes(sums: Tensor) -> Tensor:
    """The tensor, summed over all processes in place."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(sums)
    return sums


def _local(gradient: Tensor) -> Tensor:
    """This process's part of a gradient, which is all of it unless parameters are sharded."""
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient


def _work(stage: str, batch: Any) -> Work:
    return Work(stage, len(batch), batch.token_positions)


def _gathered(rows: list[tuple[int, Prediction]]) -> list[tuple[int, Prediction]]:
    """The rows of all processes in the order of the data; complete on rank 0 only."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        parts: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
        dist.gather_object(rows, parts)
        rows = [row for part in parts or [] for row in part]
    return sorted(rows, key=lambda row: row[0])
