"""`heed export`: write a run's model in a form that other programs read, and check it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.arguments import parse_arguments
from heed.commands.build import TARGET
from heed.commands.quiet import quiet_libraries
from heed.commands.run_paths import find_checkpoint
from heed.commands.signatures import defaults_of
from heed.commands.summary import print_config, shown_path
from heed.commands.trained import LEARNED, Request, check_amended, load_parts, read_request
from heed.errors import EXIT_DONE, UserError, raise_together
from heed.exporting.destination import destination, size_of
from heed.exporting.formats import FORMATS, find_format
from heed.files import readable_bytes

if TYPE_CHECKING:
    from heed.commands.assemble import Parts

_LINES = "\n".join(f"  {one.name:<13} {one.says}" for one in FORMATS.values())
USAGE = f"""\
usage: heed export run=DIR format=FORMAT [output=FOLDER] [checkpoint=best] [key=value ...]

Write a trained model for other programs, with its tokenizer and a model card, and check it against
the model itself on examples of the test split.

{_LINES}

  heed export run=DIR format=onnx                        to RUN/exports/onnx
  heed export run=DIR format=ctranslate2 quantization=int8
  heed export run=DIR format=safetensors output=FOLDER   a folder to share
"""
UNUSED = (*LEARNED, "data", "logger.", "callbacks.", "optimizer", "scheduler", "trainer")


def main(argv: list[str]) -> int:
    """Run `heed export` with the words after it; returns the exit code."""
    arguments = parse_arguments(argv, usage=USAGE)
    request = read_request("export", arguments)
    asked, record, config, _ = request
    if arguments.show:
        print_config(config)
        return EXIT_DONE
    form = find_format(asked["format"])
    raise_together(
        [
            *_number_faults(asked),
            *form.faults(config, defaults_of(config["model"][TARGET], "model")),
        ]
    )
    check_amended(config, arguments.config_dir, unused=UNUSED)
    output = destination(asked["output"], record.run_dir, form.name)
    checkpoint = find_checkpoint(record, asked["checkpoint"])
    print(f"{config['task']['name']} on {config['data']['name']}, {checkpoint.name}, {form.name}")
    quiet_libraries()
    from heed.exporting.export import export

    _, (checked, *python) = export(subject_of(request), form, output)
    print(f"checked      {checked}")
    print(f"written to   {shown_path(output)} ({readable_bytes(size_of(output))})")
    print("use it       " + "\n             ".join(python))
    return EXIT_DONE


def _number_faults(asked: dict[str, Any]) -> list[UserError]:
    faults = []
    examples, tolerance = asked["examples"], asked["tolerance"]
    if not isinstance(examples, int) or isinstance(examples, bool) or examples < 1:
        faults.append(
            UserError(f"examples must be a whole number of at least 1, but is {examples!r}")
        )
    if not isinstance(tolerance, (int, float)) or isinstance(tolerance, bool) or tolerance < 0:
        faults.append(UserError(f"tolerance must be a number of at least 0, but is {tolerance!r}"))
    if asked["quantization"] is not None and asked["format"] != "ctranslate2":
        faults.append(
            UserError(
                f"quantization is for format=ctranslate2, but format is {asked['format']}",
                "leave it out",
            )
        )
    return faults


def subject_of(request: Request) -> Any:
    """The trained model that a request is about, with examples to check it on."""
    from heed.exporting.subject import Subject
    from heed.finetuning.adapters import merge_adapters

    asked, record, config, changes = request
    examples: list[dict[str, Any]] = []
    try:
        parts, checkpoint = load_parts(record, config, asked["checkpoint"], changes=changes)
        examples, where = _test_examples(parts, asked["examples"]), "the run's test split"
    except UserError:
        # Without its data a run can still be exported; a fault of the checkpoint is told here.
        parts, checkpoint = load_parts(record, config, asked["checkpoint"], reads_data=False)
    merge_adapters(parts.task)
    if not examples:
        from heed.exporting.examples import made_examples

        examples = made_examples(parts.datamodule.preparation, asked["examples"])
        where = "texts made of the vocabulary, since the data cannot be had"
    return Subject(
        task=parts.task.cpu().eval(),
        tokenizers=parts.tokenizers,
        labels=parts.labels,
        datamodule=parts.datamodule,
        config=config,
        record=record.fields,
        run_dir=Path(record.run_dir),
        checkpoint=checkpoint.name,
        examples=examples,
        examples_from=where,
        settings={key: asked[key] for key in ("quantization", "tolerance")},
    )


def _test_examples(parts: Parts, count: int) -> list[dict[str, Any]]:
    records = parts.datamodule.records("test")
    return [dict(records[i]) for i in range(min(count, len(records)))]
