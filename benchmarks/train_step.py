"""How long one training step of the small encoder-decoder takes, forward, backward and update.

    python benchmarks/train_step.py --precision 32 --kernel reference --threads 2

The batch is 64 rows of 32 source and 32 target positions (4096 token positions), a quarter of them
padding. Prints the median of the timed steps in milliseconds and token positions per second.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
import time

import torch
from torch import nn

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.heads.loss import label_smoothed_cross_entropy
from heed.heads.vocabulary import VocabularyHead
from heed.training.allocator import keep_freed_memory

ROWS, WIDTH, VOCABULARY = 64, 32, 8000


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--precision", choices=("32", "bf16-mixed"), default="32")
    parser.add_argument("--kernel", choices=("auto", "reference", "sdpa"), default="auto")
    parser.add_argument("--attention", default="scaled_dot_product")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--attention-dropout", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cpu-time", action="store_true", help="of all threads, on a busy machine")
    parser.add_argument("--keep-memory", action="store_true", help="freed memory stays")
    parser.add_argument("--profile", action="store_true", help="print the costliest operations")
    return parser.parse_args()


class Step:
    """One training step on one fixed batch."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(1)
        device = torch.device(options.device)
        self.device, self.bf16 = device, options.precision == "bf16-mixed"
        self.backbone = Transformer(
            shape="encoder_decoder",
            vocabulary_size=VOCABULARY,
            d_model=256,
            n_heads=4,
            d_feed_forward=1024,
            n_layers=3,
            norm_position="pre",
            kernel=options.kernel,
            attention=options.attention,
            dropout=options.dropout,
            attention_dropout=options.attention_dropout,
        ).to(device)
        self.head = VocabularyHead(
            d_model=256, vocabulary_size=VOCABULARY, tied=self.backbone.output_embedding
        ).to(device)
        self.parameters = list(nn.ModuleList([self.backbone, self.head]).parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, fused=True)
        self.source = torch.randint(VOCABULARY, (ROWS, WIDTH), device=device)
        self.target = torch.randint(VOCABULARY, (ROWS, WIDTH + 1), device=device)
        lengths = torch.randint(WIDTH // 2, WIDTH + 1, (ROWS,), device=device)
        self.layout = Padded(lengths, WIDTH)

    def __call__(self) -> None:
        cast = torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else None
        with cast or contextlib.nullcontext():
            memory = self.backbone.encode(self.source, self.layout)
            hidden = self.backbone.decode(self.target[:, :-1], self.layout, memory, self.layout)
            loss = label_smoothed_cross_entropy(
                self.head(hidden), self.target[:, 1:], mask=self.layout.mask(), smoothing=0.1
            )
        (loss.sum / loss.count).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.keep_memory:
        assert keep_freed_memory(), "this needs Linux with glibc"
    step = Step(options)
    for _ in range(3):
        step()
    if options.profile:
        with torch.profiler.profile() as profiler:
            for _ in range(3):
                step()
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=22))
    clock = time.process_time if options.cpu_time else time.perf_counter
    times = []
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(options.steps):
        start = clock()
        step()
        times.append(clock() - start)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    median = statistics.median(times)
    print(
        f"{1000 * median:.1f} ms a step, {2 * ROWS * WIDTH / median:,.0f} token positions a second"
        f", {faults / options.steps:,.0f} page faults a step"
    )


if __name__ == "__main__":
    main()
