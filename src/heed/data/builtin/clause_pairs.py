"""Which words may meet in which split: verbs with their key nouns, nouns with their adjectives."""

from __future__ import annotations

from heed.data.builtin.draw import SPLITS, Combination, Split, owner_of_combination
from heed.data.builtin.inflection import NOUNS, VERBS, Adjective, Noun, Verb
from heed.data.builtin.noun_phrases import ADJECTIVES_OF

PRICED = frozenset(("clothing", "vehicle", "device", "small"))
SHOWN = frozenset(("person", "animal", "thing", "vehicle", "furniture"))


def combination_of(verb: Verb, noun: Noun) -> Combination:
    """What is held out: a verb, in one of its uses, with the noun of its key slot.

    The key slot is the direct (or only) object, else the place, else the subject.
    """
    return (verb.infinitive, verb.english, verb.pattern, noun.singular)


def _verb_pairs(side: Split, *patterns: str) -> tuple[tuple[Verb, tuple[Noun, ...]], ...]:
    """Each verb of these patterns with the key nouns it may have in this split."""
    rows = []
    for verb in VERBS:
        owned = tuple(
            noun for noun in verb.nouns if owner_of_combination(*combination_of(verb, noun)) == side
        )
        if owned and (verb.pattern in patterns):
            rows.append((verb, owned))
    return tuple(rows)


def _quality_pairs(side: Split) -> tuple[tuple[Noun, tuple[Adjective, ...]], ...]:
    """Each noun with the adjectives that may be said of it in this split."""
    rows = []
    for noun in NOUNS:
        owned = tuple(
            word
            for word in ADJECTIVES_OF[noun]
            if owner_of_combination("is", noun.singular, word.base) == side
        )
        if owned:
            rows.append((noun, owned))
    return tuple(rows)


def _nouns_for(side: Split, what: str, classes: frozenset[str]) -> tuple[Noun, ...]:
    return tuple(
        noun
        for noun in NOUNS
        if noun.classes & classes and owner_of_combination(what, noun.singular) == side
    )


_PATTERNS = ("acc", "dat", "prep", "location", "intransitive", "motion", "put", "give")
VERB_PAIRS = {side: _verb_pairs(side, *_PATTERNS) for side in SPLITS}
OBJECT_PAIRS = {side: _verb_pairs(side, "acc") for side in SPLITS}
THAT_PAIRS = {side: _verb_pairs(side, "that") for side in SPLITS}
QUALITY_PAIRS = {side: _quality_pairs(side) for side in SPLITS}
COSTING = {side: _nouns_for(side, "costs", PRICED) for side in SPLITS}
EXISTING = {side: _nouns_for(side, "there is", SHOWN) for side in SPLITS}
