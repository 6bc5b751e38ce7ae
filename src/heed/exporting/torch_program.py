"""`format=torch_export`: a program of torch.export, which any torch runs without Heed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heed.exporting.expressible import longest_row
from heed.exporting.program import (
    FIELDS,
    compared,
    dynamic_shapes,
    input_names,
    program_of,
    tracing_inputs,
)
from heed.exporting.subject import Subject, Written
from heed.exporting.tokenizer_files import write_tokenizers

PROGRAM = "model.pt2"


def write(subject: Subject, folder: Path) -> Written:
    """Trace, save, load and compare."""
    task: Any = subject.task
    program = program_of(task)
    names = input_names(program)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.export.export(
            program,
            tracing_inputs(task.backbone, names),
            dynamic_shapes=dynamic_shapes(names, longest_row(subject.config["model"])),
        )
        torch.export.save(traced, folder / PROGRAM)
        loaded = torch.export.load(folder / PROGRAM).module()

    def run(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        with torch.no_grad():
            found = loaded(*inputs)
        return found if isinstance(found, tuple) else (found,)

    files = write_tokenizers(subject, folder)
    return compared(subject, program, run, file=PROGRAM, python=python(names), tokenizers=files)


def python(names: Sequence[str]) -> tuple[str, ...]:
    """Lines that use the program, with what it takes as the tokenizer calls it."""
    rows = ", ".join(f"torch.tensor([row.{FIELDS[name]}])" for name in names)
    return (
        "import tokenizers, torch",
        'row = tokenizers.Tokenizer.from_file("FOLDER/tokenizer.json").encode(TEXTS)',
        f'program = torch.export.load("FOLDER/{PROGRAM}").module()',
        f"print(program({rows}))",
    )
