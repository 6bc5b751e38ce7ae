"""A study in a real PostgreSQL, from several connections, and without its server."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from heed.errors import RunFailed, UserError
from heed.sweeps import storage
from heed.sweeps.objective import Objective
from heed.sweeps.outcomes import is_lost
from heed.sweeps.settings import Settings
from heed.sweeps.space import Axis, Space
from heed.sweeps.study import Study

SPACE = Space([Axis("optimizer.lr", "float", low=1e-5, high=1e-2, log=True)])
PASSWORD = "not-shown"


def programs() -> Path | None:
    """Where PostgreSQL's server programs are, in Debian's places or on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def other_user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root; Debian makes a user for it."""
    if os.getuid() != 0:
        return {}
    import pwd

    entry = pwd.getpwnam("postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


pytestmark = [
    pytest.mark.learning,  # a server of its own
    pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed"),
]


class Server:
    """One PostgreSQL on a free port of this machine."""

    def __init__(self, place: Path) -> None:
        self.data, self.place = place / "data", place
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.data.mkdir()
        self.who = other_user()
        if self.who:
            for folder in (place, self.data):
                os.chown(folder, self.who["user"], self.who["group"])
        secret = place / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._call("initdb", "-U", "heed", "-A", "scram-sha-256", f"--pwfile={secret}")
        self.start()
        self.url = f"postgresql://heed:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        self._call("pg_ctl", "-o", f"{options} -F", "-l", str(self.place / "log"), "-w", "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-m", "immediate", "-w", "stop")

    def _call(self, program: str, *words: str) -> None:
        folder = programs()
        assert folder is not None
        done = subprocess.run(
            [str(folder / program), "-D", str(self.data), *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self.place,
            **self.who,
        )
        assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="pg") as place:  # a short path, open to its user
        Path(place).chmod(0o755)
        started = Server(Path(place))
        try:
            yield started
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of connections that broke with the server
                gc.collect()
        finally:
            if (started.data / "postmaster.pid").exists():
                started.stop()


@pytest.fixture
def study(server: Server, tmp_path: Path) -> Iterator[Callable[[str, str], Study]]:
    """`study("a", "name")` is a study as seen from a machine that has the folder `a`."""
    opened = []

    def see(machine: str, name: str) -> Study:
        folder = tmp_path / machine
        folder.mkdir(exist_ok=True)
        goal = Objective("val/bleu", "max")
        settings = Settings(study_name=name, objectives=[goal], n_trials=5, storage=server.url)
        opened.append(Study(folder, settings, SPACE, {"seed": 1}))
        return opened[-1]

    yield see
    for one in opened:
        one.close()


def test_machines_share_a_study_without_a_folder(study):
    here, there = study("a", "s"), study("b", "s")
    numbers = []
    for index in range(5):
        number, _ = (here, there)[index % 2].ask()
        numbers.append(number)
        (here, there)[index % 2].finish(number, [float(index)])
    assert numbers == [0, 1, 2, 3, 4]
    assert here.ask() is None
    assert [trial.values for trial in there.trials()] == [[float(n)] for n in range(5)]


def test_a_trial_of_another_machine_is_lost_without_signs_of_life(
    study, monkeypatch: pytest.MonkeyPatch
):
    gone = study("a", "lost")
    number, point = gone.ask()
    gone.heartbeat(number)
    other = study("b", "lost")
    assert other.lost_trials() == []  # there is a sign of life, and no lock to look at
    other.close()
    monkeypatch.setattr(storage, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(storage, "GRACE_SECONDS", 1)
    time.sleep(2.5)
    other = study("b", "lost")
    other.lost_trials()
    other.retry_lost()
    assert is_lost(other.trials()[number])
    assert other.ask() == (1, point)


def test_a_server_that_goes_away_says_so_and_the_study_goes_on(server: Server, study):
    one = study("a", "away")
    number, _ = one.ask()
    server.stop()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RunFailed, match=r"cannot be used") as failure:
            one.finish(number, [1.0])
    assert PASSWORD not in str(failure.value)
    server.start()
    one.finish(number, [1.0])
    assert one.trials()[number].values == [1.0]
    assert one.ask() is not None


def test_a_wrong_password_is_not_repeated(server: Server, tmp_path: Path):
    url = server.url.replace(PASSWORD, "wrong-one")
    with pytest.raises(UserError, match="password authentication failed") as failure:
        storage.open_storage(url, tmp_path)
    assert "wrong-one" not in str(failure.value)
