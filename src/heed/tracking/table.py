"""Tables for a terminal, for documents (markdown, LaTeX) and for programs (csv, jsonl)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FORMATS = ("terminal", "markdown", "csv", "jsonl", "latex")
SUFFIXES = {"md": "markdown", "csv": "csv", "jsonl": "jsonl", "tex": "latex", "txt": "terminal"}
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"±": r"$\pm$", "<": r"\textless{}", ">": r"\textgreater{}"},
}


@dataclass(frozen=True)
class Cell:
    """One value: as programs want it, as people read it, and whether it stands out."""

    value: Any
    text: str = ""
    bold: bool = False


@dataclass
class Table:
    """Rows of cells under named columns.

    Attributes:
        columns: Their names.
        rows: As many cells each as there are columns.
        right: Columns whose cells line up at the right, such as numbers.
    """

    columns: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    right: set[str] = field(default_factory=set)

    def render(self, kind: str, *, width: int | None = None, colour: bool = False) -> str:
        """The table as text that ends with a line break.

        Args:
            kind: One of `FORMATS`.
            width: Characters of a terminal's line; None does not fold anything.
            colour: Whether "terminal" may use bold type.
        """
        if kind == "markdown":
            return self._markdown()
        if kind == "csv":
            return self._csv()
        if kind == "jsonl":
            return self._jsonl()
        if kind == "latex":
            return self._latex()
        assert kind == "terminal", f"there is no format {kind!r}"
        return self._terminal(width, colour)

    def _markdown(self) -> str:
        def line(texts: Sequence[str]) -> str:
            return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |\n"

        rule = ["---:" if name in self.right else "---" for name in self.columns]
        lines = [line(self.columns), "|" + "|".join(rule) + "|\n"]
        for row in self.rows:
            lines.append(line([f"**{c.text}**" if c.bold and c.text else c.text for c in row]))
        return "".join(lines)

    def _csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow([_for_csv(cell.value) for cell in row])
        return text.getvalue()

    def _jsonl(self) -> str:
        rows = [dict(zip(self.columns, [c.value for c in row], strict=True)) for row in self.rows]
        return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)

    def _latex(self) -> str:
        def line(texts: Sequence[str]) -> str:
            return "  " + " & ".join(texts) + " \\\\\n"

        kinds = "".join("r" if name in self.right else "l" for name in self.columns)
        lines = [f"\\begin{{tabular}}{{{kinds}}}\n  \\toprule\n"]
        lines += [line([_for_latex(name) for name in self.columns]), "  \\midrule\n"]
        for row in self.rows:
            texts = [_for_latex(cell.text) for cell in row]
            bold = [f"\\textbf{{{t}}}" if c.bold else t for t, c in zip(texts, row, strict=True)]
            lines.append(line(bold))
        return "".join([*lines, "  \\bottomrule\n\\end{tabular}\n"])

    def _terminal(self, width: int | None, colour: bool) -> str:
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=None, pad_edge=False, header_style="dim")
        for name in self.columns:
            right = name in self.right
            table.add_column(
                Text(name), justify="right" if right else "left", overflow="fold", no_wrap=right
            )
        for row in self.rows:
            table.add_row(*[Text(c.text, style="bold" if c.bold else "") for c in row])
        text = io.StringIO()
        console = Console(
            file=text, width=width or 10_000, force_terminal=colour, highlight=False, emoji=False
        )
        console.print(table)
        return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def _for_csv(value: Any) -> Any:
    return "" if value is None else json.dumps(value) if isinstance(value, (dict, list)) else value


def _for_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
