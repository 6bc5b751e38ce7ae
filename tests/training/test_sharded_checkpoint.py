"""Checkpoints that are folders: what is written comes back, and nothing runs when it is read."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import resource
import shutil
import subprocess

import pytest
import torch

from heed.errors import UserError
from heed.training.sharded_checkpoint import (
    SUMS,
    load_sharded,
    read_rest,
    save_sharded,
    verify_sharded,
)


@pytest.fixture
def content():
    """A checkpoint as a training leaves it, with keys and tensors of many kinds."""
    torch.manual_seed(5)
    model = torch.nn.Linear(17, 23)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(3, 17)).sum().backward()
    optimizer.step()
    return {
        "global_step": 41,
        "state_dict": model.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "half": torch.rand(7).bfloat16(),
        "rows": (torch.arange(5), torch.rand(2, 3, 5).transpose(0, 2), torch.zeros(0, 3)),
        "loops": {"empty": {}, "none": None, 3: "three"},
    }


@pytest.fixture
def folder(tmp_path, content):
    path = tmp_path / "last.ckpt"
    save_sharded(content, path)
    return path


def equal(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    return True


def test_what_is_saved_comes_back(folder, content, tmp_path):
    loaded = load_sharded(folder)
    content["state_dict"] = dict(content["state_dict"])
    assert loaded.keys() == content.keys()
    for key in content:
        if key != "loops":
            assert equal(loaded[key], content[key])
    assert loaded["loops"] == content["loops"]
    assert read_rest(folder)["global_step"] == 41
    assert verify_sharded(folder) is None
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_the_folder_names_no_place_and_the_sums_are_those_of_the_tool(folder, tmp_path):
    assert str(tmp_path).encode() not in (folder / ".metadata").read_bytes()
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=folder, check=True)


def test_tensors_are_filled_in_place(folder, content):
    other = torch.nn.Linear(17, 23)
    loaded = load_sharded(folder, into={"state_dict": other.state_dict()})
    assert equal(dict(other.state_dict()), dict(content["state_dict"]))
    assert loaded["state_dict"]["weight"].data_ptr() == other.weight.data_ptr()
    assert equal(loaded["optimizer_states"], content["optimizer_states"])
    small = {"state_dict": torch.nn.Linear(17, 19).state_dict()}
    with pytest.raises(UserError, match=r"state_dict/weight is \(23, 17\), and .* \(19, 17\)"):
        load_sharded(folder, into=small)


def test_the_folder_before_keeps_a_name(tmp_path, content):
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for step in (1, 2, 3):
        save_sharded({**content, "global_step": step}, last, previous=previous)
    assert load_sharded(last)["global_step"] == 3
    assert load_sharded(previous)["global_step"] == 2
    save_sharded({**content, "global_step": 4}, last)
    assert load_sharded(last)["global_step"] == 4
    assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "previous.ckpt"]


def test_a_full_disk_leaves_the_folder_before(folder, content, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_007, before[1]))
    try:
        with pytest.raises(UserError, match=r"last\.ckpt could not be written.*free some space"):
            save_sharded({**content, "more": torch.rand(101, 103)}, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_sharded(folder)["global_step"] == 41
    assert os.listdir(tmp_path) == ["last.ckpt"]


def damaged(folder, change):
    """What is said of a copy of the folder after a change."""
    copy = folder.with_name("copy.ckpt")
    shutil.copytree(folder, copy)
    change(copy)
    fault = verify_sharded(copy)
    if fault is not None:
        with pytest.raises(UserError, match=r"copy\.ckpt is broken"):
            load_sharded(copy)
    shutil.rmtree(copy)
    return fault


def test_damage_is_found_wherever_it_is(folder, monkeypatch):
    monkeypatch.setattr(pickle, "load", None)  # nothing reads a pickle as it comes
    draw = random.Random(7)
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        bits = [draw.randrange(8 * len(data)) for _ in range(50)]
        if path.name == SUMS:
            bits = range(0, 8 * len(data), 7)
        for bit in bits:
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            assert damaged(folder, lambda copy, n=path.name, d=flipped: (copy / n).write_bytes(d))
        for end in [*(draw.randrange(len(data)) for _ in range(5)), 0, len(data) - 1]:
            assert damaged(folder, lambda copy, n=path.name, e=end: os.truncate(copy / n, e))
        assert damaged(folder, lambda copy, n=path.name: (copy / n).unlink())
    assert damaged(folder, lambda copy: (copy / "more").write_text("")) == "more is not part of it"
    assert damaged(folder, lambda copy: None) is None


def forge(folder, name, data):
    """Change a file and its line in the sums, as whoever means harm would."""
    (folder / name).write_bytes(data)
    lines = (folder / SUMS).read_text().splitlines()
    digest = hashlib.sha256(data).hexdigest()
    lines = [f"{digest}  {name}" if line.endswith(f"  {name}") else line for line in lines]
    (folder / SUMS).write_text("\n".join(lines) + "\n")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_a_metadata_that_would_run_something_is_refused(folder, tmp_path):
    evil = pickle.dumps(Evil(str(tmp_path / "was_here")))
    said = damaged(folder, lambda copy: forge(copy, ".metadata", evil))
    assert "must describe tensors only, but does not: posix.mkdir has no place there" in said
    torch.save({"state_dict": Evil(str(tmp_path / "was_here"))}, tmp_path / "rest")
    forge(folder, "rest.ckpt", (tmp_path / "rest").read_bytes())
    with pytest.raises(UserError, match="must hold tensors and plain values only"):
        load_sharded(folder)
    assert not (tmp_path / "was_here").exists()


def test_an_attribute_is_a_member_of_an_enumeration_or_refused(folder):
    """Python before 3.11.4 writes members by getattr, which would reach anything."""
    reach = b"cbuiltins\ngetattr\n(ctorch\nSize\nS'mro'\ntR."
    said = damaged(folder, lambda copy: forge(copy, ".metadata", reach))
    assert "must describe tensors only, but does not: mro of" in said


def test_a_metadata_that_leaves_the_folder_or_the_memory_is_refused(folder, tmp_path):
    with (folder / ".metadata").open("rb") as file:
        metadata = pickle.load(file)
    key, place = next(iter(metadata.storage_data.items()))
    metadata.storage_data[key] = type(place)("../secret", 0, 7)
    said = damaged(folder, lambda copy: forge(copy, ".metadata", pickle.dumps(metadata)))
    assert said == "its .metadata names '../secret', which is not part of it"
    metadata.storage_data[key] = place
    metadata.state_dict_metadata["/half"].size = torch.Size([1_000_003])
    said = damaged(folder, lambda copy: forge(copy, ".metadata", pickle.dumps(metadata)))
    assert said == "its .metadata describes more than there is"
    metadata.state_dict_metadata["/half"].size = "large"
    said = damaged(folder, lambda copy: forge(copy, ".metadata", pickle.dumps(metadata)))
    assert said == "its .metadata describes no tensors"
    for wrong in ([], {}, None, torch.float32):
        data = pickle.dumps(wrong)
        said = damaged(folder, lambda copy, d=data: forge(copy, ".metadata", d))
        assert said == "its .metadata describes no tensors"


def test_files_that_do_not_fit_one_another_are_refused(folder, tmp_path):
    rest = read_rest(folder)
    rest["half"] = {"heed.tensor": "/none"}
    torch.save(rest, tmp_path / "rest")
    forge(folder, "rest.ckpt", (tmp_path / "rest").read_bytes())
    with pytest.raises(UserError, match=r"its files do not fit one another \('/none'\)"):
        load_sharded(folder)
    forge(folder, "__0_0.distcp", b"PK" + bytes(5000))
    with pytest.raises(UserError, match="its files do not fit one another"):
        load_sharded(folder)


def test_a_folder_that_was_not_finished(tmp_path):
    (tmp_path / "last.ckpt").mkdir()
    assert "may not have been finished" in verify_sharded(tmp_path / "last.ckpt")
    assert "may not have been finished" in verify_sharded(tmp_path / "none.ckpt")


def test_a_folder_is_a_checkpoint_like_any_other(folder, content, tmp_path):
    from heed.training.checkpoint_io import (
        AtomicCheckpointIO,
        disk_use,
        load_checkpoint,
        resumable_step,
        verify_checkpoint,
    )

    io = AtomicCheckpointIO()
    assert equal(load_checkpoint(folder)["optimizer_states"], content["optimizer_states"])
    assert verify_checkpoint(folder) is None
    assert resumable_step(folder) is None
    whole = {**content, "callbacks": {}, "lr_schedulers": []}
    best = tmp_path / "best.ckpt"
    save_sharded(whole, best)
    assert resumable_step(best) == 41
    size = disk_use(tmp_path)["bytes"]
    io.previous[folder] = tmp_path / "previous.ckpt"
    io.link(best, folder)
    assert verify_checkpoint(folder) is None
    assert resumable_step(folder) == 41
    assert resumable_step(tmp_path / "previous.ckpt") is None
    assert disk_use(tmp_path) == {"count": 3, "bytes": size}
    io.remove_checkpoint(best)
    io.remove_checkpoint(best)
    assert resumable_step(folder) == 41
    (folder / "rest.ckpt").write_bytes(b"")
    assert "rest.ckpt is not what was written" in verify_checkpoint(folder)
    assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "previous.ckpt"]
