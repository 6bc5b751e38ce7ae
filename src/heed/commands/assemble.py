"""From the frozen config to the parts of a run: corpus, tokenizers, data, model, task.

Reads plain values only, so that training, evaluation, prediction and every process of a run build
the same parts from the same file. A class named by a `_target_` receives the parts it asks for by
name (`preparation`, `backbone`, `decoder`, ...), so a user's own task needs no change here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.build import TARGET, build, build_call, locate, of_kind
from heed.commands.run_data import Use, corpus_of_run
from heed.errors import UserError

if TYPE_CHECKING:
    from heed.backbone.transformer import Transformer
    from heed.data.corpus import Corpus
    from heed.data.module import DataModule
    from heed.tasks.base import Task
    from heed.text.tokenizer import TokenizerPair
    from heed.tracking.record import RunRecord

Config = dict[str, Any]

# Keys that describe a node or steer this file, and are no parameters of what the node builds.
DESCRIPTIVE = {
    "task": ("name", "kind", "shape", "shapes", "preparation", "validation_decoder"),
    "model": (
        *("init_from", "learning_rate", "pretrained", "revision", "family"),
        *("vocabulary_size", "target_vocabulary_size"),
    ),
}
PRETRAINED_TOKENIZERS = "heed.pretrained.tokenizer.pretrained_tokenizers"
# Keys of a data config that its DataModule takes; the rest describe the corpus.
DATA_MODULE = (
    "max_tokens",
    "batch_size",
    "eval_max_tokens",
    "num_workers",
    "cache_dir",
    "limit_examples",
)


@dataclass
class Parts:
    """What a run is made of, before there is a trainer."""

    corpus: Corpus
    tokenizers: TokenizerPair
    labels: list[str] | None
    datamodule: DataModule
    task: Task


def assemble(
    config: Config,
    *,
    tokenizer_dir: Path | None = None,
    labels: list[str] | None = None,
    warm_start: bool = True,
    reads_data: bool = True,
    recorded: dict[str, Any] | None = None,
    use: Use = "same",
    record: RunRecord | None = None,
) -> Parts:
    """Build everything that a run needs but its trainer.

    Args:
        config: The frozen config.
        tokenizer_dir: Where the run keeps its tokenizers; None trains or loads them as
            `tokenizer=` says.
        labels: The class names that the run was trained with; None takes the corpus's.
        warm_start: Whether `model.init_from` and `model.pretrained` are followed; not where a
            checkpoint is loaded anyway.
        reads_data: Whether the data set is wanted; predicting needs none.
        recorded: What the run's record says of its data, when they are to be those.
        use: What to do if they are not; see `corpus_of_run`.
        record: The run's record, where a checkpoint of its own will be loaded: it knows what an
            adapter was added to.

    Raises:
        UserError: If data, tokenizer or model cannot be had as the config says.
    """
    from heed.text.tokenizer import TokenizerPair

    corpus = build_corpus(config, labels, reads_data=reads_data, recorded=recorded, use=use)
    if tokenizer_dir is not None:
        tokenizers = TokenizerPair.load(tokenizer_dir)
    else:
        tokenizers = build_tokenizers(config, corpus)
    if labels is None and config["task"]["kind"] == "labelled_text":
        labels = corpus.labels()
    preparation = build(
        config["task"]["preparation"],
        key="task.preparation",
        **_asked_for(
            config["task"]["preparation"],
            tokenizer=tokenizers.source,
            source_tokenizer=tokenizers.source,
            target_tokenizer=tokenizers.target,
            labels=labels,
            shape=config["model"].get("shape"),
        ),
    )
    return Parts(
        corpus=corpus,
        tokenizers=tokenizers,
        labels=labels,
        datamodule=build_datamodule(config, corpus, preparation),
        task=build_task(config, tokenizers, preparation, warm_start=warm_start, record=record),
    )


def build_corpus(
    config: Config,
    labels: list[str] | None = None,
    *,
    reads_data: bool = True,
    recorded: dict[str, Any] | None = None,
    use: Use = "same",
) -> Corpus:
    """The records that `data=` names, as the task reads them; arguments as for `assemble`."""
    from heed.data.corpus import Corpus
    from heed.data.no_source import NoSource
    from heed.data.records import columns_of_kind, record_kind

    data, kind = config["data"], config["task"]["kind"]
    own_labels = data["labels"] if kind == data["kind"] else None

    def columns(named: dict[str, Any]) -> dict[str, Any]:
        return columns_of_kind(named, data=data["kind"], wanted=kind)

    def source() -> Any:
        return build(data["source"], key="data.source")

    def make(**given: Any) -> Corpus:
        return Corpus(
            **{"kind": record_kind(kind, labels=own_labels), **given},
            columns=columns(data["columns"]),
            split_columns={split: columns(named) for split, named in data["split_columns"].items()},
            invalid=data["invalid"],
            cache_dir=data["cache_dir"],
            streamed=bool(data.get("streaming")),
        )

    if recorded is not None and reads_data:
        corpus = corpus_of_run(
            source,
            make,
            recorded,
            use=use,
            cache_dir=data["cache_dir"],
            from_cache=bool(data.get("from_cache")),
        )
        if corpus is not None:
            return corpus
    return make(
        source=source() if reads_data else NoSource(),
        kind=record_kind(kind, labels=labels or own_labels),
    )


def build_tokenizers(
    config: Config, corpus: Corpus, *, texts: Callable[[Any], Any] | None = None
) -> TokenizerPair:
    """The tokenizers that `tokenizer=` asks for, trained if need be.

    Args:
        config: The frozen config.
        corpus: What they are trained on: its training split.
        texts: Asked for the texts of a side in place of the corpus.
    """
    from heed.text.build import build_tokenizers as build_pair

    if str(config["tokenizer"].get(TARGET)) == PRETRAINED_TOKENIZERS:
        from heed.commands.pretrained_model import open_checkpoint

        checkpoint, family = open_checkpoint(config["model"])
        pair: TokenizerPair = build(
            config["tokenizer"], key="tokenizer", checkpoint=checkpoint, family=family
        )
        return pair
    settings = {key: value for key, value in config["tokenizer"].items() if key != TARGET}
    return build_pair(
        **settings,
        texts=texts or (lambda side: corpus.texts("train", side)),
        texts_fingerprint=lambda: corpus.fingerprint("train"),
        cache_dir=config["paths"]["cache_dir"],
    )


def build_datamodule(config: Config, corpus: Corpus, preparation: Any) -> DataModule:
    """The batches of a corpus."""
    from heed.data.module import DataModule
    from heed.data.streamed_module import StreamedDataModule

    settings = {key: config["data"][key] for key in DATA_MODULE}
    if config["data"].get("streaming"):
        settings["shuffle_buffer"] = config["data"]["shuffle_buffer"]
        return StreamedDataModule(
            corpus=corpus, preparation=preparation, seed=config["seed"], **settings
        )
    packed = config["data"].get("packed")  # "auto" has been decided by then, where it matters
    settings["packed"] = packed if packed in (True, "similar") else False
    return DataModule(corpus=corpus, preparation=preparation, seed=config["seed"], **settings)


def build_backbone(
    config: Config, *, vocabulary_size: int, target_vocabulary_size: int | None = None
) -> Transformer:
    """The model that `model=` describes, with fresh weights.

    Args:
        config: The frozen config.
        vocabulary_size: Tokens of the source, the rows of its embedding; that of a pretrained
            model has as many as its checkpoint, which may be more.
        target_vocabulary_size: Likewise of the target, when the sides have tokenizers of their own.

    Raises:
        UserError: If a tokenizer has more tokens than the checkpoint has rows, or a key is wrong.
    """
    from torch import nn

    rows = config["model"].get("vocabulary_size")
    if rows is not None:
        most = max(vocabulary_size, target_vocabulary_size or 0)
        if most - len(config["tokenizer"].get("add_tokens") or ()) > rows:
            raise UserError(
                f"the tokenizer must have at most as many tokens as the embedding of "
                f"{config['model'].get('pretrained')} has rows ({rows:,}), "
                f"but has {most:,}",
                "use the checkpoint's own, tokenizer=pretrained; tokenizer.add_tokens adds to it",
            )
        vocabulary_size = max(rows, vocabulary_size)
        theirs = config["model"].get("target_vocabulary_size")
        target_vocabulary_size = theirs and max(theirs, target_vocabulary_size or 0)
    node = _without_descriptions(config, "model")
    parts = _asked_for(
        node, vocabulary_size=vocabulary_size, target_vocabulary_size=target_vocabulary_size
    )
    return of_kind(nn.Module, build(node, key="model", **parts), node, "model")


def build_task(
    config: Config,
    tokenizers: TokenizerPair,
    preparation: Any,
    *,
    warm_start: bool = True,
    record: RunRecord | None = None,
) -> Task:
    """The task's LightningModule around a backbone; arguments as for `assemble`."""
    from torch import optim

    from heed.commands.fine_tune import Start, tune, with_rates
    from heed.decoding.decoder import Decoder
    from heed.tasks.base import Task

    start = Start.of(config, tokenizers, warm_start=warm_start, record=record)
    sizes = start.sizes_before if start else tokenizers.sizes
    backbone = build_backbone(config, vocabulary_size=sizes[0], target_vocabulary_size=sizes[1])
    node = _without_descriptions(config, "task")
    schedulers = optim.lr_scheduler.LRScheduler
    parts: dict[str, Any] = {
        "backbone": backbone,
        "preparation": preparation,
        "optimizer": with_rates(
            _factory(config["optimizer"], "optimizer", optim.Optimizer), config
        ),
        "scheduler": _factory(config["scheduler"], "scheduler", schedulers),
    }
    if config["task"].get("validation_decoder"):
        decoders = {
            "decoder": ("decoding", config["decoding"]),
            "validation_decoder": (
                "task.validation_decoder",
                config["task"]["validation_decoder"],
            ),
        }
        for name, (key, described) in decoders.items():
            parts[name] = of_kind(Decoder, build(described, key=key), described, key)
    task = of_kind(Task, build(node, key="task", **_asked_for(node, **parts)), node, "task")
    if start:
        start.fill(task)
    tune(task, config)
    return task


def build_callbacks(config: Config) -> list[Any]:
    """The callbacks that are on, in the order of the config."""
    from lightning.pytorch import Callback

    built = []
    for name, node in (config.get("callbacks") or {}).items():
        if node is None or not node.get(TARGET):
            continue
        callback = build(node, key=f"callbacks.{name}")
        if callback is not None:
            built.append(of_kind(Callback, callback, node, f"callbacks.{name}"))
    return built


def build_loggers(config: Config, run_dir: Path) -> list[Any]:
    """The loggers that `logger=` names."""
    from lightning.pytorch.loggers import Logger

    parts = {"run_dir": run_dir, "run_name": config["name"], "task": config["task"]["name"]}
    return [
        of_kind(Logger, build(node, key=f"logger.{name}", **parts), node, f"logger.{name}")
        for name, node in (config.get("logger") or {}).items()
        if node is not None
    ]


def _without_descriptions(config: Config, group: str) -> dict[str, Any]:
    return {key: value for key, value in config[group].items() if key not in DESCRIPTIVE[group]}


def _factory(node: dict[str, Any], key: str, kind: type) -> Callable[..., Any]:
    """A node's function with its values, still waiting for what only the task has."""
    locate(node[TARGET], key=f"{key}.{TARGET}")

    def make(*parts: Any, **named: Any) -> Any:
        return of_kind(kind, build_call(node, key, *parts, **named), node, key)

    return make


def _asked_for(node: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """Those parts that a node's target takes, by the names of its parameters."""
    names: set[str] = set()
    target = locate(node[TARGET])
    classes = target.__mro__ if inspect.isclass(target) else (target,)
    for cls in classes:
        function = cls.__dict__.get("__init__") if inspect.isclass(cls) else cls
        if function is None:
            continue
        parameters = inspect.signature(function).parameters
        names.update(parameters)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return {name: part for name, part in parts.items() if name in names}
