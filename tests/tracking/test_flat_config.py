"""Dotted keys read line by line are what PyYAML reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.commands.compose import compose
from heed.errors import UserError
from heed.tracking import flat_config as module
from heed.tracking.config_file import load_config, save_config
from heed.tracking.flat_config import flat_config, leaves

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


def same(one: Any, other: Any) -> bool:
    """Equality that takes NaN for itself, and 1 not for 1.0 or true."""
    return repr(one) == repr(other)


@settings(max_examples=100, deadline=None)
@given(config=st.dictionaries(KEYS, CONFIGS, min_size=1, max_size=4))
def test_whatever_is_saved_reads_as_with_pyyaml(
    config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("c") / "config.yaml"
    save_config(config, path)
    assert same(flat_config(path), dict(leaves(load_config(path))))


@pytest.mark.parametrize("task", ["translation", "sentiment", "qa"])
def test_a_frozen_config_needs_no_yaml_reader(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose("train", [f"task={task}", "optimizer.lr=1e-4"])
    save_config(config, tmp_path / "config.yaml")
    monkeypatch.setattr(module, "load_config", lambda path: pytest.fail("PyYAML was needed"))
    found = flat_config(tmp_path / "config.yaml")
    assert same(found, dict(leaves(config)))
    assert found["optimizer.lr"] == 1e-4
    assert found["links.data.kind"] == "task.kind"


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  b: 1\na:\n  c: 2\n",  # the last one counts
        "a: 1\nb:\n    c: 2\n",
        "a: {b: 1}\n",
        "# words\na: 1  # more\n",
        "a: x\n  y\n",
        "a:\n- 1\n- b: 2\n",
        "a: |\n  b: 1\n",
        "'a': 1\n",
        "a: ''\nb: \"c\\td\"\n",
        "a:\nb: 1\n",
    ],
)
def test_yaml_written_by_hand_reads_as_with_pyyaml(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, "utf-8")
    assert same(flat_config(path), dict(leaves(yaml.safe_load(text))))


def test_a_missing_or_broken_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        flat_config(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(UserError, match=r"must be (YAML|readable)"):
        flat_config(tmp_path / "config.yaml")
