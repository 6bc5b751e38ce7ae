"""Composing, freezing and sweeping configs, and the words for what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed.commands.arguments import Arguments, parse_arguments
from heed.commands.compose import compose, config_dir, leaves, show
from heed.commands.groups import group_options
from heed.commands.launch import launch
from heed.errors import UserError, nearest

Frozen = Callable[..., dict[str, Any]]
Told = Callable[..., list[str]]
MODELS = nearest("3", group_options([config_dir()], "model"))


def accept(config: dict[str, Any]) -> None:
    """A check that finds nothing."""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Freezing ----------------------------------------------------------------------------------------


def test_a_frozen_config_is_plain_and_resolved(frozen: Frozen) -> None:
    config = frozen()
    assert json.loads(json.dumps(config)) == config
    assert "hydra" not in config
    assert not [key for key, value in leaves(config) if "${" in str(value) or value == "???"]
    assert config["model"]["shape"] == config["task"]["shape"] == "encoder_decoder"
    assert config["data"]["cache_dir"] == config["paths"]["cache_dir"]
    assert (config["seed"], config["name"], config["resume"]) == (42, "default", None)


def test_the_choices_are_kept() -> None:
    config = compose("train", ["task=qa", "model=small", "logger=[csv,wandb]", "debug=one_step"])
    chosen = config["choices"]
    assert (chosen["task"], chosen["model"], chosen["data"]) == ("qa", "small", "builtin")
    assert (chosen["logger"], chosen["debug"]) == (["csv", "wandb"], "one_step")
    assert "experiment" not in chosen


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("logger=wandb", ["wandb"]),
        ("logger=[csv,wandb]", ["csv", "wandb"]),
        ("logger=null", []),
        ("logger=[]", []),
        ("seed=42", ["csv", "tensorboard"]),
    ],
)
def test_loggers_can_be_one_several_or_none(override: str, names: list[str]) -> None:
    assert list(compose("train", [override])["logger"]) == names


def test_null_takes_a_group_away() -> None:
    assert compose("train", ["callbacks=null"])["callbacks"] == {}
    assert compose("train", ["experiment=null", "debug=null"]) == compose("train", [])
    assert "model" not in compose("train", ["model=null"])


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEED_CACHE", raising=False)
    assert compose("train", [])["paths"]["cache_dir"] == str(Path("~/.cache/heed").expanduser())
    monkeypatch.setenv("HEED_CACHE", "/somewhere/else")
    assert compose("train", [])["paths"]["cache_dir"] == "/somewhere/else"


def test_the_home_folder_is_spelt_out(user_configs: Callable[..., Path]) -> None:
    home = str(Path.home())
    assert compose("train", ["data.path=~/data"])["data"]["path"] == f"{home}/data"
    mine = user_configs({"data/mine": "defaults: [local, _self_]\npath: ~/mine\n"})
    assert compose("train", ["data=mine"], mine)["data"]["path"] == f"{home}/mine"


def test_mappings_of_the_users_own_take_new_keys() -> None:
    config = compose("train", ["data=local", "data.columns.source=en", "data.columns.target=de"])
    assert config["data"]["columns"] == {"source": "en", "target": "de"}
    config = compose("train", ["data=local", "data.columns={text: review}"])
    assert config["data"]["columns"] == {"text": "review"}


def test_the_config_can_be_shown() -> None:
    shown = yaml.safe_load(show("train", ["seed=7"]))
    assert shown == compose("train", ["seed=7"])
    assert "output_subdir: null" in show("train", [], part="hydra")


# The user's own configs --------------------------------------------------------------------------


def test_configs_of_the_users_own(user_configs: Callable[..., Path]) -> None:
    mine = user_configs(
        {
            "model/wide": "# Wide.\ndefaults: [tiny, _self_]\nd_feed_forward: 1024\n",
            "experiment/mine": (
                "# @package _global_\ndefaults:\n  - override /model: wide\nseed: 5\n"
            ),
        }
    )
    config = compose("train", ["model=wide"], mine)
    assert (config["model"]["d_model"], config["model"]["d_feed_forward"]) == (128, 1024)
    config = compose("train", ["experiment=mine"], mine)
    assert (config["model"]["d_feed_forward"], config["seed"]) == (1024, 5)
    assert compose("train", ["experiment=mine", "seed=6"], mine)["seed"] == 6


def test_the_users_config_wins_over_one_of_the_same_name(user_configs: Callable[..., Path]) -> None:
    mine = user_configs({"optimizer/adamw": "# Mine.\n_target_: my.adamw\nlr: 0.5\n"})
    assert compose("train", [], mine)["optimizer"] == {"_target_": "my.adamw", "lr": 0.5}
    assert compose("train", [])["optimizer"]["_target_"] != "my.adamw"  # nothing is left behind


def test_the_shipped_configs_are_found() -> None:
    assert (config_dir() / "train.yaml").is_file()


# Mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model=smal", "model has no option 'smal'; did you mean 'small'?"),
        ("model=3", f"model has no option '3'; {MODELS}"),
        ("logger=[csv,wandbb]", "logger has no option 'wandbb'; did you mean 'wandb'?"),
        ("modle=tiny", "modle is not a key of the config; did you mean 'model'?"),
        (
            "optimizer.lrr=1",
            "optimizer.lrr is not a key of the config; did you mean 'optimizer.lr'?",
        ),
        ("optimzer.lr=1", "optimzer.lr is not a key of the config; did you mean 'optimizer.lr'?"),
        ("lr=0.1", "lr is not a key of the config; did you mean 'optimizer.lr'?"),
        ("max_steps=9", "max_steps is not a key of the config; did you mean 'trainer.max_steps'?"),
        (
            "scheduler.warmup_steps.x=3",
            "scheduler.warmup_steps.x is not a key of the config: scheduler.warmup_steps is a "
            "value (200), "
            "and has no keys",
        ),
        ("~seedx", "seedx is not a key of the config; did you mean 'seed'?"),
        ("+seed=3", "+seed adds a key, but seed exists; write seed=3"),
        ("+model=small", "model is chosen twice; write model=NAME once, without a +"),
        ("seed", "'seed' must be KEY=VALUE, but has no '='; write seed=..."),
        ("=3", "'=3' must be KEY=VALUE, but '' cannot be a key"),
        (
            "name=[a",
            "the value '[a' of name must have as many '[' as ']'; "
            "a value that is text takes quotes: 'name=\"...\"'",
        ),
        (
            "name=a=b",
            "the value 'a=b' of name cannot be read: mismatched input '=' expecting <EOF>; "
            "a value that is text takes quotes: 'name=\"a=b\"'",
        ),
        (
            "model=tiny,small",
            "model must have one value, but is tiny,small; "
            "add -m for one run each, or write model=[tiny,small] for a list",
        ),
        (
            "model=[tiny,small]",
            "model must be one name, but is [tiny,small]; "
            "add -m and write model=tiny,small for one run each",
        ),
        (
            "model={a: 1}",
            "model must be the name of a config, but is {'a': 1}; write model.KEY=VALUE",
        ),
        ("name=${nme}", "name refers to ${nme}, which is not a key of the config"),
        ("name=???", "name must be given, but is not; add name=..."),
        ("tokenizer=file", "tokenizer.path must be given, but is not; add tokenizer.path=..."),
        (
            "name=${oc.env:HEED_NO_SUCH_VARIABLE}",
            "name needs the environment variable HEED_NO_SUCH_VARIABLE, which is not set",
        ),
    ],
)
def test_a_mistake_in_an_override(override: str, words: str, told: Told) -> None:
    assert told(compose, "train", [override]) == [words]


def test_all_mistakes_are_told_together(told: Told) -> None:
    words = ["optimizer.lrr=1", "data=bultin", "trainer.max_stpes=4", "seed", "task=qq"]
    assert [error.split("; ")[0] for error in told(compose, "train", words)] == [
        "'seed' must be KEY=VALUE, but has no '='",
        "data has no option 'bultin'",
        "task has no option 'qq'",
        "optimizer.lrr is not a key of the config",
        "trainer.max_stpes is not a key of the config",
    ]


def test_a_config_file_that_is_not_yaml(user_configs: Callable[..., Path], told: Told) -> None:
    mine = user_configs({"model/mine": "# Mine.\nd_model: 3\n  n_heads: [1, 2\n"})
    (error,) = told(compose, "train", ["model=mine"], mine)
    assert error.startswith(f"{mine}/model/mine.yaml, line 3 is not valid YAML: ")


def test_a_config_file_that_asks_for_another_that_is_not_there(
    user_configs: Callable[..., Path], told: Told
) -> None:
    mine = user_configs({"model/mine": "# Mine.\ndefaults: [tinny, _self_]\nd_model: 3\n"})
    (error,) = told(compose, "train", ["model=mine"], mine)
    assert error.startswith("there is no config 'model/tinny' (model/mine.yaml asks for it)")


def test_a_file_that_refers_to_nothing(user_configs: Callable[..., Path], told: Told) -> None:
    mine = user_configs({"data/mine": "defaults: [local, _self_]\nkind: ${task.knd}\n"})
    assert told(compose, "train", ["data=mine"], mine) == [
        "data.kind refers to ${task.knd}, which is not a key of the config"
    ]


# Arguments ---------------------------------------------------------------------------------------


def test_options_stand_anywhere_among_overrides(tmp_path: Path) -> None:
    argv = ["a=1", "-m", "b=2", "--config-dir", str(tmp_path), "~c", "--cfg", "d=3"]
    assert parse_arguments(argv, usage="") == Arguments(
        overrides=["a=1", "b=2", "~c", "d=3"], config_dir=tmp_path, multirun=True, show="job"
    )
    assert parse_arguments(["--cfg", "hydra"], usage="").show == "hydra"
    assert parse_arguments([f"--config-dir={tmp_path}"], usage="").config_dir == tmp_path


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--multi-run"], "--multi-run is not an option; did you mean '--multirun'?"),
        (["--config-dir"], "--config-dir needs a folder; write --config-dir FOLDER"),
        (["--config-dir", "no"], "--config-dir must be a folder, but no does not exist"),
        (["--config-dir=a_file"], "--config-dir must be a folder, but a_file is a file"),
        (["--cfg=hydr"], "--cfg has no part 'hydr'; did you mean 'hydra'?"),
    ],
)
def test_options_that_are_wrong(argv: list[str], words: str, told: Told) -> None:
    Path("a_file").touch()
    assert told(parse_arguments, argv, usage="") == [words]


# Launching ---------------------------------------------------------------------------------------


def test_one_run_gets_its_own_new_folder(tmp_path: Path) -> None:
    seen: list[Path] = []

    def job(config: dict[str, Any], overrides: list[str]) -> None:
        assert overrides == ["seed=3", "name=trial"]
        assert config["seed"] == 3
        seen.append(Path(config["paths"]["run_dir"]))

    for _ in range(3):
        arguments = Arguments(overrides=["seed=3", "name=trial"])
        assert launch("train", arguments, job, accept) == 0
    assert len(set(seen)) == 3
    for folder in seen:
        assert folder.parent == Path("outputs/translation/trial")
        assert folder.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]  # nothing of Hydra's
    assert [path.name for path in Path("outputs").iterdir()] == ["translation"]
    assert not list(seen[0].iterdir())


def test_a_config_that_is_wrong_leaves_no_folder(tmp_path: Path) -> None:
    def refuse(config: dict[str, Any]) -> None:
        raise UserError("no")

    with pytest.raises(UserError):
        launch("train", Arguments(), lambda config, overrides: None, refuse)
    assert not list(tmp_path.iterdir())


def test_a_folder_can_be_asked_for_but_only_a_new_one() -> None:
    seen: list[str] = []

    def job(config: dict[str, Any], overrides: list[str]) -> None:
        seen.append(config["paths"]["run_dir"])
        Path(seen[-1], "run.json").touch()

    arguments = Arguments(overrides=["paths.run_dir=here/mine"])
    launch("train", arguments, job, accept)
    assert seen == ["here/mine"]
    with pytest.raises(UserError, match="paths.run_dir must be a new folder, but here/mine exists"):
        launch("train", arguments, job, accept)


def test_a_run_that_goes_on_gets_no_new_folder(tmp_path: Path) -> None:
    launch("train", Arguments(overrides=["resume=x"]), lambda config, overrides: None, accept)
    assert not list(tmp_path.iterdir())


# Sweeping ----------------------------------------------------------------------------------------


def test_a_sweep_runs_every_combination_in_this_process() -> None:
    seen: list[tuple[str, int, str]] = []

    def job(config: dict[str, Any], overrides: list[str]) -> float:
        assert json.loads(json.dumps(config)) == config
        assert overrides == [f"model={config['choices']['model']}", f"seed={config['seed']}"]
        seen.append((config["choices"]["model"], config["seed"], config["paths"]["run_dir"]))
        return float(config["seed"])

    arguments = Arguments(overrides=["model=tiny,small", "seed=2,3"], multirun=True)
    assert launch("train", arguments, job, accept) == 0
    points = [(model, seed) for model, seed, _ in seen]
    assert points == [(m, s) for m in ("tiny", "small") for s in (2, 3)]
    assert len({folder for _, _, folder in seen}) == 4
    assert sorted(path.name for path in Path("outputs").iterdir()) == ["multirun", "translation"]
    assert sorted(path.name for path in Path().iterdir()) == ["outputs"]


def test_a_run_that_fails_does_not_stop_the_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    def job(config: dict[str, Any], overrides: list[str]) -> float:
        if config["seed"] == 3:
            raise RuntimeError("boom")
        if config["seed"] == 5:
            raise UserError("the file is empty")
        return 0.25

    arguments = Arguments(overrides=["seed=2,3,5,7", "name=x"], multirun=True)
    assert launch("train", arguments, job, accept) == 1
    shown = capsys.readouterr()
    assert "sweep: 4 runs, 2 failed" in shown.out
    assert "[2] seed=3: failed: RuntimeError: boom" in shown.out
    assert "[3] seed=5: failed: the file is empty" in shown.out
    assert "[4] seed=7: 0.25  outputs/translation/x/" in shown.out
    assert shown.err.count("Traceback") == 1  # of the defect, not of the user's mistake


def test_a_sweep_with_a_wrong_point_does_not_start(told: Told) -> None:
    ran: list[int] = []

    def check(config: dict[str, Any]) -> None:
        if config["seed"] > 3:
            raise UserError(f"seed must be at most 3, but is {config['seed']}", "try seed=3")

    def job(config: dict[str, Any], overrides: list[str]) -> None:
        ran.append(config["seed"])

    arguments = Arguments(overrides=["seed=5,3,7", "name=x"], multirun=True)
    assert told(launch, "train", arguments, job, check) == [
        "seed must be at most 3, but is 5 (at seed=5 name=x); try seed=3",
        "seed must be at most 3, but is 7 (at seed=7 name=x); try seed=3",
    ]
    assert not ran


def test_mistakes_in_the_words_of_a_sweep(told: Told) -> None:
    arguments = Arguments(overrides=["model=tiny,smal", "optimizer.lrr=1,2"], multirun=True)
    assert told(launch, "train", arguments, lambda config, overrides: None, accept) == [
        "model has no option 'smal'; did you mean 'small'?",
        "optimizer.lrr is not a key of the config; did you mean 'optimizer.lr'?",
    ]


def test_ctrl_c_stops_a_sweep_and_says_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    def job(config: dict[str, Any], overrides: list[str]) -> float:
        if config["seed"] == 3:
            raise KeyboardInterrupt
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        launch("train", Arguments(overrides=["seed=2,3,5"], multirun=True), job, accept)
    assert "sweep: 2 runs" in capsys.readouterr().out


def test_a_grid_can_be_looked_at_without_runs(tmp_path: Path) -> None:
    seen: list[int] = []

    def job(config: dict[str, Any], overrides: list[str]) -> None:
        seen.append(config["seed"])

    arguments = Arguments(overrides=["seed=2,3"], multirun=True)
    assert launch("train", arguments, job, accept, new_runs=False) == 0
    assert seen == [2, 3]
    assert not list(tmp_path.iterdir())
