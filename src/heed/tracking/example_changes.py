"""Which predictions of the test split two runs do not share, and which of them got better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from heed.tracking.example_scores import ExampleScorer
from heed.tracking.folder import TEST_PREDICTIONS
from heed.tracking.saved_run import SavedRun, read_test_predictions


class Example(NamedTuple):
    """An example whose prediction changed.

    Attributes:
        number: Its place in the test data.
        one: What the first run predicted.
        other: What the second predicted.
        given: What the models read; "" where the data are not at hand.
        reference: What was to be predicted.
        scores: The score of both predictions, 0 to 100; None where the data are not at hand.
    """

    number: int
    one: str
    other: str
    given: str = ""
    reference: str = ""
    scores: tuple[float, float] | None = None

    @property
    def gain(self) -> float:
        """By how much the second prediction is better."""
        return self.scores[1] - self.scores[0] if self.scores else 0.0


class ExampleChanges(NamedTuple):
    """How the predictions of two runs compare.

    Attributes:
        shared: Examples that both runs predicted.
        changed: Those whose prediction differs, the largest change of the score first.
        alone: Examples that only the first or only the second run predicted.
        score: Name of the score of one example; "" where nothing was scored.
    """

    shared: int
    changed: list[Example]
    alone: tuple[int, int] = (0, 0)
    score: str = ""

    @property
    def better(self) -> int:
        """How many examples the second run does better."""
        return sum(example.gain > 0 for example in self.changed)

    @property
    def worse(self) -> int:
        """How many examples the second run does worse."""
        return sum(example.gain < 0 for example in self.changed)


def why_not_comparable(one: SavedRun, other: SavedRun) -> str:
    """Why the predictions of two runs are not of the same examples; "" if they are."""
    tasks = one.fields.get("task"), other.fields.get("task")
    if tasks[0] != tasks[1]:
        return f"the tasks are different ({tasks[0]} / {tasks[1]})"
    for run in (one, other):
        if not (run.folder / TEST_PREDICTIONS).is_file():
            return f"{run.folder / TEST_PREDICTIONS} is missing"
    if test_fingerprint(one) is None or test_fingerprint(one) != test_fingerprint(other):
        return "the test data are different"
    return ""


def test_fingerprint(run: SavedRun) -> str | None:
    """The fingerprint of a run's test data, as recorded."""
    facts = run.fields["data"].get("test")
    found = facts.get("fingerprint") if isinstance(facts, dict) else None
    return str(found) if found else None


def example_changes(
    one: SavedRun,
    other: SavedRun,
    records: Sequence[dict[str, Any]] | None,
    scorer: ExampleScorer | None,
) -> ExampleChanges:
    """Compare the predictions of two runs on the same test data.

    Args:
        one: A run.
        other: Another, of the same task and test data (see `why_not_comparable`).
        records: The records of the test data; None where they are not at hand, which shows what was
            read no more, and scores only predictions that were kept with what is right.
        scorer: How one example is scored; None where there is no way.
    """
    first, second = (
        {row["index"]: row for row in read_test_predictions(run)} for run in (one, other)
    )
    shared = first.keys() & second.keys()
    changed, scored = [], False
    for number, row in first.items():
        if number not in shared:
            continue
        texts = str(row["prediction"]), str(second[number]["prediction"])
        record = None if records is None or scorer is None else records[number]
        right = row.get("references", second[number].get("references"))
        if right is None and record is not None and scorer is not None:
            right = list(scorer.references(record))
        scored = scored or right is not None
        if texts[0] == texts[1]:
            continue
        example = Example(number, *texts)
        if scorer is not None and record is not None:
            example = example._replace(given=scorer.given(record))
        if scorer is not None and right is not None:
            example = example._replace(
                reference=" | ".join(dict.fromkeys(right)) or "(no answer)",
                scores=(scorer.score(texts[0], right), scorer.score(texts[1], right)),
            )
        changed.append(example)
    return ExampleChanges(
        len(shared),
        sorted(changed, key=lambda example: -abs(example.gain)),
        (len(first) - len(shared), len(second) - len(shared)),
        scorer.name if scorer is not None and scored else "",
    )


def keeps_references(run: SavedRun) -> bool:
    """Whether a run's predictions were kept with what is right."""
    return any("references" in row for row in read_test_predictions(run)[:1])
