"""The errors users see: what is wrong, what it must be, and what to type instead.

A mistake in what somebody typed or gave (a key, a value, a file, a row) is a `UserError`: it is
printed without a traceback and ends the command with exit code 2. A run that cannot go on for a
reason that words tell better than a traceback is a `RunFailed`, exit code 1. Anything else is a
defect or an accident of the machine and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USER = 2
EXIT_INTERRUPTED = 130
EXIT_STOPPED = 143


class UserError(Exception):
    """One mistake of the user's, in the form "KEY must be RULE, but is VALUE".

    Args:
        problem: What is wrong, naming the key, file or row, its value and the rule.
        remedy: What to type or do instead; empty when the problem says it already.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        problem, remedy = printable(problem), printable(remedy)
        super().__init__(problem if not remedy else f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


def printable(text: str) -> str:
    """The text with halves of surrogate pairs written out, since no file or terminal takes them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str) -> str:
    """The text on one line; what a terminal would obey is written out."""
    if text.isprintable():
        return text
    return "".join(
        one
        if one.isprintable()
        else " "
        if one.isspace()
        else one.encode("unicode_escape").decode()
        for one in text
    )


class RunFailed(Exception):
    """A run that cannot go on, though nobody typed anything wrong: numbers or memory ran out.

    It is printed without a traceback and ends the command with exit code 1.

    Args:
        problem: What happened, at which step, with the numbers that tell.
        remedy: What to type or look at next, one advice a line.
        cause: Two or three words for the run record, such as "out of memory".
    """

    def __init__(self, problem: str, remedy: str = "", *, cause: str = "") -> None:
        super().__init__(problem if not remedy else f"{problem}\n{remedy}")
        self.problem = problem
        self.remedy = remedy
        self.cause = cause


class UserErrors(UserError):
    """Several mistakes found together, so that one look mends them all.

    Args:
        errors: The mistakes; at least one.
    """

    def __init__(self, errors: Sequence[UserError]) -> None:
        assert errors, "UserErrors needs at least one error"
        self.errors = list(errors)
        super().__init__("\n".join(str(error) for error in errors))


def raise_together(errors: Sequence[UserError]) -> None:
    """Raise nothing, the one error, or all of them as one.

    Raises:
        UserError: If there is one.
        UserErrors: If there are several.
    """
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise UserErrors(errors)


def nearest(name: str, valid: Iterable[str], *, most: int = 12) -> str:
    """The remedy for a misspelt name: the closest valid one, or else the valid ones."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"choose one of: {shown}" if names else "there is nothing to choose from"
