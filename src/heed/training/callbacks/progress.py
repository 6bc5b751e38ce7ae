"""How training shows itself: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme

_THEME = RichProgressBarTheme(
    description="bold",
    progress_bar="cyan",
    progress_bar_finished="green",
    progress_bar_pulse="cyan",
    batch_progress="",
    time="dim",
    processing_speed="dim",
    metrics="cyan",
    metrics_text_delimiter="  ",
    metrics_format="",
)
_REDRAW_SECONDS = 0.25


def progress(*, refresh_rate: int = 10, every_n_seconds: float = 30.0) -> ProgressBar:
    """Bars where stderr is a terminal, plain lines where it is a file or a pipe.

    Args:
        refresh_rate: How often a second bars are drawn.
        every_n_seconds: Seconds between the plain lines of a training.
    """
    if sys.stderr.isatty():
        return RichProgress(refresh_rate=refresh_rate)
    return PlainProgress(every_n_seconds=every_n_seconds)


class RichProgress(RichProgressBar):
    """Lightning's rich bars on stderr, with short names and numbers that are easy to read.

    Args:
        refresh_rate: How often a second they are drawn.
    """

    def __init__(self, *, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate, theme=_THEME, console_kwargs={"stderr": True})
        self._drawn = 0.0

    def get_metrics(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, str]:
        return readable(trainer.progress_bar_metrics)

    def _update_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        now = time.monotonic()
        if now - self._drawn >= _REDRAW_SECONDS:  # reading a metric waits for the device
            self._drawn = now
            super()._update_metrics(trainer, pl_module)


class PlainProgress(ProgressBar):
    """A line on stderr at each validation and test, and every so many seconds of training.

    Args:
        every_n_seconds: Seconds between the lines of a training.
    """

    def __init__(self, *, every_n_seconds: float = 30.0) -> None:
        super().__init__()
        self.every_n_seconds = every_n_seconds
        self._enabled = True
        self._start = self._last = time.monotonic()

    def disable(self) -> None:
        """Say nothing (every process but the first)."""
        self._enabled = False

    def enable(self) -> None:
        """Speak again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = self._last = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if time.monotonic() - self._last >= self.every_n_seconds:
            self._say(trainer, "training", readable(trainer.progress_bar_metrics))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._say(trainer, "validation", readable(_of_stage(trainer, "val/")))

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._say(trainer, "test", readable(_of_stage(trainer, "test/")))

    def _say(self, trainer: pl.Trainer, what: str, metrics: dict[str, str]) -> None:
        self._last = time.monotonic()
        if not self._enabled:
            return
        steps = f"step {trainer.global_step:,}"
        if trainer.max_steps > 0:
            steps += f" of {trainer.max_steps:,}"
        shown = "  ".join(f"{name} {value}" for name, value in metrics.items())
        elapsed = timedelta(seconds=int(self._last - self._start))
        print(f"{steps}  {what}  {shown}  ({elapsed})", file=sys.stderr, flush=True)


def _of_stage(trainer: pl.Trainer, prefix: str) -> dict[str, Any]:
    metrics = trainer.callback_metrics
    return {name: value for name, value in metrics.items() if name.startswith(prefix)}


def readable(metrics: dict[str, Any]) -> dict[str, str]:
    """Metrics with short names ("train/loss" is "loss", "val/bleu" is "val bleu") and numbers."""
    return {
        name.removeprefix("train/").replace("/", " ").replace("_", " "): short_number(float(value))
        for name, value in metrics.items()
        if name != "v_num"
    }


def short_number(value: float) -> str:
    """Four digits that matter: 0.0123, 2.345, 31.4, 12.3k, 4.56M, 1.2e-05."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    if size >= 1e-3 or size == 0.0:
        return f"{value:.4g}"
    return f"{value:.2g}"
