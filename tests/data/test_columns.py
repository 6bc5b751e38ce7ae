"""Columns: nested, alternative, guessed, and named in errors."""

import pytest

from heed.data.columns import MISSING, column_names, lookup, resolve_columns
from heed.errors import UserError

ROW = {
    "en": "a",
    "translation": {"de": "b", "fr": None},
    "answers": {"text": ["c", "d"], "start": [1, 2]},
    "spans": [{"text": "e"}, {"text": "f"}],
    "a.b": "dotted",
}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("en", "a"),
        ("translation.de", "b"),
        ("translation.fr", None),
        ("answers.text", ["c", "d"]),
        ("spans.text", ["e", "f"]),
        ("a.b", "dotted"),
        ("xx|translation.de|en", "b"),
        (["en", "xx", "translation.de", "translation.fr"], ["a", "b"]),
        (["xx", "yy"], MISSING),
        ("xx", MISSING),
        ("en.xx", MISSING),
        ("translation.xx", MISSING),
    ],
)
def test_lookup(column, value):
    assert lookup(ROW, column) == value


def test_column_names_go_into_objects():
    names = ["en", "translation.de", "translation.fr", "answers.text", "answers.start"]
    assert column_names([ROW]) == [*names, "spans.text", "a.b"]


def resolve(columns, rows):
    return resolve_columns(
        columns,
        required=("source", "target"),
        guesses={"source": ("src",), "target": ("tgt.x", "target.y"), "references": ()},
        rows=rows,
        where="train.csv",
    )


def test_usual_names_are_found_and_named_columns_come_first():
    row = {"src": "a", "tgt": {"x": "b"}}
    assert resolve({}, [row]) == {"source": "src", "target": "tgt.x"}
    assert resolve({}, [{"source": "a", **row}]) == {"source": "source", "target": "tgt.x"}
    assert resolve({"target": "src"}, [row]) == {"source": "src", "target": "src"}
    # what stands inside a column of the name is meant rather than the column
    inner = {"source": "a", "target": {"y": "b"}}
    assert resolve({}, [inner]) == {"source": "source", "target": "target.y"}


def test_a_column_that_only_some_rows_have_is_found():
    assert resolve({}, [{"source": "a"}, {"source": "b", "target": "c"}])["target"] == "target"


def test_a_list_may_be_absent_and_a_named_column_may_not():
    row = {"source": "a", "target": "b"}
    assert "references" not in resolve({"references": ["r1", "r2"]}, [row])
    with pytest.raises(UserError, match=r"data.columns.references must name a column of train.csv"):
        resolve({"references": "r1"}, [row])


def test_errors_list_what_was_found():
    row = {"english": "a", "german": "b"}
    words = r"columns.source must name a column of train.csv, but is 'englsh' "
    words += r"\(columns found: english, german\); did you mean 'english'\?"
    with pytest.raises(UserError, match=words):
        resolve({"source": "englsh"}, [row])
    words = r"that holds the source, but none is named and none has a usual name "
    words += r"\(columns found: english, german\); add data.columns.source=COLUMN"
    with pytest.raises(UserError, match=words):
        resolve({}, [row])
    with pytest.raises(UserError, match=r"data.columns.sorce must be .*did you mean 'source'\?"):
        resolve({"sorce": "english"}, [row])


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        ([{"answers": []}, {"answers": ["a"]}], "answers"),
        ([{"answers": []}, {"answers": [{"text": "a"}]}], "answers.text"),
        ([{"answers": {"text": []}}, {"answers": {"text": ["a"]}}], "answers.text"),
        ([{"answers": {"text": []}}], "answers.text"),
    ],
)
def test_an_empty_list_does_not_tell_what_its_entries_are(rows, column):
    """Questions without an answer come first, and must not hide how the others are written."""
    resolved = resolve_columns(
        {},
        required=("answers",),
        guesses={"answers": ("answers.text", "answer")},
        rows=rows,
        where="a.jsonl",
    )
    assert resolved == {"answers": column}
