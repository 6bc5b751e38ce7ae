"""Whether ratios have fallen: results of now against the last recorded ones of the same machine.

    python benchmarks/guard.py [NEW] [--recorded docs/results] [--tolerance 0.15]

NEW (outputs/bench) and RECORDED are folders as `run.py` writes them. Files of the same name are of
the same suite and the same class of machine. A ratio that is worse than the recorded one by more
than the tolerance is named, and the exit code is 1; it is 2 where nothing could be compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Change(NamedTuple):
    """A ratio then and now.

    Attributes:
        suite, name: Which.
        then, now: Its values.
        worse: By how much it is worse, as a share; negative if it is better.
    """

    suite: str
    name: str
    then: float
    now: float
    worse: float


def changes(new: Path, recorded: Path) -> Iterator[Change]:
    """All ratios that are in both folders."""
    for path in sorted(new.glob("*.json")):
        before = recorded / path.name
        if not before.exists():
            continue
        then, now = (ratios(one) for one in (before, path))
        for name in then.keys() & now.keys():
            a, b = then[name]["value"], now[name]["value"]
            worse = a / b - 1 if then[name]["better"] == "higher" else b / a - 1
            yield Change(path.stem, name, a, b, worse)


def ratios(path: Path) -> dict[str, Any]:
    """Those of a file; none where it is of another form."""
    found = json.loads(path.read_text(encoding="utf-8"))
    kept = found.get("ratios", {}) if isinstance(found, dict) else {}
    return kept if isinstance(kept, dict) else {}


def main() -> int:
    """Print the table; 1 if some ratio fell."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0],
        epilog=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("new", nargs="?", type=Path, default=Path("outputs/bench"))
    parser.add_argument("--recorded", type=Path, default=Path("docs/results"))
    parser.add_argument("--tolerance", type=float, default=0.15, help="a share")
    asked = parser.parse_args()
    found = sorted(changes(asked.new, asked.recorded), key=lambda change: -change.worse)
    if not found:
        print(f"nothing in {asked.new} has a counterpart of this machine in {asked.recorded}")
        return 2
    print(f"{'then':>9} {'now':>9}  {'':<7} ratio")
    for change in found:
        fell = change.worse > asked.tolerance
        mark = "FELL" if fell else "better" if change.worse < -asked.tolerance else "same"
        print(f"{change.then:9.3f} {change.now:9.3f}  {mark:<7} {change.suite}: {change.name}")
    fallen = [change for change in found if change.worse > asked.tolerance]
    print(f"{len(fallen)} of {len(found)} ratios are worse by more than {asked.tolerance:.0%}")
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
