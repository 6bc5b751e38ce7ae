"""One export: the folder in its format, the model card, export.json; whole or not at all."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

from heed import __version__
from heed.data.pairs import question_and_context
from heed.exporting.destination import size_of, whole_folder
from heed.exporting.formats import Format
from heed.exporting.model_card import checked, model_card
from heed.exporting.subject import Subject, Written
from heed.exporting.tokenizer_files import prefix_of

SCHEMA = 1
REPORT = "export.json"
CARD = "README.md"
_SENTENCE = "It was a fine day."
_PASSAGE = {"question": "Who paints?", "context": "Ann paints a house, and Ben reads."}
_WORDS = re.compile(r"\b(FOLDER|EXAMPLE|TEXTS?)\b")


def export(subject: Subject, form: Format, output: Path) -> tuple[Written, list[str]]:
    """Write and verify.

    Returns:
        How it compared with the model, and lines for people: what was checked, size, how to load.

    Raises:
        UserError: If it cannot be written there.
        RunFailed: If it does not compute what the model does; then nothing is left behind.
    """
    writer = importlib.import_module(f"heed.exporting.{form.module}")
    with whole_folder(output) as folder:
        written: Written = writer.write(subject, folder)
        python = code(written.python, subject, output)
        in_card = code(written.python, subject, Path(output.name))
        report = describe(subject, form, written)
        (folder / REPORT).write_text(
            json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        card = model_card(subject, form.name, written, in_card, size_of(folder))
        (folder / CARD).write_text(card, encoding="utf-8")
    return written, [checked(subject, written), *python]


def code(lines: tuple[str, ...], subject: Subject, folder: Path) -> tuple[str, ...]:
    """Lines of Python with the folder, and a made-up example of what the model reads."""
    prefix = prefix_of(subject.config["task"])
    if "question" in subject.examples[0]:
        read = dict(_PASSAGE)
        texts = f"{prefix + read['question']!r}, {read['context']!r}"
        text = repr(prefix + question_and_context(**_PASSAGE))
    else:
        read = {"source" if "source" in subject.examples[0] else "text": _SENTENCE}
        texts = text = repr(prefix + _SENTENCE)
    words = {"FOLDER": folder.as_posix(), "EXAMPLE": str(read), "TEXTS": texts, "TEXT": text}
    return tuple(_WORDS.sub(lambda found: words[found[0]], line) for line in lines)


def describe(subject: Subject, form: Format, written: Written) -> dict[str, Any]:
    """What export.json says."""
    return {
        "schema": SCHEMA,
        "format": form.name,
        "heed": __version__,
        "run": {key: subject.record.get(key) for key in ("task", "name", "seed", "started")},
        "checkpoint": subject.checkpoint,
        "labels": subject.labels,
        "verified": {
            "compared": written.compared,
            "examples": len(subject.examples),
            "examples_from": subject.examples_from,
            "largest_difference": written.largest_difference,
            "tolerance": written.tolerance,
            "agreement": {
                name: {"same": same, "of": count}
                for name, (same, count) in written.agreement.items()
            },
        },
        **{
            key: list(value) if isinstance(value, tuple) else value
            for key, value in written.facts.items()
        },
    }
