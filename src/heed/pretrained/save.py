"""A backbone and its head as a family's own tensors and config.json: the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from heed.errors import UserError
from heed.pretrained.family import Config, Family, Head, Values

if TYPE_CHECKING:
    from torch import Tensor


def write_tensors(
    family: Family,
    values: Values,
    backbone: Mapping[str, Tensor],
    head: Mapping[str, Tensor] | None = None,
    kind: str = "",
) -> dict[str, Tensor]:
    """The tensors that transformers reads as a model of the family.

    Args:
        family: The family.
        values: Arguments of the Transformer.
        backbone: Its tensors by our names.
        head: Those of its head; None writes the bare model.
        kind: Of the head: "label", "span", "masked" or "vocabulary".

    Returns:
        Tensors by their names, each contiguous and of its own. Those that a model ties to others
        are left out, as transformers leaves them out.

    Raises:
        UserError: If the family has no such head.
    """
    theirs = None if head is None else their_head(family, kind)
    prefix = ""
    if theirs is not None:
        model_type = family.config(values)["model_type"]
        prefix = theirs.prefixes.get(model_type, family.prefix)
        prefix += "." if prefix else ""
    written: dict[str, Tensor] = {}
    for entry in family.entries(values):
        if entry.optional and entry.ours not in backbone:
            continue
        for name, tensor in entry.write(backbone[entry.ours]):
            written[prefix + name] = tensor
    if theirs is not None and head is not None:
        for entry in theirs.entries(values):
            for name, tensor in entry.write(head[entry.ours]):
                within = prefix if name.startswith(family.within) else ""
                written[within + name] = tensor
    return {name: tensor.detach().clone().contiguous() for name, tensor in written.items()}


def write_config(
    family: Family,
    values: Values,
    kind: str = "",
    labels: Sequence[str] | None = None,
    pooling: str | None = None,
) -> Config:
    """The config.json beside those tensors.

    Args:
        family: The family.
        values: Arguments of the Transformer.
        kind: Of the head; "" for the bare model.
        labels: Of a label head, by number.
        pooling: Of a label head.

    Raises:
        UserError: If the family has no such head, or none with such a pooling.
    """
    config: Config = {**family.config(values)}
    if pooling is not None and pooling != family.pooling:
        if pooling not in family.other_poolings:
            known = " or ".join(map(str, (family.pooling, *family.other_poolings)))
            raise UserError(
                f"task.pooling must be {known} for a {family.name} that labels texts to be written "
                f"as one, but is {pooling}",
                "train with that pooling, or try heed export format=safetensors",
            )
        config.update(family.other_poolings[pooling])
    architecture = their_head(family, kind).architecture if kind else family.bare
    named = family.class_name(architecture, config["model_type"])
    config.setdefault("architectures", [named])
    if labels is not None:
        config["id2label"] = {str(i): label for i, label in enumerate(labels)}
        config["label2id"] = {label: i for i, label in enumerate(labels)}
    return config


def their_head(family: Family, kind: str) -> Head:
    """The family's head of a kind.

    Raises:
        UserError: If it has none.
    """
    if kind not in family.heads:
        raise UserError(
            f"a model of the family {family.name} must have a head of the kind "
            f"{' or '.join(family.heads)} to be written as one, but has {kind or 'none'}",
            "try heed export format=safetensors",
        )
    return family.heads[kind]
