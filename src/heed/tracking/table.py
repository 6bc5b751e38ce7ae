"""Tables for a terminal, for documents (markdown, LaTeX) and for programs (csv, jsonl)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from heed.errors import one_line

FORMATS = ("terminal", "markdown", "csv", "jsonl", "latex")
SUFFIXES = {"md": "markdown", "csv": "csv", "jsonl": "jsonl", "tex": "latex", "txt": "terminal"}
_GAP = "  "
_FOLDED = 200  # rows; folding thousands takes many seconds
_CODES = {"bold": "1", "dim": "2"}
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
            return "| " + " | ".join(texts) + " |\n"

        rule = ["---:" if name in self.right else "---" for name in self.columns]
        lines = [line([_for_markdown(name) for name in self.columns]), "|" + "|".join(rule) + "|\n"]
        for row in self.rows:
            texts = [_for_markdown(cell.text) for cell in row]
            bold = [f"**{t}**" if c.bold and t else t for t, c in zip(texts, row, strict=True)]
            lines.append(line(bold))
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
            texts = [_for_latex(one_line(cell.text)) for cell in row]
            bold = [f"\\textbf{{{t}}}" if c.bold else t for t, c in zip(texts, row, strict=True)]
            lines.append(line(bold))
        return "".join([*lines, "  \\bottomrule\n\\end{tabular}\n"])

    def _terminal(self, width: int | None, colour: bool) -> str:
        from rich.cells import cell_len

        lines = [self.columns, *([one_line(cell.text) for cell in row] for row in self.rows)]
        sizes = [max(map(cell_len, texts)) for texts in zip(*lines, strict=True)]
        needed = sum(sizes) + len(_GAP) * (len(sizes) - 1)
        if width is not None and needed > width and len(self.rows) <= _FOLDED:
            return self._folded(width, colour)
        styles = [["dim"] * len(sizes), *([_style(cell) for cell in row] for row in self.rows)]
        made = []
        for texts, line_styles in zip(lines, styles, strict=True):
            cells = []
            for name, text, style, size in zip(
                self.columns, texts, line_styles, sizes, strict=True
            ):
                space = " " * (size - cell_len(text))
                shown = f"\x1b[{_CODES[style]}m{text}\x1b[0m" if colour and style else text
                cells.append(space + shown if name in self.right else shown + space)
            made.append(_GAP.join(cells).rstrip() + "\n")
        return "".join(made)

    def _folded(self, width: int, colour: bool) -> str:
        """The table with cells of several lines, as wide as the terminal."""
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=None, pad_edge=False, header_style="dim")
        for name in self.columns:
            right = name in self.right
            table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*[Text(one_line(cell.text), style=_style(cell)) for cell in row])
        text = io.StringIO()
        console = Console(
            file=text, width=width, force_terminal=colour, highlight=False, emoji=False
        )
        console.print(table)
        return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def _style(cell: Cell) -> str:
    return "bold" if cell.bold else ""


def _for_csv(value: Any) -> Any:
    return "" if value is None else json.dumps(value) if isinstance(value, (dict, list)) else value


def _for_markdown(text: str) -> str:
    lines = [one_line(line) for line in text.splitlines()]
    return "<br>".join(lines).replace("\\", "\\\\").replace("|", "\\|")


def _for_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
