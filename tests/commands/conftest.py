"""Configs composed once, for tests that change a copy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed.commands.compose import compose
from heed.errors import UserError, UserErrors


@pytest.fixture(scope="session")
def _composed() -> dict[str, dict[str, Any]]:
    return {}


@pytest.fixture
def frozen(_composed: dict[str, dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """`frozen("task=qa")` is the config of `heed train task=qa`."""

    def make(*overrides: str) -> dict[str, Any]:
        key = " ".join(overrides)
        if key not in _composed:
            _composed[key] = compose("train", list(overrides))
        return copy.deepcopy(_composed[key])

    return make


@pytest.fixture
def told() -> Callable[..., list[str]]:
    """`told(function, ...)` are the mistakes that a call tells, one string each."""

    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[str]:
        try:
            function(*args, **kwargs)
        except UserErrors as errors:
            return [str(error) for error in errors.errors]
        except UserError as error:
            return [str(error)]
        return []

    return call


@pytest.fixture
def user_configs(tmp_path: Path) -> Callable[..., Path]:
    """Writes {"group/name": yaml} into a folder for --config-dir."""

    def write(files: dict[str, str]) -> Path:
        folder = tmp_path / "my_configs"
        for name, text in files.items():
            path = folder / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder

    return write
