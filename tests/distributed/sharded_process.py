"""One of several processes that write and read a checkpoint folder: `python FILE FOLDER`."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from heed.errors import UserError
from heed.training.sharded_checkpoint import load_sharded, save_sharded

ROWS, COLUMNS = 7, 5


def checkpoint(mesh, start):
    """A tensor of shards and one that all processes hold."""
    whole = torch.arange(start, start + ROWS * COLUMNS, dtype=torch.float32).view(ROWS, COLUMNS)
    return {
        "state_dict": {"sharded": distribute_tensor(whole, mesh, [Shard(0)]), "same": whole[0]},
        "global_step": start,
    }


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    last, previous = folder / "last.ckpt", folder / "previous.ckpt"
    for start in (11, 13):
        save_sharded(checkpoint(mesh, start), last, previous=previous)

    here = checkpoint(mesh, 0)
    expected = checkpoint(mesh, 13)["state_dict"]["sharded"]
    loaded = load_sharded(last, into={"state_dict": here["state_dict"]})
    assert loaded["global_step"] == 13
    assert isinstance(loaded["state_dict"]["sharded"], DTensor)
    assert torch.equal(here["state_dict"]["sharded"].to_local(), expected.to_local())
    whole = load_sharded(last)["state_dict"]["sharded"]
    assert torch.equal(whole, expected.full_tensor())

    if dist.get_rank() == 1:  # one of them has no room; all must hear of it
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        save_sharded(checkpoint(mesh, 17), last, previous=previous)
    except UserError as error:
        print(error, flush=True)
    dist.barrier()
    assert load_sharded(last)["global_step"] == 13
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
