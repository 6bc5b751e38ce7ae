"""Libraries kept from talking over what a command has to say."""

from __future__ import annotations

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Silence hints that a user of Heed can do nothing about; errors still come through."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import lightning.pytorch  # noqa: F401  # sets the levels of its loggers when it is imported

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    logging.getLogger("datasets").setLevel(logging.ERROR)
    for message in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        ".*The `srun` command is available.*",  # one process on a login node is no mistake
        ".*You are using a CUDA device.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*Trying to infer the `batch_size`.*",
        ".*The number of training batches .* is smaller than the logging interval.*",
        ".*`tensorboardX` has been removed.*",
        ".*You defined a `validation_step` but have no `val_dataloader`.*",
        ".*overfit_batches.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*mixed precision is recommended.*",
        ".*The `srun` command is available on your system but is not used.*",
        ".*It is recommended to use `self.log.*sync_dist=True.*",  # scores are summed before
    ):
        warnings.filterwarnings("ignore", message=message)
