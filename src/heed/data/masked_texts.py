"""Texts as token rows of which some tokens are hidden: masked language modelling.

Legend: B rows, T positions, K hidden tokens of a row at most.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from heed.data.batch import MaskedBatch, Tokens
from heed.data.masking import Masked, Masking, columns_of
from heed.data.preparation import Rows, digest, require_length
from heed.data.record_kind import RecordKind
from heed.data.records import Texts
from heed.data.token_rows import TokenRows, integers, lists
from heed.errors import UserError
from heed.ragged import Ragged
from heed.text.tokenizer import Tokenizer

ENCODING = 1  # raise it when rows of the same records come out differently
MASK = "[MASK]"  # what a user writes, whatever the tokenizer's own token is called
MOST_PARTS = 2**20  # rows of one text
EVALUATION = (0, 0)  # in place of seed and epoch: what is evaluated is the same for every run


class MaskedTextPreparation:
    """Rows of a text, usually cls + tokens + eos; what is too long goes on in further rows.

    What is hidden of a training row is decided by seed, epoch and the row's number; of a row that
    is evaluated by the text's number alone. In a text to predict from, the user has hidden words
    by writing [MASK] (or the tokenizer's own mask token), and nothing else is hidden.

    Args:
        tokenizer: Tokenizer of the texts; it has a mask token.
        max_length: Most tokens of a row, cls and eos included.
        hidden_share: Of a row's tokens that are hidden (Devlin et al. 2019, section 3.1).
        masked_share: Of the hidden tokens, those that the model sees as a mask.
        random_share: Of the hidden tokens, those that it sees as any other token; the rest it sees
            as they are.
        seed: Decides what is hidden in training.

    Raises:
        UserError: If the tokenizer has no mask token, the shares are none, or no text has room.
    """

    kind: ClassVar[type[RecordKind]] = Texts
    streams: ClassVar[tuple[str, ...]] = ("text",)
    told: ClassVar[tuple[str, ...]] = ()
    scalar_columns: ClassVar[tuple[str, ...]] = ("index", "cut", "part", "given")
    list_columns: ClassVar[tuple[str, ...]] = ("text", "lengths")

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        max_length: int,
        hidden_share: float = 0.15,
        masked_share: float = 0.8,
        random_share: float = 0.1,
        seed: int,
    ) -> None:
        self.around = tokenizer.around["text"]
        around = self.around.special
        require_length(
            "task.preparation.max_length",
            max_length,
            1 + around,
            f"a token and {around} special ones",
        )
        if masked_share + random_share > 1.0 + 1e-9:
            raise UserError(
                "task.preparation.random_share must leave room beside masked_share "
                f"({masked_share}), since they are shares of one whole, but is {random_share}",
                f"try task.preparation.random_share={round(1.0 - masked_share, 4)}",
            )
        if tokenizer.mask_id is None:
            raise UserError(
                "tokenizer must have a mask token for task=masked_lm, but none of its tokens is "
                "known to be one",
                "name it: tokenizer.special_tokens.mask=TOKEN, or train a tokenizer: tokenizer=bpe",
            )
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.seed = seed
        self.mask_id = tokenizer.mask_id
        special = set(tokenizer.special_ids)
        ordinary = [i for i in range(tokenizer.vocabulary_size) if i not in special]
        self.masking = Masking(
            share=hidden_share,
            masked=masked_share,
            random=random_share,
            mask_id=self.mask_id,
            ordinary=np.array(ordinary, dtype=np.int64),
        )
        names = sorted({MASK, tokenizer.special_tokens["mask"]})
        self._mask_words = re.compile(r"\s*(?:" + "|".join(map(re.escape, names)) + ")")

    def encode(
        self, records: Mapping[str, list[Any]], indices: Sequence[int], *, training: bool
    ) -> Rows:
        """One row a record, several of a long one; of a text without tokens none to train on."""
        given = records.get("prompt")
        if given:
            ids = Ragged.of(self._with_masks(given))
        else:
            ids = self.tokenizer.encode_flat(records["text"])
        cut, row = ids.cut(self.max_length - self.around.special)
        part = np.arange(len(row)) - np.searchsorted(row, row)
        text = cut.within(self.around.before, self.around.after)
        rows = TokenRows(
            {
                "index": np.asarray(indices)[row],
                "cut": np.zeros_like(row),
                "part": part,
                "given": np.full_like(row, bool(given)),
                "text": text,
                "lengths": Ragged.of_columns(text.lengths),
            }
        )
        if training and not cut.lengths.all():
            rows = rows.take(np.flatnonzero(cut.lengths))
        return rows.columns

    def _with_masks(self, texts: list[str]) -> list[list[int]]:
        """The ids of texts in which masks are written, the space before a mask left to the mask."""
        pieces = [self._mask_words.split(text) for text in texts]
        encoded = iter(self.tokenizer.encode([piece for row in pieces for piece in row]))
        found = []
        for row in pieces:
            ids = list(next(encoded))
            for _ in row[1:]:
                ids += [self.mask_id, *next(encoded)]
            found.append(ids)
        return found

    def collate(
        self, rows: Sequence[Mapping[str, Any]], records: list[dict[str, Any]] | None
    ) -> MaskedBatch:
        """A batch of rows; its labels are None where the masks were given."""
        tokens = Tokens.padded(lists(rows, "text"), self.tokenizer.pad_id)
        ids, lengths = tokens.ids.numpy(), tokens.layout.lengths.numpy()  # (B, T), (B,)
        given = bool(rows[0]["given"])
        masked = self._given(ids) if given else self._drawn(ids, lengths, rows)
        return MaskedBatch(
            tokens=replace(tokens, ids=torch.from_numpy(masked.ids)),
            places=torch.from_numpy(masked.places),
            counts=torch.from_numpy(masked.counts),
            labels=None if given else torch.from_numpy(masked.labels),
            records=records,
            indices=integers(rows, "index").tolist(),
        )

    def _given(self, ids: np.ndarray) -> Masked:
        places, counts = columns_of(ids == self.mask_id)
        return Masked(ids, places, counts, np.zeros_like(places))

    def _drawn(
        self, ids: np.ndarray, lengths: np.ndarray, rows: Sequence[Mapping[str, Any]]
    ) -> Masked:
        columns = np.arange(ids.shape[1])
        first, past = len(self.around.before), lengths - len(self.around.after)
        maskable = (columns >= first) & (columns < past[:, None])
        if "epoch" in rows[0]:
            key = (self.seed, 1 + int(rows[0]["epoch"]))
            numbers = [int(row["number"]) for row in rows]
        else:
            key = EVALUATION
            numbers = [int(row["index"]) * MOST_PARTS + int(row["part"]) for row in rows]
        return self.masking(ids, maskable, key, np.array(numbers, dtype=np.int64))

    def fingerprint(self) -> str:
        """Digest of the tokenizer and the limit; what is hidden is no part of the rows."""
        return digest(
            {
                "preparation": type(self).__name__,
                "encoding": ENCODING,
                "tokenizer": self.tokenizer.fingerprint,
                "length": self.max_length,
            }
        )
