"""A real Slurm of one node for a test: munged, slurmctld and slurmd in a folder of their own.

Needs root, and the packages slurm-wlm and munge (Debian's names).
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=requeue_setup_env_fail,bf_interval=2,sched_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=60
MinJobAge=600
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str:
    """What keeps this machine from running the cluster; "" if nothing does."""
    if os.name != "posix" or os.geteuid() != 0:
        return "needs root"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"needs {', '.join(absent)} (packages slurm-wlm and munge)" if absent else ""


class SlurmCluster:
    """Start with `with SlurmCluster(folder) as cluster`; commands run with `cluster.run(...)`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> SlurmCluster:
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        host = socket.gethostname().partition(".")[0]
        ports = [_free_port(), _free_port()]
        text = CONF.format(host=host, folder=self.folder, ports=ports)
        (self.folder / "slurm.conf").write_text(text)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        place = self.folder
        self._start(
            *("munged", "--foreground", "--force", f"--key-file={key}"),
            *(f"--socket={place}/munge.socket", f"--pid-file={place}/munged.pid"),
            *(f"--log-file={place}/munged.log", f"--seed-file={place}/munged.seed"),
        )
        self._start("slurmctld", "-D")
        self._start("slurmd", "-D", "-N", host)
        self._until(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T").stdout, "an idle node")
        return self

    def __exit__(self, *_: object) -> None:
        self.run("scancel", "--user=root", "--signal=KILL")
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands on this cluster."""
        return subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=60)

    def submit(self, *words: str) -> str:
        """Submit a job with sbatch; returns its number."""
        done = self.run("sbatch", "--parsable", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def show(self, job: str) -> dict[str, str]:
        """What scontrol knows of a job."""
        text = self.run("scontrol", "show", "job", job, "-o").stdout
        return dict(word.partition("=")[::2] for word in text.split() if "=" in word)

    def _start(self, *words: str) -> None:
        with open(self.folder / f"{words[0]}.out", "wb") as log:
            daemon = subprocess.Popen(words, env=self.env, stdout=log, stderr=log)
        self._daemons.append(daemon)

    def _until(self, condition, what: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            logs = "\n".join(p.read_text()[-2000:] for p in self.folder.glob("*.log"))
            assert time.monotonic() < end, f"no {what}:\n{logs}"
            time.sleep(0.5)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
