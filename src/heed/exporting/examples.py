"""Records made of a vocabulary, for runs whose data cannot be had."""

from __future__ import annotations

import random
from typing import Any

SEED = 0


def made_examples(preparation: Any, count: int) -> list[dict[str, Any]]:
    """Records of a preparation's kind whose texts are random tokens, the same at every call.

    Args:
        preparation: How records become rows.
        count: How many.
    """
    draw = random.Random(SEED)
    kind = preparation.kind.name
    source = getattr(preparation, "source_tokenizer", None) or preparation.tokenizer
    target = getattr(preparation, "target_tokenizer", source)
    return [_record(kind, preparation, source, target, draw) for _ in range(count)]


def _record(
    kind: str, preparation: Any, source: Any, target: Any, draw: random.Random
) -> dict[str, Any]:
    if kind == "labelled_text":
        return {"text": _text(source, draw), "label": draw.choice(preparation.labels)}
    if kind == "passages":
        context = _text(source, draw)
        first = context.split()[0]
        question = _text(source, draw)
        return {
            "id": str(draw.random()),
            "question": question,
            "context": context,
            "answers": [first],
            "starts": [context.index(first)],
        }
    if kind == "texts":
        return {"text": _text(source, draw)}
    text = _text(target, draw)
    return {"source": _text(source, draw), "target": text, "references": [text]}


def _text(tokenizer: Any, draw: random.Random) -> str:
    special = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.sep_id}
    ids = [draw.randrange(tokenizer.vocabulary_size) for _ in range(draw.randint(5, 25))]
    (text,) = tokenizer.decode([[i for i in ids if i not in special]])
    return text.strip() or "a"
