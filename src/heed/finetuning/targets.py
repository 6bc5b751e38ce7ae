"""Which layers get an adapter: words such as `qkv`, held against the names of a model's layers.

Nothing here needs torch: a config is checked with it before anything is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from heed.errors import UserError, nearest

ALL_LINEAR = "all-linear"
SEVERAL = {"attention": ("self_attention", "cross_attention")}
"""Words that mean whichever of some others there is."""
OF_AN_ENCODER = ("layers", "self_attention", "qkv", "output", "feed_forward", "input")
OF_CROSS_ATTENTION = ("cross_attention", "query", "key_value")


def targeted(words: Sequence[str] | str, names: Iterable[str], *, key: str) -> list[str]:
    """The layers that some words name.

    Args:
        words: Each the name of a layer or of what it lies in, or several of these with dots:
            "qkv", "feed_forward", "self_attention.output", "encoder.layers.5"; or "attention"
            (self and cross), or "all-linear".
        names: The names of all layers that may get an adapter.
        key: Where the words stand in the config, for errors.

    Raises:
        UserError: If a word names no layer, or there are no words.
    """
    names = list(names)
    wanted = [words] if isinstance(words, str) else list(words)
    if ALL_LINEAR in wanted:
        return names
    if not wanted:
        raise UserError(f"{key} must name layers, but is empty", f"try {key}=[qkv]")
    found = {word: [name for name in names if _is_named(name, word)] for word in wanted}
    for word, matches in found.items():
        if not matches:
            raise UserError(f"{key} names {word!r}, which no layer of the model is", _remedy(names))
    return [name for name in names if any(name in matches for matches in found.values())]


def check_targets(words: Sequence[str] | str, stacks: Sequence[str], *, key: str) -> None:
    """Refuse words that no layer of Heed's own Transformer is named by.

    Args:
        words: As for `targeted`.
        stacks: "encoder", "decoder" or both.
        key: Where the words stand in the config, for errors.

    Raises:
        UserError: With the nearest name there is.
    """
    known = [*stacks, *OF_AN_ENCODER, *(OF_CROSS_ATTENTION if len(stacks) == 2 else ())]
    for word in [words] if isinstance(words, str) else words:
        for name in word.split("."):
            if word not in (ALL_LINEAR, *SEVERAL) and name not in known and not name.isdigit():
                raise UserError(
                    f"{key} names {word!r}, which no layer of the model is",
                    nearest(name, [*(name for name in known if name != "layers"), *SEVERAL]),
                )


def _is_named(name: str, word: str) -> bool:
    return any(f".{one}." in f".{name}." for one in SEVERAL.get(word, (word,)))


def _remedy(names: list[str]) -> str:
    words = sorted({part for name in names for part in name.split(".") if not part.isdigit()})
    return "its layers are named by " + ", ".join(words)
