"""`heed report`: what came of a search, as a page with figures."""

from __future__ import annotations

from pathlib import Path

from heed.commands.arguments import parse_arguments
from heed.commands.search_commands import next_commands
from heed.commands.summary import shown_path
from heed.errors import EXIT_DONE, UserError, nearest
from heed.sweeps.study_file import StudyFile

USAGE = """\
usage: heed report study=DIR [storage=URL]

Write DIR/report.html, a page that needs no network, and its figures as PNG files in DIR/report:
history, importance, parallel coordinates, slices, and the Pareto front of several objectives.

  heed report study=outputs/sentiment/default/study
  heed report study=DIR storage=postgresql://USER:PASSWORD@HOST/DB    a password is never kept
"""
KEYS = ("study", "storage")


def main(argv: list[str]) -> int:
    """Run `heed report` with the words after it; returns the exit code."""
    arguments = parse_arguments(argv, usage=USAGE)
    asked: dict[str, str] = {}
    for word in arguments.overrides:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS:
            raise UserError(f"{word!r} must be study=DIR or storage=URL", nearest(key, KEYS))
        asked[key] = value
    if not asked.get("study"):
        raise UserError(
            "study must be given, but is not",
            "add study=DIR, the folder that the search named (outputs/TASK/NAME/STUDY)",
        )
    return report(Path(asked["study"]).expanduser(), asked.get("storage"))


def report(folder: Path, storage: str | None) -> int:
    """Write the report of a study.

    Raises:
        UserError: If there is no such study, or its storage cannot be read.
    """
    from heed.sweeps.page import PAGE, write_report
    from heed.sweeps.storage import JOURNAL
    from heed.sweeps.study import open_study

    about = StudyFile.read(folder)
    written = storage or about.storage
    if about.secret and storage is None:
        raise UserError(
            f"the storage of this study ({about.storage}) needs a password, which is not kept",
            "add storage=URL",
        )
    if written is None and not (folder / JOURNAL).is_file():
        raise UserError(
            f"the study's storage {folder / JOURNAL} is gone",
            "its runs are still there: heed runs " + shown_path(folder),
        )
    study = open_study(folder, written, about.study)
    if study is None:
        raise UserError(f"there is no study {about.study!r} in its storage", "add storage=URL")
    commands = next_commands(study.get_trials(deepcopy=False), about, folder)
    write_report(study, about, folder, commands)
    print(f"{shown_path(folder / PAGE)}\n\n" + "\n".join(commands))
    return EXIT_DONE
