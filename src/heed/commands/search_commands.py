"""What to type after a search: commands that work as they stand."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heed.commands.summary import shown_path
from heed.sweeps.outcomes import best_trials
from heed.sweeps.study_file import StudyFile, words_of

if TYPE_CHECKING:
    from heed.sweeps.study import FrozenTrial


def next_commands(trials: Sequence[FrozenTrial], about: StudyFile, folder: Path) -> list[str]:
    """Commands that rerun the best trial and test it; none where no trial has come to its end."""
    best = best_trials(trials, about.objectives)
    if not best:
        return []
    run = folder / str(best[0].user_attrs.get("run"))
    words = [shlex.quote(word) for word in [*about.words, *words_of(best[0].params)]]
    start = "heed train"
    if about.seeds is not None:
        start = "heed train -m"
        words.append(f"seed={','.join(map(str, about.seeds))}")
        run = run / f"seed={about.seeds[0]}"
    quoted = shlex.quote(shown_path(run))
    return [f"{start} {' '.join(words)}", f"heed evaluate run={quoted} split=test"]
