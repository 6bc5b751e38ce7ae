"""A tokenizer: text to numbers and back, thin over the `tokenizers` library.

It never adds special tokens by itself and never finds them in a text: a text that says "<pad>" is
spelt out. Where they go is decided by whoever prepares a batch, who asks for their ids here.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from heed.errors import UserError
from heed.ragged import Ragged
from heed.text.network import offline_if_unreachable
from heed.text.special import ROLES, find_special_tokens
from heed.text.spelling import spell_out
from heed.text.template import Around, Template

# Encoding uses every core. Saying so keeps the library from warning at each fork; a forked child
# has lost the threads it would wait for, and works alone.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        after_in_child=lambda: os.environ.__setitem__("TOKENIZERS_PARALLELISM", "false")
    )

Offsets = list[tuple[int, int]]
JSON_NAME = "tokenizer.json"
SPECIAL_NAME = "special_tokens.json"
TEMPLATE_NAME = "template.json"  # written where rows are not the usual ones


class Tokenizer:
    """Text to token ids and back.

    Args:
        backend: The tokenizer of the `tokenizers` library. Its truncation and padding are
            turned off.
        special_tokens: Role -> token, for tokens whose names do not tell their role; roles are
            pad, unk, bos, eos, sep, cls, mask.
        template: Which of them stand around a text.
        name: What the user calls it, for messages.

    Attributes:
        pad_id, bos_id, eos_id, sep_id, cls_id: Ids of the special tokens. A borrowed tokenizer may
            use one token for several of them: BERT's [CLS] is bos, GPT-2's only token is all five.
        unk_id, mask_id: The same; None where the tokenizer has no such token.
        around: The ids around a text, by the kind of row; see `Template`.
        special_ids: The ids of all of them.

    Raises:
        UserError: If the tokenizer has no token for a role that is needed.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        special_tokens: Mapping[str, str] | None = None,
        template: Template | None = None,
        name: str = "the tokenizer",
    ) -> None:
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True  # what stands in a text is text
        self.backend = backend
        vocabulary = backend.get_vocab(with_added_tokens=True)
        self.special_tokens = find_special_tokens(vocabulary, special_tokens or {}, name=name)
        ids = {role: vocabulary[token] for role, token in self.special_tokens.items()}
        self.pad_id: int = ids["pad"]
        self.bos_id: int = ids["bos"]
        self.eos_id: int = ids["eos"]
        self.sep_id: int = ids["sep"]
        self.cls_id: int = ids["cls"]
        self.unk_id: int | None = ids.get("unk")
        self.mask_id: int | None = ids.get("mask")
        self.template = template or Template()
        self.around = {row: Around.of(roles, ids) for row, roles in self.template._asdict().items()}
        self.special_ids = tuple(sorted(set(ids.values())))
        self._never_shown = frozenset(ids[role] for role in ids if role != "unk")
        added = backend.get_added_tokens_decoder().values()
        special = {token.content for token in added if token.special}
        spell_out(backend, special.union(self.special_tokens.values()))

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest id: the rows an embedding needs."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digits that change whenever an encoding could: sha256 of the tokenizer's JSON.

        Scores are rounded, since reading and writing them as text moves their last digit.
        """
        content = json.loads(self.backend.to_str(), parse_float=lambda text: f"{float(text):.6g}")
        parts = [content, self.special_tokens]
        if self.template != Template():
            parts.append(self.template.plain())
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special tokens. Uses every core."""
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_flat(self, texts: Sequence[str]) -> Ragged:
        """The same ids, int32, in flat arrays."""
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return Ragged.of([encoding.ids for encoding in encodings])

    def encode_with_offsets(self, texts: Sequence[str]) -> tuple[list[list[int]], list[Offsets]]:
        """The ids of each text, and for each id the characters it stands for.

        Returns:
            ids, and offsets: (start, end) of each token in characters of the given text, spaces
            around it left out. Tokens that share one character (its bytes) have the same offsets.
        """
        encodings = self.backend.encode_batch(list(texts), add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        offsets = [
            _without_spaces(text, encoding.offsets)
            for text, encoding in zip(texts, encodings, strict=True)
        ]
        return ids, offsets

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The text of each row of ids; special tokens are left out."""
        rows = [[i for i in row if i not in self._never_shown] for row in ids]
        return self.backend.decode_batch(rows, skip_special_tokens=True)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The name of each id as the vocabulary spells it."""
        return [self.backend.id_to_token(i) or "" for i in ids]

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer into a folder, which is made if need be."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / JSON_NAME).write_text(self.backend.to_str(pretty=False), encoding="utf-8")
        roles = json.dumps(self.special_tokens, indent=2, ensure_ascii=False)
        (folder / SPECIAL_NAME).write_text(roles + "\n", encoding="utf-8")
        if self.template != Template():
            rows = json.dumps(self.template.plain(), indent=2)
            (folder / TEMPLATE_NAME).write_text(rows + "\n", encoding="utf-8")

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        special_tokens: Mapping[str, str] | None = None,
        template: Template | None = None,
    ) -> Tokenizer:
        """Read a tokenizer from a folder that `save` wrote, or from anybody's `tokenizer.json`.

        Args:
            path: The folder or the file.
            special_tokens: Role -> token, where the names in the file do not tell.
            template: Which of them stand around a text; None: as a file beside it says.

        Raises:
            UserError: If there is no such file, it is no tokenizer, or it lacks a special token.
        """
        path = Path(path).expanduser()
        file = path / JSON_NAME if path.is_dir() else path
        if not file.is_file():
            raise UserError(
                f"a tokenizer must be a {JSON_NAME} or a folder with one, but {path} "
                + ("has none" if path.is_dir() else "does not exist"),
                "give tokenizer.path=FILE",
            )
        try:
            backend = tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises bare Exception
            raise UserError(
                f"{file} must be a tokenizer of the `tokenizers` library, but cannot be read "
                f"as one: {error}",
                "save it with save_pretrained() of a fast tokenizer, or train one: tokenizer=bpe",
            ) from error
        known = {**roles_beside(file), **(special_tokens or {})}
        if template is None:
            template = Template.read(_read_object(file.parent / TEMPLATE_NAME), name=str(file))
        return cls(backend, special_tokens=known, template=template, name=str(file))

    @classmethod
    def from_hub(
        cls,
        name: str,
        *,
        revision: str = "main",
        special_tokens: Mapping[str, str] | None = None,
    ) -> Tokenizer:
        """Fetch a tokenizer from the Hugging Face hub, or take it from the hub's local cache.

        Raises:
            UserError: If there is no network and no cached copy, or no such tokenizer.
        """
        try:
            with offline_if_unreachable():
                backend = tokenizers.Tokenizer.from_pretrained(name, revision=revision)
        except Exception as error:  # every layer below has its own exceptions
            raise _hub_error(name, error) from error
        return cls(backend, special_tokens=special_tokens, name=name)


class TokenizerPair:
    """The tokenizers of what a model reads and of what it writes; one object when joint.

    Args:
        source: Tokenizer of what is read.
        target: Tokenizer of what is written.
    """

    def __init__(self, source: Tokenizer, target: Tokenizer) -> None:
        self.source = source
        self.target = target

    @property
    def joint(self) -> bool:
        """Whether both sides share one tokenizer."""
        return self.source is self.target

    @property
    def sizes(self) -> tuple[int, int | None]:
        """Tokens of the source, and of the target where it has a tokenizer of its own."""
        target = None if self.joint else self.target.vocabulary_size
        return self.source.vocabulary_size, target

    @property
    def fingerprint(self) -> str:
        """Hex digits that change whenever an encoding of either side could."""
        if self.joint:
            return self.source.fingerprint
        both = self.source.fingerprint + self.target.fingerprint
        return hashlib.sha256(both.encode()).hexdigest()

    def save(self, folder: str | Path) -> None:
        """Write into a folder: the tokenizer itself when joint, else one folder a side."""
        if self.joint:
            self.source.save(folder)
            return
        self.source.save(Path(folder) / "source")
        self.target.save(Path(folder) / "target")

    @classmethod
    def load(cls, folder: str | Path) -> TokenizerPair:
        """Read what `save` wrote.

        Raises:
            UserError: If a file is missing or broken.
        """
        folder = Path(folder)
        if (folder / "source").is_dir() and (folder / "target").is_dir():
            return cls(Tokenizer.load(folder / "source"), Tokenizer.load(folder / "target"))
        one = Tokenizer.load(folder)
        return cls(one, one)


def _without_spaces(text: str, offsets: Offsets) -> Offsets:
    trimmed = []
    for start, end in offsets:
        if start < end and (text[start].isspace() or text[end - 1].isspace()):
            piece = text[start:end]
            inner = piece.strip()
            if inner:
                start += len(piece) - len(piece.lstrip())
                end = start + len(inner)
        trimmed.append((start, end))
    return trimmed


def roles_beside(file: Path) -> dict[str, str]:
    """Role -> token, as files beside a tokenizer's tell."""
    roles: dict[str, str] = {}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        for role, token in _read_object(file.parent / name).items():
            role = role.removesuffix("_token")
            content = token.get("content") if isinstance(token, dict) else token
            if role in ROLES and isinstance(content, str):
                roles[role] = content
    own = _read_object(file.parent / SPECIAL_NAME)
    return {**roles, **{role: token for role, token in own.items() if role in ROLES}}


def _read_object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _hub_error(name: str, error: Exception) -> UserError:
    kind = type(error).__name__
    words = str(error).strip().splitlines()[0] if str(error).strip() else kind
    if "RepositoryNotFound" in kind or "404" in words or "401" in words:
        return UserError(
            f"tokenizer.name must be a model on huggingface.co that holds a {JSON_NAME}, "
            f"but {name!r} is not one ({words})",
            "check the spelling; a private one needs `hf auth login`",
        )
    return UserError(
        f"the tokenizer {name!r} must be fetched from huggingface.co, but it cannot be reached "
        f"and no copy of it is cached here ({words})",
        "fetch it where there is a network and give tokenizer=file tokenizer.path=FILE, "
        "or train one: tokenizer=bpe",
    )
