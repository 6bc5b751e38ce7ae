"""`decoding.engine`: what computes when a trained model writes."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.errors import UserError
from heed.exporting.expressible import ctranslate2_faults

if TYPE_CHECKING:
    from heed.commands.assemble import Parts
    from heed.tracking.record import RunRecord


def engine_faults(config: Mapping[str, Any]) -> list[UserError]:
    """Why the engine that was asked for cannot write with this model; empty if it can."""
    if (config.get("decoding") or {}).get("engine", "heed") != "ctranslate2":
        return []
    if importlib.util.find_spec("ctranslate2") is None:
        return [
            UserError(
                "decoding.engine=ctranslate2 needs ctranslate2, which is not installed",
                "pip install 'heed-nlp[ctranslate2]', or decoding.engine=heed",
            )
        ]
    return [
        UserError(
            fault.problem.replace("format=ctranslate2", "decoding.engine=ctranslate2"),
            "decoding.engine=heed writes with any model",
        )
        for fault in ctranslate2_faults(config)
    ]


def use_engine(parts: Parts, config: Mapping[str, Any], record: RunRecord, device: str) -> None:
    """Give a trained task the engine that its config asks for, if it is not Heed's own.

    Raises:
        UserError: If this machine cannot compute as it is asked to.
    """
    if config["decoding"].get("engine", "heed") != "ctranslate2":
        return
    from heed.exporting.ctranslate_engine import CTranslateEngine
    from heed.exporting.subject import Subject
    from heed.finetuning.adapters import merge_adapters

    merge_adapters(parts.task)
    subject = Subject(
        task=parts.task,
        tokenizers=parts.tokenizers,
        labels=parts.labels,
        datamodule=parts.datamodule,
        config=config,
        record=record.fields,
        run_dir=Path(record.run_dir),
        checkpoint="",
        examples=[],
        examples_from="",
        settings={},
    )
    task: Any = parts.task
    task.engine = CTranslateEngine(
        subject, compute_type=config["decoding"].get("compute_type"), device=device
    )
