"""Weights & Biases without surprises: it never asks, never stops a run, and works offline."""

from __future__ import annotations

import itertools
import netrc
import os
import secrets
import shlex
import socket
import threading
import urllib.request
from argparse import Namespace
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import DummyExperiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from heed.tracking.artifacts import Kind
from heed.tracking.tolerant import Tolerant
from heed.tracking.wandb_artifacts import log_artifacts
from heed.tracking.wandb_history import cut_history

Mode = Literal["auto", "online", "offline", "disabled"]
_ID_FILE = "run_id"
_CONNECT_SECONDS = 1.0
RECENT = "recent_rows"
_RECENT_ROWS = 32  # more than are logged between two of wandb's writes to disk
_SETTINGS: dict[str, Any] = {
    "silent": True,
    "console": "off",  # what is printed stays with the terminal
    "disable_code": True,
    "disable_git": True,  # the run record has both
    "disable_job_creation": True,
    "init_timeout": 15.0,
    "x_transaction_log_flush_interval": 1.0,  # a killed run loses what is not on disk
    "finish_timeout": 60.0,  # what is not uploaded by then stays on disk, to be synced
}


class HeedWandbLogger(Tolerant, WandbLogger):
    """Lightning's wandb logger with its files in `<run_dir>/wandb`.

    Online when `choose_mode` says so, else offline. If wandb fails, at the start or later, one line
    says so and the run goes on. A resumed run goes on with its wandb run: the id lies in
    `wandb/run_id`. Nothing is started before the trainer asks, and only on the first process.

    Args:
        run_dir: The run folder.
        name: Name of the run.
        project: Project on the server.
        entity: User or team; None for the account's default.
        group: What runs are grouped by.
        tags: Tags of the run.
        notes: A longer description.
        mode: "auto", "online", "offline" or "disabled".
        artifacts: What of the run folder is kept as artifacts when the run has ended well.
    """

    tracker = "wandb"

    def __init__(
        self,
        *,
        run_dir: Path | str,
        name: str,
        project: str,
        entity: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        mode: Mode = "auto",
        artifacts: Sequence[Kind] = (),
    ) -> None:
        self._artifacts = tuple(artifacts)
        self._run_dir = Path(run_dir)
        self._mode = mode
        self._rows = 0  # of the run's history, in all sessions
        self._uploaded = 0  # those that a server has
        self._recent: deque[dict[str, Any]] = deque(maxlen=_RECENT_ROWS)
        super().__init__(name=name, save_dir=str(run_dir), project=project)
        self._own_init: dict[str, Any] = {
            "name": name,
            "project": project,
            "entity": entity,
            "group": group,
            "tags": tags,
            "notes": notes,
            "dir": str(run_dir),
            "resume": "allow",
            "reinit": "finish_previous",
        }

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The wandb run, begun at the first use; a dummy once wandb has failed."""
        if self._experiment is None:
            self._experiment = self.attempt("starting a run", self._begin)
        return self._experiment if self._experiment is not None else DummyExperiment()

    def _begin(self) -> Any:
        mode = choose_mode(self._mode)
        try:
            run = self._init(mode)
        except Exception:
            if mode != "online":
                raise
            # a server that refuses, a key that is no longer good; wandb's helper process still
            # holds the run's id, so it starts anew
            import_wandb().teardown()
            run = self._init("offline")
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return run

    def _init(self, mode: Literal["online", "offline", "disabled"]) -> Any:
        wandb = import_wandb()
        known = wandb.Settings()
        settings = {key: value for key, value in _SETTINGS.items() if hasattr(known, key)}
        return wandb.init(
            **self._own_init, id=self._run_id(), mode=mode, settings=wandb.Settings(**settings)
        )

    def _run_id(self) -> str:
        path = self._run_dir / "wandb" / _ID_FILE
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(secrets.token_hex(4) + "\n", encoding="utf-8")
        return path.read_text(encoding="utf-8").strip()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self._log_row({"step": step, "metrics": dict(metrics)})

    @rank_zero_only
    def log_table(  # type: ignore[override]
        self, key: str, columns: list[str], data: list[list[str]], step: int | None = None
    ) -> None:
        """Log a table of short texts."""
        self._log_row({"step": step, "table": {"key": key, "columns": columns, "data": data}})

    def _log_row(self, row: dict[str, Any]) -> None:
        """Give wandb a row of its history under the number that it has in the whole run."""
        number, self._rows = self._rows, self._rows + 1
        self._recent.append(row)
        if number >= self._uploaded:
            self.attempt("logging", lambda: self._send(row, number))

    def _send(self, row: dict[str, Any], number: int) -> None:
        run = self.experiment
        if isinstance(run, DummyExperiment):
            return
        content = dict(row.get("metrics", {}))
        if "table" in row:
            table = row["table"]
            content[table["key"]] = import_wandb().Table(
                columns=table["columns"], data=table["data"]
            )
        run.log({**content, "trainer/global_step": row["step"]}, step=number, commit=True)

    @rank_zero_only
    def place(self, step: int) -> dict[str, Any]:
        """How many rows the history has, and the last of them, which may not be on disk yet."""
        recent = list(itertools.takewhile(_is_plain, reversed(self._recent)))[::-1]
        return {"rows": self._rows, RECENT: recent}

    @rank_zero_only
    def go_to(self, place: dict[str, Any] | None) -> None:
        """Go on after a row, in a new session: those that came after it (all, with None) go.

        Rows that were kept offline are cut off their files, and those that a killed session did
        not bring to disk are logged again. Rows that a server has will come again, as the same
        rows, and are not sent twice.
        """
        if self._rows == 0 and not isinstance(self.experiment, DummyExperiment):
            recent = place[RECENT] if place else []
            self._rows = place["rows"] if place else 0
            self.attempt("finding its place", lambda: self._go_to_row(recent))

    def _go_to_row(self, recent: list[dict[str, Any]]) -> None:
        run = self.experiment
        if run.disabled:
            return
        if not run.offline:
            self._uploaded = run.starting_step
            return
        here = Path(run.settings.sync_dir).name
        earlier = [folder for folder in self._segments() if folder.name != here]
        missing = self._rows - cut_history(earlier, self._rows)
        for behind in range(min(missing, len(recent)), 0, -1):
            self._send(recent[-behind], self._rows - behind)

    def _segments(self) -> list[Path]:
        """The folders of this run's offline sessions, in order."""
        found = (self._run_dir / "wandb").glob(f"offline-run-*-{self._run_id()}")
        return sorted(found, key=lambda folder: folder.name)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        self.attempt("logging the config", lambda: WandbLogger.log_hyperparams(self, params))

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Nothing: checkpoints stay in the run folder."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Nothing yet: a test may follow the training; `finish` ends the run."""

    @rank_zero_only
    def finish(self, *, succeeded: bool = True) -> str | None:
        """End the wandb run, so that the next one of this process starts its own.

        Returns:
            A line for the user: where the run is, or how to upload it. None if there is no run.
        """
        run, self._experiment = self._experiment, None
        if run is None or isinstance(run, DummyExperiment):
            return None
        offline = bool(run.offline)
        url = None if offline else run.url
        folder = shlex.quote(os.path.relpath(run.settings.sync_dir))
        if len(self._segments()) > 1:  # wandb uploads those of one run one after another
            folders = f"offline-run-*-{self._run_id()}"
            folder = f"{shlex.quote(os.path.relpath(self._run_dir / 'wandb'))}/{folders}"
        if succeeded and not run.disabled and self._artifacts:
            self.attempt(
                "keeping artifacts",
                lambda: log_artifacts(import_wandb(), run, self._run_dir, self._artifacts),
            )
        self.attempt("finishing", lambda: run.finish(exit_code=0 if succeeded else 1))
        if run.disabled:
            return None
        if offline or self.failed:
            return f"wandb: kept offline; upload it with: wandb sync {folder}"
        return f"wandb: {url}"


def _is_plain(row: dict[str, Any]) -> bool:
    """Whether a checkpoint can hold a row."""
    return all(isinstance(value, (int, float, str)) for value in row.get("metrics", {}).values())


def import_wandb() -> Any:
    """The wandb package; it reports its own errors home only if WANDB_ERROR_REPORTING says so.

    Reporting would hold up the end of a run for half a minute where there is no network.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb


def choose_mode(mode: Mode = "auto") -> Literal["online", "offline", "disabled"]:
    """What wandb can do here, without asking anybody.

    WANDB_MODE and WANDB_DISABLED come first. "auto" and "online" are online only with an account
    (WANDB_API_KEY, WANDB_IDENTITY_TOKEN_FILE, netrc or wandb's settings) and a server that takes a
    connection within a second.
    """
    asked = os.environ.get("WANDB_MODE", mode if mode != "auto" else "online")
    if os.environ.get("WANDB_DISABLED", "").lower() in {"true", "1", "yes"}:
        return "disabled"
    if asked in {"disabled", "offline"}:
        return asked  # type: ignore[return-value]
    if asked == "dryrun":
        return "offline"
    url = os.environ.get("WANDB_BASE_URL") or import_wandb().setup().settings.base_url
    return "online" if _has_account(url) and _answers(url) else "offline"


def _has_account(url: str) -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    if import_wandb().setup().settings.api_key:
        return True
    host = urlsplit(url).netloc
    files = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for file in files:
        try:
            if netrc.netrc(os.path.expanduser(file)).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _answers(url: str) -> bool:
    """Whether the server, or the proxy on the way, takes a connection within a second."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
    reached = threading.Event()

    def connect() -> None:  # in a thread, since looking up a name knows no time limit
        try:
            socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
            reached.set()
        except OSError:
            pass

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_CONNECT_SECONDS)
    return reached.is_set()
