"""Which runs are one system, and what the systems are called."""

from __future__ import annotations

import json
from typing import Any

from heed.tracking.digest import Digest
from heed.tracking.grouping import group_runs, pooled_keys

TINY = {"model.d_model": 16, "model.n_layers": 1, "choices.model": "tiny", "optimizer.lr": 0.001}
SMALL = {"model.d_model": 32, "model.n_layers": 2, "choices.model": "small", "optimizer.lr": 0.0005}


def run(seed: int, settings: dict[str, Any], **changes: Any) -> Digest:
    config = {
        **settings,
        **{"seed": seed, "data.source.seed": seed, "links.data.source.seed": "seed", "name": "x"},
        **{
            "paths.run_dir": f"/runs/{seed}",
            "logger.wandb.group": str(seed),
            "data.num_workers": seed,
        },
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return Digest("/x", "done", task="qa", seed=seed, config_text=json.dumps(config))


def labels(*runs: Digest, by: tuple[str, ...] = ()) -> dict[str, list[int | None]]:
    return {group.label: group.seeds for group in group_runs(runs, by)}


def test_runs_that_differ_in_their_seed_are_one_system() -> None:
    found = labels(run(1, SMALL), run(1, TINY), run(2, SMALL), run(2, TINY))
    assert found == {"model=small": [1, 2], "model=tiny": [1, 2]}
    assert labels(run(1, SMALL), run(2, SMALL)) == {"qa": [1, 2]}


def test_a_label_names_no_more_than_tells_systems_apart() -> None:
    found = labels(
        run(1, TINY), run(1, SMALL), run(1, SMALL, optimizer__lr=0.1), run(2, TINY, name="mine")
    )
    assert list(found) == [
        *("model=tiny name=x optimizer.lr=0.001", "model=small name=x optimizer.lr=0.0005"),
        *("model=small name=x optimizer.lr=0.1", "model=tiny name=mine optimizer.lr=0.001"),
    ]
    assert list(labels(run(1, TINY), run(1, TINY, name="mine"))) == ["name=x", "name=mine"]
    assert list(labels(run(1, TINY), run(1, TINY, optimizer__betas=[0.9, 0.98]))) == [
        *("optimizer.betas=None", "optimizer.betas=0.9,0.98"),
    ]


def test_groups_as_the_user_says() -> None:
    runs = [run(1, TINY), run(2, TINY, optimizer__lr=0.1), run(3, SMALL)]
    assert labels(*runs, by=("model",)) == {"model=tiny": [1, 2], "model=small": [3]}
    assert labels(*runs, by=("optimizer.lr", "seed")) == {
        "optimizer.lr=0.001 seed=1": [1],
        "optimizer.lr=0.1 seed=2": [2],
        "optimizer.lr=0.0005 seed=3": [3],
    }
    first, second = group_runs(runs, ("model",))
    assert pooled_keys(first) == ["optimizer.lr"]
    assert pooled_keys(second) == []
    assert first.values == {"model": "tiny"}
