"""The faults of the surroundings: data that change or vanish, loaders killed, clocks that jump."""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from heed.cli import main
from heed.commands.newest_run import FILE_NAME, newest, note_begun
from heed.data.corpus import Corpus
from heed.data.records import record_kind
from heed.data.sources import FileSource
from heed.errors import UserError
from heed.tracking.csv_logger import read_metrics
from heed.tracking.folder import create_run_folder

TINY = [
    *("task=sentiment", "model.d_model=14", "model.n_heads=2", "model.d_feed_forward=23"),
    *("model.n_layers=1", "tokenizer.vocabulary_size=300", "data.max_tokens=150", "logger=csv"),
    *("trainer=cpu", "trainer.precision=32-true", "trainer.max_steps=3"),
    *("trainer.log_every_n_steps=1", "callbacks.progress=null"),
]
BUILTIN = ["data.source.train_size=61", "data.source.validation_size=7", "data.source.test_size=7"]
SECONDS = 300  # until a command that should have ended is taken for one that hangs


def heed(*words: str) -> tuple[int, str]:
    """The exit code of a command, and all that it said."""
    said = io.StringIO()
    argv, sys.argv = sys.argv, ["heed", *words]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(list(words))
    finally:
        sys.argv = argv
    return code, said.getvalue()


def the_run(root: Path) -> Path:
    (record,) = root.rglob("run.json")
    return record.parent


def record_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found


def weights(run: Path) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return dict(found["state_dict"])


# Data that change or vanish -----------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with one's own texts."""
    folder = tmp_path / "texts"
    folder.mkdir()
    good = [f"a fine film number {n},good\na poor film number {n},bad\n" for n in range(23)]
    for name, rows in (("train", good), ("dev", good[:5]), ("test", good[5:9])):
        (folder / f"{name}.csv").write_text("text,label\n" + "".join(rows))
    return folder


@pytest.fixture
def begun(data: Path, tmp_path: Path) -> Path:
    """A run on them that has ended after three steps."""
    places = [f"paths.output_dir={tmp_path / 'runs'}", f"paths.cache_dir={tmp_path / 'cache'}"]
    code, said = heed("train", *TINY, "data=local", f"data.path={data}", *places)
    assert code == 0, said
    return the_run(tmp_path / "runs")


def overwrite(data: Path) -> None:
    (data / "train.csv").write_text("text,label\n" + "something else,good\nquite,bad\n" * 17)


def test_a_run_does_not_go_on_with_other_data(begun: Path, data: Path, tmp_path: Path) -> None:
    undisturbed = Path(shutil.copytree(begun, tmp_path / "undisturbed"))
    assert heed("train", f"resume={undisturbed}", "trainer.max_steps=7")[0] == 0
    before = {path.name: path.read_bytes() for path in begun.iterdir() if path.is_file()}
    overwrite(data)
    code, said = heed("train", f"resume={begun}", "trainer.max_steps=7")
    assert code == 2
    assert f"the data have changed since this run began: train ({data / 'train.csv'})" in said
    assert "data.from_cache=true goes on with what it began with" in said
    assert "Traceback" not in said
    assert (begun / "metrics.csv").read_bytes() == before["metrics.csv"]

    code, said = heed("train", f"resume={begun}", "trainer.max_steps=7", "data.from_cache=true")
    assert code == 0, said
    one, other = weights(begun), weights(undisturbed)
    assert all(one[name].equal(other[name]) for name in one)  # the rows it began with, no others


def test_a_run_whose_data_have_gone_goes_on_with_its_cache(
    begun: Path, data: Path, tmp_path: Path
) -> None:
    undisturbed = Path(shutil.copytree(begun, tmp_path / "undisturbed"))
    assert heed("train", f"resume={undisturbed}", "trainer.max_steps=7")[0] == 0
    shutil.rmtree(data)
    code, said = heed("train", f"resume={begun}", "trainer.max_steps=7")
    assert code == 0, said
    assert "The data cannot be had (data.path must be a folder or a file, but" in said
    one, other = weights(begun), weights(undisturbed)
    assert all(one[name].equal(other[name]) for name in one)

    shutil.rmtree(tmp_path / "cache" / "records")
    for words in ([], ["data.from_cache=true"]):
        code, said = heed("train", f"resume={begun}", "trainer.max_steps=9", *words)
        assert code == 2
        assert f"data.path must be a folder or file, but {data} does not exist" in said


def test_evaluating_says_that_the_data_have_changed(begun: Path, data: Path) -> None:
    code, said = heed("evaluate", f"run={begun}")
    assert (code, "have changed" in said) == (0, False), said
    (data / "test.csv").write_text("text,label\nfine,good\npoor,bad\n")
    code, said = heed("evaluate", f"run={begun}")
    assert code == 0, said
    assert f"note: the data have changed since this run began: test ({data / 'test.csv'})" in said
    code, said = heed("evaluate", f"run={begun}", f"data.path={data}")
    assert (code, "have changed" in said) == (0, False), said  # asked for by name


MEDDLING = """\
import os, shutil
from lightning.pytorch import Callback

class Meddling(Callback):
    def on_train_batch_end(self, trainer, *rest):
        folder = os.environ["MEDDLE"]
        if trainer.global_step == 1 and os.environ["HOW"] == "delete":
            shutil.rmtree(folder)
        elif trainer.global_step == 1:
            for name in os.listdir(folder):
                with open(os.path.join(folder, name), "w") as file:
                    file.write("nothing,like\\nit,was\\n")
"""


@pytest.mark.parametrize("how", ["delete", "overwrite"])
@pytest.mark.parametrize("workers", ["0", "1"])
def test_data_that_vanish_or_change_while_a_run_trains(
    how: str, workers: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meddling.py").write_text(MEDDLING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MEDDLE", str(data))
    monkeypatch.setenv("HOW", how)
    words = [f"data.path={data}", f"paths.output_dir={tmp_path / 'runs'}"]
    words += [f"data.num_workers={workers}", "+callbacks.meddling._target_=meddling.Meddling"]
    code, said = heed("train", *TINY, "data=local", *words)
    assert code == 0, said
    fields = record_of(the_run(tmp_path / "runs"))
    assert (fields["status"], fields["steps"]) == ("done", 3)
    assert "test/accuracy" in fields["metrics"]


def test_a_file_that_changes_while_it_is_read_is_not_kept(data: Path, tmp_path: Path) -> None:
    class Growing(FileSource):
        def rows(self, split: Any) -> Iterator[Any]:
            for row in super().rows(split):
                yield row
                if row.number == 7:
                    with (data / "train.csv").open("a") as file:
                        file.write("one more,good\n")

    corpus = Corpus(
        source=Growing(path=str(data)), kind=record_kind("labelled_text"), cache_dir=str(tmp_path)
    )
    with pytest.raises(UserError, match=r"must stay as they are while they are read, but .*train"):
        corpus.records("train")
    assert not [path for path in (tmp_path / "records").iterdir() if path.is_dir()]


# Where a run cannot write -------------------------------------------------------------------------


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that is mounted read-only."""
    folder = tmp_path / "read_only"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("key", ["paths.output_dir", "paths.cache_dir"])
def test_a_read_only_file_system(key: str, read_only: Path, tmp_path: Path) -> None:
    words = [f"paths.output_dir={tmp_path / 'runs'}", f"{key}={read_only / 'here'}"]
    code, said = heed("train", *TINY, *BUILTIN, *words)
    assert code == 2, said
    assert str(read_only) in said
    assert f"{key}=FOLDER" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("key", ["paths.output_dir", "paths.cache_dir"])
def test_a_file_where_a_folder_should_be(key: str, tmp_path: Path) -> None:
    (tmp_path / "a_file").write_text("")
    words = [f"paths.output_dir={tmp_path / 'runs'}", f"{key}={tmp_path / 'a_file'}"]
    code, said = heed("train", *TINY, *BUILTIN, *words)
    assert code == 2, said
    assert "a_file" in said
    assert "Traceback" not in said
    assert (tmp_path / "a_file").read_text() == ""


# Clocks -------------------------------------------------------------------------------------------


def test_the_newest_run_when_the_clock_is_set_back(tmp_path: Path) -> None:
    def begin(name: str, started: str) -> tuple[str, Path]:
        note_begun(tmp_path, tmp_path / name, started)
        return started, tmp_path / name

    runs = [begin("a", "2026-01-01T10:00:00")]
    assert newest(tmp_path, runs) == tmp_path / "a"
    runs.append(begin("b", "2026-01-01T11:00:00"))
    assert newest(tmp_path, runs) == tmp_path / "b"
    runs.append(begin("c", "2026-01-01T09:00:00"))  # the clock was set back
    runs.append(begin("d", "2026-01-01T09:30:00"))
    assert newest(tmp_path, runs) == tmp_path / "d"
    runs.append(begin("e", "2026-01-01T09:30:00"))  # in the same second
    assert newest(tmp_path, runs) == tmp_path / "e"
    runs.append(("2026-01-01T12:00:00", tmp_path / "copied"))  # from another machine
    assert newest(tmp_path, runs) == tmp_path / "copied"
    runs.append(begin("f", "2026-01-01T13:00:00"))
    assert newest(tmp_path, runs) == tmp_path / "f"
    assert newest(tmp_path, runs[:2]) == tmp_path / "b"  # the others were deleted
    for content in ("", "[]", "{}", '{"run": 3, "after": {}}'):
        (tmp_path / FILE_NAME).write_text(content)
        assert newest(tmp_path, runs) == tmp_path / "f"
    assert newest(tmp_path, []) is None


def test_run_folders_of_one_moment_are_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that is set back, or stands still, gives a name twice, and the second is another."""

    class Stopped:
        @staticmethod
        def now() -> Any:
            import datetime

            return datetime.datetime(2026, 1, 1)

    monkeypatch.setattr("heed.tracking.folder.datetime", Stopped)
    folders = [create_run_folder(tmp_path, "qa", "x") for _ in range(7)]
    assert len({*folders}) == 7


# Real processes -----------------------------------------------------------------------------------


def command(*words: str, **variables: str) -> list[str]:
    return [sys.executable, "-m", "heed", *words]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **variables}


def finished(words: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment(**variables),
        check=False,
    )


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until something is so, while the process runs."""
    end = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < end, "it does not come"
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def loaders(pid: int) -> list[psutil.Process]:
    """The processes that load data for another: its own forks."""
    here = psutil.Process(pid)
    return [child for child in here.children() if child.cmdline() == here.cmdline()]


@pytest.mark.faults
def test_a_loader_that_is_killed(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    words = [*TINY, *BUILTIN, f"paths.output_dir={root}", "data.num_workers=2"]
    long = ["trainer.max_steps=1000000", "trainer.max_epochs=-1"]
    often = ["callbacks.last.every_n_train_steps=5"]
    process = subprocess.Popen(
        command("train", *words, *long, *often),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        wait_for(lambda: any(root.rglob("last*.ckpt")), process)
        wait_for(lambda: len(loaders(process.pid)) >= 2, process)
        family = psutil.Process(process.pid).children(recursive=True)
        loaders(process.pid)[0].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert time.monotonic() - killed < 120
    assert process.returncode == 1, err
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if "error:" in line]
    assert "a process that loads data has died (" in line
    run = the_run(root)
    assert f"go on with: heed train resume={run}" in err
    assert record_of(run)["status"] == "failed"
    psutil.wait_procs(family, timeout=30)
    assert not [child for child in family if child.is_running()]  # no orphans

    done = finished(command("train", f"resume={run}", "trainer.max_steps=1", "data.num_workers=0"))
    assert done.returncode == 0, done.stderr
    assert record_of(run)["status"] == "done"


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers every request with one code, or never (0)."""

    code = 500

    def answer(self) -> None:
        if self.code == 0:
            time.sleep(SECONDS)
            return
        self.send_response(self.code)
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *words: Any) -> None:
        """Nothing."""


@pytest.fixture
def refusing() -> Iterator[Callable[[int], str]]:
    """`refusing(401)` is the address of a server that answers everything with that."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(code: int) -> str:
        handler = type("Handler", (Refusing,), {"code": code})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.faults
@pytest.mark.parametrize("code", [401, 500, 0])
def test_a_wandb_server_that_refuses_or_hangs(
    code: int,
    refusing: Callable[[int], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run goes on, and what wandb costs has a bound: its own limits (15 s) and the rest."""
    words = [*TINY, *BUILTIN, f"paths.output_dir={tmp_path}", "logger=[csv,wandb]"]
    variables = {
        "WANDB_BASE_URL": refusing(code),
        "WANDB_API_KEY": "a" * 40,
        "WANDB_MODE": "online",
    }
    begun = time.monotonic()
    done = finished(command("train", *words), **variables)
    took = time.monotonic() - begun
    with capsys.disabled():
        print(f"\nwandb answers {code or 'nothing'}: the run took {took:.0f} s")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    run = the_run(tmp_path)
    assert record_of(run)["status"] == "done"
    assert len(read_metrics(run / "metrics.csv")) >= 3
    assert "wandb: kept offline; upload it with: wandb sync" in done.stdout
    assert took < 200


@pytest.mark.faults
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs heed-nlp[mlflow]")
@pytest.mark.parametrize("code", [500, 0])
def test_an_mlflow_server_that_refuses_or_hangs(
    code: int,
    refusing: Callable[[int], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = f"logger.mlflow.store='{refusing(code)}'"
    words = [*TINY, *BUILTIN, f"paths.output_dir={tmp_path}", "logger=[csv,mlflow]", store]
    begun = time.monotonic()
    done = finished(command("train", *words))
    with capsys.disabled():
        print(f"\nmlflow answers {code or 'nothing'}: {time.monotonic() - begun:.0f} s in all")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("mlflow ") == 1
    assert "mlflow failed (starting a run: " in done.stderr or "did not answer" in done.stderr
    run = the_run(tmp_path)
    assert record_of(run)["status"] == "done"
    assert len(read_metrics(run / "metrics.csv")) >= 3


LIBRARY = next(Path("/usr/lib").rglob("faketime/libfaketime.so.1"), None)


@pytest.mark.faults
@pytest.mark.skipif(LIBRARY is None, reason="faketime is not installed (apt-get install faketime)")
def test_a_clock_that_jumps(tmp_path: Path) -> None:
    root, offset = tmp_path / "runs", tmp_path / "offset"
    faked = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",  # a kernel's monotonic clock never jumps
    }
    words = [*TINY, *BUILTIN, f"paths.output_dir={root}"]
    offset.write_text("+0")
    assert finished(command("train", *words, "name=first"), **faked).returncode == 0
    offset.write_text("-1d")
    assert finished(command("train", *words, "name=second"), **faked).returncode == 0
    second = the_run(root / "sentiment" / "second")
    done = finished(command("train", "resume=latest", *words[-1:], "trainer.max_steps=4"), **faked)
    assert done.returncode == 0, done.stderr
    assert record_of(second)["steps"] == 4

    # In the middle of a run: an hour forwards, then two back. It is not ended by either.
    bounds = ["trainer.max_steps=400", "trainer.max_epochs=-1", "trainer.max_time=00:00:20:00"]
    process = subprocess.Popen(
        command("train", *words, *bounds, "name=third", "callbacks.last.every_n_minutes=0.02"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**faked),
    )
    try:
        third = root / "sentiment" / "third"
        wait_for(lambda: any(third.rglob("last*.ckpt")), process)
        offset.write_text("+1h")
        time.sleep(1)
        offset.write_text("-2h")
        _, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, err
    fields = record_of(the_run(third))
    assert fields["steps"] == 400
    assert 0 < fields["duration_seconds"] < SECONDS
    assert all(seconds >= 0 for seconds in fields["phases"].values())
