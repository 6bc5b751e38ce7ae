"""Figures against a length: how fast they grow, and a plot."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any


def slope(points: list[tuple[int, float]]) -> float | None:
    """The exponent of the length, by least squares; None for fewer than three points."""
    if len(points) < 3 or any(y <= 0 for _, y in points):
        return None
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    x, y = statistics.mean(xs), statistics.mean(ys)
    over = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
    return over / sum((a - x) ** 2 for a in xs)


def slopes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each arm and quantity, the exponents over all lengths and from 2,048 on."""
    found = []
    for name in dict.fromkeys(row["arm"] for row in rows):
        for what in ("step_s", "forward_s", "peak_mib"):
            points = [(row["length"], row[what]) for row in rows if row["arm"] == name]
            ends = slope(points), slope([point for point in points if point[0] >= 2048])
            found.append({"arm": name, "what": what, "all": ends[0], "from_2048": ends[1]})
    return found


def plot(rows: list[dict[str, Any]], title: str, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2))
    labels = {"step_s": "training step (s)", "forward_s": "forward (s)", "peak_mib": "peak (MiB)"}
    for ax, (what, label) in zip(axes, labels.items(), strict=True):
        for name in dict.fromkeys(row["arm"] for row in rows):
            points = [(row["length"], row[what]) for row in rows if row["arm"] == name]
            ax.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=name)
        ax.set_xlabel("tokens")
        ax.set_title(label)
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
