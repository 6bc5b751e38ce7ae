"""Pairs of texts (translation, summarization) and questions answered in words, as token rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from heed.data.batch import PairBatch, PrefixBatch
from heed.data.pair_rows import OneRow, PairRows, TwoRows
from heed.data.preparation import Rows, digest
from heed.data.record_kind import RecordKind
from heed.data.records import Pairs, Passages
from heed.text.tokenizer import Tokenizer

ENCODING = 1  # raise it when rows of the same records come out differently


class PairPreparation:
    """Rows of a source text and the target text to be written for it.

    For an encoder-decoder a source becomes tokens + eos, a target bos + tokens + eos. For a decoder
    both are one row, bos + source + sep + target + eos. (A tokenizer's template may have it
    otherwise.) A text that is too long is cut at its tail: the first tokens are kept, so that with
    its special tokens it just fits; the row's "cut" counts the tokens lost. References in the
    records are never cut, so scores are honest.

    Args:
        source_tokenizer: Tokenizer of the source side.
        target_tokenizer: Tokenizer of the target side; the same object when it is joint.
        max_source_length: Most tokens of a source, its special tokens included.
        max_target_length: Most tokens of a target, its special tokens included.
        source_prefix: Text put before every source ("summarize: " for T5-like checkpoints).
        shape: Of the model that reads the rows.

    Attributes:
        rows: How a pair lies in rows and batches.
        start_ids: What a model is given of a target; the rest it writes.

    Raises:
        UserError: If a length limit leaves no room for text.
    """

    kind: ClassVar[type[RecordKind]] = Pairs
    told: ClassVar[tuple[str, ...]] = ("target", "text")

    def __init__(
        self,
        *,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        max_source_length: int,
        max_target_length: int,
        source_prefix: str = "",
        shape: Literal["encoder_decoder", "decoder"] = "encoder_decoder",
    ) -> None:
        lengths = max_source_length, max_target_length
        self.rows: PairRows
        if shape == "decoder":
            assert source_tokenizer is target_tokenizer, "a decoder has one vocabulary"
            self.rows = OneRow(source_tokenizer, *lengths)
        else:
            self.rows = TwoRows(source_tokenizer, target_tokenizer, *lengths)
        self.streams = self.rows.streams
        self.scalar_columns = self.rows.scalar_columns
        self.list_columns = self.rows.list_columns
        self.start_ids = self.rows.start_ids
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer
        self.max_source_length = max_source_length
        self.max_target_length = max_target_length
        self.source_prefix = source_prefix

    def encode(
        self, records: Mapping[str, list[Any]], indices: Sequence[int], *, training: bool
    ) -> Rows:
        """One row a record; without targets (prediction) there is only what is read."""
        sources = [self.source_prefix + text for text in records["source"]]
        return self._rows(sources, records.get("target") or [None] * len(sources), indices)

    def _rows(self, sources: list[str], targets: list[str | None], indices: Sequence[int]) -> Rows:
        known = np.array([text is not None for text in targets], dtype=bool)
        source = self.source_tokenizer.encode_flat(sources)
        target = self.target_tokenizer.encode_flat([text or "" for text in targets])
        return {"index": np.asarray(indices), **self.rows.rows(source, target, known)}

    def collate(
        self, rows: Sequence[Mapping[str, Any]], records: list[dict[str, Any]] | None
    ) -> PairBatch | PrefixBatch:
        """A batch of rows; it has no target if some row has none."""
        return self.rows.collate(rows, records)

    def fingerprint(self) -> str:
        """Digest of the tokenizers, the limits and the prefix."""
        return digest(
            {
                "preparation": type(self).__name__,
                "encoding": ENCODING,
                "tokenizers": [
                    self.source_tokenizer.fingerprint,
                    self.target_tokenizer.fingerprint,
                ],
                "lengths": [self.max_source_length, self.max_target_length],
                "prefix": self.source_prefix,
                **self.rows.parts(),
            }
        )


class AnswerPreparation(PairPreparation):
    """Rows of a question with its passage, and the answer to be written in words.

    The source is "question: Q context: C" (Raffel et al. 2020, appendix D.15); a long passage
    loses its tail. The target is the first answer, or the empty text for a question that its
    passage does not answer.
    """

    kind: ClassVar[type[RecordKind]] = Passages

    def encode(
        self, records: Mapping[str, list[Any]], indices: Sequence[int], *, training: bool
    ) -> Rows:
        """One row a record; without an "answers" column (prediction) there is only what is read."""
        sources = [
            self.source_prefix + question_and_context(question, context)
            for question, context in zip(records["question"], records["context"], strict=True)
        ]
        answers = records.get("answers") or [None] * len(sources)
        targets = [None if a is None else (a[0] if a else "") for a in answers]
        return self._rows(sources, targets, indices)


def question_and_context(question: str, context: str) -> str:
    """The one text that a text-to-text model reads for a question."""
    return f"question: {question} context: {context}"
