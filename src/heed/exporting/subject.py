"""What is exported: a trained task with its tokenizers, its record, and examples to check it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heed.data.module import DataModule
from heed.tasks.base import Task
from heed.text.tokenizer import TokenizerPair


@dataclass(frozen=True)
class Subject:
    """A trained model as the formats see it.

    Attributes:
        task: With its weights, on the CPU, ready to evaluate.
        tokenizers: Of what it reads and of what it writes.
        labels: Class names by number; None where there are none.
        datamodule: Makes batches of records.
        config: The run's frozen config.
        record: The fields of its run record.
        run_dir: The run folder.
        checkpoint: The name of the checkpoint.
        examples: Records that the export is checked on; at least one.
        examples_from: Where they come from, for people.
        settings: What the verb was asked for beside (`quantization`, `tolerance`).
    """

    task: Task
    tokenizers: TokenizerPair
    labels: list[str] | None
    datamodule: DataModule
    config: Mapping[str, Any]
    record: Mapping[str, Any]
    run_dir: Path
    checkpoint: str
    examples: Sequence[dict[str, Any]]
    examples_from: str
    settings: Mapping[str, Any]

    def batches(self) -> list[Any]:
        """The examples as batches, with their targets."""
        return list(self.datamodule.predict_batches(self.examples))


@dataclass(frozen=True)
class Written:
    """What a format has written, and how it compared with the model that it came from.

    Attributes:
        python: Lines of Python that load and use the folder, whose name stands in them as FOLDER.
        compared: What was compared, for people: "logits".
        largest_difference: Between what the two computed.
        tolerance: The largest that is accepted.
        agreement: Name -> (how many texts were the same, of how many), where texts were compared.
        facts: What else the card and export.json should say.
    """

    python: tuple[str, ...]
    compared: str
    largest_difference: float
    tolerance: float
    agreement: Mapping[str, tuple[int, int]]
    facts: Mapping[str, Any]
