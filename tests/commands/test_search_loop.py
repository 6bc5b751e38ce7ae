"""When a search asks its storage for a trial."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from heed.commands import search_loop
from heed.commands.search_loop import POLL_SECONDS, SearchLoop
from heed.commands.search_slot import Slot
from heed.sweeps.objective import Objective
from heed.sweeps.settings import Settings
from heed.sweeps.space import Axis, Space
from heed.sweeps.study import Study


class NothingToBegin(SearchLoop):
    """Counts how often it is asked to begin a trial, and has none."""

    asked = 0

    def _begin(self) -> bool:
        self.asked += 1
        return False


@pytest.fixture
def loop(tmp_path: Path):
    settings = Settings(
        study_name="rates", objectives=[Objective("val/bleu", "max")], n_trials=7, jobs=3
    )
    study = Study(tmp_path, settings, Space([Axis("model.dropout", "float", low=0, high=1)]), {})
    yield NothingToBegin(study, cast("Any", None), cast("Any", None))
    study.close()


def test_a_storage_without_trials_is_asked_once_a_second(
    loop: NothingToBegin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    now = [100.0]
    monkeypatch.setattr(search_loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    running = [Slot(number, {}, tmp_path, [None], number) for number in (0, 1)]
    loop.slots += running
    for slot in running:
        loop.display.begun(slot)
    for _ in range(round(2.5 / POLL_SECONDS)):
        loop._fill_slots()
        now[0] += POLL_SECONDS
    assert loop.asked == 3  # at 0, 1 and 2 seconds
    loop.study.ask()
    loop._close(running[0])  # one that ends may have been the last that another waited for
    loop._fill_slots()
    assert loop.asked == 4
