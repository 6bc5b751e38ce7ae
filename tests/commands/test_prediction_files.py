"""What `heed predict` reads and writes, without a model."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed.commands.prediction_files import open_output, read_inputs
from heed.errors import UserError

PAIRS: dict[str, Any] = {"task": {"kind": "pairs"}, "data": {"columns": {}}}
LABELLED: dict[str, Any] = {"task": {"kind": "labelled_text"}, "data": {"columns": {}}}
PASSAGES: dict[str, Any] = {"task": {"kind": "passages"}, "data": {"columns": {}}}


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Puts bytes where a pipe would have them."""

    def pipe(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return pipe


def read(path: Path, config: dict[str, Any] = PAIRS, form: str | None = None) -> list[Any]:
    return list(read_inputs(str(path), form, config))


CONTENT = {
    "in.txt": "first one\nzweiter Satz ü\n",
    "in.csv": 'source,more\n"first one",1\nzweiter Satz ü,2\n',
    "in.tsv": "source\tmore\nfirst one\t1\nzweiter Satz ü\t2\n",
    "in.jsonl": '{"source": "first one"}\n{"source": "zweiter Satz ü", "more": 2}\n',
    "in.json": '[{"source": "first one"}, {"source": "zweiter Satz ü"}]',
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", CONTENT)
def test_every_format_gives_the_same_records(name: str, packed: bool, tmp_path: Path) -> None:
    content = CONTENT[name].encode()
    path = tmp_path / (name + ".gz" if packed else name)
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read(path) == [{"source": "first one"}, {"source": "zweiter Satz ü"}]


@pytest.mark.parametrize(
    ("name", "form"), [("in.txt", None), ("in.jsonl", None), ("in.csv", "csv"), ("in.tsv", "tsv")]
)
def test_every_format_can_be_piped(
    name: str, form: str | None, piped: Callable[[bytes], None]
) -> None:
    piped(CONTENT[name].encode())
    records = list(read_inputs("-", form, PAIRS))
    assert records == [{"source": "first one"}, {"source": "zweiter Satz ü"}]


def test_a_name_without_a_format_needs_one(tmp_path: Path) -> None:
    path = tmp_path / "inputs"
    path.write_text("a text\n")
    with pytest.raises(UserError, match=r"name that does not tell its format; add input_format="):
        read(path)
    assert read(path, form="txt") == [{"source": "a text"}]


def test_a_format_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a text\n")
    with pytest.raises(UserError, match=r"but is 'jsonll'; did you mean 'jsonl'\?"):
        read(path, form="jsonll")


@pytest.mark.parametrize("config", [PAIRS, LABELLED])
def test_lines_without_a_text_keep_their_place(config: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("\none\n   \ntwo\n\n")
    records = [record and next(iter(record.values())) for record in read(path, config)]
    assert records == [None, "one", None, "two", None]


def test_rows_without_a_text_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text('id,source\n1,\n2,"one"\n')
    assert read(path) == [None, {"source": "one"}]


def test_a_question_without_its_passage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    good, empty = (
        '{"question": "Who?", "context": "Ann."}\n',
        '{"question": "Who?", "context": ""}\n',
    )
    path.write_text(good + empty)
    with pytest.raises(UserError, match=r"in\.jsonl, row 2: context is empty"):
        read(path, PASSAGES)
    path.write_text('{"question": "Who?"}\n')
    with pytest.raises(UserError, match=r"row 1: context is missing \(columns found: question\)"):
        read(path, PASSAGES)


def test_a_line_is_no_question(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("Who was it?\n")
    with pytest.raises(UserError, match="two columns: question, context"):
        read(path, PASSAGES)


def test_columns_go_by_the_runs_names(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("en,de\nhello,hallo\n")
    with pytest.raises(UserError, match=r"row 1: source is missing \(columns found: en, de\)"):
        read(path)
    named = {**PAIRS, "data": {"columns": {"source": "en"}}}
    assert read(path, named) == [{"source": "hello"}]


def test_empty_inputs_are_refused(tmp_path: Path, piped: Callable[[bytes], None]) -> None:
    path = tmp_path / "in.txt"
    path.touch()
    with pytest.raises(UserError, match=r"in\.txt must have at least one row, but is empty"):
        read(path)
    piped(b"")
    with pytest.raises(UserError, match="input must have at least one row, but is empty"):
        list(read_inputs("-", None, PAIRS))


def test_a_missing_file_and_a_folder_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"input must be a file or -, but .*none\.txt does not"):
        read_inputs(str(tmp_path / "none.txt"), None, PAIRS)
    with pytest.raises(UserError, match="input must be a file or -, but .* is a folder"):
        read_inputs(str(tmp_path), None, PAIRS)


def test_a_file_that_breaks_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.txt.gz"
    path.write_bytes(gzip.compress("".join(f"text {n}\n" for n in range(5000)).encode())[:-50])
    with pytest.raises(UserError, match="must be a whole gzip file, but it breaks off"):
        read(path)


def test_bytes_that_are_no_text_are_named(tmp_path: Path, piped: Callable[[bytes], None]) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match="must be UTF-8 text, but row 1 has the byte 0xe9"):
        read(path)
    piped(b"caf\xe9\n")
    with pytest.raises(UserError, match="input must be UTF-8 text, but has the byte 0xe9"):
        list(read_inputs("-", None, PAIRS))


def test_a_piped_line_that_is_no_object_is_named(piped: Callable[[bytes], None]) -> None:
    piped(b'{"source": "a"}\n[1]\n')
    with pytest.raises(UserError, match=r"input, row 2 must be a JSON object, but is '\[1\]'"):
        list(read_inputs("-", None, PAIRS))
    piped(b'{"source": "a"}\n{"source": \n')
    with pytest.raises(UserError, match="input, row 2 must be a JSON object, but is not"):
        list(read_inputs("-", None, PAIRS))


def test_other_line_ends_are_part_of_a_piped_text(piped: Callable[[bytes], None]) -> None:
    piped("one\rhalf\u2028more\r\ntwo\n".encode())
    assert [r and r["source"] for r in read_inputs("-", None, PAIRS)] == [
        "one\rhalf\u2028more",
        "two",
    ]


def test_inputs_are_read_as_they_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"source": "one"}\n{"source": "two"}\nbroken\n')
    records = read_inputs(str(path), None, PAIRS)
    assert [r and r["source"] for r in itertools.islice(records, 2)] == ["one", "two"]


# Writing ------------------------------------------------------------------------------------------

ROWS: list[dict[str, Any]] = [
    {"prediction": ""},
    {"prediction": "two\nlines", "probabilities": {"a": 0.25, "b": 0.75}},
    {"prediction": 'ü, "quoted"', "probabilities": {"a": 0.5, "b": 0.5}},
]


def write(path: Path, rows: list[dict[str, Any]] = ROWS, **options: Any) -> None:
    settings = {"output_format": None, "overwrite": False, "read": "-", **options}
    with open_output(str(path), **settings) as put:
        for row in rows:
            put(row)


def test_text_has_a_line_for_each(tmp_path: Path) -> None:
    write(tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text("utf-8") == '\ntwo lines\nü, "quoted"\n'


def test_json_lines_read_back(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl")
    text = (tmp_path / "out.jsonl").read_text("utf-8")
    assert [json.loads(line) for line in text.splitlines()] == ROWS
    assert "ü" in text


def test_a_table_has_all_columns_whatever_row_comes_first(tmp_path: Path) -> None:
    write(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["prediction", "probability_a", "probability_b"]
    assert [row["prediction"] for row in rows] == ["", "two\nlines", 'ü, "quoted"']
    assert (rows[0]["probability_a"], rows[1]["probability_b"]) == ("", "0.75")


def test_a_table_of_nothing_but_empty_inputs_has_its_rows(tmp_path: Path) -> None:
    write(tmp_path / "out.csv", [{"prediction": ""}] * 2)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [{"prediction": ""}] * 2


def test_alternatives_are_json_in_a_table(tmp_path: Path) -> None:
    alternatives = [{"text": "a", "score": -0.5}]
    write(tmp_path / "out.csv", [{"prediction": "a", "alternatives": alternatives}])
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert json.loads(row["alternatives"]) == alternatives


def test_the_terminal_gets_text(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("-"), ROWS[1:2])
    assert capsys.readouterr().out == "two lines\n"


def test_format_wins_over_the_name(tmp_path: Path) -> None:
    write(tmp_path / "out.data", ROWS[:1], output_format="jsonl")
    assert (tmp_path / "out.data").read_text() == '{"prediction": ""}\n'


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("out.doc", {}, r"out\.doc has a name that does not tell its format; add format=txt\|"),
        ("out.txt", {"output_format": "jsnl"}, r"but is 'jsnl'; did you mean 'jsonl'\?"),
        ("there.txt", {}, r"there\.txt exists; give another name, or overwrite=true"),
        (".", {}, "output must be a file or -, but .* is a folder"),
    ],
)
def test_an_output_that_cannot_be_is_refused(
    name: str, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "there.txt").write_text("kept")
    with pytest.raises(UserError, match=words):
        write(tmp_path / name, **options)
    assert (tmp_path / "there.txt").read_text() == "kept"


def test_the_input_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("kept")
    with pytest.raises(UserError, match="must be another file than the input"):
        write(tmp_path / "in.txt", overwrite=True, read=str(tmp_path / "in.txt"))
    assert (tmp_path / "in.txt").read_text() == "kept"


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("kept")

    def fail() -> None:
        with open_output(str(tmp_path / "out.txt"), None, overwrite=True, read="-") as put:
            put({"prediction": "half"})
            raise UserError("row 2 is no text")

    with pytest.raises(UserError, match="row 2"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert (tmp_path / "out.txt").read_text() == "kept"


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a file system of the kernel's")
def test_a_folder_that_may_not_be_written_to_is_named() -> None:
    with pytest.raises(UserError, match=r"could not be written.*with output=FILE"):
        write(Path("/sys/kernel/out.txt"))
