"""Checkpoint files: whole or not there, and nothing runs when they are read."""

from __future__ import annotations

import os
import resource

import pytest
import torch

from heed.errors import UserError
from heed.training.averaging import average_checkpoints
from heed.training.checkpoint_io import AtomicCheckpointIO, checkpoints_in, load_checkpoint


def checkpoint(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "state_dict": {
            "weight": torch.randn(7, 11, generator=generator),
            "half": torch.randn(3, generator=generator).bfloat16(),
            "steps": torch.tensor(seed),
        },
        "epoch": 3,
    }


def test_what_is_saved_comes_back(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint(), path)
    loaded = AtomicCheckpointIO().load_checkpoint(path)
    torch.testing.assert_close(loaded, checkpoint(), rtol=0, atol=0)
    assert os.listdir(path.parent) == ["last.ckpt"]


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    io = AtomicCheckpointIO()
    io.save_checkpoint(checkpoint(1), path)
    big = {"state_dict": {"weight": torch.zeros(1009, 101)}}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_003, before[1]))
    try:
        with pytest.raises(UserError, match=r"last\.ckpt could not be written.*free some space"):
            io.save_checkpoint(big, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_checkpoint(path)["state_dict"]["steps"] == 1
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_a_missing_checkpoint_names_the_others(tmp_path):
    io = AtomicCheckpointIO()
    with pytest.raises(UserError, match=r"best\.ckpt does not exist; there is no other"):
        io.load_checkpoint(tmp_path / "best.ckpt")
    io.save_checkpoint(checkpoint(), tmp_path / "last.ckpt")
    with pytest.raises(
        UserError, match=r"best\.ckpt does not exist; beside it there is last\.ckpt"
    ):
        io.load_checkpoint(tmp_path / "best.ckpt")
    with pytest.raises(UserError, match="there is no folder"):
        io.load_checkpoint(tmp_path / "no" / "best.ckpt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_checkpoint_is_broken(tmp_path, share):
    io = AtomicCheckpointIO()
    io.save_checkpoint(checkpoint(), tmp_path / "good.ckpt")
    data = (tmp_path / "good.ckpt").read_bytes()
    (tmp_path / "last.ckpt").write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r"last\.ckpt is broken.*beside it there is good\.ckpt"):
        load_checkpoint(tmp_path / "last.ckpt")


def test_a_file_that_is_no_checkpoint_is_named(tmp_path):
    (tmp_path / "a.ckpt").write_text("hello")
    with pytest.raises(UserError, match=r"a\.ckpt is broken \(5 bytes\)"):
        load_checkpoint(tmp_path / "a.ckpt")
    torch.save([1, 2], tmp_path / "b.ckpt")
    with pytest.raises(UserError, match=r"b\.ckpt is not a checkpoint: it holds a list"):
        load_checkpoint(tmp_path / "b.ckpt")


def test_a_checkpoint_that_would_run_something_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "was_here"),))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(UserError, match="must hold tensors and plain values only"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "evil.ckpt", weights_only=False)
    assert not (tmp_path / "was_here").exists()


def test_checkpoints_are_listed_newest_first(tmp_path):
    for count, name in enumerate(["a.ckpt", "c.ckpt", "b.ckpt"]):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (count, count))
    (tmp_path / ".d.ckpt.1.tmp").write_text("")
    assert [path.name for path in checkpoints_in(tmp_path)] == ["b.ckpt", "c.ckpt", "a.ckpt"]
    assert checkpoints_in(tmp_path / "no") == []


def test_the_average_is_the_mean(tmp_path):
    paths = [tmp_path / f"{seed}.ckpt" for seed in range(3)]
    for seed, path in enumerate(paths):
        AtomicCheckpointIO().save_checkpoint(checkpoint(seed), path)
    average = average_checkpoints(paths)
    for name in ("weight", "half"):
        values = torch.stack([checkpoint(seed)["state_dict"][name].double() for seed in range(3)])
        expected = values.mean(dim=0).to(average[name].dtype)
        assert torch.equal(average[name], expected)
    assert average["half"].dtype == torch.bfloat16
    assert average["steps"] == 2
    torch.testing.assert_close(
        average_checkpoints(paths[:1]), checkpoint(0)["state_dict"], rtol=0, atol=0
    )


def test_only_checkpoints_of_one_model_are_averaged(tmp_path):
    io = AtomicCheckpointIO()
    io.save_checkpoint(checkpoint(), tmp_path / "a.ckpt")
    other = checkpoint()
    other["state_dict"]["weight"] = torch.zeros(7, 13)
    io.save_checkpoint(other, tmp_path / "b.ckpt")
    with pytest.raises(UserError, match=r"weight has shape \(7, 11\) in .* and \(7, 13\) in"):
        average_checkpoints([tmp_path / "a.ckpt", tmp_path / "b.ckpt"])
    with pytest.raises(UserError, match="at least one checkpoint"):
        average_checkpoints([])
