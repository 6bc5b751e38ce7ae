"""The tokenizer that a checkpoint was trained with."""

from __future__ import annotations

from collections.abc import Sequence

from heed.errors import UserError
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.family import Family
from heed.text.added_tokens import with_added_tokens
from heed.text.template import Template
from heed.text.tokenizer import JSON_NAME, Tokenizer, TokenizerPair

BESIDE = ("tokenizer_config.json", "special_tokens_map.json")  # they tell the special tokens' roles


def pretrained_tokenizers(
    *,
    checkpoint: Checkpoint,
    family: Family,
    special_tokens: dict[str, str] | None = None,
    add_tokens: Sequence[str] = (),
) -> TokenizerPair:
    """What reads and writes for a checkpoint.

    Args:
        checkpoint: Whose tokenizer it is.
        family: Its family, which knows the rows, and how to read an older one's files.
        special_tokens: Role -> token, where neither tells.
        add_tokens: Further tokens; see `with_added_tokens`.

    Raises:
        UserError: If the checkpoint has no tokenizer that can be read.
    """
    template = Template.read(family.template_of(checkpoint.config), name=family.name)
    given = {**family.special_tokens, **(special_tokens or {})}
    path = checkpoint.find(JSON_NAME)
    for name in BESIDE:
        checkpoint.find(name)
    if path is not None:
        one = Tokenizer.load(path, special_tokens=given or None, template=template)
        return with_added_tokens(TokenizerPair(one, one), add_tokens)
    if family.tokenizers is not None:
        pair = family.tokenizers(checkpoint, template, given)
        if pair is not None:
            return with_added_tokens(pair, add_tokens)
    raise UserError(
        f"model.pretrained={checkpoint.name} must hold a {JSON_NAME}, but has none",
        "save its fast tokenizer beside it with save_pretrained(), "
        "or give one: tokenizer=file tokenizer.path=FILE",
    )
