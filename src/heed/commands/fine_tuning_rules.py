"""Rules of `finetuning=` and `adapter=`; see `rules`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from heed.commands.build import TARGET
from heed.commands.model_rules import TRANSFORMER
from heed.errors import UserError

Config = dict[str, Any]

FREEZE, RENEW = "finetuning.freeze", "finetuning.reinitialize_layers"
KEEP_HEAD, ADAPTER = "finetuning.keep_head", "adapter"


def parts_are_there(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """What is frozen or starts afresh is a part of the model, and not both."""
    from heed.finetuning.layers import check_word, parts_of, top_layers, within

    layers = model_layers(frozen["model"])
    words = {FREEZE: _words(_finetuning(frozen).get("freeze"))}
    words["adapter.train"] = _words(_adapter(frozen).get("train"))
    found: dict[str, list[str]] = {FREEZE: [], "adapter.train": []}
    for key, named in words.items():
        for word in named:
            try:
                check_word(word, key=key)
                found[key] += parts_of(word, layers, key=key) if layers else []
            except UserError as fault:
                yield fault
    count = _finetuning(frozen).get("reinitialize_layers")
    if not layers or not isinstance(count, int) or count < 1:
        return
    try:
        renewed = top_layers(count, layers, key=RENEW)
    except UserError as fault:
        yield fault
        return
    for part in renewed:
        if within(part, found[FREEZE]):
            yield UserError(
                f"{RENEW} must name layers that are trained, but {part.rstrip('.')} is frozen",
                f"leave it out of {FREEZE}",
            )


def there_is_a_start(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """What leaves a model as it is has a model that has learned something."""
    model, tuning = frozen["model"], _finetuning(frozen)
    if model.get("init_from") or model.get("pretrained"):
        return
    used = {
        FREEZE: bool(tuning.get("freeze")),
        RENEW: bool(tuning.get("reinitialize_layers")),
        KEEP_HEAD: bool(tuning.get("keep_head")),
        ADAPTER: bool(frozen.get("adapter")),
    }
    for key, is_used in used.items():
        if is_used:
            yield UserError(
                f"{key} needs a model that starts from weights, but this one starts from nothing",
                "add model.init_from=RUN with tokenizer=file tokenizer.path=RUN/tokenizer",
            )


def head_can_be_kept(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """A head that is kept is one of the same task."""
    from heed.tracking.config_file import load_config
    from heed.tracking.folder import is_run_folder

    run = frozen["model"].get("init_from")
    if not _finetuning(frozen).get("keep_head"):
        return
    if not run:
        if frozen["model"].get("pretrained"):
            yield UserError(
                f"{KEEP_HEAD} takes the head of a run, but model.init_from is null",
                f"leave {KEEP_HEAD}=false",
            )
        return
    if not is_run_folder(Path(str(run))):
        return
    theirs = (load_config(Path(str(run)) / "config.yaml").get("task") or {}).get("name")
    if theirs != frozen["task"].get("name"):
        yield UserError(
            f"{KEEP_HEAD} needs a run of task={frozen['task'].get('name')}, "
            f"but {run} is one of task={theirs}",
            f"leave {KEEP_HEAD}=false for a fresh head",
        )


def adapter_can_be_added(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """An adapter names layers of the model, and leaves the rest of it as it is."""
    from heed.finetuning.targets import check_targets

    adapter, layers = _adapter(frozen), model_layers(frozen["model"])
    if not adapter:
        return
    if find_spec("peft") is None:
        yield UserError(
            "adapter needs the package peft, which is not installed",
            "pip install 'heed-nlp[peft]', or leave adapter= out",
        )
    targets = adapter.get("targets")
    if targets == []:
        yield UserError("adapter.targets must name layers, but is empty", "try [attention]")
    elif layers and targets is not None:
        try:
            check_targets(_words(targets), list(layers), key="adapter.targets")
        except UserError as fault:
            yield fault
    for key, remedy in (
        (FREEZE, "choose the layers that get the adapter by adapter.targets"),
        (RENEW, "train layers in full by adapter.train"),
    ):
        if _finetuning(frozen).get(key.partition(".")[2]):
            yield UserError(
                f"{key} must be left out with adapter=, which freezes all of the model by itself",
                remedy,
            )


def model_layers(model: Config) -> dict[str, int] | None:
    """The layers of each stack of Heed's own Transformer; None where the config does not tell."""
    shape, count = model.get("shape"), model.get("n_layers")
    if model.get(TARGET) != TRANSFORMER or not isinstance(count, int):
        return None
    if shape in ("encoder", "decoder"):
        return {shape: count}
    if shape != "encoder_decoder":
        return None
    return {"encoder": count, "decoder": model.get("n_decoder_layers") or count}


def _finetuning(frozen: Config) -> Config:
    return frozen.get("finetuning") or {}


def _adapter(frozen: Config) -> Config:
    return frozen.get("adapter") or {}


def _words(value: Any) -> list[str]:
    words = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [word for word in words if isinstance(word, str)]


FINE_TUNING_RULES = (
    parts_are_there,
    there_is_a_start,
    head_can_be_kept,
    adapter_can_be_added,
)
