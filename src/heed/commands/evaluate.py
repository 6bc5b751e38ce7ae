"""`heed evaluate`: score a run's checkpoint on a split of its data, or of other data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from heed.commands.amend import amend
from heed.commands.arguments import parse_arguments
from heed.commands.compose import compose
from heed.commands.quiet import quiet_libraries
from heed.commands.rules import validate
from heed.commands.run_paths import PREDICTIONS, open_run
from heed.commands.summary import score_line
from heed.commands.trained import load_parts, split_overrides
from heed.errors import EXIT_DONE, UserError, nearest

USAGE = """\
usage: heed evaluate run=DIR [split=test] [checkpoint=best] [output=FILE] [key=value ...]

Score a trained model. Scores are printed and written beside the predictions.

  heed evaluate run=DIR                            the test split, again
  heed evaluate run=DIR split=validation           another split
  heed evaluate run=DIR decoding.beam_size=10      another way of decoding
  heed evaluate run=DIR data.path=FOLDER           other data of the same kind
"""
OWN = {"run", "split", "checkpoint", "output", "overwrite"}
SPLITS = ("train", "validation", "test")


def main(argv: list[str]) -> int:
    """Run `heed evaluate` with the words after it; returns the exit code."""
    arguments = parse_arguments(argv, usage=USAGE)
    mine, changes = split_overrides(arguments.overrides, OWN)
    asked = compose("evaluate", mine, arguments.config_dir)
    if asked["split"] not in SPLITS:
        raise UserError(
            f"split must be one of {', '.join(SPLITS)}, but is {asked['split']!r}",
            nearest(str(asked["split"]), SPLITS),
        )
    record, config = open_run(asked["run"])
    config = amend(config, changes, arguments.config_dir)
    validate(config, arguments.config_dir)
    output = predictions_file(record.run_dir, asked, changes)
    scores = evaluate(record, config, asked, output)
    report = output.with_suffix(".scores.json")
    report.write_text(
        json.dumps(
            {
                "checkpoint": asked["checkpoint"],
                "split": asked["split"],
                "overrides": changes,
                "scores": scores,
            },
            indent=2,
        )
        + "\n",
        encoding="utf-8",
    )
    print(score_line(scores, f"{asked['split']}/"))
    print(f"scores       {report}\npredictions  {output}")
    return EXIT_DONE


def predictions_file(run_dir: Path, asked: dict[str, Any], changes: list[str]) -> Path:
    """Where the predictions go: the file that was asked for, or a free name in the run folder.

    Raises:
        UserError: If the file that was asked for exists and may not be replaced.
    """
    if asked["output"]:
        output = Path(asked["output"])
        if output.exists() and not asked["overwrite"]:
            raise UserError(f"output={output} exists", "give another name, or overwrite=true")
        output.parent.mkdir(parents=True, exist_ok=True)
        return output
    folder = run_dir / PREDICTIONS
    folder.mkdir(exist_ok=True)
    stem = f"{asked['split']}-{asked['checkpoint']}" if asked["checkpoint"] in ("best", "last") else (
        f"{asked['split']}-{Path(asked['checkpoint']).stem}"
    )
    output, count = folder / f"{stem}.jsonl", 1
    while output.exists() and not asked["overwrite"]:
        count += 1
        output = folder / f"{stem}-{count}.jsonl"
    return output


def evaluate(
    record: Any, config: dict[str, Any], asked: dict[str, Any], output: Path
) -> dict[str, float]:
    """Score one split; writes the predictions and returns the scores by name."""
    quiet_libraries()
    import lightning.pytorch as pl

    from heed.commands.assemble import build_callbacks
    from heed.commands.build import build
    from heed.commands.session import stage_metrics, write_predictions

    pl.seed_everything(config["seed"], workers=True, verbose=False)
    parts, _ = load_parts(record, config, asked["checkpoint"])
    shown = {k: v for k, v in (config.get("callbacks") or {}).items() if k == "progress"}
    trainer = build(
        {**config["trainer"], "strategy": "auto", "devices": 1},
        key="trainer",
        callbacks=build_callbacks({"callbacks": shown}),
        loggers=[],
        run_dir=record.run_dir,
    )
    loader = parts.datamodule.evaluation_loader(asked["split"])
    trainer.test(parts.task, dataloaders=loader, verbose=False)
    write_predictions(parts.task.predictions, output)
    return {
        name.replace("test/", f"{asked['split']}/", 1): value
        for name, value in stage_metrics(trainer, "test/").items()
    }
