"""Run folders are given out once and found again."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from heed.errors import UserError
from heed.tracking.folder import (
    CHECKPOINTS,
    create_run_folder,
    find_run_folders,
    near_run_folders,
)
from heed.training.callbacks.saving import FOLDER


def make_run(folder, seconds):
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    os.utime(folder / "run.json", (seconds, seconds))
    return folder


def test_training_saves_where_others_look():
    assert FOLDER == CHECKPOINTS  # training and tracking do not know one another


def test_folders_made_at_once_are_all_different(tmp_path):
    with ThreadPoolExecutor(7) as pool:
        made = list(pool.map(lambda _: create_run_folder(tmp_path, "qa", "try"), range(23)))
    assert len(set(made)) == 23
    assert all(folder.is_dir() and folder.parent == tmp_path / "qa" / "try" for folder in made)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(-\d+)?", f.name) for f in made)
    assert any(folder.name.endswith("-2") for folder in made)


@pytest.mark.parametrize("name", ["", "a/b", "..", "."])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="name must be a plain folder name"):
        create_run_folder(tmp_path, "qa", name)


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "outputs").write_text("")
    with pytest.raises(UserError, match=r"must be a folder, but .*outputs.* is a file"):
        create_run_folder(tmp_path / "outputs", "qa", "x")


def test_runs_are_found_newest_first_and_hidden_folders_left_out(tmp_path):
    old = make_run(tmp_path / "qa" / "x" / "2025-01-01", 1_000)
    new = make_run(tmp_path / "translation" / "x" / "2024-01-01", 2_000)
    make_run(tmp_path / ".trash" / "y", 3_000)
    assert find_run_folders(tmp_path) == [new, old]


def test_what_somebody_may_have_meant(tmp_path):
    run = make_run(tmp_path / "outputs" / "qa" / "x" / "2025-01-01", 1_000)
    assert near_run_folders(run / "checkpoints" / "last.ckpt") == [run]
    assert near_run_folders(tmp_path / "outputs" / "qa") == [run]
    assert near_run_folders(tmp_path / "outputs" / "qa" / "x" / "2025-01-02") == [run]
    assert near_run_folders(tmp_path / "a" / "b" / "c" / "d" / "e") == []
