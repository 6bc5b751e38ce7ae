"""Who started this process, read from what launchers really set."""

from __future__ import annotations

import os

import pytest

from heed.commands.ranks import fit_to_world
from heed.commands.world import TORCHRUN, enter, first_host, launched_world, leave
from heed.errors import UserError

# as torchrun 2.13 sets them: two machines with three processes each, started for the second time
OF_TORCHRUN = {
    "RANK": "4",
    "WORLD_SIZE": "6",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "3",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "10.0.0.7",
    "MASTER_PORT": "41231",
    "TORCHELASTIC_RUN_ID": "job7",
    "TORCHELASTIC_RESTART_COUNT": "1",
}
# as srun 22.05 sets them in a step of the same shape
OF_SRUN = {
    "SLURM_JOB_ID": "12345",
    "SLURM_NTASKS": "6",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "3(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_RESTART_COUNT": "2",
}


def test_a_process_by_itself():
    assert launched_world({"PATH": "/bin"}) is None


def test_a_script_of_a_slurm_job_is_one_process():
    """In sbatch's own script SLURM_NTASKS says what srun would start."""
    script = {"SLURM_JOB_ID": "5", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}
    assert launched_world(script) is None


def test_torchrun():
    world = launched_world(OF_TORCHRUN)
    assert world is not None
    assert (world.rank, world.size, world.local_rank, world.local_size) == (4, 6, 1, 3)
    assert (world.nodes, world.launcher, world.attempt) == (2, "torchrun", 1)
    assert (world.address, world.port, world.job) == ("10.0.0.7", 41231, "torchrun-job7")


def test_srun():
    world = launched_world(OF_SRUN)
    assert world is not None
    assert (world.rank, world.size, world.local_rank, world.local_size) == (4, 6, 1, 3)
    assert (world.nodes, world.launcher, world.attempt) == (2, "slurm", 2)
    assert (world.address, world.job) == ("gpu07", "slurm-12345")


def test_all_tasks_of_a_job_meet_at_one_port():
    ports = {launched_world({**OF_SRUN, "SLURM_PROCID": str(rank)}).port for rank in range(6)}
    assert len(ports) == 1
    other = launched_world({**OF_SRUN, "SLURM_JOB_ID": "12346"})
    assert other.port not in ports


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu07", "gpu07"), ("gpu[07-09,12],login", "gpu07"), ("a1,b[2-3]", "a1"), ("n[3]", "n3")],
)
def test_the_first_host(nodes, first):
    assert first_host(nodes) == first


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({**OF_SRUN, "SLURM_STEP_TASKS_PER_NODE": "4,2"}, "the same number of tasks"),
        ({**OF_TORCHRUN, "LOCAL_WORLD_SIZE": "4"}, "but 6 processes come 4 a machine"),
        ({**OF_TORCHRUN, "RANK": "first"}, "RANK to a whole number, but it is 'first'"),
    ],
)
def test_what_cannot_be(environ, words):
    with pytest.raises(UserError, match=words):
        launched_world(environ)


def test_entering_a_world_tells_torch(monkeypatch):
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    enter(launched_world(OF_SRUN))
    told = {name: os.environ[name] for name in TORCHRUN}
    assert told.pop("MASTER_ADDR") == "gpu07"
    assert told.pop("MASTER_PORT") == str(launched_world(OF_SRUN).port)
    assert told == {name: OF_TORCHRUN[name] for name in told}
    leave()
    assert not any(name in os.environ for name in TORCHRUN)


def test_the_launcher_decides_how_many_there_are():
    trainer = {"strategy": "auto", "devices": 1, "num_nodes": 1}
    fit_to_world(trainer, launched_world(OF_TORCHRUN))
    assert trainer == {"strategy": "ddp", "devices": 3, "num_nodes": 2}
    chosen = {"strategy": {"_target_": "x"}, "devices": "auto", "num_nodes": 1}
    fit_to_world(chosen, launched_world(OF_TORCHRUN))
    assert chosen["strategy"] == {"_target_": "x"}
