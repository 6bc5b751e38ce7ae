"""How a training is spread over processes: data parallel, sharded, or DeepSpeed's engine.

Each function builds Lightning's strategy from plain values; `trainer=` configs choose one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from importlib.util import find_spec
from typing import Literal

import torch
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import DDPStrategy, Strategy

from heed.errors import UserError


def cluster_environment() -> ClusterEnvironment:
    """Where Lightning reads this process's place from: torchrun's variables, if they are set.

    Whoever started the processes, they have been put into torchrun's words before. Lightning's own
    guess would take a Slurm job around a single process for the world of that process.
    """
    return TorchElasticEnvironment() if "WORLD_SIZE" in os.environ else LightningEnvironment()


def ddp(
    *,
    static_graph: bool,
    find_unused_parameters: bool,
    bucket_cap_mb: int,
    timeout_minutes: float,
) -> Strategy:
    """A whole model in each process, gradients averaged while they are computed.

    Args:
        static_graph: Whether every step uses the same parameters in the same order, which torch
            then need not find out each time.
        find_unused_parameters: Whether a step may leave parameters out; costs time.
        bucket_cap_mb: Gradients are exchanged in buckets of so many MiB.
        timeout_minutes: After so long without an answer from another process training fails.

    Source: Li et al. (2020), PyTorch Distributed.
    """
    kind = StaticGraph if static_graph else DDPStrategy
    return kind(
        static_graph=static_graph,
        find_unused_parameters=find_unused_parameters,
        bucket_cap_mb=bucket_cap_mb,
        gradient_as_bucket_view=True,
        timeout=timedelta(minutes=timeout_minutes),
    )


class StaticGraph(DDPStrategy):
    """Exchanges gradients after every micro-batch: torch's static graph knows no other way.

    What earlier micro-batches have added up is the same in all processes, and stays as it is.
    """

    @contextlib.contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Nothing is blocked."""
        yield


def fsdp2(
    *,
    reshard_after_forward: bool,
    activation_checkpointing: bool,
    cpu_offload: bool,
    sharded_checkpoints: bool,
    timeout_minutes: float,
) -> Strategy:
    """Parameters, gradients and optimizer state in shards, gathered block by block (`fully_shard`).

    Args:
        reshard_after_forward: Whether a block's parameters are let go of between its forward and
            backward pass: less memory, more traffic.
        activation_checkpointing: Whether blocks are computed again in the backward pass instead of
            keeping what lies between.
        cpu_offload: Whether shards and optimizer state stay in the host's memory, where there is
            another.
        sharded_checkpoints: Whether each process writes its own shard into a folder; else the first
            writes one file, which any other strategy reads too.
        timeout_minutes: After so long without an answer from another process training fails.

    Source: Zhao et al. (2023), PyTorch FSDP.
    """
    from heed.training.sharding import FullySharded

    return FullySharded(
        reshard_after_forward=reshard_after_forward,
        activation_checkpointing=activation_checkpointing,
        cpu_offload=cpu_offload,
        sharded_checkpoints=sharded_checkpoints,
        timeout=timedelta(minutes=timeout_minutes),
    )


def deepspeed(*, stage: Literal[0, 1, 2], offload_optimizer: bool) -> Strategy:
    """DeepSpeed's engine with ZeRO (needs GPUs and the extra: heed-nlp[deepspeed]).

    The engine keeps gradients to itself. So with gradient accumulation every micro-batch weighs the
    same, whatever it holds, gradient norms are not logged, and checkpoints hold the weights alone:
    such a run cannot be gone on with, but another can start from it.

    Args:
        stage: What is sharded: 0 nothing, 1 the optimizer state, 2 gradients too.
        offload_optimizer: Whether the optimizer state stays in the host's memory.

    Raises:
        UserError: If DeepSpeed is not installed, or there is no GPU.

    Source: Rajbhandari et al. (2020), ZeRO.
    """
    if find_spec("deepspeed") is None:
        raise UserError(
            "trainer=deepspeed needs the package deepspeed, which is not installed",
            "pip install 'heed-nlp[deepspeed]', or use trainer=fsdp2, which needs nothing more",
        )
    if not torch.cuda.is_available():
        raise UserError(
            "trainer=deepspeed needs a GPU, but this machine has none", "use trainer=fsdp2"
        )
    from heed.training.engine import DeepSpeed

    return DeepSpeed(
        stage=stage,
        offload_optimizer=offload_optimizer,
        offload_optimizer_device="cpu",
        logging_batch_size_per_gpu=1,  # there is no fixed batch size that it could find out
        zero_allow_untested_optimizer=True,
    )
