"""Results as pictures: bars for arms, lines where there is something to be plotted against."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from harness.results import Result

OWN, PEER = "#0b7285", "#adb5bd"


def plot(result: Result, kept: dict[str, Any], file: Path) -> None:
    """One panel a figure."""
    whats = list(dict.fromkeys(row.what for row in result.rows))
    if not whats:
        return
    arms = len(dict.fromkeys(row.arm for row in result.rows))
    figure, axes = plt.subplots(
        1,
        len(whats),
        figsize=(max(6.5, 5.0 * len(whats)), 1.7 + 0.36 * max(arms, 5)),
        squeeze=False,
    )
    for ax, what in zip(axes[0], whats, strict=True):
        rows = [row for row in result.rows if row.what == what]
        (_lines if any(row.x is not None for row in rows) else _bars)(ax, rows)
        ax.set_title(what, fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
    machine = kept["machine"]
    where = machine.get("gpu") or f"{machine['cpu']}, {machine['threads']} threads"
    title = textwrap.fill(f"{result.title} ({where}, torch {kept['versions']['torch']})", 90)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _bars(ax: Any, rows: list[Any]) -> None:
    """A bar an arm with its runs as dots, the first arm on top."""
    for place, row in enumerate(reversed(rows)):
        color = OWN if row.arm.lower().startswith("heed") else PEER
        ax.barh(place, row.median, color=color, height=0.7)
        ax.plot(row.runs, [place] * len(row.runs), "k.", markersize=2.5, alpha=0.6)
        label = f" {row.median:,.0f}" if row.median >= 100 else f" {row.median:.3g}"
        ax.text(max(*row.runs, row.median), place, label, va="center", fontsize=8)
    ax.set_yticks(range(len(rows)), [row.arm for row in reversed(rows)], fontsize=8)
    ax.margins(x=0.18)


def _lines(ax: Any, rows: list[Any]) -> None:
    for arm in dict.fromkeys(row.arm for row in rows):
        own = sorted((row.x, row.median) for row in rows if row.arm == arm and row.x is not None)
        ax.loglog(*zip(*own, strict=True), marker="o", markersize=3, label=arm)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=7)
