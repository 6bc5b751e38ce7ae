"""Readers: every kind of file, and the words for every way in which one is broken."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from heed.data.rows import read_parallel, read_rows
from heed.errors import UserError


def values(path):
    return [row.values for row in read_rows(path)]


@pytest.fixture(params=["", ".gz"])
def write(request, tmp_path):
    def write(name, text):
        path = tmp_path / (name + request.param)
        data = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(data) if request.param else data)
        return path

    return write


def test_json_lines(write):
    path = write("train.jsonl", '\ufeff{"a": "ä\u2028b"}\n\n{"a": 2}')
    rows = list(read_rows(path))
    assert [(row.place, row.number, row.values) for row in rows] == [
        (path.name, 1, {"a": "ä\u2028b"}),
        (path.name, 3, {"a": 2}),
    ]


def test_csv_has_quotes(write):
    path = write("a.csv", 'text,label\r\n"a, ""b""\nc",x\nd,y\n\n')
    assert values(path) == [{"text": 'a, "b"\nc', "label": "x"}, {"text": "d", "label": "y"}]


def test_tsv_has_none(write):
    path = write("a.tsv", 'label\tsentence\n0\t"a, b\n1\tc"d\n')
    assert values(path) == [{"label": "0", "sentence": '"a, b'}, {"label": "1", "sentence": 'c"d'}]


def test_a_field_may_be_long(write):
    path = write("a.csv", "text\n" + "x" * 300_007 + "\n")
    assert len(values(path)[0]["text"]) == 300_007


def test_rows_of_a_table_with_other_fields_than_the_header_are_faulty(write):
    rows = list(read_rows(write("a.tsv", "a\tb\n1\t2\n3\n4\t5\t6\n")))
    fault = "the row does not have 2 fields, as the header has"
    assert [row.fault for row in rows] == ["", fault, fault]
    assert [row.number for row in rows] == [1, 2, 3]


def test_text(write):
    assert values(write("a.txt", "a b\r\n\n c")) == [{"text": "a b"}, {"text": ""}, {"text": " c"}]


def test_json_list_object_and_misnamed_lines(write):
    assert values(write("a.json", '[{"a": 1}, {"a": 2}]')) == [{"a": 1}, {"a": 2}]
    assert values(write("b.json", '{"data": [{"a": 1}]}')) == [{"a": 1}]
    assert values(write("c.json", '{"a": 1}\n{"a": 2}\n')) == [{"a": 1}, {"a": 2}]
    assert values(write("d.json", '{"a": 1}')) == [{"a": 1}]


def test_squad(write):
    question = {"id": "q1", "question": "Where?", "answers": [{"text": "b", "answer_start": 2}]}
    hidden = {"id": "q2", "question": "Who?", "is_impossible": True, "answers": []}
    paragraph = {"context": "a b", "qas": [question, hidden]}
    article = {"title": "T", "paragraphs": [paragraph]}
    found = values(write("a.json", json.dumps({"version": "1", "data": [article]})))
    common = {"title": "T", "context": "a b"}
    first = {**common, "id": "q1", "question": "Where?"}
    second = {**common, "id": "q2", "question": "Who?"}
    assert found == [
        {**first, "answers": {"text": ["b"], "answer_start": [2]}},
        {**second, "answers": {"text": [], "answer_start": []}},
    ]


def test_parquet(tmp_path):
    table = pyarrow.table({"a": ["x", None], "b": [{"c": 1}, {"c": 2}]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert values(tmp_path / "a.parquet") == [{"a": "x", "b": {"c": 1}}, {"a": None, "b": {"c": 2}}]


def test_parallel_files(write):
    paths = {"en": write("t.en", "a\nb\n"), "de": write("t.de", "c\nd")}
    rows = list(read_parallel(paths))
    assert [row.values for row in rows] == [{"en": "a", "de": "c"}, {"en": "b", "de": "d"}]
    assert rows[1].place == f"{paths['en'].name} + {paths['de'].name}"


def test_parallel_files_of_different_lengths(write):
    paths = {"en": write("t.en", "a\nb\nc\nd\n"), "de": write("t.de", "e\n")}
    words = r"lines belong together must be equally long, but .*t.en\S* has 4, .*t.de\S* has 1"
    with pytest.raises(UserError, match=words):
        list(read_parallel(paths))


def refused(path, words):
    with pytest.raises(UserError, match=words):
        list(read_rows(path))


def test_a_line_that_is_not_json(write):
    refused(write("a.jsonl", '{"a": 1}\n{"a": \n'), r"a.jsonl\S* must .* but row 2 is not JSON")
    words = r"row 1 is not JSON .*; the file may be cut off there"
    refused(write("b.jsonl", '{"a": "x'), words)


def test_a_row_that_is_no_object(write):
    refused(write("a.jsonl", '{"a": 1}\n["b"]\n'), r"a.jsonl\S* must .* but row 2 is a list")
    refused(write("a.json", '[{"a": 1}, 3]'), r"a.json\S* must .* but row 2 is a int")


def test_json_that_breaks_off(write):
    refused(write("a.json", '{"data": [{"para'), r"a.json\S* must be JSON, but is not: .*column")


def test_a_quote_that_is_never_closed(write):
    refused(write("a.csv", 'a,b\n1,2\n"3,4\n'), r"a.csv\S* must be .* but row 2 is not")


def test_latin_1(write):
    words = r"a.csv\S* must be UTF-8 text, but row 3 has the byte 0xe4 .*iconv -f latin1 -t utf-8"
    refused(write("a.csv", "text\na\nä\n".encode("latin-1")), words)


def test_truncated_gzip(tmp_path):
    whole = gzip.compress(b"".join(b'{"a": %d}\n' % (i * i * 7919) for i in range(9973)))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    refused(
        path, r"a.jsonl.gz must be a whole gzip file, but it breaks off .* after row \d{3,}; copy"
    )
    path.write_bytes(whole[:-6])  # only the checksum is cut
    refused(path, r"whole gzip file, but it breaks off or is damaged after row 9973")
    path.write_bytes(whole[:5000] + b"\0\0\0\0" + whole[5004:])
    refused(path, r"whole gzip file|not JSON|not UTF-8|where UTF-8 has none")


def test_gzip_by_name_only_and_by_content_only(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_text('{"a": 1}\n')
    refused(path, r"a.jsonl.gz must be gzip data, as its name says, but is not")
    path = tmp_path / "a.jsonl"
    path.write_bytes(gzip.compress(b'{"a": 1}\n'))
    assert values(path) == [{"a": 1}]


def test_truncated_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": list(range(997))}), path)
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, r"a.parquet must be a whole Parquet file, but cannot be read after row 0")


def test_unknown_kind_of_file(tmp_path):
    (tmp_path / "a.xlsx").write_text("x")
    refused(tmp_path / "a.xlsx", r"a.xlsx must be a file of a known kind, but '.xlsx' is none; use")


def test_no_such_file(tmp_path):
    refused(tmp_path / "a.csv", r"a.csv must be readable, but is not: No such file")
