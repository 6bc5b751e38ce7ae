"""Malformed files at random: each becomes records, or is refused in one clear error.

A file of every kind is written with wrong types, missing columns, NUL bytes, broken UTF-8, open
quotes and whatever else a stranger's file may hold. It is read as training data (records, token
rows, a batch) and as what `heed predict` reads (to the prediction). Anything that is raised but a
`UserError` fails, and so does whatever takes too long.
"""

from __future__ import annotations

import contextlib
import datetime
import gzip
import io
import json
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heed.commands.assemble import Parts, assemble
from heed.commands.compose import compose
from heed.commands.predict import predictions
from heed.commands.prediction_files import open_output, read_inputs
from heed.commands.quiet import quiet_libraries
from heed.data.corpus import Corpus
from heed.data.module import DataModule
from heed.data.sources import FileSource
from heed.errors import UserError

SECONDS = 120  # of one example, on a busy machine; a hang, not slowness
TASKS = ("translation", "summarization", "sentiment", "qa", "generative_qa")
TINY = [
    *("model.d_model=14", "model.n_heads=2", "model.d_feed_forward=23", "model.n_layers=1"),
    *("tokenizer.vocabulary_size=300", "data.max_tokens=1500", "trainer.precision=32-true"),
    *("decoding=greedy", "decoding.max_length=5", "data.source.train_size=31"),
    *("data.source.validation_size=5", "data.source.test_size=5", "trainer=cpu"),
]

# What a stranger's file may hold -----------------------------------------------------------------

NAMES = [
    *("source", "target", "references", "text", "label", "question", "context", "answers"),
    *("starts", "id", "answer_start", "summary", "", " ", "a.b", "Text", "\ufefftext", "\ud800"),
]
odd_text = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(), max_size=12),  # with halves of surrogate pairs
    st.sampled_from(
        ["", " ", "\0", "a\0b", "\ufeff", "\u2028", "a\nb", '"', '"a', "a,b", "\t", "\r"]
    ),
    st.sampled_from(["\u202e\u0301", "😀", "nan", "-1", "[]", "{}", "\\ud800"]),
    st.sampled_from(["x", "é", "word "]).map(lambda piece: piece * 20_011),
)
good_text = st.sampled_from(["a fine film", "Ann paints.", "Who?", "good", "bad", "paints", "3"])
odd_number = st.sampled_from(
    [
        0,
        1,
        -1,
        4,
        2**31,
        2**63,
        2**64,
        10**30,
        -(10**30),
        0.5,
        4.0,
        1e308,
        float("nan"),
        float("inf"),
    ]
)
scalars = st.one_of(
    good_text, good_text, odd_text, odd_number, st.sampled_from([None, True, False])
)
cells = st.one_of(
    good_text,
    scalars,
    scalars,
    st.lists(scalars, max_size=3),
    st.dictionaries(st.sampled_from(["text", "answer_start", "start", "x"]), scalars, max_size=2),
    st.fixed_dictionaries(
        {"text": st.lists(scalars, max_size=2), "answer_start": st.lists(scalars)}
    ),
    st.lists(st.dictionaries(st.sampled_from(["text", "answer_start"]), scalars), max_size=2),
)
COLUMNS = {
    "translation": ["source", "target", "references"],
    "summarization": ["source", "target", "references"],
    "sentiment": ["text", "label"],
    "qa": ["id", "question", "context", "answers", "starts"],
    "generative_qa": ["question", "context", "answers", "starts"],
}
GOOD: dict[str, dict[str, Any]] = {
    "translation": {"source": "a man", "target": "ein Mann"},
    "summarization": {"source": "a long text", "target": "short"},
    "sentiment": {"text": "a fine film", "label": "good"},
    "qa": {"question": "Who?", "context": "Ann paints.", "answers": ["Ann"], "starts": [0]},
    "generative_qa": {"question": "Who?", "context": "Ann paints.", "answers": ["Ann"]},
}


def tables(task: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows of which some are good, some nearly so, and some are anything."""
    good = GOOD[task]
    nearly = st.tuples(
        st.dictionaries(st.sampled_from(COLUMNS[task]), cells, max_size=2),
        st.sets(st.sampled_from(sorted(good)), max_size=1),
    ).map(lambda change: {k: v for k, v in {**good, **change[0]}.items() if k not in change[1]})
    anything = st.dictionaries(st.sampled_from(NAMES), cells, max_size=4)
    other = {**good, "label": "bad"} if "label" in good else good
    rows = st.one_of(st.just(good), st.just(other), nearly, nearly, anything)
    return st.lists(rows, max_size=6)


squad = st.recursive(
    cells,
    lambda inner: st.dictionaries(
        st.sampled_from(
            ["data", "paragraphs", "qas", "answers", "text", "answer_start", "context", "question"]
        ),
        st.one_of(inner, st.lists(inner, max_size=2)),
        max_size=3,
    ),
    max_leaves=8,
)
damage = st.lists(
    st.tuples(
        st.sampled_from(["insert", "cut", "replace", "double"]),
        st.integers(0, 400),
        st.sampled_from(
            [b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b'"', b"'", b"\\", b"\n"]
            + [
                b"\r",
                b"\r\n",
                b",",
                b"\t",
                b"{",
                b"}",
                b"]",
                b"NaN",
                b"\x1f\x8b",
                b"1 many",
                b"[ many",
            ]
            + [b"{}", b"null", b"\\ud800", b"\x1a", b"\xfe\xff"]
        ).map(lambda what: what[:1] * 30_011 if what.endswith(b"many") else what),
    ),
    max_size=2,
)


def damaged(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    """The bytes with something put in, cut off or put in the place of others."""
    for how, where, what in changes:
        where = min(where, len(data))
        if how == "insert":
            data = data[:where] + what + data[where:]
        elif how == "cut":
            data = data[:where]
        elif how == "replace":
            data = data[:where] + what + data[where + len(what) :]
        else:
            data = data + data
    return data


def utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


def as_table(rows: list[dict[str, Any]], delimiter: str, quotes: bool) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([row.get(name, "") for name in names] for row in rows)]
    mark = '"' if quotes else ""
    return utf8(
        "\n".join(delimiter.join(f"{mark}{cell}{mark}" for cell in cells) for cells in lines) + "\n"
    )


def as_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows: list[dict[str, Any]], odd: int) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = []
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            columns.append(pyarrow.array(values))
        except (pyarrow.ArrowException, ValueError, TypeError, OverflowError):
            columns.append(pyarrow.array([ascii(value) for value in values]))
    extra = [
        pyarrow.array([2**62] * len(rows), pyarrow.timestamp("us")),
        pyarrow.array([b"\xff"] * len(rows), pyarrow.binary()),
        pyarrow.array([datetime.timedelta(1)] * len(rows)),
        pyarrow.array([[("k", 1)]] * len(rows), pyarrow.map_(pyarrow.string(), pyarrow.int64())),
        pyarrow.nulls(len(rows)),
    ]
    if odd < len(extra):
        columns, names = [*columns, extra[odd]], [*names, "text" if odd % 2 else "extra"]
    sink = io.BytesIO()
    try:
        pyarrow.parquet.write_table(pyarrow.Table.from_arrays(columns, names=names), sink)
    except (pyarrow.ArrowException, ValueError):  # a column or a name that Parquet has not
        sink = io.BytesIO(b"PAR1")
    return sink.getvalue()


@st.composite
def files(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """A task, the name of a file, and what is in it."""
    task = draw(st.sampled_from(TASKS))
    kind = draw(st.sampled_from(["csv", "tsv", "jsonl", "json", "parquet", "txt"]))
    rows = draw(tables(task))
    if kind == "csv":
        data = as_table(rows, ",", draw(st.booleans()))
    elif kind == "tsv":
        data = as_table(rows, "\t", False)
    elif kind == "jsonl":
        data = as_lines([*rows, *draw(st.lists(cells, max_size=1))])
    elif kind == "json":
        content = draw(st.one_of(st.just(rows), st.just({"data": rows}), squad, st.lists(squad)))
        data = json.dumps(content).encode()
    elif kind == "parquet":
        data = as_parquet(rows, draw(st.integers(0, 12)))
    else:
        data = utf8("\n".join(draw(st.lists(odd_text, max_size=4))))
    if draw(st.integers(0, 2)) == 0:
        data = damaged(data, draw(damage))
    if draw(st.integers(0, 9)) == 0:
        data = damaged(gzip.compress(data), draw(damage))
        kind += draw(st.sampled_from(["", ".gz"]))
    return task, f"train.{kind}", data


# What is done with it ----------------------------------------------------------------------------


class Hang(BaseException):
    """An example took longer than any should."""


@contextlib.contextmanager
def deadline() -> Iterator[None]:
    def stop(signum: int, frame: Any) -> None:
        raise Hang(f"still busy after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


Known = dict[str, tuple[dict[str, Any], Parts]]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    """The config and the parts of a fresh tiny model for each task."""
    return make_known(tmp_path_factory.mktemp("cache"))


def make_known(cache: Path) -> Known:
    quiet_libraries()
    made = {}
    for task in TASKS:
        lengths = [] if task != "qa" else ["task.preparation.max_question_length=17"]
        config = compose("train", [f"task={task}", *TINY, *lengths, f"paths.cache_dir={cache}"])
        parts = assemble(config)
        parts.task.eval()
        made[task] = (config, parts)
    return made


def trained_on(path: Path, config: dict[str, Any], parts: Parts, cache: Path) -> None:
    """Read a file as training data, to a batch of it."""
    corpus = Corpus(
        source=FileSource(path=str(path), held_out={"validation": None, "test": None}),
        kind=type(parts.corpus.kind)(),
        invalid="drop",
        cache_dir=str(cache),
    )
    records = corpus.records("train")
    corpus.faults("train")
    corpus.describe("train")
    preparation = parts.datamodule.preparation
    if config["task"]["kind"] == "labelled_text":
        preparation = type(preparation)(
            tokenizer=preparation.tokenizer, labels=corpus.labels(), max_length=256
        )
    module = DataModule(
        corpus=corpus,
        preparation=preparation,
        max_tokens=1500,
        batch_size=None,
        eval_max_tokens=None,
        seed=3,
        num_workers=0,
        cache_dir=str(cache),
        limit_examples=None,
    )
    assert len(records) > 0
    module.statistics(["train"])
    for batch in (*module.train_dataloader(), *module.evaluation_loader("train")):
        assert batch is not None


def predicted_from(
    source: str, kind: str | None, config: dict[str, Any], parts: Parts, output: Path
) -> None:
    """Predict from a file, or from what is piped in, as `heed predict` does."""
    inputs = read_inputs(source, kind, config)
    with open_output(str(output), None, overwrite=True, read=source) as write:
        for prediction in predictions(parts, config, inputs):
            write(prediction)


def outcome(call: Callable[..., None], *args: Any) -> str:
    try:
        with deadline():
            call(*args)
    except UserError as error:
        str(error).encode("utf-8")  # what cannot be printed tells nobody anything
        return "refused"
    return "read"


def read_in_every_way(
    example: tuple[str, str, bytes], known: Known, folder: Path
) -> Iterator[tuple[str, str]]:
    """How training on a file ends, and predicting from it, and from the same piped in."""
    task, name, data = example
    config, parts = known[task]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / name
    path.write_bytes(data)
    yield "train", outcome(trained_on, path, config, parts, folder / "cache")
    for suffix in ("jsonl", "csv"):
        out = folder / f"out.{suffix}"
        yield "predict", outcome(predicted_from, str(path), None, config, parts, out)
    kind = name.split(".")[1]
    if kind in ("csv", "tsv", "jsonl", "txt"):
        stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(data))
        try:
            asked = None if kind == "txt" else kind
            out = folder / "out.txt"
            yield "piped", outcome(predicted_from, "-", asked, config, parts, out)
        finally:
            sys.stdin = stdin


def run(examples: int, known: Known, folder: Path) -> Counter[tuple[str, str]]:
    """So many files; what came of them."""
    came: Counter[tuple[str, str]] = Counter()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(files())
    def one(example: tuple[str, str, bytes]) -> None:
        came.update(read_in_every_way(example, known, folder))

    one()
    return came


def test_some_files_at_random(known: Known, tmp_path: Path) -> None:
    came = run(60, known, tmp_path / "files")
    assert came["train", "read"] + came["train", "refused"] >= 60


@pytest.mark.parametrize(
    "examples",
    [
        pytest.param(300, marks=pytest.mark.learning),
        pytest.param(1200, marks=pytest.mark.faults),
    ],
)
def test_many_files_at_random(
    examples: int, known: Known, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    came = run(examples, known, tmp_path / "files")
    with capsys.disabled():
        print(f"\n{dict(came)}")
    assert came["train", "read"] + came["train", "refused"] >= examples * 5 // 6
    assert min(came.values()) >= examples // 12  # of each kind of ending
