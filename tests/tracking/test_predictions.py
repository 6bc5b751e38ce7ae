"""Predictions on disk."""

from __future__ import annotations

import json

import pytest

from heed.tracking.predictions import PredictionWriter, read_predictions


def test_one_object_a_line_in_order(tmp_path):
    path = tmp_path / "predictions" / "test.jsonl"
    rows = [{"prediction": f"Straße {i}\n\u2028", "score": i / 7} for i in range(13)]
    with PredictionWriter(path) as writer:
        writer.write(rows[:5])
        assert not path.exists()
        writer.write(rows[5:])
    assert writer.count == 13
    assert [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] == rows
    assert read_predictions(path) == rows
    assert "Straße" in path.read_text(encoding="utf-8")


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(TypeError), PredictionWriter(tmp_path / "a.jsonl") as writer:
        writer.write([{"prediction": "x"}, {"prediction": object()}])
    assert list(tmp_path.iterdir()) == []
