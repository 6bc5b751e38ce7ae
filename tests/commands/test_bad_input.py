"""What somebody may get wrong, from the command line: each with its words and exit code 2."""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from heed.commands.hardware import check_hardware
from heed.errors import UserError

GOOD = "text,label\n" + "a fine film,good\na poor film,bad\n" * 20


@pytest.fixture
def train_on(heed: Callable[..., Any], tiny_model: list[str], tmp_path: Path) -> Callable[..., Any]:
    """Trains sentiment on files that are written into a folder."""

    def train(files: dict[str, str | bytes], *words: str) -> Any:
        folder = tmp_path / "texts"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        places = [f"data.path={folder}", f"paths.output_dir={tmp_path / 'runs'}"]
        return heed("train", "task=sentiment", "data=local", *places, *tiny_model, *words)

    return train


BAD_FILES: dict[str, tuple[dict[str, str | bytes], list[str], str]] = {
    "an empty file": ({"train.csv": ""}, [], "train.csv"),
    "a header only": ({"train.csv": "text,label\n"}, [], "train.csv"),
    "a truncated file": (
        {"train.csv.gz": gzip.compress(GOOD.encode())[:-20]},
        [],
        "must be a whole gzip file, but it breaks off or is damaged",
    ),
    "truncated json": ({"train.jsonl": '{"text": "fine", "la'}, [], "row 1 is not JSON"),
    "other columns": (
        {"train.csv": GOOD.replace("text,", "words,", 1)},
        [],
        "data.columns.text must name the column of train.csv that holds the text, but none",
    ),
    "a misspelt column": (
        {"train.csv": GOOD},
        ["data.columns.text=txet"],
        "data.columns.text must name a column of train.csv, but is 'txet' "
        "(columns found: text, label); did you mean 'text'?",
    ),
    "a column of the record that is none": (
        {"train.csv": GOOD},
        ["data.columns.txt=text"],
        "data.columns.txt is not a column of labelled_text records; did you mean 'text'?",
    ),
    "no training file": ({"trian.csv": GOOD}, [], "must be a folder with training data, but"),
    "not UTF-8": (
        {"train.csv": b"text,label\ncaf\xe9,good\n"},
        [],
        "has the byte 0xe9 where UTF-8 has none",
    ),
    "rows refused": (
        {"train.csv": GOOD + ",good\nfine,\n", "dev.csv": GOOD},
        ["data.invalid=error"],
        "every row of the train data must be valid, but in 1 text is empty",
    ),
    "all rows bad": (
        {"train.csv": "text,label\n,good\n,bad\n"},
        [],
        "the train data must have a valid row, but all rows of",
    ),
    "labels not in the set": (
        {"train.csv": GOOD + "odd,strange\n", "dev.csv": GOOD},
        ["data.labels=[good,bad]", "data.invalid=error"],
        "label is not in the label set",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named(case: str, train_on: Callable[..., Any]) -> None:
    files, words, told = BAD_FILES[case]
    answer = train_on(files, *words)
    assert answer.code == 2, answer.err
    assert told in " ".join(answer.err.split())
    assert "Traceback" not in answer.err


def test_bad_rows_are_counted_and_named(
    train_on: Callable[..., Any],
    tmp_path: Path,
    only_run: Callable[..., Path],
    record: Callable[..., dict[str, Any]],
) -> None:
    long = "film " * 400
    answer = train_on({"train.csv": GOOD + f",good\nfine,\n{long},good\n", "dev.csv": GOOD})
    assert answer.code == 0, answer.err
    said = " ".join(answer.out.split())
    assert "left out 2 invalid rows" in said
    assert "1 text is empty" in said
    assert "1 label is missing" in said
    assert "cut 1 examples to the maximum length" in said
    dropped = record(only_run(tmp_path / "runs"))["data"]["train"]["dropped"]
    assert {reason: fault["count"] for reason, fault in dropped.items()} == {
        "text is empty": 1,
        "label is missing": 1,
    }
    assert "train.csv row 41" in dropped["text is empty"]["first"][0]


def test_an_answer_that_is_not_in_its_passage(
    heed: Callable[..., Any], tiny_model: list[str], tmp_path: Path
) -> None:
    row = {"question": "Who?", "context": "Ann paints.", "answers": ["Ben"], "starts": [0]}
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    words = ["task=qa", "data=local", f"data.path={tmp_path}", "data.invalid=error"]
    answer = heed("train", *words, *tiny_model, f"paths.output_dir={tmp_path / 'runs'}")
    assert answer.code == 2
    assert "answer does not stand at its start in the context" in answer.err
    assert "Ben" in answer.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["task=tranlation"], "task has no option 'tranlation'; did you mean 'translation'?"),
        (["data=multi3k"], "data has no option 'multi3k'; did you mean 'multi30k'?"),
        (["data=multi30k", "task=qa"], "data=multi30k must suit task=qa"),
        (["data.max_token=5"], "data.max_token is not a key of the config; did you mean 'data.ma"),
        (["data=local"], "data.path must be given with data=local, but is null"),
        (["data=local", "data.path=none"], "data.path must be a folder or file, but none does not"),
        (["model.n_heads=7"], "model.n_heads must divide model.d_model (128), but is 7"),
        (["resume=none"], "a run folder holds a run.json, but none does not exist"),
        (["resume=latest"], "the latest run was asked for, but there is none under outputs"),
        (["trainer.devices=two"], "trainer.devices must be a whole number of at least 1, auto,"),
        (
            ["trainer=ddp", "trainer.devices=0"],
            "auto, or a list of GPUs such as [0,1], each once, but is 0",
        ),
        (["trainer=fsdp2", "trainer.devices=[1,1]"], "such as [0,1], each once, but is [1, 1]"),
        (["trainer.devices=2"], "trainer.devices must be 1 without a strategy, but is 2; choose"),
        (["trainer.accelerator=gpus"], "trainer.accelerator must be one of auto, cpu, gpu, cuda"),
        (["trainer=ddp", "trainer.strategy.bucket_cap_mb=0"], "must be a whole number of at least"),
        (["trainer=mps"], "needs an Apple computer's GPU, but there is none here"),
        (
            ["hydra/launcher=slurm"],
            "is for sweeps, of one run or more; add -m",
        ),
        (["name=a/b"], "name must be a plain folder name, but is 'a/b'"),
    ],
)
def test_a_mistake_in_the_words(
    words: list[str], told: str, heed: Callable[..., Any], tmp_path: Path
) -> None:
    answer = heed("train", *words, where=tmp_path)
    assert answer.code == 2
    assert told in answer.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there(heed: Callable[..., Any], tmp_path: Path) -> None:
    answer = heed("train", "trainer=gpu", where=tmp_path)
    assert answer.code == 2
    assert "trainer.accelerator=gpu needs a GPU, but" in answer.err
    assert not list(tmp_path.rglob("run.json"))
    assert heed("check", "trainer=gpu").code == 0  # it may be for another machine


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_kernel_that_needs_a_gpu(heed: Callable[..., Any], tmp_path: Path) -> None:
    answer = heed("train", "model.kernel=flex", where=tmp_path)
    assert answer.code == 2
    assert "model.kernel=flex needs a CUDA GPU, but torch sees none; use model.kernel=auto" in (
        answer.err
    )
    assert not list(tmp_path.rglob("run.json"))
    assert heed("check", "model.kernel=flex").code == 0  # it may be for another machine
    answer = heed("check", "model.kernel=flex", "trainer=cpu")
    assert answer.code == 2
    assert "model.kernel must be auto, reference or sdpa with trainer.accelerator=cpu" in answer.err


def test_fewer_gpus_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_hardware({"accelerator": "gpu", "devices": 2})
    check_hardware({"accelerator": "cpu", "devices": 3})
    with pytest.raises(UserError, match=r"trainer.devices must be at most 2.* but is 3"):
        check_hardware({"accelerator": "gpu", "devices": 3})
    with pytest.raises(UserError, match="must be at most 2"):
        check_hardware({"accelerator": "cuda", "devices": [0, 1, 2]})


def test_all_mistakes_are_told_together(heed: Callable[..., Any]) -> None:
    answer = heed("train", "model.n_heads=7", "data.max_tokens=null", "trainer.precision=half")
    assert answer.code == 2
    assert answer.err.count("error:") == 3


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_run_that_is_none(verb: str, heed: Callable[..., Any], tmp_path: Path) -> None:
    answer = heed(verb, where=tmp_path)
    assert answer.code == 2
    assert "run must be given, but is not; add run=..." in answer.err
    for folder in ("none", "."):
        answer = heed(verb, f"run={folder}", where=tmp_path)
        assert answer.code == 2
        assert "a run folder holds a run.json" in answer.err


@pytest.fixture
def damaged(run_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of a run, to be damaged."""
    return Path(shutil.copytree(run_folder("sentiment"), tmp_path / "run"))


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_damaged_run_folder(verb: str, heed: Callable[..., Any], damaged: Path) -> None:
    def told() -> str:
        answer = heed(verb, f"run={damaged}", typed="fine\n")
        assert answer.code == 2, answer.err
        assert "Traceback" not in answer.err
        return str(answer.err)

    for checkpoint in (damaged / "checkpoints").glob("*.ckpt"):
        os.truncate(checkpoint, 1000)
    assert "is broken (1,000 bytes)" in told()
    shutil.rmtree(damaged / "checkpoints")
    assert "has no checkpoint (its run ended as 'done')" in told()
    (damaged / "config.yaml").write_text("task: [")
    assert "config.yaml must be YAML, but is broken" in told()
    (damaged / "config.yaml").unlink()
    assert "config.yaml does not exist; a run folder holds a config.yaml" in told()
    (damaged / "run.json").write_text('{"schema": 1')
    assert "run.json must be JSON, but is broken" in told()


def test_a_checkpoint_that_would_run_something(
    heed: Callable[..., Any], damaged: Path, tmp_path: Path
) -> None:
    import torch

    for checkpoint in (damaged / "checkpoints").glob("*.ckpt"):
        torch.save({"state_dict": {}, "more": _Touch(str(tmp_path / "touched"))}, checkpoint)
    answer = heed("predict", f"run={damaged}", typed="fine\n")
    assert answer.code == 2
    assert "must hold tensors and plain values only" in answer.err
    assert not (tmp_path / "touched").exists()


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Lets no file grow beyond so many bytes, as a full disk would not."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_room_for_predictions(
    heed: Callable[..., Any],
    run_folder: Callable[..., Path],
    tmp_path: Path,
    small_files: Callable[[int], None],
) -> None:
    output = tmp_path / "out.jsonl"
    run = run_folder("sentiment")
    small_files(200)
    answer = heed("predict", f"run={run}", f"output={output}", typed="a film\n" * 100)
    assert answer.code == 2, answer.err
    assert f"{output} could not be written" in answer.err
    assert "with output=FILE" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_a_checkpoint(
    heed: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    trained: Callable[..., Any],
    small_files: Callable[[int], None],
    record: Callable[..., dict[str, Any]],
    only_run: Callable[..., Path],
) -> None:
    trained("sentiment")  # so that its data are in the cache
    small_files(120_000)
    words = ["model.d_feed_forward=2048", f"paths.output_dir={tmp_path}"]
    answer = heed("train", "task=sentiment", *tiny, *words)
    assert answer.code == 2, answer.err
    assert ".ckpt could not be written" in answer.err
    assert "free some space there, or write elsewhere with paths.output_dir=FOLDER" in answer.err
    fields = record(only_run(tmp_path))
    assert fields["status"] == "failed"
    assert "could not be written" in fields["reason"]
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a file system of the kernel's")
def test_a_folder_that_may_not_be_written_to(heed: Callable[..., Any], tiny: list[str]) -> None:
    answer = heed("train", *tiny, "paths.output_dir=/sys/kernel/runs")
    assert answer.code == 2
    assert "could not be written" in answer.err
    assert "choose a folder that you may write to with paths.output_dir=FOLDER" in answer.err


def test_an_output_folder_that_is_a_file(
    heed: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    (tmp_path / "runs").write_text("")
    answer = heed("train", *tiny, f"paths.output_dir={tmp_path / 'runs'}")
    assert answer.code == 2
    assert "paths.output_dir must be a folder, but" in answer.err


def test_a_data_set_of_the_hub_without_a_network(
    heed: Callable[..., Any], tiny_model: list[str], tmp_path: Path
) -> None:
    """Held by HF_HUB_OFFLINE, as all tests are."""
    words = ["data=multi30k", f"paths.output_dir={tmp_path}", f"paths.cache_dir={tmp_path / 'c'}"]
    answer = heed("train", *words, *tiny_model)
    assert answer.code == 2, answer.err
    assert "must be on huggingface.co or in its local cache, but it cannot be had" in answer.err
    assert "data.path" in answer.err


def test_mistakes_are_answered_without_torch(run_folder: Callable[..., Path]) -> None:
    run = run_folder("sentiment")
    calls = [
        ["train", "model.n_heads=7"],
        ["train", "data=local", "data.path=none"],
        ["train", f"resume={run}", "seed=1"],
        ["evaluate", f"run={run}", "splt=test"],
        ["predict", "run=none"],
        ["predict", f"run={run}", "input=none.txt"],
        ["predict", f"run={run}", "format=text"],
    ]
    program = (
        "import sys\n"
        "from heed.cli import main\n"
        f"print([main(words) for words in {calls!r}])\n"
        "print(sorted({'torch', 'lightning', 'datasets', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [str([2] * len(calls)), "[]"], done.stderr


def test_machines_that_nobody_starts_are_not_waited_for(heed: Callable[..., Any]) -> None:
    answer = heed("train", "trainer=ddp", "trainer.devices=1", "trainer.num_nodes=3")
    assert answer.code == 2
    assert "trainer.num_nodes must be 1 where no launcher starts the processes, but is 3" in (
        answer.err
    )
