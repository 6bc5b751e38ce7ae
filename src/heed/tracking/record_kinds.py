"""What kind of value each field of a run record has, for records that come from anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from heed.errors import UserError, raise_together

_WORDS: dict[type, str] = {dict: "a mapping", list: "a list", str: "text"}
_ALWAYS: dict[type, tuple[str, ...]] = {  # what code that reads a record relies on
    dict: (
        *("data", "tokenizer", "metrics", "signatures", "throughput", "phases"),
        *("versions", "platform", "hardware", "computing", "code", "lineage"),
    ),
    list: ("sessions", "overrides", "faults"),
    str: ("status",),
}
_MAYBE = ("best_checkpoint", "started")  # text or null


def check_kinds(fields: dict[str, Any], path: Path) -> None:
    """Fill in what an older record lacks, and refuse a field of another kind.

    Args:
        fields: The record's fields, filled in place.
        path: The record's file, for errors.

    Raises:
        UserError: For each field that is not what `RunRecord` writes.
    """
    faults = []
    for kind, names in _ALWAYS.items():
        for name in names:
            if fields.get(name) is None:
                fields[name] = kind()
            elif not isinstance(fields[name], kind):
                faults.append((name, _WORDS[kind]))
    faults += [(name, "text") for name in _MAYBE if not isinstance(fields.get(name) or "", str)]
    sessions = fields["sessions"]
    if isinstance(sessions, list) and not all(isinstance(one, dict) for one in sessions):
        faults.append(("sessions", "a list of mappings"))
    raise_together(
        [
            UserError(
                f"{name} in {path} must be {words}, but is {str(fields[name])[:60]!r}",
                "restore the record from a copy",
            )
            for name, words in faults
        ]
    )
