"""Tokenizers as files that make whole rows by themselves, special tokens included.

Heed puts special tokens around a text when it prepares a batch. A program that knows no Heed reads
`tokenizer.json` with the `tokenizers` library, whose template does the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers.processors import TemplateProcessing

from heed.data.pairs import question_and_context
from heed.data.preparation import columns_of
from heed.errors import RunFailed
from heed.exporting.expressible import LANGUAGE, writes_text
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
    if goes_on(subject):
        return ("bos", FIRST), None  # what comes next is for the model to say
    if writes_text(subject.config):
        return template.source, None
    return template.text, template.pair


def goes_on(subject: Subject) -> bool:
    """Whether the model goes on with what it reads: a causal language model."""
    config = subject.config
    return config["task"]["kind"] == LANGUAGE and config["model"]["shape"] == "decoder"


def write_tokenizers(subject: Subject, folder: Path) -> dict[str, str]:
    """Write the tokenizers of what a model reads and, if it is another, of what it writes.

    Returns:
        Side -> file name.
    """
    writes = writes_text(subject.config)
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
    for texts, row in texts_and_rows(subject):
        first, second = texts[0], texts[1] if len(texts) > 1 else None
        if list(backend.encode(first, second).ids) != row:
            raise RunFailed(
                f"{file.name} must make the rows that the model was trained on, but does not for "
                f"{texts[0][:200]!r}; nothing was written",
                cause="export differs",
            )


def texts_and_rows(subject: Subject) -> Iterator[tuple[tuple[str, ...], list[int]]]:
    """The text or texts of each example, and the row of ids that the model was trained to read.

    Examples that are cut, or read through several windows, are left out.
    """
    preparation: Any = subject.datamodule.preparation
    examples = list(subject.examples)
    rows = preparation.encode(columns_of(examples), range(len(examples)), training=False)
    column = "source" if "source" in rows else "text"
    found: dict[int, list[list[int]]] = {}
    for index, cut, row in zip(rows["index"], rows["cut"], rows[column], strict=True):
        found.setdefault(index, []).append([] if cut else [int(i) for i in row])
    for index, example in enumerate(examples):
        of_example = found.get(index, [])
        if len(of_example) == 1 and of_example[0]:
            row = of_example[0][:-1] if goes_on(subject) else of_example[0]
            yield _texts(subject, example), row


def prefix_of(task: Mapping[str, Any]) -> str:
    """The text that a run put before every text, source or question."""
    preparation = task["preparation"]
    keys = ("source_prefix", "text_prefix", "question_prefix")
    return next((preparation[key] for key in keys if preparation.get(key)), "")


def _texts(subject: Subject, record: dict[str, Any]) -> tuple[str, ...]:
    prefix = prefix_of(subject.config["task"])
    if "question" not in record:
        return (prefix + record["source" if "source" in record else "text"],)
    question, context = record["question"], record["context"]
    if writes_text(subject.config):
        return (prefix + question_and_context(question, context),)
    return prefix + question, context
