"""Tokenizers as files that make whole rows by themselves, special tokens included.

Heed puts special tokens around a text when it prepares a batch. A program that knows no Heed reads
`tokenizer.json` with the `tokenizers` library, whose template does the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers.processors import TemplateProcessing

from heed.errors import RunFailed
from heed.exporting.subject import Subject
from heed.text.template import FIRST, SECOND
from heed.text.tokenizer import Tokenizer

ONE, SOURCE, TARGET = "tokenizer.json", "source_tokenizer.json", "target_tokenizer.json"


def with_template(
    tokenizer: Tokenizer, single: Sequence[str], pair: Sequence[str] | None = None
) -> Backend:
    """A copy of a tokenizer that puts special tokens around what it encodes.

    Args:
        tokenizer: Whose special tokens they are.
        single: The row of one text, as in `Template`.
        pair: The row of two texts, whose second has type 1 with all that follows it.
    """
    backend = Backend.from_str(tokenizer.backend.to_str())
    vocabulary = backend.get_vocab(with_added_tokens=True)
    pair = pair or (*single, SECOND)
    roles = {role for role in (*single, *pair) if role not in (FIRST, SECOND)}
    names = {role: tokenizer.special_tokens[role] for role in roles}
    backend.post_processor = TemplateProcessing(
        single=_pieces(single, names),
        pair=_pieces(pair, names),
        special_tokens=[(name, vocabulary[name]) for name in set(names.values())],
    )
    return backend


def _pieces(roles: Sequence[str], names: dict[str, str]) -> list[str]:
    """A row in the library's notation: ["[CLS]:0", "$A:0", "[SEP]:0", "$B:1", "[SEP]:1"]."""
    second = list(roles).index(SECOND) if SECOND in roles else len(roles)
    return [f"{names.get(role, f'${role}')}:{int(i >= second)}" for i, role in enumerate(roles)]


def reading_rows(subject: Subject) -> tuple[Sequence[str], Sequence[str] | None]:
    """The rows that a model reads: of one text and of two."""
    template = subject.tokenizers.source.template
    if subject.config["task"].get("validation_decoder"):
        return template.source, None
    return template.text, template.pair


def write_tokenizers(subject: Subject, folder: Path) -> dict[str, str]:
    """Write the tokenizers of what a model reads and, if it is another, of what it writes.

    Returns:
        Side -> file name.
    """
    writes = subject.config["task"].get("validation_decoder")
    joint = subject.tokenizers.joint or not writes
    files = {"source": ONE if joint else SOURCE}
    backend = with_template(subject.tokenizers.source, *reading_rows(subject))
    backend.save(str(folder / files["source"]), pretty=False)
    if writes:
        files["target"] = ONE if joint else TARGET
    if not joint:
        subject.tokenizers.target.backend.save(str(folder / TARGET), pretty=False)
    _check(subject, folder / files["source"])
    return files


def _check(subject: Subject, file: Path) -> None:
    """The file makes the rows that the model was trained on, for the texts that are checked."""
    backend = Backend.from_file(str(file))
    preparation: Any = subject.datamodule.preparation
    from heed.data.preparation import columns_of

    rows = preparation.encode(
        columns_of(subject.examples), range(len(subject.examples)), training=False
    )
    limits = [row for row, cut in zip(rows["index"], rows["cut"], strict=True) if cut]
    column = "source" if "source" in rows else "text"
    of_record: dict[int, list[list[int]]] = {}
    for index, row in zip(rows["index"], rows[column], strict=True):
        of_record.setdefault(index, []).append([int(i) for i in row])
    for index, record in enumerate(subject.examples):
        found = of_record.get(index, [])
        if len(found) != 1 or index in limits:
            continue  # read in windows, or cut
        if found[0] != encode(backend, subject, record):
            raise RunFailed(
                f"{file.name} must make the rows that the model was trained on, but does not for "
                f"{json.dumps(record, ensure_ascii=False)[:200]}; nothing was written",
                cause="export differs",
            )


def encode(backend: Backend, subject: Subject, record: dict[str, Any]) -> list[int]:
    """The row of a record as the file alone makes it."""
    from heed.data.pairs import question_and_context

    prefix = subject.config["task"]["preparation"].get("source_prefix", "")
    if "text" in record:
        return list(backend.encode(record["text"]).ids)
    if "source" in record:
        return list(backend.encode(prefix + record["source"]).ids)
    if subject.config["task"].get("validation_decoder"):
        text = question_and_context(record["question"], record["context"])
        return list(backend.encode(prefix + text).ids)
    return list(backend.encode(record["question"], record["context"]).ids)
