"""`heed evaluate`: score a run's checkpoint on a split of its data, or of other data."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.arguments import parse_arguments
from heed.commands.decoding_engine import use_engine
from heed.commands.out_of_memory import memory_watched, quoted
from heed.commands.quiet import quiet_libraries
from heed.commands.run_paths import find_checkpoint
from heed.commands.shares import check_share
from heed.commands.summary import print_config, score_line
from heed.commands.trained import (
    LEARNED,
    Request,
    accelerator_here,
    check_amended,
    device_of,
    load_parts,
    read_request,
    unused_data,
)
from heed.errors import EXIT_DONE, UserError, nearest
from heed.files import replacing, writing_error
from heed.tracking.folder import LOGS, PREDICTIONS
from heed.tracking.record import RunRecord

if TYPE_CHECKING:
    from heed.commands.assemble import Parts

USAGE = """\
usage: heed evaluate run=DIR [split=test] [checkpoint=best] [output=FILE] [key=value ...]

Score a trained model. Scores are printed and written beside the predictions.

  heed evaluate run=DIR                            the test split, again
  heed evaluate run=DIR split=validation           another split
  heed evaluate run=DIR decoding.beam_size=10      another way of decoding
  heed evaluate run=DIR data.path=FOLDER           other data of the same kind
  heed evaluate run=DIR devices=4                  shared by four processes, the same scores
"""
SPLITS = {"train": "train", "validation": "val", "test": "test"}  # split: its name in trainer keys


def main(argv: list[str]) -> int:
    """Run `heed evaluate` with the words after it; returns the exit code."""
    arguments = parse_arguments(argv, usage=USAGE)
    request = read_request("evaluate", arguments)
    asked, record, config, changes = request
    if arguments.show:
        print_config(config)
        return EXIT_DONE
    if asked["split"] not in SPLITS:
        raise UserError(
            f"split must be one of {', '.join(SPLITS)}, but is {asked['split']!r}",
            nearest(str(asked["split"]), SPLITS),
        )
    unused = (*LEARNED, *unused_data(record, config, changes))
    check_amended(config, arguments.config_dir, unused=unused)
    output = predictions_file(record.run_dir, asked)
    scores, checkpoint = evaluate(request, output)
    report = output.with_suffix(".scores.json")
    said = {
        "checkpoint": checkpoint.name,
        "split": asked["split"],
        "overrides": changes,
        "scores": scores,
    }
    with replacing(report, "w", elsewhere="output=FILE") as file:
        file.write(json.dumps(said, indent=2) + "\n")
    print(f"scores       {score_line(scores, asked['split'] + '/')}")
    print(f"written to   {report}\npredictions  {output}")
    return EXIT_DONE


def predictions_file(run_dir: Path, asked: dict[str, Any]) -> Path:
    """Where the predictions go: the file that was asked for, or a free name in the run folder.

    Raises:
        UserError: If the file that was asked for is a folder, exists and may not be replaced, or
            its folder cannot be made.
    """
    if asked["output"]:
        output = Path(str(asked["output"])).expanduser()
        if output.is_dir():
            raise UserError(f"output must be a file, but {output} is a folder")
        if output.exists() and not asked["overwrite"]:
            raise UserError(f"output={output} exists", "give another name, or overwrite=true")
    else:
        which = str(asked["checkpoint"])
        stem = f"{asked['split']}-{which.removesuffix('.ckpt').rpartition('/')[2]}"
        output, count = run_dir / PREDICTIONS / f"{stem}.jsonl", 1
        while output.exists() and not asked["overwrite"]:
            count += 1
            output = output.with_name(f"{stem}-{count}.jsonl")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing_error(output, error, elsewhere="output=FILE") from error
    return output


def evaluate(request: Request, output: Path) -> tuple[dict[str, float], Path]:
    """Score one split and write the predictions; returns the scores by name and the checkpoint."""
    from heed.commands.ranks import Ranks

    asked, record, config, changes = request
    split, devices = asked["split"], asked["devices"]
    if not isinstance(devices, int) or isinstance(devices, bool) or devices < 1:
        raise UserError(f"devices must be a whole number of at least 1, but is {devices!r}")
    limit = config["trainer"][f"limit_{SPLITS[split]}_batches"]
    if any(word.startswith("trainer.limit_test_batches=") for word in changes):
        limit = config["trainer"]["limit_test_batches"]
    config["trainer"] |= {
        "accelerator": accelerator_here(config["trainer"]["accelerator"]),
        "strategy": "ddp" if devices > 1 else "auto",
        "devices": devices,
        "num_nodes": 1,
        "limit_test_batches": limit,
        "overfit_batches": 0,
        "profiler": None,
    }
    checkpoint = find_checkpoint(record, asked["checkpoint"])
    job = {
        "run_dir": os.path.abspath(record.run_dir),
        "config": config,
        "checkpoint": os.path.abspath(checkpoint),
        "split": split,
        "changes": changes,
    }
    print(f"{config['task']['name']} on {config['data']['name']} ({split}), {checkpoint.name}")
    from heed.commands.session import write_predictions

    with (
        tempfile.TemporaryDirectory() as folder,
        Ranks(devices, record.run_dir / LOGS, lambda reason: None) as ranks,
    ):
        words = Path(folder) / "job.json"
        words.write_text(json.dumps(job), encoding="utf-8")
        parts = prepare(job)
        ranks.start("heed.commands.evaluate", [str(words)])
        scores, predictions = score(job, parts)
    write_predictions(predictions, output)
    return scores, checkpoint


def prepare(job: dict[str, Any]) -> Parts:
    """The trained task and its data, the same in every process."""
    quiet_libraries()
    import lightning.pytorch as pl

    pl.seed_everything(job["config"]["seed"], workers=True, verbose=False)
    record = RunRecord.open(job["run_dir"])
    parts, _ = load_parts(record, job["config"], job["checkpoint"], changes=job["changes"])
    parts.datamodule.rows(job["split"])
    check_share("limit_test_batches", job["config"]["trainer"], parts.datamodule, job["split"])
    use_engine(parts, job["config"], record, device_of(job["config"]).type)
    return parts


def score(job: dict[str, Any], parts: Parts) -> tuple[dict[str, float], list[Any]]:
    """Score this process's share; returns the scores of all, and to the first all predictions."""
    from heed.commands.assemble import build_callbacks
    from heed.commands.build import build
    from heed.commands.session import stage_metrics

    config, split = job["config"], job["split"]
    bars = {k: v for k, v in config["callbacks"].items() if k == "progress" and sys.stderr.isatty()}
    trainer = build(
        config["trainer"],
        key="trainer",
        callbacks=build_callbacks({"callbacks": bars}),
        loggers=[],
        run_dir=Path(job["run_dir"]),
    )
    parts.datamodule.trainer = trainer  # which knows this process's share
    loader = parts.datamodule.evaluation_loader(split)
    limit = config["trainer"]["limit_test_batches"]
    if limit not in (None, 1.0) and trainer.is_global_zero:
        print(f"limited to {limit} of {len(loader)} batches (trainer.limit_test_batches=null: all)")
    with memory_watched(parts, trainer, run=quoted(Path(job["run_dir"]))):
        trainer.test(parts.task, dataloaders=loader, verbose=False)
    scores = {
        name.replace("test/", f"{split}/", 1): value
        for name, value in stage_metrics(trainer, "test/").items()
    }
    return scores, parts.task.predictions


def join(file: str) -> None:
    """Take part in an evaluation as a further process."""
    from heed.commands.rank import end_with_parent

    end_with_parent()
    job = json.loads(Path(file).read_text(encoding="utf-8"))
    score(job, prepare(job))


if __name__ == "__main__":
    join(sys.argv[1])
