"""A decoder's texts, token for token those of transformers' `generate`.

Where the rules agree: `generate(early_stopping="never")` is the exact search that Heed's
`early_stopping=False` is (transformers' own False is a guess), True is True for both; the length
penalty divides by what is written, end of sentence included, on either side; what Heed never
writes (padding and bos) is suppressed there. They differ in n-grams that must not be repeated:
transformers counts those of the prompt, Heed only those it has written.

Legend: N rows, T prompt length, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tests.pretrained.family_parity import TOKEN_IDS, V, randomized, read_writer
from torch import Tensor

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.decoding.beam import BeamDecoder
from heed.decoding.greedy import GreedyDecoder
from heed.heads.vocabulary import VocabularyHead

LIMIT = 8
BEAMS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"length_penalty": 1.0, "n_best": 3}, {"early_stopping": "never"}),
    ({"length_penalty": 0.0}, {"early_stopping": "never"}),
    ({"early_stopping": True, "n_best": 2}, {"early_stopping": True}),
    ({"min_length": 3}, {"early_stopping": "never", "min_new_tokens": 3}),
]


class Cached:
    """Goes on behind prompts of different lengths, with a key-value cache."""

    def __init__(self, backbone: Transformer, head: VocabularyHead, prompts: list[Tensor]) -> None:
        self.backbone, self.head = backbone, head
        self.prompts: list[Tensor] = prompts
        self.cache = backbone.new_cache()

    def __call__(self, tokens: Tensor) -> Tensor:
        if self.cache.length:
            return self.head(self.backbone.decode(tokens[:, None], cache=self.cache)[:, 0])
        lengths = torch.tensor([len(prompt) for prompt in self.prompts])
        rows = torch.nn.utils.rnn.pad_sequence(self.prompts, batch_first=True)
        layout = Padded(lengths, rows.shape[1])
        hidden = self.backbone.decode(rows, layout, cache=self.cache)  # (N, T, D)
        return self.head(hidden[torch.arange(len(rows)), lengths - 1])

    def reorder(self, rows: Tensor) -> None:
        self.cache.reorder(rows)


class Recomputed(Cached):
    """The same without a cache: everything is read again."""

    def __call__(self, tokens: Tensor) -> Tensor:
        if self.cache.memory_rows is not None:
            pairs = zip(self.prompts, tokens, strict=True)
            self.prompts = [torch.cat((row, token[None])) for row, token in pairs]
        self.cache = self.backbone.new_cache()
        return super().__call__(tokens)

    def reorder(self, rows: Tensor) -> None:
        self.prompts = [self.prompts[row] for row in rows.tolist()]


@torch.no_grad()
def check_writing(theirs: Any, folder: Path, seed: int) -> None:
    """Greedy and beam search, with and without the cache.

    Args:
        theirs: A model that writes.
        folder: An empty one.
        seed: Of weights with which some texts end early and some late.
    """
    theirs = randomized(theirs, std=0.5)
    torch.manual_seed(seed)
    for weight in theirs.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.5)
    theirs.get_output_embeddings().weight[TOKEN_IDS["eos_token_id"]] *= 2.0
    loaded, head = read_writer(theirs, folder)
    prompts = [torch.randint(5, V, (length,)) for length in (5, 2, 4, 3)]

    def written(step: type[Cached], decoder: Any) -> list[list[int]]:
        found = decoder(
            step(loaded.backbone, head, prompts),
            batch_size=len(prompts),
            max_length=LIMIT,
            **{name.removesuffix("_token_id") + "_id": i for name, i in TOKEN_IDS.items()},
        )
        return [one.tokens for sentence in found for one in sentence]

    lengths = set()
    for ours, options in [(None, {}), *BEAMS]:
        expected = generated(theirs, prompts, ours, options)
        decoder = GreedyDecoder() if ours is None else BeamDecoder(beam_size=3, **ours)
        assert written(Cached, decoder) == expected, ours
        assert written(Recomputed, decoder) == expected, ours
        lengths |= {len(row) for row in expected}
    assert min(lengths) < LIMIT - 1, "some should end early"
    assert max(lengths) == LIMIT, "and some late"


def generated(
    theirs: Any, prompts: list[Tensor], ours: dict[str, Any] | None, options: dict[str, Any]
) -> list[list[int]]:
    """What `generate` writes behind each prompt, by itself: without any padding."""
    beams = {}
    if ours is not None:
        n_best, penalty = ours.get("n_best", 1), ours.get("length_penalty", 1.0)
        beams = {"num_beams": 3, "num_return_sequences": n_best, "length_penalty": penalty}
    end = TOKEN_IDS["eos_token_id"]
    outputs = []
    for prompt in prompts:
        rows = theirs.generate(
            prompt[None],
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=LIMIT,
            suppress_tokens=[TOKEN_IDS["pad_token_id"], TOKEN_IDS["bos_token_id"]],
            do_sample=False,
            **beams,
            **options,
        )
        for row in rows[:, len(prompt) :].tolist():
            cut = row.index(end) if end in row else len(row)
            outputs.append([token for token in row[:cut] if token != TOKEN_IDS["pad_token_id"]])
    return outputs
