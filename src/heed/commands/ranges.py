"""The range of each number in the config, as one table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from heed.errors import UserError


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, and what else is allowed.

    Args:
        low: The lower bound.
        high: The upper bound.
        above: Whether `low` itself is excluded.
        below: Whether `high` itself is excluded.
        whole: Whether only whole numbers are allowed.
        also: Values that are allowed besides.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    whole: bool = False
    also: tuple[Any, ...] = ()

    def holds(self, value: Any) -> bool:
        """Whether a value is allowed."""
        if any(value is other or (value == other and value is not True) for other in self.also):
            return True
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if self.whole and not isinstance(value, int):
            return False
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return low and high

    def __str__(self) -> str:
        bounds = []
        if self.low > -math.inf:
            bounds.append(f"{'more than' if self.above else 'at least'} {self.low}")
        if self.high < math.inf:
            bounds.append(f"{'less than' if self.below else 'at most'} {self.high}")
        number = "a whole number" if self.whole else "a number"
        words = " ".join([number, *(["of"] if bounds and self.whole else []), " and ".join(bounds)])
        if not self.whole and bounds:
            words = " and ".join(bounds)
        others = [_shown(other) for other in self.also]
        return " or ".join([words.strip(), *others])


def count(low: int = 1, *also: Any) -> Range:
    """A whole number of at least `low`."""
    return Range(low, whole=True, also=also)


POSITIVE = Range(0, above=True)
NOT_NEGATIVE = Range(0)
PROBABILITY = Range(0, 1, below=True)
SHARE = Range(0, 1)

RANGES: dict[str, Range] = {
    "seed": Range(0, 2**32 - 1, whole=True),
    "finetuning.reinitialize_layers": count(0),
    "finetuning.layer_decay": Range(0, 1, above=True),
    "finetuning.head_rate": POSITIVE,
    "adapter.r": count(1),
    "adapter.alpha": POSITIVE,
    "adapter.dropout": PROBABILITY,
    "data.max_tokens": count(1, None),
    "data.batch_size": count(1, None),
    "data.eval_max_tokens": count(1, None),
    "data.num_workers": count(0),
    "data.shuffle_buffer": count(1),
    "data.limit_examples": count(1, None),
    "tokenizer.vocabulary_size": count(1, None),
    "optimizer.lr": POSITIVE,
    "optimizer.eps": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.momentum": PROBABILITY,
    "optimizer.clipping_threshold": Range(1),
    "optimizer.beta2_decay": Range(high=0, below=True),
    "scheduler.warmup_steps": count(0),
    "scheduler.warmup_ratio": SHARE,
    "scheduler.final": SHARE,
    "trainer.max_steps": count(1, -1),
    "trainer.max_epochs": count(1, -1, None),
    "trainer.num_nodes": count(1),
    "trainer.strategy.bucket_cap_mb": count(1),
    "trainer.strategy.timeout_minutes": POSITIVE,
    "trainer.auto_batch": count(256, True, False),
    "trainer.accumulate_grad_batches": count(1),
    "trainer.gradient_clip_val": Range(0, above=True, also=(None,)),
    "trainer.log_every_n_steps": count(1),
    "trainer.num_sanity_val_steps": count(0, -1),
    "task.label_smoothing": PROBABILITY,
    "task.head_dropout": PROBABILITY,
    "task.n_samples": count(0),
    "task.max_answer_length": count(1),
    "task.n_best": count(1),
    "task.preparation.hidden_share": Range(0, 1, above=True, below=True),
    "task.preparation.masked_share": SHARE,
    "task.preparation.random_share": SHARE,
    "decoding.beam_size": count(1),
    "decoding.n_best": count(1),
    "decoding.max_length": count(1),
    "decoding.max_length_ratio": Range(0, above=True, also=(None,)),
    "decoding.max_length_extra": count(0),
    "decoding.min_length": count(0),
    "decoding.no_repeat_ngram_size": count(0),
    "decoding.temperature": POSITIVE,
    "decoding.top_k": count(0),
    "decoding.top_p": Range(0, 1, above=True),
    "callbacks.ema.decay": Range(0, 1, above=True, below=True, also=(None,)),
    "callbacks.ema.every_n_steps": count(1),
    "callbacks.non_finite.most": count(0),
    "callbacks.non_finite.spike_factor": Range(1, above=True, also=(None,)),
    "callbacks.early_stopping.patience": count(1, None),
    "callbacks.early_stopping.min_delta": NOT_NEGATIVE,
    "callbacks.checkpoint.save_top_k": count(0, -1),
    "callbacks.last.every_n_train_steps": count(1, None),
    "callbacks.last.every_n_minutes": Range(0, above=True, also=(None,)),
    "callbacks.history.every_n_train_steps": count(1, None),
    "callbacks.history.every_n_minutes": Range(0, above=True, also=(None,)),
    "callbacks.history.keep": count(1, -1),
}

# A whole number counts batches, a fraction is a share of the epoch.
BATCHES = ("trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.limit_test_batches")
NONE_WITH_0 = ("trainer.limit_val_batches", "trainer.limit_test_batches")


def range_faults(frozen: dict[str, Any]) -> Iterator[UserError]:
    """The numbers that are out of their range; keys that are not there are passed over."""
    for key, allowed in RANGES.items():
        for value in _values(frozen, key):
            if not allowed.holds(value):
                yield UserError(f"{key} must be {allowed}, but is {_shown(value)}")
    for key in (*BATCHES, "trainer.val_check_interval"):
        for value in _values(frozen, key):
            share = isinstance(value, float)
            if value == 0 and key in NONE_WITH_0:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue  # null, or of a kind that its signature refuses
            if not (0 < value <= 1 if share else value >= 1):
                yield UserError(
                    f"{key} must be a whole number of batches (at least 1) or a share of them "
                    f"(more than 0 and at most 1.0), but is {value}"
                )


def _values(frozen: dict[str, Any], key: str) -> list[Any]:
    """The value of a dotted key, or nothing where there is no such key."""
    node: Any = frozen
    for word in key.split("."):
        if not isinstance(node, dict) or word not in node:
            return []
        node = node[word]
    return [node]


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)
