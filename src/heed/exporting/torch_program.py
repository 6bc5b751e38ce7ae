"""`format=torch_export`: a program of torch.export, which any torch runs without Heed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from heed.exporting.expressible import longest_row
from heed.exporting.program import (
    FIELDS,
    allowed_outputs,
    dynamic_shapes,
    input_names,
    inputs_of,
    program_of,
    tracing_inputs,
)
from heed.exporting.subject import Subject, Written
from heed.exporting.tokenizer_files import write_tokenizers
from heed.exporting.verification import difference, outputs, require_close

PROGRAM = "model.pt2"


def write(subject: Subject, folder: Path) -> Written:
    """Trace, save, load and compare."""
    task: Any = subject.task
    program = program_of(task)
    names = input_names(program)
    longest = longest_row(subject.config["model"])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.export.export(
            program,
            tracing_inputs(task.backbone, names),
            dynamic_shapes=dynamic_shapes(names, longest),
        )
        torch.export.save(traced, folder / PROGRAM)
        loaded = torch.export.load(folder / PROGRAM).module()
    files = write_tokenizers(subject, folder)
    batches = subject.batches()
    ours = [outputs(task, batch) for batch in batches]
    theirs = []
    for batch in batches:
        with torch.no_grad():
            found = loaded(*inputs_of(batch, names))
        theirs.append(allowed_outputs(batch, found if isinstance(found, tuple) else (found,)))
    largest = difference(ours, theirs)
    require_close(largest, subject.settings["tolerance"], what=PROGRAM)
    return Written(
        python(names),
        " and ".join(program.outputs),
        largest,
        subject.settings["tolerance"],
        {},
        {"inputs": names, "outputs": program.outputs, "longest_row": longest, "tokenizers": files},
    )


def python(names: Sequence[str]) -> tuple[str, ...]:
    """Lines that use the program, with what it takes as the tokenizer calls it."""
    rows = ", ".join(f"torch.tensor([row.{FIELDS[name]}])" for name in names)
    return (
        "import tokenizers, torch",
        'row = tokenizers.Tokenizer.from_file("FOLDER/tokenizer.json").encode(TEXTS)',
        f'program = torch.export.load("FOLDER/{PROGRAM}").module()',
        f"print(program({rows}))",
    )
