"""`format=onnx`: a graph for onnxruntime and others."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
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

GRAPH = "model.onnx"


def write(subject: Subject, folder: Path) -> Written:
    """Trace, save, run by onnxruntime and compare."""
    import onnxruntime

    task: Any = subject.task
    program = program_of(task)
    names = input_names(program)
    with torch.no_grad(), _quiet():
        graph = torch.onnx.export(
            program,
            tracing_inputs(task.backbone, names),
            dynamo=True,
            dynamic_shapes=dynamic_shapes(names, longest_row(subject.config["model"])),
            input_names=list(names),
            output_names=list(program.outputs),
            verbose=False,
        )
    assert graph is not None, "torch.onnx.export with dynamo=True returns a program"
    graph.save(folder / GRAPH)
    files = write_tokenizers(subject, folder)
    session = onnxruntime.InferenceSession(folder / GRAPH, providers=["CPUExecutionProvider"])

    def run(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return tuple(torch.from_numpy(one) for one in session.run(None, given))

    return compared(subject, program, run, file=GRAPH, python=python(names), tokenizers=files)


def python(names: Sequence[str]) -> tuple[str, ...]:
    """Lines that use the graph, with what it takes as the tokenizer calls it."""
    rows = ", ".join(f'"{name}": [row.{FIELDS[name]}]' for name in names)
    return (
        "import onnxruntime, tokenizers",
        'row = tokenizers.Tokenizer.from_file("FOLDER/tokenizer.json").encode(TEXTS)',
        f'session = onnxruntime.InferenceSession("FOLDER/{GRAPH}")',
        f"print(session.run(None, {{{rows}}}))",
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter says of torchvision and of its own deprecated calls is not for users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
