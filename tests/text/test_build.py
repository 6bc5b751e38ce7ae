"""Tokenizers as configs ask for them: trained once and cached, shared or one a side, borrowed."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from heed.errors import UserError
from heed.text.build import build_tokenizers
from heed.text.train import train_tokenizer

SIDES = {"source": ["a small dog"] * 5, "target": ["ein kleiner Hund"] * 5}
CONFIGS = Path(__file__).parents[2] / "configs" / "tokenizer"


class Texts:
    """Texts that know how often they were read."""

    def __init__(self):
        self.asked = []

    def __call__(self, side):
        self.asked.append(side)
        return iter(SIDES["source"] + SIDES["target"] if side is None else SIDES[side])


def build(texts, tmp_path, *, fingerprint="1", **settings):
    settings = {"algorithm": "bpe", "vocabulary_size": 271, **settings}
    return build_tokenizers(
        **settings, texts=texts, texts_fingerprint=lambda: fingerprint, cache_dir=str(tmp_path)
    )


def test_a_joint_tokenizer_knows_both_sides_and_is_trained_once(tmp_path):
    texts = Texts()
    first = build(texts, tmp_path)
    again = build(texts, tmp_path)
    assert first.joint
    assert texts.asked == [None]
    assert again.fingerprint == first.fingerprint
    want = train_tokenizer(SIDES["source"] + SIDES["target"], algorithm="bpe", vocabulary_size=271)
    assert first.fingerprint == want.fingerprint


def test_one_a_side(tmp_path):
    pair = build(Texts(), tmp_path, joint=False)
    assert not pair.joint
    for side in ("source", "target"):
        want = train_tokenizer(SIDES[side], algorithm="bpe", vocabulary_size=271)
        assert getattr(pair, side).fingerprint == want.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "2"},
        {"vocabulary_size": 269},
        {"lowercase": True},
        {"algorithm": "unigram"},
        {"joint": False},
    ],
)
def test_whatever_matters_trains_anew(tmp_path, change):
    texts = Texts()
    build(texts, tmp_path)
    build(texts, tmp_path, **change)
    assert len(texts.asked) >= 2


def test_a_damaged_cache_is_made_again(tmp_path):
    texts = Texts()
    first = build(texts, tmp_path)
    (file,) = (tmp_path / "tokenizers").glob("*/tokenizer.json")
    file.write_text("{")
    assert build(texts, tmp_path).fingerprint == first.fingerprint
    assert len(texts.asked) == 2


def test_two_processes_train_it_once(tmp_path):
    code = """
import sys, time
from heed.text.build import build_tokenizers
def texts(side):
    print("training", flush=True)
    time.sleep(0.5)
    return ["a small dog"] * 5
build_tokenizers(algorithm="bpe", vocabulary_size=271, texts=texts,
                 texts_fingerprint=lambda: "1", cache_dir=sys.argv[1])
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert "".join(outputs).count("training") == 1


def test_a_borrowed_tokenizer_reads_no_text(tmp_path):
    texts = Texts()
    pair = build(texts, tmp_path)
    pair.save(tmp_path / "mine")
    texts.asked.clear()
    joint = build(texts, tmp_path, algorithm="file", path=str(tmp_path / "mine"))
    assert joint.joint
    assert joint.fingerprint == pair.fingerprint
    two = build(
        texts,
        tmp_path,
        algorithm="file",
        path=str(tmp_path / "mine"),
        target_path=str(tmp_path / "mine" / "tokenizer.json"),
    )
    assert not two.joint
    assert texts.asked == []


def test_errors(tmp_path):
    with pytest.raises(UserError, match=r"tokenizer.path must be given for tokenizer=file"):
        build(Texts(), tmp_path, algorithm="file")
    with pytest.raises(UserError, match=r"tokenizer.name must be given for tokenizer=hub"):
        build(Texts(), tmp_path, algorithm="hub")
    with pytest.raises(UserError, match=r"but is 'wordpice'; did you mean 'wordpiece'\?"):
        build(Texts(), tmp_path, algorithm="wordpice")
    (tmp_path / "file").write_text("")
    words = r"cache of tokenizers must be writable, but .*paths.cache_dir=FOLDER"
    with pytest.raises(UserError, match=words):
        build(Texts(), tmp_path / "file")


@pytest.mark.parametrize("name", ["bpe", "wordpiece", "unigram"])
def test_shipped_configs_train(name, tmp_path):
    settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert settings.pop("_target_") == "heed.text.build.build_tokenizers"
    assert build(Texts(), tmp_path, **settings).joint


@pytest.mark.parametrize("name", ["file", "hub"])
def test_shipped_configs_that_borrow_take_these_keys(name, tmp_path):
    settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    del settings["_target_"]
    settings["path" if name == "file" else "name"] = None
    with pytest.raises(UserError, match="must be given"):
        build(Texts(), tmp_path, **settings)
