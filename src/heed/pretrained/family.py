"""What a family of checkpoints is: values and names, theirs as ours and ours as theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from heed.errors import UserError
from heed.pretrained.mapping import Entry

if TYPE_CHECKING:
    from heed.pretrained.checkpoint import Checkpoint
    from heed.text.template import Template
    from heed.text.tokenizer import TokenizerPair

Values = Mapping[str, Any]
"""Arguments of a `Transformer` by name."""
Config = dict[str, Any]
"""A config.json."""
Rows = Mapping[str, list[str]]
"""What `heed.text.template.Template` reads."""


@dataclass(frozen=True)
class Head:
    """A head of a family that is one of ours.

    Attributes:
        architecture: The class of transformers that has it, as config.json names it.
        entries: Its tensors; names of ours are those within the head.
        prefixes: Of the bare model's tensors beside this head, by model type, where they are not
            the family's.
    """

    architecture: str
    entries: Callable[[Values], Iterable[Entry]]
    prefixes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """A mapping of names and values onto the one Transformer.

    Attributes:
        name: What Heed calls it.
        model_types: What their config.json may call it.
        prefix: What the names of the bare model's tensors begin with where it has a head, and do
            not where it has none: "bert".
        values: From a config.json to the arguments of a `Transformer`; raises `UserError` for what
            the backbone has not.
        config: From those arguments to a config.json (without the keys that every family has).
        entries: The tensors of the backbone.
        heads: Heads by kind: "label", "span", "masked", "vocabulary".
        bare: The class of transformers without a head.
        classes: Where several model types are one family, how the names of their classes begin; the
            first is in the names given here.
        template: Rows with their special tokens; see `heed.text.template`; empty: the usual ones.
            Or how a config.json tells them.
        special_tokens: Role -> token, where the names in the tokenizer do not tell.
        tokenizers: Makes the tokenizers of a checkpoint without a tokenizer.json from its older
            files, with a template and special tokens; gives None if it has none of them.
        pooling: From which vector its makers label a text; None: as the task does by itself.
        other_poolings: Others that they know, each with what a config.json says then.
        not_needed: Beginnings of names of tensors that may be there and mean nothing to us; "*"
            stands for anything.
        within: Beginnings of names of a head's tensors that belong to the bare model.
    """

    name: str
    model_types: tuple[str, ...]
    prefix: str
    values: Callable[[Config], dict[str, Any]]
    config: Callable[[Values], Config]
    entries: Callable[[Values], Iterable[Entry]]
    heads: Mapping[str, Head] = field(default_factory=dict)
    bare: str = ""
    classes: Mapping[str, str] = field(default_factory=dict)
    template: Rows | Callable[[Config], Rows] = field(default_factory=dict)
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    tokenizers: Callable[[Checkpoint, Template, dict[str, str]], TokenizerPair | None] | None = None
    pooling: str | None = None
    other_poolings: Mapping[str, Config] = field(default_factory=dict)
    not_needed: tuple[str, ...] = ()
    within: tuple[str, ...] = ()

    def template_of(self, config: Config) -> Rows:
        """The rows of a checkpoint."""
        return self.template(config) if callable(self.template) else self.template

    def pooling_of(self, config: Config) -> str | None:
        """From which vector a checkpoint labels a text."""
        for pooling, said in self.other_poolings.items():
            if said.items() <= config.items():
                return pooling
        return self.pooling

    def class_name(self, architecture: str, model_type: str) -> str:
        """What transformers calls a class of this family for a model type."""
        if model_type not in self.classes:
            return architecture
        first = next(iter(self.classes.values()))
        return self.classes[model_type] + architecture.removeprefix(first)

    def plain_name(self, name: str) -> str:
        """The name of a tensor without what it begins with beside a head."""
        others = (prefix for head in self.heads.values() for prefix in head.prefixes.values())
        for prefix in (self.prefix, *others):
            if name.startswith(f"{prefix}."):
                return name.removeprefix(f"{prefix}.")
        return name

    def needs(self, name: str) -> bool:
        """Whether a tensor that no entry names makes a checkpoint another model."""
        return not any(fnmatchcase(name, f"{beginning}*") for beginning in self.not_needed)


ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}
"""Theirs as ours."""


def activation(config: Config, key: str = "hidden_act", usual: str = "gelu") -> str:
    """The activation that a config.json names, or the family's usual one.

    Raises:
        UserError: If the backbone has none such.
    """
    given = config.get(key, usual)
    if given not in ACTIVATIONS:
        raise unsupported(key, given, " or ".join(ACTIVATIONS))
    return ACTIVATIONS[given]


def their_activation(values: Values) -> str:
    """The name that config.json has for an activation of ours."""
    names = {"relu": "relu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "silu": "swish"}
    return names[values["activation"]]


def required(config: Config, *keys: str) -> list[Any]:
    """Values that a config.json must have.

    Raises:
        UserError: If one is missing.
    """
    for key in keys:
        if config.get(key) is None:
            raise UserError(f"the checkpoint's config.json must have {key}, but has not")
    return [config[key] for key in keys]


def unsupported(key: str, given: Any, known: str) -> UserError:
    """The error for a config.json that asks for what the backbone has not."""
    return UserError(
        f"the checkpoint's config.json must have {key}={known} for Heed to read it, "
        f"but has {given!r}"
    )
