"""A run's config and record with anything in any place: used, or refused in one clear error.

No model is built here; what builds it is reached only by configs that pass.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.commands.amend import amend
from heed.commands.compose import compose
from heed.commands.run_paths import find_checkpoint, open_run
from heed.commands.trained import LEARNED, check_amended, unused_data
from heed.errors import UserError
from heed.tracking.config_file import save_config
from heed.tracking.record import RunRecord

Place = tuple[Any, ...]
DELETED = object()

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 20),
        st.sampled_from([2**31, 2**63, -(10**30), 1e308, float("nan"), float("-inf")]),
        st.text(max_size=8),
        st.sampled_from(["../..", "/etc", "heed.files.os", "os.system", "${seed}", "\0", "\ud800"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.one_of(st.text(max_size=4), st.just("_target_")), inner, max_size=2),
    ),
    max_leaves=4,
)


def places(node: Any, place: Place = ()) -> list[Place]:
    """Every place in nested mappings and lists."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    found = [] if place == () else [place]
    if isinstance(node, (dict, list)):
        for name, value in items:
            inner = (*place, name)
            found += places(value, inner) if isinstance(value, (dict, list)) else [inner]
    return found


def changed(content: Any, place: Place, value: Any) -> Any:
    """A copy with another value in one place, or without it."""
    content = copy.deepcopy(content)
    node = content
    for name in place[:-1]:
        node = node[name]
    if value is DELETED:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    return content


def begun(run: Path, config: dict[str, Any]) -> dict[str, Any]:
    run.mkdir()
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").write_bytes(b"x")
    save_config(config, run / "config.yaml")
    record = RunRecord.create(run, task="sentiment", name="x", seed=3, overrides=["seed=3"])
    facts = {"fingerprint": "0" * 64, "encoded": "1" * 64, "records": 7}
    record.update(
        data={"train": facts, "validation": facts, "test": facts, "labels": ["a", "b"]},
        best_checkpoint=run / "checkpoints" / "last.ckpt",
    )
    fields: dict[str, Any] = json.loads((run / "run.json").read_text())
    return fields


def looked_at(run: Path) -> None:
    """What `heed evaluate` does with a run folder before it builds anything."""
    record, config = open_run(run)
    config = amend(config, ["data.max_tokens=700"])
    unused = (*LEARNED, *unused_data(record, config, []))
    check_amended(config, None, unused=unused)
    find_checkpoint(record, "best")


@pytest.mark.parametrize("which", ["config", "record"])
def test_something_in_some_places(which: str, tmp_path: Path) -> None:
    broken_at_random(which, tmp_path / "run", examples=40)


@pytest.mark.parametrize(
    "examples",
    [pytest.param(200, marks=pytest.mark.learning), pytest.param(2000, marks=pytest.mark.faults)],
)
@pytest.mark.parametrize("which", ["config", "record"])
def test_anything_in_any_place(which: str, examples: int, tmp_path: Path) -> None:
    assert broken_at_random(which, tmp_path / "run", examples=examples) > examples // 25


def broken_at_random(which: str, run: Path, *, examples: int) -> int:
    """Look at a run folder with so many changes, one at a time; how many were refused."""
    config = compose("train", ["task=sentiment", "logger=[csv,wandb,mlflow]"])
    fields = begun(run, config)
    looked_at(run)
    content = config if which == "config" else fields
    refused = 0

    @settings(max_examples=examples, derandomize=True, database=None, deadline=None)
    @given(st.sampled_from(places(content)), st.one_of(values, st.just(DELETED)))
    def one(place: Place, value: Any) -> None:
        nonlocal refused
        broken = changed(content, place, value)
        try:
            if which == "config":
                save_config(broken, run / "config.yaml")
            else:
                (run / "run.json").write_text(json.dumps(broken))
        except (UnicodeEncodeError, ValueError):
            return  # no file can hold it
        try:
            looked_at(run)
        except UserError:
            refused += 1

    one()
    return refused
