"""What a search shows while it runs and when it has ended."""

from __future__ import annotations

import datetime
import shlex
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from heed.commands.search_commands import next_commands
from heed.commands.summary import shown_path
from heed.sweeps.outcomes import best_trials, counts
from heed.sweeps.study import Study
from heed.sweeps.study_file import StudyFile, words_of

if TYPE_CHECKING:
    from heed.commands.search_slot import Slot
    from heed.sweeps.study import FrozenTrial

REFRESH_SECONDS = 1.0
ROWS = 12


class Display:
    """A live table on a terminal, plain lines anywhere else.

    Args:
        study: The study.
        slots: The trials that run now, a list that its owner changes.
    """

    def __init__(self, study: Study, slots: Sequence[Slot]) -> None:
        from rich.console import Console

        self.study = study
        self.slots = slots
        self.console = Console(highlight=False, soft_wrap=True)
        self._live: Any = None
        self._drawn = 0.0
        self._began: dict[int, float] = {}
        self._took: list[float] = []
        self._started = time.monotonic()

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self.console, auto_refresh=False)
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self.refresh(at_once=True)
            self._live.__exit__(kind, error, trace)
            self._live = None

    def line(self, text: str) -> None:
        """Say one thing."""
        self.console.print(text, markup=False)

    def opening(self) -> None:
        """Say what is searched for, and where."""
        settings, there = self.study.settings, self.study.trials()
        goal = ", ".join(str(objective) for objective in settings.objectives)
        self.line(f"study {settings.study_name}: {goal}")
        for axis in self.study.space:
            self.line(f"  {axis.key} = {axis}")
        self.line(f"  in {shown_path(self.study.folder)}")
        if there:
            states = [trial.state.name.lower() for trial in there]
            told = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
            self.line(f"  goes on after {len(there)} trials: {told}")

    def begun(self, slot: Slot) -> None:
        """A trial has begun."""
        self._began[slot.number] = time.monotonic()
        if self._live is None:
            self.line(f"[{slot.number}] {' '.join(self.study.space.words(slot.params))}")

    def ended(self, slot: Slot) -> None:
        """A trial has ended, and the study knows how."""
        seconds = time.monotonic() - self._began[slot.number]
        self._took.append(seconds)
        trials = self.study.trials()
        trial = trials[slot.number]
        if self._live is None or trial.state.name == "FAIL":
            best = "" if trial.state.name != "COMPLETE" else self._best_words(trials)
            self.line(f"[{slot.number}] {outcome(trial)} in {seconds:.1f} s{best}")
        self.refresh(at_once=True)

    def refresh(self, *, at_once: bool = False) -> None:
        """Draw the table again, if its time has come."""
        if self._live is None or (not at_once and time.monotonic() - self._drawn < REFRESH_SECONDS):
            return
        self._drawn = time.monotonic()
        self._live.update(self._table(), refresh=True)

    def closing(self, reason: str) -> None:
        """Say how the search has ended, what is best, and what to type next."""
        trials, folder = self.study.trials(), self.study.folder
        for line in closing_lines(trials, self.study.settings, folder, reason):
            self.line(line)

    def _best_words(self, trials: Sequence[FrozenTrial]) -> str:
        objectives = self.study.settings.objectives
        best = best_trials(trials, objectives)
        if len(objectives) > 1:
            return f"; {len(best)} trade-offs so far"
        return f"; best: {best[0].values[0]:.6g} of trial {best[0].number}"

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        trials, settings = self.study.trials(), self.study.settings
        states = [trial.state.name for trial in trials if counts(trial)]
        table = Table(title=f"study {settings.study_name}", title_justify="left")
        for column in ("trial", "state", settings.objectives[0].name, "point", "time"):
            table.add_column(column, overflow="fold")
        best = best_trials(trials, settings.objectives)
        here = {slot.number for slot in self.slots}
        rows = [(trial, "bold green", "best") for trial in best[:3]]
        rows += [(trial, "", "") for trial in trials[-ROWS:] if trial not in best[:3]]
        for trial, style, name in rows:
            began = self._began.get(trial.number)
            seconds = (
                time.monotonic() - began
                if began is not None and trial.number in here
                else trial.duration.total_seconds()
                if trial.duration is not None
                else 0.0
            )
            table.add_row(
                str(trial.number),
                name or trial.state.name.lower(),
                _value(trial),
                Text(" ".join(words_of(trial.params))),
                str(datetime.timedelta(seconds=round(seconds))),
                style=style,
            )
        names = (("COMPLETE", "done"), ("RUNNING", "running"), ("PRUNED", "pruned"))
        told = [f"{states.count(state)} {name}" for state, name in (*names, ("FAIL", "failed"))]
        table.caption = ", ".join([*told, *self._left(states)])
        return table

    def _left(self, states: list[str]) -> list[str]:
        """How many trials are left, and about how long they take."""
        settings = self.study.settings
        if settings.n_trials is None:
            return []
        ended = len([state for state in states if state not in ("RUNNING", "WAITING")])
        left = max(0, settings.n_trials - ended)
        if not self._took:
            return [f"{left} left"]
        seconds = left * sum(self._took) / len(self._took) / max(1, settings.jobs)
        if settings.timeout is not None:
            spent = time.monotonic() - self._started
            seconds = min(seconds, max(0.0, settings.timeout * 3600 - spent))
        return [f"{left} left, about {datetime.timedelta(seconds=round(seconds))}"]


def outcome(trial: FrozenTrial) -> str:
    """How a trial has ended, in words."""
    if trial.state.name == "COMPLETE":
        return ", ".join(f"{value:.6g}" for value in trial.values)
    reason = trial.user_attrs.get("reason")
    if trial.state.name == "PRUNED":
        return f"pruned: {reason}"
    if trial.state.name == "FAIL":
        return f"failed: {reason}" if reason else "lost with its process"
    return trial.state.name.lower()


def closing_lines(
    trials: Sequence[FrozenTrial], settings: Any, folder: Any, reason: str
) -> list[str]:
    """The summary of a study: counts, the best, and what to type next."""
    about = StudyFile.read(folder)
    states = [trial.state.name for trial in trials if counts(trial)]
    names = (("COMPLETE", "done"), ("PRUNED", "pruned"), ("FAIL", "failed"), ("RUNNING", "running"))
    told = ", ".join(f"{states.count(state)} {name}" for state, name in names if state in states)
    lines = ["", f"{len(states)} trials: {told or 'none'}" + (f" ({reason})" if reason else "")]
    best = best_trials(trials, settings.objectives)
    goal = ", ".join(objective.name for objective in settings.objectives)
    for trial in best[:10]:
        value = ", ".join(f"{value:.6g}" for value in trial.values)
        lines.append(
            f"best  {goal} {value}  trial {trial.number}: {' '.join(words_of(trial.params))}"
        )
    study = shlex.quote(shown_path(folder))
    following = [*next_commands(trials, about, folder), f"heed report study={study}"]
    return [*lines, "", "Next:", *(f"  {line}" for line in following)]


def _value(trial: FrozenTrial) -> str:
    if trial.values:
        return f"{trial.values[0]:.6g}"
    steps = trial.intermediate_values
    return f"{steps[max(steps)]:.6g}" if steps else ""
