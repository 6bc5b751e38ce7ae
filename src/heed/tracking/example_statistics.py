"""What each test example adds to a score: statistics whose sum over examples gives the score.

They come from the saved predictions by the scorers that training uses, so a sum over all examples
gives the figure in the run record; whoever uses them checks that.

Legend: N examples, K statistics of an example, S samples.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heed.errors import UserError
from heed.tracking.folder import TEST_PREDICTIONS
from heed.tracking.predictions import read_predictions
from heed.tracking.significance import Scorer, Statistics

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
TESTED = ("bleu", "chrf", "accuracy", "macro_f1", "exact_match", "f1", *ROUGE)


class ExampleStatistics(NamedTuple):
    """What each example adds to a score.

    Attributes:
        values: (N, K).
        scorer: From sums (S, K) to scores (S,), 0 to 100.
        as_sacrebleu: Whether tests of significance are to count as sacrebleu's do.
    """

    values: Statistics
    scorer: Scorer
    as_sacrebleu: bool = False


class Outputs(NamedTuple):
    """What a run made of the test split: of each example its number, output and what is right."""

    indices: tuple[int, ...]
    predictions: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]


@functools.lru_cache(maxsize=256)
def read_outputs(run_dir: Path) -> Outputs:
    """The test predictions of a run, in the order of the data.

    Raises:
        UserError: If there are none, they are broken, or they are without references.
    """
    path = run_dir / TEST_PREDICTIONS
    again = f"heed evaluate run={run_dir} output={path} overwrite=true"
    if not path.is_file():
        raise UserError(f"{run_dir} has no test predictions", f"make them: {again}")
    try:
        rows = sorted(read_predictions(path), key=lambda row: row["index"])
        outputs = Outputs(
            tuple(int(row["index"]) for row in rows),
            tuple(str(row["prediction"]) for row in rows),
            tuple(tuple(map(str, row["references"])) for row in rows if "references" in row),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is broken: {error}", f"make it again: {again}") from error
    if len(outputs.references) < len(rows):
        raise UserError(
            f"{path} does not say what is right (an older Heed wrote it)", f"make it again: {again}"
        )
    return outputs


def difference_of_examples(one: Outputs, other: Outputs) -> str:
    """How the examples of two outputs differ, in words; empty if they are the same."""
    if one.indices != other.indices:
        return f"{len(one.indices)} and {len(other.indices)} examples, not all the same"
    for index, right, other_right in zip(
        one.indices, one.references, other.references, strict=True
    ):
        if right != other_right:
            return f"example {index} has other references"
    return ""


def statistics_of(
    metric: str, outputs: Outputs, settings: Mapping[str, Any]
) -> ExampleStatistics | None:
    """What each example adds to a metric; None for a metric that is no such sum.

    Args:
        metric: Its name without a stage, such as "bleu".
        outputs: Predictions and references.
        settings: The run's config by dotted key, for how the metric is computed.
    """
    predictions = list(outputs.predictions)
    references = [list(texts) for texts in outputs.references]
    if not predictions or metric not in TESTED:
        return None
    if metric in ("exact_match", "f1"):
        from heed.metrics.squad import example_scores

        column = 0 if metric == "exact_match" else 1
        values = [pair[column] for pair in example_scores(predictions, references)]
        return _mean_of(values)
    if not all(references):
        return None
    if metric in ("bleu", "chrf"):
        return _corpus_statistics(metric, predictions, references, settings)
    if metric in ROUGE:
        scores = _rouge_scores(outputs, bool(settings.get("task.use_stemmer", True)))
        return _mean_of([one[metric] for one in scores])
    labels = [texts[0] for texts in references]
    if metric == "accuracy":
        return _mean_of([float(p == label) for p, label in zip(predictions, labels, strict=True)])
    return _macro_f1(predictions, labels)


@functools.lru_cache(maxsize=64)
def _rouge_scores(outputs: Outputs, use_stemmer: bool) -> list[dict[str, float]]:
    """All types of each example, each with the best of its references: finding them takes long."""
    from heed.metrics.rouge import Rouge

    rouge = Rouge(use_stemmer=use_stemmer)
    found = []
    for prediction, references in zip(outputs.predictions, outputs.references, strict=True):
        scores = rouge.example_scores(prediction, list(references))
        found.append({name: max(one[name] for one in scores) for name in ROUGE})
    return found


def _mean_of(values: Sequence[float]) -> ExampleStatistics:
    fractions, count = np.array(values, dtype=np.float64), len(values)
    return ExampleStatistics(fractions[:, None], lambda sums: 100.0 * sums[:, 0] / count)


def _corpus_statistics(
    metric: str,
    predictions: list[str],
    references: list[list[str]],
    settings: Mapping[str, Any],
) -> ExampleStatistics:
    from heed.metrics.bleu import Bleu
    from heed.metrics.chrf import Chrf

    lowercase = bool(settings.get("task.lowercase", False))
    tokenize = str(settings.get("task.bleu_tokenize", "13a"))
    score = (
        Bleu(lowercase=lowercase, tokenize=tokenize)
        if metric == "bleu"
        else Chrf(lowercase=lowercase)
    )
    compute = score.scorer._compute_score_from_stats
    statistics = np.array(score.sentence_statistics(predictions, references))
    return ExampleStatistics(
        statistics, lambda sums: np.array([compute(row).score for row in sums]), as_sacrebleu=True
    )


def _macro_f1(predictions: list[str], labels: list[str]) -> ExampleStatistics:
    """Of each class: whether an example has it, is said to have it, and both (K = 3 classes)."""
    classes = {name: number for number, name in enumerate(sorted({*labels, *predictions}))}
    statistics = np.zeros((len(labels), 3, len(classes)))
    for row, (predicted, label) in enumerate(zip(predictions, labels, strict=True)):
        statistics[row, 0, classes[label]] = 1
        statistics[row, 1, classes[predicted]] = 1
        statistics[row, 2, classes[label]] = predicted == label

    def score(sums: np.ndarray) -> np.ndarray:
        have, said, right = sums.reshape(len(sums), 3, -1).transpose(1, 0, 2)  # each (S, C)
        f1 = 2 * right / np.maximum(have + said, 1)
        return 100.0 * f1.sum(-1) / np.maximum((have + said > 0).sum(-1), 1)

    return ExampleStatistics(statistics.reshape(len(labels), -1), score)
