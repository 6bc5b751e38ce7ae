"""The models that `long_inputs.py` measures, and how far their results are apart."""

from __future__ import annotations

import argparse
import contextlib
import math
from typing import Any

import torch
from torch import Tensor

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.backbone.windowed import near

WINDOW, VOCABULARY, HEAD_WIDTH = 256, 8000, 64
CHECKPOINTING = {"gradient_checkpointing": True}
WINDOWED = {"attention": "windowed", "window": WINDOW}
FULL: dict[str, dict[str, Any]] = {
    "full, reference": {"kernel": "reference"},
    "full, sdpa": {"kernel": "sdpa"},
    "full, sdpa, checkpointing": {"kernel": "sdpa", **CHECKPOINTING},
}
CPU_ARMS: dict[str, dict[str, Any]] = {
    **FULL,
    "window": WINDOWED,
    "window, checkpointing": {**WINDOWED, **CHECKPOINTING},
}
GPU_ARMS: dict[str, dict[str, Any]] = {
    **FULL,
    "window, chunks": {**WINDOWED, "kernel": "sdpa"},
    "window, chunks, checkpointing": {**WINDOWED, "kernel": "sdpa", **CHECKPOINTING},
    "window, flex": {**WINDOWED, "kernel": "flex"},
    "window, flex, checkpointing": {**WINDOWED, "kernel": "flex", **CHECKPOINTING},
}


def arms_of(asked: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What is measured there: flex attention on a GPU, in bf16 (in fp32 it is slow)."""
    if asked.device == "cpu":
        return CPU_ARMS
    slow = asked.precision == "32" and not asked.all
    return {name: arm for name, arm in GPU_ARMS.items() if not (slow and "flex" in name)}


class Arm:
    """One model on one device.

    The activation is smooth: where a relu's input is nearly zero, a difference in the last digit
    decides whether a token counts in the gradients of the weights before it.

    Args:
        values: Of the Transformer.
        asked: The command line.
    """

    def __init__(self, values: dict[str, Any], asked: argparse.Namespace) -> None:
        torch.manual_seed(1)
        self.device = torch.device(asked.device)
        self.bf16 = asked.precision == "bf16"
        self.rows = asked.rows
        self.model = Transformer(
            shape="encoder",
            vocabulary_size=VOCABULARY,
            d_model=asked.width,
            n_heads=asked.width // HEAD_WIDTH,
            d_feed_forward=4 * asked.width,
            n_layers=asked.layers,
            max_length=max(asked.lengths),
            norm_position="pre",
            activation="gelu",
            dropout=0.0,
            **values,
        ).to(self.device)

    def ids(self, length: int) -> Tensor:
        torch.manual_seed(2)
        return torch.randint(VOCABULARY, (self.rows, length)).to(self.device)

    def encode(self, ids: Tensor, mask: Tensor | None, bf16: bool) -> Tensor:
        cast = torch.autocast(self.device.type, torch.bfloat16) if bf16 else None
        with cast or contextlib.nullcontext():
            if mask is None:
                return self.model.encode(ids).float()
            layout = Padded.unpadded(*ids.shape, device=self.device)
            assert self.model.encoder is not None
            stack = self.model.encoder
            return stack(ids, layout.positions(), width=layout.width, mask=mask).float()

    def step(self, length: int) -> None:
        self.model.train()
        self.encode(self.ids(length), None, self.bf16).square().mean().backward()
        self.wait()

    def forward(self, length: int) -> None:
        self.model.eval()
        with torch.no_grad():
            self.encode(self.ids(length), None, self.bf16)
        self.wait()

    def results(self, length: int, *, windowed: bool = False, bf16: bool) -> dict[str, Tensor]:
        """The output, and the gradients of all parameters for a random direction of it.

        Args:
            length: Of each row.
            windowed: Whether full attention is to have a mask of the window.
            bf16: Whether the products are computed in bf16.
        """
        mask = None
        if windowed:
            positions = torch.arange(length, device=self.device)
            mask = near(positions, positions, WINDOW)
        self.model.train()
        self.model.zero_grad()
        output = self.encode(self.ids(length), mask, bf16)
        torch.manual_seed(3)
        (output * torch.randn(output.shape).to(self.device)).sum().backward()
        parameters = self.model.named_parameters()
        found = {name: p.grad for name, p in parameters if p.grad is not None}
        self.model.zero_grad()
        return {"output": output.detach(), **found}

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def apart(found: dict[str, Tensor], expected: dict[str, Tensor]) -> tuple[float, str]:
    """The largest difference, as a share of the largest number of its tensor, and where it is."""
    assert found.keys() == expected.keys()
    worst = (0.0, "")
    for name, tensor in expected.items():
        share = float((found[name] - tensor).abs().max() / tensor.abs().max())
        worst = max(worst, (share if share == share else math.inf, name))
    return worst
