"""Whether two systems differ by more than chance, on the same examples.

Both tests work on any score that follows from sums over examples. With the same seed and number of
samples, BLEU and chrF have the p-values of sacrebleu's own paired tests (Post 2018).

Other scores do without two of sacrebleu's ways (`as_sacrebleu`), which find differences where there
are none. It does not count samples that differ exactly as much as the systems do: with accuracy,
three examples that one system alone gets right would have p = 0.0001 instead of 0.25. And its
bootstrap takes differences without their sign before it centres them, which halves their spread
where the systems are nearly equal.

Legend: N examples, K statistics of an example, S samples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SEED = 12345  # sacrebleu's
SAMPLES = {"bootstrap": 1000, "randomization": 10_000}  # sacrebleu's
TOLERANCE = 1e-7  # differences of scores (0 to 100) that are nearer are equal but for rounding

Statistics = np.ndarray  # (N, K) sacrebleu's counts as whole numbers, or fractions
# From sums over examples (S, K) to scores (S,).
Scorer = Callable[[np.ndarray], np.ndarray]


def p_value(
    test: str,
    baseline: Statistics,
    system: Statistics,
    scorer: Scorer,
    *,
    samples: int = 0,
    seed: int = SEED,
    as_sacrebleu: bool = False,
) -> float:
    """The chance of so large a difference between systems that are equally good, two-sided.

    Args:
        test: "bootstrap" (Koehn 2004) or "randomization" (Riezler and Maxwell 2005).
        baseline: (N, K) statistics of each example.
        system: (N, K) those of the other system, for the same examples in the same order.
        scorer: The score of summed statistics.
        samples: S; 0 takes as many as sacrebleu does.
        seed: Of the generator.
        as_sacrebleu: Whether to count as sacrebleu does, see above.
    """
    assert baseline.shape == system.shape, "both systems need the same examples"
    samples = samples or SAMPLES[test]
    real = abs(_score(baseline, scorer) - _score(system, scorer))
    if test == "bootstrap":
        found = bootstrap_differences(baseline, system, scorer, samples=samples, seed=seed)
        if as_sacrebleu:
            found = np.abs(found)
        found = found - found.mean()  # what they would be if the systems were equally good
    else:
        found = np.abs(randomized_differences(baseline, system, scorer, samples=samples, seed=seed))
    beyond = found > real if as_sacrebleu else np.abs(found) >= real - TOLERANCE
    return (int(np.sum(beyond)) + 1) / (samples + 1)


def bootstrap_differences(
    baseline: Statistics, system: Statistics, scorer: Scorer, *, samples: int, seed: int
) -> np.ndarray:
    """(S,) system minus baseline on examples that are drawn anew with replacement."""
    count = len(baseline)
    draws = np.random.default_rng(seed).choice(count, size=(samples, count), replace=True)
    ours, theirs = _as_resampled(system), _as_resampled(baseline)
    return scorer(np.stack([ours[draw].sum(0) for draw in draws])) - scorer(
        np.stack([theirs[draw].sum(0) for draw in draws])
    )


def randomized_differences(
    baseline: Statistics, system: Statistics, scorer: Scorer, *, samples: int, seed: int
) -> np.ndarray:
    """(S,) differences when the two outputs of each example are swapped or not, by chance."""
    shape = (samples, len(baseline))
    swapped = np.random.default_rng(seed).integers(2, size=shape, dtype=bool)
    # Sums of whole numbers are exact in float64, whose product is much faster; a part at a time,
    # since eight bytes for each example of each sample are a lot.
    gained = (baseline - system).astype(np.float64)
    parts = np.array_split(swapped, max(1, samples // 256))
    first = np.concatenate([part.astype(np.float64) @ gained for part in parts]) + system.sum(0)
    both = baseline.sum(0) + system.sum(0)
    if np.issubdtype(baseline.dtype, np.integer):
        first = np.rint(first).astype(np.int64)
    return scorer(first) - scorer(both - first)


def _score(statistics: Statistics, scorer: Scorer) -> float:
    return float(scorer(statistics.sum(0)[None])[0])


def _as_resampled(statistics: Statistics) -> np.ndarray:
    """Counts in the precision in which sacrebleu adds resampled ones up; all else as it is."""
    counts = np.issubdtype(statistics.dtype, np.integer)
    return statistics.astype(np.float32) if counts else statistics
