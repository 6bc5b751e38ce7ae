"""`study.json`: what a study folder is known by, and what is needed to look into it later."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from heed.errors import UserError
from heed.files import replacing
from heed.sweeps.objective import Objective
from heed.sweeps.space import Params

NAME = "study.json"
ASKING_LOCK = ".asking.lock"
SCHEMA = 1


@dataclass(frozen=True)
class StudyFile:
    """The content of `study.json`.

    Args:
        study: The study's name in its storage.
        storage: Where it is kept, without passwords; None for the journal beside this file.
        secret: Whether a password was left out.
        objectives: What is made best.
        space: Each axis in words.
        words: The overrides that all trials share.
        command: What was typed, without passwords.
        seeds: Of the runs of each trial; None for one run.
        started: When the study was begun, as ISO text.
    """

    study: str
    storage: str | None
    secret: bool
    objectives: list[Objective]
    space: dict[str, str]
    words: list[str]
    command: list[str]
    seeds: list[int] | None
    started: str

    def save(self, folder: Path) -> None:
        """Write it whole, or leave what is there."""
        with replacing(folder / NAME, "w") as file:
            json.dump({"schema": SCHEMA, **asdict(self)}, file, indent=2, ensure_ascii=False)
            file.write("\n")

    @classmethod
    def read(cls, folder: Path) -> StudyFile:
        """Read the file of a study folder.

        Raises:
            UserError: If this is no study folder, or the file is broken or of another version.
        """
        path = folder / NAME
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if content.get("schema") != SCHEMA:
                raise UserError(
                    f"{path} must have schema {SCHEMA}, but has {content.get('schema')!r}",
                    "use the version of Heed that wrote it",
                )
            del content["schema"]
            objectives = [Objective(**one) for one in content.pop("objectives")]
            return cls(**content, objectives=objectives)
        except (FileNotFoundError, NotADirectoryError) as error:
            what = "has none" if folder.is_dir() else "does not exist"
            raise UserError(
                f"a study folder holds a {NAME}, but {folder} {what}",
                "give the folder that the search named (outputs/TASK/NAME/STUDY)",
            ) from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path} must be a study's file, but is broken: {error}") from error


def is_study_folder(folder: Path) -> bool:
    """Whether a study's file lies in this folder."""
    return (folder / NAME).is_file()


def trial_folder(number: int) -> str:
    """The name of a trial's folder in that of its study."""
    return f"trial-{number:04d}"


def words_of(params: Params) -> list[str]:
    """The overrides that make a point."""
    return [f"{key}={value}" for key, value in params.items()]
