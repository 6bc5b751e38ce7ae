"""The frozen config reads back as exactly what was written."""

from __future__ import annotations

import math
import random

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from heed.errors import UserError
from heed.tracking.config_file import load_config, save_config

WORDS = [
    "",
    "1e-4",
    "1_000",
    "yes",
    "null",
    "~",
    "0x1f",
    "1:30",
    "2025-01-01",
    " a ",
    "ä: ö",
    "- x",
]


def some_value(generator, depth=0):
    kind = generator.randrange(9 if depth < 3 else 7)
    if kind == 7:
        return [some_value(generator, depth + 1) for _ in range(generator.randrange(4))]
    if kind == 8:
        return {f"k{i}": some_value(generator, depth + 1) for i in range(generator.randrange(4))}
    return [
        generator.choice(WORDS),
        generator.randint(-(10**9), 10**9),
        generator.uniform(-1, 1) * 10 ** generator.randint(-30, 30),
        float(10 ** -generator.randint(1, 12)),
        float(generator.randint(-5, 5)),
        generator.random() < 0.5,
        None,
    ][kind]


def test_any_plain_config_survives_the_round_trip(tmp_path):
    generator = random.Random(7)
    for _ in range(101):
        config = {f"key{i}": some_value(generator) for i in range(11)}
        save_config(config, tmp_path / "config.yaml")
        loaded = load_config(tmp_path / "config.yaml")
        assert repr(loaded) == repr(config)  # 1 and 1.0 and True are not the same
        assert list(loaded) == list(config)


def test_numbers_are_read_as_hydra_reads_them(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: 1e-4\nb: 1.5E+3\nc: .5\nd: .inf\ne: 1e5\nf: 12\ng: '1e-4'\n")
    loaded = load_config(path)
    assert loaded == OmegaConf.to_container(OmegaConf.load(path))
    assert loaded["a"] == 0.0001
    assert math.isinf(loaded["d"])
    assert isinstance(loaded["f"], int)


def test_a_value_that_is_shared_is_written_out_twice(tmp_path):
    shared = [1, 2]
    save_config({"a": shared, "b": shared}, tmp_path / "c.yaml")
    assert "&" not in (tmp_path / "c.yaml").read_text()


def test_objects_are_not_written_and_tags_not_obeyed(tmp_path):
    with pytest.raises(yaml.YAMLError):
        save_config({"a": object()}, tmp_path / "c.yaml")
    assert not (tmp_path / "c.yaml").exists()
    (tmp_path / "c.yaml").write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UserError, match="must be YAML, but is broken"):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [1", "must be YAML, but is broken"), ("- 1", "must be a mapping, but is list")],
)
def test_broken_files_are_named(tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=f"c.yaml {words}"):
        load_config(tmp_path / "c.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no\.yaml does not exist"):
        load_config(tmp_path / "no.yaml")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=9),
    st.sampled_from(
        ["1e-4", "0x1f", "010", "1_000", "yes", "~", "", "a: b", "- a", "a #b", "2001-01-01"]
    ),
    st.sampled_from(
        ["word " * 40, "x" * 150, "a\nb", "\tx", "\u2028", "'", '"', "[1]", "&a", "*a"]
    ),
)
KEYS = st.one_of(
    st.from_regex(r"[a-z_]{1,5}", fullmatch=True), st.sampled_from(["on", "null", "1"])
)
CONFIGS = st.recursive(
    st.one_of(SCALARS, st.lists(SCALARS, max_size=3)),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(config=st.dictionaries(KEYS, CONFIGS, min_size=1, max_size=4))
@example(config={"a": "\x85", "b": "a\u2028b", "c": ["\u2029"]})
def test_whatever_is_saved_comes_back(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("c") / "config.yaml"
    save_config(config, path)
    assert repr(load_config(path)) == repr(config)


@pytest.mark.parametrize("text", ["[" * 1_000_000, "- " * 1_000_000, "a: " + "{a: " * 5000])
def test_a_nest_without_end_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match="nested too deeply"):
        load_config(tmp_path / "config.yaml")
