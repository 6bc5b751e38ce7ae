"""What a suite found: rows of figures, ratios between them, and how they are shown and kept."""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.machine import commit, describe, slug, versions

Better = Literal["higher", "lower"]


@dataclass
class Row:
    """One figure of one arm.

    Attributes:
        arm: What was measured.
        what: Which figure of it, for instance "tokens/s" or "ms a step".
        runs: Every measurement.
        x: Where on the horizontal axis it stands (a length, a size), if the suite has one.
    """

    arm: str
    what: str
    runs: list[float]
    x: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    @property
    def spread(self) -> float:
        """Half of the range of the runs, as a share of their median."""
        return (max(self.runs) - min(self.runs)) / 2 / abs(self.median) if self.median else 0.0


@dataclass
class Ratio:
    """A figure of Heed as a multiple of a peer's, which is what is compared between machines.

    Attributes:
        name: For instance "heed / transformers, tokens a second".
        value: The ratio.
        better: Whether a larger or a smaller one is better.
        reach: What it shall come to, where that is said.
    """

    name: str
    value: float
    better: Better = "higher"
    reach: float | None = None


@dataclass
class Result:
    """All that one suite found.

    Attributes:
        suite: Its name.
        title: A sentence that says what was measured.
        device: "cpu" or "cuda".
        rows: Figures.
        ratios: Between them.
        settings: What is needed to read them: sizes, precision, batch.
        notes: What was left out, and why.
    """

    suite: str
    title: str
    device: str = "cpu"
    rows: list[Row] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def row(self, arm: str, what: str, x: float | None = None) -> Row | None:
        """The figure of that name, at that place, if it was measured."""
        found = (row for row in self.rows if (row.arm, row.what, row.x) == (arm, what, x))
        return next(found, None)

    def compare(
        self,
        arm: str,
        peer: str,
        what: str,
        *,
        x: float | None = None,
        better: Better = "higher",
        reach: float | None = None,
    ) -> None:
        """Add the ratio of two arms' figures: the median over rounds, where both have as many."""
        own, other = self.row(arm, what, x), self.row(peer, what, x)
        if own is None or other is None:
            return
        if len(own.runs) == len(other.runs):
            value = statistics.median(a / b for a, b in zip(own.runs, other.runs, strict=True))
        else:
            value = own.median / other.median
        place = "" if x is None else f" at {x:,.0f}"
        self.ratios.append(Ratio(f"{arm} / {peer}, {what}{place}", value, better, reach))

    def table(self) -> str:
        """For people."""
        lines = ["", f"{self.suite}: {self.title}"]
        lines += [f"  {key}: {value}" for key, value in self.settings.items()]
        widest = max((len(row.arm) for row in self.rows), default=8)
        for row in self.rows:
            at = "" if row.x is None else f"{row.x:>12,.0f}"
            lines.append(
                f"  {row.arm:<{widest}}{at}  {shown(row.median):>12} {row.what:<22} "
                f"{len(row.runs)} runs, +-{row.spread:.0%}"
            )
        for ratio in self.ratios:
            reach = "" if ratio.reach is None else f"   (to reach: {shown(ratio.reach)})"
            lines.append(f"  {ratio.name}: {shown(ratio.value)}{reach}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def as_json(self) -> dict[str, Any]:
        """Plain values, with the machine and the versions."""
        machine = describe(self.device)
        return {
            "suite": self.suite,
            "title": self.title,
            "date": time.strftime("%Y-%m-%d"),
            "command": " ".join(["python", *sys.argv]),
            "commit": commit(),
            "class": slug(machine),
            "machine": machine,
            "versions": versions(),
            "settings": self.settings,
            "rows": [
                {"arm": r.arm, "what": r.what, "x": r.x, "median": r.median, "runs": r.runs}
                for r in self.rows
            ],
            "ratios": {
                r.name: {"value": r.value, "better": r.better, "reach": r.reach}
                for r in self.ratios
            },
            "notes": self.notes,
        }

    def write(self, to: Path) -> Path:
        """The figures and a plot, in files named by the suite and the class of the machine."""
        kept = self.as_json()
        to.mkdir(parents=True, exist_ok=True)
        path = to / f"{self.suite}-{kept['class']}.json"
        path.write_text(json.dumps(rounded(kept), indent=1) + "\n", encoding="utf-8")
        try:
            from harness.plots import plot
        except ImportError:
            return path
        plot(self, kept, path.with_suffix(".png"))
        return path


def shown(value: float) -> str:
    """A number as a person reads it."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def rounded(value: Any) -> Any:
    """Plain values with five digits that matter."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value
