"""`heed train -m sweep=optuna`: what a search needs before its first trial, and what it says last.

The parent process samples, and composes, checks and freezes a config for each trial. The trials
run in processes of their own (`trials`), so no process of a run ever sees the study.
"""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from heed.commands.compose import Check, Config, Job, freeze, leaves
from heed.commands.search_space import SearchWords, read_words
from heed.commands.summary import shown_path
from heed.commands.trial_configs import TrialConfigs
from heed.commands.world import launched_world
from heed.cores import usable_cores
from heed.errors import EXIT_DONE, UserError
from heed.sweeps.settings import Settings
from heed.sweeps.space import Space
from heed.sweeps.study_file import ASKING_LOCK, NAME, StudyFile, is_study_folder

# What may change between two sittings of a study: where and how it runs, not what it learns.
MAY_CHANGE = (
    *("paths.", "logger.", "choices.", "links.", "sweep.", "callbacks.progress."),
    *("data.num_workers", "data.cache_dir", "trainer.devices", "trainer.accelerator"),
    *("trainer.strategy", "trainer.log_every_n_steps", "trainer.requeue", "callbacks.pruning"),
)


class Search:
    """Hydra's task function for a search: the sweeper plugin calls `run`.

    Args:
        check: Raises `UserError` for a config that is wrong.
        config_dir: The user's own folder of configs.
        look: Called with the config and the words of one trial instead of searching.
    """

    def __init__(
        self, check: Check, config_dir: Path | None = None, look: Job | None = None
    ) -> None:
        self.check = check
        self.config_dir = config_dir
        self.look = look

    def __call__(self, config: Any) -> None:
        raise AssertionError("a search is run by its sweeper")

    def run(self, words: list[str], sweeper: Any) -> int:
        """Search; returns the exit code.

        Raises:
            UserError: If the settings, the space, the storage or the config are wrong.
        """
        from heed.commands.search_loop import SearchLoop
        from heed.commands.slurm_trials import SlurmTrials
        from heed.commands.trials import Trials, trials_with
        from heed.sweeps.study import Study

        check_launched()
        base = freeze(sweeper.compose(words_without_values(words)))
        node = base["sweep"]
        loader = sweeper.hydra_context.config_loader
        read = read_words(words, node.get("params") or {}, loader)
        check_sweep_file(base, freeze(sweeper.compose(read.fixed)))
        settings = read_settings(base, read)
        space = read.space(node.get("when") or {})
        read.fixed += checkpoint_words(settings, base["task"])
        launcher = slurm_settings(sweeper.config)
        check_place(base)
        if launcher is None:
            check_jobs(settings)
        configs = TrialConfigs(sweeper, read.fixed, space, settings, self.check, self.config_dir)
        if self.look is not None:
            self.look(configs.check_corners(), configs.words(space.corners()[0], None))
            return EXIT_DONE
        local = trials_with(threads_of(settings)) if launcher is None else None
        if local is not None:
            local.prepare()  # it gets ready meanwhile
        trials: Trials | SlurmTrials | None = local
        try:
            first = configs.check_corners()
            folder = study_folder(first, settings)
            study = Study(folder, settings, space, fixed_values(first, space))
            try:
                keep_study_file(folder, settings, space, read.fixed)
                if launcher is not None:
                    trials = SlurmTrials(folder, launcher)
                assert trials is not None
                return SearchLoop(study, configs, trials).run()
            finally:
                study.close()
        finally:
            if trials is not None:
                trials.finish()


def words_without_values(words: list[str]) -> list[str]:
    """The words of the search itself and what is fixed: enough to compose its settings."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(words)
    return [str(word.input_line) for word in parsed if not word.is_sweep_override()]


def check_sweep_file(base: Config, plain: Config) -> None:
    """Refuse a file of `sweep=` that sets what the trials would not get.

    Args:
        base: The config with the search's own words.
        plain: The same without them.

    Raises:
        UserError: If they differ in more than the search.
    """
    ours = ("sweep", "choices", "links")
    values, others = dict(leaves(base)), dict(leaves(plain))
    differing = [
        key
        for key in {**values, **others}
        if key.split(".")[0] not in ours and values.get(key) != others.get(key)
    ]
    if differing:
        name = base["choices"].get("sweep")
        raise UserError(
            f"sweep={name} must hold settings of the search only, but sets {differing[0]}",
            "put what all trials share into an experiment, or type it",
        )


def read_settings(base: Config, read: SearchWords) -> Settings:
    """The settings of a search, with seeds that were typed as `seed=1,2,3`.

    Raises:
        UserError: If one is wrong, or seeds were given in both ways.
    """
    node = dict(base["sweep"])
    if read.seeds is not None:
        if node.get("seeds") is not None:
            raise UserError(
                "seeds must be given once, but sweep.seeds and seed have several", "leave one out"
            )
        node["seeds"] = read.seeds
    task = base["task"]
    return Settings.read(node, monitor=task["monitor"], mode=task["mode"], seed=base["seed"])


def checkpoint_words(settings: Settings, task: dict[str, Any]) -> list[str]:
    """Have the checkpoint of each run chosen by the objective, where there is one and another."""
    objective = settings.objectives[0]
    if settings.several or (objective.name, objective.mode) == (task["monitor"], task["mode"]):
        return []
    return [f"task.monitor={objective.name}", f"task.mode={objective.mode}"]


def slurm_settings(composed: Any) -> dict[str, Any] | None:
    """The values of `hydra.launcher` where it is Heed's for Slurm; None where trials run here.

    Raises:
        UserError: If it is another one.
    """
    from omegaconf import OmegaConf

    settings: Any = OmegaConf.to_container(composed.hydra.launcher)
    target = str(settings.pop("_target_"))
    if target.endswith(".SlurmLauncher"):
        return dict(settings)
    if target.endswith(".BasicLauncher"):
        return None
    raise UserError(
        f"a search runs its trials itself or by hydra/launcher=slurm, but the launcher is {target}",
        "leave hydra/launcher out; sweep.jobs=N runs trials side by side",
    )


def check_jobs(settings: Settings) -> None:
    """Refuse more trials at once than there are cores.

    Raises:
        UserError: If there are.
    """
    cores = usable_cores()
    if settings.jobs > cores:
        raise UserError(
            f"sweep.jobs must be at most the number of cores ({cores}), but is {settings.jobs}"
        )


def check_launched() -> None:
    """Refuse several processes started alike: each trial has processes of its own.

    Raises:
        UserError: If torchrun, srun or another launcher has started this one.
    """
    if launched_world() is not None:
        raise UserError(
            "a search starts the processes of its trials itself, but a launcher has started this "
            "one among several",
            "start it plainly; trainer=ddp trainer.devices=N gives each trial N processes, and "
            "hydra/launcher=slurm a job",
        )


def check_place(base: Config) -> None:
    """Refuse one run folder for many runs.

    Raises:
        UserError: If there is one.
    """
    if base["paths"].get("run_dir") is not None:
        raise UserError(
            "paths.run_dir names one run, but a search has many",
            "choose name=NAME and sweep.study_name=NAME; the study is in "
            "paths.output_dir/TASK/NAME/STUDY",
        )


def threads_of(settings: Settings) -> int | None:
    """Threads of each trial, so that all together have a core each; None for one trial at once."""
    return max(1, usable_cores() // settings.jobs) if settings.jobs > 1 else None


def study_folder(config: Config, settings: Settings) -> Path:
    """Make or find the folder of the study.

    Raises:
        UserError: If something else is in its place, or it cannot be made.
    """
    place = Path(config["paths"]["output_dir"], config["task"]["name"], config["name"])
    folder = place / settings.study_name
    began = is_study_folder(folder) or (folder / ASKING_LOCK).exists()
    if folder.is_dir() and any(folder.iterdir()) and not began:
        raise UserError(
            f"the study's folder must be new or a study's, but {shown_path(folder)} holds "
            "something else",
            "choose another sweep.study_name=NAME or name=NAME",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the study's folder {folder} cannot be made: {error.strerror}") from error
    return folder


def fixed_values(config: Config, space: Space) -> dict[str, Any]:
    """What must be the same in all sittings of a study, as {key: value}."""
    varied = {axis.key for axis in space}
    return {
        key: value
        for key, value in leaves(config)
        if not key.startswith(MAY_CHANGE) and key not in varied
    }


def keep_study_file(folder: Path, settings: Settings, space: Space, fixed: list[str]) -> None:
    """Write down what the folder holds, if this is the first sitting."""
    from heed.sweeps.storage import is_secret, shown, wherever

    if (folder / NAME).exists():
        return
    storage = wherever(settings.storage)
    typed = [shown(word) if "sweep.storage=" in word else word for word in sys.argv[1:]]
    StudyFile(
        study=settings.study_name,
        storage=None if storage is None else shown(storage),
        secret=is_secret(storage),
        objectives=settings.objectives,
        space=space.describe(),
        words=fixed,
        command=["heed", *typed],
        seeds=settings.seeds,
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    ).save(folder)
