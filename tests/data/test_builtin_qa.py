"""Passages: exact spans, one answer each, and questions that a passage leaves open."""

from __future__ import annotations

import re

import pytest

from heed.data.builtin.facts import KINDS
from heed.data.builtin.generate import generate


@pytest.fixture(scope="module")
def rows():
    return list(generate("qa", "train", size=3001, seed=0))


def test_every_answer_is_the_span_it_claims(rows):
    for row in rows:
        (answer,), (start,) = row["answers"], row["starts"]
        assert row["context"][start : start + len(answer)] == answer
        before, after = row["context"][start - 1], row["context"][start + len(answer)]
        assert not before.isalnum()
        assert not after.isalnum()


def test_ids_are_unique_and_questions_are_questions(rows):
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(re.fullmatch(r"[A-Z].*\?", row["question"]) for row in rows)


def test_the_span_stands_in_a_sentence_about_the_thing_asked(rows):
    """Every value is stated once, so nothing else in the passage is the answer by its text."""
    for row in rows:
        (answer,), (start,) = row["answers"], row["starts"]
        sentence = next(
            match[0]
            for match in re.finditer(r"[^.]+\.", row["context"])
            if match.start() <= start < match.end()
        )
        assert answer in sentence
        named_elsewhere = len(re.findall(rf"\b{re.escape(answer)}\b", row["context"])) > 1
        assert not named_elsewhere or re.fullmatch(r"\w+ \w+", answer), row


def test_most_passages_hold_a_rival_of_the_answers_type(rows):
    years = [row for row in rows if re.fullmatch(r"(19|20)\d\d", row["answers"][0])]
    rivals = sum(len(set(re.findall(r"\b(?:19|20)\d\d\b", row["context"]))) > 1 for row in years)
    assert len(years) > 200
    assert rivals > 0.4 * len(years)


def test_some_questions_take_two_steps(rows):
    steps = [
        row
        for row in rows
        if re.search(r"the (founder|director|mayor) of \S+(?= |\?)", row["question"])
    ]
    two = [row for row in steps if not re.match(r"Who is the", row["question"])]
    assert len(two) > 30


def test_every_statement_and_question_has_its_slots():
    for attributes in KINDS.values():
        for attribute in attributes:
            assert all(s.count("{s}") == 1 and s.count("{v}") == 1 for s in attribute.statements)
            assert all(q.count("{s}") == 1 and q.endswith("?") for q in attribute.questions)


def test_unanswerable_questions_replace_their_share_and_nothing_else(rows):
    mixed = list(generate("qa", "train", size=1009, seed=0, unanswerable=0.37))
    open_rows = [row for row in mixed if not row["answers"]]
    assert 0.3 < len(open_rows) / len(mixed) < 0.44
    for row, answered in zip(mixed, rows, strict=False):
        if row["answers"]:
            assert row == answered
        else:
            assert row["starts"] == []
            assert row["id"] == answered["id"]
    assert all(not row["answers"] for row in generate("qa", "test", size=5, seed=0, unanswerable=1))
