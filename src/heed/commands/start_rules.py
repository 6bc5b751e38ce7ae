"""Rules between a model and the run whose weights it starts from (`model.init_from`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heed.backbone.values import NO_WEIGHT, complete, has_meaning
from heed.commands.assemble import DESCRIPTIVE
from heed.commands.bind import shown
from heed.commands.build import TARGET
from heed.commands.signatures import defaults_of
from heed.errors import UserError

Config = dict[str, Any]

TRANSFORMER = "heed.backbone.transformer.Transformer"
MAY_DIFFER = (
    *NO_WEIGHT,
    *("shape", "n_layers", "n_decoder_layers", "tie_embeddings"),
    *("vocabulary_size", "target_vocabulary_size"),
    # Made to be changed in a trained model, for longer texts.
    *("window", "global_layers", "rotary_scaling", "rotary_factor", "rotary_original_length"),
)
"""What shapes neither the weights nor what they mean; of some of them see the rules below."""
FOLLOWS_FROM = {
    "n_kv_heads": {"n_heads"},
    "head_width": {"n_heads", "d_model"},
    "qkv_bias": {"bias"},
}
"""Where these differ, so do others; one word is enough."""
STACKS = {
    "encoder": ("encoder",),
    "decoder": ("decoder",),
    "encoder_decoder": ("encoder", "decoder"),
}


def start_can_be_had(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """A model that starts from a run's weights is of its kind and has its tokenizer."""
    from heed.tracking.config_file import load_config
    from heed.tracking.folder import is_run_folder

    model = frozen["model"]
    start = model.get("init_from")
    if start is None:
        return
    run = Path(str(start))
    if not is_run_folder(run):
        yield UserError(
            f"model.init_from must be the folder of a run, but {start} "
            + ("holds no run.json" if run.exists() else "does not exist")
        )
        return
    other = load_config(run / "config.yaml").get("model") or {}
    ours, theirs = _values(model), _values(other)
    for name, value in _other_weights(ours, theirs):
        added = "" if name in model else "+"  # a key that the shipped configs leave out
        yield UserError(
            f"model.{name} must be {shown(value)}, as in {start}, but is {shown(ours[name])}",
            f"write {added}model.{name}={shown(value).strip(chr(39))}",
        )
    yield from _other_stacks(ours, theirs, start)
    path = frozen["tokenizer"].get("path")
    if path is None or Path(path).resolve() != (run / "tokenizer").resolve():
        yield UserError(
            f"tokenizer must be that of {start}, whose weights stand for its tokens",
            f"add tokenizer=file tokenizer.path={run / 'tokenizer'}",
        )


def _values(model: Config) -> Config:
    """All values of a model, with those that are left to others or to defaults."""
    defaults = defaults_of(TRANSFORMER, "model") if model.get(TARGET) == TRANSFORMER else {}
    found = complete({**defaults, **model})
    if found.get("attention") == "windowed":  # the same weights, seen near by
        found["attention"] = "scaled_dot_product"
    return found


def _other_weights(ours: Config, theirs: Config) -> Iterator[tuple[str, Any]]:
    """Values that shape the weights, or their meaning, and differ: each name with their value."""
    names = [
        name
        for name in theirs
        if name in ours and not name.startswith("_") and name not in DESCRIPTIVE["model"]
        if name not in MAY_DIFFER and has_meaning(name, theirs)
    ]
    differing = {name: theirs[name] for name in names if ours[name] != theirs[name]}
    for name, value in differing.items():
        if not FOLLOWS_FROM.get(name, set()) & differing.keys():
            yield name, value


def _other_stacks(ours: Config, theirs: Config, start: str) -> Iterator[UserError]:
    """Stacks that both have and that differ in depth; none that both have; tables now one."""
    our_depths, their_depths = _depths(ours), _depths(theirs)
    shared = [stack for stack in our_depths if stack in their_depths]
    if our_depths and their_depths and not shared:
        fitting = [shape for shape, stacks in STACKS.items() if set(stacks) & their_depths.keys()]
        yield UserError(
            f"model.shape must be {' or '.join(fitting)} with model.init_from={start}, whose "
            f"weights are a bare {theirs['shape']}'s, but is {shown(ours['shape'])}",
            f"start from a run whose model has the {ours['shape']}",
        )
    for stack in shared:
        if our_depths[stack] != their_depths[stack]:
            own_key = ours.get("n_decoder_layers") is not None or len(our_depths) == 2
            key = "n_decoder_layers" if stack == "decoder" and own_key else "n_layers"
            yield UserError(
                f"model.{key} must be {their_depths[stack]}, as the {stack} of {start} has, "
                f"but is {our_depths[stack]}",
                f"write model.{key}={their_depths[stack]}",
            )
    two = len(our_depths) == 2 == len(their_depths)
    if two and ours.get("tie_embeddings") == "all" != theirs.get("tie_embeddings"):
        yield UserError(
            f"model.tie_embeddings must be {theirs.get('tie_embeddings')}, as in {start}, which "
            "has a table for each side, but is all",
            f"write model.tie_embeddings={theirs.get('tie_embeddings')}",
        )


def _depths(model: Config) -> dict[str, Any]:
    """Layers of each stack; empty for a model of the user's own."""
    stacks = STACKS.get(str(model.get("shape")), ()) if model.get(TARGET) == TRANSFORMER else ()
    depths = {stack: model.get("n_layers") for stack in stacks}
    if len(stacks) == 2 and model.get("n_decoder_layers") is not None:
        depths["decoder"] = model["n_decoder_layers"]
    return depths
