"""A checkpoint of the Hugging Face ecosystem: a folder, or a name on the hub.

Weights are read tensor by tensor from safetensors, or with `weights_only` from PyTorch's own
format, whole or in shards. Nothing in a checkpoint is ever run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.errors import UserError
from heed.text.network import offline_if_unreachable

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_NAME = "config.json"
GENERATION_NAME = "generation_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that is there
INDEX = ".index.json"
Readers = dict[str, tuple[tuple[int, ...], Callable[[], "Tensor"]]]
"""The shape of each tensor, and what reads it."""
_HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Checkpoint:
    """A pretrained model as others saved it.

    Args:
        name: A folder, or a name on huggingface.co (OWNER/NAME).
        revision: Branch, tag or commit, of a name on the hub.

    Attributes:
        folder: The folder, None for a name.
        revision: For a name on the hub the commit, once something was read.

    Raises:
        UserError: If there is no such folder or name, or it holds no config.json.
    """

    def __init__(self, name: str, revision: str = "main") -> None:
        self.name = str(name)
        self.revision = revision
        path = Path(self.name).expanduser()
        self.folder = path if path.is_dir() else None
        if self.folder is None and (path.exists() or not _HUB_NAME.fullmatch(self.name)):
            raise UserError(
                "model.pretrained must be a folder with a config.json, or a name on huggingface.co "
                f"(OWNER/NAME), but {self.name} "
                + ("is a file" if path.exists() else "is neither"),
                f"try model.pretrained={path.parent}" if path.is_file() else "",
            )
        config = self.read_json(CONFIG_NAME)
        if config is None:
            raise UserError(
                f"model.pretrained={self.name} must hold a {CONFIG_NAME}, but has none",
                "a folder that save_pretrained() wrote has one",
            )
        self.config = config

    @property
    def model_type(self) -> str:
        """What the config calls the family; "" if it does not say."""
        return str(self.config.get("model_type", ""))

    @cached_property
    def generation(self) -> dict[str, Any]:
        """How its makers would have it write; empty if they do not say."""
        return self.read_json(GENERATION_NAME) or {}

    def find(self, file: str) -> Path | None:
        """The path of one of its files, fetched if need be; None if it has no such file."""
        if self.folder is not None:
            path = self.folder / file
            return path if path.is_file() else None
        return self._fetch(file)

    def _fetch(self, file: str) -> Path | None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            with offline_if_unreachable():
                path = Path(hf_hub_download(self.name, file, revision=self.revision))
        except LocalEntryNotFoundError as error:
            if file != CONFIG_NAME and self._is_cached(CONFIG_NAME):
                return None  # without a network, what is not cached counts as not there
            raise self._not_found(error) from error
        except EntryNotFoundError:
            return None
        except Exception as error:  # every layer below has its own exceptions
            raise self._not_found(error) from error
        commit = path.parent.name
        if _COMMIT.fullmatch(commit):
            self.revision = commit
        return path

    def _is_cached(self, file: str) -> bool:
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(self.name, file, revision=self.revision), str)

    def _not_found(self, error: Exception) -> UserError:
        words = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return UserError(
            f"model.pretrained={self.name} must be a folder, or be on huggingface.co or in its "
            f"local cache, but it cannot be had: no network, or no such name ({words})",
            "check the name, or fetch it where there is a network and give its folder",
        )

    def read_json(self, file: str) -> dict[str, Any] | None:
        """One of its files of settings; None if it has no such file.

        Raises:
            UserError: If it is no JSON object.
        """
        path = self.find(file)
        if path is None:
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} must be JSON, but cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise UserError(f"{path} must be a JSON object, but is a {type(content).__name__}")
        return content

    @cached_property
    def files(self) -> list[Path]:
        """The files that hold the weights.

        Raises:
            UserError: If there are none, or a shard is missing.
        """
        for name in WEIGHTS:
            whole = self.find(name)
            if whole is not None:
                return [whole]
            index = self.read_json(name + INDEX)
            if index is not None:
                shards = index.get("weight_map")
                if not isinstance(shards, dict):
                    raise UserError(f"{name}{INDEX} of {self.name} must have a weight_map")
                found = {shard: self.find(str(shard)) for shard in sorted(set(shards.values()))}
                lost = [shard for shard, path in found.items() if path is None]
                if lost:
                    raise UserError(
                        f"model.pretrained={self.name} must hold all its shards, "
                        f"but has no {', '.join(lost)}",
                        "fetch it again",
                    )
                return [path for path in found.values() if path is not None]
        raise UserError(
            f"model.pretrained={self.name} must hold {' or '.join(WEIGHTS)}, but has neither",
            "save it with save_pretrained()",
        )

    @cached_property
    def _readers(self) -> Readers:
        readers: Readers = {}
        for path in self.files:
            try:
                found = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
            except UserError:
                raise
            except Exception as error:  # a broken file makes every reader fail in its own way
                words = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
                raise UserError(
                    f"{path} must be a file of tensors, but cannot be read: {words}",
                    "it may be cut short: fetch or save it again",
                ) from error
            readers.update(found)
        return readers

    def names(self) -> list[str]:
        """The names of its tensors."""
        return list(self._readers)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one of them."""
        return self._readers[name][0]

    def tensor(self, name: str) -> Tensor:
        """One of them, on the CPU."""
        return self._readers[name][1]()


def _safetensors(path: Path) -> Readers:
    from safetensors import safe_open

    file = safe_open(path, framework="pt")  # checks its length against its header
    return {
        name: (tuple(file.get_slice(name).get_shape()), partial(file.get_tensor, name))
        for name in file.keys()  # noqa: SIM118 - it is no mapping
    }


def _pickled(path: Path) -> Readers:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold tensors by name, but holds {type(content).__name__}")
    return {
        str(name): (tuple(found.shape), partial(_given, found))
        for name, found in content.items()
        if isinstance(found, torch.Tensor)
    }


def _given(found: Tensor) -> Tensor:
    return found
