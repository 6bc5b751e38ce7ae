"""Pairs of texts (translation, summarization) and questions answered in words, as token rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from heed.data.batch import PairBatch, Tokens
from heed.data.preparation import Rows, digest, require_length
from heed.data.records import Pairs, Passages, RecordKind
from heed.text.tokenizer import Tokenizer

ENCODING = 1  # raise it when rows of the same records come out differently


class PairPreparation:
    """Rows of a source text and the target text to be written for it.

    A source becomes tokens + eos, a target bos + tokens + eos, unless the tokenizer's template has
    it otherwise. A text that is too long is cut at
    its tail: the first tokens are kept, so that with its special tokens it just fits; the row's
    "cut" counts the tokens lost. References in the records are never cut, so scores are honest.

    Args:
        source_tokenizer: Tokenizer of the source side.
        target_tokenizer: Tokenizer of the target side; the same object when it is joint.
        max_source_length: Most tokens of a source row, eos included.
        max_target_length: Most tokens of a target row, bos and eos included.
        source_prefix: Text put before every source ("summarize: " for T5-like checkpoints).

    Raises:
        UserError: If a length limit leaves no room for text.
    """

    kind: ClassVar[type[RecordKind]] = Pairs
    streams: ClassVar[tuple[str, ...]] = ("source", "target")
    scalar_columns: ClassVar[tuple[str, ...]] = ("index", "cut")
    list_columns: ClassVar[tuple[str, ...]] = ("source", "target", "lengths")

    def __init__(
        self,
        *,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        max_source_length: int,
        max_target_length: int,
        source_prefix: str = "",
    ) -> None:
        for side, most, tokenizer in (
            ("source", max_source_length, source_tokenizer),
            ("target", max_target_length, target_tokenizer),
        ):
            special = tokenizer.around[side].special
            why = f"a token and {special} special ones"
            require_length(f"task.preparation.max_{side}_length", most, 1 + special, why)
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer
        self.max_source_length = max_source_length
        self.max_target_length = max_target_length
        self.source_prefix = source_prefix

    def encode(
        self, records: Mapping[str, list[Any]], indices: Sequence[int], *, training: bool
    ) -> Rows:
        """One row a record; without targets (prediction) the target rows are empty."""
        sources = [self.source_prefix + text for text in records["source"]]
        return self._rows(sources, records.get("target") or [None] * len(sources), indices)

    def _rows(self, sources: list[str], targets: list[str | None], indices: Sequence[int]) -> Rows:
        around = self.source_tokenizer.around["source"]
        around_target = self.target_tokenizer.around["target"]
        keep_source = self.max_source_length - around.special
        keep_target = self.max_target_length - around_target.special
        source_ids = self.source_tokenizer.encode(sources)
        target_ids = self.target_tokenizer.encode([text or "" for text in targets])
        rows: Rows = {name: [] for name in (*self.scalar_columns, *self.list_columns)}
        for index, source, target, text in zip(
            indices, source_ids, target_ids, targets, strict=True
        ):
            rows["index"].append(index)
            rows["cut"].append(
                max(0, len(source) - keep_source) + max(0, len(target) - keep_target)
            )
            rows["source"].append([*around.before, *source[:keep_source], *around.after])
            rows["target"].append(
                []
                if text is None
                else [*around_target.before, *target[:keep_target], *around_target.after]
            )
            rows["lengths"].append([len(rows["source"][-1]), len(rows["target"][-1])])
        return rows

    def collate(
        self, rows: Sequence[Mapping[str, Any]], records: list[dict[str, Any]] | None
    ) -> PairBatch:
        """A batch of rows; its target is None when no row has one."""
        targets = [row["target"] for row in rows]
        known = all(len(target) for target in targets)
        return PairBatch(
            source=Tokens.padded([row["source"] for row in rows], self.source_tokenizer.pad_id),
            target=Tokens.padded(targets, self.target_tokenizer.pad_id) if known else None,
            records=records,
            indices=[int(row["index"]) for row in rows],
        )

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
        """One row a record; without an "answers" column (prediction) target rows are empty."""
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
