"""Training an encoder-decoder of one size: Heed beside its peers, in real tokens a second."""

from __future__ import annotations

import importlib.util

from harness import training_arms as arms
from harness.corpus import Sized, pad_ids, padded_batches, prepared
from harness.results import Result, Row
from harness.settings import Settings
from harness.turns import Turn, in_turns
from peers.joeynmt_lane import joeynmt_lane

TOKENS, STEP, CPU = "real tokens/s", "ms a step", "CPU ms a step"
HEED, BARE, TORCH = "heed train", "heed, bare loop", "torch.nn.Transformer"
MARIAN, JOEY = "transformers Trainer", "JoeyNMT"

SIZES = {
    "small": Sized("small", 8000, 4096),
    "base": Sized("base", 8000, 4096),
    "big": Sized("big", 8000, 1024),
}
GPU_SIZES = {
    "small": Sized("small", 32_000, 32_768, pairs=100_000, length=20.0),
    "base": Sized("base", 32_000, 32_768, pairs=100_000, length=20.0),
    "big": Sized("big", 32_000, 16_384, pairs=100_000, length=20.0),
}
STEPS = {"small": (4, 2), "base": (1, 1), "big": (1, 1)}
"""On a CPU: steps of a turn, and of the warm-up."""
REACH = {"small": {"bf16": 3.2}, "base": {"bf16": 2.4}}
"""Of the Trainer of transformers in the same precision, on a CPU."""


def measure(asked: Settings, size: str) -> list[Result]:
    """All arms that can be run here, one precision after the other."""
    sized = (GPU_SIZES if asked.device == "cuda" else SIZES)[size]
    steps, warm_up = (20, 10) if asked.device == "cuda" else STEPS[size]
    if asked.quick:
        sized, steps, warm_up = Sized("tiny", 300, 256, pairs=300, length=6.0), 1, 1
    own = asked.own_precision
    config, parts = prepared(sized, asked)
    _, bare_parts = prepared(sized, asked)
    count = 16 if asked.quick else 64
    batches = padded_batches(parts, sized.max_tokens, count)
    vocabulary, pad = parts.tokenizers.sizes[0], pad_ids(parts)[1]
    given = (config["model"], vocabulary, pad, batches)
    result = Result(
        f"training_{size}",
        f"training {config['model']['n_layers']}+{config['model']['n_layers']} layers, "
        f"width {config['model']['d_model']}, {vocabulary:,} tokens",
        asked.device,
        settings={
            "data": "multi30k" if asked.data else "generated",
            "token positions a batch": sized.max_tokens,
            "vocabulary": vocabulary,
            "precision of heed": own,
            "steps a turn": steps,
        },
    )
    lanes = [
        arms.heed_train(HEED, config, parts, asked),
        arms.heed_bare(BARE, config, bare_parts, asked, count),
    ]
    for precision in asked.precisions:
        lanes.append(arms.torch_bare(f"{TORCH}, {precision}", *given, precision, asked))
        if importlib.util.find_spec("transformers") and importlib.util.find_spec("accelerate"):
            name = f"{MARIAN}, {precision}"
            lanes.append(arms.marian_trainer(name, *given, precision, asked))
            if asked.device == "cuda" and not asked.quick:
                name = f"{MARIAN}, compiled, {precision}"
                lanes.append(arms.marian_trainer(name, *given, precision, asked, compiled=True))
        else:
            result.notes.append("transformers or accelerate is not installed: left out")
    if "joeynmt" in asked.peers and asked.device == "cpu":
        tokens = (parts.tokenizers.target.bos_id, parts.tokenizers.target.eos_id)
        lanes.append(joeynmt_lane(JOEY, *given, tokens, asked))
    else:
        result.notes.append("no JoeyNMT: see benchmarks/peers/joeynmt_requirements.txt")
    turns = in_turns(lanes, rounds=asked.rounds, steps=steps, warm_up=warm_up)
    for name, own_turns in turns.items():
        result.rows += rows_of(name, own_turns)
    for peer in turns:
        if peer != HEED:
            reach = REACH.get(size, {}).get(own) if peer == f"{MARIAN}, {own}" else None
            result.compare(HEED, peer, TOKENS, reach=reach if asked.device == "cpu" else None)
    return [result]


def rows_of(name: str, turns: list[Turn]) -> list[Row]:
    """The figures of an arm."""
    return [
        Row(name, TOKENS, [turn.tokens / turn.wall for turn in turns]),
        Row(name, CPU, [1000 * turn.cpu / turn.steps for turn in turns]),
    ]
