"""`format=hf`: a folder that transformers' Auto classes load, with tokenizer and task head.

Legend: B rows, T positions, V vocabulary.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from heed.errors import UserError
from heed.exporting.hf_check import check_by_ourselves, check_by_transformers
from heed.exporting.hf_config import config_json, generation_json, head_kind, values_of
from heed.exporting.subject import Subject, Written
from heed.exporting.tokenizer_files import reading_rows, with_template
from heed.exporting.verification import require_close
from heed.exporting.weights import WEIGHTS, readable
from heed.pretrained.checkpoint import CONFIG_NAME, GENERATION_NAME
from heed.pretrained.family import Family
from heed.pretrained.matching import SEGMENTS, match
from heed.pretrained.save import their_head, write_tensors
from heed.text.tokenizer import JSON_NAME, Tokenizer

AUTO = {
    "label": "AutoModelForSequenceClassification",
    "span": "AutoModelForQuestionAnswering",
    "masked": "AutoModelForMaskedLM",
}


def write(subject: Subject, folder: Path) -> Written:
    """Write the folder and compare, by transformers where it is installed."""
    arguments, defaults = values_of(subject)
    model = subject.config["model"]
    family, values = match(arguments, defaults, family=model.get("family"))
    kind = head_kind(subject)
    found = tensors(subject, family, values, kind)
    save_file(found, folder / WEIGHTS, metadata={"format": "pt"})
    readable(folder / WEIGHTS)
    config = config_json(subject, family, values, kind)
    architecture = config["architectures"][0]
    write_json(folder / CONFIG_NAME, config)
    if kind == "vocabulary":
        write_json(folder / GENERATION_NAME, generation_json(subject))
    write_tokenizer(subject, folder, typed=bool(values.get("n_segments")))
    auto = auto_class(kind, str(model["shape"]))
    by = "transformers" if importlib.util.find_spec("transformers") else "heed"
    if by == "transformers":
        largest = check_by_transformers(subject, folder, kind, auto)
    else:
        largest = check_by_ourselves(subject, folder, family, values)
    tolerance = subject.settings["tolerance"]
    require_close(largest, tolerance, what="the folder")
    compared = {
        "transformers": f"logits of transformers' {architecture}",
        "heed": "logits of the folder read back by Heed (transformers is not installed)",
    }[by]
    facts = {"family": family.name, "architecture": architecture, "checked_by": by}
    return Written(python(kind, auto), compared, largest, tolerance, {}, facts)


def auto_class(kind: str, shape: str) -> str:
    """The class of transformers that loads a model with this kind of head."""
    if kind == "vocabulary":
        return "AutoModelForSeq2SeqLM" if shape == "encoder_decoder" else "AutoModelForCausalLM"
    return AUTO[kind]


def python(kind: str, auto: str) -> tuple[str, ...]:
    """Lines that use the folder."""
    lines = (
        f"from transformers import {auto}, AutoTokenizer",
        f'model = {auto}.from_pretrained("FOLDER")',
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
    )
    if kind != "vocabulary":
        return (*lines, 'print(model(**tokenizer(TEXTS, return_tensors="pt")))')
    return (
        *lines,
        'written = model.generate(**tokenizer(TEXT, return_tensors="pt"))',
        "print(tokenizer.batch_decode(written, skip_special_tokens=True))",
    )


def tensors(
    subject: Subject, family: Family, values: Mapping[str, Any], kind: str
) -> dict[str, Tensor]:
    """The tensors of the family, by its names.

    Raises:
        UserError: If one of ours has no place among them.
    """
    task: Any = subject.task
    backbone = dict(task.backbone.state_dict(keep_vars=True))
    head = dict(task.head.state_dict(keep_vars=True))
    entries = list(family.entries(values))
    for entry in entries:
        if entry.ours.endswith(SEGMENTS) and entry.ours not in backbone:
            backbone[entry.ours] = torch.zeros(values["n_segments"], values["d_model"])
    placed = {backbone[entry.ours].data_ptr() for entry in entries if entry.ours in backbone}
    placed |= {
        head[entry.ours].data_ptr()
        for entry in their_head(family, kind).entries(values)
        if entry.ours in head
    }
    left = [name for name, one in {**backbone, **head}.items() if one.data_ptr() not in placed]
    if left:
        raise UserError(
            f"format=hf has no place in {their_head(family, kind).architecture} for "
            f"{', '.join(left[:5])}",
            "format=safetensors keeps any model",
        )
    return write_tensors(family, values, backbone, head, kind)


def write_tokenizer(subject: Subject, folder: Path, *, typed: bool) -> None:
    """tokenizer.json with its template, and what AutoTokenizer reads beside it."""
    tokenizer: Tokenizer = subject.tokenizers.source
    backend = with_template(tokenizer, *reading_rows(subject))
    backend.save(str(folder / JSON_NAME), pretty=False)
    inputs = ["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"]
    longest = subject.config["model"]["max_length"]
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": longest,
            "model_input_names": inputs,
            "padding_side": "right",
            "clean_up_tokenization_spaces": False,
            **{f"{role}_token": token for role, token in tokenizer.special_tokens.items()},
        },
    )


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Plain values as indented JSON."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
