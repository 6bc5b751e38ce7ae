"""Files that are either whole or not there."""

from __future__ import annotations

import resource

import pytest

from heed.errors import UserError
from heed.files import replacing


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
