"""How the columns of somebody's file become the columns of a record.

A column is named by a path: `en`, `translation.en` (into an object), `answers.text` (into every
object of a list), or alternatives of which the first that a row has is taken: `summary|summary1`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from heed.errors import UserError, nearest

Column = str | list[str]


class Missing:
    """What `lookup` gives when a row has no such column; a null is None."""


MISSING = Missing()


def lookup(row: Mapping[str, Any], column: Column) -> Any:
    """The value of a column in a row.

    Args:
        row: A raw row.
        column: A path with alternatives, or a list of them.

    Returns:
        The value, None for a null, MISSING when no alternative is there. For a list of columns the
        list of those values that are there and not null, MISSING when none is.
    """
    if isinstance(column, list):
        values = [lookup(row, one) for one in column]
        found = [value for value in values if value is not MISSING and value is not None]
        return found or MISSING
    if column in row:
        return row[column]
    for path in column.split("|"):
        value = _walk(row, path)
        if value is not MISSING:
            return value
    return MISSING


def _walk(value: Any, path: str) -> Any:
    if isinstance(value, Mapping) and path in value:
        return value[path]
    first, dot, rest = path.partition(".")
    if not dot or not isinstance(value, Mapping) or first not in value:
        return MISSING
    inner = value[first]
    if isinstance(inner, list):
        values = [_walk(one, rest) for one in inner]
        return MISSING if any(one is MISSING for one in values) else values
    return _walk(inner, rest)


def column_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every path that the rows have, by first appearance; `translation.en`, not `translation`."""
    names: dict[str, None] = {}
    for row in rows:
        for name, value in row.items():
            inner = value[0] if isinstance(value, list) and value else value
            if isinstance(inner, Mapping) and inner:
                names.update(dict.fromkeys(f"{name}.{key}" for key in inner))
            else:
                names[str(name)] = None
    return list(names)


def resolve_columns(
    columns: Mapping[str, Column],
    *,
    required: Sequence[str],
    guesses: Mapping[str, Sequence[str]],
    rows: Sequence[Mapping[str, Any]],
    where: str,
) -> dict[str, Column]:
    """Which column of the data gives each column of the record, checked against real rows.

    Args:
        columns: The user's choice, record column -> data column; what it lacks is guessed.
        required: Record columns that must be found.
        guesses: The usual names of each record column, best first; its keys are all there are.
        rows: The first rows of the data.
        where: The file or split, for the message.

    Raises:
        UserError: If a key is no record column, or a column that is required or named is not in any
            of the rows. A list of columns stands for those of them that are there, be it none.
    """
    for name in columns:
        if name not in guesses:
            raise UserError(
                f"data.columns.{name} must be a column of the record ({', '.join(guesses)}), "
                "but there is no such one",
                nearest(name, guesses),
            )
    resolved: dict[str, Column] = {}
    for name, usual in guesses.items():
        chosen = columns.get(name)
        inner = [one for one in usual if one.startswith(f"{name}.")]
        choices = [chosen] if chosen else [*inner, name, *usual]
        there = [choice for choice in choices if any(_has(row, choice) for row in rows)]
        # An empty list has any path into its entries, so it tells nothing of what they are.
        told = [choice for choice in there if any(_holds(row, choice) for row in rows)]
        present = next(iter(told or there), None)
        if present is not None:
            resolved[name] = present
        elif rows and (name in required or isinstance(chosen, str)):
            raise _not_found(name, chosen, column_names(rows), where)
    return resolved


def _has(row: Mapping[str, Any], column: Column) -> bool:
    return lookup(row, column) is not MISSING


def _holds(row: Mapping[str, Any], column: Column) -> bool:
    value = lookup(row, column)
    return value not in (MISSING, None, "", []) and not isinstance(value, Mapping)


def _not_found(name: str, chosen: Column | None, found: list[str], where: str) -> UserError:
    shown = ", ".join(found) or "none"
    if chosen is None:
        return UserError(
            f"data.columns.{name} must name the column of {where} that holds the {name}, "
            f"but none is named and none has a usual name (columns found: {shown})",
            f"add data.columns.{name}=" + (found[0] if len(found) == 1 else "COLUMN"),
        )
    asked = chosen if isinstance(chosen, str) else ", ".join(chosen)
    return UserError(
        f"data.columns.{name} must name a column of {where}, but is {asked!r} "
        f"(columns found: {shown})",
        nearest(asked.split("|")[0], found),
    )
