"""The layers of a model by name: what a word such as `encoder.0-5` means, how deep a parameter is.

Nothing here needs torch: a config is checked with it before anything is imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from heed.errors import UserError, nearest

STACKS = ("encoder", "decoder")
LAYERS = re.compile(r"(encoder|decoder)\.(\d+)(?:-(\d+))?")

Layers = Mapping[str, int]
"""The layers of each stack that a model has, for instance {"encoder": 6}."""


def parts_of(word: str, layers: Layers, *, key: str) -> list[str]:
    """The parts of a model that a word means, as beginnings of its parameters' names.

    Args:
        word: "all", "embeddings" (of every stack), "encoder" or "decoder" (its embeddings, layers
            and final norm), "encoder.3" or "encoder.0-5" (layers, from 0, ends included).
        layers: What the model has.
        key: Where the word stands in the config, for errors.

    Raises:
        UserError: If the model has no such part.
    """
    if word == "all":
        return [""]
    if word == "embeddings":
        return [f"{stack}.embeddings." for stack in layers]
    if word in layers:
        return [f"{word}."]
    match = LAYERS.fullmatch(word)
    if match is None or match[1] not in layers:
        raise UserError(f"{key} names {word!r}, which is no part of the model", _there_is(layers))
    stack, first = match[1], int(match[2])
    last = first if match[3] is None else int(match[3])
    if not first <= last < layers[stack]:
        count = layers[stack]
        raise UserError(
            f"{key} names {word!r}, but the {stack} has {count} layers, 0 to {count - 1}",
            f"try {stack}.0-{count - 1}" if count > 1 else f"try {stack}.0",
        )
    return [f"{stack}.layers.{number}." for number in range(first, last + 1)]


def check_word(word: str, *, key: str) -> None:
    """Refuse a word that names a part of no model.

    Raises:
        UserError: With the nearest word there is.
    """
    known = ("all", "embeddings", *STACKS)
    if word not in known and not LAYERS.fullmatch(word):
        remedy = nearest(word, known)
        if not remedy.startswith("did you mean"):
            remedy = "it may name all, embeddings, encoder, decoder, or layers as in encoder.0-5"
        raise UserError(f"{key} names {word!r}, which is no part of a model", remedy)


def top_layers(count: int, layers: Layers, *, key: str) -> list[str]:
    """The last layers of the last stack, as beginnings of their parameters' names.

    Raises:
        UserError: If there are fewer.
    """
    stack = list(layers)[-1]
    there = layers[stack]
    if count > there:
        raise UserError(
            f"{key} must be at most {there}, the layers of the {stack}, but is {count}",
            f"try {key}={min(2, there)}",
        )
    return [f"{stack}.layers.{number}." for number in range(there - count, there)]


def depth_of(name: str, layers: Layers) -> int:
    """How deep a parameter of the model lies.

    The embeddings (and a position bias that all layers share) are at 0, the first layer at 1, and
    so on; a decoder's layers lie on top of the encoder's. A final norm is as deep as the last layer
    below it.

    Args:
        name: The parameter's name in the model.
        layers: What the model has.
    """
    stack, _, rest = name.partition(".")
    below = 0
    for other, count in layers.items():
        if other == stack:
            break
        below += count
    kind, _, tail = rest.partition(".")
    if kind == "layers":
        return below + int(tail.partition(".")[0]) + 1
    if kind == "norm":
        return below + layers.get(stack, 0)
    return 0


def within(name: str, parts: list[str]) -> bool:
    """Whether a parameter belongs to one of some parts."""
    return any(name.startswith(part) for part in parts)


def _there_is(layers: Layers) -> str:
    stacks = [f"{stack}, {stack}.0-{count - 1}" for stack, count in layers.items()]
    return "there is all, embeddings, " + ", ".join(stacks)
