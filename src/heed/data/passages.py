"""Questions about passages as token rows: overlapping windows, and the answer's place in each.

Legend: B rows, T padded positions, M most tokens of an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from heed.data.batch import SpanBatch, Tokens, lengths_of
from heed.data.preparation import Rows, digest, require_length
from heed.data.record_kind import RecordKind
from heed.data.records import Passages
from heed.data.token_rows import integers, lists
from heed.errors import UserError
from heed.text.tokenizer import Tokenizer

ENCODING = 1  # raise it when rows of the same records come out differently
UNKNOWN = -1


class Passage(NamedTuple):
    """A passage once encoded: (n,) int32 ids, and first and past-the-end character of each."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class PassagePreparation:
    """Rows of cls + question + sep + window of the passage + eos, and the answer's columns.

    A passage that does not fit is read through windows, each `stride` tokens after the last, as in
    section 3 of Devlin et al. 2019's SQuAD code: every token is seen, most of them twice. An
    answer that is not wholly inside a window counts as absent from it, and the window's answer is
    then column 0 (cls), as it is for a question without answer. A question that is too long is cut
    at its tail; "cut" counts the tokens lost, on the first window only.

    Evaluation keeps every window. Training keeps every window with an answer, every window of a
    question without answers, and a share of the other windows; a record with several answers is
    trained on the first of them that a window holds.

    Args:
        tokenizer: Tokenizer of questions and passages.
        max_length: Most tokens of a row, special tokens included.
        stride: Tokens from the start of one window to the start of the next.
        max_question_length: Most tokens of a question.
        negative_windows: Share, 0 to 1, of the windows that miss their question's answer which
            training keeps. They are what teaches a model that a window may hold no answer, so that
            its scores can be compared between windows.
        question_prefix: Text put before every question ("question: " for T5-like checkpoints).

    Raises:
        UserError: If there is no room for a passage, or tokens would be skipped between windows.
    """

    kind: ClassVar[type[RecordKind]] = Passages
    streams: ClassVar[tuple[str, ...]] = ("text",)
    told: ClassVar[tuple[str, ...]] = ()
    scalar_columns: ClassVar[tuple[str, ...]] = ("index", "cut", "passage_start", "start", "end")
    list_columns: ClassVar[tuple[str, ...]] = ("text", "offset_starts", "offset_ends", "lengths")

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        max_length: int,
        stride: int,
        max_question_length: int,
        negative_windows: float = 1.0,
        question_prefix: str = "",
    ) -> None:
        key = "task.preparation"
        require_length(f"{key}.max_question_length", max_question_length, 1, "a token")
        special = tokenizer.around["pair"].special
        room = max_length - max_question_length - special
        if room < 1:
            raise UserError(
                f"{key}.max_length must exceed {key}.max_question_length ({max_question_length}) "
                f"by more than {special}, but is {max_length}",
                f"try {key}.max_length={4 * max_question_length + special}",
            )
        if not 1 <= stride <= room:
            raise UserError(
                f"{key}.stride must be between 1 and {room} (the tokens of a passage that surely "
                f"fit in a window), but is {stride}",
                f"try {key}.stride={max(1, room // 2)}",
            )
        if not 0.0 <= negative_windows <= 1.0:
            raise UserError(
                f"{key}.negative_windows must be a share between 0 and 1, but is {negative_windows}"
            )
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.stride = stride
        self.max_question_length = max_question_length
        self.negative_windows = negative_windows
        self.question_prefix = question_prefix

    def encode(
        self, records: Mapping[str, list[Any]], indices: Sequence[int], *, training: bool
    ) -> Rows:
        """Windows as rows; without an "answers" column (prediction) start and end are -1."""
        questions = self.tokenizer.encode(
            [self.question_prefix + question for question in records["question"]]
        )
        passages = self._passages(records["context"])
        count = len(questions)
        answers = records.get("answers") or [None] * count
        starts = records.get("starts") or [None] * count
        rows: Rows = {name: [] for name in (*self.scalar_columns, *self.list_columns)}
        for i, index in enumerate(indices):
            passage = passages[records["context"][i]]
            spans = None
            if answers[i] is not None:
                found = zip(starts[i], answers[i], strict=True)
                spans = [answer_span(passage, start, answer) for start, answer in found]
            self._add_windows(rows, index, questions[i], passage, spans, training)
        return rows

    def _passages(self, contexts: Sequence[str]) -> dict[str, Passage]:
        """Each different context, encoded once: several questions share one."""
        different = list(dict.fromkeys(contexts))
        ids, offsets = self.tokenizer.encode_with_offsets(different)
        passages = {}
        for context, row, places in zip(different, ids, offsets, strict=True):
            characters = np.asarray(places, dtype=np.int32).reshape(-1, 2)
            passages[context] = Passage(
                np.asarray(row, dtype=np.int32), characters[:, 0], characters[:, 1]
            )
        return passages

    def _add_windows(
        self,
        rows: Rows,
        index: int,
        question: Sequence[int],
        passage: Passage,
        spans: list[tuple[int, int] | None] | None,
        training: bool,
    ) -> None:
        around = self.tokenizer.around["pair"]
        head = [*around.before, *question[: self.max_question_length], *around.between]
        room = self.max_length - len(head) - len(around.after)
        cut = max(0, len(question) - self.max_question_length)
        for number, (first, past) in enumerate(windows(len(passage.ids), room, self.stride)):
            start, end = answer_in_window(spans, first, past, len(head))
            missed = bool(spans) and start == 0
            if training and missed and not kept(index, number, self.negative_windows):
                continue
            rows["index"].append(index)
            rows["cut"].append(cut if number == 0 else 0)
            rows["passage_start"].append(len(head))
            rows["start"].append(start)
            rows["end"].append(end)
            rows["text"].append(
                np.concatenate([head, passage.ids[first:past], around.after]).astype(np.int64)
            )
            seen = slice(0, 0) if training else slice(first, past)
            rows["offset_starts"].append(passage.starts[seen])
            rows["offset_ends"].append(passage.ends[seen])
            rows["lengths"].append([len(rows["text"][-1])])

    def collate(
        self, rows: Sequence[Mapping[str, Any]], records: list[dict[str, Any]] | None
    ) -> SpanBatch:
        """A batch of windows; starts and ends are None when a row has none."""
        tokens = Tokens.padded(lists(rows, "text"), self.tokenizer.pad_id)
        width = tokens.layout.width
        first = integers(rows, "passage_start")
        past = tokens.layout.lengths.numpy() - len(self.tokenizer.around["pair"].after)
        columns = np.arange(width)
        passage_mask = (columns >= first[:, None]) & (columns < past[:, None])  # (B, T)
        starts = torch.from_numpy(integers(rows, "start").astype(np.int64))
        ends = torch.from_numpy(integers(rows, "end").astype(np.int64))
        known = not bool((starts == UNKNOWN).any())
        return SpanBatch(
            tokens=tokens,
            passage_mask=torch.from_numpy(passage_mask),
            starts=starts if known else None,
            ends=ends if known else None,
            offsets=_offsets(rows, passage_mask),
            records=records,
            indices=integers(rows, "index").tolist(),
        )

    def fingerprint(self) -> str:
        """Digest of the tokenizer, the limits, the choice of windows and the prefix."""
        return digest(
            {
                "preparation": type(self).__name__,
                "encoding": ENCODING,
                "tokenizer": self.tokenizer.fingerprint,
                "lengths": [self.max_length, self.stride, self.max_question_length],
                "negative_windows": self.negative_windows,
                **({"prefix": self.question_prefix} if self.question_prefix else {}),
            }
        )


def _offsets(rows: Sequence[Mapping[str, Any]], passage_mask: np.ndarray) -> Tensor | None:
    """(B, T, 2) characters of the passage tokens, -1 elsewhere; None if the rows have none."""
    starts = lists(rows, "offset_starts")
    if lengths_of(starts).sum() != passage_mask.sum():
        return None
    offsets = np.full((*passage_mask.shape, 2), -1, dtype=np.int64)
    offsets[passage_mask, 0] = np.concatenate(list(starts))
    offsets[passage_mask, 1] = np.concatenate(list(lists(rows, "offset_ends")))
    return torch.from_numpy(offsets)


def windows(tokens: int, room: int, stride: int) -> Iterator[tuple[int, int]]:
    """(first, past) of each window over a passage of `tokens` tokens; the last reaches its end."""
    first = 0
    while first + room < tokens:
        yield first, first + room
        first += stride
    yield first, tokens


def answer_span(passage: Passage, start: int, answer: str) -> tuple[int, int] | None:
    """First and last token that hold characters start .. start + len(answer); None if none does.

    Spaces at either end of the answer belong to no token and are left out.
    """
    first_character = start + len(answer) - len(answer.lstrip())
    past_character = start + len(answer.rstrip())
    first = int(np.searchsorted(passage.ends, first_character, side="right"))
    last = int(np.searchsorted(passage.starts, past_character, side="left")) - 1
    return (first, last) if first <= last else None


def answer_in_window(
    spans: Sequence[tuple[int, int] | None] | None, first: int, past: int, column: int
) -> tuple[int, int]:
    """Columns of the first span that lies wholly in a window whose first token has `column`.

    Returns:
        (0, 0) if none does; (-1, -1) if the spans are unknown.
    """
    if spans is None:
        return UNKNOWN, UNKNOWN
    for span in spans:
        if span is not None and first <= span[0] and span[1] < past:
            return span[0] - first + column, span[1] - first + column
    return 0, 0


def kept(index: int, window: int, share: float) -> bool:
    """Whether a window belongs to a fixed share of all windows: a hash, so no order matters."""
    if share in (0.0, 1.0):
        return bool(share)
    mixed = (index * 0x9E3779B97F4A7C15 + window * 0xC2B2AE3D27D4EB4F) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ (mixed >> 31)) / 2**64 < share


def best_span(
    start_logits: Tensor, end_logits: Tensor, passage_mask: Tensor, max_answer_length: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best answer span of each row: the largest sum of a start logit and an end logit.

    Of equal sums the earliest start wins, then the shortest span.

    Args:
        start_logits: (B, T).
        end_logits: (B, T).
        passage_mask: (B, T) bool, True where a span may start and end.
        max_answer_length: M, the most tokens of a span.

    Returns:
        Starts (B,), ends (B,) (the last token, included) and scores (B,) in float32. A row whose
        mask is empty has score -inf and columns 0.
    """
    starts, ends, scores = best_spans(
        start_logits, end_logits, passage_mask, max_answer_length, n_best=1
    )
    return starts[:, 0], ends[:, 0], scores[:, 0]


def best_spans(
    start_logits: Tensor,
    end_logits: Tensor,
    passage_mask: Tensor,
    max_answer_length: int,
    *,
    n_best: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The N best spans of each row, best first; like `best_span`, with results (B, N).

    Where a row has fewer than N spans, the rest have score -inf and columns 0.
    """
    start_scores = start_logits.float().masked_fill(~passage_mask, -torch.inf)
    end_scores = end_logits.float().masked_fill(~passage_mask, -torch.inf)
    reach = max(1, min(max_answer_length, start_scores.shape[1]))  # M
    ahead = functional.pad(end_scores, (0, reach - 1), value=-torch.inf)
    sums = start_scores[:, :, None] + ahead.unfold(1, reach, 1)  # (B, T, M)
    flat = sums.flatten(1)  # (B, T * M), in order of start, then of length
    if n_best == 1:
        places = flat.argmax(dim=1, keepdim=True)  # the first of equals
        scores = flat.gather(1, places)
    else:
        ordered = flat.sort(dim=1, descending=True, stable=True)
        scores, places = ordered.values[:, :n_best], ordered.indices[:, :n_best]
    starts = places // reach
    ends = starts + places % reach
    empty = scores == -torch.inf
    return starts.masked_fill(empty, 0), ends.masked_fill(empty, 0), scores
