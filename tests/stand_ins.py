"""A config.json in the place of a checkpoint on the hub: configs are composed offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from heed.commands.compose import config_dir

ENCODER: dict[str, Any] = {
    **{"model_type": "bert", "vocab_size": 61, "hidden_size": 24, "num_attention_heads": 3},
    **{"intermediate_size": 40, "num_hidden_layers": 2, "max_position_embeddings": 512},
}
TEXT_TO_TEXT: dict[str, Any] = {
    **{"model_type": "t5", "vocab_size": 61, "d_model": 24, "d_kv": 8, "d_ff": 40},
    **{"num_heads": 3, "num_layers": 2, "num_decoder_layers": 2, "decoder_start_token_id": 0},
    **{"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128},
    **{"feed_forward_proj": "relu", "pad_token_id": 0, "eos_token_id": 1},
}
WRITERS = ("t5", "flan", "bart", "opus")


def of_others() -> list[str]:
    """The options of `model=` that start from a checkpoint."""
    paths = sorted((config_dir() / "model").glob("*.yaml"))
    return [path.stem for path in paths if "pretrained" in yaml.safe_load(path.read_text())]


def stand_in(folder: Path, model: str) -> str:
    """The word that starts an option of `model=` from a folder, in which a config.json is made."""
    folder.mkdir(exist_ok=True)
    config = TEXT_TO_TEXT if model.startswith(WRITERS) else ENCODER
    (folder / "config.json").write_text(json.dumps(config))
    return f"model.pretrained={folder}"


def stand_ins(words: list[str], folder: Path) -> list[str]:
    """What else is to be said where words choose such a model, by itself or in an experiment."""
    chosen = [word.removeprefix("model=") for word in words if word.startswith("model=")]
    for word in words:
        if word.startswith("experiment="):
            name = word.removeprefix("experiment=")
            experiment = yaml.safe_load((config_dir() / "experiment" / f"{name}.yaml").read_text())
            defaults = experiment.get("defaults") or []
            chosen += [d["override /model"] for d in defaults if "override /model" in d]
    return [stand_in(folder, model) for model in chosen if model in of_others()]
