"""What a training would cost, by formula from the model's sizes.

Floating-point operations: a weight that multiplies costs 6 a token (2 forward, 4 backward); the
scores and sums of attention cost 12 x width x keys a token and layer (half of that where it is
causal). Memory: weights, gradients, what the optimizer keeps, and what the backward pass needs of
each token position. Both are estimates; embeddings, norms and the softmax are left out.

Legend: D model width, F inner width, L layers, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

FLOAT = 4  # bytes of a weight

# Numbers that an optimizer keeps for each weight.
OPTIMIZER_STATE = {"adamw": 2.0, "sgd": 1.0, "adafactor": 0.02}


@dataclass
class Tokens:
    """Token positions of one micro-batch, and the mean length of what they attend to.

    Args:
        read: Positions that go through the encoder (or the only stack).
        written: Positions that go through the decoder of an encoder-decoder; else 0.
        scored: Positions that the head looks at.
        read_length: Mean length of a row that is read.
        written_length: Mean length of a row that is written.
    """

    read: float
    written: float
    scored: float
    read_length: float
    written_length: float


def split_tokens(total: float, lengths: tuple[float, ...], shape: str) -> Tokens:
    """Share the positions of a batch between what is read and what is written."""
    share = lengths[-1] / sum(lengths) if len(lengths) == 2 else 1.0  # of what is written
    if shape != "encoder_decoder":  # what is written for a text is in the same row
        return Tokens(total, 0.0, total * share, sum(lengths), 0.0)
    if len(lengths) == 2:
        source, target = lengths
        return Tokens(total * (1 - share), total * share, total * share, source, target)
    return Tokens(total, total, total, sum(lengths), sum(lengths))  # one text, read by both stacks


def training_flops(model: dict[str, Any], backbone: nn.Module, head: nn.Module, t: Tokens) -> float:
    """Operations of one micro-batch, forward and backward."""
    width, layers = model["d_model"], model["n_layers"]
    first = weights(getattr(backbone, "encoder", None) or getattr(backbone, "decoder", None))
    flops = 6.0 * first * t.read + 12.0 * layers * width * t.read * t.read_length * (
        0.5 if model["shape"] == "decoder" else 1.0
    )
    if t.written:
        layers = model.get("n_decoder_layers") or layers
        flops += 6.0 * weights(getattr(backbone, "decoder", None)) * t.written
        flops += 12.0 * layers * width * t.written * (t.written_length / 2 + t.read_length)
    return flops + 6.0 * weights(head) * t.scored


def weights(module: nn.Module | None) -> int:
    """Weights that multiply: matrices, but not those that are looked up."""
    if module is None:
        return 0
    return sum(
        parameter.numel()
        for name, parameter in module.named_parameters()
        if parameter.dim() > 1 and "embedding" not in name
    )


def memory_bytes(
    config: dict[str, Any],
    parameters: int,
    t: Tokens,
    outputs: int,
    *,
    trained: int | None = None,
) -> dict[str, float]:
    """Bytes of one process, by what they hold.

    Args:
        config: The frozen config.
        parameters: All weights.
        t: Token positions of one micro-batch in this process.
        outputs: V where a vocabulary is scored at each written position, else 0.
        trained: Those that are trained; None: all.
    """
    trained = parameters if trained is None else trained
    target = str(config["optimizer"].get("_target_", "")).rpartition(".")[2].lower()
    averaged = ((config.get("callbacks") or {}).get("ema") or {}).get("decay") is not None
    size = 2 if "16" in str(config["trainer"].get("precision")) else FLOAT
    model = config["model"]
    width, inner = model["d_model"], model["d_feed_forward"]
    # Kept of a layer: inputs of norms and matrices, queries, keys, values, dropout masks.
    layer = 10 * width + (3 if model.get("activation") == "swiglu" else 2) * inner
    cross = 6 * width
    written_layers = model.get("n_decoder_layers") or model["n_layers"]
    kept = t.read * model["n_layers"] * layer + t.written * written_layers * (layer + cross)
    scores = t.scored * outputs * (size + 2 * FLOAT)  # logits, log-softmax, gradient
    return {
        "weights": FLOAT * parameters * (2.0 if averaged else 1.0),
        "gradients": float(FLOAT * trained),
        "optimizer": FLOAT * trained * OPTIMIZER_STATE.get(target, 2.0),
        "activations": kept * size + scores,
    }
