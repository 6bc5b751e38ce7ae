"""BLEU and chrF: their signatures, their sentence counts, their refusals."""

from __future__ import annotations

import pytest
import sacrebleu

from heed.errors import UserError
from heed.metrics.bleu import Bleu
from heed.metrics.chrf import Chrf


def test_the_signature_says_all_that_the_score_depends_on():
    metric = Bleu()
    metric.update(["a b c"], [["a b d", "b c"]])
    version = sacrebleu.__version__
    expected = f"nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    assert metric.signature == expected, "before anything is computed"
    metric.compute()
    assert metric.signature == expected
    metric.update(["a"], [["a"]])
    assert metric.signature == expected.replace("nrefs:2", "nrefs:var")
    lower = Bleu(lowercase=True, tokenize="intl")
    lower.update(["a"], [["a"]])
    assert lower.signature == f"nrefs:1|case:lc|eff:no|tok:intl|smooth:exp|version:{version}"
    chrf = Chrf()
    chrf.update(["a"], [["a"]])
    assert chrf.signature == f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{version}"


def test_sentence_counts_sum_to_the_corpus():
    predictions, references = ["a b c d e", "f g"], [["a b c d x"], ["f h", "g"]]
    metric = Bleu()
    metric.update(predictions, references)
    counts = metric.sentence_statistics(predictions, references)
    # Lengths of output and closest reference, matches and n-grams of order 1 to 4: by hand.
    assert counts == [[5, 5, 4, 3, 2, 1, 5, 4, 3, 2], [2, 2, 2, 0, 0, 0, 2, 1, 0, 0]]
    assert metric.counts.tolist() == [sum(column) for column in zip(*counts, strict=True)]


def test_an_unknown_tokenizer_is_named():
    with pytest.raises(UserError, match="but is '13b'; did you mean '13a'?"):
        Bleu(tokenize="13b")


def test_an_output_without_references_is_refused():
    with pytest.raises(AssertionError, match="at least one reference"):
        Chrf().update(["a"], [[]])
