"""What a run logged over its steps, read from its metrics.csv."""

from __future__ import annotations

from pathlib import Path

from heed.errors import UserError
from heed.tracking.folder import METRICS
from heed.tracking.metrics_file import read_metrics

Curve = list[tuple[float, float]]


def read_curve(run_dir: Path, metric: str, along: str = "step") -> Curve:
    """The values of a metric over steps, or over another column; empty if it was not logged.

    Args:
        run_dir: The run folder.
        metric: A column of metrics.csv, such as "val/bleu".
        along: The column that says where on the way a value is. A row without it takes that of the
            row before.

    Raises:
        UserError: If the file is broken.
    """
    path = run_dir / METRICS
    if not path.is_file():
        return []
    curve: Curve = []
    place = 0.0
    try:
        for row in read_metrics(path):
            place = float(row.get(along) or place)
            if row.get(metric):
                curve.append((place, float(row[metric])))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is broken: {error}") from error
    return curve
