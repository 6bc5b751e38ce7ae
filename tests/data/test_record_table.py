"""Records by number, against the same records as a list."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest

from heed.data.record_table import RecordTable

RECORDS = [{"text": f"t{i}", "label": "ab"[i % 2], "all": [f"{i}"] * (i % 3)} for i in range(23)]


@pytest.fixture
def table(tmp_path: Path) -> RecordTable:
    path = tmp_path / "records.arrow"
    schema = pyarrow.Table.from_pylist(RECORDS).schema
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as writer:
        for first in range(0, 23, 7):
            batch = pyarrow.RecordBatch.from_pylist(RECORDS[first : first + 7], schema)
            writer.write_batch(batch)
    return RecordTable.open(path)


def columns_of(records: list[dict]) -> dict[str, list]:
    return {name: [record[name] for record in records] for name in RECORDS[0]}


def test_records_one_by_one(table: RecordTable) -> None:
    assert len(table) == 23
    assert [table[i] for i in range(-23, 23)] == [*RECORDS, *RECORDS]
    assert list(table) == RECORDS
    with pytest.raises(IndexError):
        table[23]


def test_records_as_columns(table: RecordTable) -> None:
    for part in (slice(3, 19), slice(6, 8), slice(0, 99), slice(5, 5), slice(None, None, 4)):
        assert table[part] == columns_of(RECORDS[part])
    assert table[[22, 0, 7, 7]] == columns_of([RECORDS[i] for i in (22, 0, 7, 7)])
    assert list(table.iter(batch_size=9)) == [
        columns_of(RECORDS[first : first + 9]) for first in range(0, 23, 9)
    ]
    assert table["label"] == [record["label"] for record in RECORDS]
    assert table.unique("label") == ["a", "b"]


def test_a_part_is_a_table(table: RecordTable) -> None:
    part = table.select(range(5, 16))
    assert list(part) == RECORDS[5:16]
    assert part[-1] == RECORDS[15]
    assert len(table.select(range(0))) == 0


def test_records_are_read_without_heavy_imports(table: RecordTable, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from heed.data.record_table import RecordTable\n"
        f"table = RecordTable.open(Path({str(tmp_path / 'records.arrow')!r}))\n"
        "table[5], table[2:9], table[[1, 2]], table.unique('label')\n"
        "print(*({'datasets', 'pandas', 'pyarrow.compute', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
