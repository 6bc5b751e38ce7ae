"""Dialogues: their form, and summaries that can be read off the dialogue."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from heed.data.builtin.generate import generate
from heed.data.builtin.small_talk import DAYS, NAMES, TIMES


@pytest.fixture(scope="module")
def rows():
    return list(generate("summarization", "train", size=3001, seed=0))


def test_dialogues_have_four_to_twelve_turns_of_named_people(rows):
    for row in rows:
        turns = row["source"].split("\n")
        assert 4 <= len(turns) <= 12
        speakers = [turn.partition(": ")[0] for turn in turns]
        assert set(speakers) <= set(NAMES)
        assert len(set(speakers)) in (2, 3)
        assert all(left != right for left, right in zip(speakers, speakers[1:], strict=False))
        assert all(re.fullmatch(r"\w+: [A-Z].*[.!?]", turn) for turn in turns)


def test_summaries_have_one_or_two_sentences(rows):
    counts = Counter(row["target"].count(".") for row in rows)
    assert set(counts) == {1, 2}


def test_everything_in_a_summary_was_said(rows):
    for row in rows:
        for word in re.findall(r"\b[A-Z]\w+\b", row["target"]):
            if word in NAMES or word in DAYS:
                assert word in row["source"], row
        for time in TIMES:
            if f" {time}" in row["target"]:
                assert time.removeprefix("at ") in row["source"]


def test_much_that_was_said_is_not_in_the_summary(rows):
    """Days and names rival those of the outcome in most dialogues."""
    rivals = 0
    for row in rows:
        said = set(re.findall(r"\w+", row["source"])) & {*DAYS, *NAMES}
        rivals += any(word not in row["target"] for word in said)
    assert rivals > len(rows) / 2


def test_the_last_agreement_counts(rows):
    moved = [row for row in rows if "Can we do it on " in row["source"]]
    assert len(moved) > 50
    for row in moved:
        day = re.search(r"Can we do it on (\w+)\?", row["source"])[1]
        assert f" on {day} " in row["target"]
    swapped = [row for row in rows if "could we swap?" in row["source"]]
    assert len(swapped) > 20
    for row in swapped:
        asker, taken = re.search(
            r"(\w+): \w+, could we swap\? (.+?) would be", row["source"]
        ).groups()
        assert f"{asker} {taken.lower()} and " in row["target"]
