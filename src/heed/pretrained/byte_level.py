"""Byte-level BPE from a vocab.json and a merges.txt (Radford et al. 2019, section 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heed.pretrained.checkpoint import Checkpoint
    from heed.text.template import Template
    from heed.text.tokenizer import TokenizerPair


def byte_level_tokenizers(
    checkpoint: Checkpoint, template: Template, special_tokens: dict[str, str]
) -> TokenizerPair | None:
    """The tokenizer of an older checkpoint; None if it has no such files.

    Args:
        checkpoint: Whose it is.
        template: Its rows.
        special_tokens: Role -> token, where neither names nor the files beside tell.
    """
    vocabulary, merges = checkpoint.find("vocab.json"), checkpoint.find("merges.txt")
    if vocabulary is None or merges is None:
        return None
    from tokenizers import ByteLevelBPETokenizer

    from heed.text.special import find_special_tokens
    from heed.text.tokenizer import Tokenizer, TokenizerPair, roles_beside

    settings = checkpoint.read_json("tokenizer_config.json") or {}
    backend = ByteLevelBPETokenizer(
        str(vocabulary), str(merges), add_prefix_space=bool(settings.get("add_prefix_space", False))
    )
    known = {**roles_beside(vocabulary), **special_tokens}
    roles = find_special_tokens(backend.get_vocab(), known, name=str(vocabulary))
    backend.add_special_tokens(sorted(set(roles.values())))
    one = Tokenizer(
        backend._tokenizer, special_tokens=roles, template=template, name=str(vocabulary)
    )
    return TokenizerPair(one, one)
