"""Drawing clauses: a verb with its key noun, and what may stand around them."""

from __future__ import annotations

from heed.data.builtin import lexicon
from heed.data.builtin.clause_arguments import (
    ARGUMENTS,
    PLACES,
    add_circumstance,
    ways_at,
    where,
)
from heed.data.builtin.clause_pairs import (
    COSTING,
    EXISTING,
    QUALITY_PAIRS,
    VERB_PAIRS,
    combination_of,
)
from heed.data.builtin.clauses import Clause
from heed.data.builtin.draw import Combination, Draw, Split
from heed.data.builtin.inflection import (
    ADJECTIVES,
    HAVE,
    MODALS,
    NOUNS,
    PAST,
    PRESENT,
    THEY,
    THIRD,
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
    pronoun,
)

TIMES = {times: pairs(table) for times, table in lexicon.TIMES.items()}
FREQUENCIES = pairs(lexicon.FREQUENCIES)
PRICES = pairs(lexicon.PRICES)
DEGREES = (*INTENSIFIERS, ("too", "zu"))


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
    ARGUMENTS[verb.pattern](draw, side, clause, verb, noun, adjectives)
    if verb.pattern in ("intransitive", "that") and subject.gender == "":
        clause.combination = None
    if place and verb.pattern in ("acc", "intransitive") and "stative" not in verb.flags:
        add_circumstance(draw, clause, verb, noun)
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
    english, german = where(draw, place, ways_at(place), "dat")
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
