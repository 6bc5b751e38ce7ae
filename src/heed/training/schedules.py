"""Learning-rate schedules as multiples of the peak rate, stepped once an optimizer step.

All start with a linear warm-up over `warmup_steps` optimizer steps. Schedules that decay to an end
need to know it: the trainer's `max_steps` or `max_epochs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from heed.errors import UserError


def _warmed_up(optimizer: Optimizer, warmup_steps: int, decay: Callable[[int], float]) -> LambdaLR:
    def multiple(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return decay(step)

    return LambdaLR(optimizer, multiple)


def _end(total_steps: int | None, name: str) -> int:
    if total_steps is None:
        raise UserError(
            f"scheduler={name} must know the number of training steps, but the trainer has no end",
            "set trainer.max_steps or trainer.max_epochs, or use scheduler=inverse_square_root",
        )
    return total_steps


def _progress(step: int, warmup_steps: int, total_steps: int) -> float:
    """How far the decay has gone, from 0 after the warm-up to 1 at the end."""
    return min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))


def constant(optimizer: Optimizer, *, warmup_steps: int, total_steps: int | None) -> LambdaLR:
    """The peak rate throughout."""
    return _warmed_up(optimizer, warmup_steps, lambda step: 1.0)


def inverse_square_root(
    optimizer: Optimizer, *, warmup_steps: int, total_steps: int | None
) -> LambdaLR:
    """Proportional to 1 / sqrt(step) after the warm-up (Vaswani et al., 2017, section 5.3)."""
    anchor = max(1, warmup_steps)
    return _warmed_up(optimizer, warmup_steps, lambda step: math.sqrt(anchor / (step + 1)))


def linear(
    optimizer: Optimizer,
    *,
    warmup_steps: int,
    total_steps: int | None,
    final: float,
    warmup_ratio: float = 0.0,
) -> LambdaLR:
    """Falls linearly to `final` times the peak at the last step.

    Args:
        optimizer: Whose rates are scaled.
        warmup_steps: Steps from 0 to the peak.
        total_steps: Steps of the training.
        final: Share of the peak that is left at its end.
        warmup_ratio: Share of the training that is warm-up, if that is more than `warmup_steps`.
    """
    end = _end(total_steps, "linear")
    warmup_steps = max(warmup_steps, round(warmup_ratio * end))
    return _warmed_up(
        optimizer,
        warmup_steps,
        lambda step: 1 - (1 - final) * _progress(step, warmup_steps, end),
    )


def cosine(
    optimizer: Optimizer, *, warmup_steps: int, total_steps: int | None, final: float
) -> LambdaLR:
    """Falls along half a cosine to `final` times the peak (Loshchilov and Hutter, 2017)."""
    end = _end(total_steps, "cosine")
    return _warmed_up(
        optimizer,
        warmup_steps,
        lambda step: (
            final + (1 - final) * 0.5 * (1 + math.cos(math.pi * _progress(step, warmup_steps, end)))
        ),
    )
