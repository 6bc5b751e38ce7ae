"""What every decoder shares: its limits on length, and how forbidden tokens are kept out.

Legend: B sentences, N rows, V vocabulary, T tokens written so far.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from heed.decoding.ngrams import forbid_repeated_ngrams
from heed.decoding.search import Search, complete, stream
from heed.decoding.step import Hypothesis, JoiningStep, Step
from heed.errors import UserError

Engine = Literal["heed", "ctranslate2"]


class Ids(NamedTuple):
    """The tokens that are not words.

    Attributes:
        bos: First token of every row; never written again.
        eos: The token that ends a sentence.
        pad: Fed to rows that have ended; never written.
    """

    bos: int
    eos: int
    pad: int


class ToWrite(NamedTuple):
    """What is to be written for.

    Attributes:
        step: The model, with a row a sentence and nothing written.
        limits: (B,) most tokens of each sentence, its end included.
    """

    step: JoiningStep
    limits: Tensor


class Decoder(abc.ABC):
    """Turns a step function into sentences.

    Lengths count tokens that are written: the end of sentence counts towards `max_length` and the
    length penalty, not towards `min_length`; the beginning of sentence never counts.
    """

    def __init__(
        self,
        *,
        max_length: int,
        max_length_ratio: float | None,
        max_length_extra: int,
        min_length: int,
        no_repeat_ngram_size: int,
    ) -> None:
        self.max_length = max_length
        self.max_length_ratio = max_length_ratio
        self.max_length_extra = max_length_extra
        self.min_length = min_length
        self.no_repeat_ngram_size = no_repeat_ngram_size

    @abc.abstractmethod
    def begin(self, limits: Tensor, ids: Ids, *, with_scores: bool = True) -> Search:
        """A search for the outputs of a batch; each sentence comes out as it would alone.

        Args:
            limits: (B,) most tokens written, end of sentence included, at least 1. At the limit a
                sentence ends as it stands.
            ids: The tokens that are not words.
            with_scores: Whether anybody looks at the scores. Without, a decoder that does not need
                them itself may give 0 (or -inf) and save the softmax over the vocabulary.
        """

    def __call__(
        self,
        step: Step,
        *,
        batch_size: int,
        bos_id: int,
        eos_id: int,
        pad_id: int,
        max_length: int | Tensor | None = None,
        device: torch.device | str = "cpu",
        with_scores: bool = True,
    ) -> list[list[Hypothesis]]:
        """Decode a batch; each sentence comes out as it would alone.

        Args:
            step: The model, with `batch_size` rows and nothing written.
            batch_size: B.
            bos_id: See `Ids`; likewise `eos_id` and `pad_id`.
            max_length: Most tokens written, end of sentence included: one number, or (B,). None
                takes the decoder's own.
            device: Where the step computes.
            with_scores: See `begin`.

        Returns:
            B lists of hypotheses, each list best first and never empty.
        """
        limits = self.row_limits(max_length, batch_size, device)
        ids = Ids(bos_id, eos_id, pad_id)
        return complete(step, self.begin(limits, ids, with_scores=with_scores))

    def stream(
        self, batches: Iterable[ToWrite], ids: Ids, *, with_scores: bool = True
    ) -> Iterator[list[list[Hypothesis]]]:
        """Decode batches together, each beginning where room is left by those before it.

        Args:
            batches: Made one after another, when they are to begin.
            ids: The tokens that are not words.
            with_scores: See `begin`.

        Yields:
            The hypotheses of each batch, in their order, as `__call__` gives them.
        """
        return stream(
            (batch.step, self.begin(batch.limits, ids, with_scores=with_scores))
            for batch in batches
        )

    def max_lengths(self, source_lengths: Tensor) -> Tensor:
        """The most tokens to write for each source sentence.

        Args:
            source_lengths: (B,) tokens of each source, end of sentence included.

        Returns:
            (B,) `max_length_ratio * source_lengths + max_length_extra` rounded down, at least 1 and
            at most `max_length`; `max_length` when there is no ratio.
        """
        if self.max_length_ratio is None:
            return torch.full_like(source_lengths, self.max_length)
        limits = (source_lengths * self.max_length_ratio).floor().to(source_lengths.dtype)
        return (limits + self.max_length_extra).clamp(min=1, max=self.max_length)

    def row_limits(
        self, max_length: int | Tensor | None, batch_size: int, device: torch.device | str
    ) -> Tensor:
        """(B,) the most tokens of each sentence, from what `__call__` was given."""
        if max_length is None:
            max_length = self.max_length
        if isinstance(max_length, int):
            max_length = torch.full((batch_size,), max_length)
        assert max_length.shape == (batch_size,), "max_length needs one limit a sentence"
        assert bool((max_length >= 1).all()), "a maximum length is at least 1"
        return max_length.to(device)

    def forbid(self, logits: Tensor, written: Tensor, *, never: list[int], eos_id: int) -> None:
        """Set the logits of tokens that may not come next to -inf, in place.

        Args:
            logits: (N, V).
            written: (N, T) the tokens of each row so far.
            never: Tokens that are never written.
            eos_id: Forbidden while T is below `min_length`.
        """
        for token in never:
            logits[:, token] = -torch.inf
        if written.shape[1] < self.min_length:
            logits[:, eos_id] = -torch.inf
        if self.no_repeat_ngram_size:
            forbid_repeated_ngrams(logits, written, self.no_repeat_ngram_size)


def limit_faults(
    *,
    max_length: int,
    max_length_ratio: float | None,
    max_length_extra: int,
    min_length: int,
    no_repeat_ngram_size: int,
) -> list[UserError]:
    """The mistakes in the values that all decoders share."""
    faults = []
    if max_length < 1:
        faults.append(at_least("max_length", 1, max_length))
    if max_length_ratio is not None and max_length_ratio < 0:
        faults.append(at_least("max_length_ratio", 0, max_length_ratio))
    if max_length_extra < 0:
        faults.append(at_least("max_length_extra", 0, max_length_extra))
    if min_length < 0:
        faults.append(at_least("min_length", 0, min_length))
    if 1 <= max_length <= min_length:
        faults.append(
            UserError(
                f"decoding.min_length must be below decoding.max_length ({max_length}), which"
                f" counts the end of sentence too, but is {min_length}",
                f"try decoding.max_length={min_length + 1}",
            )
        )
    if no_repeat_ngram_size < 0:
        faults.append(
            UserError(
                "decoding.no_repeat_ngram_size must be at least 1, or 0 to allow repeats, but is"
                f" {no_repeat_ngram_size}",
                "try decoding.no_repeat_ngram_size=3",
            )
        )
    return faults


def at_least(key: str, least: int, value: float) -> UserError:
    """The mistake of a value below its least."""
    return UserError(
        f"decoding.{key} must be at least {least}, but is {value}", f"try decoding.{key}={least}"
    )


def never_written(ids: Ids) -> list[int]:
    """The tokens that have no place in an output: padding and the beginning of sentence.

    Families that begin with their end-of-sentence token (BART) still may write it.
    """
    return sorted({ids.bos, ids.pad} - {ids.eos})
