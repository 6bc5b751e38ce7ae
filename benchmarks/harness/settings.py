"""What a suite is asked for, and what all suites know of the machine from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Settings:
    """How suites are run.

    Attributes:
        work: A folder for runs and caches, which may be deleted afterwards.
        device: "cpu" or "cuda".
        rounds: Turns of each arm.
        quick: Whether sizes are tiny, to see that all runs.
        data: A folder with multi30k; None generates text.
        checkpoint: A folder with a BERT to fine-tune; None makes one of random weights.
        peers: JoeyNMT's interpreter, and whatever else lives in an environment of its own.
        to: Where figures are written.
    """

    work: Path
    device: str = "cpu"
    rounds: int = 3
    quick: bool = False
    data: Path | None = None
    checkpoint: Path | None = None
    peers: dict[str, Path] = field(default_factory=dict)
    to: Path = Path("docs/results")

    @property
    def precisions(self) -> list[str]:
        """Formats that peers are measured in: bf16 where the hardware multiplies it fast."""
        return (
            ["fp32", "bf16"]
            if self.own_precision == "bf16" and self.device == "cpu"
            else [self.own_precision]
        )

    @property
    def own_precision(self) -> str:
        """The format that Heed takes by default: "fp32" or "bf16"."""
        from heed.training.precision import resolve_precision

        accelerator = "gpu" if self.device == "cuda" else "cpu"
        return "bf16" if resolve_precision("auto", accelerator).startswith("bf16") else "fp32"

    @property
    def settle(self) -> Callable[[], None]:
        """Waits for the device."""
        if self.device != "cuda":
            return lambda: None
        import torch

        return torch.cuda.synchronize
