"""Encoded rows as lists, to be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def listed(columns: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What `Preparation.encode` gives: by column an integer or a list of integers a row."""
    return {name: [_plain(value) for value in column] for name, column in columns.items()}


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
