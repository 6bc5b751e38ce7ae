"""Which number format the machine multiplies fast."""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")


def resolve_precision(precision: str, accelerator: str) -> str:
    """What `trainer.precision=auto` means here; anything else is returned as it is.

    bf16 with fp32 master weights where the hardware multiplies it fast: CUDA devices from Ampere
    on, and CPUs with matrix tiles (AMX). 32-bit elsewhere.
    """
    if precision != "auto":
        return precision
    if accelerator in {"auto", "gpu", "cuda"} and torch.cuda.is_available():
        return (
            "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
        )
    if accelerator in {"auto", "cpu"} and _has_matrix_tiles():
        return "bf16-mixed"
    return "32-true"


def _has_matrix_tiles() -> bool:
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(supported and supported())
