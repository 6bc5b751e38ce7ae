"""The course of a search: trials begun, their reports answered, their ends told to the study."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from heed.commands.search_display import Display
from heed.commands.search_slot import Slot, death, left_over, wait_until_free
from heed.commands.slurm_trials import SlurmTrials
from heed.commands.summary import shown_path
from heed.commands.trial_configs import TrialConfigs
from heed.commands.trials import GRACE_SECONDS, Trials
from heed.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_STOPPED, EXIT_USER, UserError
from heed.sweeps.objective import values_of
from heed.sweeps.outcomes import stale_trials
from heed.sweeps.storage import HEARTBEAT_SECONDS
from heed.sweeps.study import Study
from heed.sweeps.study_file import trial_folder
from heed.tracking.folder import LOGS
from heed.tracking.record import RunRecord
from heed.training.mailbox import Mailbox

POLL_SECONDS = 0.01
ASK_SECONDS = 1.0  # between two questions to the storage for a trial, after it had none
LOST_SECONDS = 15.0  # between two looks for trials whose process has gone
LOG = f"{LOGS}/trial.log"


class SearchLoop:
    """Runs trials until a budget is spent, somebody stops it, or too many fail.

    Args:
        study: The study.
        configs: Makes the config of a trial.
        trials: Runs them.
    """

    def __init__(self, study: Study, configs: TrialConfigs, trials: Trials | SlurmTrials) -> None:
        self.study = study
        self.settings = study.settings
        self.configs = configs
        self.trials = trials
        self.slots: list[Slot] = []
        self.display = Display(study, self.slots)
        self._began = time.monotonic()
        self._looked = self._beat = 0.0
        self._asks_again = 0.0  # when the storage is next asked for a trial
        self._failures = 0
        self._signals: list[int] = []
        self._fatal: UserError | None = None
        self._ending = ""  # why no trial is begun any more

    def run(self) -> int:
        """Search; returns the exit code.

        Raises:
            UserError: If the first trial shows that the config or an objective is wrong.
            RunFailed: If the storage fails.
        """
        with self._listening(), self.display:
            self.display.opening()
            self._take_over()
            try:
                self._course()
            except BaseException:
                self._stop_all(signal.SIGINT)
                raise
        self.display.closing(self._ending)
        if self._fatal is not None:
            raise self._fatal
        if self._signals:
            return EXIT_INTERRUPTED if self._signals[0] == signal.SIGINT else EXIT_STOPPED
        done = any(trial.state.name == "COMPLETE" for trial in self.study.trials())
        return EXIT_DONE if done and not self._too_many else EXIT_FAILED

    # The loop ------------------------------------------------------------------------------------

    def _course(self) -> None:
        while True:
            self.trials.poll()
            for slot in list(self.slots):
                self._attend(slot)
            if self._signals:
                self._ending = "stopped; the same command goes on"
                self._stop_all(self._signals[0])
                return
            self._fill_slots()
            if not self.slots and self._ending:
                return
            self._look_after_others()
            self.display.refresh()
            time.sleep(POLL_SECONDS)

    def _fill_slots(self) -> None:
        """Begin trials in all free places, as long as there are any to begin.

        When there are none, the last trials are still running, here or elsewhere. One that ends
        here is asked about at once; whatever others do, after a while.
        """
        while len(self.slots) < self.settings.jobs and self._may_begin():
            if self.slots and time.monotonic() < self._asks_again:
                return
            if not self._begin():
                self._asks_again = time.monotonic() + ASK_SECONDS
                return

    def _attend(self, slot: Slot) -> None:
        """Answer a trial's reports, and see whether its run has ended."""
        running, mailbox = slot.running, slot.mailbox
        assert running is not None
        if mailbox is not None:
            for report in mailbox.reports():
                self.study.report_rungs(slot.number, report.tokens, report.value)
                prune = self.study.should_prune(slot.number)
                reason = f"stopped early at {report.tokens:,} tokens" if prune else ""
                mailbox.answer(report.number, prune=prune, reason=reason)
        hours = self.settings.trial_timeout
        if hours is not None and time.monotonic() - running.started > hours * 3600:
            if not slot.killed:
                slot.killed = f"ran longer than sweep.trial_timeout={hours:g} hours"
                self.trials.stop(running, signal.SIGTERM)
            self.trials.press(running)
        if running.code is not None:
            self._end_run(slot, running.code, running.why)

    def _may_begin(self) -> bool:
        settings = self.settings
        if self._ending:
            return False
        hours = (time.monotonic() - self._began) / 3600
        if settings.timeout is not None and hours >= settings.timeout:
            self._ending = f"sweep.timeout={settings.timeout:g} hours are over"
        elif settings.patience is not None:
            stale = stale_trials(self.study.trials(), settings.objectives)
            if stale >= settings.patience:
                self._ending = f"no better trial among the last {stale}"
        return not self._ending

    # A trial -------------------------------------------------------------------------------------

    def _begin(self) -> bool:
        """Begin a trial; False if there is none to begin."""
        self.study.retry_lost()
        asked = self.study.ask()
        if asked is None:
            if not self.slots:
                self._look_after_others(at_once=True)
                self.study.retry_lost()
                asked = self.study.ask()
            if asked is None:
                if not self.slots:
                    self._ending = "all trials have been run"
                return False
        number, params = asked
        lost = self.study.trials()[number].user_attrs.get("lost_run")
        name = lost if isinstance(lost, str) else trial_folder(number)
        taken = {slot.place for slot in self.slots}
        place = next(place for place in range(self.settings.jobs) if place not in taken)
        seeds: list[int | None] = [None] if self.settings.seeds is None else [*self.settings.seeds]
        slot = Slot(number, params, self.study.folder / name, seeds, place)
        self.study.note(number, run=name)
        self.slots.append(slot)
        self.display.begun(slot)
        self._begin_run(slot)
        return True

    def _begin_run(self, slot: Slot) -> None:
        """Begin the run of a trial's next seed, or go on with what is left of it."""
        run_dir, first = slot.run_dir, not slot.values
        record = left_over(run_dir)
        if record is not None and record.fields["status"] == "done":
            self._take_values(slot, record)  # it ended, but nobody told the study
            return
        if record is not None and record.fields["status"] == "pruned":
            self.study.prune(slot.number, str(record.fields["reason"]))
            self._close(slot)
            return
        trial = {"study": self.settings.study_name, "number": slot.number}
        prunes = self.settings.prunes_runs and first
        words = self.configs.words(slot.params, slot.seed)
        request: dict[str, Any] = {
            "overrides": words,
            "trial": trial,
            "argv": ["heed", "train", *words],
            "log": str(run_dir / LOG),
            "slot": slot.place,
            "jobs": self.settings.jobs,
        }
        try:
            config = self.configs.make(slot.params, slot.seed, prunes=prunes)
            if record is None:
                shutil.rmtree(run_dir, ignore_errors=True)  # of a run that had not begun
                run_dir.mkdir(parents=True)
            else:
                if isinstance(self.trials, Trials):
                    wait_until_free(run_dir)
                    record.fields["trial"] = trial
                    record.save()
                request["resume"] = str(run_dir)
            config["paths"]["run_dir"] = str(run_dir)
        except (UserError, OSError) as error:
            self._fail(slot, str(error))
            return
        slot.mailbox = Mailbox(run_dir) if prunes else None
        if slot.mailbox is not None:
            slot.mailbox.open()
        slot.running = self.trials.start(run_dir, {**request, "config": config})

    def _end_run(self, slot: Slot, code: int, why: str = "") -> None:
        """Read how a run has ended from its record."""
        if slot.mailbox is not None:
            slot.mailbox.close()
        record = left_over(slot.run_dir)
        status = record.fields["status"] if record is not None else "running"
        reason = str(record.fields.get("reason") or status) if record is not None else ""
        if status in ("running", "queued"):
            reason = why or death(code, shown_path(slot.run_dir / LOG))
            if record is not None:
                record.fields["status"] = "running"  # a queued one may have died before it began
                record.finish("failed", slot.killed or reason)
        if slot.killed and status != "done":
            self._fail(slot, slot.killed)
        elif status == "done":
            assert record is not None
            self._take_values(slot, record)
        elif status == "pruned":
            self.study.prune(slot.number, reason)
            self._close(slot)
        else:
            self._fail(slot, reason)
            if code == EXIT_USER and not self._any_complete():
                self._stop_for(UserError(f"the first trial has shown a mistake: {reason}"))

    def _take_values(self, slot: Slot, record: RunRecord) -> None:
        try:
            values = values_of(record.fields["metrics"], self.settings.objectives)
        except UserError as error:
            self._fail(slot, str(error))
            self._stop_for(error)
            return
        except ValueError as error:
            self._fail(slot, str(error))
            return
        slot.values.append(values)
        if len(slot.values) < len(slot.seeds):
            if self.settings.pruner == "wilcoxon" and not self.settings.several:
                self.study.report(slot.number, len(slot.values) - 1, values[0])
                if self.study.should_prune(slot.number):
                    runs = len(slot.values)
                    self.study.prune(slot.number, f"stopped early after {runs} seeds")
                    self._close(slot)
                    return
            self._begin_run(slot)
            return
        if self.settings.pruner == "wilcoxon" and not self.settings.several:
            self.study.report(slot.number, len(slot.values) - 1, values[0])
        if len(slot.seeds) > 1:
            by_seed = {str(s): v for s, v in zip(slot.seeds, slot.values, strict=True)}
            self.study.note(slot.number, by_seed=by_seed)
        means = [sum(column) / len(column) for column in zip(*slot.values, strict=True)]
        self.study.finish(slot.number, means)
        self._failures = 0
        self._close(slot)

    def _fail(self, slot: Slot, reason: str) -> None:
        self.study.fail(slot.number, reason)
        self._failures += 1
        if self._too_many and not self._ending:
            self._ending = f"{self._failures} trials have failed one after another"
        self._close(slot)

    def _close(self, slot: Slot) -> None:
        self.slots.remove(slot)
        self._asks_again = 0.0
        self.display.ended(slot)

    @property
    def _too_many(self) -> bool:
        return self._failures >= self.settings.max_failures

    def _any_complete(self) -> bool:
        return any(trial.state.name in ("COMPLETE", "PRUNED") for trial in self.study.trials())

    def _stop_for(self, error: UserError) -> None:
        self._fatal = self._fatal or error
        self._ending = "a mistake that every trial would share"

    # Others --------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        """Mark the trials of processes that have gone; they are run again."""
        for trial in self.study.lost_trials():
            self.display.line(f"trial {trial.number} was lost with its process, and is run again")

    def _look_after_others(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._looked > LOST_SECONDS:
            self._looked = now
            self._take_over()
        if now - self._beat > HEARTBEAT_SECONDS:
            self._beat = now
            for slot in self.slots:
                self.study.heartbeat(slot.number)

    def _stop_all(self, signum: int) -> None:
        """Let every run save its work and end, at once on a second signal; they are run again."""
        for slot in self.slots:
            if slot.mailbox is not None:
                slot.mailbox.close()  # nobody waits for an answer any more
            if slot.running is not None:
                self.trials.stop(slot.running, signum)
        end = time.monotonic() + GRACE_SECONDS
        while any(slot.running and slot.running.code is None for slot in self.slots):
            self.trials.poll()
            if len(self._signals) > 1 or time.monotonic() > end:
                for slot in self.slots:
                    if slot.running is not None:
                        self.trials.kill(slot.running)
                break
            time.sleep(POLL_SECONDS)
        for slot in list(self.slots):
            record = left_over(slot.run_dir)
            if record is not None and record.fields["status"] in ("done", "pruned"):
                with contextlib.suppress(Exception):
                    self._end_run(slot, 0)
                continue
            with contextlib.suppress(Exception):  # the storage may be what has failed
                self.study.give_back(slot.number)
            self.slots.remove(slot)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM stop the search in order."""

        def hear(signum: int, frame: Any) -> None:
            self._signals.append(signum)
            if len(self._signals) == 1:
                sys.stderr.write(
                    "\nStopping: trials that run save their work. Ctrl-C again stops at once.\n"
                )

        try:
            before = {s: signal.signal(s, hear) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: signals are somebody else's
            before = {}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
