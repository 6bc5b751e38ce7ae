"""The space of a search, read from words in Hydra's override grammar.

    optimizer.lr=tag(log, interval(1e-5,1e-3))    real numbers, as often small as large
    model.n_layers=range(2,7)                     whole numbers, the last one left out
    model.dropout=interval(0,0.3)
    model=tiny,small                              one of these; choice(tiny,small) is the same
    seed=1,2,3                                    no part of the space: a run of each trial for each

The same can stand in `sweep.params`, as {key: text}; what is typed wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from heed.errors import UserError, raise_together
from heed.sweeps.space import Axis, Space, read_conditions

SEED = "seed"
GROUP = "sweep"


@dataclass
class SearchWords:
    """What the words of a search come to.

    Args:
        fixed: The overrides that all trials share, without those of the search itself.
        axes: What is varied, with no conditions yet.
        seeds: The values of `seed`, if there are several.
    """

    fixed: list[str] = field(default_factory=list)
    axes: list[Axis] = field(default_factory=list)
    seeds: list[int] | None = None

    def space(self, when: dict[str, Any]) -> Space:
        """The space, with the conditions of `sweep.when`."""
        return Space(read_conditions(when, self.axes))


def read_words(words: Sequence[str], params: dict[str, Any], loader: Any) -> SearchWords:
    """Sort words into what is fixed and what is varied.

    Args:
        words: What was typed, the search's own words among it.
        params: `sweep.params`.
        loader: Hydra's loader of configs, which knows the options of a group.

    Raises:
        UserError: If nothing is varied, or a value is nothing that can be searched.
    """
    found = SearchWords()
    faults: list[UserError] = []
    typed = [word for word in _parse(words, loader) if not _is_of_search(word)]
    keys = {_key(word) for word in typed}
    written = [f"{key}={_text(value)}" for key, value in params.items() if str(key) not in keys]
    from_config = _parse(written, loader)
    for word in [*from_config, *typed]:
        key = _key(word)
        if not word.is_sweep_override() and word in from_config:
            faults.append(
                UserError(
                    f"sweep.params.{key} must have several values, but is {params.get(key)!r}",
                    f"type {word.input_line}, or write choice(...), range(...) or interval(...)",
                )
            )
            continue
        if not word.is_sweep_override():
            found.fixed.append(str(word.input_line))
            continue
        try:
            if key == SEED:
                found.seeds = [int(value) for value in word.sweep_string_iterator()]
            else:
                found.axes.append(_axis(word))
        except (UserError, ValueError) as error:
            faults.append(
                error
                if isinstance(error, UserError)
                else UserError(f"{key} must be numbers, but is {word.input_line}")
            )
    raise_together(faults)
    found.fixed = list(_last_of_each(found.fixed))
    if not found.axes:
        raise UserError(
            "a search needs something to vary, but every key has one value",
            "try 'optimizer.lr=tag(log, interval(1e-4,1e-2))'",
        )
    return found


def _last_of_each(words: Sequence[str]) -> Iterator[str]:
    """The words without those that a later one of the same key makes idle."""
    last = {word.partition("=")[0]: index for index, word in enumerate(words)}
    for index, word in enumerate(words):
        if word[:1] in "+~" or last[word.partition("=")[0]] == index:
            yield word


def _parse(words: Sequence[str], loader: Any) -> list[Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed: list[Any] = OverridesParser.create(loader).parse_overrides(list(words))
    return parsed


def _key(word: Any) -> str:
    return str(word.key_or_group)


def _is_of_search(word: Any) -> bool:
    key = _key(word)
    return key == GROUP or key.startswith(f"{GROUP}.") or key.split("/")[0].split(".")[0] == "hydra"


def _text(value: Any) -> str:
    """A value of `sweep.params` as it would be typed; a list is a choice."""
    if isinstance(value, list):
        return f"choice({','.join(_text(item) for item in value)})"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _axis(word: Any) -> Axis:
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep

    key, value = word.get_key_element(), word.value()
    if isinstance(value, IntervalSweep):
        whole = isinstance(value.start, int) and isinstance(value.end, int) and _cast(word)
        low, high = value.start, value.end
        assert low is not None
        assert high is not None
        return Axis(key, "int" if whole else "float", low=low, high=high, log="log" in value.tags)
    if isinstance(value, RangeSweep):
        return _range(key, value)
    return Axis(key, "choice", choices=tuple(dict.fromkeys(word.sweep_string_iterator())))


def _cast(word: Any) -> bool:
    """Whether whole numbers were asked for, by int(interval(...))."""
    return "int(" in str(word.input_line).replace(" ", "")


def _range(key: str, value: Any) -> Axis:
    numbers = sorted(value.range())
    if not numbers:
        raise UserError(
            f"the range of {key} must not be empty, but goes from {value.start} to {value.stop} "
            f"in steps of {value.step}",
            "write the smaller number first; the last one is left out",
        )
    whole = all(isinstance(number, int) for number in numbers)
    return Axis(
        key,
        "int" if whole else "float",
        low=numbers[0],
        high=numbers[-1],
        step=abs(value.step),
        log="log" in value.tags,
    )
