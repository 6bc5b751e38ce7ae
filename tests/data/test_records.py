"""Records: what becomes one, and in which words the rest is refused."""

import pytest

from heed.data.record_kind import InvalidRow
from heed.data.records import LabelledText, Pairs, Passages, record_kind
from heed.errors import UserError

CONTEXT = "  Ada lived in Paris. Paris is large."


def test_pairs():
    row = {"en": " a b ", "de": "c\n"}
    record = Pairs().convert(row, {"source": "en", "target": "de"})
    assert record == {"source": "a b", "target": "c", "references": ["c"]}


def test_several_references_are_kept():
    columns = {"source": "s", "target": "r1", "references": ["r1", "r2", "r3"]}
    row = {"s": "a", "r1": "b", "r2": "c", "r3": None}
    assert Pairs().convert(row, columns)["references"] == ["b", "c"]
    row = {"source": "a", "target": "b", "references": ["c", "d"]}
    assert Pairs().convert(row, {})["references"] == ["c", "d"]
    assert Pairs().convert({**row, "references": []}, {})["references"] == ["b"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"target": "b"}, "source is missing"),
        ({"source": None, "target": "b"}, "source is missing"),
        ({"source": 3, "target": "b"}, "source is not text"),
        ({"source": "a", "target": ["b"]}, "target is not text"),
        ({"source": "", "target": "b"}, "source is empty"),
        ({"source": "a", "target": " \n\u00a0"}, "target is empty"),
        ({"source": "a", "target": "\ud83d"}, "target is not valid Unicode"),
        ({"source": "a", "target": "b", "references": 3}, "references is not a list of texts"),
        ({"source": "a", "target": "b", "references": ["b", ""]}, "references is empty"),
        ({"source": "a", "target": "b", "references": [3]}, "references is not text"),
    ],
)
def test_invalid_pairs(row, reason):
    with pytest.raises(InvalidRow) as caught:
        Pairs().convert(row, {})
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("label", "name"),
    [("good", "good"), (0, "bad"), (1.0, "good"), ("1", "good"), (" bad ", "bad")],
)
def test_labels_are_names_or_numbers(label, name):
    kind = LabelledText(labels=["bad", "good"])
    assert kind.convert({"text": "t", "label": label}, {}) == {"text": "t", "label": name}


def test_any_label_is_one_where_none_are_given():
    assert LabelledText().convert({"text": "t", "label": 3}, {})["label"] == "3"


@pytest.mark.parametrize(
    ("label", "reason", "detail"),
    [
        ("so-so", "label is not in the label set", "'so-so'"),
        (2, "label is not in the label set", "'2'"),
        (-1, "label is not in the label set", "'-1'"),
        (0.5, "label is neither a name nor a number", "float"),
        (True, "label is neither a name nor a number", "bool"),
        (None, "label is missing", ""),
        ("", "label is missing", ""),
    ],
)
def test_invalid_labels(label, reason, detail):
    with pytest.raises(InvalidRow) as caught:
        LabelledText(labels=["bad", "good"]).convert({"text": "t", "label": label}, {})
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


def test_passages_keep_the_context_as_it_is():
    row = {
        "id": 7,
        "question": " Where? ",
        "context": CONTEXT,
        "answers": ["Paris", "in Paris"],
        "starts": ["15", 12],
    }
    record = Passages().convert(row, {})
    assert record == {
        "id": "7",
        "question": "Where?",
        "context": CONTEXT,
        "answers": ["Paris", "in Paris"],
        "starts": [15, 12],
    }


def test_one_answer_needs_no_list_no_start_and_no_id():
    row = {"question": "q", "context": CONTEXT, "answers": "Paris"}
    record = Passages().convert(row, {}, number=11)
    assert (record["answers"], record["starts"], record["id"]) == (["Paris"], [15], "11")


@pytest.mark.parametrize("nothing", [[], "", None])
def test_no_answer_is_an_unanswerable_question(nothing):
    row = {"question": "q", "context": CONTEXT, "answers": nothing, "starts": nothing}
    record = Passages().convert(row, {})
    assert (record["answers"], record["starts"]) == ([], [])


@pytest.mark.parametrize(
    ("answers", "starts", "reason"),
    [
        (["Paris"], [16], "answer does not stand at its start in the context"),
        (["Paris"], [-3], "answer does not stand at its start in the context"),
        (["Rome"], None, "answer does not stand at its start in the context"),
        (["Paris"], [15, 22], "starts and answers differ in number"),
        (["Paris"], ["x"], "starts is not a whole number"),
        (["Paris"], [15.5], "starts is not a whole number"),
        (["Paris", ""], [15, 22], "answers is empty"),
        ([None], [15], "answers is missing"),
    ],
)
def test_invalid_answers(answers, starts, reason):
    row = {"question": "q", "context": CONTEXT, "answers": answers, "starts": starts}
    with pytest.raises(InvalidRow) as caught:
        Passages().convert(row, {})
    assert caught.value.reason == reason


def test_input_to_predict_from():
    assert Pairs().from_input(" a b") == {"source": "a b"}
    assert Pairs().from_input({"en": "a", "de": "b"}, {"source": "en"}) == {"source": "a"}
    assert Pairs().from_input({"source": "a"}, {"source": "en"}) == {"source": "a"}
    assert LabelledText().from_input({"review": "a"}) == {"text": "a"}
    record = Passages().from_input({"question": "q", "context": CONTEXT})
    assert record == {"id": "", "question": "q", "context": CONTEXT}
    with pytest.raises(InvalidRow, match=r"source is missing \(columns found: x, y\)"):
        Pairs().from_input({"x": 1, "y": 2})
    with pytest.raises(InvalidRow, match="text is empty"):
        LabelledText().from_input("  ")
    with pytest.raises(InvalidRow, match="a question comes with its passage"):
        Passages().from_input("Where?")


def test_texts_of_each_side():
    pair = {"source": "a", "target": "b", "references": ["b", "c"]}
    assert Pairs().texts(pair) == ["a", "b"]
    assert Pairs().texts(pair, "target") == ["b"]
    assert LabelledText().texts({"text": "a", "label": "x"}) == ["a"]
    passage = {"question": "q", "context": "c", "answers": ["a"], "starts": [0]}
    assert Passages().texts(passage) == ["q", "c"]
    assert Passages().texts(passage, "target") == ["a"]


def test_record_kind():
    assert isinstance(record_kind("pairs"), Pairs)
    assert record_kind("labelled_text", labels=["a"]).labels == ["a"]
    with pytest.raises(UserError, match=r"data.kind .* but is 'pair'; did you mean 'pairs'\?"):
        record_kind("pair")
    with pytest.raises(UserError, match="data.labels must be null for pairs records"):
        record_kind("pairs", labels=["a"])
