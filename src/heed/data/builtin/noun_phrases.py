"""Noun phrases in both languages at once: determiner, adjectives and noun, in gender and case."""

from __future__ import annotations

from typing import NamedTuple

from heed.data.builtin import lexicon
from heed.data.builtin.draw import Draw
from heed.data.builtin.inflection import (
    ADJECTIVES,
    FIRST,
    GENDERS,
    NOUNS,
    SECOND,
    THEY,
    THIRD,
    WE,
    Adjective,
    Noun,
    pairs,
    with_article,
)


class Phrase(NamedTuple):
    """A noun phrase: both texts, its grammatical person, gender, and whether it is definite."""

    english: str
    german: str
    person: int
    gender: str
    definite: bool


def _table(nominative: str, accusative: str, dative: str) -> dict[str, dict[str, str]]:
    """Forms by case, then by gender m f n p; "-" is no ending."""
    rows = {"nom": nominative, "acc": accusative, "dat": dative}
    return {
        case: dict(zip(GENDERS, (form.strip("-") for form in row.split()), strict=True))
        for case, row in rows.items()
    }


DEFINITE = _table("der die das die", "den die das die", "dem der dem den")
EIN_ENDINGS = _table("- e - e", "en e - e", "em er em en")
DER_ENDINGS = _table("er e es e", "en e es e", "em er em en")
WEAK = _table("e e e en", "en e e en", "en en en en")
MIXED = _table("er e es en", "en e es en", "en en en en")
STRONG = DER_ENDINGS

POSSESSIVES = (
    ("my", "mein"),
    ("your", "dein"),
    ("his", "sein"),
    ("her", "ihr"),
    ("our", "unser"),
    ("their", "ihr"),
)
# English subject, object; German nominative, accusative, dative; person, gender.
PRONOUNS = (
    ("I", "me", "ich", "mich", "mir", FIRST, "m"),
    ("you", "you", "du", "dich", "dir", SECOND, "m"),
    ("he", "him", "er", "ihn", "ihm", THIRD, "m"),
    ("she", "her", "sie", "sie", "ihr", THIRD, "f"),
    ("we", "us", "wir", "uns", "uns", WE, "p"),
    ("they", "them", "sie", "sie", "ihnen", THEY, "p"),
)
NUMBERS = pairs(lexicon.NUMBERS)
NAMES = tuple(lexicon.NAMES.split())
INTENSIFIERS = (("very", "sehr"), ("really", "wirklich"), ("quite", "ziemlich"))

# What determines a noun, and how often; those that may not be negated are told apart by name.
DETERMINERS = (
    ("definite",) * 7
    + ("indefinite",) * 5
    + ("possessive",) * 4
    + (
        "this",
        "these",
        "every",
        "number",
        "bare",
        "definite_plural",
        "definite_plural",
        "possessive_plural",
    )
)
MASS_DETERMINERS = ("bare",) * 4 + ("definite",) * 3 + ("possessive",)
SPECIFIC = ("definite", "definite", "definite", "possessive", "this", "these", "definite_plural")
_PLURALS = frozenset(("these", "number", "bare", "definite_plural", "possessive_plural"))


def _is_color(adjective: Adjective) -> bool:
    return "color" in adjective.classes


def _adjectives_of(noun: Noun) -> tuple[Adjective, ...]:
    return tuple(word for word in ADJECTIVES if word.classes & noun.classes)


ADJECTIVES_OF = {noun: _adjectives_of(noun) for noun in NOUNS}
_COLORS_OF = {noun: tuple(filter(_is_color, ADJECTIVES_OF[noun])) for noun in NOUNS}


def determiner_for(draw: Draw, noun: Noun, *, specific: bool = False) -> str:
    """A determiner that this noun can have; a specific one names known things."""
    if not noun.plural:
        return "definite" if specific else draw.pick(MASS_DETERMINERS)
    return draw.pick(SPECIFIC if specific else DETERMINERS)


def _modifiers(draw: Draw, noun: Noun, ending: str, chance: float) -> tuple[str, str]:
    """Adjectives before the noun, each with a trailing space, or two empty texts."""
    if not ADJECTIVES_OF[noun] or not draw.chance(chance):
        return "", ""
    first = draw.pick(ADJECTIVES_OF[noun])
    english, german = f"{first.english} ", f"{first.stem}{ending} "
    if first.comparative and draw.chance(0.12):
        very, sehr = draw.pick(INTENSIFIERS)
        return f"{very} {english}", f"{sehr} {german}"
    if _COLORS_OF[noun] and not _is_color(first) and draw.chance(0.2):
        color = draw.pick(_COLORS_OF[noun])
        return f"{english}{color.english} ", f"{german}{color.stem}{ending} "
    return english, german


def noun_phrase(
    draw: Draw, noun: Noun, case: str, determiner: str, *, adjectives: float = 0.35
) -> Phrase:
    """The noun with this determiner, in this case, with adjectives at the given chance.

    Determiner "none" is the negative one (German "kein", English "a" or "any").
    """
    mass = not noun.plural
    # What a negative determiner stands for: "kein Auto" or "keine Autos".
    plural = not mass and (draw.chance(0.3) if determiner == "none" else determiner in _PLURALS)
    gender = "p" if plural else noun.gender
    person = THEY if plural else THIRD
    english_noun = noun.english_plural if plural else noun.english
    german_noun = noun.form(gender, case)
    endings, german, english = WEAK, "", ""
    kind = determiner.removesuffix("_plural")
    if kind == "definite":
        german, english = DEFINITE[case][gender], "the "
    elif kind in ("this", "these"):
        german, english = "dies" + DER_ENDINGS[case][gender], f"{kind} "
    elif kind == "every":
        german, english = "jed" + DER_ENDINGS[case][gender], "every "
    elif kind == "number":
        (english, german), endings = draw.pick(NUMBERS), STRONG
        english += " "
    elif kind == "bare":
        endings = STRONG
    else:
        endings = MIXED
        if kind == "possessive":
            english, german = draw.pick(POSSESSIVES)
            english += " "
        else:
            german = "kein" if kind == "none" else "ein"
            english = "any " if plural or mass else ""
        german += EIN_ENDINGS[case][gender]
    more_english, more_german = _modifiers(draw, noun, endings[case][gender], adjectives)
    text = f"{english}{more_english}{english_noun}"
    if kind in ("indefinite", "none") and not english:
        text = with_article(text)
    definite = kind in ("definite", "possessive", "this", "these")
    return Phrase(text, f"{german} {more_german}{german_noun}".lstrip(), person, gender, definite)


def pronoun(draw: Draw, case: str) -> Phrase:
    """A personal pronoun in this case."""
    subject, other, nominative, accusative, dative, person, gender = draw.pick(PRONOUNS)
    german = {"nom": nominative, "acc": accusative, "dat": dative}[case]
    return Phrase(subject if case == "nom" else other, german, person, gender, True)


def name(draw: Draw) -> Phrase:
    """A first name; the same in every case."""
    text = draw.pick(NAMES)
    return Phrase(text, text, THIRD, "m", True)


CONTRACTIONS = {
    ("in", "dem"): "im",
    ("in", "das"): "ins",
    ("zu", "dem"): "zum",
    ("zu", "der"): "zur",
    ("von", "dem"): "vom",
    ("an", "dem"): "am",
    ("an", "das"): "ans",
}


def prepositional(preposition: str, phrase: str) -> str:
    """A German preposition before its phrase, contracted with the article where it must be."""
    article, _, rest = phrase.partition(" ")
    contracted = CONTRACTIONS.get((preposition, article))
    return f"{contracted} {rest}" if contracted and rest else f"{preposition} {phrase}"
