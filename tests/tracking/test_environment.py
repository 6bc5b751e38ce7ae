"""What a run ran on."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess

import pytest

from heed.tracking import environment
from heed.tracking.environment import (
    checkouts,
    describe_code,
    describe_hardware,
    describe_platform,
    package_versions,
)


def git(folder, *arguments):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "a.py").write_text("one = 1\n")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_versions_are_those_installed():
    versions = package_versions()
    assert versions["lightning"] == importlib.metadata.version("lightning")
    assert {"torch", "heed-nlp", "numpy"} <= versions.keys()


def test_hardware_and_platform_are_plain_values():
    hardware = json.loads(json.dumps(describe_hardware()))
    assert hardware["usable_threads"] >= 1
    assert hardware["memory_gib"] > 0
    assert hardware["cpu"]
    assert describe_platform()["python"] == platform.python_version()


def test_a_clean_checkout(checkout):
    facts, diff = describe_code(checkout)
    assert facts == {
        "commit": git(checkout, "rev-parse", "HEAD"),
        "branch": "trunk",
        "dirty": False,
        "untracked": [],
    }
    assert diff == ""


def test_changes_are_in_the_diff_and_new_files_named(checkout):
    (checkout / "a.py").write_text("one = 2\n")
    (checkout / "new.py").write_text("")
    facts, diff = describe_code(checkout)
    assert facts["dirty"]
    assert facts["untracked"] == ["new.py"]
    assert "-one = 1\n+one = 2\n" in diff
    git(checkout, "checkout", "-q", "a.py")
    (checkout / "change.diff").write_text(diff)
    git(checkout, "apply", "change.diff")
    assert (checkout / "a.py").read_text() == "one = 2\n"


def test_a_large_diff_is_cut(checkout, monkeypatch):
    monkeypatch.setattr(environment, "DIFF_BYTES", 103)
    (checkout / "a.py").write_text("ä" * 499)
    facts, diff = describe_code(checkout)
    assert facts["diff_cut"]
    assert "cut here" in diff
    assert len(diff.encode()) < 200


def test_no_checkout_and_no_git_are_no_trouble(tmp_path, monkeypatch):
    assert describe_code(tmp_path / "nowhere") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_code(tmp_path) is None
    assert checkouts() == {}


def test_the_checkout_around_the_working_directory_is_the_project(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    assert checkouts()["project"].samefile(checkout)
