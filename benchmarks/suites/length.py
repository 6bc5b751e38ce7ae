"""A training step of an encoder against the length of its input: windows, all of it, transformers.

Longer inputs are left out of an arm once a step of it would take too long. Memory, gradient
checkpointing, and how far results are apart: `benchmarks/long_inputs.py`.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import torch
from against_length import slope
from harness.results import Result, Row
from harness.settings import Settings
from torch import nn

from heed.backbone.transformer import Transformer

LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
WIDTH, HEADS, LAYERS, VOCABULARY, WINDOW = 256, 4, 2, 8000, 256
LONGEST_SECONDS = 2.5
"""Of a step; the next length of an arm takes up to four times as long as this one."""
WHAT = "seconds a training step"
FULL, WINDOWED, BERT = "heed, full attention", f"heed, window {WINDOW}", "transformers BertModel"
Step = Callable[[torch.Tensor], None]


def measure(asked: Settings) -> list[Result]:
    """All arms at all lengths, one row of tokens each."""
    lengths = (64, 128, 256) if asked.quick else LENGTHS
    longest = 1e9 if asked.device == "cuda" else LONGEST_SECONDS
    result = Result(
        "length",
        f"an encoder of {LAYERS} layers of width {WIDTH} against tokens of its one row",
        asked.device,
        settings={"precision": asked.own_precision, "heads": HEADS, "inner width": 4 * WIDTH},
    )
    arms = arms_of(asked, max(lengths), result)
    for length in lengths:
        ids = torch.randint(VOCABULARY, (1, length), device=asked.device)
        firsts = {name: seconds(step, ids, asked) for name, step in arms.items()}
        runs: dict[str, list[float]] = {name: [] for name in arms}
        for _ in range(asked.rounds):
            for name, step in arms.items():
                runs[name].append(seconds(step, ids, asked))
        result.rows += [Row(name, WHAT, found, float(length)) for name, found in runs.items()]
        for name, first in firsts.items():
            if min(first, *runs[name]) > longest:
                result.notes.append(f"{name}: not beyond {length:,} tokens")
                del arms[name]
    compare(result)
    return [result]


def arms_of(asked: Settings, longest: int, result: Result) -> dict[str, Step]:
    """A training step of each model, of equal sizes."""
    models: dict[str, nn.Module] = {
        FULL: heed_encoder(longest),
        WINDOWED: heed_encoder(longest, attention="windowed", window=WINDOW),
    }
    if importlib.util.find_spec("transformers"):
        models[BERT] = bert(longest)
    else:
        result.notes.append("transformers is not installed: left out")
    return {name: step_of(model.to(asked.device).train(), asked) for name, model in models.items()}


def heed_encoder(longest: int, **values: Any) -> nn.Module:
    """An encoder of Heed, as a module from tokens to hidden states."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = Transformer(
                shape="encoder",
                vocabulary_size=VOCABULARY,
                d_model=WIDTH,
                n_heads=HEADS,
                d_feed_forward=4 * WIDTH,
                n_layers=LAYERS,
                max_length=longest,
                activation="gelu",
                dropout=0.0,
                **values,
            )

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.backbone.encode(ids)

    return Encoder()


def bert(longest: int) -> nn.Module:
    """The same sizes in transformers."""
    from transformers import BertConfig, BertModel

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = BertConfig(
                vocab_size=VOCABULARY,
                hidden_size=WIDTH,
                num_hidden_layers=LAYERS,
                num_attention_heads=HEADS,
                intermediate_size=4 * WIDTH,
                max_position_embeddings=longest,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                attn_implementation="sdpa",
            )
            self.bert = BertModel(config, add_pooling_layer=False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.bert(input_ids=ids).last_hidden_state
            return found

    return Encoder()


def step_of(model: nn.Module, asked: Settings) -> Step:
    """Forward and backward."""
    bf16 = asked.own_precision == "bf16"

    def step(ids: torch.Tensor) -> None:
        with torch.autocast(asked.device, torch.bfloat16, enabled=bf16):
            hidden = model(ids)
        hidden.float().square().mean().backward()
        model.zero_grad()

    return step


def seconds(step: Step, ids: torch.Tensor, asked: Settings) -> float:
    asked.settle()
    start = time.perf_counter()
    step(ids)
    asked.settle()
    return time.perf_counter() - start


def compare(result: Result) -> None:
    """Exponents of the length, and Heed over transformers at the longest that both have."""
    for name in dict.fromkeys(row.arm for row in result.rows):
        points = [(int(row.x), row.median) for row in result.rows if row.arm == name and row.x]
        exponent = slope([point for point in points if point[0] >= 2048])
        if exponent is not None:
            result.notes.append(f"{name}: grows by the length to the {exponent:.2f} from 2,048 on")
    shared = [row.x for row in result.rows if row.arm == BERT and row.x is not None]
    for name in (FULL, WINDOWED):
        result.compare(name, BERT, WHAT, x=max(shared, default=None), better="lower")
