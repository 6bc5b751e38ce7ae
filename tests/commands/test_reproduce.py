"""`heed reproduce`: a run again, and an honest answer to whether it is the same."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import yaml

from heed.tracking.lock import run_lock


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder with a digest of what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def edited(run: Path, **changes) -> Path:
    """Change fields of a run's record."""
    path = run / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return run


@pytest.fixture(scope="module")
def repeated(heed, run_folder, tmp_path_factory):
    """A run, its repetition, what was said, and what the run's folder held before and after."""
    run = run_folder("sentiment")
    before = contents(run)
    root = tmp_path_factory.mktemp("again")
    answer = heed("reproduce", f"run={run}", f"paths.output_dir={root}")
    (record,) = root.rglob("run.json")
    return run, record.parent, answer, (before, contents(run))


@pytest.fixture
def copies(repeated, tmp_path):
    """Copies of a run and its repetition, to be changed."""
    for folder, name in zip(repeated[:2], ("old", "new"), strict=True):
        shutil.copytree(folder, tmp_path / name)
    return tmp_path / "old", tmp_path / "new"


def test_a_run_is_made_again_bit_for_bit(repeated, record, weights):
    import torch

    run, again, answer, (before, after) = repeated
    assert answer.code == 0, answer.out + answer.err
    assert answer.out.endswith("Reproduced, bit for bit.\n")
    assert before == after
    first, second = record(run), record(again)
    assert second["started"] >= first["ended"]
    assert second["metrics"] == first["metrics"]
    for name in first["metrics"]:
        assert any(
            line.split()[0] == name and line.endswith("bit for bit")
            for line in answer.out.splitlines()
            if line.strip()
        )
    one, other = weights(run), weights(again)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (again / "predictions/test.jsonl").read_bytes() == (
        run / "predictions/test.jsonl"
    ).read_bytes()


def test_the_repetition_knows_where_it_comes_from(repeated, record):
    run, again, answer, _ = repeated
    assert (again / record(again)["lineage"]["reproduces"]).resolve() == run.resolve()
    assert record(again)["overrides"] == [
        *record(run)["overrides"],
        f"paths.output_dir={again.parents[2]}",
    ]
    said = json.loads((again / "reproduction.json").read_text())
    assert said["verdict"] == "bit for bit"
    assert {one["name"] for one in said["compared"]} > {"test/accuracy", "curves", "weights"}
    assert yaml.safe_load((again / "config.yaml").read_text())["seed"] == record(run)["seed"]
    computing = record(again)["computing"]
    assert computing["processes"] == 1
    assert computing["precision"] == "32-true"
    assert computing["threads"] >= 1


def test_a_change_makes_it_another_and_is_named(heed, repeated, tmp_path):
    run = repeated[0]
    answer = heed("reproduce", f"run={run}", f"paths.output_dir={tmp_path}", "optimizer.lr=0.01")
    assert answer.code == 1, answer.out + answer.err
    assert "changed: optimizer.lr=0.01" in answer.out
    assert "config    optimizer.lr: 0.0015 / 0.01" in answer.out
    assert "NOT reproduced: " in answer.out
    assert "first at step 1: train/learning_rate" in answer.out
    (again,) = tmp_path.rglob("reproduction.json")
    loose = heed("reproduce", f"run={run}", f"against={again.parent}", "tolerance=1000")
    assert loose.code == 0
    assert "Reproduced within the tolerance of 1000, not bit for bit." in loose.out
    tight = heed("reproduce", f"run={run}", f"against={again.parent}", "tolerance=1e-9")
    assert tight.code == 1


def test_another_trainer_is_another_place_and_no_other_training(
    heed, run_folder, tmp_path, monkeypatch
):
    words = [f"run={run_folder('sentiment')}", f"paths.output_dir={tmp_path}", "trainer=auto"]
    answer = heed("reproduce", *words, "trainer.accelerator=cpu")
    assert answer.code == 0, answer.out + answer.err
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    gone = heed("reproduce", *words, "trainer.accelerator=mps")
    assert gone.code == 2
    assert "trainer.accelerator=mps needs an Apple computer's GPU" in gone.err


def test_a_metric_that_is_a_little_off(heed, copies):
    old, new = copies
    fields = json.loads((new / "run.json").read_text())
    loss = fields["metrics"]["test/loss"]
    edited(new, metrics={**fields["metrics"], "test/loss": loss + 0.001})
    words = [f"run={old}", f"against={new}"]
    assert heed("reproduce", *words, "tolerance=0.01").code == 0
    answer = heed("reproduce", *words)
    assert answer.code == 1
    assert "NOT reproduced: a difference in test/loss." in answer.out
    edited(new, metrics={k: v for k, v in fields["metrics"].items() if k != "test/loss"})
    answer = heed("reproduce", *words, "tolerance=0.01")
    assert answer.code == 1
    assert "differs (not made again)" in answer.out


def test_weights_and_predictions_count_though_the_scores_agree(heed, copies):
    import torch

    old, new = copies
    path = new / json.loads((new / "run.json").read_text())["best_checkpoint"]
    checkpoint = torch.load(path, weights_only=True)
    name = next(iter(checkpoint["state_dict"]))
    checkpoint["state_dict"][name].view(-1)[0] += 0.25
    torch.save(checkpoint, path)
    answer = heed("reproduce", f"run={old}", f"against={new}")
    assert answer.code == 1
    assert "NOT reproduced: a difference in weights." in answer.out
    assert f"first {name}: 1 of" in answer.out
    predictions = new / "predictions/test.jsonl"
    lines = predictions.read_text().splitlines()
    predictions.write_text("\n".join(lines[:-1]) + "\n")
    answer = heed("reproduce", f"run={old}", f"against={new}", "tolerance=0.5")
    assert answer.code == 0
    assert "predictions   differs" in answer.out
    assert f"{len(lines) - 1} of {len(lines)} the same" in answer.out


def test_ingredients_that_differ_are_named(heed, copies):
    old, new = copies
    fields = json.loads((old / "run.json").read_text())
    edited(
        new,
        versions={**fields["versions"], "torch": "1.0"},
        computing={**fields["computing"], "threads": 64},
    )
    answer = heed("reproduce", f"run={old}", f"against={new}")
    assert answer.code == 0
    assert f"versions  torch: {fields['versions']['torch']} / 1.0" in answer.out
    assert f"computing threads: {fields['computing']['threads']} / 64" in answer.out


def test_a_run_that_was_not_finished_is_compared_as_far_as_it_came(heed, copies):
    old, new = copies
    lines = (old / "metrics.csv").read_text().splitlines(keepends=True)
    (old / "metrics.csv").write_text("".join(lines[:3]))
    edited(old, status="stopped", reason="asked to stop (SIGTERM)", best_checkpoint=None)
    answer = heed("reproduce", f"run={old}", f"against={new}")
    assert answer.code == 0, answer.out + answer.err
    assert "test/accuracy" not in answer.out
    assert "logged numbers the same" in answer.out
    (old / "metrics.csv").write_text("".join([*lines[:2], lines[2].replace(".", ".9")]))
    assert heed("reproduce", f"run={old}", f"against={new}").code == 1


def test_a_run_that_failed_fails_again_in_the_same_way(heed, tiny, tmp_path):
    wild = [*tiny, "optimizer.lr=1e30", "trainer.gradient_clip_val=null", "trainer.max_steps=9"]
    assert heed("train", "task=sentiment", *wild, where=tmp_path).code == 1
    (run,) = (tmp_path / "outputs/sentiment/default").iterdir()
    answer = heed("reproduce", f"run={run}", where=tmp_path)
    assert answer.code == 0, answer.out + answer.err
    assert "It was not finished (failed: " in answer.out
    assert "It failed, as the recorded run did." in answer.err
    assert "Reproduced, bit for bit." in answer.out


def test_what_cannot_be_repeated_is_refused(heed, copies):
    old, new = copies
    with run_lock(old):
        assert "is being trained by another process" in heed("reproduce", f"run={old}").err
    edited(new, status="running")
    said = heed("reproduce", f"run={old}", f"against={new}")
    assert said.code == 2
    assert "must have come to its end, but is 'running'; go on with it: heed train resume=" in (
        said.err
    )
    edited(old, status="queued")
    assert "has not been trained yet" in heed("reproduce", f"run={old}").err
    (old / "metrics.csv").unlink()
    edited(old, status="failed", reason="out of memory", steps=None)
    said = heed("reproduce", f"run={old}")
    assert said.code == 2
    assert "must have made a step, but ended as 'failed' before that (out of memory)" in said.err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["tolerance=-1"], "tolerance must be a number of at least 0, but is -1"),
        (["tolerance=much"], "tolerance must be a number of at least 0, but is 'much'"),
        (["code=7"], "code must be true or false, but is 7"),
        (["tolerence=1"], "tolerence is not a key of the run's config; did you mean 'tolerance'?"),
        (["-m"], "heed reproduce works on one run at a time, and has no -m"),
        (["model.n_heads=3"], "model.n_heads must divide model.d_model"),
    ],
)
def test_mistakes_make_nothing(heed, repeated, tmp_path, words, problem):
    said = heed("reproduce", f"run={repeated[0]}", f"paths.output_dir={tmp_path}", *words)
    assert said.code == 2
    assert problem in said.err
    assert not any(tmp_path.iterdir())


def test_a_run_folder_of_another_version(heed, copies, tmp_path):
    old, _ = copies
    before = contents(old)
    edited(old, schema=2)
    for words in (["reproduce", f"run={old}"], ["diff", str(old), str(old)]):
        said = heed(*words, where=tmp_path)
        assert said.code == 2
        assert (
            "must have schema 1, but has 2; use the version of Heed that wrote it (0." in said.err
        )
    edited(old, schema=1)
    config = yaml.safe_load((old / "config.yaml").read_text())
    config["trainer"]["of_another_version"] = 1
    (old / "config.yaml").write_text(yaml.safe_dump(config))
    said = heed("reproduce", f"run={old}", where=tmp_path)
    assert said.code == 2
    assert "of_another_version" in said.err
    assert not (tmp_path / "outputs").exists()
    assert contents(old).keys() == before.keys()


def test_a_strangers_changes_of_the_code_are_not_run(heed, copies):
    old, _ = copies
    said = heed("reproduce", f"run={old}", "code=true")
    assert said.code == 2
    assert "this run was not trained by you here" in said.err


@pytest.fixture
def own_data(tmp_path):
    """A folder of sentences with labels."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split, count in (("train", 40), ("validation", 8), ("test", 8)):
        rows = [
            f"the film number {n} was {'good' if n % 2 else 'bad'},{n % 2}" for n in range(count)
        ]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


def test_data_that_changed_are_named_before_anything_is_made(heed, own_data, tiny_model, tmp_path):
    words = ["task=sentiment", "data=local", f"data.path={own_data}", *tiny_model]
    cache = f"paths.cache_dir={tmp_path / 'cache'}"
    trained = heed("train", *words, cache, where=tmp_path)
    assert trained.code == 0, trained.err
    (run,) = (tmp_path / "outputs/sentiment/default").iterdir()
    with (own_data / "validation.csv").open("a") as file:
        file.write("another one,1\n")
    said = heed("reproduce", f"run={run}", where=tmp_path)
    assert said.code == 2
    assert "the data have changed since this run began: validation (" in said.err
    assert "train (" not in said.err
    assert [run] == list((tmp_path / "outputs/sentiment/default").iterdir())
    shutil.rmtree(own_data)  # what the run began with is still in the cache
    again = heed("reproduce", f"run={run}", "data.from_cache=true", where=tmp_path)
    assert again.code == 0, again.out + again.err


def test_the_tokenizer_is_the_runs_own(heed, run_folder, tiny, tmp_path):
    shutil.copytree(run_folder("sentiment") / "tokenizer", tmp_path / "words")
    given = ["tokenizer=file", f"tokenizer.path={tmp_path / 'words'}"]
    kept = [word for word in tiny if not word.startswith("tokenizer.")]
    assert heed("train", "task=sentiment", *kept, *given, where=tmp_path).code == 0
    (run,) = (tmp_path / "outputs/sentiment/default").iterdir()
    shutil.rmtree(tmp_path / "words")
    answer = heed("reproduce", f"run={run}", where=tmp_path)
    assert answer.code == 0, answer.out + answer.err


# Real processes -----------------------------------------------------------------------------------


def typed(where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "heed", *words],
        capture_output=True,
        text=True,
        cwd=where,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """That of a process that imports the same Heed."""
    import heed

    return {**os.environ, "PYTHONPATH": str(Path(heed.__file__).parents[1])}


@pytest.mark.learning
def test_two_processes_are_reproduced(tiny, tmp_path):
    words = [word for word in tiny if word != "trainer=cpu"]
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    done = typed(tmp_path, "train", "task=translation", *words, *two)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs/translation/default").iterdir()
    done = typed(tmp_path, "reproduce", f"run={run}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no ingredient differs" in done.stdout
    (again,) = (p for p in run.parent.iterdir() if p != run)
    assert json.loads((again / "run.json").read_text())["computing"]["processes"] == 2


MINE = """
    from heed.tasks.sentiment import Sentiment


    class Mine(Sentiment):
        def on_train_start(self):
            next(self.backbone.parameters()).data.mul_({factor})
"""


@pytest.mark.learning
def test_the_recorded_code_is_run_with_its_changes(tiny, tmp_path):
    """A project with a task of its own: committed, changed, trained, and changed again."""
    project = tmp_path / "project"
    (project / "my_configs/task").mkdir(parents=True)
    (project / "my_configs/task/mine.yaml").write_text(
        "defaults: [sentiment, _self_]\n_target_: my_tasks.Mine\n"
    )
    code = project / "my_tasks.py"

    def write(factor: float) -> None:
        code.write_text(textwrap.dedent(MINE).format(factor=factor))

    write(1.0)
    (project / ".gitignore").write_text("outputs\n__pycache__\n")
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *words], cwd=project, check=True)
    write(1.5)
    done = typed(project, "train", "--config-dir", "my_configs", "task=mine", *tiny)
    assert done.returncode == 0, done.stderr
    (run,) = (project / "outputs/sentiment/default").iterdir()
    fields = json.loads((run / "run.json").read_text())
    edited(run, code={"project": fields["code"]["project"]})  # Heed's own is as it was
    write(2.0)
    done = typed(project, "reproduce", f"run={run}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "project changes since the commit: project.diff" in done.stdout
    assert "code=true runs the recorded commit" in done.stdout
    done = typed(project, "reproduce", f"run={run}", "code=true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "and changes" in done.stdout
    assert "Reproduced, bit for bit." in done.stdout
    assert "factor" not in code.read_text()
    assert "mul_(2.0)" in code.read_text()
    trees = subprocess.run(
        ["git", "worktree", "list"], cwd=project, capture_output=True, text=True, check=True
    )
    assert len(trees.stdout.splitlines()) == 1


@pytest.mark.faults
def test_a_repetition_that_was_stopped_is_gone_on_with_and_compared(heed, tiny, tmp_path):
    words = [
        *(word for word in tiny if not word.startswith("trainer.max_steps")),
        *("trainer.max_steps=200", "trainer.max_epochs=-1", "trainer.val_check_interval=100"),
        "callbacks.last.every_n_train_steps=10",
    ]
    assert heed("train", "task=sentiment", *words, where=tmp_path).code == 0
    (run,) = (tmp_path / "outputs/sentiment/default").iterdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "heed", "reproduce", f"run={run}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(),
    )
    while process.poll() is None and len(list(tmp_path.rglob("last.ckpt"))) < 2:
        time.sleep(0.05)
    process.terminate()
    _, said = process.communicate()
    assert process.returncode == 143, said
    (again,) = (p for p in run.parent.iterdir() if p != run)
    assert f"against={again.relative_to(tmp_path)}" in said
    early = heed("reproduce", f"run={run}", f"against={again}", where=tmp_path)
    assert early.code == 2
    assert "must have come to its end, but is 'stopped'" in early.err
    assert heed("train", f"resume={again}", where=tmp_path).code == 0
    done = heed("reproduce", f"run={run}", f"against={again}", where=tmp_path)
    assert done.code == 0, done.out
    assert "Reproduced, bit for bit." in done.out
