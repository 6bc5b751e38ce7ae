"""DeepSpeed's engine under Lightning, with ordinary checkpoint files of the weights.

DeepSpeed keeps its own checkpoints in pickles, which are not to be read from strangers; here there
are none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import DeepSpeedStrategy
from torch.optim import Optimizer


class DeepSpeed(DeepSpeedStrategy):
    """See `heed.training.strategies.deepspeed`, which makes it.

    Attributes:
        owns_gradients: Tells a task that it cannot reach the gradients, only the loss.
    """

    owns_gradients = True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The weights, which every process has whole."""
        assert self.lightning_module is not None
        return self.lightning_module.state_dict()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Nothing: it is the engine's."""
        return {}

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        filepath: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Write one file, as any other strategy does, without an optimizer state."""
        checkpoint.pop("optimizer_states", None)
        if self.is_global_zero:
            self.checkpoint_io.save_checkpoint(checkpoint, Path(filepath))

    def load_checkpoint(
        self, checkpoint_path: str | os.PathLike[str], weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint file."""
        return self.checkpoint_io.load_checkpoint(Path(checkpoint_path))

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Copy its weights into the model."""
        assert self.lightning_module is not None
        self.lightning_module.load_state_dict(checkpoint["state_dict"], strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Nothing: there is none."""
