"""`heed predict` with trained models: every task, in order, in flat memory."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed.commands.arguments import parse_arguments
from heed.commands.predict import predictions
from heed.commands.trained import load_parts, read_request

Lines = Callable[[Path], list[dict[str, Any]]]
Passage = {"question": "Who paints?", "context": "Ann paints a house, and Ben reads."}


@pytest.mark.parametrize("task", ["translation", "summarization"])
def test_texts_become_texts(
    task: str,
    heed: Callable[..., Any],
    run_folder: Callable[..., Path],
    lines: Lines,
    tmp_path: Path,
) -> None:
    (tmp_path / "in.txt").write_text("one\n\ntwo words\n")
    words = [f"run={run_folder(task)}", f"input={tmp_path / 'in.txt'}"]
    answer = heed("predict", *words, f"output={tmp_path / 'out.jsonl'}")
    assert answer.code == 0, answer.err
    assert f"3 predictions in {tmp_path / 'out.jsonl'}" in answer.err
    rows = lines(tmp_path / "out.jsonl")
    assert [set(row) for row in rows] == [{"prediction"}] * 3
    assert rows[1] == {"prediction": ""}
    answer = heed("predict", *words)
    assert answer.out == "".join(" ".join(r["prediction"].splitlines()) + "\n" for r in rows)


def test_texts_become_labels(
    heed: Callable[..., Any], run_folder: Callable[..., Path], lines: Lines, tmp_path: Path
) -> None:
    source = tmp_path / "in.csv.gz"
    source.write_bytes(gzip.compress(b"id,text\n1,fine\n2,\n3,a poor film\n"))
    for form in ("jsonl", "csv", "txt"):
        words = [f"run={run_folder('sentiment')}", f"input={source}"]
        answer = heed("predict", *words, f"output={tmp_path / f'out.{form}'}")
        assert answer.code == 0, answer.err
    rows = lines(tmp_path / "out.jsonl")
    assert rows[1] == {"prediction": ""}
    for row in (rows[0], rows[2]):
        probabilities = row["probabilities"]
        assert set(probabilities) == {"negative", "positive"}
        assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-3)
        assert row["prediction"] == max(probabilities, key=probabilities.get)
    labels = [row["prediction"] for row in rows]
    assert (tmp_path / "out.txt").read_text().split("\n") == [*labels, ""]
    with (tmp_path / "out.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["prediction"] for row in table] == labels
    assert float(table[2]["probability_positive"]) == rows[2]["probabilities"]["positive"]


def test_questions_become_spans(heed: Callable[..., Any], run_folder: Callable[..., Path]) -> None:
    typed = json.dumps(Passage) + "\n"
    answer = heed("predict", f"run={run_folder('qa')}", "format=jsonl", typed=typed)
    assert answer.code == 0, answer.err
    row = json.loads(answer.out)
    assert Passage["context"][row["start"] : row["end"]] == row["prediction"]
    assert 0.0 <= row["score"] <= 1.0


def test_questions_become_written_answers(
    heed: Callable[..., Any], run_folder: Callable[..., Path]
) -> None:
    typed = json.dumps(Passage) + "\n"
    answer = heed("predict", f"run={run_folder('generative_qa')}", "format=jsonl", typed=typed)
    assert answer.code == 0, answer.err
    assert set(json.loads(answer.out)) == {"prediction"}


def test_several_hypotheses(heed: Callable[..., Any], run_folder: Callable[..., Path]) -> None:
    words = ["decoding=beam", "decoding.beam_size=3", "decoding.n_best=3", "decoding.max_length=5"]
    answer = heed(
        "predict", f"run={run_folder('translation')}", *words, "format=jsonl", typed="one\n"
    )
    assert answer.code == 0, answer.err
    row = json.loads(answer.out)
    assert row["alternatives"][0]["text"] == row["prediction"]
    scores = [one["score"] for one in row["alternatives"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3


def test_sampling_repeats_itself(heed: Callable[..., Any], run_folder: Callable[..., Path]) -> None:
    words = [f"run={run_folder('translation')}", "decoding=sample", "decoding.max_length=9"]
    first, second, other = (
        heed("predict", *words, *more, typed="one\ntwo\n").out for more in ([], [], ["seed=7"])
    )
    assert first == second != other


def test_the_order_is_that_of_the_input(
    heed: Callable[..., Any], run_folder: Callable[..., Path], lines: Lines, tmp_path: Path
) -> None:
    texts = [" ".join(["good", "film"] * (1 + n * 7 % 11)) if n % 5 else "" for n in range(1500)]
    (tmp_path / "in.txt").write_text("\n".join(texts) + "\n")
    words = [f"run={run_folder('sentiment')}", f"input={tmp_path / 'in.txt'}"]
    answer = heed("predict", *words, f"output={tmp_path / 'out.jsonl'}")
    assert answer.code == 0, answer.err
    rows = lines(tmp_path / "out.jsonl")
    assert len(rows) == 1500
    by_text: dict[str, float] = {}
    for text, row in zip(texts, rows, strict=True):
        if not text:
            assert row == {"prediction": ""}
            continue
        positive = row["probabilities"]["positive"]
        assert by_text.setdefault(text, positive) == pytest.approx(positive, abs=1e-4)
    assert len(set(by_text.values())) > 5, "texts of other lengths have other probabilities"


def test_inputs_without_end_are_answered_as_they_come(run_folder: Callable[..., Path]) -> None:
    request = read_request("predict", parse_arguments([f"run={run_folder('sentiment')}"], usage=""))
    parts, _ = load_parts(request.record, request.config, "best", reads_data=False)
    drawn = 0

    def without_end() -> Any:
        nonlocal drawn
        for number in itertools.count():
            drawn += 1
            yield None if number % 2 else {"text": "a film"}

    found = list(itertools.islice(predictions(parts, request.config, without_end()), 2500))
    assert [row["prediction"] == "" for row in found] == [False, True] * 1250
    assert drawn <= 3 * 2 * 1024


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["input=none.txt"], "input must be a file or -, but none.txt does not exist"),
        (["inptu=in.txt"], "inptu is not a key of the run's config; did you mean 'input'?"),
        (["output=there.txt"], "output=there.txt exists; give another name, or overwrite=true"),
        (["output=out.doc"], "output=out.doc has a name that does not tell its format"),
        (["format=text"], "format must be a format that can be written, but is 'text'"),
        (["decoding.beam_size=three"], "decoding.beam_size must be"),
        (
            ["decoding.beam_size=0"],
            "beam_size must be a whole number of at least 1, but is 0",
        ),
        (["decoding=bean"], "decoding has no option 'bean'; did you mean 'beam'?"),
        (["-m", "seed=1,2"], "heed predict works on one run at a time, and has no -m"),
        (["checkpoint=none.ckpt"], "checkpoint=none.ckpt is not in"),
    ],
)
def test_mistakes_are_named(
    words: list[str],
    told: str,
    heed: Callable[..., Any],
    run_folder: Callable[..., Path],
    tmp_path: Path,
) -> None:
    (tmp_path / "there.txt").write_text("kept")
    if words[0].startswith("decoding.beam"):
        words = ["decoding=beam", *words]
    answer = heed(
        "predict", f"run={run_folder('translation')}", *words, typed="a\n", where=tmp_path
    )
    assert answer.code == 2, answer.err
    assert told in answer.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.txt"]


def test_a_row_that_cannot_be_read_leaves_no_file(
    heed: Callable[..., Any], run_folder: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "fine"}\n{"txt": "fine"}\n')
    words = ["input=in.jsonl", "output=out.txt"]
    answer = heed("predict", f"run={run_folder('sentiment')}", *words, where=tmp_path)
    assert answer.code == 2
    assert "in.jsonl, row 2: text is missing (columns found: txt)" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("task", ["translation", "sentiment"])
def test_several_processes_predict_the_same(
    task: str, run_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several chunks, with empty inputs between."""
    arguments = parse_arguments([f"run={run_folder(task)}"], usage="")
    asked, record, config, _ = read_request("predict", arguments)
    parts, _ = load_parts(record, config, asked["checkpoint"], reads_data=False)
    chunks = parts.datamodule.predict_chunks
    monkeypatch.setattr(
        parts.datamodule, "predict_chunks", lambda records: chunks(records, chunk_records=11)
    )
    field = "source" if task == "translation" else "text"
    inputs = [
        None if number % 9 == 4 else {field: "word " * (number % 7 + 1)} for number in range(40)
    ]
    alone = list(predictions(parts, config, inputs))
    assert len(alone) == 40
    assert list(predictions(parts, config, inputs, workers=2)) == alone


@pytest.mark.parametrize("workers", ["0", "some", "1.5", "true"])
def test_workers_must_be_a_number(
    workers: str, heed: Callable[..., Any], run_folder: Callable[..., Path]
) -> None:
    answer = heed("predict", f"run={run_folder('translation')}", f"workers={workers}")
    assert answer.code == 2
    assert "workers must be auto or a whole number of at least 1" in answer.err
