"""Whether a run packs its training batches, decided once, where it begins."""

from __future__ import annotations

from typing import Any, Literal

from heed.commands.build import TARGET

Config = dict[str, Any]


def can_pack(config: Config) -> bool:
    """Whether the task can be trained on packed rows: not where a decoder's prefix sees all of
    itself, nor on rows that are streamed."""
    return not config["task"].get("bidirectional_prefix") and not config["data"].get("streaming")


def packs(config: Config) -> bool | Literal["similar"]:
    """What `data.packed` means here; "auto": where half precision is fast, with attention that is
    fast over packed rows (no bias on the scores, no dropout of weights, no soft cap). That is rows
    of any lengths on a GPU of this machine, and similar ones on a CPU, if nothing comes between the
    projections and the scores."""
    wanted = config["data"].get("packed", False)
    if wanted != "auto":
        return "similar" if wanted == "similar" else bool(wanted)
    model, trainer = config["model"], config["trainer"]
    plain = (
        str(model.get(TARGET, "")).endswith(".Transformer")
        and model.get("attention", "scaled_dot_product") == "scaled_dot_product"
        and model.get("positions") not in ("alibi", "relative")
        and not model.get("attention_dropout")
        and not model.get("attention_soft_cap")
        and model.get("kernel", "auto") == "auto"
    )
    if not plain or not can_pack(config):
        return False
    import torch

    from heed.training.precision import resolve_precision

    accelerator = trainer.get("accelerator")
    half = resolve_precision(trainer["precision"], accelerator) not in ("32-true", "64-true")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return half
    direct = model.get("positions") != "rotary" and not model.get("qk_norm")
    if accelerator in ("auto", "cpu") and direct and half:
        return "similar"
    return False


def settle_packing(config: Config) -> bool:
    """Write into the config what `data.packed` comes to; True if that changes it."""
    if "packed" not in config["data"]:
        return False  # of a run that was begun before there was a choice
    found = packs(config)
    changed = config["data"]["packed"] is not found
    config["data"]["packed"] = found
    return changed
