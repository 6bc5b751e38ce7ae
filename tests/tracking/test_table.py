"""Tables in every format, with characters that each of them gives a meaning."""

from __future__ import annotations

import csv
import io
import json

import pytest

from heed.tracking.comparison_page import html_table
from heed.tracking.table import Cell, Table

TABLE = Table(
    ["system", "b_1"],
    [
        [Cell("a|b & <c>", "a|b & <c>"), Cell(1.5, "1.50 ± 0.10", bold=True)],
        [Cell([1, 2], "50% of $x^2$ \\ {y} ~"), Cell(None, "")],
    ],
    right={"b_1"},
)


def test_markdown() -> None:
    assert TABLE.render("markdown").splitlines() == [
        "| system | b_1 |",
        "|---|---:|",
        "| a\\|b & <c> | **1.50 ± 0.10** |",
        "| 50% of $x^2$ \\\\ {y} ~ |  |",
    ]


def test_csv_and_jsonl_hold_the_values() -> None:
    assert list(csv.reader(io.StringIO(TABLE.render("csv")))) == [
        *(["system", "b_1"], ["a|b & <c>", "1.5"], ["[1, 2]", ""]),
    ]
    assert [json.loads(line) for line in TABLE.render("jsonl").splitlines()] == [
        {"system": "a|b & <c>", "b_1": 1.5},
        {"system": [1, 2], "b_1": None},
    ]


def test_latex() -> None:
    lines = TABLE.render("latex").splitlines()
    assert lines[0] == "\\begin{tabular}{lr}"
    assert lines[2] == "  system & b\\_1 \\\\"
    assert lines[4] == ("  a|b \\& \\textless{}c\\textgreater{} & \\textbf{1.50 $\\pm$ 0.10} \\\\")
    assert lines[5] == (
        "  50\\% of \\$x\\textasciicircum{}2\\$ "
        "\\textbackslash{} \\{y\\} \\textasciitilde{} &  \\\\"
    )


def test_a_terminal_folds_and_prints_bold_where_it_can() -> None:
    plain = TABLE.render("terminal")
    assert plain.splitlines()[:2] == [
        "system                        b_1",
        "a|b & <c>             1.50 ± 0.10",
    ]
    assert "\x1b[1m" not in plain
    assert "\x1b[1m1.50 ± 0.10" in TABLE.render("terminal", width=80, colour=True)
    assert max(map(len, TABLE.render("terminal", width=24).splitlines())) <= 24


def test_what_a_terminal_would_obey_is_written_out() -> None:
    table = Table(["name"], [[Cell(1, "a\x1b[31m\nb\udcff")], [Cell(2, "größer 犬")]])
    assert table.render("terminal").splitlines()[1:] == ["a\\x1b[31m b\\udcff", "größer 犬"]
    assert "| a\\\\x1b[31m<br>b\\\\udcff |" in table.render("markdown")


def test_html_is_escaped() -> None:
    found = html_table(TABLE)
    assert "<td>a|b &amp; &lt;c&gt;</td>" in found
    assert '<td class="right"><strong>1.50 ± 0.10</strong></td>' in found


def test_an_unknown_format_is_a_defect() -> None:
    with pytest.raises(AssertionError):
        TABLE.render("xml")
