"""When checkpoints are saved, which stay, and what a failed save comes to, in real trainings."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import threading
import time
from collections import namedtuple

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from tiny_run import QUIET, ROWS, Data, make_model, make_trainer, same, weights

from heed.errors import UserError
from heed.training.asynchronous_io import AsynchronousCheckpointIO, snapshot
from heed.training.callbacks.checkpoint import BestCheckpoint, best_checkpoint
from heed.training.callbacks.disk_room import kept_bytes, optimizer_bytes, weight_bytes
from heed.training.callbacks.ema import ema
from heed.training.callbacks.exact_state import ExactState
from heed.training.callbacks.periodic_checkpoint import LastCheckpoint, history
from heed.training.checkpoint_io import AtomicCheckpointIO, disk_use, load_checkpoint

pytestmark = [pytest.mark.filterwarnings(words) for words in QUIET]


def names(run_dir):
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def step_of(path):
    return load_checkpoint(path)["global_step"]


def best(**changes):
    return BestCheckpoint(monitor="val/score", mode="max", **changes)


def fit(run_dir, callbacks, *, model=None, resume=False, io=None, **changes):
    trainer = make_trainer(run_dir, callbacks, **changes)
    if io is not None:
        trainer.strategy.checkpoint_io = io
    model = model or make_model()
    path = str(run_dir / "checkpoints" / "last.ckpt") if resume else None
    trainer.fit(model, datamodule=Data(), ckpt_path=path)
    return trainer


class Written(Callback):
    """The steps at which each file was written."""

    def __init__(self):
        self.steps = {}

    def setup(self, trainer, pl_module, stage):
        save = trainer.save_checkpoint

        def note(path, *args, **kwargs):
            self.steps.setdefault(os.path.basename(path), []).append(trainer.global_step)
            save(path, *args, **kwargs)

        trainer.save_checkpoint = note


# When -------------------------------------------------------------------------------------------


def test_steps_minutes_and_validations_together(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def wait():
        nonlocal now
        now += 61.0

    model = make_model()
    model.at_batch = {7: wait, 9: wait}
    written = Written()
    last = LastCheckpoint(every_n_train_steps=5, every_n_minutes=1.0)
    fit(tmp_path, [written, last], model=model, max_epochs=1)
    # a validation after batches 4, 8 and 12; the clock after 7 and 9; steps 5 and 10; the end
    assert written.steps == {"last.ckpt": [4, 5, 7, 8, 9, 10, 12, 13]}


def test_the_clock_starts_again_with_each_save(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def pass_time(trainer, *args):
        nonlocal now
        now += 25.0

    clock = Callback()
    clock.on_train_batch_start = pass_time
    written = Written()
    last = LastCheckpoint(every_n_minutes=1.0)
    fit(tmp_path, [clock, written, last], max_epochs=1, val_check_interval=5)
    assert written.steps == {"last.ckpt": [3, 5, 8, 10, 13]}


def test_a_save_waits_for_the_validation_of_its_step(tmp_path):
    """A checkpoint from before it would go on without it."""
    written = Written()
    fit(tmp_path, [written, LastCheckpoint(every_n_train_steps=4)], max_epochs=1)
    assert written.steps == {"last.ckpt": [4, 8, 12, 13]}


def test_nothing_is_saved_in_the_middle_of_an_accumulated_step(tmp_path):
    at = []

    class Watch(Callback):
        def setup(self, trainer, pl_module, stage):
            save = trainer.save_checkpoint

            def note(path, *args, **kwargs):
                if "val_score" not in os.path.basename(path):
                    at.append(trainer.fit_loop.total_batch_idx + 1)
                save(path, *args, **kwargs)

            trainer.save_checkpoint = note

    callbacks = [
        Watch(),
        best(save_top_k=-1),
        LastCheckpoint(every_n_train_steps=1, every_n_minutes=1e-9),
        history(every_n_train_steps=1, keep=-1),
    ]
    model = make_model(scores=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    fit(tmp_path, callbacks, model=model, accumulate_grad_batches=3, val_check_interval=4)
    # 13 batches an epoch, the last of which makes a step of its own; at 12 and 16 the best is both
    assert sorted(set(at)) == [3, 6, 9, 13, 19, 22, 25, 26]
    whole = {"step=000004-val_score=3.ckpt", "step=000006-val_score=4.ckpt"}
    for path in (tmp_path / "checkpoints").glob("*val_score*"):
        assert ("optimizer_states" in load_checkpoint(path)) == (path.name in whole), path.name


# Which ------------------------------------------------------------------------------------------


def test_a_history_keeps_the_newest(tmp_path):
    callbacks = [LastCheckpoint(), history(every_n_train_steps=3, keep=2)]
    fit(tmp_path, callbacks, val_check_interval=ROWS)
    assert names(tmp_path) == ["last.ckpt", "previous.ckpt", "step=000021.ckpt", "step=000024.ckpt"]
    assert step_of(tmp_path / "checkpoints" / "step=000021.ckpt") == 21
    assert history() is None


def test_last_is_never_older_than_the_history(tmp_path):
    at = {}

    def look():
        folder = tmp_path / "checkpoints"
        at["same"] = os.path.samefile(folder / "last.ckpt", folder / "step=000003.ckpt")

    model = make_model()
    model.at_batch = {4: look}
    fit(tmp_path, [LastCheckpoint(), history(every_n_train_steps=3)], model=model, max_epochs=1)
    assert at == {"same": True}


def test_a_file_of_two_policies_is_written_once(tmp_path):
    written = Written()
    callbacks = [written, best(), LastCheckpoint(), history(every_n_train_steps=4, keep=1)]
    model = make_model(scores=[1.0, 2.0, 3.0])
    fit(tmp_path, callbacks, model=model, max_epochs=1)
    assert written.steps == {
        "step=000004-val_score=1.ckpt": [4],
        "step=000008-val_score=2.ckpt": [8],
        "step=000012-val_score=3.ckpt": [12],
        "last.ckpt": [13],
    }
    assert names(tmp_path) == [
        "last.ckpt",
        "previous.ckpt",
        "step=000012-val_score=3.ckpt",
        "step=000012.ckpt",
    ]
    folder = tmp_path / "checkpoints"
    assert os.path.samefile(folder / "step=000012.ckpt", folder / "previous.ckpt")
    sizes = (folder / "last.ckpt").stat().st_size + (folder / "previous.ckpt").stat().st_size
    assert disk_use(folder) == {"count": 4, "bytes": sizes}


def test_without_a_previous_one(tmp_path):
    fit(tmp_path, [LastCheckpoint(keep_previous=False)])
    assert names(tmp_path) == ["last.ckpt"]


def test_after_a_kill_between_two_files_there_are_no_duplicates(tmp_path):
    folder, kept = tmp_path / "checkpoints", {}
    scores = [1.0, 2.0, 3.0, 4.0, 3.0, 2.0]

    def keep():
        kept["last"] = (folder / "last.ckpt").read_bytes()

    def callbacks():
        return [ExactState(), best(save_top_k=2), LastCheckpoint(keep_previous=False)]

    model = make_model(scores=list(scores))
    model.at_batch = {5: keep}
    fit(tmp_path, callbacks(), model=model)
    whole = names(tmp_path)
    at_step_8 = next(folder.glob("step=000012-*"))
    assert at_step_8.name in whole
    (folder / "last.ckpt").write_bytes(kept["last"])  # the best of step 12 written, last not
    fit(tmp_path, callbacks(), model=make_model(scores=scores[1:]), resume=True)
    assert names(tmp_path) == whole


def test_a_best_one_that_a_killed_process_could_not_remove_is_cleared(tmp_path):
    folder = tmp_path / "checkpoints"
    callbacks = [best(), LastCheckpoint(keep_previous=False)]
    fit(tmp_path, callbacks, model=make_model(scores=[1.0, 2.0, 3.0]), max_epochs=1)
    first = names(tmp_path)
    for name in (
        "step=000008-val_score=2.ckpt",  # the best before
        "step=000020-val_score=9.ckpt",  # of a time that comes again
        "step=000030-val_score=9.ckpt",
        "step=000008-val_other=2.ckpt",  # of another policy
        "step=000008.ckpt",
    ):
        shutil.copy(folder / "last.ckpt", folder / name)
    seen = {}
    model = make_model(scores=[0.5] * 4)
    model.at_batch = {1: lambda: seen.update(names=names(tmp_path))}
    callbacks = [best(), LastCheckpoint(keep_previous=False)]
    fit(tmp_path, callbacks, model=model, resume=True)
    stay = ["step=000008-val_other=2.ckpt", "step=000008.ckpt", "step=000030-val_score=9.ckpt"]
    assert seen["names"] == sorted([*first, *stay, "step=000020-val_score=9.ckpt"])
    assert names(tmp_path) == sorted([*first, *stay])


def test_what_a_killed_process_left_is_cleared(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / ".last.ckpt.123.tmp").write_bytes(b"half")
    (folder / ".last.ckpt.sharded.tmp").mkdir()
    (folder / "notes.txt").write_text("mine")
    fit(tmp_path, [LastCheckpoint(keep_previous=False)], max_epochs=1)
    assert sorted(os.listdir(folder)) == ["last.ckpt", "notes.txt"]


def test_fewer_best_ones_after_a_resume(tmp_path):
    model = make_model(scores=[3.0, 1.0, 2.0])
    callbacks = [best(save_top_k=3), LastCheckpoint(keep_previous=False)]
    fit(tmp_path, callbacks, model=model, max_epochs=1)
    model = make_model(scores=[0.5, 2.5, 0.5])
    callbacks = [best(save_top_k=1), LastCheckpoint(keep_previous=False)]
    trainer = fit(tmp_path, callbacks, model=model, resume=True)
    assert names(tmp_path) == ["last.ckpt", "step=000004-val_score=3.ckpt"]
    assert best_checkpoint(trainer).name == "step=000004-val_score=3.ckpt"


def test_weights_only_are_the_averaged_ones(tmp_path):
    callbacks = [ema(decay=0.5), best(save_weights_only=True), LastCheckpoint()]
    model = make_model(scores=[1.0, 2.0, 3.0])
    trainer = fit(tmp_path, callbacks, model=model, max_epochs=1, max_steps=12)
    found = load_checkpoint(tmp_path / "checkpoints" / "step=000012-val_score=3.ckpt")
    assert found.keys() == {"state_dict", "epoch", "global_step", "pytorch-lightning_version"}
    assert same(found["state_dict"], weights(model))
    last = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert not same(last["current_model_state"], found["state_dict"])
    trainer.test(model, datamodule=Data(), ckpt_path=str(best_checkpoint(trainer)), verbose=False)


# A save that fails ------------------------------------------------------------------------------


@pytest.fixture
def small_files():
    """`small_files(size)` lets no file grow beyond so many bytes; `small_files(None)` ends it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(
        resource.RLIMIT_FSIZE, (before[0] if size is None else size, before[1])
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


IOS = [AtomicCheckpointIO, AsynchronousCheckpointIO]


def written(io):
    """Wait for what is being written, and leave its failure for training to hear of."""
    for future in list(getattr(io, "_pending", ())):
        future.result()


@pytest.mark.parametrize("io", IOS)
def test_a_failed_save_does_not_lose_the_run(tmp_path, small_files, capsys, io):
    model, io = make_model(scores=[1.0, 2.0, 1.5, 1.7, 1.2, 1.3]), io()
    model.at_batch = {
        6: lambda: (written(io), small_files(1000)),
        10: lambda: (written(io), small_files(None)),
    }
    callbacks = [best(), LastCheckpoint()]
    trainer = fit(tmp_path, callbacks, model=model, io=io)
    assert len(model.trained) == 2 * ROWS
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert "step=000008-val_score=2.ckpt could not be written: File too large" in said[0]
    assert "Training goes on, and saves again at the next occasion" in said[0]
    assert all("could not be written" in line for line in said)
    # the best of step 8 is lost; that of step 16 is better than the one of step 4 that stayed
    assert best_checkpoint(trainer).name == "step=000016-val_score=1.7.ckpt"
    assert names(tmp_path) == ["last.ckpt", "previous.ckpt", "step=000016-val_score=1.7.ckpt"]
    assert step_of(tmp_path / "checkpoints" / "last.ckpt") == 2 * ROWS
    state = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["callbacks"]
    ranking = next(value for key, value in state.items() if key.startswith("BestCheckpoint"))
    assert list(ranking["best_k_models"]) == ["step=000016-val_score=1.7.ckpt"]


@pytest.mark.parametrize("io", IOS)
def test_what_was_good_stays_while_saves_fail(tmp_path, small_files, capsys, io):
    model, io = make_model(scores=[1.0, 2.0, 3.0]), io()
    model.at_batch = {6: lambda: (written(io), small_files(1000))}
    with pytest.raises(UserError, match=r"last\.ckpt could not be written.*free some space"):
        fit(tmp_path, [best(), LastCheckpoint()], model=model, max_epochs=1, io=io)
    assert names(tmp_path) == ["last.ckpt", "step=000004-val_score=1.ckpt"]
    assert step_of(tmp_path / "checkpoints" / "last.ckpt") == 4


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = os.geteuid() == 0 and shutil.which("mount")
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", os.fspath(place)]
    if not made or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a file system")
    yield place
    subprocess.run(["umount", "-l", os.fspath(place)], check=True)


@pytest.mark.parametrize("io", IOS)
def test_a_full_disk_is_told_with_what_is_missing(small_disk, capsys, io):
    class Fill(Callback):
        def on_train_batch_end(self, trainer, *args):
            ballast = small_disk / "ballast"
            written(trainer.strategy.checkpoint_io)
            if trainer.global_step == 6:
                with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                    while file.write(bytes(4096)):
                        pass
            if trainer.global_step == 10:
                ballast.unlink()

    model = make_model(scores=[1.0, 2.0, 1.5])
    callbacks = [Fill(), best(), LastCheckpoint()]
    trainer = fit(small_disk, callbacks, model=model, max_epochs=1, io=io())
    said = capsys.readouterr().err
    assert "step=000008-val_score=2.ckpt could not be written: No space left on device" in said
    assert "kB are needed, 0 bytes are free" in said
    assert best_checkpoint(trainer).name == "step=000012-val_score=1.5.ckpt"
    assert step_of(small_disk / "checkpoints" / "last.ckpt") == 13
    assert not list((small_disk / "checkpoints").glob(".*"))


def test_little_room_is_told_before_the_first_step(tmp_path, monkeypatch, capsys):
    said = {}
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 3001))
    model = make_model()
    model.at_batch = {1: lambda: said.update(first=capsys.readouterr().err)}
    fit(tmp_path, [best(save_top_k=2), LastCheckpoint()], model=model, max_epochs=1)
    # 50 parameters of 4 bytes and as much for each of two moments, in 2 + 2 files and one more
    assert "the checkpoints of this run may come to 3 kB more" not in said["first"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 2999))
    fit(tmp_path / "b", [best(save_top_k=2), LastCheckpoint()], model=model, max_epochs=1)
    assert "the checkpoints of this run may come to 3 kB more, but" in capsys.readouterr().err


def test_the_estimate_is_what_is_written(tmp_path):
    callbacks = [best(save_weights_only=True), LastCheckpoint(), history(every_n_train_steps=5)]
    trainer = fit(tmp_path, callbacks)
    assert weight_bytes(trainer) == 4 * (5 * 7 + 7 + 7 + 1)
    moments = 2 * weight_bytes(trainer)
    assert optimizer_bytes(trainer) == moments + 4 * 4  # and the steps of four parameters
    whole = weight_bytes(trainer) + optimizer_bytes(trainer)
    assert kept_bytes(trainer) == weight_bytes(trainer) + (2 + 3) * whole + whole
    trainer.optimizers[0].state.clear()
    assert optimizer_bytes(trainer) == moments


# In the background ------------------------------------------------------------------------------


def content():
    torch.manual_seed(3)
    base = torch.rand(11, 13)
    shared = [1, {"a": (2.5, None)}]
    return {
        "view": base[3:7, ::2],
        "transposed": base.t(),
        "half": torch.rand(5).bfloat16(),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Linear(3, 2).state_dict(),
        "lists": [shared, shared, ("x", torch.tensor(7))],
    }


def test_the_file_is_the_same_to_the_bit(tmp_path):
    at_once, behind = AtomicCheckpointIO(), AsynchronousCheckpointIO()
    at_once.save_checkpoint(content(), tmp_path / "a.ckpt")
    behind.save_checkpoint(content(), tmp_path / "b.ckpt")
    behind.teardown()
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()


def test_a_training_leaves_the_same_files(tmp_path):
    for name, io in (("a", AtomicCheckpointIO()), ("b", AsynchronousCheckpointIO())):
        callbacks = [
            ExactState(),
            ema(decay=0.9),
            best(save_top_k=2),
            LastCheckpoint(every_n_train_steps=3),
            history(every_n_train_steps=5),
        ]
        model = make_model(scores=[1.0, 3.0, 2.0, 4.0, 0.0, 5.0])
        fit(tmp_path / name, callbacks, model=model, io=io)
    assert names(tmp_path / "a") == names(tmp_path / "b")
    for path in (tmp_path / "a" / "checkpoints").iterdir():
        other = tmp_path / "b" / "checkpoints" / path.name
        assert path.read_bytes() == other.read_bytes(), path.name


def test_later_changes_do_not_reach_the_file(tmp_path, monkeypatch):
    go_on = threading.Event()
    write = AtomicCheckpointIO.save_checkpoint

    def slowly(self, checkpoint, path, storage_options=None):
        assert go_on.wait(60)
        write(self, checkpoint, path)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", slowly)
    io = AsynchronousCheckpointIO()
    weight = torch.zeros(7)
    live = {"weight": weight, "list": [0], "dict": {"n": 0}}
    io.save_checkpoint(live, tmp_path / "a.ckpt")
    weight += 1
    live["list"][0] = live["dict"]["n"] = 1
    io.link(tmp_path / "a.ckpt", tmp_path / "b.ckpt")
    assert not (tmp_path / "a.ckpt").exists()
    go_on.set()
    assert io.wait() is None
    loaded = load_checkpoint(tmp_path / "b.ckpt")
    assert torch.equal(loaded["weight"], torch.zeros(7))
    assert (loaded["list"], loaded["dict"]) == ([0], {"n": 0})
    io.teardown()


def test_nothing_is_removed_before_its_successor_is_on_disk(tmp_path, small_files):
    io = AsynchronousCheckpointIO()
    io.save_checkpoint({"n": torch.zeros(3)}, tmp_path / "a.ckpt")
    assert io.wait() is None
    small_files(100)
    io.save_checkpoint({"n": torch.ones(3)}, tmp_path / "b.ckpt")
    io.remove_checkpoint(tmp_path / "a.ckpt")
    io.link(tmp_path / "b.ckpt", tmp_path / "c.ckpt")
    written(io)
    small_files(None)
    with pytest.raises(UserError, match=r"b\.ckpt could not be written"):
        io.save_checkpoint({"n": torch.ones(3)}, tmp_path / "d.ckpt")
    assert os.listdir(tmp_path) == ["a.ckpt"]
    io.save_checkpoint({"n": torch.ones(3)}, tmp_path / "d.ckpt")
    io.remove_checkpoint(tmp_path / "a.ckpt")
    io.teardown()
    assert os.listdir(tmp_path) == ["d.ckpt"]


def test_a_failure_at_the_end_is_told(tmp_path, small_files, capsys):
    io = AsynchronousCheckpointIO()
    small_files(100)
    io.save_checkpoint({"n": torch.ones(3)}, tmp_path / "a.ckpt")
    written(io)
    small_files(None)
    io.teardown()
    assert "warning: " in capsys.readouterr().err


def test_a_snapshot_keeps_what_is_shared():
    whole = content()
    copied = snapshot(whole)
    copied["lists"][2], whole["lists"][2] = copied["lists"][2][1], whole["lists"][2][1]
    torch.testing.assert_close(copied["lists"][2], whole["lists"][2])
    both = torch.rand(3)
    pair = snapshot([both, {"again": both}])
    assert pair[0] is pair[1]["again"]
    storages = {copied[name].untyped_storage().data_ptr() for name in ("view", "transposed")}
    assert len(storages) == 1
    assert storages.isdisjoint({whole["view"].untyped_storage().data_ptr()})
    assert copied["lists"][0] is copied["lists"][1]
    assert copied["lists"][0] is not whole["lists"][0]


def test_a_stopped_training_has_written_its_last_checkpoint(tmp_path):
    from heed.training.callbacks.interrupt import Interrupt, Stopped

    model = make_model()
    model.at_batch = {6: lambda: os.kill(os.getpid(), 15)}
    with pytest.raises(Stopped) as stopped:
        fit(tmp_path, [LastCheckpoint(), Interrupt()], model=model, io=AsynchronousCheckpointIO())
    assert stopped.value.saved
    assert step_of(tmp_path / "checkpoints" / "last.ckpt") == 6
