"""Fully sharded training (FSDP2) under Lightning, with checkpoints that any strategy reads.

Sharding is applied here and nowhere else: the model stays plain. Each block of the backbone is a
group whose parameters are gathered when it is computed; what is left (embeddings, norms, the head,
tied tables) is one more group around the training step.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torchmetrics import Metric

from heed.backbone.block import Block
from heed.training.sharded_checkpoint import load_sharded, save_sharded

STEPS = ("training_step", "validation_step", "test_step", "predict_step")
_LOW = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class FullySharded(ModelParallelStrategy):
    """See `heed.training.strategies.fsdp2`, which makes it."""

    def __init__(
        self,
        *,
        reshard_after_forward: bool,
        activation_checkpointing: bool,
        cpu_offload: bool,
        sharded_checkpoints: bool,
        timeout: timedelta,
    ) -> None:
        super().__init__(
            data_parallel_size="auto",
            tensor_parallel_size=1,
            save_distributed_checkpoint=sharded_checkpoints,
            timeout=timeout,
        )
        self.reshard_after_forward = reshard_after_forward
        self.activation_checkpointing = activation_checkpointing
        self.cpu_offload = cpu_offload
        self.sharded_checkpoints = sharded_checkpoints

    # Setting up ----------------------------------------------------------------------------------

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def _get_process_group_backend(self) -> str:
        if self.cpu_offload and self.root_device.type == "cuda":
            return "cpu:gloo,cuda:nccl"  # norms are summed where the shards are
        return super()._get_process_group_backend()

    def setup(self, trainer: pl.Trainer) -> None:
        module = self.lightning_module
        assert module is not None
        if not isinstance(module, FSDPModule):
            self._hand_out_weights(module)
            self._shard(module)
        # Lightning wants a module that shards itself, and the tasks know nothing of strategies
        module.configure_model = _nothing  # type: ignore[method-assign]
        super().setup(trainer)

    def model_to_device(self) -> None:
        if not self.cpu_offload:
            super().model_to_device()
            return
        assert self.model is not None
        for buffer in self.model.buffers():
            buffer.data = buffer.data.to(self.root_device)
        for meter in self.model.modules():
            if isinstance(meter, Metric):
                meter.to(self.root_device)

    def _hand_out_weights(self, module: nn.Module) -> None:
        """Give every process the first one's weights, which may come from another run."""
        if dist.get_world_size() == 1:
            return
        with torch.no_grad():
            for tensor in [*module.parameters(), *module.buffers()]:
                here = tensor.to(self.root_device)
                dist.broadcast(here, 0)
                tensor.copy_(here)

    def _shard(self, module: nn.Module) -> None:
        offloads = self.cpu_offload and self.root_device.type != "cpu"
        low = _LOW.get(self.precision_plugin.precision)
        options: dict[str, Any] = {
            "mesh": self.device_mesh["data_parallel"],
            "reshard_after_forward": self.reshard_after_forward,
            "mp_policy": MixedPrecisionPolicy(
                param_dtype=low, reduce_dtype=torch.float32, cast_forward_inputs=False
            ),
            "offload_policy": CPUOffloadPolicy() if offloads else OffloadPolicy(),
        }
        for block in [child for child in module.modules() if isinstance(child, Block)]:
            if self.activation_checkpointing:
                _checkpoint(block)
            fully_shard(block, **options)
        fully_shard(module, **options)
        for step in STEPS:
            register_fsdp_forward_method(module, step)

    # Evaluation: processes decode at their own pace, so nothing may be gathered on the way -------

    def on_validation_start(self) -> None:
        self._gather()

    def on_test_start(self) -> None:
        self._gather()

    def on_validation_end(self) -> None:
        self._scatter()

    def on_test_end(self) -> None:
        self._scatter()

    def _gather(self) -> None:
        """Whole parameters in every process until `_scatter`."""
        for part in self._sharded_modules():
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()

    def _scatter(self) -> None:
        """Shards again; called after an evaluation, however it ended."""
        for part in self._sharded_modules():
            part.set_reshard_after_forward(self.reshard_after_forward, recurse=False)
            part.reshard()

    def _sharded_modules(self) -> list[FSDPModule]:
        assert self.model is not None
        return [part for part in self.model.modules() if isinstance(part, FSDPModule)]

    # Checkpoints: tensors are put together one by one, so that only one more is ever whole -------

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """All weights on the first process, or this process's shards."""
        assert self.model is not None
        return self._for_saving(self.model.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimizer's state, numbered as always, whole on the first process or in shards."""
        return self._for_saving(getattr(optimizer, "_optimizer", optimizer).state_dict())

    def _for_saving(self, state: dict[str, Any]) -> dict[str, Any]:
        return state if self.sharded_checkpoints else _whole(state, keep=self.is_global_zero)

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        filepath: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Write one file, or a folder to which every process adds its shards."""
        path = Path(self.broadcast(os.fspath(filepath)))
        if self.sharded_checkpoints:
            earlier: dict[Path, Path] = getattr(self.checkpoint_io, "previous", {})
            save_sharded(checkpoint, path, previous=earlier.get(path))
        elif self.is_global_zero:
            self.checkpoint_io.save_checkpoint(checkpoint, path)

    def load_checkpoint(
        self, checkpoint_path: str | os.PathLike[str], weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint of this or any other strategy into the shards.

        Raises:
            RuntimeError: If the weights are of another model.
        """
        path = Path(self.broadcast(os.fspath(checkpoint_path)))
        assert self.model is not None
        if path.is_dir():
            return self._load_shards(path)
        checkpoint = self.checkpoint_io.load_checkpoint(path)
        load_weights(self.model, checkpoint["state_dict"])
        states = checkpoint.get("optimizer_states", [])
        for optimizer, state in zip(self.optimizers, states, strict=False):
            load_optimizer(optimizer, state)
        return checkpoint

    def _load_shards(self, folder: Path) -> dict[str, Any]:
        """Read this process's shards into the live tensors."""
        assert self.model is not None
        live: dict[str, Any] = {"state_dict": self.model.state_dict()}
        for optimizer in self.optimizers:
            make_state(optimizer)
        if self.optimizers:
            live["optimizer_states"] = [optimizer.state_dict() for optimizer in self.optimizers]
        checkpoint = load_sharded(folder, into=live)
        for optimizer, state in zip(
            self.optimizers, checkpoint.get("optimizer_states", []), strict=False
        ):
            optimizer.load_state_dict(state)
        return checkpoint

    def load_model_state_dict(self, checkpoint: Any, strict: bool = True) -> None:
        """Nothing: `load_checkpoint` has done it."""


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy whole weights into a model that may be sharded.

    Raises:
        RuntimeError: If names or shapes differ.
    """
    own = model.state_dict()
    if own.keys() != weights.keys():
        odd = sorted(own.keys() ^ weights.keys())
        raise RuntimeError(f"the checkpoint has other weights than the model: {odd[0]} ...")
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != weights[name].shape:
                raise RuntimeError(
                    f"{name} is {tuple(tensor.shape)} in the model, "
                    f"but {tuple(weights[name].shape)} in the checkpoint"
                )
            tensor.copy_(_sharded_like(tensor, weights[name]))


def make_state(optimizer: Optimizer) -> None:
    """Have an optimizer make its state, by a step of length zero."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load an optimizer's whole state; of tensors shaped like a sharded parameter, its shard."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    sharded = {
        number: {
            name: _sharded_like(parameters[number], value)
            if isinstance(value, Tensor) and value.shape == parameters[number].shape
            else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": sharded})


def _sharded_like(model: Tensor, whole: Tensor) -> Tensor:
    """This process's shard of a tensor, cut and placed as another is."""
    whole = whole.to(model.device)
    if not isinstance(model, DTensor):
        return whole
    # every process has read the whole tensor, so that nothing needs to be sent
    return distribute_tensor(whole, model.device_mesh, model.placements, src_data_rank=None)


def _whole(state: Any, *, keep: bool) -> Any:
    """A nested state with whole tensors on the host, for who keeps it; all must take part."""
    if isinstance(state, dict):
        return {name: _whole(value, keep=keep) for name, value in state.items()}
    if isinstance(state, list):
        return [_whole(value, keep=keep) for value in state]
    if not isinstance(state, Tensor):
        return state
    whole = state.full_tensor() if isinstance(state, DTensor) else state
    return whole.detach().cpu() if keep else whole.new_empty(0)


def _nothing() -> None:
    """What a sharded module does when Lightning asks it to shard itself."""


def _checkpoint(block: Block) -> None:
    from torch.distributed._composable import checkpoint

    checkpoint(block)
