"""The shipped models are what their descriptions say.

Legend: D model width, F inner width.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from heed.backbone.transformer import Transformer

CONFIGS = Path(__file__).parents[2] / "configs" / "model"


def values_of(name: str) -> dict[str, Any]:
    values = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    assert values.pop("_target_") == "heed.backbone.transformer.Transformer"
    assert values.pop("init_from") is None
    assert 0 < values.pop("learning_rate") < 1
    return {**values, "shape": "encoder_decoder", "vocabulary_size": 37000}


@pytest.mark.parametrize(("name", "millions"), [("base", 65), ("big", 213)])
def test_base_and_big_have_the_papers_parameters(name: str, millions: int) -> None:
    """Vaswani et al. 2017, table 3, with the 37000 tokens of section 5.1; 3% for rounding."""
    with torch.device("meta"):
        model = Transformer(**values_of(name))
    count = sum(weight.numel() for weight in model.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.03)


def test_every_model_builds_and_describes_itself() -> None:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in CONFIGS.glob("*.yaml")}
    sized = sorted(name for name, text in texts.items() if re.search(r"^n_layers: \d", text, re.M))
    assert sized == ["base", "big", "small", "tiny"]
    sizes = []
    for name in ("tiny", "small", "base", "big"):
        assert (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")
        with torch.device("meta"):
            sizes.append(sum(w.numel() for w in Transformer(**values_of(name)).parameters()))
    assert sizes == sorted(sizes)
