"""Rules between the model's sizes, the task and what the model starts from; see `rules`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heed.commands.bind import PARTS, shown
from heed.commands.build import TARGET
from heed.commands.decoding_engine import engine_faults
from heed.commands.signatures import signature_of
from heed.commands.start_rules import TRANSFORMER, start_can_be_had
from heed.errors import UserError, UserErrors

Config = dict[str, Any]


def model_fits_together(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """The Transformer's sizes and choices are possible ones."""
    from heed.backbone.validation import check_values

    model = frozen["model"]
    if model.get(TARGET) != TRANSFORMER:
        return
    parameters = signature_of(TRANSFORMER, "model").parameters
    defaults = {
        name: None if parameter.required else parameter.default
        for name, parameter in parameters.items()
    }
    # A vocabulary's size is known once there is a tokenizer; a shape is always given.
    defaults.update({**dict.fromkeys(PARTS["model"], 1), "shape": "encoder_decoder"})
    values = {name: model.get(name, default) for name, default in defaults.items()}
    for _ in range(2):  # what is out of range first, then what does not fit the rest
        try:
            check_values(values)
        except UserError as error:
            found = error.errors if isinstance(error, UserErrors) else [error]
            yield from found
            for fault in found:
                name = fault.problem.split(" ")[0].removeprefix("model.")
                values[name] = defaults.get(name)


def model_has_a_shape_for_the_task(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """The task can be done by a model of this shape."""
    task, shape = frozen["task"], frozen["model"].get("shape")
    shapes = task.get("shapes")
    if shapes and shape not in shapes:
        yield UserError(
            f"model.shape must be {' or '.join(shapes)} for task={task.get('name')}, "
            f"but is {shown(shape)}",
            f"try model.shape={shapes[0]}",
        )


def kernel_has_its_device(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """A kernel of GPUs is not asked for on a CPU."""
    accelerator = frozen["trainer"].get("accelerator")
    if frozen["model"].get("kernel") == "flex" and accelerator in ("cpu", "mps"):
        yield UserError(
            f"model.kernel must be auto, reference or sdpa with trainer.accelerator={accelerator}, "
            "but is flex, which is for CUDA GPUs",
            "use model.kernel=auto",
        )


def texts_fit_the_model(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """What is cut to a length is cut to one that the model has positions for."""
    longest = frozen["model"].get("max_length")
    if not isinstance(longest, int):
        return
    lengths = {
        f"task.preparation.{name}": (frozen["task"].get("preparation") or {}).get(name)
        for name in ("max_length", "max_source_length", "max_target_length")
    }
    if "validation_decoder" in frozen["task"]:  # the task writes text
        lengths["decoding.max_length"] = (frozen.get("decoding") or {}).get("max_length")
    for key, length in lengths.items():
        if isinstance(length, int) and length > longest:
            yield UserError(
                f"{key} must be at most model.max_length ({longest}), but is {length}",
                f"try {key}={longest}, or model.max_length={length}",
            )


def rows_of_a_decoder_fit(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """What a decoder reads and what it writes for it have room in one row together."""
    model, preparation = frozen["model"], frozen["task"].get("preparation") or {}
    longest, source = model.get("max_length"), preparation.get("max_source_length")
    if model.get("shape") != "decoder":
        return
    if not isinstance(longest, int) or not isinstance(source, int):
        return
    lengths = {
        "task.preparation.max_target_length": preparation.get("max_target_length"),
        "decoding.max_length": (frozen.get("decoding") or {}).get("max_length"),
    }
    for other, length in lengths.items():
        if isinstance(length, int) and length <= longest < source + length:
            key, room = "task.preparation.max_source_length", longest - length
            yield UserError(
                f"{key} plus {other} ({length}) must be at most model.max_length ({longest}) with "
                f"model.shape=decoder, which has both in one row, but is {source}",
                f"try {key}={room}" if room > 1 else f"try model.max_length={source + length}",
            )


def prefix_belongs_to_a_decoder(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """Only a decoder has a prefix that may see itself whole."""
    shape = frozen["model"].get("shape")
    if frozen["task"].get("bidirectional_prefix") and shape == "encoder_decoder":
        yield UserError(
            "task.bidirectional_prefix must be false with model.shape=encoder_decoder, whose "
            "encoder sees the whole source anyway, but is true",
            "leave it out, or try model.shape=decoder",
        )


def outputs_have_room(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """The limits on what is decoded leave something to decode."""
    decoding = frozen.get("decoding") or {}
    low, high = decoding.get("min_length"), decoding.get("max_length")
    if isinstance(low, int) and isinstance(high, int) and low >= high:
        yield UserError(
            f"decoding.min_length must be less than decoding.max_length ({high}), "
            f"which counts the end of the sentence, but is {low}",
            f"try decoding.max_length={low + 1}",
        )
    best, beams = decoding.get("n_best"), decoding.get("beam_size")
    if isinstance(best, int) and isinstance(beams, int) and best > beams:
        yield UserError(
            f"decoding.n_best must be at most decoding.beam_size ({beams}), but is {best}",
            f"try decoding.beam_size={best}",
        )


def the_engine_can_write(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """What decodes is installed, and can express the model."""
    if "shape" in frozen["model"]:
        yield from engine_faults(frozen)


def tokenizer_is_the_checkpoints(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """A pretrained model reads with the tokenizer that it was trained with."""
    tokenizer, pretrained = frozen["tokenizer"], frozen["model"].get("pretrained")
    own = str(tokenizer.get(TARGET)).endswith(".pretrained_tokenizers")
    if own and not pretrained:
        yield UserError(
            "tokenizer=pretrained needs a model that has one, but model.pretrained is not given",
            "add model=pretrained model.pretrained=NAME, or choose tokenizer=bpe",
        )
    if pretrained and tokenizer.get("algorithm") in ("bpe", "wordpiece", "unigram"):
        yield UserError(
            f"tokenizer must be that of {pretrained}, whose weights stand for its tokens, "
            f"but is a fresh {tokenizer['algorithm']}",
            "leave tokenizer= out, or write tokenizer=pretrained",
        )


MODEL_RULES = (
    model_fits_together,
    model_has_a_shape_for_the_task,
    kernel_has_its_device,
    texts_fit_the_model,
    rows_of_a_decoder_fit,
    prefix_belongs_to_a_decoder,
    outputs_have_room,
    the_engine_can_write,
    start_can_be_had,
    tokenizer_is_the_checkpoints,
)
