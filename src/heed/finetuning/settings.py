"""What is trained of a model that starts from weights, and how fast: the group `finetuning=`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How a model is trained that starts from another's weights.

    Args:
        freeze: Parts that are not trained: "all" (everything but the head), "embeddings",
            "encoder", "decoder", or layers as in "encoder.0-5".
        reinitialize_layers: So many of the last layers start afresh (Zhang et al. 2021, section 5).
        keep_head: Whether the head comes from the run that the model starts from; else it is new.
        layer_decay: Each layer learns at this multiple of the rate of the layer above it, the head
            at the full rate (Howard and Ruder 2018, section 3.2; Clark et al. 2020, appendix A).
        head_rate: The head's learning rate as a multiple of the peak rate.
    """

    freeze: Sequence[str] | str = ()
    reinitialize_layers: int = 0
    keep_head: bool = False
    layer_decay: float = 1.0
    head_rate: float = 1.0

    @property
    def frozen_parts(self) -> list[str]:
        """The words of `freeze`, which may be a single one."""
        return [self.freeze] if isinstance(self.freeze, str) else list(self.freeze)

    @property
    def rates_differ(self) -> bool:
        """Whether some parameters learn at another rate than others."""
        return self.layer_decay != 1.0 or self.head_rate != 1.0
