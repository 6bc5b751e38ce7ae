"""The code that a run was trained with: its commit and changes, in a temporary git worktree.

The checkouts of this machine are only asked for the commits; nothing in them is touched.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import heed
from heed.commands.own_runs import recall
from heed.commands.summary import shown_path
from heed.errors import EXIT_INTERRUPTED, EXIT_STOPPED, RunFailed, UserError, raise_together
from heed.tracking.environment import checkouts
from heed.tracking.record import RunRecord

# Keys of a config that hold places, which a process that stands elsewhere must be told in full.
PLACES = ("data.path", "data.source.path", "tokenizer.path", "model.init_from", "data.cache_dir")
PLACES_OF_ALL = ("paths.output_dir", "paths.cache_dir", "paths.run_dir")
_FORWARDED = ("SIGTERM", "SIGUSR1", "SIGUSR2")


class Code(NamedTuple):
    """Where restored code is.

    Attributes:
        source: The folder that holds the package `heed`; None where it is the one in use.
        project: The folder that corresponds to the working directory; None where there is none.
    """

    source: Path | None
    project: Path | None


def check_restorable(record: RunRecord) -> None:
    """Refuse code that cannot be had from git, or that a stranger wrote.

    Raises:
        UserError: For each reason.
    """
    place, code = shown_path(record.run_dir), record.fields["code"]
    if recall(record) is None:
        raise UserError(
            f"code=true runs what {place} recorded as changes of the code, but this run was not "
            "trained by you here, and may be anybody's",
            "look at its *.diff files, apply them to a checkout yourself, and leave code=true out",
        )
    if not code:
        version = record.fields["versions"].get("heed-nlp", "its version")
        raise UserError(
            f"code=true needs a commit, but {place} recorded none: it was not trained from a git "
            "checkout",
            f"install the version it was trained with: pip install heed-nlp=={version}",
        )
    here = checkouts()
    raise_together([fault for name in code if (fault := _fault(record, name, here))])


def _fault(record: RunRecord, name: str, here: dict[str, Path]) -> UserError | None:
    facts = record.fields["code"][name]
    commit = str(facts.get("commit"))
    if name not in here:
        where = "Heed runs from" if name == "heed" else "this folder is in"
        return UserError(
            f"code=true needs the git checkout of {name} with the commit {commit[:12]}, but "
            f"{where} none",
            "run from such a checkout",
        )
    if not _git(here[name], "cat-file", "-e", f"{commit}^{{commit}}"):
        return UserError(
            f"the commit {commit[:12]} is not in {here[name]}", "get it by git fetch, and repeat"
        )
    if facts.get("diff_cut"):
        return UserError(
            f"{facts['diff']} was too large to be recorded whole", "leave code=true out"
        )
    if facts.get("diff") and not _diff(record, name).is_file():
        return UserError(f"{_diff(record, name)} is missing", "restore it from a copy")
    return None


@contextlib.contextmanager
def restored_code(record: RunRecord) -> Iterator[Code]:
    """The recorded code for the time of the block.

    Raises:
        UserError: If the recorded changes do not apply to the recorded commit.
    """
    here = checkouts()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heed-code-")))
        found: dict[str, Path] = {}
        for name, facts in record.fields["code"].items():
            found[name] = folder / name
            stack.callback(_git, here[name], "worktree", "remove", "--force", str(found[name]))
            _must(here[name], "worktree", "add", "--detach", str(found[name]), facts["commit"])
            if facts.get("diff"):
                diff = os.path.abspath(_diff(record, name))
                _must(found[name], "apply", "--binary", "--whitespace=nowarn", diff)
            if facts.get("untracked"):
                print(
                    f"note: git did not track {', '.join(facts['untracked'])}, which cannot be "
                    "restored",
                    file=sys.stderr,
                )
            print(
                f"{name} is at {facts['commit'][:12]}" + (" and changes" * bool(facts.get("diff")))
            )
        yield Code(_moved(found, here, "heed", _package()), _moved(found, here, "project", _here()))


def train_queued(folder: Path, code: Code) -> None:
    """Train a queued run in a process of its own, which runs the restored code.

    Raises:
        RunFailed: If it fails.
        SystemExit: If it is stopped.
    """
    paths = [str(path) for path in code if path is not None]
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    process = subprocess.Popen(
        [sys.executable, "-m", "heed", "train", f"resume={os.path.abspath(folder)}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=code.project,
    )
    with _forwarding(process):
        while True:
            try:
                exit_code = process.wait()
                break
            except KeyboardInterrupt:
                continue  # the process has got it too, and saves
    if exit_code in (EXIT_INTERRUPTED, EXIT_STOPPED):
        raise SystemExit(exit_code)
    if exit_code:
        raise RunFailed(f"the run with the recorded code ended with exit code {exit_code}")


@contextlib.contextmanager
def _forwarding(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass signals that stop a run on to the process that trains it."""

    def forward(signum: int, frame: Any) -> None:
        process.send_signal(signum)

    signals = [getattr(signal, name) for name in _FORWARDED if hasattr(signal, name)]
    before = {one: signal.signal(one, forward) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def with_whole_paths(config: dict[str, Any]) -> None:
    """Make the places of a config absolute, for a process that stands in another folder."""
    for key in (*PLACES, *PLACES_OF_ALL):
        group, _, rest = key.partition(".")
        node = config.get(group)
        *parents, last = rest.split(".")
        for name in parents:
            node = node.get(name) if isinstance(node, dict) else None
        value = node.get(last) if isinstance(node, dict) else None
        if isinstance(value, str) and (key in PLACES_OF_ALL or Path(value).expanduser().exists()):
            assert isinstance(node, dict)
            node[last] = os.path.abspath(os.path.expanduser(value))


def _moved(found: dict[str, Path], here: dict[str, Path], name: str, folder: Path) -> Path | None:
    """The folder of a checkout as it is in the restored one."""
    if name not in found:
        return None
    return found[name] / os.path.relpath(os.path.realpath(folder), os.path.realpath(here[name]))


def _package() -> Path:
    return Path(heed.__file__).resolve().parents[1]


def _here() -> Path:
    return Path.cwd()


def _diff(record: RunRecord, name: str) -> Path:
    return record.inside(str(record.fields["code"][name].get("diff")), f"code.{name}.diff")


def _git(folder: Path, *words: str) -> bool:
    return _run(folder, *words).returncode == 0


def _must(folder: Path, *words: str) -> None:
    done = _run(folder, *words)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UserError(
            f"git {words[0]} must restore the recorded code, but fails in {folder}: "
            f"{said[-1] if said else 'it says nothing'}",
            "leave code=true out",
        )


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            check=False,
        )
    except OSError as error:
        raise UserError(f"code=true needs git, which cannot be run: {error}") from error
