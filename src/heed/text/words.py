"""Count the words of a text, in an order that depends on nothing but the text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice

import tokenizers


def count_words(texts: Iterable[str], splitter: tokenizers.Tokenizer) -> dict[str, int]:
    """How often each word occurs, most frequent first, equals in code point order.

    Args:
        texts: Read once.
        splitter: Its normalizer and pre-tokenizer say what a word is.
    """
    counts: Counter[str] = Counter()
    normalizer, pre_tokenizer = splitter.normalizer, splitter.pre_tokenizer
    assert pre_tokenizer is not None, "a tokenizer to be trained splits words"
    iterator = iter(texts)
    while batch := list(islice(iterator, 1000)):
        for text in batch:
            if normalizer is not None:
                text = normalizer.normalize_str(text)
            counts.update([word for word, _ in pre_tokenizer.pre_tokenize_str(text)])
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
