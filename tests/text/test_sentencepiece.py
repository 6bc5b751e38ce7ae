"""SentencePiece models read without their library, against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.sentencepiece_file import write_model

from heed.errors import UserError
from heed.text.sentencepiece import ABSENT, SentencePieceModel, unigram_tokenizer

WORDS = ["the", "a", "small", "frog", "sits", "on", "water", "ünïcode", "Straße", "1234", "don't"]
PIECES = ["▁", "▁fro", "▁frog", *"abcdefghiklmnoprstuwy/>"]
TEXTS = [
    *("the small frog sits on a leaf", "  two  spaces\tand a tab\n", "frogs", ""),
    *("日本語 frog", "ﬁ ½ ①", "x日本y", "the\u00a0frog", "Straße", f"{ABSENT}frog"),
]


@pytest.fixture(scope="module")
def library() -> Any:
    return pytest.importorskip("sentencepiece")


@pytest.fixture(scope="module")
def trained(library: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with SentencePiece's own normalisation."""
    folder = tmp_path_factory.mktemp("spm")
    rows = [" ".join(WORDS[i % 5 :: 1 + i % 3]) for i in range(60)]
    (folder / "text").write_text("\n".join(rows), encoding="utf-8")
    library.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "m"),
        vocab_size=50,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return folder / "m.model"


def encode(backend: Any, text: str) -> list[int]:
    ids: list[int] = backend.encode(text, add_special_tokens=False).ids
    return ids


def test_cuts_as_the_library_does(library: Any, trained: Path) -> None:
    theirs = library.SentencePieceProcessor(str(trained))
    model = SentencePieceModel.read(trained)
    assert model.charsmap
    ours = unigram_tokenizer(model)
    for text in TEXTS:
        ids = encode(ours, text)
        if ABSENT not in text:
            assert ids == theirs.encode(text), text
        if 2 not in ids:  # what is unknown is written in different ways
            assert ours.decode(ids) == theirs.decode(ids)
    assert any(2 in encode(ours, text) for text in TEXTS)


def test_reads_what_the_library_reads(library: Any, tmp_path: Path) -> None:
    """The file that other tests write is a model for the library too."""
    write_model(tmp_path / "m", PIECES)
    theirs = library.SentencePieceProcessor(str(tmp_path / "m"))
    ours = unigram_tokenizer(SentencePieceModel.read(tmp_path / "m"))
    for text in ("frog", "frogs", "a frog"):
        assert encode(ours, text) == theirs.encode(text)


def test_control_pieces_are_never_read(tmp_path: Path) -> None:
    """Even where a character of theirs is unknown."""
    write_model(tmp_path / "m", PIECES)
    backend = unigram_tokenizer(SentencePieceModel.read(tmp_path / "m"))
    for text in ("</s>", "a<pad>", "frog</s>frog"):
        assert not {0, 1} & set(encode(backend, text)), text


def test_ids_of_another_vocabulary(tmp_path: Path) -> None:
    """Marian's: of what the model does not know, only single characters are read."""
    write_model(tmp_path / "m", PIECES)
    vocabulary = ["</s>", "<unk>", "ß", "▁frog", "▁", "s", "eß", "<pad>"]
    backend = unigram_tokenizer(SentencePieceModel.read(tmp_path / "m"), vocabulary)
    assert encode(backend, "frogs") == [3, 5]
    assert encode(backend, "ß") == [4, 2]
    assert encode(backend, f"{ABSENT}eß") == [4, 1, 2]
    assert backend.decode([3, 5, 6, 3]) == "frogseß frog"


@pytest.mark.parametrize("kind", ["cut", "text", "bpe", "empty"])
def test_what_is_no_model(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "m"
    write_model(path, PIECES, model_type=2 if kind == "bpe" else 1)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    if kind in ("text", "empty"):
        path.write_text("no model" if kind == "text" else "")
    with pytest.raises(UserError, match="must be a SentencePiece model"):
        SentencePieceModel.read(path)
