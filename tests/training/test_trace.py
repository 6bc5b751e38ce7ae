"""The trace of a training: what a line holds, and what becomes of lines after a checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch

from heed.backbone.layout import Padded
from heed.data.batch import Tokens
from heed.training.callbacks.trace import digest, keep_lines, read_trace, trace


def tokens(*rows):
    return Tokens.padded([list(row) for row in rows], pad_id=0)


def test_it_is_off_unless_asked_for():
    assert trace() is None
    assert trace(enabled=True) is not None


def test_a_digest_tells_every_tensor_apart_and_nothing_else():
    one = digest(tokens((5, 7, 11), (13,)))
    assert one == digest(tokens((5, 7, 11), (13,)))
    others = [
        tokens((5, 7, 12), (13,)),
        tokens((13,), (5, 7, 11)),
        tokens((5, 7, 11), (13, 0)),  # the same ids, another length
    ]
    assert len({one, *map(digest, others)}) == 4
    assert digest(torch.zeros(2, 3)) != digest(torch.zeros(3, 2))
    assert digest(torch.zeros(3)) != digest(torch.zeros(3, dtype=torch.int32))


def test_a_digest_goes_into_parts():
    @dataclass
    class Batch:
        text: Tokens
        name: str

    batch = Batch(tokens((5, 7)), "a")
    before = digest(batch)
    batch.name = "b"  # no tensor
    assert digest(batch) == before
    batch.text.layout = Padded(torch.tensor([1]), 2, full=False)
    assert digest(batch) != before


@pytest.mark.parametrize(("count", "left"), [(0, 0), (2, 2), (3, 3), (9, 3)])
def test_lines_after_a_checkpoint_go_and_so_does_half_a_line(tmp_path, count, left):
    path = tmp_path / "trace-rank-0.jsonl"
    lines = [json.dumps({"step": step}) for step in range(4)]
    path.write_text("\n".join(lines[:3]) + "\n" + lines[3][:5])
    assert [line["step"] for line in read_trace(path)] == [0, 1, 2]
    keep_lines(path, count)
    assert path.read_text() == "".join(f"{line}\n" for line in lines[:left])
    keep_lines(tmp_path / "none.jsonl", 3)  # another number of processes: nothing to cut
    assert not (tmp_path / "none.jsonl").exists()
