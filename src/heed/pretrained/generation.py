"""How the makers of a checkpoint would have it write, as words of Heed's command line.

It is told, and never applied unasked: a run decodes as its config says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from heed.pretrained.checkpoint import Checkpoint

KEYS = {
    "num_beams": "beam_size",
    "length_penalty": "length_penalty",
    "early_stopping": "early_stopping",
    "no_repeat_ngram_size": "no_repeat_ngram_size",
    "min_length": "min_length",
    "max_length": "max_length",
}
"""What transformers' generate calls it, and we; lengths are one less, since theirs count bos."""
BEAMS_ONLY = ("num_beams", "length_penalty", "early_stopping")
GENERATION_DEFAULTS = {
    **{"num_beams": 1, "length_penalty": 1.0, "early_stopping": False},
    **{"no_repeat_ngram_size": 0, "min_length": 0, "max_length": 20},
}


def advice(checkpoint: Checkpoint) -> Iterator[str]:
    """Words for the command line, one string for each kind of text that it writes.

    Args:
        checkpoint: Its generation_config.json and config.json are read; older ones keep the
            settings of tasks, and the prefix that tells T5 which one it is, in the latter.
    """
    general = {**checkpoint.config, **checkpoint.generation}
    words = list(_words(general))
    if words:
        yield " ".join(words)
    tasks = checkpoint.config.get("task_specific_params")
    for name, given in tasks.items() if isinstance(tasks, dict) else ():
        if not isinstance(given, dict):
            continue
        words = list(_words(given))
        if given.get("prefix"):
            words.append(f"'task.preparation.source_prefix=\"{given['prefix']}\"'")
        if words:
            yield f"{' '.join(words)} ({name})"


def _words(given: Mapping[str, Any]) -> Iterator[str]:
    """What differs from the defaults of `generate`, in our words."""
    said = {key: given[key] for key in KEYS if given.get(key) is not None}
    said = {key: value for key, value in said.items() if value != GENERATION_DEFAULTS[key]}
    beams = said.get("num_beams", 1) > 1
    if beams:
        yield "decoding=beam"
    for key, value in said.items():
        if key in BEAMS_ONLY and not beams:
            continue
        if key.endswith("_length"):
            value = max(value - 1, 0)
        yield f"decoding.{KEYS[key]}={str(value).lower()}"
