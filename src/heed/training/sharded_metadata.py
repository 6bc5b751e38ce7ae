"""The `.metadata` of a checkpoint folder, read without running anything.

`torch.distributed.checkpoint` reads it by plain pickle. Here an unpickler reads it that knows only
the few classes that are written there.
"""

from __future__ import annotations

import enum
import pickle
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

from heed.errors import UserError

METADATA = ".metadata"
_DCP = "torch.distributed.checkpoint"
_ALLOWED = {
    (f"{_DCP}.metadata", "Metadata"),
    (f"{_DCP}.metadata", "TensorStorageMetadata"),
    (f"{_DCP}.metadata", "TensorProperties"),
    (f"{_DCP}.metadata", "ChunkStorageMetadata"),
    (f"{_DCP}.metadata", "MetadataIndex"),
    (f"{_DCP}.metadata", "StorageMeta"),
    (f"{_DCP}.metadata", "_MEM_FORMAT_ENCODING"),
    (f"{_DCP}.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
}


def metadata_fault(metadata: Any, sizes: dict[str, int]) -> str | None:
    """What in a `.metadata` would make the reader leave the folder, its files or the memory.

    Args:
        metadata: What has been read.
        sizes: The bytes of each file that belongs to the folder.
    """
    try:
        return _fault(metadata, sizes)
    except (AttributeError, TypeError, ValueError):  # the right classes with wrong values in them
        return f"its {METADATA} describes no tensors"


def _fault(metadata: Any, sizes: dict[str, int]) -> str | None:
    if not isinstance(metadata, Metadata) or not isinstance(metadata.storage_data, dict):
        return f"its {METADATA} describes no tensors"
    needed = 0
    for name, facts in metadata.state_dict_metadata.items():
        if not isinstance(facts, TensorStorageMetadata):
            return f"its {METADATA} has something that is no tensor: {name}"
        needed += facts.size.numel() * facts.properties.dtype.itemsize
    if needed > sum(sizes.values()):
        return f"its {METADATA} describes more than there is"
    for place in metadata.storage_data.values():
        if place.relative_path not in sizes or place.transform_descriptors:
            return f"its {METADATA} names {place.relative_path!r}, which is not part of it"
    return None


class _PlainUnpickler(pickle.Unpickler):
    """Knows the classes of a `.metadata`, and nothing that does anything."""

    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in _ALLOWED:
            return super().find_class(module, name)
        if (module, name) == ("builtins", "getattr"):
            return _member  # by which Python before 3.11.4 writes a member of an enumeration
        raise pickle.UnpicklingError(f"{module}.{name} has no place there")


def _member(kind: Any, name: str) -> Any:
    """A member of the one enumeration that is written, in place of any attribute of anything."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and name in kind.__members__:
        return kind[name]
    raise pickle.UnpicklingError(f"{name} of {kind} has no place there")


def read_metadata(folder: Path) -> Any:
    """The content of a `.metadata`.

    Raises:
        UserError: If it holds anything but descriptions of tensors, or is damaged.
    """
    try:
        with (folder / METADATA).open("rb") as file:
            return _PlainUnpickler(file).load()
    except Exception as error:  # a damaged pickle can raise anything
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"its {METADATA} must describe tensors only, but does not: {said}"
        ) from error


class Reader(dcp.FileSystemReader):
    """Reads a folder that has been verified."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        metadata: Metadata = read_metadata(Path(self.path))
        metadata.storage_meta = StorageMeta(load_id=self.load_id)
        return metadata
