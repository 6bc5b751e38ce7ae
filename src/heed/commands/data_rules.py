"""Rules between the data, the task and the tokenizer; see `rules`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heed.commands.bind import closest, shown
from heed.commands.groups import group_options, read_yaml
from heed.commands.packing import can_pack
from heed.errors import UserError, nearest

Config = dict[str, Any]


def data_fit_the_task(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """The data hold what the task learns from."""
    task, data = frozen["task"], frozen["data"]
    kind, allowed = data.get("kind"), data.get("tasks")
    if task.get("kind") == "texts":  # which every data set has
        return
    if kind == task.get("kind") and (not allowed or task.get("name") in allowed):
        return
    fitting = _data_for(str(task.get("name")), folders)
    choices = [f"data={name}" for name in fitting] + [f"task={name}" for name in allowed or ()]
    yield UserError(
        f"data={data.get('name')} must suit task={task.get('name')}, which needs "
        f"{task.get('kind')}, but has {kind} for {' and '.join(allowed or ['no task'])}",
        f"choose one of: {', '.join(choices)}" if choices else "",
    )


def columns_are_known(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """`data.columns` names columns that records of this kind have."""
    from heed.data.records import RECORD_KINDS

    data = frozen["data"]
    kind = RECORD_KINDS.get(str(data.get("kind")))
    if kind is None:
        return
    maps = {"data.columns": data.get("columns")}
    splits = data.get("split_columns")
    if isinstance(splits, dict):
        maps.update({f"data.split_columns.{split}": columns for split, columns in splits.items()})
    for key, columns in maps.items():
        for column in columns if isinstance(columns, dict) else ():
            wants_texts = frozen["task"].get("kind") == "texts"
            if column not in kind.types and not (wants_texts and column == "text"):
                yield UserError(
                    f"{key}.{column} is not a column of {kind.name} records",
                    nearest(str(column), kind.types),
                )


def data_can_be_found(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """A path is there if it is given, and given if the data are one's own."""
    data = frozen["data"]
    path = data.get("path")
    if path is None and data.get("name") == "local":
        yield UserError(
            "data.path must be given with data=local, but is null",
            "add data.path=FOLDER (with train, validation and test files) or data.path=FILE",
        )
    if path is not None and not (isinstance(path, str) and Path(path).exists()):
        remedy = _nearby(Path(path)) if isinstance(path, str) else ""
        yield UserError(f"data.path must be a folder or file, but {path} does not exist", remedy)
    if data.get("invalid", "drop") not in ("drop", "error"):
        yield UserError(
            f"data.invalid must be drop or error, but is {shown(data['invalid'])}",
            closest(str(data["invalid"]), ("drop", "error")),
        )


def batches_have_a_size(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """There is a token budget or a number of examples for a batch."""
    data = frozen["data"]
    if data.get("max_tokens") is None and data.get("batch_size") is None:
        yield UserError(
            "data.max_tokens must be given when data.batch_size is null, but is null",
            "try data.max_tokens=4096",
        )


def one_limit_is_found(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """`trainer.auto_batch` finds max_tokens, so that rows are not limited beside it."""
    rows = frozen["data"].get("batch_size")
    if frozen["trainer"].get("auto_batch") and rows is not None:
        yield UserError(
            "data.batch_size must be null with trainer.auto_batch, which finds data.max_tokens, "
            f"but is {rows}",
            "leave out one of the two",
        )


def a_stream_can_be_trained_on(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """What is streamed has no length and is not known before it is read."""
    data, trainer = frozen["data"], frozen["trainer"]
    if not data.get("streaming"):
        return
    if trainer.get("max_steps") in (-1, None):
        yield UserError(
            "trainer.max_steps must be given with data.streaming=true, since a stream has no end, "
            "but is not",
            "try trainer.max_steps=100000",
        )
    interval = trainer.get("val_check_interval")
    if isinstance(interval, float) or interval is None:
        yield UserError(
            "trainer.val_check_interval must be a whole number of batches with "
            f"data.streaming=true, since a stream has no end, but is {shown(interval)}",
            "try trainer.val_check_interval=1000",
        )
    if isinstance(trainer.get("limit_train_batches"), float):
        yield UserError(
            "trainer.limit_train_batches must be null or a whole number with data.streaming=true, "
            f"but is {trainer['limit_train_batches']}",
            "leave it out",
        )
    for key in ("auto_batch", "overfit_batches"):
        if trainer.get(key):
            yield UserError(
                f"trainer.{key} must be off with data.streaming=true, where no row is known before "
                f"it is read, but is {shown(trainer[key])}",
                "leave one of the two out",
            )
    if frozen["task"]["kind"] == "labelled_text" and not data.get("labels"):
        yield UserError(
            "data.labels must be given with data.streaming=true, since they cannot be looked for "
            "in all rows, but is null",
            "try data.labels=[negative,positive]",
        )


def tokenizer_can_be_had(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """A tokenizer that is read from files finds them."""
    for name in ("path", "target_path"):
        path = frozen["tokenizer"].get(name)
        if path is not None and not Path(str(path)).exists():
            yield UserError(
                f"tokenizer.{name} must be a tokenizer.json or a folder with one, "
                f"but {path} does not exist",
                _nearby(Path(str(path))),
            )


def two_tokenizers_fit_the_model(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """With a vocabulary a side, there are two sides and nothing ties them."""
    model, tokenizer = frozen["model"], frozen["tokenizer"]
    if tokenizer.get("joint", True) is False:
        key, rule, remedy = "tokenizer.joint", "true", "leave tokenizer.joint out"
    elif tokenizer.get("target_path") or tokenizer.get("target_name"):
        key = "tokenizer.target_path" if tokenizer.get("target_path") else "tokenizer.target_name"
        rule, remedy = "null", f"leave {key} out"
    else:
        return
    if model.get("shape") in ("encoder", "decoder"):
        yield UserError(
            f"{key} must be {rule} with model.shape={model['shape']}, which has one vocabulary, "
            f"but is {shown(tokenizer[key.partition('.')[2]])}",
            remedy,
        )
    elif model.get("tie_embeddings") in ("all", "inputs"):
        yield UserError(
            f"model.tie_embeddings must be decoder or none with {key} not {rule}, "
            f"which makes two vocabularies, but is {model['tie_embeddings']}",
            "try model.tie_embeddings=decoder",
        )


def _data_for(task: str, folders: list[Path]) -> list[str]:
    """The data sets whose configs name a task."""
    return [
        name
        for name, path in group_options(folders, "data").items()
        if task in (read_yaml(path).get("tasks") or ())
    ]


def _nearby(path: Path) -> str:
    """The nearest name in the folder where a path should have been."""
    try:
        return closest(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""


def packing_is_possible(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """`data.packed` is a choice, and the task can be trained so."""
    packed = frozen["data"].get("packed", False)
    if packed not in ("auto", "similar") and not isinstance(packed, bool):
        yield UserError(f"data.packed must be auto, true, similar or false, but is {shown(packed)}")
    elif packed in (True, "similar") and not can_pack(frozen):
        streaming = frozen["data"].get("streaming")
        why = "data.streaming" if streaming else "task.bidirectional_prefix, which sees rows whole"
        yield UserError(
            f"data.packed must be auto or false with {why}, but is {shown(packed)}",
            "leave data.packed out",
        )


DATA_RULES = (
    packing_is_possible,
    data_fit_the_task,
    columns_are_known,
    data_can_be_found,
    batches_have_a_size,
    one_limit_is_found,
    a_stream_can_be_trained_on,
    tokenizer_can_be_had,
    two_tokenizers_fit_the_model,
)
