"""What of a run folder a tracker keeps as artifacts, and what the run comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from heed.tracking.folder import CONFIG, OVERRIDES, TEST_PREDICTIONS, TOKENIZER
from heed.tracking.record import RunRecord

Kind = Literal["predictions", "config", "code", "samples", "tokenizer", "checkpoint"]

_PLACES: dict[str, tuple[str, ...]] = {
    "predictions": (TEST_PREDICTIONS,),
    "config": (CONFIG, OVERRIDES),
    "code": ("code.diff", "project.diff"),
    "samples": ("samples",),
    "tokenizer": (TOKENIZER,),
}


def artifact_files(record: RunRecord, kinds: Sequence[Kind]) -> dict[Kind, list[Path]]:
    """The files of each kind that a run has, relative to its folder; kinds without any are missing.

    Args:
        record: The run's record; the best checkpoint is the one that it names.
        kinds: What is wanted.
    """
    found = {kind: sorted(_files(record, kind)) for kind in kinds}
    return {kind: files for kind, files in found.items() if files}


def _files(record: RunRecord, kind: Kind) -> Iterable[Path]:
    folder = record.run_dir
    if kind == "checkpoint":
        best = record.best_checkpoint
        places = [best] if best is not None else []
    else:
        places = [folder / place for place in _PLACES[kind]]
    for place in places:
        files = place.rglob("*") if place.is_dir() else [place]
        yield from (file.relative_to(folder) for file in files if file.is_file())


def lineage(record: RunRecord) -> dict[str, Any]:
    """What a run comes from, as plain values.

    `data` (fingerprint of each split), `tokenizer` (fingerprint), `code` (commits), `resumed` (how
    often), and where there is one `init_from` (run, checkpoint, checksum) and `reproduces` (a run).
    """
    fields = record.fields
    data = {
        split: facts["fingerprint"]
        for split, facts in fields["data"].items()
        if isinstance(facts, dict) and facts.get("fingerprint")
    }
    code = {name: facts.get("commit") for name, facts in fields["code"].items()}
    return {
        "data": data,
        "tokenizer": fields["tokenizer"].get("fingerprint"),
        "code": code,
        "resumed": len(fields["sessions"]),
        **fields["lineage"],
    }
