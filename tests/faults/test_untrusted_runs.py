"""A run folder from a stranger: it runs nothing of theirs, and nothing is written outside it.

Every case tries to make a file, the canary, by the code of a stranger. It must never be there.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed.cli import main
from heed.commands.own_runs import MARKER, confine, recall
from heed.commands.run_paths import open_run
from heed.commands.trust import own_targets, trusted_modules
from heed.errors import UserError
from heed.files import local_cache_dir
from heed.tracking.record import RunRecord

TINY = [
    *("task=sentiment", "model.d_model=14", "model.n_heads=2", "model.d_feed_forward=23"),
    *("model.n_layers=1", "tokenizer.vocabulary_size=300", "data.max_tokens=1500", "logger=csv"),
    *("trainer=cpu", "trainer.precision=32-true", "trainer.max_steps=2", "data.limit_examples=31"),
    *("data.source.train_size=31", "data.source.validation_size=11", "data.source.test_size=7"),
]
EVIL = """\
import os
open(os.environ["CANARY"], "w").close()
class Thing:
    def __init__(self, **settings): pass
def thing(**settings): pass
"""


def heed(*words: str, typed: str = "fine\n") -> tuple[int, str]:
    """The exit code of a command, and all that it said."""
    said = io.StringIO()
    stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(typed.encode()))
    argv, sys.argv = sys.argv, ["heed", *words]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(list(words))
    finally:
        sys.stdin, sys.argv = stdin, argv
    return code, said.getvalue()


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained here."""
    root = tmp_path_factory.mktemp("runs")
    code, said = heed("train", *TINY, f"paths.output_dir={root}")
    assert code == 0, said
    (record,) = root.rglob("run.json")
    return record.parent


@pytest.fixture
def downloaded(shared_run: Path, tmp_path: Path) -> Path:
    """The same run as somebody else would have it: a copy, which nobody has trained here."""
    return Path(shutil.copytree(shared_run, tmp_path / "downloaded"))


@pytest.fixture(autouse=True)
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What a stranger's code would make, if it ran."""
    path = tmp_path / "canary"
    monkeypatch.setenv("CANARY", str(path))
    monkeypatch.delenv("HEED_TRUST", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "evil_module.py").write_text(EVIL)
    sys.path.append(str(tmp_path / "elsewhere"))
    importlib.invalidate_caches()
    yield path
    sys.modules.pop("evil_module", None)


@pytest.fixture
def change(downloaded: Path) -> Callable[..., None]:
    """`change("task._target_", "os.system")` rewrites the downloaded run's config."""

    def rewrite(key: str, value: Any) -> None:
        path = downloaded / "config.yaml"
        config = yaml.safe_load(path.read_text())
        *parents, last = key.split(".")
        node = config
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = value
        path.write_text(yaml.safe_dump(config, sort_keys=False))

    return rewrite


VERBS = [["evaluate", "run={}"], ["predict", "run={}"], ["train", "resume={}"]]
PLACES = [
    ("task._target_", "evil_module.Thing", "task._target_"),
    ("task.preparation._target_", "evil_module.Thing", "task.preparation._target_"),
    ("task.extra", [{"deep": [{"_target_": "evil_module.thing"}]}], "task.extra[0].deep[0]._targ"),
    ("model._target_", "os.system", "model._target_"),
    ("data.source._target_", "builtins.eval", "data.source._target_"),
    ("decoding._target_", "heed.files.os.system", "decoding._target_"),
    ("decoding._target_", "heed.commands.build.build", "decoding._target_"),
    ("decoding._target_", "heed.cli.main", "decoding._target_"),
    # Heed's own, but no config builds from it, and it would write a file anywhere.
    ("decoding._target_", "heed.tracking.config_file.save_config", "decoding._target_"),
    ("optimizer._target_", "evil_module.thing", "optimizer._target_"),
    ("scheduler._target_", "subprocess.run", "scheduler._target_"),
    ("trainer._target_", "evil_module.thing", "trainer._target_"),
    ("callbacks.mine", {"_target_": "evil_module.Thing"}, "callbacks.mine._target_"),
    ("logger.mine", {"_target_": "evil_module.Thing"}, "logger.mine._target_"),
    ("tokenizer._target_", ["evil_module"], "tokenizer._target_"),
]


@pytest.mark.parametrize(("key", "value", "named"), PLACES)
def test_a_target_of_a_stranger_is_refused(
    key: str, value: Any, named: str, downloaded: Path, change: Callable[..., None], canary: Path
) -> None:
    change(key, value)
    with pytest.raises(UserError) as refused:
        open_run(downloaded)
    said = str(refused.value)
    assert said.startswith(named)
    assert "--trust" in said or "must be the dotted name" in said
    assert "evil_module" not in sys.modules
    assert not canary.exists()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_them_all_together(
    verb: list[str], downloaded: Path, change: Callable[..., None], canary: Path
) -> None:
    change("task._target_", "evil_module.Thing")
    change("model._target_", "os.system")
    code, said = heed(*(word.format(downloaded) for word in verb))
    assert code == 2
    assert said.count("error:") == 2
    assert not canary.exists()
    assert (
        f"task._target_ in {downloaded / 'config.yaml'} must be one of Heed's own or be trusted, "
        "but is 'evil_module.Thing'; a run folder may come from anybody, and this would run its "
        "code; if you know it: --trust evil_module, or HEED_TRUST=evil_module"
    ) in said


@pytest.mark.parametrize(
    ("words", "variable", "allowed"),
    [
        (["--trust", "fractions"], "", True),
        (["--trust=decimal,fractions.Fraction"], "", True),
        ([], "fractions", True),
        ([], "decimal, fractions", True),
        (["--trust", "fraction"], "fractions_too", False),
        (["--trust", "fractions.Fraction.other"], "", False),
    ],
)
def test_what_the_user_trusts_is_allowed(
    words: list[str],
    variable: str,
    allowed: bool,
    downloaded: Path,
    change: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEED_TRUST", variable)
    change("callbacks.mine", {"_target_": "fractions.Fraction"})
    code, said = heed("predict", f"run={downloaded}", *words)
    assert (code == 0) == allowed, said


def test_what_is_trusted_must_be_a_name(
    downloaded: Path, change: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="--trust must name modules, but has '../x'"):
        trusted_modules(["../x"])
    monkeypatch.setenv("HEED_TRUST", "*")
    with pytest.raises(UserError, match=r"HEED_TRUST must name modules, but has '\*'"):
        trusted_modules()
    code, said = heed("predict", f"run={downloaded}", "--trust")
    assert (code, "--trust needs a module" in said) == (2, True)


MINE = """\
from heed.tasks.sentiment import Sentiment
class Mine(Sentiment):
    pass
"""


def test_ones_own_run_with_ones_own_code_needs_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module in the working directory, trained with and used again, until the run is moved."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "my_own_code.py").write_text(MINE)
    monkeypatch.chdir(project)
    words = [*TINY, "task._target_=my_own_code.Mine", "paths.output_dir=runs"]
    code, said = heed("train", *words)
    assert code == 0, said
    (run,) = (path.parent for path in Path("runs").rglob("run.json"))
    for verb in VERBS:
        code, said = heed(*(word.format(run) for word in verb))
        assert code == 0, said

    moved = shutil.move(run, "moved")
    code, said = heed("predict", f"run={moved}")
    assert code == 2
    assert "--trust my_own_code" in said
    assert heed("predict", f"run={moved}", "--trust", "my_own_code")[0] == 0
    # going on with it is training with it
    assert heed("train", f"resume={moved}", "--trust", "my_own_code")[0] == 0
    assert heed("predict", f"run={moved}")[0] == 0


def test_a_folder_in_the_place_of_ones_own_is_not_ones_own(
    shared_run: Path, tmp_path: Path
) -> None:
    record = RunRecord.open(shared_run)
    assert recall(record) == []
    record.fields["started"] = "2001-01-01T00:00:00+00:00"
    assert recall(record) is None
    assert recall(RunRecord.open(shutil.copytree(shared_run, tmp_path / "copy"))) is None


def test_every_target_of_heeds_own_configs_is_defined_in_heed() -> None:
    rooms = (
        *("backbone", "data", "decoding", "finetuning", "pretrained"),
        *("tasks", "text", "tracking", "training"),
    )
    assert len(own_targets()) > 25
    for target in own_targets():
        module, _, name = target.rpartition(".")
        found = getattr(importlib.import_module(module), name)
        assert found.__module__.startswith(tuple(f"heed.{room}." for room in rooms)), target


# What a run folder brings along ------------------------------------------------------------------


def test_standing_in_a_strangers_folder_imports_nothing_from_it(
    downloaded: Path,
    change: Callable[..., None],
    canary: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Modules that Heed would import, and one that the user trusts, lie in the run folder."""
    for name in ("yaml", "torch", "mlflow", "typing_extensions", "evil_here"):
        (downloaded / f"{name}.py").write_text(EVIL)
    environment = {**os.environ, "PYTHONPATH": str(Path(main.__code__.co_filename).parents[1])}
    command = [sys.executable, "-m", "heed", "predict", "run=.", "input=none.txt"]
    done = subprocess.run(
        command, cwd=downloaded, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "input must be a file or -, but none.txt does not exist" in done.stderr
    assert not canary.exists()

    monkeypatch.chdir(downloaded)
    monkeypatch.setenv("HEED_TRUST", "evil_here")
    change("optimizer._target_", "evil_here.thing")
    code, said = heed("evaluate", "run=.")
    assert code == 2
    assert "there is no module 'evil_here'" in said
    assert not canary.exists()


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch \"$CANARY\"']\n",
        "task: !!python/object/new:subprocess.Popen [['touch']]\n",
        "seed: !!python/name:os.system\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",  # a little text without an end
        "paths: {run_dir: " + "[" * 20_000 + "]" * 20_000 + "}\n",
        "seed: " + "9" * 5_000 + "\n",
        "seed: 2020-13-45\n",
        "? [a, b]\n: c\n",
        "\x00",
    ],
)
def test_a_config_that_is_more_than_values(text: str, downloaded: Path, canary: Path) -> None:
    path = downloaded / "config.yaml"
    for content in (text, path.read_text() + text):
        path.write_text(content)
        with pytest.raises(UserError, match=r"config\.yaml"):
            open_run(downloaded)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("choices.+task._target_", "evil_module.Thing"),
        ("choices.decoding", "greedy decoding._target_=evil_module.Thing"),
        ("choices.model", "../../../evil"),
        ("choices.data", "${oc.env:HOME}"),
        ("choices.hydra/launcher@x", "y"),
        ("links.task._target_", "seed"),
    ],
)
def test_choices_and_links_are_plain_names(
    key: str, value: str, downloaded: Path, canary: Path
) -> None:
    path = downloaded / "config.yaml"
    config = yaml.safe_load(path.read_text())
    group, _, name = key.partition(".")
    config[group][name] = value
    path.write_text(yaml.safe_dump(config))
    code, said = heed("predict", f"run={downloaded}", "decoding=greedy", "seed=3")
    assert code == 2
    assert f"{group} in {path} must" in said
    assert not canary.exists()


@pytest.mark.parametrize(
    "path", ["../outside.ckpt", "/etc/passwd", "checkpoints/../../x", "a\\..\\b", "a\0b"]
)
def test_a_record_names_no_file_outside_its_folder(path: str, downloaded: Path) -> None:
    (downloaded.parent / "outside.ckpt").write_bytes(b"")
    record = downloaded / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "best_checkpoint": path}))
    for verb in VERBS[:2]:
        code, said = heed(*(word.format(downloaded) for word in verb))
        assert code == 2, said
        assert f"best_checkpoint in {record} must be a file in the run folder" in said


@pytest.mark.parametrize(
    "name", ["checkpoints/last.ckpt", "predictions", "metrics.csv", "tokenizer/tokenizer.json"]
)
def test_a_link_that_leads_out_of_the_folder(name: str, downloaded: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    path = downloaded / name
    shutil.move(path, outside)
    before = sorted(tmp_path.rglob("*"))
    path.symlink_to(outside)
    for verb in VERBS[1:]:
        code, said = heed(*(word.format(downloaded) for word in verb))
        assert code == 2, said
        assert f"a run folder must hold its own files, but {path} leads to {outside}" in said
    path.unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_ones_own_run_may_keep_its_checkpoints_elsewhere(
    shared_run: Path, downloaded: Path, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    assert heed("train", *TINY, f"paths.output_dir={root}")[0] == 0
    (run,) = (path.parent for path in root.rglob("run.json"))
    shutil.move(run / "checkpoints", tmp_path / "big_disk")
    (run / "checkpoints").symlink_to(tmp_path / "big_disk")
    code, said = heed("train", f"resume={run}", "trainer.max_steps=3")
    assert code == 0, said
    code, said = heed("evaluate", f"run={run}")
    assert code == 0, said


def test_a_pipe_in_the_place_of_a_file_holds_nothing_up(downloaded: Path) -> None:
    for name in ("metrics.csv", "config.yaml", "run.json"):
        kept = (downloaded / name).read_bytes()
        (downloaded / name).unlink()
        os.mkfifo(downloaded / name)
        code, said = heed("predict", f"run={downloaded}")
        assert code == 2, said
        assert name in said
        (downloaded / name).unlink()
        (downloaded / name).write_bytes(kept)


# Places that a config names ----------------------------------------------------------------------


def test_a_strangers_cache_folder_is_not_written(
    downloaded: Path, change: Callable[..., None], tmp_path: Path
) -> None:
    for key in ("paths.cache_dir", "data.cache_dir"):
        change(key, str(tmp_path / "a" / "place"))
    change("paths.output_dir", str(tmp_path / "another"))
    _, config = open_run(downloaded)
    assert config["paths"]["cache_dir"] == config["data"]["cache_dir"] == str(local_cache_dir())
    for verb in VERBS:
        code, said = heed(*(word.format(downloaded) for word in verb))
        assert code == 0, said
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "another").exists()


def test_a_cache_that_ones_own_runs_made_is_used(
    downloaded: Path, change: Callable[..., None], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    words = [f"paths.output_dir={tmp_path / 'runs'}", f"paths.cache_dir={cache}"]
    assert heed("train", *TINY, *words)[0] == 0
    assert (cache / MARKER).exists()
    change("paths.cache_dir", str(cache))
    assert open_run(downloaded)[1]["paths"]["cache_dir"] == str(cache)
    typed = tmp_path / "typed"
    code, said = heed("evaluate", f"run={downloaded}", f"paths.cache_dir={typed}")
    assert code == 0, said
    assert (typed / "records").is_dir()


def test_a_strangers_trackers_tell_nobody() -> None:
    def config() -> dict[str, Any]:
        return {
            "paths": {"cache_dir": "~/.cache/heed"},
            "data": {"cache_dir": 7},
            "logger": {
                "mlflow": {"store": "https://stranger.example", "experiment": "x"},
                "wandb": {"entity": "stranger", "project": "x"},
            },
        }

    theirs, mine = config(), config()
    confine(theirs, own=False)
    confine(mine, own=True)
    assert theirs["logger"] == {
        "mlflow": {"store": None, "experiment": "x"},
        "wandb": {"entity": None, "project": "x"},
    }
    assert mine["logger"] == config()["logger"]
