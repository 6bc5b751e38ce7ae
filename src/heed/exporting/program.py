"""A trained model as one function from token ids to scores, which can be traced.

Legend: B rows, T positions, C labels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.exporting.expressible import longest_row
from heed.exporting.subject import Subject, Written
from heed.exporting.traceable import make_traceable
from heed.exporting.verification import difference, outputs, require_close
from heed.heads.label import LabelHead
from heed.heads.span import SpanHead
from heed.tasks.question_answering import QuestionAnswering
from heed.tasks.sentiment import Sentiment

INPUTS = ("input_ids", "attention_mask")
SEGMENTS = "token_type_ids"
FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", SEGMENTS: "type_ids"}
"""What the `tokenizers` library calls each input."""


class LabelProgram(nn.Module):
    """Scores each label of a text.

    Args:
        backbone: The Transformer.
        head: Its label head.
    """

    outputs = ("logits",)

    def __init__(self, backbone: Transformer, head: LabelHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) long, (B, T) long with 1 where there is a token -> logits (B, C)."""
        layout = _layout(attention_mask)
        return self.head(self.backbone.features(input_ids, layout), layout)


class SpanProgram(nn.Module):
    """Scores each position as the start and as the end of the answer.

    Args:
        backbone: The Transformer.
        head: Its span head.
    """

    outputs = ("start_logits", "end_logits")

    def __init__(self, backbone: Transformer, head: SpanHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, T) long each -> logits of starts and of ends, (B, T) each.

        Types are 0 for the question and 1 for the passage, for backbones that have vectors for
        them. Nothing is masked: an answer lies in the passage, after the second special token, or,
        where there is none, at position 0.
        """
        hidden = self.backbone.features(input_ids, _layout(attention_mask), token_type_ids)
        logits = self.head(hidden, torch.ones_like(attention_mask, dtype=torch.bool))
        return logits.start, logits.end


def _layout(attention_mask: Tensor) -> Padded:
    """Tokens stand on the left, padding on the right."""
    return Padded(attention_mask.sum(-1), attention_mask.shape[1], full=False)


def program_of(task: Sentiment | QuestionAnswering) -> LabelProgram | SpanProgram:
    """A task as a program: a copy, whose attention can be traced."""
    backbone = copy.deepcopy(task.backbone)
    make_traceable(backbone)
    head = copy.deepcopy(task.head)
    program: LabelProgram | SpanProgram
    program = (
        LabelProgram(backbone, head) if isinstance(head, LabelHead) else SpanProgram(backbone, head)
    )
    return program.eval().requires_grad_(False)


def input_names(program: LabelProgram | SpanProgram) -> tuple[str, ...]:
    """What the program takes, in order."""
    stack = program.backbone.encoder
    typed = stack is not None and stack.embeddings.segments is not None
    return (*INPUTS, SEGMENTS) if typed and isinstance(program, SpanProgram) else INPUTS


def inputs_of(batch: Any, names: Sequence[str]) -> tuple[Tensor, ...]:
    """What the program takes for a batch, (B, T) long each."""
    given = (batch.tokens.ids, batch.tokens.layout.mask().long())
    if SEGMENTS not in names:
        return given
    return (*given, batch.passage_mask.cumsum(1).clamp(max=1))


def tracing_inputs(backbone: Transformer, names: Sequence[str]) -> tuple[Tensor, ...]:
    """Rows to trace with, of different lengths; sizes of 0 and 1 are never taken for others."""
    length = min(11, backbone.max_length)
    ids = torch.arange(3 * length).view(3, length) % backbone.vocabulary_size
    lengths = torch.tensor([length, length - 1, max(1, length - 3)])
    mask = (torch.arange(length) < lengths[:, None]).long()
    return (ids, mask, torch.zeros_like(ids))[: len(names)]


def dynamic_shapes(names: Sequence[str], longest: int | None) -> dict[str, dict[int, Any]]:
    """Any number of rows of any length, or of at most `longest` tokens."""
    rows = torch.export.Dim("batch")
    length = torch.export.Dim("length", max=longest) if longest else torch.export.Dim("length")
    return {name: {0: rows, 1: length} for name in names}


def compared(
    subject: Subject,
    program: LabelProgram | SpanProgram,
    run: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]],
    *,
    file: str,
    python: tuple[str, ...],
    tokenizers: Mapping[str, str],
) -> Written:
    """How a program that was written compares with the task on its examples.

    Args:
        subject: What was exported.
        program: What was traced.
        run: Runs the file: from inputs to outputs.
        file: Its name.
        python: Lines that use it.
        tokenizers: Side -> file name.

    Raises:
        RunFailed: If the two differ.
    """
    names, tolerance = input_names(program), subject.settings["tolerance"]
    batches = subject.batches()
    ours = [outputs(subject.task, batch) for batch in batches]
    theirs = [allowed_outputs(batch, run(inputs_of(batch, names))) for batch in batches]
    largest = difference(ours, theirs)
    require_close(largest, tolerance, what=file)
    facts = {
        "inputs": names,
        "outputs": program.outputs,
        "longest_row": longest_row(subject.config["model"]),
        "tokenizers": tokenizers,
    }
    return Written(python, " and ".join(program.outputs), largest, tolerance, {}, facts)


def allowed_outputs(batch: Any, found: tuple[Tensor, ...]) -> list[Tensor]:
    """Outputs of a program as `verification.outputs` has them: zeros where no answer can be."""
    passage = getattr(batch, "passage_mask", None)
    if passage is None:
        return [one.float() for one in found]
    allowed = passage.clone()
    allowed[:, 0] = True
    return [one.float().masked_fill(~allowed, 0.0) for one in found]
