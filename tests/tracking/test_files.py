"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from heed.errors import UserError
from heed.files import readable_bytes, replacing


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(TypeError), replacing(path, "w") as file:
        file.writelines(["half", None])
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_the_new_file_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path, "w") as file:
        file.write("für")
        assert path.read_text() == "old"
    assert path.read_bytes() == "für".encode()


def test_no_space_is_the_users_to_mend(tmp_path):
    path = tmp_path / "a.bin"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1009, before[1]))
    try:
        words = r"a\.bin could not be written.*free some space"
        with pytest.raises(UserError, match=words), replacing(path) as file:
            file.write(b"x" * 2003)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_stays_an_accident(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "no" / "a.txt", "w"):
        pass


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (53_140_000, "53.1 MB"),
        (999_600_000, "1 GB"),
    ],
)
def test_sizes_are_readable(count, shown):
    assert readable_bytes(count) == shown


def test_what_was_there_takes_another_name(tmp_path):
    path, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for text in ("one", "two", "three"):
        with replacing(path, "w", previous=previous) as file:
            file.write(text)
    assert (path.read_text(), previous.read_text()) == ("three", "two")
    with pytest.raises(KeyError), replacing(path, "w", previous=previous):
        raise KeyError
    assert (path.read_text(), previous.read_text()) == ("three", "two")
    assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "previous.ckpt"]
    os.unlink(previous)
    os.link(path, previous)  # two names of one file
    with replacing(path, "w", previous=previous) as file:
        file.write("four")
    assert (path.read_text(), previous.read_text()) == ("four", "three")
    assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "previous.ckpt"]


def test_where_there_are_no_hard_links_the_name_is_moved(tmp_path, monkeypatch):
    def link(*args):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", link)
    path, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for text in ("one", "two"):
        with replacing(path, "w", previous=previous) as file:
            file.write(text)
    assert (path.read_text(), previous.read_text()) == ("two", "one")
