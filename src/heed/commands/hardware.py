"""Whether this machine has the devices that a config asks for."""

from __future__ import annotations

from typing import Any

from heed.errors import UserError

GPUS = ("gpu", "cuda")


def check_hardware(trainer: dict[str, Any], model: dict[str, Any] | None = None) -> None:
    """Refuse to begin a training for devices that are not here.

    torch is loaded only where the config names such devices.

    Args:
        trainer: The trainer's config.
        model: The model's config, for a kernel that needs a device.

    Raises:
        UserError: If there are none, or fewer than asked for.
    """
    _check_devices(trainer)
    if (model or {}).get("kernel") == "flex":
        import torch

        if not torch.cuda.is_available():
            raise UserError(
                "model.kernel=flex needs a CUDA GPU, but torch sees none", "use model.kernel=auto"
            )


def _check_devices(trainer: dict[str, Any]) -> None:
    accelerator, devices = trainer.get("accelerator"), trainer.get("devices")
    if accelerator == "mps":
        import torch

        if not torch.backends.mps.is_available():
            raise UserError(
                "trainer.accelerator=mps needs an Apple computer's GPU, but there is none here",
                "use trainer=cpu or trainer=gpu, or trainer=auto for what there is",
            )
    if accelerator not in GPUS:
        return
    import torch

    found = torch.cuda.device_count()
    if found == 0:
        why = (
            "this torch is built without CUDA" if torch.version.cuda is None else "torch sees none"
        )
        raise UserError(
            f"trainer.accelerator={accelerator} needs a GPU, but {why}",
            "use trainer=cpu, or trainer=auto for what there is",
        )
    wanted = len(devices) if isinstance(devices, list) else devices
    if isinstance(wanted, int) and wanted > found:
        raise UserError(
            f"trainer.devices must be at most {found}, the GPUs of this machine, but is {wanted}",
            f"try trainer.devices={found}, or trainer.devices=auto for all",
        )
