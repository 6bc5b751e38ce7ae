"""The one door to the built-in corpora: a corpus by name, a split, a size and a seed.

Row `index` of a split is a pure function of (corpus, split, seed, index): any size is the beginning
of every larger one, and nothing is kept in memory. Training rows hold training combinations only;
every row of `test` is made of combinations that occur in no training and no validation row;
`validation` is half and half: new texts of training combinations, and combinations of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from heed.data.builtin import qa, sentiment, summarization, translation
from heed.data.builtin.draw import SPLITS, Draw, Example, Split, owner_of_text, stable_hash
from heed.errors import UserError, nearest

Compose = Callable[[Draw, Split, int], Example]

CORPORA: dict[str, Compose] = {
    "translation": translation.compose,
    "summarization": summarization.compose,
    "sentiment": sentiment.compose,
    "qa": qa.compose,
    "generative_qa": qa.compose,
    "masked_lm": sentiment.compose,
    "causal_lm": sentiment.compose,
}
SAME_ROWS = {"generative_qa": "qa", "masked_lm": "sentiment", "causal_lm": "sentiment"}
"""Names that stand for the rows of another corpus."""


def generate(
    corpus: str, split: str, *, size: int, seed: int, unanswerable: float = 0.0
) -> Iterator[dict[str, Any]]:
    """The rows of one split, in order.

    Args:
        corpus: translation, summarization, sentiment, qa, generative_qa (the rows of qa),
            masked_lm or causal_lm (those of sentiment).
        split: train, validation or test.
        size: How many rows.
        seed: Which rows; what is held out for which split does not depend on it.
        unanswerable: Of qa: the share of questions that the passage does not answer. The other
            rows are the same whatever the share.

    Yields:
        Rows in the columns of their record kind: source, target, references (translation,
        summarization); text, label (sentiment); id, question, context, answers, starts (qa).

    Raises:
        UserError: If corpus or split is unknown, size is negative, or unanswerable no share.
    """
    if corpus not in CORPORA:
        raise UserError(
            f"data.source.corpus must name a built-in corpus, but is {corpus!r}",
            nearest(corpus, CORPORA),
        )
    if split not in SPLITS:
        raise UserError(
            f"split must be train, validation or test, but is {split!r}", nearest(split, SPLITS)
        )
    if size < 0:
        raise UserError(f"size must be at least 0, but is {size}", "try size=1000")
    if not 0.0 <= unanswerable <= 1.0:
        raise UserError(
            f"unanswerable must be a share from 0 to 1, but is {unanswerable}",
            "try unanswerable=0.3",
        )
    if unanswerable and CORPORA[corpus] is not qa.compose:
        raise UserError(
            f"unanswerable must be 0 for corpus {corpus!r}, but is {unanswerable}",
            "only qa and generative_qa ask questions",
        )
    return _rows(SAME_ROWS.get(corpus, corpus), split, size, seed, unanswerable)


def _rows(
    corpus: str, split: Split, size: int, seed: int, unanswerable: float
) -> Iterator[dict[str, Any]]:
    asks = corpus == "qa"
    for index in range(size):
        is_open = asks and stable_hash("open", split, seed, index) < unanswerable * 2**64
        one = example("qa_open" if is_open else corpus, split, seed=seed, index=index)
        if asks:
            one.row["id"] = f"builtin-{split}-{seed}-{index}"
        yield one.row


def example(corpus: str, split: Split, *, seed: int, index: int) -> Example:
    """One row with the combinations it holds; drawn again until its text is the split's own."""
    seen = split == "train" or (split == "validation" and index // 2 % 2 == 0)
    side: Split = "train" if seen else split
    compose = qa.compose_open if corpus == "qa_open" else CORPORA[corpus]
    attempt = 0
    while True:
        draw = Draw(stable_hash(corpus, split, seed, index, attempt))
        one = compose(draw, side, index)
        if not seen or owner_of_text(one.text) == split:
            return one
        attempt += 1
