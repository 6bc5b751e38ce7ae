"""Several scores as one."""

from __future__ import annotations

import pytest
import sacrebleu
import torch

from heed.metrics.bleu import Bleu
from heed.metrics.chrf import Chrf
from heed.metrics.together import Together

PREDICTIONS = ["ein Hund läuft über die Wiese", "zwei Kinder spielen Ball"]
REFERENCES = [["ein Hund rennt über die Wiese"], ["zwei Kinder spielen draußen Ball"]]


def test_each_figure_is_what_its_score_gives_alone():
    together = Together([Bleu(), Chrf()])
    for prediction, references in zip(PREDICTIONS, REFERENCES, strict=True):
        together.update([prediction], [references])
    found = together.compute()
    columns = [[references[0] for references in REFERENCES]]
    assert set(found) == {"bleu", "chrf"}
    assert float(found["bleu"]) == pytest.approx(
        sacrebleu.corpus_bleu(PREDICTIONS, columns).score, abs=1e-6
    )
    assert float(found["chrf"]) == pytest.approx(
        sacrebleu.corpus_chrf(PREDICTIONS, columns).score, abs=1e-6
    )


def test_reset_forgets_all():
    together = Together([Bleu(), Chrf()])
    together.update(PREDICTIONS, REFERENCES)
    together.reset()
    assert all(float(value) == 0.0 for value in together.compute().values())


def test_signatures_name_their_score():
    together = Together([Bleu(lowercase=True), Chrf()])
    together.update(PREDICTIONS, REFERENCES)
    assert together.signatures["bleu"].startswith("nrefs:1|case:lc")
    assert "chrf" in together.signatures


def test_states_travel_as_one_module():
    together = Together([Bleu(), Chrf()])
    assert all(score.device == torch.device("cpu") for score in together.scores)
    moved = together.to("meta")
    assert all(score.device == torch.device("meta") for score in moved.scores)
