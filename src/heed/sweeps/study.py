"""A study: its trials in a storage, asked for and told by one process or several at once."""

from __future__ import annotations

import contextlib
import os
import platform
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from heed.errors import UserError
from heed.sweeps.named import make_pruner, make_sampler
from heed.sweeps.outcomes import counts, is_lost
from heed.sweeps.same_study import check_same
from heed.sweeps.settings import Settings
from heed.sweeps.space import Params, Space
from heed.sweeps.storage import close_storage, open_storage, storage_errors
from heed.sweeps.study_file import ASKING_LOCK

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

FACTS = "heed"  # the study's attribute that holds what must not change
RUNG = "rung_tokens"
TRIES = 3  # of one point that is lost with its process, before it counts as failed
_RUNNERS = ".runners"
_STEPS_AT_MOST = 10_000


class Study:
    """One study, as one of the processes that work on it sees it.

    A trial is *lost* when the process that ran it has gone without telling how it ended; it is
    marked as failed, and another trial gets its parameters.

    Args:
        folder: The study folder, which exists.
        settings: Of the search.
        space: What is varied.
        fixed: The config that all trials share, as {key: value}, but for what may change between
            two sittings.

    Raises:
        UserError: If the storage cannot be used, or the study in it is another.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        space: Space,
        fixed: dict[str, Any],
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.space = space
        self._study = _open_or_create(folder, settings)
        self._study.pruner = make_pruner(
            None if settings.several else settings.pruner, settings.pruner_options
        )
        with storage_errors(settings.storage, UserError):
            self._check_facts(
                {
                    "space": space.describe(),
                    "objectives": [str(objective) for objective in settings.objectives],
                    "seeds": settings.seeds,
                    "fixed": fixed,
                }
            )
        self._grid = space.grid() if settings.sampler == "grid" else None
        self.runner = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        (folder / _RUNNERS).mkdir(exist_ok=True)
        self._alive = FileLock(folder / _RUNNERS / f"{self.runner}.lock")
        self._alive.acquire()

    def close(self) -> None:
        """Let others take over the trials that this process has not told of."""
        close_storage(self._study._storage)
        self._alive.release()
        with contextlib.suppress(OSError):
            Path(self._alive.lock_file).unlink(missing_ok=True)

    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        with storage_errors(self.settings.storage):
            return self._study.get_trials(deepcopy=False)

    def ask(self) -> tuple[int, Params] | None:
        """The number and the point of a new trial; None where there is none to be run now.

        That is when `n_trials` have been begun by all processes together, or the grid has been
        walked through.
        """
        with storage_errors(self.settings.storage), self._asking():
            trials = self._study.get_trials(deepcopy=False)
            waiting = [trial for trial in trials if trial.state.name == "WAITING"]
            begun = len([trial for trial in trials if counts(trial)]) - len(waiting)
            if self.settings.n_trials is not None and begun >= self.settings.n_trials:
                return None
            if self._grid is not None and not waiting:
                point = _first_missing(self._grid, trials)
                if point is None:
                    return None
                self._study.enqueue_trial(point)
            self._study.sampler = make_sampler(
                self.settings.sampler,
                self.settings.sampler_options,
                seed=self.settings.seed,
                n_trials=len(trials),
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a sampler's advice on how it is used
                trial = self._study.ask()
                trial.set_user_attr("runner", self.runner)
                params = self.space.suggest(trial)
                before = trial.user_attrs.get("retry_of")
                if before is not None:  # it goes on where that one was
                    for step, value in trials[before].intermediate_values.items():
                        trial.report(value, step)
                return trial.number, params

    def note(self, number: int, **facts: Any) -> None:
        """Keep facts of a running trial: its folder, its runs, its times."""
        with storage_errors(self.settings.storage):
            trial = self._trial(number)
            for key, value in facts.items():
                trial.set_user_attr(key, value)

    def report(self, number: int, step: int, value: float) -> None:
        """Report an intermediate value of a running trial."""
        with storage_errors(self.settings.storage):
            self._trial(number).report(value, step)

    def report_rungs(self, number: int, tokens: int, value: float) -> None:
        """Report a score as that of each rung that has been reached since the last one.

        Rung k is reached with the first score seen at or after k times `rung_tokens` tokens, so
        that trials with other batches and validations are compared where they had learned from as
        much text.

        Args:
            number: The trial.
            tokens: Real tokens that it had been trained on.
            value: Its score then.
        """
        reached = min(tokens // self.rung_tokens(tokens), _STEPS_AT_MOST)
        with storage_errors(self.settings.storage):
            trial = self._trial(number)
            last = max(self._frozen(number).intermediate_values, default=0)
            for step in range(last + 1, reached + 1):
                trial.report(value, step)

    def rung_tokens(self, first: int) -> int:
        """Tokens between two rungs; where nothing says so, nine tenths of the first report's.

        Batches hold more or fewer tokens by chance, so that another trial may have seen a little
        less at the same validation.
        """
        if self.settings.rung_tokens is not None:
            return self.settings.rung_tokens
        with storage_errors(self.settings.storage), self._asking():
            kept = self._study.user_attrs.get(RUNG)
            if kept is None:
                kept = max(1, first * 9 // 10)
                self._study.set_user_attr(RUNG, kept)
        return int(kept)

    def should_prune(self, number: int) -> bool:
        """Whether a running trial is not worth going on with."""
        with storage_errors(self.settings.storage), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return not self.settings.several and bool(self._trial(number).should_prune())

    def finish(self, number: int, values: Sequence[float]) -> None:
        """Tell that a trial has ended, with its values."""
        self._tell(number, "COMPLETE", values)

    def prune(self, number: int, reason: str) -> None:
        """Tell that a trial has been stopped early."""
        self._tell(number, "PRUNED", reason=reason)

    def fail(self, number: int, reason: str) -> None:
        """Tell that a trial has failed."""
        self._tell(number, "FAIL", reason=reason)

    def give_back(self, number: int) -> None:
        """Let a trial count as lost, so that it is run again."""
        self._tell(number, "FAIL")

    def heartbeat(self, number: int) -> None:
        """Tell a database server that a trial is still run by somebody."""
        record = getattr(self._study._storage, "record_heartbeat", None)
        if record is not None and _has_heartbeats(self._study._storage):
            with storage_errors(self.settings.storage):
                record(self._frozen(number)._trial_id)

    def lost_trials(self) -> list[FrozenTrial]:
        """Mark the trials whose process has gone as failed.

        Returns:
            Those that were marked now.
        """
        import optuna

        marked = []
        with storage_errors(self.settings.storage), self._asking():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                optuna.storages.fail_stale_trials(self._study)  # where there are heartbeats
            for trial in self._study.get_trials(deepcopy=False):
                if trial.state.name == "RUNNING" and self._has_gone(trial):
                    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                        tries = int(trial.user_attrs.get("tries", 1))
                        if tries >= TRIES:
                            reason = f"its process went away {tries} times"
                            optuna.Trial(self._study, trial._trial_id).set_user_attr(
                                "reason", reason
                            )
                        self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                        marked.append(trial)
        return marked

    def retry_lost(self) -> None:
        """Have the parameters of lost trials tried again, each once more."""
        with storage_errors(self.settings.storage), self._asking():
            trials = self._study.get_trials(deepcopy=False)
            retried = {trial.user_attrs.get("retry_of") for trial in trials}
            for trial in trials:
                if is_lost(trial) and trial.number not in retried and trial.params:
                    tries = int(trial.user_attrs.get("tries", 1)) + 1
                    facts = {"retry_of": trial.number, "tries": tries}
                    for key in ("run", "seed_index"):
                        if key in trial.user_attrs:
                            facts[f"lost_{key}"] = trial.user_attrs[key]
                    self._study.enqueue_trial(trial.params, user_attrs=facts)

    # Parts ---------------------------------------------------------------------------------------

    def _tell(
        self, number: int, state: str, values: Sequence[float] | None = None, reason: str = ""
    ) -> None:
        import optuna

        with storage_errors(self.settings.storage), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                if reason:
                    self._trial(number).set_user_attr("reason", reason)
                told = list(values) if values is not None else None
                self._study.tell(number, told, state=optuna.trial.TrialState[state])
            except optuna.exceptions.UpdateFinishedTrialError:
                pass  # another process thought that it was lost
            except ValueError as error:
                if "Cannot tell" not in str(error):
                    raise

    def _check_facts(self, facts: dict[str, Any]) -> None:
        with self._asking():
            before = self._study.user_attrs.get(FACTS)
            if before is None:
                self._study.set_user_attr(FACTS, facts)
        if before is not None:
            check_same(before, facts, self.settings.study_name)

    def _has_gone(self, trial: FrozenTrial) -> bool:
        """Whether the process that ran a trial has let go of its lock; not if it has none here."""
        runner = trial.user_attrs.get("runner")
        if runner == self.runner:
            return False
        lock = self.folder / _RUNNERS / f"{runner}.lock"
        if not lock.exists():
            return not _has_heartbeats(self._study._storage)
        try:
            with FileLock(lock, blocking=False):
                pass
        except Timeout:
            return False
        lock.unlink(missing_ok=True)
        return True

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """One process at a time decides which trial comes next."""
        with FileLock(self.folder / ASKING_LOCK):
            yield

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _trial(self, number: int) -> optuna.Trial:
        import optuna

        return optuna.Trial(self._study, self._frozen(number)._trial_id)


def open_study(folder: Path, storage: str | None, name: str) -> Any:
    """Optuna's study of that name; None if there is none.

    Raises:
        UserError: If the storage cannot be used.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    opened = open_storage(storage, folder)
    with storage_errors(storage, UserError):
        try:
            return optuna.load_study(study_name=name, storage=opened)
        except KeyError:
            return None


def _open_or_create(folder: Path, settings: Settings) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    opened = open_storage(settings.storage, folder)
    with storage_errors(settings.storage, UserError):
        with contextlib.suppress(KeyError):
            return optuna.load_study(study_name=settings.study_name, storage=opened)
        return optuna.create_study(
            study_name=settings.study_name,
            storage=opened,
            directions=[objective.direction for objective in settings.objectives],
            load_if_exists=True,  # another process may have been faster
        )


def _first_missing(grid: Sequence[Params], trials: Sequence[FrozenTrial]) -> Params | None:
    """The first point that no trial has; those that were lost are tried again elsewhere."""
    taken = [trial.params or trial.system_attrs.get("fixed_params") for trial in trials]
    return next((point for point in grid if point not in taken), None)


def _has_heartbeats(storage: Any) -> bool:
    interval = getattr(storage, "get_heartbeat_interval", None)
    return interval is not None and interval() is not None
