"""The choices that are checked are those that the Transformer's own types name."""

from __future__ import annotations

from typing import get_args, get_type_hints

from heed.backbone.transformer import Transformer
from heed.backbone.validation import CHOICES


def test_every_choice_is_checked() -> None:
    hints = get_type_hints(Transformer.__init__)
    named = {name: get_args(hint) for name, hint in hints.items() if _is_choice(hint)}
    assert named == CHOICES


def _is_choice(hint: object) -> bool:
    return bool(get_args(hint)) and all(isinstance(one, str) for one in get_args(hint))
