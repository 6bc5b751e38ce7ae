"""Choosing among runs: `task=sentiment`, `optimizer.lr>1e-4`, `seed=1,2`, sorted by any value."""

from __future__ import annotations

import difflib
import fnmatch
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from heed.errors import UserError
from heed.tracking.digest import Digest

STAGES = ("test/", "val/", "train/")
_WORD = re.compile(r"([\w./-]+?)(>=|<=|!=|=|>|<)(.*)", re.DOTALL)
_FACTS = {one.name for one in fields(Digest)} - {"metrics", "config_text"} | {"score", "age_days"}
_MISSING = object()


@dataclass(frozen=True)
class Filter:
    """One condition: a run's value of `key` stands in the relation `sign` to what was typed."""

    key: str
    sign: str
    typed: str

    def matches(self, digest: Digest) -> bool:
        """Whether a run meets the condition; one without the value meets none but `!=`."""
        value = value_of(digest, self.key)
        if value is None:
            is_null = self.typed in ("null", "None")
            return self.sign in ("=", "!=") and is_null is (self.sign == "=")
        if self.sign in ("=", "!="):
            same = any(_same(value, one) for one in self.typed.split(","))
            return same is (self.sign == "=")
        number, bound = as_number(value), float(self.typed)
        if number is None:
            return False
        larger = number > bound or (number == bound and self.sign == ">=")
        smaller = number < bound or (number == bound and self.sign == "<=")
        return larger if self.sign[0] == ">" else smaller


def split_word(word: str) -> tuple[str, str, str] | None:
    """(key, sign, value) of a word such as `seed=1`; None if it is no condition."""
    match = _WORD.fullmatch(word)
    return None if match is None else (match[1], match[2], match[3])


def make_filter(key: str, sign: str, typed: str) -> Filter:
    """A condition that can be asked of runs.

    Raises:
        UserError: If something that is no number is compared by size.
    """
    if sign in ("=", "!="):
        return Filter(key, sign, typed)
    try:
        bound = float(typed)
    except ValueError:
        bound = math.nan
    if math.isnan(bound):
        raise UserError(
            f"{key}{sign} must be followed by a number, but {typed!r} is none",
            f"compare names by {key}=NAME or {key}!=NAME",
        )
    return Filter(key, sign, typed)


def value_of(digest: Digest, key: str) -> Any:
    """What a run has under a key: a fact, a score, what was chosen of a group, a config value.

    A score may go without its stage: `bleu` is that of the test, or else of the validation.
    None if the run has no such thing.
    """
    found = _look_up(digest, key)
    return None if found is _MISSING else found


def _look_up(digest: Digest, key: str) -> Any:
    if key in _FACTS:
        return getattr(digest, key)
    if key in digest.metrics:
        return digest.metrics[key]
    for name in (f"choices.{key}", key):
        if name in digest.config:
            return digest.config[name]
    for stage in STAGES:
        if stage + key in digest.metrics:
            return digest.metrics[stage + key]
    return _MISSING


def check_keys(
    keys: Iterable[str], digests: Sequence[Digest], *, commands: Iterable[str] = ()
) -> None:
    """Refuse a key that none of the runs has.

    Args:
        keys: What was typed.
        digests: All runs, those without a fault count.
        commands: Keys that mean something to the command itself, which may have been meant.

    Raises:
        UserError: With the nearest that there is.
    """
    whole = [digest for digest in digests if not digest.fault]
    for key in keys:
        if whole and all(_look_up(digest, key) is _MISSING for digest in whole):
            known = _FACTS.union(commands, *({*one.metrics, *one.config} for one in whole))
            known = {name.removeprefix("choices.") for name in known if name[:6] != "links."}
            close = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.6)
            raise UserError(
                f"{key!r} is a key of none of the {len(whole)} runs",
                f"did you mean {close[0]!r}?"
                if close
                else "heed runs format=jsonl limit=1 shows facts and scores, "
                "and a run's config.yaml its config values",
            )


def sort_runs(digests: Sequence[Digest], key: str) -> list[Digest]:
    """Runs in the order of a value: scores from the best on, all else from the smallest.

    Args:
        digests: The runs; those without the value, or with NaN, come last.
        key: What to sort by; with "-" before it, the other way round.
    """
    name = key.removeprefix("-")
    values = [value_of(digest, name) for digest in digests]
    numbers = [as_number(value) for value in values]
    are_numbers = any(number is not None for number in numbers)
    places: list[Any] = numbers if are_numbers else [None if v is None else str(v) for v in values]
    having = [(place, one) for place, one in zip(places, digests, strict=True) if place is not None]
    lacking = [one for place, one in zip(places, digests, strict=True) if place is None]
    best_is_high = is_score(name, digests) and any(d.higher_is_better(name) for d in digests)
    downwards = best_is_high is (key == name)
    return [one for _, one in sorted(having, key=lambda pair: pair[0], reverse=downwards)] + lacking


def is_score(name: str, digests: Iterable[Digest]) -> bool:
    """Whether a key is a score of some run, rather than a fact or a config value."""
    return name == "score" or any(
        stage + name in digest.metrics for digest in digests for stage in ("", *STAGES)
    )


def best_runs(digests: Sequence[Digest], metric: str) -> list[Digest]:
    """The best run of each task by a metric; tasks without it have none."""
    tasks = dict.fromkeys(digest.task for digest in digests)
    found = []
    for task in tasks:
        runs = [one for one in digests if one.task == task]
        best = sort_runs(runs, metric)[0]
        if as_number(value_of(best, metric)) is not None:
            found.append(best)
    return found


def as_number(value: Any) -> float | None:
    """A value as a number that can be compared; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        return None
    return float(value)


def _same(value: Any, typed: str) -> bool:
    if isinstance(value, list):
        return any(_same(one, typed) for one in value)
    if isinstance(value, bool):
        return typed.lower() == str(value).lower()
    if isinstance(value, (int, float)):
        try:
            return float(typed) == value
        except ValueError:
            return False
    return fnmatch.fnmatchcase(str(value), typed)
