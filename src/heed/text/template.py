"""Which special tokens stand around what a model reads and writes, as its makers had it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from heed.errors import UserError
from heed.text.special import ROLES

FIRST, SECOND = "A", "B"
"""Where the text, or the first and the second text, come in a row."""


class Template(NamedTuple):
    """Rows as roles of special tokens, with "A" (and "B") in the place of the texts.

    Attributes:
        text: One text, read for its own sake: BERT's [CLS] A [SEP].
        pair: Two texts, such as a question and a passage.
        source: What another text is written from.
        target: What is written. All that comes before "A" is given to the decoder, the rest is
            written by it: BART starts with eos and bos.
        joined: Source and target in one row, for a decoder on its own. Between them is at least a
            token, the last of which stands for what "target" has before "A".
    """

    text: tuple[str, ...] = ("cls", FIRST, "eos")
    pair: tuple[str, ...] = ("cls", FIRST, "sep", SECOND, "eos")
    source: tuple[str, ...] = (FIRST, "eos")
    target: tuple[str, ...] = ("bos", FIRST, "eos")
    joined: tuple[str, ...] = ("bos", FIRST, "sep", SECOND, "eos")

    @classmethod
    def read(cls, given: Mapping[str, Any], *, name: str) -> Template:
        """A template from plain lists of roles by kind of row; kinds left out are the usual ones.

        Raises:
            UserError: If there is no such kind or role, or a text is not once in its row.
        """
        for row, roles in given.items():
            if row not in cls._fields:
                raise UserError(f"the template of {name} must be of {cls._fields}, not {row!r}")
            texts = [FIRST, SECOND] if row in ("pair", "joined") else [FIRST]
            if not isinstance(roles, Sequence) or isinstance(roles, str):
                raise UserError(f"the template {row} of {name} must be a list, but is {roles!r}")
            strange = [role for role in roles if role not in (*ROLES, *texts)]
            if strange or [role for role in roles if role in texts] != texts:
                raise UserError(
                    f"the template {row} of {name} must be roles of special tokens "
                    f"({', '.join(ROLES)}) around {' and '.join(texts)}, but is {list(roles)}"
                )
        return cls(**{row: tuple(roles) for row, roles in given.items()})

    def plain(self) -> dict[str, list[str]]:
        """What `read` reads."""
        return {row: list(roles) for row, roles in self._asdict().items()}


@dataclass(frozen=True)
class Around:
    """The ids before, between and after the texts of a row."""

    before: list[int]
    between: list[int]
    after: list[int]

    @property
    def special(self) -> int:
        """How many special tokens a row has."""
        return len(self.before) + len(self.between) + len(self.after)

    @classmethod
    def of(cls, roles: Sequence[str], ids: Mapping[str, int]) -> Around:
        """The ids of a row's special tokens, by the roles of its template."""
        parts: list[list[int]] = [[]]
        for role in roles:
            if role in (FIRST, SECOND):
                parts.append([])
            else:
                parts[-1].append(ids[role])
        between = [token for part in parts[1:-1] for token in part]
        return cls(parts[0], between, parts[-1])
