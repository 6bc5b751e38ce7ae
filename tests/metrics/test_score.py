"""What all scores share: shards merge to the last bit, also over real processes; nothing is 0."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing

from heed.metrics.bleu import Bleu
from heed.metrics.chrf import Chrf
from heed.metrics.classification import ClassificationScore
from heed.metrics.rouge import Rouge
from heed.metrics.score import Score
from heed.metrics.squad import SquadScore

PREDICTIONS = [
    "A dog runs through the snow.",
    "Two men are talking. One of them laughs.",
    "",
    "Ein Hund läuft.",
    "the red house",
    "It is 3.14 km away!",
    "Nobody knows.",
]
REFERENCES = [
    ["A dog is running through snow.", "The dog runs through the snow."],
    ["Two men talk, one of them is laughing."],
    ["Something."],
    ["Ein Hund läuft.", "Der Hund rennt.", "Ein Hund rennt."],
    ["red house"],
    ["It is 3 km away."],
    ["No one knows.", "Nobody knows."],
]
ANSWERS = [texts if place % 3 else [] for place, texts in enumerate(REFERENCES)]
PROBABILITIES = (torch.arange(21.0).reshape(7, 3) * 2.7).sin().mul(3).softmax(dim=-1)
LABELS = torch.tensor([0, 2, 1, 1, 0, 2, 2])

MAKERS = {
    "bleu": (Bleu, PREDICTIONS, REFERENCES),
    "chrf": (Chrf, PREDICTIONS, REFERENCES),
    "rouge": (Rouge, PREDICTIONS, REFERENCES),
    "squad": (SquadScore, PREDICTIONS, ANSWERS),
    "classification": (lambda: ClassificationScore(n_labels=3), PROBABILITIES, LABELS),
}


def score_of(name: str, *parts: slice) -> Score:
    """A metric that has seen these parts of its examples, a batch each."""
    make, predictions, references = MAKERS[name]
    metric = make()
    for part in parts:
        metric.update(predictions[part], references[part])
    return metric


EVERYTHING = slice(0, 7)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("cuts", [(3,), (1, 5), (0, 4), (2, 7)])
def test_shards_add_up_to_one_pass(name, cuts):
    whole = score_of(name, EVERYTHING)
    edges = [0, *cuts, 7]
    shards = [score_of(name, slice(a, b)) for a, b in zip(edges, edges[1:], strict=False)]
    merged = score_of(name)
    for state, reduction in merged._reductions.items():
        assert reduction is torch.sum or reduction.__name__ == "dim_zero_sum"
        assert getattr(whole, state).dtype == torch.long
        setattr(merged, state, sum(getattr(shard, state) for shard in shards))
    assert merged.compute() == whole.compute()


@pytest.mark.parametrize("name", MAKERS)
def test_batches_and_their_order_change_nothing(name):
    parts = [slice(place, place + 1) for place in (4, 0, 6, 2, 5, 1, 3)]
    assert score_of(name, *parts).compute() == score_of(name, EVERYTHING).compute()


@pytest.mark.parametrize("name", MAKERS)
def test_without_examples_every_figure_is_zero(name):
    figures = score_of(name).compute()
    assert figures
    assert all(value == 0.0 for value in figures.values())
    assert score_of(name, slice(0, 0)).compute() == figures


@pytest.mark.parametrize("name", MAKERS)
def test_reset_forgets(name):
    metric = score_of(name, EVERYTHING)
    first = metric.compute()
    metric.reset()
    part = slice(0, 3)
    _, predictions, references = MAKERS[name]
    metric.update(predictions[part], references[part])
    assert metric.compute() == score_of(name, part).compute() != first


def test_a_text_for_a_list_is_refused():
    with pytest.raises(AssertionError, match="references come in lists"):
        Bleu().update(["a b"], ["a b"])
    with pytest.raises(AssertionError, match="each prediction needs its list of references"):
        Rouge().update(["a b"], [["a b"], ["c"]])


def score_in_process(rank: int, meeting_place: str, folder: str) -> None:
    """Rank 0 sees all but the last two examples, rank 1 those; of the second batch rank 1 none."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting_place}", rank=rank, world_size=2
    )
    parts = [slice(0, 3), slice(3, 5)] if rank == 0 else [slice(5, 7)]
    results: dict[str, object] = {}
    for name in MAKERS:
        metric = score_of(name, *parts)
        results[name] = metric.compute()
        if name == "bleu":
            results["signature"] = metric.signature
        idle = score_of(name, *([EVERYTHING] if rank == 0 else []))
        results[f"{name} of one rank"] = idle.compute()
    torch.save(results, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_score_as_one(tmp_path):
    torch.multiprocessing.spawn(
        score_in_process, args=(str(tmp_path / "meet"), str(tmp_path)), nprocs=2
    )
    for rank in (0, 1):
        results = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert results.pop("signature").startswith("nrefs:var|case:mixed|eff:no|tok:13a|")
        for name in MAKERS:
            expected = score_of(name, EVERYTHING).compute()
            assert results.pop(name) == expected
            assert results.pop(f"{name} of one rank") == expected
        assert not results
