"""A number that is not finite on one of two processes: both do the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.distributed.conftest import SMALL, TWO_PROCESSES, logs

from heed.cli import main
from heed.training.checkpoint_io import load_checkpoint

pytestmark = pytest.mark.faults
# Spoils the loss of one process's share of one global batch, or leaves the batch out.
SPOILT = """
import lightning.pytorch as pl

class Spoil(pl.Callback):
    def __init__(self, *, rank: int | None, position: int) -> None:
        self.rank, self.position = rank, position

    def setup(self, trainer, pl_module, stage):
        if self.rank is None and stage == "fit":
            trainer.datamodule.leave_out([(0, self.position)])

    def on_fit_start(self, trainer, pl_module):
        loss = type(pl_module).loss
        def spoilt(batch):
            found = loss(pl_module, batch)
            here = trainer.global_rank == self.rank
            if here and trainer.training and trainer.datamodule.next_place() == (0, self.position):
                found = found._replace(sum=found.sum * float("nan"))
            return found
        pl_module.loss = spoilt
"""


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`train("skip")` is a run of two processes; returns its exit code, output and folder."""
    here = tmp_path_factory.mktemp("spoilt")
    (here / "spoilt.py").write_text(SPOILT)
    configs = here / "configs/callbacks"
    configs.mkdir(parents=True)
    (configs / "spoilt.yaml").write_text(
        "# The default callbacks, and one that spoils a loss.\n"
        "defaults: [default, _self_]\n"
        "spoil: {_target_: spoilt.Spoil, rank: 1, position: 4}\n"
    )

    def run(action: str, trainer: str = "ddp", *words: str) -> tuple[int, str, Path]:
        place = here / f"{action}-{trainer}-{len(words)}"
        own = [
            *(f"trainer={trainer}", "task=sentiment", "callbacks=spoilt"),
            *("callbacks.progress=null", f"callbacks.non_finite.action={action}"),
            *(f"paths.output_dir={place}", f"paths.cache_dir={here / 'cache'}"),
        ]
        options = ["--config-dir", str(here / "configs")]
        done = subprocess.run(
            [sys.executable, "-m", "heed", "train", *options]
            + [*SMALL, *TWO_PROCESSES[1:], *own, *words],
            capture_output=True,
            text=True,
            timeout=900,
            cwd=here,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        (folder,) = (path.parent for path in place.rglob("run.json"))
        return done.returncode, done.stdout + done.stderr + logs(place), folder

    return run


def faults(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted((folder / "faults").glob("*/fault.json"))]


def test_stop_names_the_process_and_keeps_both_shares(
    train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, folder = train("stop")
    assert code == 1, said
    assert "step 5: the loss is not finite" in said
    assert "from the batch of process 1" in said
    (fault,) = faults(folder)
    assert [len(losses) for losses in fault["losses"]] == [1, 1]
    assert fault["losses"][1] == ["nan"]
    assert fault["places"] == [[0, 4]]
    assert {p.name for p in (folder / "faults/step=000005").iterdir()} == {
        "fault.json", "weights.pt", "rank-0.pt", "rank-1.pt",
    }  # fmt: skip
    # The spoilt loss is not in the model, so that the step made again is sound.
    assert main(["replay", f"run={folder}", "--trust", "spoilt"]) == 0
    shown = capsys.readouterr().out
    assert "batch 1 of process 1, epoch 0, batch 4 of it" in shown
    assert "It does not come again" in shown


@pytest.mark.parametrize("trainer", ["ddp", "fsdp2"])
def test_skip_is_alike_on_both_and_the_run_ends_well(train: Any, trainer: str) -> None:
    code, said, folder = train("skip", trainer)
    assert code == 0, said
    assert len(faults(folder)) == 1
    weights = load_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]
    assert all(bool(w.isfinite().all()) for w in weights.values())


@pytest.mark.parametrize("trainer", ["ddp", "fsdp2"])
def test_roll_back_goes_on_without_the_batch(train: Any, trainer: str) -> None:
    code, said, folder = train("roll_back", trainer)
    assert code == 0, said
    assert len(faults(folder)) == 1
    kept = load_checkpoint(folder / "checkpoints/last.ckpt")
    assert kept["global_step"] == 11
    (data,) = (value for key, value in kept.items() if "DataModule" in key)
    assert data["left_out"] == [[0, 4]]
    code, said, folder = train("stop", trainer, "callbacks.spoil.rank=null")
    assert code == 0, said
    without = load_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]
    for name, weight in kept["state_dict"].items():
        assert torch.equal(weight, without[name]), name
