"""A folder for transformers against the model that it came from.

transformers' own classes are the judge; where it is not installed, Heed reads the folder back.

Legend: B rows, T positions, D model width, V vocabulary.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heed.backbone.transformer import Transformer
from heed.errors import RunFailed
from heed.exporting.program import allowed_outputs
from heed.exporting.subject import Subject
from heed.exporting.tokenizer_files import texts_and_rows
from heed.exporting.verification import difference, outputs
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.family import Family
from heed.pretrained.load import load_pretrained


def check_by_transformers(subject: Subject, folder: Path, kind: str, auto: str) -> float:
    """The largest difference between the logits of the two.

    Raises:
        RunFailed: If the tokenizer that transformers loads makes other rows.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, auto).from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for texts, row in texts_and_rows(subject):
        if tokenizer(*texts)["input_ids"] != row:
            raise RunFailed(
                "AutoTokenizer must make the rows that the model was trained on, but does not for "
                f"{texts[0][:200]!r}; nothing was written",
                cause="export differs",
            )
    batches = subject.batches()
    ours = [logits_of(subject, batch, kind) for batch in batches]
    with torch.no_grad():
        theirs = [_theirs(model, batch, kind) for batch in batches]
    return difference(ours, theirs)


def logits_of(subject: Subject, batch: Any, kind: str) -> list[Tensor]:
    """What the model computes for a batch; of models that write text, the logits of its target."""
    task: Any = subject.task
    if kind not in ("vocabulary", "masked"):
        return outputs(task, batch)
    with torch.no_grad():
        return [_real(task.head(_hidden(task, batch)), batch)]


def _hidden(task: Any, batch: Any) -> Any:
    """(B, T, D) of the target, or of the text where there is only one."""
    if task.backbone.shape != "encoder_decoder":
        return task.backbone.features(batch.tokens.ids, batch.tokens.layout)
    memory = task.backbone.encode(batch.source.ids, batch.source.layout)
    return task.backbone.decode(batch.target.ids, batch.target.layout, memory, batch.source.layout)


def _real(logits: Tensor, batch: Any) -> Tensor:
    """(B, T, V) with zeros where there is padding."""
    tokens = batch.tokens if hasattr(batch, "tokens") else batch.target
    return logits.float().masked_fill(~tokens.layout.mask()[..., None], 0.0)


def _theirs(model: Any, batch: Any, kind: str) -> list[Tensor]:
    if hasattr(batch, "source"):
        found = model(
            input_ids=batch.source.ids,
            attention_mask=batch.source.layout.mask().long(),
            decoder_input_ids=batch.target.ids,
        )
        return [_real(found.logits, batch)]
    given = {"input_ids": batch.tokens.ids, "attention_mask": batch.tokens.layout.mask().long()}
    if kind == "span" and getattr(model.config, "type_vocab_size", 0) > 1:
        given["token_type_ids"] = batch.passage_mask.cumsum(1).clamp(max=1)
    found = model(**given)
    if kind == "span":
        return allowed_outputs(batch, (found.start_logits, found.end_logits))
    return [found.logits.float() if kind == "label" else _real(found.logits, batch)]


def check_by_ourselves(
    subject: Subject, folder: Path, family: Family, values: Mapping[str, Any]
) -> float:
    """The largest difference after the folder is read into a fresh model by Heed."""
    task: Any = subject.task
    fresh = Transformer(**dict(values))
    # A copy around the fresh backbone, whose table the head shares as it did the other's.
    places = {
        id(task.backbone): fresh,
        id(task.backbone.output_embedding): fresh.output_embedding,
    }
    twin: Any = copy.deepcopy(task, places)
    for parameter in twin.head.parameters():  # so that none is right by chance
        parameter.data.add_(1.0)
    checkpoint = Checkpoint(str(folder))
    load_pretrained(checkpoint, family, values, twin.backbone, twin.head, labels=subject.labels)
    batches = subject.batches()
    ours = [outputs(task, batch) for batch in batches]
    return difference(ours, [outputs(twin.eval(), batch) for batch in batches])
