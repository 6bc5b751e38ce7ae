"""Words that a tokenizer takes for one token each, added to those that it has."""

from __future__ import annotations

import json
from collections.abc import Sequence

import tokenizers

from heed.errors import UserError
from heed.text.tokenizer import Tokenizer, TokenizerPair

KEY = "tokenizer.add_tokens"


def with_added_tokens(pair: TokenizerPair, tokens: Sequence[str]) -> TokenizerPair:
    """The same tokenizers with further tokens, whose ids follow those there are.

    A text is cut at an added token before anything else is done to it, but for the tokenizer's own
    normalisation (lower case, for instance), which the token shares.

    Args:
        pair: The tokenizers; both get the tokens.
        tokens: What is added, in this order.

    Raises:
        UserError: If one is a token already, empty, or named twice.
    """
    if not tokens:
        return pair
    source = _with_added(pair.source, tokens)
    return TokenizerPair(source, source if pair.joint else _with_added(pair.target, tokens))


def _with_added(tokenizer: Tokenizer, tokens: Sequence[str]) -> Tokenizer:
    known = tokenizer.backend.get_vocab(with_added_tokens=True)
    for number, token in enumerate(tokens):
        if not token.strip() or token in tokens[:number]:
            what = "names it twice" if token.strip() else "it is empty"
            raise UserError(f"{KEY} must name texts, each once, but has {token!r}: {what}")
        if token in known:
            raise UserError(
                f"{KEY} must name new tokens, but {token!r} is one already", "leave it out"
            )
    before = tokenizer.vocabulary_size
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.add_tokens([tokenizers.AddedToken(token) for token in tokens])
    ids = [backend.token_to_id(token) for token in tokens]
    assert ids == list(range(before, before + len(tokens))), "new ids follow the old ones"
    return Tokenizer(backend, special_tokens=tokenizer.special_tokens, template=tokenizer.template)


def size_before(tokenizer: Tokenizer, tokens: Sequence[str]) -> int:
    """The size of a tokenizer's vocabulary without tokens that were added last."""
    ids = [tokenizer.backend.token_to_id(token) for token in tokens]
    return min([id_ for id_ in ids if id_ is not None], default=tokenizer.vocabulary_size)


def pieces_of(tokenizer: Tokenizer, tokens: Sequence[str]) -> dict[int, list[int]]:
    """What added tokens would be cut into without them: id -> ids, unknown pieces left out."""
    content = json.loads(tokenizer.backend.to_str())
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] not in tokens]
    without = tokenizers.Tokenizer.from_str(json.dumps(content))
    found = {}
    for token in tokens:
        pieces = without.encode(token, add_special_tokens=False).ids
        number = tokenizer.backend.token_to_id(token)
        assert number is not None, "the tokens were added"
        found[number] = [piece for piece in pieces if piece != tokenizer.unk_id]
    return found
