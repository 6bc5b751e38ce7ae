"""How a backbone writes text for text: one class a shape, so that a task need not ask for it.

Legend: B batch, S source length, T target length, P prefix length, W tokens to be written, D model
width, N decoder rows, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.data.batch import PairBatch, PrefixBatch
from heed.decoding.step import JoiningStep
from heed.heads.masked import at_places
from heed.heads.vocabulary import VocabularyHead


class Predicted(NamedTuple):
    """What tells each token to be written, made of those before it and of what was read.

    Attributes:
        hidden: (B, W, D), for the head.
        labels: (B, W) the tokens themselves.
        mask: (B, W) bool, True where there is a token.
    """

    hidden: Tensor
    labels: Tensor
    mask: Tensor


class Writer(Protocol):
    """Writes with a backbone and a head."""

    def predicted(self, batch: Any) -> Predicted:
        """What tells a batch's targets, all at once."""
        ...

    def step(self, batch: Any) -> JoiningStep:
        """A step for a decoder, after what a batch has to read, with a key-value cache."""
        ...

    def source_lengths(self, batch: Any) -> Tensor:
        """(B,) tokens of what is read, special tokens included."""
        ...


class EncoderDecoderWriter:
    """The encoder reads the source, and the decoder writes the target.

    Args:
        backbone: An encoder-decoder.
        head: From hidden states to logits.
    """

    def __init__(self, backbone: Transformer, head: VocabularyHead) -> None:
        self.backbone = backbone
        self.head = head

    def predicted(self, batch: PairBatch) -> Predicted:
        """See `Writer`; W is T - 1."""
        source, target = batch.source, batch.target
        assert target is not None
        memory = self.backbone.encode(source.ids, source.layout)  # (B, S, D)
        asked = target.asked()
        hidden = self.backbone.decode(asked.ids, asked.layout, memory, source.layout)
        return Predicted(hidden, asked.labels, asked.mask)  # (B, T-1, D)

    def step(self, batch: PairBatch) -> JoiningStep:
        """See `Writer`."""
        source = batch.source
        memory = self.backbone.encode(source.ids, source.layout)  # (B, S, D)
        return TransformerStep(self.backbone, self.head, memory, source.layout)

    def source_lengths(self, batch: PairBatch) -> Tensor:
        """See `Writer`."""
        return batch.source.layout.lengths


class PrefixWriter:
    """A decoder reads the source as the beginning of a row, and goes on with the target (Liu et al.
    2018, section 4.2.3; Raffel et al. 2020, section 3.2.1).

    Args:
        backbone: A decoder.
        head: From hidden states to logits.
        bidirectional: Whether the tokens of a prefix all see each other, or only those before.
    """

    def __init__(self, backbone: Transformer, head: VocabularyHead, *, bidirectional: bool) -> None:
        self.backbone = backbone
        self.head = head
        self.bidirectional = bidirectional

    def predicted(self, batch: PrefixBatch) -> Predicted:
        """See `Writer`; what is read has no loss, and is not scored."""
        tokens, written = batch.tokens, batch.written
        assert written is not None
        asked = tokens.asked()
        hidden = self.backbone.decode(
            asked.ids, asked.layout, prefix=self._prefix(batch)
        )  # (B, T-1, D)
        if batch.places is not None:
            real = torch.arange(batch.places.shape[1], device=hidden.device)
            real = real < written.lengths.sum()
            labels = asked.labels.gather(1, batch.places)
            return Predicted(at_places(hidden, batch.places), labels, real[None])
        # The columns that see the token before each that is to be written.
        columns = batch.prefix.lengths[:, None] + written.positions()  # (B, W)
        columns = columns.clamp(max=hidden.shape[1] - 1)
        labels = tokens.ids.gather(1, columns + 1)
        hidden = hidden.gather(1, columns[..., None].expand(-1, -1, hidden.shape[2]))  # (B, W, D)
        return Predicted(hidden, labels, written.mask())

    def step(self, batch: PrefixBatch) -> JoiningStep:
        """See `Writer`."""
        step = TransformerStep(self.backbone, self.head)
        self.backbone.decode(
            batch.prompt, batch.prefix, cache=step.cache, prefix=self._prefix(batch)
        )
        return step

    def source_lengths(self, batch: PrefixBatch) -> Tensor:
        """See `Writer`."""
        return batch.prefix.lengths

    def _prefix(self, batch: PrefixBatch) -> Padded | None:
        return batch.prefix if self.bidirectional else None


class TransformerStep:
    """One decoding step, with its key-value cache.

    Args:
        backbone: A Transformer with a decoder.
        head: From hidden states to logits.
        memory: (N, S, D) the encoded source of each row; None for a decoder on its own.
        memory_layout: Layout of the N sources.
    """

    def __init__(
        self,
        backbone: Transformer,
        head: VocabularyHead,
        memory: Tensor | None = None,
        memory_layout: Padded | None = None,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.memory = memory
        self.memory_layout = memory_layout
        self.cache = backbone.new_cache()

    def __call__(self, tokens: Tensor) -> Tensor:
        """(N,) the last token of each row -> (N, V) logits of the next."""
        layout = Padded.unpadded(tokens.shape[0], 1, tokens.device)
        hidden = self.backbone.decode(
            tokens[:, None], layout, self.memory, self.memory_layout, self.cache
        )  # (N, 1, D)
        return self.head(hidden[:, 0])  # (N, V)

    def reorder(self, rows: Tensor) -> None:
        """Keep, repeat or drop rows: row i becomes what row `rows[i]` was."""
        self.cache.reorder(rows)

    def join(self, other: TransformerStep) -> None:
        """Take in the rows of another step, behind one's own; both have been called."""
        self.cache.join(other.cache)


def writer_of(backbone: Transformer, head: VocabularyHead, *, bidirectional_prefix: bool) -> Writer:
    """The writer for a backbone's shape."""
    if backbone.shape == "decoder":
        return PrefixWriter(backbone, head, bidirectional=bidirectional_prefix)
    return EncoderDecoderWriter(backbone, head)
