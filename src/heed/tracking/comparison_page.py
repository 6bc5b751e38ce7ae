"""A comparison as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape

from heed.errors import one_line
from heed.tracking.comparison import Comparison
from heed.tracking.comparison_tables import shown_table
from heed.tracking.table import Table

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: 0.3em 0.8em; text-align: left; border-bottom: 1px solid #ddd; }}
th.right, td.right {{ text-align: right; font-variant-numeric: tabular-nums; }}
img {{ max-width: 100%; }}
code {{ background: #f4f4f4; padding: 0.1em 0.3em; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def comparison_page(made: Comparison, pictures: Mapping[str, bytes], command: str) -> str:
    """The page.

    Args:
        made: The comparison.
        pictures: Title -> PNG.
        command: What was typed.
    """
    parts = [f"<p><code>{escape(command)}</code></p>", html_table(shown_table(made))]
    if made.notes:
        parts.append("<ul>" + "".join(f"<li>{escape(note)}</li>" for note in made.notes) + "</ul>")
    for title, png in pictures.items():
        data = base64.b64encode(png).decode("ascii")
        image = f'<img alt="{escape(title)}" src="data:image/png;base64,{data}">'
        parts.append(f"<h2>{escape(title)}</h2>\n{image}")
    parts.append("<h2>Runs</h2>")
    for group in made.groups:
        folders = "".join(f"<li><code>{escape(run.folder)}</code></li>" for run in group.runs)
        parts.append(f"<p>{escape(group.label)}</p><ul>{folders}</ul>")
    return _PAGE.format(title="Comparison", body="\n".join(parts))


def html_table(table: Table) -> str:
    """A table as HTML."""
    kinds = [' class="right"' if name in table.right else "" for name in table.columns]
    head = "".join(
        f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, table.columns, strict=True)
    )
    lines = [f"<table>\n<tr>{head}</tr>"]
    for row in table.rows:
        cells = []
        for kind, cell in zip(kinds, row, strict=True):
            text = escape(one_line(cell.text))
            cells.append(f"<td{kind}>{f'<strong>{text}</strong>' if cell.bold else text}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</table>"])
