"""The space of a search: what is varied, between which bounds, and under which conditions.

Values of a choice are kept as the text that somebody would type, so that any choice of Hydra's
grammar (a name, a number, a list) goes through a storage and comes back as the same override.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from heed.errors import UserError, nearest, raise_together

if TYPE_CHECKING:
    from optuna.trial import Trial

Value = str | int | float
Params = dict[str, Value]


@dataclass(frozen=True)
class Condition:
    """An axis counts only where another one has one of these values.

    Args:
        key: The other axis.
        values: As they would be typed.
    """

    key: str
    values: tuple[str, ...]

    def holds(self, params: Mapping[str, Value]) -> bool:
        """Whether a point meets it; not where the other axis does not count itself."""
        return self.key in params and str(params[self.key]) in self.values

    def __str__(self) -> str:
        return f"{self.key}={','.join(self.values)}"


@dataclass(frozen=True)
class Axis:
    """One key that is varied.

    Args:
        key: The dotted key, or the config group.
        kind: "choice" of texts, or numbers: whole ("int") or not ("float").
        choices: The texts.
        low: The smallest number.
        high: The largest number, which may be taken.
        step: The distance between numbers; None for all in between.
        log: Whether small numbers are tried as often as large ones, in steps of a factor.
        when: Where the axis counts; None for everywhere.
    """

    key: str
    kind: Literal["choice", "int", "float"]
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    when: Condition | None = None

    def faults(self) -> Iterator[UserError]:
        """What is wrong with the axis alone."""
        if self.kind == "choice":
            if not self.choices:
                yield UserError(f"{self.key} must have values to choose from, but has none")
            return
        bounds = f"from {_shown(self.low)} to {_shown(self.high)}"
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            yield UserError(f"{self.key} must lie between finite numbers, but goes {bounds}")
        elif self.low >= self.high and self.step is None:
            remedy = f"write the smaller number first, or fix it: {self.key}={_shown(self.low)}"
            yield UserError(
                f"the interval of {self.key} must not be empty, but is {bounds}", remedy
            )
        elif self.log and self.low <= 0:
            remedy = "take a small number instead, such as 1e-6, or leave tag(log, ...) out"
            yield UserError(
                f"{self.key} must begin above 0 for tag(log, ...), but goes {bounds}", remedy
            )

    def suggest(self, trial: Trial) -> Value:
        """Have the study's sampler choose a value."""
        if self.kind == "choice":
            return str(trial.suggest_categorical(self.key, self.choices))
        if self.kind == "int":
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return trial.suggest_int(
                self.key, low, high, log=self.log, step=1 if self.log else step
            )
        return trial.suggest_float(self.key, self.low, self.high, log=self.log, step=self.step)

    def values(self) -> list[Value] | None:
        """All values, where they can be counted; None for an interval of real numbers."""
        if self.kind == "choice":
            return list(self.choices)
        if self.kind == "int":
            return list(range(int(self.low), int(self.high) + 1, int(self.step or 1)))
        if self.step is None:
            return None
        count = round((self.high - self.low) / self.step) + 1
        return [round(self.low + index * self.step, 12) for index in range(count)]

    def ends(self) -> list[Value]:
        """The values that show whether the axis is right: each choice, or both bounds."""
        if self.kind == "choice":
            return list(self.choices)
        ends: list[Value] = [self.low, self.high]
        return [int(end) for end in ends] if self.kind == "int" else ends

    def __str__(self) -> str:
        if self.kind == "choice":
            text = f"choice({', '.join(self.choices)})"
        else:
            text = f"{'int' if self.kind == 'int' else 'interval'}({_shown(self.low)}, "
            text += f"{_shown(self.high)})"
            text = f"{text} in steps of {_shown(self.step)}" if self.step else text
            text = f"tag(log, {text})" if self.log else text
        return f"{text} when {self.when}" if self.when else text


class Space:
    """All axes of a search; an axis comes after the one that its condition names.

    Args:
        axes: The axes, in any order.

    Raises:
        UserError: If an axis is empty, is named twice, or has a condition on something that is not
            varied, on a value that does not occur, or in a circle.
    """

    def __init__(self, axes: Sequence[Axis]) -> None:
        keys = [axis.key for axis in axes]
        faults = [fault for axis in axes for fault in axis.faults()]
        faults += [
            UserError(f"{key} must be varied once, but is twice")
            for key in dict.fromkeys(keys)
            if keys.count(key) > 1
        ]
        for axis in axes:
            faults += _condition_faults(axis, axes)
        raise_together(faults)
        self.axes = _in_order(axes)

    def __iter__(self) -> Iterator[Axis]:
        return iter(self.axes)

    def suggest(self, trial: Trial) -> Params:
        """Sample a point; only axes that count there are asked for."""
        params: Params = {}
        for axis in self.axes:
            if axis.when is None or axis.when.holds(params):
                params[axis.key] = axis.suggest(trial)
        return params

    def words(self, params: Mapping[str, Value]) -> list[str]:
        """The overrides that make a point, in the order of the axes."""
        return [f"{axis.key}={params[axis.key]}" for axis in self.axes if axis.key in params]

    def corners(self) -> list[Params]:
        """Points that show every choice and every bound at least once."""
        first = self._complete({})
        points = [first]
        for axis in self.axes:
            chosen: Params = {}
            inner: Axis | None = axis
            while inner is not None and inner.when is not None:
                chosen[inner.when.key] = self._value(inner.when)
                inner = next(other for other in self.axes if other.key == inner.when.key)
            points += [self._complete({**chosen, axis.key: end}) for end in axis.ends()]
        return list({str(point): point for point in points}.values())

    def grid(self) -> list[Params]:
        """Every point, the last axis varying fastest.

        Raises:
            UserError: If an axis has no end of values.
        """
        raise_together(
            [
                UserError(
                    f"sweep.sampler=grid needs counted values, but {axis.key} is {axis}",
                    f"write {axis.key}=choice(...) or range(...), or take another sampler",
                )
                for axis in self.axes
                if axis.values() is None
            ]
        )
        points: dict[str, Params] = {}
        for combination in itertools.product(*(axis.values() or [] for axis in self.axes)):
            point: Params = {}
            for axis, value in zip(self.axes, combination, strict=True):
                if axis.when is None or axis.when.holds(point):
                    point[axis.key] = value
            points.setdefault(str(point), point)
        return list(points.values())

    def describe(self) -> dict[str, str]:
        """Each axis in words, to tell whether two spaces are the same."""
        return {axis.key: str(axis) for axis in sorted(self.axes, key=lambda axis: axis.key)}

    def _complete(self, chosen: Params) -> Params:
        """A point with these values, and the first of every other axis that counts."""
        point: Params = {}
        for axis in self.axes:
            if axis.key in chosen:
                point[axis.key] = chosen[axis.key]
            elif axis.when is None or axis.when.holds(point):
                point[axis.key] = axis.ends()[0]
        return point

    def _value(self, condition: Condition) -> Value:
        axis = next(axis for axis in self.axes if axis.key == condition.key)
        values = axis.values() or axis.ends()
        return next(value for value in values if str(value) in condition.values)


def read_conditions(written: Mapping[str, Any], axes: Sequence[Axis]) -> list[Axis]:
    """Give axes the conditions of `sweep.when`, such as `{scheduler.final: scheduler=cosine}`.

    Raises:
        UserError: If a condition is of another form, or names an axis that there is not.
    """
    faults, conditions = [], {}
    keys = [axis.key for axis in axes]
    for key, text in written.items():
        other, equals, values = str(text).partition("=")
        if key not in keys:
            faults.append(
                UserError(f"sweep.when names {key}, which is not varied", nearest(str(key), keys))
            )
        if not equals or not values:
            faults.append(
                UserError(
                    f"sweep.when.{key} must be KEY=VALUE or KEY=VALUE,VALUE, but is {text!r}",
                    f'try sweep.when={{{key}: "scheduler=cosine"}}',
                )
            )
        names = tuple(value.strip() for value in values.split(","))
        conditions[key] = Condition(other.strip(), names)
    raise_together(faults)
    return [replace(axis, when=conditions.get(axis.key)) for axis in axes]


def _condition_faults(axis: Axis, axes: Sequence[Axis]) -> Iterator[UserError]:
    condition = axis.when
    if condition is None:
        return
    other = next((one for one in axes if one.key == condition.key), None)
    if other is None or other is axis:
        yield UserError(
            f"sweep.when.{axis.key} must name another varied key, but names {condition.key}",
            "vary that one too, or leave the condition out",
        )
        return
    values = other.values()
    if values is None:
        yield UserError(f"sweep.when.{axis.key} must name a choice, but {condition.key} is {other}")
        return
    known = [str(value) for value in values]
    for value in condition.values:
        if value not in known:
            yield UserError(
                f"sweep.when.{axis.key} must name values of {condition.key}, but {value!r} is none",
                nearest(value, known),
            )


def _in_order(axes: Sequence[Axis]) -> list[Axis]:
    """The axes, each after the one that its condition names."""
    ordered: list[Axis] = []
    waiting = list(axes)
    while waiting:
        done = {axis.key for axis in ordered}
        ready = [axis for axis in waiting if axis.when is None or axis.when.key in done]
        if not ready:
            circle = ", ".join(axis.key for axis in waiting)
            raise UserError(f"sweep.when must not go in a circle, but does over {circle}")
        ordered += ready
        waiting = [axis for axis in waiting if axis not in ready]
    return ordered


def _shown(number: float) -> str:
    return f"{number:g}"
