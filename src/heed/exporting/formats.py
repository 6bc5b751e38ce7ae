"""What a trained model can be exported as, and what each form needs; imports nothing heavy."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from heed.errors import UserError, nearest
from heed.exporting.expressible import ctranslate2_faults, hf_faults, program_faults

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """One form of an exported model.

    Attributes:
        name: What is typed after `format=`.
        says: What it is, on one line.
        module: The module of this room that writes it.
        extra: The extra of heed-nlp that brings `packages`; None if it needs nothing more.
        packages: What has to be installed, by the names that are imported.
        faults: What of a run's config it cannot express, given also the Transformer's defaults.
    """

    name: str
    says: str
    module: str
    extra: str | None
    packages: tuple[str, ...]
    faults: Callable[[Config, Config], list[UserError]]


def _none(config: Config, defaults: Config) -> list[UserError]:
    return []


FORMATS = {
    one.name: one
    for one in (
        Format(
            "safetensors",
            "weights, config and tokenizer, for Heed itself: any task, any model",
            "weights",
            None,
            (),
            _none,
        ),
        Format(
            "torch_export",
            "a torch.export program, which runs without Heed: sentiment and qa",
            "torch_program",
            None,
            (),
            lambda config, defaults: program_faults(config, "torch_export"),
        ),
        Format(
            "onnx",
            "an ONNX graph, for onnxruntime and others: sentiment and qa",
            "onnx_program",
            "onnx",
            ("onnx", "onnxscript", "onnxruntime"),
            lambda config, defaults: program_faults(config, "onnx"),
        ),
        Format(
            "ctranslate2",
            "a CTranslate2 model, fast on CPUs and in int8: encoder-decoders that write text",
            "ctranslate",
            "ctranslate2",
            ("ctranslate2",),
            lambda config, defaults: ctranslate2_faults(config),
        ),
        Format(
            "hf",
            "a folder for transformers' Auto classes: models that are exactly of a family",
            "hf",
            None,
            (),
            hf_faults,
        ),
    )
}


def find_format(name: Any) -> Format:
    """The format that somebody typed.

    Raises:
        UserError: If there is none of this name, or what it needs is not installed.
    """
    if name not in FORMATS:
        shown = "; ".join(f"{one.name}: {one.says}" for one in FORMATS.values())
        remedy = nearest(str(name), FORMATS) if name is not None else f"choose one ({shown})"
        raise UserError(f"format must be one of {', '.join(FORMATS)}, but is {name}", remedy)
    found = FORMATS[name]
    missing = [package for package in found.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(
            f"format={name} needs {' and '.join(missing)}, which is not installed",
            f"pip install 'heed-nlp[{found.extra}]'",
        )
    return found
