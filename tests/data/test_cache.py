"""The cache of token rows: written once, read without reading it all, mended when broken."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from tests.data.listed import listed

from heed.data.cache import ENCODED_AT_ONCE, encoded_rows, is_whole, rows_fingerprint
from heed.data.encoded_rows import EncodedRows
from heed.data.pairs import PairPreparation
from heed.data.passages import PassagePreparation
from heed.data.preparation import Rows
from heed.errors import UserError
from heed.text.tokenizer import Tokenizer
from heed.text.train import train_tokenizer


class CountingPreparation(PairPreparation):
    """Pairs that remember how often they were encoded, and may fail."""

    calls = 0
    fault: BaseException | None = None

    def encode(
        self, records: Mapping[str, list[Any]], indices: Sequence[int], *, training: bool
    ) -> Rows:
        self.calls += 1
        if self.fault is not None and self.calls > 1:
            raise self.fault
        return super().encode(records, indices, training=training)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["one two three four"], algorithm="bpe", vocabulary_size=271)


@pytest.fixture
def preparation(tokenizer: Tokenizer) -> CountingPreparation:
    return CountingPreparation(
        source_tokenizer=tokenizer,
        target_tokenizer=tokenizer,
        max_source_length=13,
        max_target_length=17,
    )


def pairs(count: int) -> Dataset:
    return Dataset.from_dict(
        {
            "source": [f"one {i} " + "two " * (i % 5) for i in range(count)],
            "target": [f"{i} " + "three " * (i % 7) for i in range(count)],
        }
    )


RECORDS = pairs(1201)


def rows_of(cache: Path, preparation: Any, **changes: Any) -> EncodedRows:
    values: dict[str, Any] = {"training": True, "records_fingerprint": "v1", "cache_dir": cache}
    records = changes.pop("records", RECORDS)
    return encoded_rows(lambda: records, preparation, **{**values, **changes})


def as_lists(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in row.items()}


def test_rows_come_back_as_they_were_encoded(
    tmp_path: Path, preparation: CountingPreparation
) -> None:
    rows = rows_of(tmp_path, preparation)
    expected = listed(preparation.encode(RECORDS[:], range(len(RECORDS)), training=True))

    assert len(rows) == 1201
    for number, row in zip([1200, 0, 5, 5, 999], rows.take([1200, 0, 5, 5, 999]), strict=True):
        assert as_lists(row) == {name: column[number] for name, column in expected.items()}
    assert rows.lengths.tolist() == expected["lengths"]
    assert rows.column("index").tolist() == list(range(1201))
    cut = np.array(expected["cut"])
    assert rows.counts == {
        "records": 1201,
        "rows": 1201,
        "cut_rows": int((cut > 0).sum()),
        "cut_tokens": int(cut.sum()),
    }
    assert rows.counts["cut_rows"] > 0


def test_records_with_several_rows_come_back(tmp_path: Path, tokenizer: Tokenizer) -> None:
    windowed = PassagePreparation(
        tokenizer=tokenizer, max_length=23, stride=7, max_question_length=7
    )
    count = 700
    records = Dataset.from_dict(
        {
            "question": [f"one {i}" for i in range(count)],
            "context": [f"{i} " + "one two " * (i % 23) for i in range(count)],
            "answers": [[] for _ in range(count)],
            "starts": [[] for _ in range(count)],
        }
    )
    rows = rows_of(tmp_path, windowed, records=records, training=False)
    expected = listed(windowed.encode(records[:], range(count), training=False))

    assert len(rows) == len(expected["index"]) > ENCODED_AT_ONCE
    for number in (0, ENCODED_AT_ONCE - 1, ENCODED_AT_ONCE, len(rows) - 1):
        row = as_lists(rows.take([number])[0])
        assert row["text"] == expected["text"][number]
        assert row["offset_ends"] == expected["offset_ends"][number]
        assert row["index"] == expected["index"][number]


def test_a_second_call_encodes_nothing(tmp_path: Path, preparation: CountingPreparation) -> None:
    rows_of(tmp_path, preparation)
    calls = preparation.calls
    again = rows_of(tmp_path, preparation)

    assert preparation.calls == calls > 0
    assert len(again) == 1201


def test_what_rows_depend_on_makes_another_entry(
    tmp_path: Path, preparation: CountingPreparation, tokenizer: Tokenizer
) -> None:
    longer = CountingPreparation(
        source_tokenizer=tokenizer,
        target_tokenizer=tokenizer,
        max_source_length=19,
        max_target_length=17,
    )
    folders = {
        rows_of(tmp_path, preparation).folder,
        rows_of(tmp_path, preparation, records_fingerprint="v2").folder,
        rows_of(tmp_path, preparation, training=False).folder,
        rows_of(tmp_path, longer).folder,
    }

    assert len(folders) == 4
    assert rows_fingerprint("v1", preparation, training=True) in {folder.name for folder in folders}


def test_rows_are_mapped_not_read(tmp_path: Path, preparation: CountingPreparation) -> None:
    rows = rows_of(tmp_path, preparation)
    before = rows.take([7])[0]["source"].tolist()
    for name in ("source.int32", "lengths.int32"):
        with (rows.folder / name).open("r+b") as file:
            zeros = bytes((rows.folder / name).stat().st_size)
            file.write(zeros)

    assert not rows.lengths.any()  # the file is what is seen
    assert rows.take([7])[0]["source"].tolist() == [0] * len(before)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted by /proc")
def test_many_rows_read_do_not_stay_in_memory(
    tmp_path: Path, preparation: CountingPreparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heed.data.encoded_rows.MOST_MAPPED", 2**17)  # two rows' worth
    rows = rows_of(tmp_path, preparation)

    def mapped_kib() -> int:
        parts = Path("/proc/self/smaps").read_text().split(str(rows.folder / "source.int32"))[1:]
        return sum(int(part.split("Rss:")[1].split()[0]) for part in parts)

    assert rows._large
    rows.take([0])
    assert mapped_kib() > 0
    rows.take(range(1201))
    assert mapped_kib() == 0


def test_rows_travel_to_workers_as_a_path(tmp_path: Path, preparation: CountingPreparation) -> None:
    rows = rows_of(tmp_path, preparation)
    packed = pickle.dumps(rows)  # what torch does for a worker

    assert len(packed) < 1000
    copy = pickle.loads(packed)
    assert as_lists(copy.take([11])[0]) == as_lists(rows.take([11])[0])


@pytest.mark.parametrize("file", ["source.int32", "target.int64", "lengths.int32", "entry.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_broken_entry_is_written_again(
    tmp_path: Path, preparation: CountingPreparation, file: str, damage: str
) -> None:
    folder = rows_of(tmp_path, preparation).folder
    whole = (folder / file).read_bytes()
    if damage == "cut":
        (folder / file).write_bytes(whole[: len(whole) // 2])
    else:
        (folder / file).unlink()
    assert not is_whole(folder)

    rows = rows_of(tmp_path, preparation)
    assert (folder / file).read_bytes() == whole
    assert len(rows.take(range(1201))) == 1201


def test_a_failed_attempt_leaves_nothing_behind(
    tmp_path: Path, preparation: CountingPreparation
) -> None:
    preparation.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        rows_of(tmp_path, preparation)
    assert [path.name for path in (tmp_path / "encoded").iterdir() if path.is_dir()] == []

    preparation.fault = None
    assert len(rows_of(tmp_path, preparation)) == 1201


def test_what_a_killed_process_left_is_cleared(
    tmp_path: Path, preparation: CountingPreparation
) -> None:
    key = rows_fingerprint("v1", preparation, training=True)
    left = tmp_path / "encoded" / f"{key}.part-killed"
    left.mkdir(parents=True)
    (left / "source.int32").write_bytes(b"half")

    rows_of(tmp_path, preparation)
    assert not left.exists()


def test_a_full_disk_is_told_with_the_key_to_change(
    tmp_path: Path, preparation: CountingPreparation
) -> None:
    preparation.fault = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(
        UserError, match=r"paths.cache_dir .* its disk is full; try paths.cache_dir"
    ):
        rows_of(tmp_path, preparation)


def test_a_cache_folder_that_is_a_file_is_told(
    tmp_path: Path, preparation: CountingPreparation
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"paths.cache_dir must be a folder .* a part of its path"):
        rows_of(tmp_path / "file", preparation)


def test_no_records_make_an_empty_entry(tmp_path: Path, preparation: CountingPreparation) -> None:
    rows = rows_of(tmp_path, preparation, records=RECORDS.select([]))

    assert len(rows) == 0
    assert rows.lengths.shape == (0, 2)
    assert rows.column("index").tolist() == []


class SlowPreparation(PairPreparation):
    """Pairs that take their time, and leave a file that says who encoded them."""

    marks: Path

    def encode(
        self, records: Mapping[str, list[Any]], indices: Sequence[int], *, training: bool
    ) -> Rows:
        (self.marks / f"encoded-by-{os.getpid()}").touch()
        time.sleep(0.3)  # long enough for the other process to arrive
        return super().encode(records, indices, training=training)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_at_once_write_one_entry(tmp_path: Path, tokenizer: Tokenizer) -> None:
    slow = SlowPreparation(
        source_tokenizer=tokenizer,
        target_tokenizer=tokenizer,
        max_source_length=31,
        max_target_length=31,
    )
    slow.marks = tmp_path
    fork = multiprocessing.get_context("fork")
    start, answers = fork.Barrier(2), fork.Queue()

    def ask() -> None:
        start.wait(timeout=30)
        rows = rows_of(tmp_path / "cache", slow)
        answers.put((os.getpid(), len(rows), rows.take([1200])[0]["source"].tolist()))

    both = [fork.Process(target=ask) for _ in range(2)]
    for process in both:
        process.start()
    found = [answers.get(timeout=60) for _ in both]
    for process in both:
        process.join(timeout=60)

    assert len({pid for pid, _, _ in found}) == 2
    assert found[0][1:] == found[1][1:]
    assert found[0][1] == 1201
    assert len(list(tmp_path.glob("encoded-by-*"))) == 1
    entries = [path for path in (tmp_path / "cache" / "encoded").iterdir() if path.is_dir()]
    assert len(entries) == 1
