"""A training step of an encoder-decoder on one GPU: packed and compiled, beside peers.

    python benchmarks/packed_step.py --size base --arms packed compiled padded torch hf

Rows have lengths like sentences (around 30 tokens) and a vocabulary of 32,000. Packed arms lay rows
one after another up to a fixed number of positions a side; padded ones get batches of similar
lengths of as many positions. Arms take turns; medians of real source and target tokens a second.
All train in bf16 with fp32 weights, fused AdamW, clipping and dropout 0.1, in a bare loop. `--json
FILE` keeps what is printed, `--profile` shows where the last arm spends its time.

- packed, compiled: Heed's backbone on packed rows, as it is and as one CUDA graph each way;
- varlen: compiled, with torch's attention for rows of different lengths in place of Heed's kernels;
- padded: Heed's backbone on padded rows;
- torch: torch.nn.Transformer; hf: transformers' MarianMTModel.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from heed.backbone import segment_attention
from heed.backbone.layout import Padded
from heed.backbone.packed import Layout, Packed
from heed.backbone.transformer import Transformer
from heed.heads.loss import label_smoothed_cross_entropy
from heed.heads.vocabulary import VocabularyHead

SIZES = {"small": (256, 4, 1024, 3), "base": (512, 8, 2048, 6), "big": (1024, 16, 4096, 6)}
VOCABULARY, SMOOTHING, BATCHES = 32_000, 0.1, 4


class Ours(nn.Module):
    """Heed's backbone and loss."""

    def __init__(self, size: str) -> None:
        super().__init__()
        width, heads, inner, layers = SIZES[size]
        self.backbone = Transformer(
            shape="encoder_decoder",
            vocabulary_size=VOCABULARY,
            d_model=width,
            n_heads=heads,
            d_feed_forward=inner,
            n_layers=layers,
            dropout=0.1,
        )
        self.head = VocabularyHead.of(self.backbone)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        memory = self.backbone.encode(batch["source"], batch["source_layout"])
        hidden = self.backbone.decode(
            batch["target"], batch["target_layout"], memory, batch["source_layout"]
        )
        mask = batch["target_layout"].mask()
        logits = self.head(hidden)
        return label_smoothed_cross_entropy(
            logits, batch["labels"], mask=mask, smoothing=SMOOTHING
        ).sum


class Torch(nn.Module):
    """torch.nn.Transformer with tied embeddings."""

    def __init__(self, size: str) -> None:
        super().__init__()
        width, heads, inner, layers = SIZES[size]
        self.table = nn.Embedding(VOCABULARY, width)
        self.places = nn.Embedding(256, width)
        self.model = nn.Transformer(
            width, heads, layers, layers, inner, 0.1, batch_first=True, norm_first=True
        )

    def embed(self, ids: Tensor) -> Tensor:
        return self.table(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))

    def forward(self, batch: dict[str, Any]) -> Tensor:
        source, target = (~batch[f"{side}_layout"].mask() for side in ("source", "target"))
        length = target.shape[1]
        causal = nn.Transformer.generate_square_subsequent_mask(length, device=target.device)
        hidden = self.model(
            self.embed(batch["source"]),
            self.embed(batch["target"]),
            tgt_mask=causal,
            src_key_padding_mask=source.float().masked_fill(source, float("-inf")),
            tgt_key_padding_mask=target.float().masked_fill(target, float("-inf")),
            memory_key_padding_mask=source.float().masked_fill(source, float("-inf")),
            tgt_is_causal=True,
        )
        return plain_loss(hidden @ self.table.weight.T, batch)


class Theirs(nn.Module):
    """transformers' MarianMTModel."""

    def __init__(self, size: str) -> None:
        super().__init__()
        from transformers import MarianConfig, MarianMTModel

        width, heads, inner, layers = SIZES[size]
        numbers = {"layers": layers, "attention_heads": heads, "ffn_dim": inner}
        sides = {f"{side}_{k}": v for side in ("encoder", "decoder") for k, v in numbers.items()}
        self.model = MarianMTModel(
            MarianConfig(
                vocab_size=VOCABULARY, d_model=width, dropout=0.1, pad_token_id=0,
                decoder_start_token_id=0, max_position_embeddings=256, use_cache=False, **sides,
            )
        )  # fmt: skip

    def forward(self, batch: dict[str, Any]) -> Tensor:
        found = self.model(
            input_ids=batch["source"],
            attention_mask=batch["source_layout"].mask(),
            decoder_input_ids=batch["target"],
            decoder_attention_mask=batch["target_layout"].mask(),
        )
        return plain_loss(found.logits, batch)


def plain_loss(logits: Tensor, batch: dict[str, Any]) -> Tensor:
    labels = batch["labels"].masked_fill(~batch["target_layout"].mask(), -100)
    return cross_entropy(
        logits.flatten(0, 1).float(),
        labels.flatten(),
        reduction="sum",
        label_smoothing=SMOOTHING,
    )


MODELS = {"torch": Torch, "hf": Theirs}


class Loop:
    """A model with its optimizer, and a few batches that are taken in turn."""

    def __init__(self, arm: str, size: str, positions: int) -> None:
        torch.manual_seed(1)
        self.arm = arm
        self.model = MODELS.get(arm, Ours)(size).cuda()
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, fused=True)
        self.packed = arm in ("packed", "compiled", "varlen")
        self.batches = make_batches(positions, packed=self.packed)
        self.forward: Any = self.model
        if arm in ("compiled", "varlen"):
            self.forward = torch.compile(self.model, dynamic=False, mode="reduce-overhead")

    def step(self, number: int) -> None:
        batch = self.batches[number % BATCHES]
        with torch.autocast("cuda", torch.bfloat16):
            loss = self.forward(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def time(self, steps: int) -> float:
        """Seconds of a step."""
        segment_attention.LONGEST = 0 if self.arm == "varlen" else 256
        torch.cuda.synchronize()
        began = time.perf_counter()
        for number in range(steps):
            self.step(number)
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / steps

    @property
    def real(self) -> float:
        """Tokens of a step."""
        return statistics.mean(batch["real"] for batch in self.batches)


def make_batches(positions: int, *, packed: bool) -> list[dict[str, Any]]:
    """Batches of pairs on the GPU, `positions` on either side at most."""
    generator = np.random.default_rng(0)
    source = np.clip(generator.lognormal(3.25, 0.55, 40 * positions // 28).astype(int), 4, 120)
    target = np.clip(source + generator.integers(-3, 4, len(source)), 4, 120)
    if packed:
        ends = [0]
        while len(ends) <= BATCHES:
            both = np.maximum(source[ends[-1] :].cumsum(), target[ends[-1] :].cumsum())
            ends.append(ends[-1] + int(np.searchsorted(both, positions, side="right")))
        cuts = list(zip(ends, ends[1:], strict=False))
    else:
        order = np.lexsort((target, source))
        source, target = source[order], target[order]
        cuts = []
        for first in np.linspace(0.1, 0.9, BATCHES) * len(source):
            first = int(first)
            widest = max(int(source[first]), int(target[first])) + 4
            cuts.append((first, first + positions // widest))
    return [made(source[a:b], target[a:b], positions, packed) for a, b in cuts]


def made(source: np.ndarray, target: np.ndarray, positions: int, packed: bool) -> dict[str, Any]:
    batch: dict[str, Any] = {"real": int(source.sum() + target.sum())}
    for side, lengths in (("source", source), ("target", target)):
        layout: Layout
        if packed:
            rows = positions // 16
            padded = torch.zeros(rows, dtype=torch.long)
            padded[: len(lengths)] = torch.from_numpy(lengths)
            layout, size = Packed(padded, positions, 256), (1, positions)
        else:
            width = int(lengths.max())
            layout, size = Padded(torch.from_numpy(lengths), width), (len(lengths), width)
        batch[f"{side}_layout"] = layout.to("cuda")
        batch[side] = torch.randint(1, VOCABULARY, size, device="cuda")
    batch["labels"] = torch.randint(1, VOCABULARY, batch["target"].shape, device="cuda")
    return batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--positions", type=int, default=12_800, help="of each side")
    parser.add_argument(
        "--arms", nargs="+", default=["packed", "compiled", "padded", "torch", "hf"]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    loops, seconds = {}, {}
    for arm in options.arms:
        began = time.perf_counter()
        loops[arm] = Loop(arm, options.size, options.positions)
        loops[arm].time(2 * BATCHES)
        seconds[arm] = []
        print(f"{arm}: ready in {time.perf_counter() - began:.1f} s", flush=True)
    for _ in range(options.rounds):
        for arm, loop in loops.items():
            seconds[arm].append(loop.time(options.steps))
    rows = []
    for arm, loop in loops.items():
        median = statistics.median(seconds[arm])
        rows.append({"arm": arm, "size": options.size, "milliseconds": round(1e3 * median, 2)})
        rows[-1]["tokens_per_second"] = round(loop.real / median)
        rows[-1]["all_milliseconds"] = [round(1e3 * one, 2) for one in seconds[arm]]
        print(json.dumps(rows[-1]), flush=True)
    if options.json:
        device = torch.cuda.get_device_name()
        kept = {"device": device, "torch": torch.__version__, "rows": rows}
        options.json.write_text(json.dumps(kept, indent=2) + "\n")
    if options.profile:
        with torch.profiler.profile() as profile:
            loops[options.arms[-1]].time(5)
        averages = profile.key_averages()
        print(averages.table(sort_by="self_cuda_time_total", row_limit=25))


if __name__ == "__main__":
    main()
