"""A training step of an encoder-decoder over packed rows, in a bare loop on one GPU.

    python benchmarks/packed_step.py --size base --arms eager blocks whole

Rows have lengths like sentences (around 30 tokens), and so many of them make a batch that source
and target fill a fixed number of positions each. Prints real source and target tokens a second, and the
share of the measured rate of matrix products that they are.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heed.backbone.packed import Packed
from heed.backbone.transformer import Transformer
from heed.heads.loss import label_smoothed_cross_entropy
from heed.heads.vocabulary import VocabularyHead

SIZES = {
    "small": {"d_model": 256, "n_heads": 4, "d_feed_forward": 1024, "n_layers": 3},
    "base": {"d_model": 512, "n_heads": 8, "d_feed_forward": 2048, "n_layers": 6},
    "big": {"d_model": 1024, "n_heads": 16, "d_feed_forward": 4096, "n_layers": 6},
}
VOCABULARY = 32_000


def lengths(generator: np.random.Generator, tokens: int) -> np.ndarray:
    """Lengths around 30 that come to `tokens` at most."""
    drawn = np.clip(generator.lognormal(3.25, 0.55, tokens // 10).astype(int), 4, 120)
    return drawn[: int(np.searchsorted(drawn.cumsum(), tokens, side="right"))]


class Loop:
    """A model with its optimizer, and a few batches that are taken in turn."""

    def __init__(self, size: str, tokens: int, arm: str, norm_position: str) -> None:
        torch.manual_seed(1)
        self.device = torch.device("cuda")
        self.backbone = Transformer(
            shape="encoder_decoder",
            vocabulary_size=VOCABULARY,
            norm_position=norm_position,
            dropout=0.1,
            **SIZES[size],
        ).to(self.device)
        self.head = VocabularyHead.of(self.backbone).to(self.device)
        model = nn.ModuleList([self.backbone, self.head])
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, fused=True)
        generator = np.random.default_rng(0)
        self.batches = [self.batch(generator, tokens) for _ in range(4)]
        self.loss = label_smoothed_cross_entropy
        self.arm = arm
        if arm in ("blocks", "blocks_loss"):
            for stack in (self.backbone.encoder, self.backbone.decoder):
                for layer in stack.layers:
                    layer.compile(dynamic=False)
        self.head_loss = (
            torch.compile(self._head_loss, dynamic=False) if arm != "eager" else self._own
        )
        self.forward = (
            torch.compile(self._forward, dynamic=False) if arm == "whole" else self._forward
        )

    def batch(self, generator: np.random.Generator, tokens: int) -> dict[str, Any]:
        source = lengths(generator, tokens)
        target = np.clip(source + generator.integers(-3, 4, len(source)), 4, 120)
        while target.sum() > tokens:
            target[int(target.argmax())] -= int(target.sum() - tokens)
        rows = tokens // 20
        made: dict[str, Any] = {"real": int(source.sum() + target.sum())}
        for side, drawn in (("source", source), ("target", target)):
            padded = torch.zeros(rows, dtype=torch.long)
            padded[: len(drawn)] = torch.from_numpy(drawn)
            made[side] = Packed(padded.to(self.device), tokens, 128)
            made[f"{side}_ids"] = torch.randint(VOCABULARY, (1, tokens), device=self.device)
        made["labels"] = torch.randint(VOCABULARY, (1, tokens), device=self.device)
        return made

    def _own(self, hidden: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        return label_smoothed_cross_entropy(self.head(hidden), labels, mask=mask, smoothing=0.1).sum

    def _head_loss(self, hidden: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        logits = self.head(hidden).flatten(0, -2).float()
        losses = nn.functional.cross_entropy(
            logits, labels.flatten(), label_smoothing=0.1, reduction="none"
        )
        return losses.masked_fill(~mask.flatten(), 0.0).sum()

    def _forward(self, batch: dict[str, Any]) -> Tensor:
        memory = self.backbone.encode(batch["source_ids"], batch["source"])
        hidden = self.backbone.decode(batch["target_ids"], batch["target"], memory, batch["source"])
        return self.head_loss(hidden, batch["labels"], batch["target"].mask())

    def step(self, number: int) -> None:
        batch = self.batches[number % len(self.batches)]
        with torch.autocast("cuda", torch.bfloat16):
            loss = self.forward(batch)
        (loss / batch["real"]).backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def time(self, steps: int) -> float:
        """Seconds of a step."""
        torch.cuda.synchronize()
        began = time.perf_counter()
        for number in range(steps):
            self.step(number)
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / steps

    def operations(self) -> float:
        """Floating-point operations of matrix products for each token: forward and backward."""
        count = sum(p.numel() for p in self.parameters)
        return 6.0 * count / 2  # a token passes one of two stacks; the head counts for a half too


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--tokens", type=int, default=12_800, help="of each side")
    parser.add_argument("--arms", nargs="+", default=["eager", "blocks_loss"])
    parser.add_argument("--norm-position", default="pre")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    loops, found = {}, {}
    for arm in options.arms:
        loops[arm] = Loop(options.size, options.tokens, arm, options.norm_position)
        began = time.perf_counter()
        loops[arm].time(4)
        print(f"{arm}: first steps {time.perf_counter() - began:.1f} s", flush=True)
        found[arm] = []
    for _ in range(options.rounds):
        for arm, loop in loops.items():
            found[arm].append(loop.time(options.steps))
    real = statistics.mean(b["real"] for b in loops[options.arms[0]].batches)
    for arm, seconds in found.items():
        median = statistics.median(seconds)
        print(
            json.dumps(
                {
                    "size": options.size,
                    "arm": arm,
                    "ms": round(median * 1e3, 2),
                    "ktok/s": round(real / median / 1e3, 1),
                    "fill": round(real / 2 / options.tokens, 4),
                    "GiB": round(torch.cuda.max_memory_allocated() / 2**30, 1),
                }
            ),
            flush=True,
        )
    if options.profile:
        with torch.profiler.profile() as profile:
            loops[options.arms[-1]].time(5)
        print(
            profile.key_averages().table(
                sort_by="self_cuda_time_total", row_limit=22, max_name_column_width=70
            )
        )


if __name__ == "__main__":
    main()
