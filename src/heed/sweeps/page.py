"""The report of a study: one HTML page that needs nothing else, and its figures as PNG files."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.files import replacing
from heed.sweeps.figures import draw_all
from heed.sweeps.outcomes import best_trials, is_lost
from heed.sweeps.study_file import StudyFile

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

PAGE, FIGURES = "report.html", "report"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: 13px; }
th, td { text-align: left; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid #ddd;
  vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
tr.best { font-weight: 600; } tr.quiet { color: #777; }
pre { background: #f4f4f4; padding: .7rem; overflow-x: auto; white-space: pre-wrap; }
img { max-width: 100%; }
"""


def write_report(study: Any, about: StudyFile, folder: Path, commands: Sequence[str]) -> Path:
    """Draw the figures and write the page.

    Args:
        study: Optuna's study.
        about: The study's file.
        folder: The study folder; the page is its `report.html`, the figures are in `report/`.
        commands: What to type next: rerun the best trial, evaluate it.

    Returns:
        The page.
    """
    figures = folder / FIGURES
    figures.mkdir(exist_ok=True)
    drawn = draw_all(study, about.objectives, figures)
    trials = study.get_trials(deepcopy=False)
    parts = [
        f"<h1>Study {_text(about.study)}</h1>",
        f"<p>{_text(summary(trials))} Searched for "
        f"{_text(', '.join(str(objective) for objective in about.objectives))}; "
        f"begun {_text(about.started)}.</p>",
        "<h2>Space</h2>",
        _table(("key", "values"), [(key, text) for key, text in about.space.items()]),
        "<h2>Best</h2>",
        *_best(trials, about, commands),
        *(f"<h2>{_text(title)}</h2>\n{_image(path, title)}" for title, path in drawn.items()),
        "<h2>Trials</h2>",
        _trials(trials, about),
    ]
    page = folder / PAGE
    with replacing(page, "w") as file:
        file.write(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>Study {_text(about.study)}</title><style>{_STYLE}</style></head><body>\n"
        )
        file.write("\n".join(parts))
        file.write("\n</body></html>\n")
    return page


def summary(trials: Sequence[FrozenTrial]) -> str:
    """How many trials there are of each kind, in a sentence."""
    states = ["lost" if is_lost(trial) else trial.state.name for trial in trials]
    names = (
        *(("COMPLETE", "done"), ("PRUNED", "pruned"), ("FAIL", "failed"), ("RUNNING", "running")),
        *(("WAITING", "waiting"), ("lost", "lost and tried again")),
    )
    told = [f"{states.count(state)} {name}" for state, name in names if state in states]
    return f"{len(trials)} trials: {', '.join(told) or 'none'}."


def _best(
    trials: Sequence[FrozenTrial], about: StudyFile, commands: Sequence[str]
) -> Iterable[str]:
    best = best_trials(trials, about.objectives)
    if not best:
        yield "<p>No trial has come to its end.</p>"
        return
    names = [objective.name for objective in about.objectives]
    rows = [
        (str(trial.number), *(f"{value:.6g}" for value in trial.values), _words(trial))
        for trial in best
    ]
    yield _table(("trial", *names, "values"), rows)
    if commands:
        yield f"<pre>{_text(chr(10).join(commands))}</pre>"


def _trials(trials: Sequence[FrozenTrial], about: StudyFile) -> str:
    best = {trial.number for trial in best_trials(trials, about.objectives)}
    names = [objective.name for objective in about.objectives]
    head = ("trial", "ended as", *names, "values", "seconds", "folder", "why")
    lines = [f"<tr>{''.join(f'<th>{_text(name)}</th>' for name in head)}</tr>"]
    for trial in trials:
        values = [f"{value:.6g}" for value in trial.values or ()]
        values += [""] * (len(names) - len(values))
        took = f"{trial.duration.total_seconds():.0f}" if trial.duration else ""
        state = {"COMPLETE": "done", "FAIL": "failed"}.get(
            trial.state.name, trial.state.name.lower()
        )
        cells = [
            str(trial.number),
            "lost" if is_lost(trial) else state,
            *values,
            _words(trial),
            took,
        ]
        cells += [str(trial.user_attrs.get(key, "")) for key in ("run", "reason")]
        kind = "best" if trial.number in best else "" if trial.state.name == "COMPLETE" else "quiet"
        row = "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        lines.append(f'<tr class="{kind}">{row}</tr>')
    return f"<table>{chr(10).join(lines)}</table>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{_text(name)}</th>" for name in head)]
    lines += ["".join(f"<td>{_text(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _image(path: Path, title: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{_text(title)}" src="data:image/png;base64,{content}">'


def _words(trial: FrozenTrial) -> str:
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in trial.params.items()
    )


def _text(text: str) -> str:
    return html.escape(text)
