"""Training: the same tokenizer every time, sizes as asked, errors in words."""

import subprocess
import sys

import pytest

from heed.errors import UserError
from heed.text.train import train_tokenizer
from heed.text.words import count_words

TEXTS = [f"the {n} small dogs of number {n * n} bark, don't they? Größe {n}" for n in range(61)]


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece", "unigram"])
def test_training_twice_gives_the_same_tokenizer(algorithm):
    def train():
        return train_tokenizer(iter(TEXTS), algorithm=algorithm, vocabulary_size=367)

    first = train().fingerprint
    assert all(train().fingerprint == first for _ in range(3))
    code = (
        "from heed.text.train import train_tokenizer\n"
        f"t = train_tokenizer({TEXTS!r}, algorithm={algorithm!r}, vocabulary_size=367)\n"
        "print(t.fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == first


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece", "unigram"])
def test_vocabulary_has_the_size_asked_for_or_less(algorithm):
    tokenizer = train_tokenizer(TEXTS, algorithm=algorithm, vocabulary_size=283)
    assert tokenizer.vocabulary_size <= 283
    if algorithm != "wordpiece":
        assert tokenizer.vocabulary_size == 283
    small = train_tokenizer(["a b"], algorithm=algorithm, vocabulary_size=5003)
    assert small.vocabulary_size < 5003
    assert small.decode(small.encode(["a b"])) == ["a b"]


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_frequent_words_become_one_token(algorithm):
    tokenizer = train_tokenizer(TEXTS, algorithm=algorithm, vocabulary_size=401)
    assert [len(ids) for ids in tokenizer.encode([" small", " dogs", " number"])] == [1, 1, 1]


def test_wordpiece_decodes_to_readable_text():
    tokenizer = train_tokenizer(TEXTS, algorithm="wordpiece", vocabulary_size=499)
    ids = tokenizer.encode(["the small  dogs bark, don't they? Größe"])
    assert tokenizer.decode(ids) == ["the small dogs bark, don't they? Größe"]
    assert tokenizer.encode(["☃"]) == [[tokenizer.unk_id]]


def test_wordpiece_spells_words_with_marked_pieces():
    tokenizer = train_tokenizer(TEXTS, algorithm="wordpiece", vocabulary_size=101)
    pieces = tokenizer.tokens(tokenizer.encode(["bark"])[0])
    assert pieces[0][0] == "b"
    assert all(piece.startswith("##") for piece in pieces[1:])
    assert "".join(piece.removeprefix("##") for piece in pieces) == "bark"


def test_lowercase():
    tokenizer = train_tokenizer(["ÄB ÄB Äb"], algorithm="bpe", vocabulary_size=271, lowercase=True)
    assert tokenizer.encode(["ÄB"]) == tokenizer.encode(["äb"])


def test_words_are_counted_in_an_order_of_their_own():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    splitter = Tokenizer(models.BPE())
    splitter.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    splitter.normalizer = normalizers.Lowercase()
    counts = count_words(iter(["b a C", "c a", "d"]), splitter)
    assert list(counts.items()) == [("a", 2), ("c", 2), ("b", 1), ("d", 1)]


@pytest.mark.parametrize(
    ("algorithm", "least"), [("bpe", 263), ("unigram", 263), ("wordpiece", 100)]
)
def test_too_small_a_vocabulary(algorithm, least):
    words = (
        rf"tokenizer.vocabulary_size must be at least {least} for {algorithm}.*but is {least - 1}"
    )
    with pytest.raises(UserError, match=words):
        train_tokenizer(TEXTS, algorithm=algorithm, vocabulary_size=least - 1)
    train_tokenizer(TEXTS, algorithm=algorithm, vocabulary_size=least)


def test_unknown_algorithm():
    with pytest.raises(UserError, match=r"but is 'bpee'; did you mean 'bpe'\?"):
        train_tokenizer(TEXTS, algorithm="bpee", vocabulary_size=300)


def test_no_text():
    with pytest.raises(UserError, match="must be trained on text, but the training split has none"):
        train_tokenizer([], algorithm="bpe", vocabulary_size=300)
