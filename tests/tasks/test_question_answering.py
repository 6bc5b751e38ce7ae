"""Which span answers a question: over windows, in characters, or none.

Logits are set by hand where a test is about what is made of them.
"""

from __future__ import annotations

import math

import pytest
import torch

WINDOWS = (
    "task.preparation.max_length=41",
    "task.preparation.max_question_length=23",
    "task.preparation.stride=7",
)


@pytest.fixture(scope="module")
def windowed(make):
    """A case of one record whose answer only the last of several windows holds, and that batch."""
    case = make("qa", *WINDOWS)
    corpus = case.parts.corpus.records("train")
    for number in range(len(corpus)):
        batch = case.collate([corpus[number]])
        if len(batch) >= 3 and int(batch.starts[-1]) > 0 and not batch.starts[:-1].any():
            case.records, case.batch = [corpus[number]], batch
            return case
    raise AssertionError("the corpus has no answer in a last window")


def by_hand(batch, *, answer=0.0, none=0.0, elsewhere=0.0):
    """(B, T) start and end logits: of the answer's first and last token, column 0, the passage."""
    start = torch.full(batch.passage_mask.shape, -torch.inf)
    start[batch.passage_mask] = elsewhere
    end = start.clone()
    start[:, 0] = end[:, 0] = none
    for row in range(len(batch)):
        if batch.starts[row] > 0:
            start[row, batch.starts[row]] = end[row, batch.ends[row]] = answer
    return start, end


def predict(task, batch, logits, **settings):
    """The prediction that a task with these settings makes of logits."""
    before = {name: getattr(task, name) for name in settings}
    task.logits = lambda _: logits
    try:
        for name, value in settings.items():
            setattr(task, name, value)
        return task.predict_batch(batch, stage="predict")
    finally:
        del task.logits
        for name, value in before.items():
            setattr(task, name, value)


@pytest.mark.parametrize("shape", ["encoder", "decoder", "encoder_decoder"])
def test_a_prediction_is_a_span_of_its_passage(learned, shape):
    case = learned("qa", shape)
    with torch.no_grad():
        found = case.task.predict_batch(case.batch, stage="predict")
    for prediction, record in zip(found, case.records, strict=True):
        assert set(prediction) == {"prediction", "score", "start", "end"}
        start, end = prediction["start"], prediction["end"]
        assert record["context"][start:end] == prediction["prediction"]
        assert 0.9 < prediction["score"] <= 1.0  # learned by heart


def test_an_answer_in_the_last_window(windowed):
    record, batch = windowed.records[0], windowed.batch
    (found,) = predict(windowed.task, batch, by_hand(batch, answer=5.0))
    assert found["prediction"] == record["answers"][0]
    assert found["start"] == record["starts"][0]
    assert found["end"] == record["starts"][0] + len(record["answers"][0])
    # Softmax over the passage tokens of all windows: one at 5, the others at 0.
    places = int(batch.passage_mask.sum())
    chance = math.exp(5.0) / (math.exp(5.0) + places - 1)
    assert found["score"] == pytest.approx(chance**2, rel=1e-4)


def test_windows_that_hold_no_answer_do_not_make_an_answer_less_sure(windowed):
    """A model that is sure says "not here" in all windows but one."""
    batch = windowed.batch
    start, end = by_hand(batch, answer=30.0, none=30.0)
    start[-1, 0] = end[-1, 0] = 0.0
    for may_be_missing in (False, True):
        (found,) = predict(
            windowed.task, batch, (start, end), answers_may_be_missing=may_be_missing
        )
        assert found["prediction"] == windowed.records[0]["answers"][0]
        assert found["score"] == pytest.approx(1.0, abs=1e-6)


def test_no_answer_where_answers_may_be_missing(windowed):
    batch = windowed.batch
    logits = by_hand(batch, answer=3.0, none=4.0)  # as sums: 6 against 8
    (found,) = predict(windowed.task, batch, logits, answers_may_be_missing=True)
    assert (found["prediction"], found["start"], found["end"]) == ("", -1, -1)
    places = int(batch.passage_mask.sum())
    chance = math.exp(4.0) / (math.exp(4.0) + math.exp(3.0) + places - 1)
    assert found["score"] == pytest.approx(chance**2, rel=1e-4)
    (asked,) = predict(windowed.task, batch, logits, answers_may_be_missing=False)
    assert asked["prediction"] == windowed.records[0]["answers"][0]


@pytest.mark.parametrize(("threshold", "answers"), [(1.9, False), (2.1, True)])
def test_the_threshold_is_in_summed_logits(windowed, threshold, answers):
    logits = by_hand(windowed.batch, answer=3.0, none=4.0)
    (found,) = predict(
        windowed.task,
        windowed.batch,
        logits,
        answers_may_be_missing=True,
        no_answer_threshold=threshold,
    )
    assert bool(found["prediction"]) is answers


def test_one_window_that_may_hold_the_answer_is_enough(windowed):
    """ "No answer" is as sure as its least sure window."""
    start, end = by_hand(windowed.batch, answer=3.0, none=9.0)
    start[-1, 0] = end[-1, 0] = 1.0
    (found,) = predict(windowed.task, windowed.batch, (start, end), answers_may_be_missing=True)
    assert found["prediction"] == windowed.records[0]["answers"][0]


def test_an_answer_is_no_longer_than_allowed(windowed):
    batch = windowed.batch
    row = len(batch) - 1
    columns = batch.passage_mask[row].nonzero()[:, 0]
    start, end = by_hand(batch)
    first, near, far = int(columns[0]), int(columns[2]), int(columns[3])
    start[row, first], end[row, near], end[row, far] = 8.0, 4.0, 6.0
    for longest, last in ((4, far), (3, near)):
        (found,) = predict(windowed.task, batch, (start, end), max_answer_length=longest)
        assert found["start"] == int(batch.offsets[row, first, 0])
        assert found["end"] == int(batch.offsets[row, last, 1])


def test_windows_of_several_passages_are_kept_apart(windowed, make):
    records = [windowed.records[0], *make("qa", *WINDOWS).records[:2]]
    batch = windowed.collate(records)
    assert len(batch) > len(records)
    found = predict(windowed.task, batch, by_hand(batch, answer=5.0))
    assert [p["prediction"] for p in found] == [record["answers"][0] for record in records]


def test_questions_without_an_answer_are_learned(make):
    """Of unanswerable questions the target is column 0, and the best prediction is empty."""
    case = make("qa", "data.source.unanswerable=0.5", "task.answers_may_be_missing=true")
    corpus = case.parts.corpus.records("train")
    records = [corpus[number] for number in range(len(corpus))]
    missing = [record for record in records if not record["answers"]][:2]
    present = [record for record in records if record["answers"]][:2]
    assert len(missing) == len(present) == 2
    batch = case.collate(missing + present)
    assert batch.starts.tolist()[:2] == batch.ends.tolist()[:2] == [0, 0]
    start, end = by_hand(batch, answer=9.0)
    start[:2, 0] = end[:2, 0] = 9.0
    found = predict(case.task, batch, (start, end))
    assert [p["prediction"] for p in found] == ["", ""] + [r["answers"][0] for r in present]
    assert all(0.9 < p["score"] <= 1.0 for p in found)
    scores = case.task.new_scores()
    case.task.update_scores(scores, found, missing + present)
    assert float(scores.compute()["unanswerable_exact_match"]) == 100.0
    assert float(scores.compute()["answerable_f1"]) == 100.0


def test_a_passage_without_text_has_an_empty_answer(make):
    case = make("qa")
    record = {"id": "0", "question": "Who?", "context": "", "answers": [], "starts": []}
    batch = case.collate([record])
    with torch.no_grad():
        (found,) = case.task.eval().predict_batch(batch, stage="predict")
    assert found["prediction"] == ""
    assert found["score"] == 0.0


def test_loss_is_half_of_start_and_half_of_end(learned):
    case = learned("qa", "encoder")
    with torch.no_grad():
        start, end = case.task.logits(case.batch)
        loss = case.task.loss(case.batch)
    reference = torch.nn.functional.cross_entropy
    halves = [
        reference(logits, labels, reduction="sum") / 2
        for logits, labels in ((start, case.batch.starts), (end, case.batch.ends))
    ]
    torch.testing.assert_close(loss.sum, halves[0] + halves[1])
    assert int(loss.count) == len(case.batch)
