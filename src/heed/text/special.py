"""Special tokens: which token plays which role in a vocabulary somebody else made."""

from __future__ import annotations

from collections.abc import Mapping

from heed.errors import UserError, nearest

ROLES = ("pad", "unk", "bos", "eos", "sep", "cls", "mask")
NEEDED = ("pad", "bos", "eos", "sep", "cls")

OWN_TOKENS = {role: f"<{role}>" for role in ROLES}  # their ids are their places: pad 0, unk 1, ...

# The names each role has in published vocabularies, best first.
NAMES = {
    "pad": ("<pad>", "[PAD]", "<|pad|>", "<|padding|>"),
    "unk": ("<unk>", "[UNK]", "<|unk|>"),
    "bos": ("<bos>", "<s>", "[BOS]", "<|startoftext|>", "<|begin_of_text|>", "<|endoftext|>"),
    "eos": ("<eos>", "</s>", "[EOS]", "<|endoftext|>", "<|end_of_text|>"),
    "sep": ("<sep>", "[SEP]"),
    "cls": ("<cls>", "[CLS]"),
    "mask": ("<mask>", "[MASK]"),
}

# A role with no token of its own is played by another's. BERT has no bos and eos but [CLS] and
# [SEP]; RoBERTa and BART no [CLS] and [SEP] but <s> and </s>; T5 and Marian start a target with
# their padding; GPT-2 has one token for everything. Padding may share a token because batches know
# their lengths.
STAND_INS = (
    ("bos", "cls"),
    ("eos", "sep"),
    ("pad", "eos"),
    ("bos", "pad"),
    ("cls", "bos"),
    ("sep", "eos"),
)


def find_special_tokens(
    vocabulary: Mapping[str, int], given: Mapping[str, str], *, name: str
) -> dict[str, str]:
    """The token of every role.

    Args:
        vocabulary: Token -> id.
        given: Role -> token, known already.
        name: What the user calls the tokenizer, for messages.

    Returns:
        Role -> token for all of `NEEDED`, and for unk and mask if there are such tokens.

    Raises:
        UserError: If a given token is not in the vocabulary, or a needed role has no token.
    """
    for role, token in given.items():
        if role not in ROLES:
            raise UserError(
                f"tokenizer.special_tokens must name roles ({', '.join(ROLES)}), but has {role!r}",
                nearest(role, ROLES),
            )
        if token not in vocabulary:
            raise UserError(
                f"tokenizer.special_tokens.{role} must be in the vocabulary of {name}, "
                f"but {token!r} is not"
            )
    found = {
        role: next((token for token in NAMES[role] if token in vocabulary), None) for role in ROLES
    }
    found.update(given)
    for role, other in STAND_INS:
        found[role] = found[role] or found[other]
    missing = [role for role in NEEDED if found[role] is None]
    if missing:
        raise UserError(
            f"{name} must have special tokens for padding, start and end, but none of its tokens "
            f"is known to be {' or '.join(missing)}",
            f"name them: tokenizer.special_tokens.{missing[0]}=TOKEN",
        )
    return {role: token for role, token in found.items() if token is not None}
