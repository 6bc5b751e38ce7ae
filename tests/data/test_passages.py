"""Questions about passages as token rows: windows, answers in them, and the best span again."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from heed.data.passages import (
    PassagePreparation,
    answer_in_window,
    best_span,
    best_spans,
    kept,
    windows,
)
from heed.errors import UserError
from heed.text.tokenizer import Tokenizer
from heed.text.train import train_tokenizer

SQUAD = Path(__file__).parents[3] / "shared" / "data" / "squad" / "dev-v1.1.json.gz"
CONTEXT = (
    "The river  Aare rises in the Bernese Alps.\nIt flows through Bern, Solothurn and Aarau "
    "before it meets the Rhine — near Koblenz, in the year-round rain. Ünlü wrote: “so be it”."
)


@pytest.fixture(scope="module", params=["bpe", "wordpiece", "unigram"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    texts = [CONTEXT, "Where does the river rise?", "Which towns does it pass?"]
    return train_tokenizer(texts, algorithm=request.param, vocabulary_size=293)


def preparation(given: Tokenizer, **changes: Any) -> PassagePreparation:
    values: dict[str, Any] = {
        "tokenizer": given,
        "max_length": 47,
        "stride": 13,
        "max_question_length": 19,
    }
    return PassagePreparation(**{**values, **changes})


def records(*questions: tuple[str, list[str]], context: str = CONTEXT) -> dict[str, list[Any]]:
    return {
        "id": [str(i) for i in range(len(questions))],
        "question": [question for question, _ in questions],
        "context": [context] * len(questions),
        "answers": [answers for _, answers in questions],
        "starts": [[context.index(answer) for answer in answers] for _, answers in questions],
    }


def each(rows: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [{name: rows[name][i] for name in rows} for i in range(len(rows["index"]))]


QUESTIONS = records(
    ("Where does it rise?", ["Bernese Alps", "the Bernese Alps"]),
    ("Which towns?", ["Bern, Solothurn and Aarau"]),
    ("Who wrote?", ["Ünlü"]),
    ("Who sang?", []),
)


def test_windows_are_those_of_the_tokenizers_library(tokenizer: Tokenizer) -> None:
    question = "Where does the river rise, and which towns does it pass on its way?"
    rows = preparation(tokenizer).encode(records((question, [])), [0], training=False)

    head = tokenizer.encode([question])[0][:19]
    library = type(tokenizer.backend).from_str(tokenizer.backend.to_str())
    names = tokenizer.tokens([tokenizer.cls_id, tokenizer.sep_id, tokenizer.eos_id])
    cls, sep, eos = names
    library.post_processor = TemplateProcessing(
        single="$A",
        pair=f"{cls} $A {sep} $B {eos}",
        special_tokens=list(
            zip(names, (tokenizer.cls_id, tokenizer.sep_id, tokenizer.eos_id), strict=True)
        ),
    )
    room = 47 - len(head) - 3
    library.enable_truncation(47, stride=room - 13, strategy="only_second")
    short = question[: tokenizer.encode_with_offsets([question])[1][0][18][1]]
    first = library.encode(short, CONTEXT)
    expected = [first.ids, *(more.ids for more in first.overflowing)]
    assert [row.tolist() for row in rows["text"]] == expected
    assert len(expected) > 2


@pytest.mark.parametrize("tokens", [0, 1, 6, 7, 8, 9, 10, 11, 29, 100])
@pytest.mark.parametrize("stride", [1, 3, 7])
def test_windows_skip_nothing_and_reach_the_end(tokens: int, stride: int) -> None:
    found = list(windows(tokens, 7, stride))

    assert found[0][0] == 0
    assert found[-1][1] == tokens
    assert all(past - first <= 7 for first, past in found)
    for (first, past), (next_first, next_past) in zip(found, found[1:], strict=False):
        assert next_first == first + stride
        assert next_first <= past < next_past


def test_offsets_give_back_the_text_and_columns_the_answer(tokenizer: Tokenizer) -> None:
    prepared = preparation(tokenizer)
    rows = prepared.encode(QUESTIONS, [0, 1, 2, 3], training=False)
    batch = prepared.collate(each(rows), None)

    assert batch.starts is not None
    assert batch.ends is not None
    assert batch.offsets is not None
    found: dict[int, set[str]] = {}
    for row, index in enumerate(batch.indices):
        inside = batch.offsets[row][batch.passage_mask[row]]
        assert bool((batch.offsets[row][~batch.passage_mask[row]] == -1).all())
        text = CONTEXT[inside[0, 0] : inside[-1, 1]]
        window = batch.tokens.ids[row][batch.passage_mask[row]].tolist()
        whole = prepared.tokenizer.encode([CONTEXT])[0]
        assert any(whole[i : i + len(window)] == window for i in range(len(whole)))
        assert text in CONTEXT
        if int(batch.starts[row]) > 0:
            start = int(batch.offsets[row, batch.starts[row], 0])
            end = int(batch.offsets[row, batch.ends[row], 1])
            found.setdefault(index, set()).add(CONTEXT[start:end])
        else:
            assert int(batch.ends[row]) == 0
    # of several answers, the first that a window holds
    assert found[0] <= {"Bernese Alps", "the Bernese Alps"}
    assert "Bernese Alps" in found[0]
    assert found[1] == {"Bern, Solothurn and Aarau"}
    assert found[2] == {"Ünlü"}
    assert 3 not in found


def test_an_answer_partly_in_a_window_is_absent_from_it() -> None:
    spans = [(5, 8)]

    assert answer_in_window(spans, 5, 9, column=10) == (10, 13)
    assert answer_in_window(spans, 5, 8, column=10) == (0, 0)
    assert answer_in_window(spans, 6, 20, column=10) == (0, 0)
    assert answer_in_window([None, (7, 7)], 6, 20, column=10) == (11, 11)
    assert answer_in_window([], 0, 20, column=10) == (0, 0)
    assert answer_in_window(None, 0, 20, column=10) == (-1, -1)


def test_training_keeps_windows_with_answers_and_all_of_the_unanswerable(
    tokenizer: Tokenizer,
) -> None:
    everything = preparation(tokenizer).encode(QUESTIONS, range(4), training=False)
    few = preparation(tokenizer, negative_windows=0.0).encode(QUESTIONS, range(4), training=True)
    many = preparation(tokenizer).encode(QUESTIONS, range(4), training=True)

    for rows in (few, many):
        assert rows["index"].count(3) == everything["index"].count(3) > 1
    answered = [(i, s) for i, s in zip(few["index"], few["start"], strict=True) if i < 3]
    assert all(start > 0 for _, start in answered)
    assert {index for index, _ in answered} == {0, 1, 2}
    assert many["start"] == everything["start"]
    assert len(few["index"]) < len(many["index"])
    assert preparation(tokenizer).collate(each(few), None).offsets is None  # not kept to train


def test_the_share_of_negative_windows_is_what_was_asked_for_and_fixed() -> None:
    chosen = [kept(index, window, 0.3) for index in range(2000) for window in range(1, 6)]

    assert sum(chosen) / len(chosen) == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 10000) ** 0.5)
    assert chosen == [kept(index, window, 0.3) for index in range(2000) for window in range(1, 6)]


def test_without_answers_a_batch_has_none(tokenizer: Tokenizer) -> None:
    prepared = preparation(tokenizer)
    asked = {name: QUESTIONS[name] for name in ("id", "question", "context")}
    batch = prepared.collate(each(prepared.encode(asked, range(4), training=False)), None)

    assert batch.starts is None
    assert batch.ends is None
    assert batch.offsets is not None


def test_a_prefix_stands_before_every_question(tokenizer: Tokenizer) -> None:
    plain = preparation(tokenizer, max_question_length=27)
    prefixed = preparation(tokenizer, max_question_length=27, question_prefix="q: ")
    expected = plain.encode(
        {**QUESTIONS, "question": ["q: " + text for text in QUESTIONS["question"]]},
        range(4),
        training=True,
    )
    rows = prefixed.encode(QUESTIONS, range(4), training=True)
    assert [row.tolist() for row in rows["text"]] == [row.tolist() for row in expected["text"]]
    assert rows["start"] == expected["start"]
    assert (
        rows["text"][0].tolist() != plain.encode(QUESTIONS, [0], training=True)["text"][0].tolist()
    )


def test_a_long_question_is_cut_and_counted_once(tokenizer: Tokenizer) -> None:
    question = "Where does the river rise, and which towns does it pass on its way?"
    rows = preparation(tokenizer).encode(records((question, [])), [0], training=False)

    tokens = len(tokenizer.encode([question])[0])
    assert rows["cut"] == [tokens - 19] + [0] * (len(rows["cut"]) - 1)
    assert set(rows["passage_start"]) == {21}
    assert max(length for (length,) in rows["lengths"]) == 47


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_length": 22}, r"max_length must exceed .*max_question_length \(19\) by more than 3"),
        ({"stride": 26}, r"stride must be between 1 and 25 .* but is 26"),
        ({"stride": 0}, r"stride must be between 1 and 25 .* but is 0"),
        ({"max_question_length": 0}, r"max_question_length must be at least 1"),
        ({"negative_windows": 1.5}, r"negative_windows must be a share between 0 and 1"),
    ],
)
def test_limits_that_lose_text_are_refused(
    tokenizer: Tokenizer, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        preparation(tokenizer, **changes)


def test_the_fingerprint_changes_with_everything_rows_depend_on(tokenizer: Tokenizer) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"max_length": 53},
        {"stride": 11},
        {"max_question_length": 17},
        {"negative_windows": 0.5},
        {"question_prefix": "question: "},
        {"tokenizer": train_tokenizer(["other"], algorithm="bpe", vocabulary_size=265)},
    ]

    assert len({preparation(tokenizer, **change).fingerprint() for change in changes}) == 7


def spans_one_by_one(
    start: list[float], end: list[float], mask: list[bool], longest: int
) -> list[tuple[float, int, int]]:
    found = []
    for i in range(len(start)):
        for j in range(i, min(i + longest, len(end))):
            if mask[i] and mask[j]:
                found.append((start[i] + end[j], i, j))
    return sorted(found, key=lambda span: -span[0])  # stable: earliest start, then shortest


@pytest.mark.parametrize("longest", [1, 3, 17, 40])
@pytest.mark.parametrize("ties", [False, True])
def test_the_best_spans_are_those_of_a_search_through_all(longest: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(7)
    start, end = torch.randn(2, 11, 17, generator=generator)
    if ties:
        start, end = start.round(), end.round()
    mask = torch.rand(11, 17, generator=generator) < 0.7
    mask[4] = False
    mask[5] = torch.arange(17) == 6

    starts, ends, scores = best_span(start, end, mask, longest)
    all_starts, all_ends, all_scores = best_spans(start, end, mask, longest, n_best=5)
    for row in range(11):
        expected = spans_one_by_one(
            start[row].tolist(), end[row].tolist(), mask[row].tolist(), longest
        )[:5]
        for place, (score, first, last) in enumerate(expected):
            assert (all_starts[row, place], all_ends[row, place]) == (first, last)
            assert float(all_scores[row, place]) == pytest.approx(score)
        assert bool((all_scores[row, len(expected) :] == -torch.inf).all())
        if expected:
            assert (starts[row], ends[row]) == expected[0][1:]
            assert float(scores[row]) == pytest.approx(expected[0][0])
    assert (starts[4], ends[4], scores[4]) == (0, 0, -torch.inf)
    assert (starts[5], ends[5]) == (6, 6)


def test_masked_logits_may_be_minus_infinity() -> None:
    mask = torch.tensor([[False, True, True]])
    start = torch.tensor([[-torch.inf, 1.0, 2.0]])
    end = torch.tensor([[-torch.inf, 5.0, 1.0]])

    starts, ends, scores = best_span(start, end, mask, 30)
    assert (starts.item(), ends.item(), scores.item()) == (1, 1, 6.0)


@pytest.mark.skipif(not SQUAD.exists(), reason="needs the SQuAD files")
def test_real_answers_are_found_again_through_windows() -> None:
    articles = json.loads(gzip.decompress(SQUAD.read_bytes()))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    paragraphs = random.Random(3).sample(paragraphs, 60)
    tokenizer = train_tokenizer(
        (paragraph["context"] for paragraph in paragraphs), algorithm="bpe", vocabulary_size=3001
    )
    prepared = preparation(tokenizer, max_length=131, stride=53, max_question_length=31)
    columns: dict[str, list[Any]] = {"question": [], "context": [], "answers": [], "starts": []}
    for paragraph in paragraphs:
        for question in paragraph["qas"]:
            columns["question"].append(question["question"])
            columns["context"].append(paragraph["context"])
            columns["answers"].append([question["answers"][0]["text"]])
            columns["starts"].append([question["answers"][0]["answer_start"]])
    count = len(columns["question"])
    batch = prepared.collate(each(prepared.encode(columns, range(count), training=False)), None)

    assert batch.starts is not None
    assert batch.ends is not None
    assert batch.offsets is not None
    exact, held = 0, set()
    for row in batch.starts.nonzero()[:, 0].tolist():
        index = batch.indices[row]
        start = int(batch.offsets[row, batch.starts[row], 0])
        end = int(batch.offsets[row, batch.ends[row], 1])
        answer = columns["answers"][index][0]
        assert answer in columns["context"][index][start:end]  # a token may hold a little more
        exact += columns["context"][index][start:end] == answer
        held.add(index)
    assert len(held) / count > 0.99  # an answer longer than two windows share can fall between
    assert exact / int((batch.starts > 0).sum()) > 0.97
