"""Tokenizer: exact round trips, offsets, special tokens kept out of texts, borrowed tokenizers."""

import json
import os
import random
import subprocess
import sys

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from heed.errors import UserError
from heed.text.tokenizer import Tokenizer, TokenizerPair
from heed.text.train import train_tokenizer

TEXTS = [
    "Two young men are outside near many bushes.",
    "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
    "A man in an orange hat stares at something, doesn't he?",
    "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.",
] * 3


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def exact(request):
    return train_tokenizer(TEXTS, algorithm=request.param, vocabulary_size=353)


@pytest.fixture(scope="module")
def bpe():
    return train_tokenizer(TEXTS, algorithm="bpe", vocabulary_size=353)


def random_text(generator: random.Random) -> str:
    ranges = [(0x20, 0x7F), (0, 0x20), (0xA0, 0x3000), (0x4E00, 0xD800), (0xE000, 0x110000)]
    length = generator.randrange(41)
    spaces = [" ", "  ", "\n", "\t", "\u00a0", "\u2028", "\r\n"]
    characters = [
        generator.choice(spaces)
        if generator.random() < 0.2
        else chr(generator.randrange(*generator.choice(ranges)))
        for _ in range(length)
    ]
    return "".join(characters)


def test_any_unicode_text_comes_back_exactly(exact):
    generator = random.Random(7)
    texts = [random_text(generator) for _ in range(997)]
    assert exact.decode(exact.encode(texts)) == texts


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " leading",
        "trailing ",
        "two  spaces",
        "a <pad> <eos> </s> [CLS] b",
        "é\u0301 ǅ ﬁ",
        "👩‍👩‍👧",
    ],
)
def test_spaces_names_of_special_tokens_and_composed_characters_come_back(exact, text):
    assert exact.decode(exact.encode([text])) == [text]


def test_a_text_never_yields_a_special_token(exact):
    special = {exact.pad_id, exact.bos_id, exact.eos_id, exact.sep_id, exact.cls_id, exact.mask_id}
    ids = exact.encode(["<pad><bos> <eos> <sep><cls> <mask> <unk>"])[0]
    assert special.isdisjoint(ids)
    assert exact.unk_id not in ids


@pytest.mark.parametrize("before", [None, pre_tokenizers.Metaspace()])
def test_special_tokens_that_are_pieces_too_are_spelt_out(before, tmp_path):
    """As in a T5's tokenizer.json, where they are the likeliest pieces of all."""
    special = ["<pad>", "</s>", "<unk>", "<extra_id_0>"]
    pieces = [(token, 0.0) for token in special] + [("frog", -1.0)]
    pieces += [(letter, -5.0) for letter in "▁</>_0adefgiknoprstux"]
    backend = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=2))
    if before is not None:
        backend.pre_tokenizer, backend.decoder = before, decoders.Metaspace()
    backend.add_special_tokens(special)
    tokenizer = Tokenizer(backend)
    for text in ("</s>", "frog</s>frog", "a<extra_id_0></s><pad>", "<unk>"):
        (ids,) = tokenizer.encode([text])
        assert {0, 1, 2, 3}.isdisjoint(ids)
        assert "".join(tokenizer.tokens(ids)).lstrip("▁") == text
    assert tokenizer.tokens(tokenizer.encode(["frog"])[0])[-1] == "frog"
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint


def test_decode_leaves_special_tokens_out(exact):
    ids = exact.encode(["a man"])[0]
    row = [exact.bos_id, *ids[:1], exact.mask_id, *ids[1:], exact.eos_id, exact.pad_id]
    assert exact.decode([row, [exact.pad_id]]) == ["a man", ""]


def test_own_special_tokens_have_the_first_ids(exact):
    ids = (exact.pad_id, exact.unk_id, exact.bos_id, exact.eos_id, exact.sep_id, exact.cls_id)
    assert (*ids, exact.mask_id) == (0, 1, 2, 3, 4, 5, 6)


def test_a_batch_encodes_as_single_texts_do(exact):
    assert exact.encode(TEXTS[:4]) == [exact.encode([text])[0] for text in TEXTS[:4]]
    assert exact.encode([]) == []


def test_offsets_are_characters_and_leave_spaces_out(exact):
    text = " Ein Männer-Hut,  doesn't ☃!"
    (ids,), (offsets,) = exact.encode_with_offsets([text])
    assert ids == exact.encode([text])[0]
    assert len(offsets) == len(ids)
    assert all(0 <= start <= end <= len(text) for start, end in offsets)
    covered = {i for start, end in offsets for i in range(start, end)}
    assert {i for i, c in enumerate(text) if not c.isspace()} <= covered
    words = [text[start:end] for start, end in offsets if text[start:end].strip()]
    assert all(word == word.strip() for word in words)
    snowman = text.index("☃")  # three bytes, none of them learned together
    assert offsets.count((snowman, snowman + 1)) == 3


def test_offsets_point_into_the_text_as_given_when_it_is_lowercased():
    tokenizer = train_tokenizer(TEXTS, algorithm="bpe", vocabulary_size=311, lowercase=True)
    text = "İ Zwei MÄNNER"  # the lowercase of the first letter is two characters
    _, (offsets,) = tokenizer.encode_with_offsets([text])
    assert offsets[-1][1] == len(text)
    assert max(end for _, end in offsets) == len(text)
    assert tokenizer.decode(tokenizer.encode(["MÄNNER"])) == ["männer"]


def test_save_and_load(exact, tmp_path):
    exact.save(tmp_path / "made" / "here")
    for place in (tmp_path / "made" / "here", tmp_path / "made" / "here" / "tokenizer.json"):
        loaded = Tokenizer.load(place)
        assert loaded.fingerprint == exact.fingerprint
        assert loaded.encode(TEXTS) == exact.encode(TEXTS)
        assert loaded.vocabulary_size == exact.vocabulary_size


def test_fingerprint_changes_with_vocabulary_and_with_roles(bpe):
    other = train_tokenizer(TEXTS, algorithm="bpe", vocabulary_size=351)
    assert other.fingerprint != bpe.fingerprint
    backend = tokenizers.Tokenizer.from_str(bpe.backend.to_str())
    swapped = Tokenizer(backend, special_tokens={"pad": "<eos>"})
    assert swapped.fingerprint != bpe.fingerprint


def test_pair_saves_one_folder_or_one_a_side(bpe, tmp_path):
    other = train_tokenizer(TEXTS[:1], algorithm="bpe", vocabulary_size=271)
    TokenizerPair(bpe, bpe).save(tmp_path / "joint")
    TokenizerPair(bpe, other).save(tmp_path / "two")
    joint = TokenizerPair.load(tmp_path / "joint")
    two = TokenizerPair.load(tmp_path / "two")
    assert joint.joint
    assert joint.fingerprint == bpe.fingerprint
    assert not two.joint
    assert (two.source.fingerprint, two.target.fingerprint) == (bpe.fingerprint, other.fingerprint)
    assert TokenizerPair(other, bpe).fingerprint != two.fingerprint


def backend_with(special: list[str]) -> tokenizers.Tokenizer:
    """A word-level tokenizer in which only the special tokens matter."""
    words = {token: i for i, token in enumerate([*special, "a", "b"])}
    backend = tokenizers.Tokenizer(models.WordLevel(words, unk_token=special[0]))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(special)
    return backend


@pytest.mark.parametrize(
    ("special", "expected"),
    [
        # BERT: [CLS] and [SEP] begin and end
        (
            ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"],
            {"pad": 1, "bos": 2, "eos": 3, "cls": 2, "sep": 3, "unk": 0, "mask": 4},
        ),
        # RoBERTa, BART: <s> and </s> classify and separate
        (
            ["<unk>", "<s>", "<pad>", "</s>", "<mask>"],
            {"pad": 2, "bos": 1, "eos": 3, "cls": 1, "sep": 3, "unk": 0, "mask": 4},
        ),
        # T5: a target starts with padding
        (
            ["<unk>", "<pad>", "</s>"],
            {"pad": 1, "bos": 1, "eos": 2, "cls": 1, "sep": 2, "unk": 0, "mask": None},
        ),
        # GPT-2: one token for all
        (
            ["<|endoftext|>"],
            {"pad": 0, "bos": 0, "eos": 0, "cls": 0, "sep": 0, "unk": None, "mask": None},
        ),
    ],
)
def test_special_tokens_of_published_families_are_found(special, expected, tmp_path):
    backend_with(special).save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    found = {role: getattr(tokenizer, f"{role}_id") for role in expected}
    assert found == expected
    tokenizer.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again").special_tokens == tokenizer.special_tokens


def test_roles_are_read_from_the_files_beside_a_tokenizer(tmp_path):
    backend_with(["<start>", "<stop>", "<fill>"]).save(str(tmp_path / "tokenizer.json"))
    config = {"bos_token": "<start>", "eos_token": {"content": "<stop>"}, "pad_token": "<fill>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (0, 1, 2)


def test_truncation_and_padding_of_a_borrowed_tokenizer_are_turned_off(tmp_path):
    backend = backend_with(["<unk>", "<pad>", "</s>"])
    backend.enable_truncation(2)
    backend.enable_padding(length=5)
    backend.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.load(tmp_path).encode(["a b a", "a"]) == [[3, 4, 3], [3]]


def test_metaspace_offsets_leave_the_space_out():
    backend = tokenizers.Tokenizer(
        models.Unigram([("<unk>", 0.0), ("</s>", 0.0), ("▁a", -1.0), ("▁bc", -2.0)], unk_id=0)
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    _, (offsets,) = Tokenizer(backend).encode_with_offsets(["a bc"])
    assert offsets == [(0, 1), (2, 4)]


def test_vocabulary_size_counts_up_to_the_largest_id():
    backend = tokenizers.Tokenizer(models.WordLevel({"</s>": 0, "a": 11}, unk_token="</s>"))
    assert Tokenizer(backend).vocabulary_size == 12


def test_no_special_tokens_is_an_error():
    with pytest.raises(UserError, match=r"none of its tokens is known to be pad or bos or eos"):
        Tokenizer(tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))


def test_named_special_tokens_must_exist(bpe, tmp_path):
    bpe.save(tmp_path)
    with pytest.raises(
        UserError, match=r"special_tokens\.pad must be in the vocabulary of .* '<fil"
    ):
        Tokenizer.load(tmp_path, special_tokens={"pad": "<fill>"})
    with pytest.raises(UserError, match=r"has 'padd'; did you mean 'pad'\?"):
        Tokenizer.load(tmp_path, special_tokens={"padd": "<pad>"})


def test_missing_and_broken_files_are_errors(tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist; give tokenizer.path=FILE"):
        Tokenizer.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"a folder with one, but .* has none"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": ')
    with pytest.raises(UserError, match=r"must be a tokenizer of the `tokenizers` library, but"):
        Tokenizer.load(tmp_path)


def test_no_network_says_what_to_do(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    words = r"'heed/nothing' must be fetched .* cannot be reached .* tokenizer=file tokenizer.path"
    with pytest.raises(UserError, match=words):
        Tokenizer.from_hub("heed/nothing")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_encodes_without_hanging_or_warning(tmp_path, bpe):
    bpe.save(tmp_path)
    code = (
        "import os, sys\n"
        "from heed.text.tokenizer import Tokenizer\n"
        "t = Tokenizer.load(sys.argv[1])\n"
        "want = t.encode(['a man'] * 99)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0 if t.encode(['a man'] * 99) == want else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_reading_a_tokenizer_needs_no_torch():
    code = "import sys, heed.text.build; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
