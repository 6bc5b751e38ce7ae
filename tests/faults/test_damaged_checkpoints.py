"""Damage to a checkpoint file, wherever it is, is found before anything in the file is read."""

from __future__ import annotations

import random
import re
import zipfile

import pytest
import torch

from heed.errors import UserError
from heed.training import checkpoint_io
from heed.training.checkpoint_io import AtomicCheckpointIO, load_checkpoint, verify_checkpoint
from heed.training.checksum import COMMENT_BYTES, END

PLACES = 50


@pytest.fixture
def content():
    """A checkpoint as a training leaves it, of a model of 17 x 23."""
    torch.manual_seed(5)
    model = torch.nn.Linear(17, 23)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(3, 17)).sum().backward()
    optimizer.step()
    return {
        "global_step": 41,
        "state_dict": model.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "callbacks": {},
        "loops": {},
        "lr_schedulers": [],
    }


@pytest.fixture
def whole(tmp_path, content):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path


@pytest.fixture
def nothing_is_read(monkeypatch):
    def load(*args, **kwargs):
        raise AssertionError("a damaged file was unpickled")

    monkeypatch.setattr(checkpoint_io.torch, "load", load)


def assert_found(path):
    assert verify_checkpoint(path) is not None
    with pytest.raises(UserError, match=rf"{re.escape(str(path))} is broken"):
        load_checkpoint(path)


def places(seed, count):
    return sorted(random.Random(seed).sample(range(count), PLACES))


def test_a_file_cut_off_anywhere_is_found(whole, nothing_is_read):
    data = whole.read_bytes()
    ends = {*places(11, len(data)), 0, 1, len(data) - 1}
    ends |= {len(data) - COMMENT_BYTES, len(data) - COMMENT_BYTES - END.size}
    for end in sorted(ends):
        whole.write_bytes(data[:end])
        assert_found(whole)


def test_a_flipped_bit_anywhere_is_found(whole, nothing_is_read):
    data = whole.read_bytes()
    bits = places(13, 8 * len(data))
    bits += range(8 * (len(data) - COMMENT_BYTES - END.size), 8 * len(data))  # all of the ending
    for bit in bits:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        whole.write_bytes(damaged)
        assert_found(whole)


def test_zeros_where_data_should_be_are_found(whole, nothing_is_read):
    """As a file system may leave them after a power cut."""
    data = whole.read_bytes()
    for start in places(17, len(data) - 97):
        whole.write_bytes(data[:start] + bytes(97) + data[start + 97 :])
        if whole.read_bytes() != data:
            assert_found(whole)
    whole.write_bytes(bytes(len(data)))
    assert_found(whole)


def test_more_at_the_end_is_found(whole, nothing_is_read):
    data = whole.read_bytes()
    for more in (b"\0", data):  # two archives one after the other: the checksum is the second's
        whole.write_bytes(data + more)
        assert_found(whole)


def test_a_whole_file_is_an_ordinary_archive(whole, content):
    assert verify_checkpoint(whole) is None
    torch.testing.assert_close(load_checkpoint(whole), content, rtol=0, atol=0)
    for mmap in (False, True):
        loaded = torch.load(whole, weights_only=True, mmap=mmap)
        torch.testing.assert_close(loaded, content, rtol=0, atol=0)
    with zipfile.ZipFile(whole) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"sha256:")


def test_a_file_without_a_checksum_is_read(whole, content):
    torch.save(content, whole)
    assert verify_checkpoint(whole) is None
    torch.testing.assert_close(load_checkpoint(whole), content, rtol=0, atol=0)


def test_what_a_check_finds_beside_damage(whole, tmp_path):
    assert verify_checkpoint(tmp_path / "none.ckpt") == "No such file or directory"
    torch.save([1, 2], whole)
    assert verify_checkpoint(whole) == "it holds a list"
