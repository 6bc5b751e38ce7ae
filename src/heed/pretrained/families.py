"""Which families there are."""

from __future__ import annotations

import importlib

from heed.errors import UserError, nearest
from heed.pretrained.family import Family

# What a config.json calls a model, and the file here that knows it.
FILES = {
    "bart": "bart",
    "bert": "bert",
    "camembert": "roberta",
    "distilbert": "distilbert",
    "gpt2": "gpt2",
    "llama": "llama",
    "marian": "marian",
    "mistral": "llama",
    "modernbert": "modernbert",
    "qwen2": "llama",
    "qwen3": "llama",
    "roberta": "roberta",
    "t5": "t5",
    "xlm-roberta": "roberta",
}


def family_of(model_type: str, *, name: str) -> Family:
    """The family of a checkpoint.

    Args:
        model_type: As its config.json has it.
        name: The checkpoint, for errors.

    Raises:
        UserError: If it is none that Heed knows.
    """
    if model_type not in FILES:
        raise UserError(
            f"model.pretrained={name} must be of a family that Heed reads "
            f"({', '.join(sorted(set(FILES.values())))}), but its config.json says "
            + (f"model_type={model_type!r}" if model_type else "no model_type"),
            nearest(model_type, FILES),
        )
    module = importlib.import_module(f"heed.pretrained.{FILES[model_type]}")
    family: Family = module.FAMILY
    return family


def family_named(name: str) -> Family:
    """A family by Heed's name for it."""
    return family_of(name, name=name)
