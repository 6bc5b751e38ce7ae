"""Training an encoder-decoder against its size, on batches of one size: Heed and transformers."""

from __future__ import annotations

import importlib.util

from harness import training_arms as arms
from harness.corpus import Sized, pad_ids, padded_batches, prepared
from harness.results import Result, Row
from harness.settings import Settings
from harness.turns import in_turns

from suites.training import MARIAN, TOKENS

MODELS = ("tiny", "small", "base", "big")
HEED = "heed"
POSITIONS, GPU_POSITIONS = 1024, 16_384


def measure(asked: Settings) -> list[Result]:
    """Plain loops over the same batches, one size of model after the other."""
    precision = asked.own_precision
    positions = GPU_POSITIONS if asked.device == "cuda" else POSITIONS
    sized = Sized("tiny", 8000, positions)
    if asked.quick:
        sized = Sized("tiny", 300, 128, pairs=200, length=6.0)
    result = Result(
        "model_size",
        f"training encoder-decoders of different sizes, {sized.max_tokens:,} positions a batch",
        asked.device,
        settings={
            "precision": precision,
            "parameters of": ", ".join(MODELS),
            "data": "multi30k" if asked.data else "generated",
        },
    )
    peer = bool(importlib.util.find_spec("transformers") and importlib.util.find_spec("accelerate"))
    if not peer:
        result.notes.append("transformers or accelerate is not installed: left out")
    steps = 20 if asked.device == "cuda" else 1
    for name in MODELS[: 2 if asked.quick else None]:
        config, parts = prepared(sized._replace(model=name), asked)
        parameters = sum(weight.numel() for weight in parts.task.parameters())
        lanes = [arms.heed_bare(HEED, config, parts, asked, 16)]
        if peer:
            batches = padded_batches(parts, sized.max_tokens, 16)
            given = (config["model"], parts.tokenizers.sizes[0], pad_ids(parts)[1], batches)
            lanes.append(arms.marian_trainer(MARIAN, *given, precision, asked))
        turns = in_turns(lanes, rounds=asked.rounds, steps=steps, warm_up=steps)
        for arm, own in turns.items():
            runs = [turn.tokens / turn.wall for turn in own]
            result.rows.append(Row(arm, TOKENS, runs, float(parameters)))
        result.compare(HEED, MARIAN, TOKENS, x=float(parameters))
    return [result]
