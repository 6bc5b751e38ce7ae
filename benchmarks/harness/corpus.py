"""The data of the benchmarks: a generated corpus, or multi30k, as Heed prepares it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.settings import Settings
from heed.commands.assemble import Parts, assemble
from heed.commands.compose import compose
from heed.commands.packing import settle_packing
from heed.data.sampler import TokenBudgetSampler

ONSETS = [
    "b",
    "bl",
    "br",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "kl",
    "kr",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "r",
    "s",
    "st",
    "t",
    "tr",
    "v",
    "w",
    "z",
]
NUCLEI = ["a", "e", "i", "o", "u", "ai", "au", "ei", "ie", "oo"]
CODAS = ["", "", "n", "r", "s", "t", "l", "ng", "ck"]


class Sized(NamedTuple):
    """A size that is trained, and how.

    Attributes:
        model: The config's name.
        vocabulary: Tokens at most.
        max_tokens: Token positions of a batch.
        pairs: Of the corpus, where it is generated.
        length: Words of a generated source, on average.
    """

    model: str
    vocabulary: int
    max_tokens: int
    pairs: int = 20_000
    length: float = 12.0


class Pairs(NamedTuple):
    """A padded batch in plain tensors, which every peer can take.

    Attributes:
        source: (B, S) ids.
        target: (B, T) ids, bos first and eos last.
        source_lengths, target_lengths: (B,) tokens without padding.
        real_tokens: Their sum.
    """

    source: Tensor
    target: Tensor
    source_lengths: Tensor
    target_lengths: Tensor
    real_tokens: int

    def to(self, device: str) -> Pairs:
        """The same on a device."""
        return Pairs(*(part.to(device) for part in self[:4]), self.real_tokens)


def words_for(sized: Sized, asked: Settings, *more: str) -> list[str]:
    """The overrides of `heed train` that train a size on the benchmark's data."""
    words = [
        *("task=translation", f"model={sized.model}", f"data.max_tokens={sized.max_tokens}"),
        f"trainer={'gpu' if asked.device == 'cuda' else 'cpu'}",
        f"tokenizer.vocabulary_size={sized.vocabulary}",
        f"paths.cache_dir={asked.work / 'cache'}",
        *("trainer.max_steps=1000000", "trainer.max_epochs=-1", "trainer.limit_val_batches=0"),
    ]
    if asked.data is not None:
        return [*words, "data=multi30k", f"data.path={asked.data}", *more]
    folder = asked.work / f"corpus-{sized.vocabulary}-{sized.pairs}-{sized.length:g}"
    if not (folder / "train.tsv").exists():
        generate(folder, sized)
    return [*words, "data=local", f"data.path={folder}", *more]


def prepared(sized: Sized, asked: Settings, *more: str) -> tuple[dict[str, Any], Parts]:
    """The config of a size and its parts, with the rows encoded."""
    config = compose("train", words_for(sized, asked, *more))
    settle_packing(config)
    torch.manual_seed(config["seed"])
    parts = assemble(config)
    parts.datamodule.prepare_data()
    parts.datamodule.setup("fit")
    return config, parts


def padded_batches(parts: Parts, max_tokens: int, count: int) -> list[Pairs]:
    """The first batches of an epoch, rows of similar lengths together, padded to the longest."""
    rows = parts.datamodule.rows("train")
    sampler = TokenBudgetSampler(
        lengths=rows.lengths, max_tokens=max_tokens, batch_size=None, seed=1
    )
    found = []
    for _, numbers in zip(range(count), sampler, strict=False):
        taken = rows.take(numbers)
        sides = [[torch.as_tensor(row[side]).long() for row in taken] for side in SIDES]
        lengths = [torch.tensor([len(ids) for ids in side]) for side in sides]
        pads = pad_ids(parts)
        ids = [
            torch.nn.utils.rnn.pad_sequence(side, batch_first=True, padding_value=pad)
            for side, pad in zip(sides, pads, strict=True)
        ]
        real = int(sum(one.sum() for one in lengths))
        found.append(Pairs(*ids, *lengths, real))
    return found


SIDES = ("source", "target")


def pad_ids(parts: Parts) -> tuple[int, int]:
    """Of source and target."""
    return parts.tokenizers.source.pad_id, parts.tokenizers.target.pad_id


def generate(folder: Path, sized: Sized) -> None:
    """Write `train.tsv`, `validation.tsv` and `test.tsv` of invented text, always the same.

    Words are drawn by Zipf's law, lengths are log-normal as those of image captions and sentences
    are; a target has the words of its source in other spellings and about their order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    count = max(2000, sized.vocabulary * 2)
    source, target = _words(draw, count), _words(draw, count)
    chances = 1.0 / np.arange(3, count + 3)
    chances /= chances.sum()
    for split, pairs in (("train", sized.pairs), ("validation", 200), ("test", 200)):
        with (folder / f"{split}.tsv").open("w", encoding="utf-8") as file:
            file.write("source\ttarget\n")
            for own, other in _pairs(draw, pairs, chances, sized.length):
                left = " ".join(source[number] for number in own)
                right = " ".join(target[number] for number in other)
                file.write(f"{left} .\t{right} .\n")


def _pairs(
    draw: np.random.Generator, pairs: int, chances: np.ndarray, length: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    sigma = 0.35
    lengths = draw.lognormal(math.log(length) - sigma**2 / 2, sigma, size=pairs)
    for words in np.clip(lengths.round().astype(int), 3, 120):
        own = draw.choice(len(chances), size=words, p=chances)
        order = np.argsort(np.arange(words) + draw.normal(0, 1.0, size=words))
        yield own, own[order][: max(3, words + draw.integers(-1, 2))]


def _words(draw: np.random.Generator, count: int) -> list[str]:
    """So many different words, the first the shortest."""
    found: dict[str, None] = {}
    while len(found) < count:
        syllables = 1 + int(math.log2(1 + len(found) / 40) / 2.5)
        parts = [
            draw.choice(ONSETS) + draw.choice(NUCLEI) + draw.choice(CODAS) for _ in range(syllables)
        ]
        found["".join(parts)] = None
    return list(found)
