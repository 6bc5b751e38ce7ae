"""`format=safetensors`: weights, config and tokenizer, for Heed itself.

The config loses what belongs to the machine it was trained on: places of data, caches and runs.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from heed.errors import UserError
from heed.exporting.subject import Subject, Written
from heed.exporting.verification import difference, outputs, require_close

WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"
TOKENIZER = "tokenizer"
_TIED = "tied:"  # in the file's metadata: a name whose tensor stands under another
PYTHON = (
    "from heed.commands.exported import load_exported",
    'model = load_exported("FOLDER")',
    "print(model.predict([EXAMPLE]))",
)


def write(subject: Subject, folder: Path) -> Written:
    """Write the folder and read it back."""
    save_weights(subject.task.state_dict(), folder / WEIGHTS)
    subject.tokenizers.save(folder / TOKENIZER)
    config = portable(subject.config)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    (folder / CONFIG).write_text(text, encoding="utf-8")
    found = _read_back(subject, folder)
    tolerance = 0.0
    require_close(found, tolerance, what=WEIGHTS)
    what = "logits" if hasattr(subject.task, "logits") else "losses"
    return Written(PYTHON, what, found, tolerance, {}, {})


def _read_back(subject: Subject, folder: Path) -> float:
    """The largest difference after the weights have gone through the file.

    They go into a copy in which every number has been changed, so that none is right by chance.
    """
    twin = copy.deepcopy(subject.task)
    for parameter in twin.parameters():
        parameter.data.add_(1.0)
    twin.load_state_dict(load_weights(folder / WEIGHTS))
    batches = subject.batches()
    ours = [outputs(subject.task, batch) for batch in batches]
    return difference(ours, [outputs(twin, batch) for batch in batches])


def save_weights(state: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors; one that several names share is written once, and the file says so."""
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    kept: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    storages: set[int] = set()
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and place in first:
            tied[f"{_TIED}{name}"] = first[place]
            continue
        first[place] = name
        storage = tensor.untyped_storage().data_ptr()
        kept[name] = tensor.detach().contiguous()
        if storage in storages:  # another part of a tensor that is written already
            kept[name] = kept[name].clone()
        storages.add(storage)
    save_file(kept, file, metadata={"format": "pt", **tied})
    readable(file)


def readable(file: Path) -> None:
    """Give a file the rights of any new one; the safetensors library makes it its owner's alone."""
    mask = os.umask(0o077)
    os.umask(mask)
    file.chmod(0o666 & ~mask)


def load_weights(file: Path) -> dict[str, Tensor]:
    """Read what `save_weights` wrote, with the shared tensors under all their names.

    Raises:
        UserError: If the file is missing, cut off or no safetensors file.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
        state: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{file} must be a whole safetensors file, but cannot be read: {error}",
            "export it again",
        ) from error
    for name, other in metadata.items():
        if name.startswith(_TIED):
            state[name.removeprefix(_TIED)] = state[other]
    return state


def portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without places of the machine it was written on, trackers and adapter."""
    found = copy.deepcopy(dict(config))
    found["paths"] = dict.fromkeys(found["paths"])
    found["data"].update(path=None, cache_dir=None)
    source = found["data"].get("source")
    if isinstance(source, dict) and "path" in source:
        source["path"] = None
    found["model"]["init_from"] = None
    if isinstance(found["tokenizer"].get("path"), str):
        found["tokenizer"]["path"] = None
    if str(found["model"].get("pretrained") or "").startswith(("/", "~")):
        found["model"]["pretrained"] = Path(found["model"]["pretrained"]).name
    if found.get("adapter"):
        found["adapter"] = None  # merged into the weights
    found["logger"] = {}
    found["resume"] = None
    return found
