"""`heed train -m sweep=optuna`: real trials, in processes of their own."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed.sweeps.study import Study, open_study
from heed.tracking.config_file import load_config

Heed = Callable[..., Any]
LR = "optimizer.lr=tag(log, interval(1e-4,1e-2))"
SEARCH = ("-m", "sweep=optuna", "task=sentiment", "sweep.n_trials=3")


def trials(folder: Path) -> list[Any]:
    """The trials of a study in its default storage."""
    found: list[Any] = open_study(folder, None, "study").get_trials()
    return found


def states(folder: Path) -> list[str]:
    return [trial.state.name for trial in trials(folder)]


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text("utf-8"))
    return found


@pytest.fixture(scope="session")
def search(heed: Heed, place: Path, tiny: list[str]) -> Callable[..., tuple[Path, Any]]:
    """`search("name", ...)` is the folder of a study and what the command said."""

    def run(name: str, *words: str) -> tuple[Path, Any]:
        answer = heed("train", *SEARCH, f"name={name}", *tiny, *words)
        return place / "outputs" / "sentiment" / name / "study", answer

    return run


@pytest.fixture(scope="session")
def searched(search: Callable[..., tuple[Path, Any]]) -> tuple[Path, Any]:
    return search("searched", LR, "model.dropout=0,0.1")


def test_a_search_leaves_a_run_a_trial_and_says_what_is_best(searched: tuple[Path, Any]):
    folder, answer = searched
    assert answer.code == 0, answer.err + answer.out
    assert states(folder) == ["COMPLETE"] * 3
    best = max(trials(folder), key=lambda trial: trial.values[0])
    for trial in trials(folder):
        run = folder / f"trial-{trial.number:04d}"
        kept, config = record(run), load_config(run / "config.yaml")
        assert kept["status"] == "done"
        assert kept["trial"] == {"study": "study", "number": trial.number}
        assert kept["metrics"]["val/accuracy"] == trial.values[0]
        assert not any(name.startswith("test/") for name in kept["metrics"])
        assert config["optimizer"]["lr"] == trial.params["optimizer.lr"]
        assert str(config["model"]["dropout"]) == trial.params["model.dropout"]
        assert "sweep" not in config
        assert "sweep" not in config["choices"]
        assert kept["command"][:2] == ["heed", "train"]
        assert kept["command"][2:] == kept["overrides"]
        assert f"optimizer.lr={trial.params['optimizer.lr']}" in kept["overrides"]
        assert not any("sweep" in word for word in kept["overrides"])
    assert f"trial {best.number}: " in answer.out
    assert (
        f"heed evaluate run=outputs/sentiment/searched/study/trial-{best.number:04d}" in answer.out
    )
    assert "heed report study=outputs/sentiment/searched/study" in answer.out


@pytest.mark.learning
def test_the_command_that_is_shown_reruns_the_best_trial(searched: tuple[Path, Any], heed: Heed):
    import shlex

    folder, answer = searched
    (line,) = [line for line in answer.out.splitlines() if line.startswith("  heed train ")]
    rerun = folder.parents[1] / "rerun"
    words = [word for word in shlex.split(line)[2:] if not word.startswith("name=")]
    assert heed("train", *words, "name=rerun").code == 0
    (run,) = rerun.iterdir()
    best = max(trials(folder), key=lambda trial: trial.values[0])
    assert (
        record(run)["metrics"]["val/loss"]
        == (record(folder / f"trial-{best.number:04d}")["metrics"]["val/loss"])
    )


def test_the_same_command_goes_on_with_the_same_study(searched, search):
    folder, _ = searched
    before = [record(folder / f"trial-{n:04d}")["started"] for n in range(3)]
    _, again = search("searched", LR, "model.dropout=0,0.1")
    assert again.code == 0
    assert "goes on after 3 trials: 3 complete" in again.out
    assert states(folder) == ["COMPLETE"] * 3
    _, more = search("searched", LR, "model.dropout=0,0.1", "sweep.n_trials=4")
    assert more.code == 0
    assert states(folder) == ["COMPLETE"] * 4
    assert (folder / "trial-0003" / "run.json").exists()
    assert [record(folder / f"trial-{n:04d}")["started"] for n in range(3)] == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((LR,), "model.dropout was choice(0, 0.1), and is not varied"),
        ((LR, "model.dropout=0,0.1", "sweep.objectives=[val/loss]"), "the objective was val/acc"),
        ((LR, "model.dropout=0,0.1", "trainer.max_steps=4"), "trainer.max_steps was 3, and is 4"),
    ],
)
def test_another_search_does_not_get_into_the_study(searched, search, words, said: str):
    _, answer = search("searched", *words)
    assert answer.code == 2
    assert said in answer.err
    assert "sweep.study_name=NAME" in answer.err


def test_a_bad_trial_is_pruned_after_as_many_tokens(search):
    folder, answer = search(
        "pruned",
        *("sweep.sampler=grid", "optimizer.lr=1e-3,0.9", "data.max_tokens=400,900"),
        *("sweep.objectives=[val/loss]", "sweep.pruner_options={n_startup_trials: 2}"),
        *(
            "scheduler.warmup_steps=0",
            "trainer.max_steps=8",
            "trainer.val_check_interval=2",
            "trainer.max_epochs=-1",
        ),
        *("sweep.n_trials=null", "logger=null"),
    )
    assert answer.code == 0, answer.err + answer.out
    assert states(folder) == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED"]
    run = folder / "trial-0002"
    kept = record(run)
    assert kept["status"] == "pruned"
    assert "stopped early at" in kept["reason"]
    assert kept["steps"] < 8
    assert kept["metrics"]["val/loss"] > 0
    assert list((run / "checkpoints").glob("step=*.ckpt"))
    assert not (run / "predictions").exists()
    first, second = trials(folder)[:2]
    assert set(first.intermediate_values) <= set(range(1, 100))
    assert max(second.intermediate_values) > max(first.intermediate_values)  # larger batches
    # its checkpoints were chosen by the objective
    assert load_config(run / "config.yaml")["callbacks"]["checkpoint"]["monitor"] == "val/loss"


def test_trials_that_fail_are_recorded_and_the_search_goes_on(search):
    kill = "+callbacks.kill={_target_: heed.training.callbacks.kill.Kill, batch: 99}"
    when = 'sweep.when={callbacks.kill.batch: "model.n_heads=3"}'
    folder, answer = search(
        "failing",
        *("sweep.sampler=grid", "sweep.n_trials=null", "sweep.pruner=null"),
        *(kill, "callbacks.kill.batch=2,99", "model.d_model=16,24", "model.n_heads=2,3", when),
        "logger=null",
    )
    assert answer.code == 0, answer.err + answer.out
    assert "note: trials with such values will fail: model.n_heads must divide" in answer.err
    found = trials(folder)
    assert [trial.state.name for trial in found].count("COMPLETE") == 3
    killed = [t for t in found if "SIGKILL" in t.user_attrs.get("reason", "")]
    assert len(killed) == 1
    for trial in killed:
        kept = record(folder / f"trial-{trial.number:04d}")
        assert kept["status"] == "failed"
        assert "memory runs out" in kept["reason"]
    refused = [t for t in found if "n_heads" in t.user_attrs.get("reason", "")]
    assert len(refused) == 2
    assert "6 trials: 3 done, 3 failed" in answer.out


def test_a_search_stops_after_so_many_failures(search):
    folder, answer = search("hopeless", "optimizer.lr=1e-3,1e-2", "model.n_heads=3,5")
    assert answer.code == 2  # no point of the space is right: nothing is begun
    folder, answer = search(
        "failures",
        *("optimizer.lr=1e-3,1e-2", "model.n_layers=1,2", "sweep.max_failures=2", "logger=null"),
        *("+callbacks.kill={_target_: heed.training.callbacks.kill.Kill, batch: 2}",),
    )
    assert answer.code == 1
    assert states(folder) == ["FAIL", "FAIL"]
    assert "2 trials have failed one after another" in answer.out


def test_a_score_that_is_not_logged_is_told_after_the_first_trial(search):
    folder, answer = search("unlogged", LR, "sweep.objectives=[val/acuracy]")
    assert answer.code == 2
    assert "must be a score that validation logs, but is 'val/acuracy'" in answer.err
    assert "did you mean 'val/accuracy'" in answer.err
    assert states(folder) == ["FAIL"]


def test_seeds_are_runs_of_a_trial_and_its_value_their_mean(search):
    folder, answer = search("seeds", LR, "seed=1,2", "sweep.n_trials=1")
    assert answer.code == 0, answer.err + answer.out
    runs = [record(folder / "trial-0000" / f"seed={seed}") for seed in (1, 2)]
    assert [run["seed"] for run in runs] == [1, 2]
    scores = [run["metrics"]["val/accuracy"] for run in runs]
    assert trials(folder)[0].values == [sum(scores) / 2]
    assert "seed=1,2" in answer.out


def test_a_search_that_is_interrupted_goes_on_where_it_was(search, monkeypatch):
    report = Study.report_rungs

    def interrupted(study: Study, number: int, tokens: int, value: float) -> None:
        report(study, number, tokens, value)
        if number == 1:
            signal.raise_signal(signal.SIGINT)

    words = (LR, "trainer.max_steps=9", "trainer.val_check_interval=3", "trainer.max_epochs=-1")
    monkeypatch.setattr(Study, "report_rungs", interrupted)
    folder, answer = search("interrupted", *words)
    assert answer.code == 130
    assert "the same command goes on" in answer.out
    assert record(folder / "trial-0001")["status"] == "interrupted"
    monkeypatch.undo()
    folder, answer = search("interrupted", *words)
    assert answer.code == 0, answer.err + answer.out
    assert states(folder) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    again = trials(folder)[2]
    assert again.params == trials(folder)[1].params
    kept = record(folder / "trial-0001")  # in the same folder
    assert kept["status"] == "done"
    assert kept["trial"]["number"] == 2
    assert len(kept["sessions"]) == 1
    assert "3 trials: 3 done" in answer.out
    assert set(trials(folder)[1].intermediate_values) < set(again.intermediate_values)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sweep.n_trials=2",), "a search needs something to vary"),
        (("optimizer.lr=interval(1,1)",), "the interval of optimizer.lr must not be empty"),
        (("optimizer.lr=range(3,3)",), "the range of optimizer.lr must not be empty"),
        (("optimizer.lrr=1,2",), "did you mean 'optimizer.lr'?"),
        (("sweep.params={optimizer.rl: 'interval(0,1)'}",), "did you mean 'optimizer.lr'?"),
        (("sweep.params={optimizer.lr: 0.1}",), "sweep.params.optimizer.lr must have several"),
        (("model=tiny,smal",), "model has no option 'smal'"),
        (("model.dropout=interval(0,1.5)",), "model.dropout must be at least 0 and less than 1"),
        ((LR, "sweep.smapler=gp"), "did you mean 'sweep.sampler'?"),
        ((LR, "paths.run_dir=x"), "paths.run_dir names one run, but a search has many"),
        ((LR, "sweep.jobs=1000"), "sweep.jobs must be at most the number of cores"),
        ((LR, "sweep.seeds=[1]", "seed=1,2"), "seeds must be given once"),
    ],
)
def test_mistakes_are_told_before_anything_is_run(search, place: Path, words, said: str):
    _, answer = search("mistaken", *words)
    assert answer.code == 2
    assert said in answer.err
    assert not (place / "outputs" / "sentiment" / "mistaken").exists()


def test_a_file_of_ones_own_holds_the_search_and_nothing_else(
    heed: Heed, user_configs: Callable[..., Path], tiny: list[str]
):
    params = "sweep: {params: {model.dropout: 'interval(0,0.3)'}}"
    text = f"# @package _global_\ndefaults: [optuna, _self_]\n{params}"
    folder = user_configs({"sweep/mine": text, "sweep/more": text + "\nseed: 7"})
    words = ("-m", "--config-dir", str(folder), "task=sentiment", *tiny)
    good = heed("check", *words, "sweep=mine")
    assert good.code == 0, good.err
    assert "model.dropout=0.0" in good.out
    wrong = heed("check", *words, "sweep=more")
    assert wrong.code == 2
    assert "sweep=more must hold settings of the search only, but sets seed" in wrong.err


@pytest.mark.parametrize("verb", ["train", "check"])
def test_without_m_it_says_so(heed: Heed, verb: str):
    answer = heed(verb, "sweep=optuna")
    assert answer.code == 2
    assert "heed train -m" in answer.err


def test_a_folder_of_something_else_is_left_alone(search, place: Path):
    folder = place / "outputs" / "sentiment" / "taken" / "study"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("x")
    _, answer = search("taken", LR)
    assert answer.code == 2
    assert "must be new or a study's" in answer.err


@pytest.mark.learning
def test_runs_in_wandb_are_one_group(search, place: Path):
    folder, answer = search("grouped", LR, "sweep.n_trials=1", "logger=wandb")
    assert answer.code == 0, answer.err + answer.out
    run = folder / "trial-0000"
    assert load_config(run / "config.yaml")["logger"]["wandb"]["group"] == "study"
    (kept,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"study" in kept.read_bytes()


def test_several_objectives_are_not_pruned(search):
    folder, answer = search(
        "several", LR, "sweep.objectives=[val/accuracy,val/loss]", "logger=null"
    )
    assert answer.code == 0, answer.err + answer.out
    assert [len(trial.values) for trial in trials(folder)] == [2, 2, 2]
    assert "pruning" not in load_config(folder / "trial-0000" / "config.yaml")["callbacks"]
    assert "best  val/accuracy, val/loss" in answer.out


def test_a_search_is_not_started_by_torchrun(search, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("heed.commands.search.launched_world", lambda: ("anything", "but nothing"))
    _, answer = search("launched", LR)
    assert answer.code == 2
    assert "a search starts the processes of its trials itself" in answer.err


def test_another_launcher_is_refused(search):
    _, answer = search("launched", LR, "hydra.launcher._target_=my.Launcher")
    assert answer.code == 2
    assert "a search runs its trials itself or by hydra/launcher=slurm" in answer.err
