"""What a verb asks for beside its subject: objects, places, directions, and free circumstances."""

from __future__ import annotations

from heed.data.builtin.clauses import Clause, Pair, joined
from heed.data.builtin.draw import Draw, Split
from heed.data.builtin.inflection import FIRST, NOUNS, THEY, THIRD, WE, Noun, Verb
from heed.data.builtin.noun_phrases import (
    Phrase,
    determiner_for,
    name,
    noun_phrase,
    prepositional,
    pronoun,
)

PERSONS = tuple(noun for noun in NOUNS if "person" in noun.classes)
PLACES = tuple(noun for noun in NOUNS if "place" in noun.classes)
FURNITURE = tuple(noun for noun in NOUNS if "furniture" in noun.classes)
DIRECTIONS = (("into", "in", "acc"), ("to", "zu", "dat"), ("out of", "aus", "dat"))
INSIDE = (("in", "in"),)
AT = (*INSIDE, ("in front of", "vor"), ("behind", "hinter"))
ON = (("on", "auf"), ("on", "auf"), ("under", "unter"), ("next to", "neben"), ("behind", "hinter"))
_WE_ALL = (FIRST, WE)


def _object(
    draw: Draw, side: Split, clause: Clause, verb: Verb, noun: Noun, case: str, adjectives: float
) -> Phrase:
    """The object: a noun, or in training at times a pronoun or name. It may turn on "kein"."""
    if "pronoun" in verb.flags and side == "train" and draw.chance(0.3):
        clause.combination = None
        if "person" in noun.classes and draw.chance(0.3):
            return name(draw)
        return _other_pronoun(draw, clause.subject, case)
    if clause.negated and verb.pattern in ("acc", "give", "put") and draw.chance(0.4):
        clause.german_not = False
        return noun_phrase(draw, noun, case, "none", adjectives=adjectives)
    determiner = determiner_for(draw, noun, specific=clause.negated)
    return noun_phrase(draw, noun, case, determiner, adjectives=adjectives)


def _other_pronoun(draw: Draw, subject: Phrase, case: str) -> Phrase:
    """A pronoun that does not speak of the subject again ("I see me")."""
    while True:
        phrase = pronoun(draw, case)._replace(gender="")
        taken = phrase.person == subject.person and phrase.person not in (THIRD, THEY)
        if not taken and not (phrase.person in _WE_ALL and subject.person in _WE_ALL):
            return phrase


def _direct(
    draw: Draw, side: Split, clause: Clause, verb: Verb, noun: Noun, adjectives: float
) -> None:
    case = verb.pattern
    phrase = _object(draw, side, clause, verb, noun, case, adjectives)
    clause.english_objects = phrase.english
    if phrase.gender:
        clause.objects = phrase.german
    else:
        clause.pronoun = phrase.german


def _prepositional_object(
    draw: Draw, side: Split, clause: Clause, verb: Verb, noun: Noun, adjectives: float
) -> None:
    phrase = _object(draw, side, clause, verb, noun, verb.case, adjectives)
    clause.english_complement = phrase.english
    clause.complement = prepositional(verb.preposition, phrase.german)


def where(draw: Draw, noun: Noun, ways: tuple[Pair, ...], case: str) -> Pair:
    """A prepositional phrase about a place or a piece of furniture."""
    english, german = draw.pick(ways)
    determiner = draw.pick(("definite", "definite", "definite", "possessive", "indefinite"))
    phrase = noun_phrase(draw, noun, case, determiner, adjectives=0.25)
    return f"{english} {phrase.english}", prepositional(german, phrase.german)


def ways_at(noun: Noun) -> tuple[Pair, ...]:
    if "furniture" in noun.classes:
        return ON
    return AT if "building" in noun.classes else INSIDE


def _location(
    draw: Draw, side: Split, clause: Clause, verb: Verb, noun: Noun, adjectives: float
) -> None:
    ways = INSIDE if verb.english in ("live", "work") else ways_at(noun)
    clause.english_complement, clause.complement = where(draw, noun, ways, "dat")


def _direction(
    draw: Draw, side: Split, clause: Clause, verb: Verb, noun: Noun, adjectives: float
) -> None:
    english, german, case = draw.pick(DIRECTIONS)
    way = ((english, german),)
    clause.english_complement, clause.complement = where(draw, noun, way, case)


def _putting(
    draw: Draw, side: Split, clause: Clause, verb: Verb, noun: Noun, adjectives: float
) -> None:
    phrase = _object(draw, side, clause, verb, noun, "acc", adjectives)
    clause.english_objects, clause.objects = phrase.english, phrase.german
    furniture = draw.pick(FURNITURE)
    clause.english_complement, clause.complement = where(draw, furniture, ON, "acc")


def _giving(
    draw: Draw, side: Split, clause: Clause, verb: Verb, noun: Noun, adjectives: float
) -> None:
    kind = draw.random()
    if kind < 0.35:
        receiver = _other_pronoun(draw, clause.subject, "dat")
        clause.pronoun = receiver.german
    elif kind < 0.5:
        receiver = name(draw)
    else:
        person = draw.pick(PERSONS)
        determiner = determiner_for(draw, person, specific=True)
        receiver = noun_phrase(draw, person, "dat", determiner, adjectives=0.2)
    phrase = _object(draw, side, clause, verb, noun, "acc", adjectives)
    clause.english_objects = f"{receiver.english} {phrase.english}"
    clause.objects = joined("" if clause.pronoun else receiver.german, phrase.german)


def _nothing(
    draw: Draw, side: Split, clause: Clause, verb: Verb, noun: Noun, adjectives: float
) -> None:
    """The subject is all that the verb asks for."""


ARGUMENTS = {
    "acc": _direct,
    "dat": _direct,
    "prep": _prepositional_object,
    "location": _location,
    "motion": _direction,
    "put": _putting,
    "give": _giving,
    "intransitive": _nothing,
    "that": _nothing,
}


def add_circumstance(draw: Draw, clause: Clause, verb: Verb, noun: Noun) -> None:
    """At times, with whom or where."""
    kind = draw.random()
    if kind < 0.08:
        person = draw.pick(PERSONS)
        phrase = noun_phrase(draw, person, "dat", draw.pick(("possessive", "definite")))
        clause.english_complement = f"with {phrase.english}"
        clause.complement = prepositional("mit", phrase.german)
    elif kind < 0.3 and "place" not in noun.classes:
        place = draw.pick(PLACES)
        clause.english_complement, clause.complement = where(draw, place, ways_at(place), "dat")
