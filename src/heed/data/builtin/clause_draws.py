"""Drawing clauses: a verb with its key noun, and what may stand around them."""

from __future__ import annotations

from heed.data.builtin import lexicon
from heed.data.builtin.clause_pairs import (
    COSTING,
    EXISTING,
    QUALITY_PAIRS,
    VERB_PAIRS,
    combination_of,
)
from heed.data.builtin.clauses import Clause, Pair, joined
from heed.data.builtin.draw import Combination, Draw, Split
from heed.data.builtin.inflection import (
    ADJECTIVES,
    FIRST,
    HAVE,
    MODALS,
    NOUNS,
    PAST,
    PRESENT,
    THEY,
    THIRD,
    WE,
    Noun,
    Tense,
    Verb,
    pairs,
)
from heed.data.builtin.noun_phrases import (
    ADJECTIVES_OF,
    INTENSIFIERS,
    Phrase,
    determiner_for,
    name,
    noun_phrase,
    prepositional,
    pronoun,
)

TIMES = {times: pairs(table) for times, table in lexicon.TIMES.items()}
FREQUENCIES = pairs(lexicon.FREQUENCIES)
PRICES = pairs(lexicon.PRICES)
PERSONS = tuple(noun for noun in NOUNS if "person" in noun.classes)
PLACES = tuple(noun for noun in NOUNS if "place" in noun.classes)
FURNITURE = tuple(noun for noun in NOUNS if "furniture" in noun.classes)
DIRECTIONS = (("into", "in", "acc"), ("to", "zu", "dat"), ("out of", "aus", "dat"))
INSIDE = (("in", "in"),)
AT = (*INSIDE, ("in front of", "vor"), ("behind", "hinter"))
ON = (("on", "auf"), ("on", "auf"), ("under", "unter"), ("next to", "neben"), ("behind", "hinter"))
DEGREES = (*INTENSIFIERS, ("too", "zu"))
_WE_ALL = (FIRST, WE)


def _unowned(english: str, third: str, past: str, finite: str, infinitive: str) -> Verb:
    """A verb outside the table: "cost" and "there is"; they have no key nouns of their own."""
    forms = (finite,) * 5
    rest = ("", "", "", frozenset(("stative",)), (), ())
    return Verb(infinitive, "", forms, "gekostet", HAVE, english, third, past, *rest)


COST = _unowned("cost", "costs", "cost", "kostet", "kosten")._replace(
    finite=("koste", "kostest", "kostet", "kosten", "kosten")
)
THERE_IS = _unowned("be", "is", "", "gibt", "geben")
THERE_ARE = _unowned("be", "are", "", "gibt", "geben")
THERE_WAS = _unowned("be", "was", "", "gab", "geben")
THERE_WERE = _unowned("be", "were", "", "gab", "geben")


# Nouns that share an adjective, for comparisons.
COMPARABLE = {
    word: tuple(noun for noun in NOUNS if word in ADJECTIVES_OF[noun]) for word in ADJECTIVES
}


def draw_tense(draw: Draw) -> Tense:
    """The present, the past, or at times a modal."""
    kind = draw.random()
    if kind < 0.4:
        return PRESENT
    return PAST if kind < 0.75 else draw.pick(MODALS)


def draw_clause(
    draw: Draw,
    side: Split,
    tense: Tense,
    *,
    time: float = 0.4,
    negation: float = 0.15,
    plain_place: bool = True,
) -> Clause:
    """A clause of any kind, all of whose combinations belong to `side`.

    Args:
        draw: Where the choices come from.
        side: The split whose combinations it may hold.
        tense: Its tense; replaced where the verb cannot have it.
        time: How often it says when.
        negation: How often it is negated.
        plain_place: Whether it may say where or with whom, where the verb does not ask for it.
    """
    kind = draw.random()
    if kind < 0.13:
        return _quality(draw, side, tense, draw.chance(negation))
    if kind < 0.16:
        return _cost(draw, side, tense)
    if kind < 0.19:
        return _existence(draw, side, tense)
    verb, nouns = draw.pick(VERB_PAIRS[side])
    return verb_clause(
        draw, side, tense, verb, draw.pick(nouns), time=time, negation=negation, place=plain_place
    )


def verb_clause(
    draw: Draw,
    side: Split,
    tense: Tense,
    verb: Verb,
    noun: Noun,
    *,
    time: float = 0.4,
    negation: float = 0.15,
    place: bool = True,
    subject: Phrase | None = None,
    adjectives: float = 0.35,
) -> Clause:
    """A clause of this verb with this key noun; the subject is drawn unless given."""
    if "stative" in verb.flags and tense.modal is not None:
        tense = PAST if tense.times == "past" else PRESENT
    negated = draw.chance(negation)
    if subject is None:
        subject = draw_subject(draw, side, verb, noun, specific=negated)
    clause = Clause(subject, verb, tense, negated, negated, combination_of(verb, noun))
    _ARGUMENTS[verb.pattern](draw, side, clause, verb, noun, adjectives)
    if verb.pattern in ("intransitive", "that") and subject.gender == "":
        clause.combination = None
    if place and verb.pattern in ("acc", "intransitive") and "stative" not in verb.flags:
        _circumstance(draw, clause, verb, noun)
    lasts = "stative" in verb.flags and tense is PRESENT
    if draw.chance(time) and not lasts:
        times = TIMES[tense.times]
        # "Every day he does not ..." says little: what does not happen does so today.
        clause.time = times[0] if negated and tense is PRESENT else draw.pick(times)
    elif not negated and not lasts and tense.modal is None and draw.chance(0.15):
        clause.frequency = draw.pick(FREQUENCIES)
    return clause


def draw_subject(draw: Draw, side: Split, verb: Verb, noun: Noun, *, specific: bool) -> Phrase:
    """A subject the verb can have; the key noun where the subject is the key slot.

    Pronouns and names have gender "" so that a caller can tell them from nouns.
    """
    is_key = not verb.subjects
    if side == "train" or not is_key:
        nouns = verb.nouns if is_key else verb.subjects
        kind = draw.random() if "person" in nouns[0].classes else 1.0
        if kind < 0.25:
            return pronoun(draw, "nom")._replace(gender="")
        if kind < 0.4:
            return name(draw)._replace(gender="")
    if not is_key:
        noun = draw.pick(verb.subjects)
    determiner = determiner_for(draw, noun, specific=specific)
    return noun_phrase(draw, noun, "nom", "definite" if determiner == "bare" else determiner)


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


def _where(draw: Draw, noun: Noun, ways: tuple[Pair, ...], case: str) -> Pair:
    """A prepositional phrase about a place or a piece of furniture."""
    english, german = draw.pick(ways)
    determiner = draw.pick(("definite", "definite", "definite", "possessive", "indefinite"))
    phrase = noun_phrase(draw, noun, case, determiner, adjectives=0.25)
    return f"{english} {phrase.english}", prepositional(german, phrase.german)


def _ways(noun: Noun) -> tuple[Pair, ...]:
    if "furniture" in noun.classes:
        return ON
    return AT if "building" in noun.classes else INSIDE


def _location(
    draw: Draw, side: Split, clause: Clause, verb: Verb, noun: Noun, adjectives: float
) -> None:
    ways = INSIDE if verb.english in ("live", "work") else _ways(noun)
    clause.english_complement, clause.complement = _where(draw, noun, ways, "dat")


def _direction(
    draw: Draw, side: Split, clause: Clause, verb: Verb, noun: Noun, adjectives: float
) -> None:
    english, german, case = draw.pick(DIRECTIONS)
    way = ((english, german),)
    clause.english_complement, clause.complement = _where(draw, noun, way, case)


def _putting(
    draw: Draw, side: Split, clause: Clause, verb: Verb, noun: Noun, adjectives: float
) -> None:
    phrase = _object(draw, side, clause, verb, noun, "acc", adjectives)
    clause.english_objects, clause.objects = phrase.english, phrase.german
    where = _where(draw, draw.pick(FURNITURE), ON, "acc")
    clause.english_complement, clause.complement = where


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


_ARGUMENTS = {
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


def _circumstance(draw: Draw, clause: Clause, verb: Verb, noun: Noun) -> None:
    """At times, with whom or where."""
    kind = draw.random()
    if kind < 0.08:
        person = draw.pick(PERSONS)
        phrase = noun_phrase(draw, person, "dat", draw.pick(("possessive", "definite")))
        clause.english_complement = f"with {phrase.english}"
        clause.complement = prepositional("mit", phrase.german)
    elif kind < 0.3 and "place" not in noun.classes:
        place = draw.pick(PLACES)
        clause.english_complement, clause.complement = _where(draw, place, _ways(place), "dat")


def _quality(draw: Draw, side: Split, tense: Tense, negated: bool) -> Clause:
    """ "The house is too old", "The house is older than the car"."""
    tense = PAST if tense.times == "past" else PRESENT
    noun, words = draw.pick(QUALITY_PAIRS[side])
    word = draw.pick(words)
    combination: Combination | None = ("is", noun.singular, word.base)
    kind = draw.random() if side == "train" and "person" in noun.classes else 1.0
    if kind < 0.3:
        subject, combination = pronoun(draw, "nom"), None
    elif kind < 0.4:
        subject, combination = name(draw), None
    else:
        determiner = determiner_for(draw, noun, specific=True)
        subject = noun_phrase(draw, noun, "nom", determiner, adjectives=0.1)
    english, german = word.english, word.base
    if word.comparative and draw.chance(0.3):
        other = draw.pick(COMPARABLE[word])
        than = noun_phrase(draw, other, "nom", determiner_for(draw, other, specific=True))
        english = f"{word.english_comparative} than {than.english}"
        german = f"{word.comparative} als {than.german}"
    elif word.comparative and draw.chance(0.5):
        more, mehr = DEGREES[0] if negated else draw.pick(DEGREES)
        english, german = f"{more} {english}", f"{mehr} {german}"
    return Clause(
        subject,
        None,
        tense,
        negated,
        negated,
        combination,
        english_complement=english,
        complement=german,
    )


def _cost(draw: Draw, side: Split, tense: Tense) -> Clause:
    tense = PAST if tense.times == "past" else PRESENT
    noun = draw.pick(COSTING[side])
    subject = noun_phrase(draw, noun, "nom", determiner_for(draw, noun, specific=True))
    english, german = draw.pick(PRICES)
    return Clause(
        subject,
        COST,
        tense,
        False,
        False,
        ("costs", noun.singular),
        english_complement=f"{english} euros",
        complement=f"{german} Euro",
    )


def _existence(draw: Draw, side: Split, tense: Tense) -> Clause:
    noun = draw.pick(EXISTING[side])
    determiner = draw.pick(("indefinite", "indefinite", "number"))
    what = noun_phrase(draw, noun, "acc", determiner)
    place = draw.pick(PLACES)
    english, german = _where(draw, place, _ways(place), "dat")
    if tense.times == "past":
        verb = THERE_WERE if what.person == THEY else THERE_WAS
    else:
        verb = THERE_ARE if what.person == THEY else THERE_IS
    return Clause(
        Phrase("there", "es", THIRD, "", False),
        verb,
        PRESENT,
        False,
        False,
        ("there is", noun.singular),
        english_objects=what.english,
        english_complement=english,
        objects=what.german,
        complement=german,
    )
