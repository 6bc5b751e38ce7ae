"""Artifacts of a wandb run with what they come from, on a server or offline.

The files are linked (copied where there are no links) into the folder of the wandb session, which
lies in the run folder: an upload that comes later finds them as they were, whatever becomes of
the run's own files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heed.files import link_or_copy
from heed.tracking.artifacts import Kind, artifact_files, lineage
from heed.tracking.record import RunRecord

FOLDER = "artifacts"
_TYPES = {"checkpoint": "model"}  # wandb's word for it; the others are their own types
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]")


def log_artifacts(wandb: Any, run: Any, run_dir: Path, kinds: Sequence[Kind]) -> None:
    """Give a wandb run its artifacts, and the data and weights that it comes from as inputs.

    Args:
        wandb: The package.
        run: The wandb run, not finished yet.
        run_dir: The run folder, whose record knows data, tokenizer and checkpoint.
        kinds: What is kept.
    """
    record = RunRecord.open(run_dir)
    origin = lineage(record)
    run.config.update({"lineage": origin}, allow_val_change=True)
    staged = Path(run.settings.sync_dir) / FOLDER
    for name, kind, content in _inputs(record, origin):
        path = staged / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        _use(run, _artifact(wandb, name, kind, {path.name: path}, content))
    for kind, files in artifact_files(record, kinds).items():
        linked = {}
        for file in files:
            linked[file.as_posix()] = staged / file
            (staged / file).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(run_dir / file, staged / file)
        name = f"{kind}-{run.id}"
        run.log_artifact(_artifact(wandb, name, _TYPES.get(kind, kind), linked, origin))


def _inputs(record: RunRecord, origin: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(name, type, content) of what a run was made from."""
    inputs = [(f"{record.fields['task']}-data", "dataset", {"fingerprints": origin["data"]})]
    ancestor = origin.get("init_from")
    if ancestor:
        # the same weights have the same name, whichever run begins with them
        known = str(ancestor.get("sha256") or ancestor.get("checkpoint"))[:16]
        content = {key: ancestor.get(key) for key in ("checkpoint", "sha256")}
        inputs.append((f"weights-{known}", "model", content))
    return inputs


def _artifact(
    wandb: Any, name: str, kind: str, files: dict[str, Path], metadata: dict[str, Any]
) -> Any:
    artifact = wandb.Artifact(_NOT_IN_A_NAME.sub("-", name), type=kind, metadata=metadata)
    for place, path in files.items():
        artifact.add_file(str(path), name=place, policy="immutable", skip_cache=True)
    return artifact


def _use(run: Any, artifact: Any) -> None:
    """Declare an input. Offline, wandb's own method refuses; what it would record is kept."""
    if run.offline:
        run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
    else:
        run.use_artifact(artifact)
