"""The tests of significance are sacrebleu's for BLEU and chrF, and scipy's for means."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest
from scipy import stats

from heed.tracking.example_statistics import Outputs, statistics_of
from heed.tracking.seed_statistics import spread, t_quantile
from heed.tracking.significance import bootstrap_differences, p_value

WORDS = ["the", "a", "small", "dog", "cat", "house", "sees", "slowly", "red", "7", ",", ".", "Haus"]


def corpus(seed: int, errors: float, sentences: int = 61) -> tuple[Outputs, list[list[str]]]:
    """Sentences with some words replaced, against one or two references."""
    draw, draw_errors = random.Random(0), random.Random(seed)
    references, outputs = [], []
    for number in range(sentences):
        words = [draw.choice(WORDS) for _ in range(draw.randint(4, 17))]
        other = [draw.choice(WORDS) if draw.random() < 0.2 else word for word in words]
        references.append([" ".join(words)] + ([" ".join(other)] if number % 3 == 0 else []))
        outputs.append(
            " ".join(
                draw_errors.choice(WORDS) if draw_errors.random() < errors else w for w in words
            )
        )
    found = Outputs(tuple(range(sentences)), tuple(outputs), tuple(map(tuple, references)))
    columns = [[r[0] for r in references], [r[1] if len(r) > 1 else None for r in references]]
    return found, columns


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
@pytest.mark.parametrize(("test", "name"), [("bootstrap", "bs"), ("randomization", "ar")])
@pytest.mark.parametrize("lowercase", [False, True])
def test_bleu_and_chrf_have_sacrebleus_own_p_values(
    metric: str, test: str, name: str, lowercase: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "777")
    first, columns = corpus(1, 0.30)
    others = [corpus(2, 0.26)[0], corpus(3, 0.29)[0], corpus(4, 0.45)[0]]
    theirs = {"bleu": BLEU(lowercase=lowercase, force=True), "chrf": CHRF(lowercase=lowercase)}
    systems = [(str(n), list(one.predictions)) for n, one in enumerate([first, *others])]
    _, scores = PairedTest(systems, {metric: theirs[metric]}, columns, name, n_samples=2000)()
    (wanted,) = [values[1:] for key, values in scores.items() if key != "System"]

    settings = {"task.lowercase": lowercase}
    found = [statistics_of(metric, one, settings) for one in (first, *others)]
    assert all(one is not None for one in found)
    (baseline, scorer, as_sacrebleu), *systems_found = [one for one in found if one is not None]
    ours = [
        p_value(
            *(test, baseline, system.values, scorer),
            **{"samples": 2000, "seed": 777, "as_sacrebleu": as_sacrebleu},
        )
        for system in systems_found
    ]
    assert ours == [one.p_value for one in wanted]
    assert 0 < min(ours) < 0.01 < max(ours)
    assert (
        scorer(baseline.sum(0)[None])[0]
        == scores[next(k for k in scores if k != "System")][0].score
    )


def fractions(seed: int, shift: float, count: int = 83) -> Any:
    draw = np.random.default_rng(seed)
    return np.clip(draw.normal(0.5 + shift, 0.2, size=(count, 1)), 0, 1)


def mean(sums: Any) -> Any:
    return sums[:, 0] / 83


@pytest.mark.parametrize("shift", [0.0, 0.03, 0.05, 0.2])
def test_randomization_agrees_with_scipys_permutation_test(shift: float) -> None:
    one, other = fractions(0, 0), fractions(1, shift)
    wanted = stats.permutation_test(
        (one[:, 0], other[:, 0]),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(5),
    ).pvalue
    found = p_value("randomization", one, other, mean, samples=20_000, seed=1)
    assert found == pytest.approx(wanted, abs=4 * np.sqrt(wanted * (1 - wanted) / 20_000) + 2e-4)


@pytest.mark.parametrize("shift", [0.0, 0.03, 0.05, 0.08])
def test_the_bootstrap_agrees_with_the_normal_distribution(shift: float) -> None:
    """The mean of many paired differences is nearly normal, so that its two tails are known."""
    one, other = fractions(0, 0), fractions(1, shift)
    differences = (other - one)[:, 0]
    tail = stats.norm.sf(abs(differences.mean()) / stats.sem(differences, ddof=0))
    found = p_value("bootstrap", one, other, mean, samples=20_000, seed=1)
    assert found == pytest.approx(2 * tail, abs=0.015)


@pytest.mark.parametrize("shift", [0.03, 0.08])
def test_the_bootstrap_draws_as_scipys_does(shift: float) -> None:
    one, other = fractions(0, 0), fractions(1, shift)
    spread_of = stats.bootstrap(
        (one[:, 0], other[:, 0]),
        lambda x, y, axis: np.mean(y - x, axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(3),
    ).bootstrap_distribution
    ours = bootstrap_differences(one, other, mean, samples=20_000, seed=1)
    for share in (0.025, 0.5, 0.975):
        assert np.quantile(ours, share) == pytest.approx(np.quantile(spread_of, share), abs=0.002)


@pytest.mark.parametrize("unit", [1, 1.0, 1 / 3])
def test_equal_differences_count_in_spite_of_rounding(unit: float) -> None:
    """Three examples that only one system gets right: of eight swaps two differ as much."""
    one = np.arange(83)[:, None] % 2 * unit
    other = one.copy()
    other[:5] = unit
    assert p_value("randomization", one, other, mean) == pytest.approx(0.25, abs=0.02)
    if unit == 1:
        assert p_value("randomization", one, other, mean, as_sacrebleu=True) == 1 / 10_001
    exact = stats.permutation_test(
        (one[:5, 0], other[:5, 0]), lambda x, y: np.mean(x - y), permutation_type="samples"
    )
    assert exact.pvalue == 0.25
    assert p_value("randomization", one, one, mean) == 1.0
    assert p_value("bootstrap", one, one, mean) == 1.0


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 30, 101])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_the_t_quantile_is_scipys(confidence: float, freedom: int) -> None:
    wanted = stats.t.ppf(0.5 + confidence / 2, freedom)
    assert t_quantile(confidence, freedom) == pytest.approx(wanted, rel=1e-9)


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = [61.2, 60.4, 63.3, 61.9, 60.0]
    found = spread(values, 0.9)
    wanted = stats.t.interval(0.9, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(wanted)
    assert (found.mean, found.deviation) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert spread([3.0]).deviation is None
    same = spread([2.0, 2.0])
    assert (same.deviation, same.low, same.high) == (0.0, 2.0, 2.0)
