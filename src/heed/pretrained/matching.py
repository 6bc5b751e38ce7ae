"""Which family a Transformer is of, whoever trained it; imports no torch.

A family's own words decide: its config.json of our values, read again, must give the same values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from heed.backbone.values import NO_WEIGHT, complete, has_meaning
from heed.errors import UserError
from heed.pretrained.families import FILES, family_named
from heed.pretrained.family import Family

Values = Mapping[str, Any]
SEGMENTS = ".segments.weight"
EMPTY_SEGMENTS = 2  # rows of zeros, where a family has types of tokens and the model has not


def differences(family: Family, values: Values, defaults: Values) -> list[str]:
    """In what a Transformer differs from the models of a family; empty if it is one of them.

    Args:
        family: The family.
        values: Arguments of the Transformer, complete.
        defaults: What the Transformer takes by itself.
    """
    try:
        theirs = {**defaults, **family.values(family.config(values))}
    except KeyError as error:
        return [f"its config.json has no word for {error}"]
    except UserError as error:
        return [str(error)]
    ours, other = dict(_meaningful(values)), dict(_meaningful(complete(theirs)))
    return [
        f"model.{key} is {ours[key]}, not {other[key]}"
        for key in sorted(ours.keys() & other.keys())
        if ours[key] != other[key]
    ]


def match(values: Values, defaults: Values, *, family: str | None) -> tuple[Family, Values]:
    """The family of a Transformer, and its values with whatever that family always has.

    Args:
        values: Arguments of the Transformer, all of them.
        defaults: What the Transformer takes by itself.
        family: The one that it is known to be of; None tries all.

    Raises:
        UserError: If it is of none; the nearest is named, and in what the model differs from it.
    """
    values = complete(values)
    nearest: tuple[bool, int, list[str], str] | None = None
    for name in dict.fromkeys([family] if family else FILES.values()):
        found = family_named(name)
        completed = with_segments(found, values)
        faults = differences(found, completed, defaults)
        if not faults:
            return found, completed
        rank = (not _has_words(found, completed), len(faults))
        if nearest is None or rank < nearest[:2]:
            nearest = (*rank, faults, name)
    assert nearest is not None
    *_, faults, name = nearest
    raise UserError(
        "format=hf writes models that are exactly of a family of transformers "
        f"({', '.join(dict.fromkeys(FILES.values()))}), but the nearest to the run's, {name}, "
        f"differs: {'; '.join(faults[:6])}" + ("; ..." if len(faults) > 6 else ""),
        "format=safetensors keeps any model; docs/export.md lists what else there is",
    )


def _has_words(family: Family, values: Values) -> bool:
    """Whether a config.json of the family comes near the values at all."""
    try:
        family.values(family.config(values))
    except (KeyError, UserError):
        return False
    return True


def with_segments(family: Family, values: Values) -> Values:
    """The values, with empty types of tokens where the family always has them."""
    if values.get("n_segments"):
        return values
    asked = {**values, "n_segments": EMPTY_SEGMENTS}
    try:
        typed = any(entry.ours.endswith(SEGMENTS) for entry in family.entries(asked))
    except (KeyError, UserError):
        return values
    return asked if typed else values


def _meaningful(values: Values) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if key not in NO_WEIGHT and has_meaning(key, values):
            yield key, value
