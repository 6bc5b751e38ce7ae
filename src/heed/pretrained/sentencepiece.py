"""The tokenizers of T5 and Marian from their SentencePiece models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heed.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from heed.pretrained.checkpoint import Checkpoint
    from heed.text.template import Template
    from heed.text.tokenizer import Tokenizer, TokenizerPair

SENTINELS = 100  # of T5, for the spans that it was pretrained to fill


def t5_tokenizers(
    checkpoint: Checkpoint, template: Template, special_tokens: dict[str, str]
) -> TokenizerPair | None:
    """From a spiece.model, with the sentinels after its pieces, the last first."""
    path = checkpoint.find("spiece.model")
    if path is None:
        return None
    from heed.text.sentencepiece import SentencePieceModel, unigram_tokenizer
    from heed.text.tokenizer import Tokenizer, TokenizerPair

    settings = checkpoint.read_json("tokenizer_config.json") or {}
    backend = unigram_tokenizer(SentencePieceModel.read(path))
    backend.add_special_tokens(sorted(set(special_tokens.values())))
    count = int(settings.get("extra_ids", SENTINELS))
    backend.add_special_tokens([f"<extra_id_{i}>" for i in reversed(range(count))])
    one = Tokenizer(backend, special_tokens=special_tokens, template=template, name=str(path))
    return TokenizerPair(one, one)


def marian_tokenizers(
    checkpoint: Checkpoint, template: Template, special_tokens: dict[str, str]
) -> TokenizerPair | None:
    """From a source.spm, a target.spm and the vocab.json of both sides, or one of each."""
    names = ("source.spm", "target.spm", "vocab.json")
    source, target, vocabulary = (checkpoint.find(name) for name in names)
    if source is None or target is None or vocabulary is None:
        return None
    from heed.text.tokenizer import TokenizerPair

    other = checkpoint.find("target_vocab.json")
    sides = ((source, vocabulary), (target, other or vocabulary))
    return TokenizerPair(*(_marian(*side, template, special_tokens) for side in sides))


def _marian(
    model: Path, vocabulary: Path, template: Template, special_tokens: dict[str, str]
) -> Tokenizer:
    import json

    from tokenizers import AddedToken

    from heed.text.sentencepiece import SentencePieceModel, unigram_tokenizer
    from heed.text.tokenizer import Tokenizer

    try:
        ids = json.loads(vocabulary.read_text(encoding="utf-8"))
        pieces = sorted(ids, key=ids.__getitem__)
        if [ids[piece] for piece in pieces] != list(range(len(pieces))):
            raise ValueError("its ids are not 0, 1, 2, ...")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{vocabulary} must give each piece its id, but: {error}") from error
    found = SentencePieceModel.read(model)
    if found.unknown not in ids:
        raise UserError(f"{vocabulary} must hold {found.unknown}, as {model} does, but has not")
    backend = unigram_tokenizer(found, pieces)
    backend.add_special_tokens(sorted(set(special_tokens.values())))
    languages = [piece for piece in pieces if piece.startswith(">>") and piece.endswith("<<")]
    backend.add_tokens([AddedToken(language, normalized=False) for language in languages])
    return Tokenizer(backend, special_tokens=special_tokens, template=template, name=str(model))
