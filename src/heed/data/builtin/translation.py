"""An English-German synchronous grammar: one derivation, said in both languages.

German asks for what English does not say: gender, case and adjective endings, the verb second, last
or split in two, separable prefixes, "kein" or "nicht", "wenn" or "als", dative or accusative after
the same preposition. Held out: pairs of a verb and the noun of its key slot (its object, else its
place, else its subject) and of a noun and its predicate adjective.
"""

from __future__ import annotations

from heed.data.builtin.clause_draws import COST, draw_clause, draw_tense, verb_clause
from heed.data.builtin.clause_pairs import OBJECT_PAIRS, THAT_PAIRS, combination_of
from heed.data.builtin.clauses import Clause
from heed.data.builtin.draw import SPLITS, Draw, Example, Split
from heed.data.builtin.inflection import (
    MODALS,
    PAST,
    PRESENT,
    THEY,
    THIRD,
    Noun,
    Tense,
    Verb,
)
from heed.data.builtin.noun_phrases import DEFINITE, DER_ENDINGS, Phrase, noun_phrase

SHORTEST, LONGEST = 4, 25
# English, German, and the times it can speak of.
CONJUNCTIONS = (
    ("because", "weil", "any"),
    ("because", "weil", "any"),
    ("although", "obwohl", "any"),
    ("although", "obwohl", "any"),
    ("if", "wenn", "present"),
    ("when", "wenn", "present"),
    ("when", "als", "past"),
    ("before", "bevor", "present"),
    ("before", "bevor", "past"),
    ("while", "während", "present"),
    ("as soon as", "sobald", "present"),
)
PAST_MODALS = tuple(tense for tense in MODALS if tense.times == "past")
PRESENT_MODALS = tuple(tense for tense in MODALS if tense.times == "future")


def _verbs_of(side: Split) -> dict[str, tuple[Verb, ...]]:
    """By direct object: the verbs it may have in this split."""
    by_noun: dict[str, list[Verb]] = {}
    for verb, nouns in OBJECT_PAIRS[side]:
        for noun in nouns:
            by_noun.setdefault(noun.singular, []).append(verb)
    return {noun: tuple(verbs) for noun, verbs in by_noun.items()}


VERBS_OF_OBJECT = {side: _verbs_of(side) for side in SPLITS}


class Sentence:
    """Both texts, still with loose commas, and the clauses they were made of."""

    __slots__ = ("clauses", "english", "german", "mark")

    def __init__(self, english: str, german: str, clauses: list[Clause], mark: str = ".") -> None:
        self.english = english
        self.german = german
        self.clauses = clauses
        self.mark = mark


def compose(draw: Draw, side: Split, index: int) -> Example:
    """One sentence pair whose combinations all belong to `side`; 4 to 25 English words."""
    while True:
        kind = draw.random()
        if kind < 0.34:
            sentence = _statement(draw, side)
        elif kind < 0.44:
            sentence = _with_relative(draw, side)
        elif kind < 0.6:
            sentence = _question(draw, side)
        elif kind < 0.8:
            sentence = _with_subordinate(draw, side)
        elif kind < 0.91:
            sentence = _reported(draw, side)
        else:
            sentence = _coordinated(draw, side)
        english = finished(sentence.english, sentence.mark)
        if SHORTEST <= english.count(" ") + 1 <= LONGEST:
            break
    german = finished(sentence.german, sentence.mark)
    combinations = (clause.combination for clause in sentence.clauses)
    return Example(
        {"source": english, "target": german, "references": [german]},
        tuple(combination for combination in combinations if combination is not None),
        english,
    )


def finished(text: str, mark: str) -> str:
    """A sentence from words and loose commas: capital first, commas closed up, final mark."""
    text = f"{text}{mark}".replace(" ,", ",").replace(",,", ",").replace("," + mark, mark)
    return text[0].upper() + text[1:]


def _spoken(draw: Draw, clause: Clause) -> tuple[str, str]:
    """A main clause, at times with its time first."""
    if clause.time is not None and draw.chance(0.5):
        return clause.english(front=True), clause.german(front=clause.time[1])
    return clause.english(), clause.german()


def _statement(draw: Draw, side: Split) -> Sentence:
    clause = draw_clause(draw, side, draw_tense(draw), time=0.5)
    return Sentence(*_spoken(draw, clause), [clause])


def _question(draw: Draw, side: Split) -> Sentence:
    kind = draw.random()
    if kind < 0.15:
        return _which(draw, side)
    tense = draw_tense(draw)
    if kind < 0.3:
        return _who(draw, side, tense)
    lead, german_lead = "", ""
    if kind < 0.45:
        lead, german_lead = "why", "warum"
    elif kind < 0.57:
        lead, german_lead = "when", "wann"
    elif kind < 0.7:
        lead, german_lead = "where", "wo"
    negation = 0.0 if lead in ("when", "where") else 0.1
    while True:
        timed = 0.0 if lead == "when" else 0.3
        clause = draw_clause(
            draw, side, tense, time=timed, negation=negation, plain_place=lead != "where"
        )
        located = lead == "where" and clause.complement
        stated = lead in ("when", "where") and clause.verb in (None, COST)
        if not located and not stated and clause.subject.english != "there":
            break
    clause.frequency = None
    return Sentence(
        clause.english_question(lead), clause.german_question(german_lead), [clause], "?"
    )


def _which(draw: Draw, side: Split) -> Sentence:
    """ "Which book does the man read?": the object asked for."""
    verb, nouns = draw.pick(OBJECT_PAIRS[side])
    noun = draw.pick(nouns)
    clause = verb_clause(draw, side, draw_tense(draw), verb, noun, negation=0.0)
    clause.combination = combination_of(verb, noun)
    clause.pronoun, clause.frequency = "", None
    plural = bool(noun.plural) and draw.chance(0.3)
    gender = "p" if plural else noun.gender
    english = f"which {noun.english_plural if plural else noun.english}"
    german = f"welch{DER_ENDINGS['acc'][gender]} {noun.form(gender, 'acc')}"
    return Sentence(
        clause.english_question(english, objects=False),
        clause.german_question(german, objects=False),
        [clause],
        "?",
    )


def _who(draw: Draw, side: Split, tense: Tense) -> Sentence:
    verb, nouns = draw.pick(OBJECT_PAIRS[side])
    while "person" not in verb.subjects[0].classes:
        verb, nouns = draw.pick(OBJECT_PAIRS[side])
    who = Phrase("who", "wer", THIRD, "", True)
    clause = verb_clause(draw, side, tense, verb, draw.pick(nouns), negation=0.05, subject=who)
    return Sentence(clause.english(), clause.german(), [clause], "?")


def _with_relative(draw: Draw, side: Split) -> Sentence:
    """A statement with a relative clause on its object or its subject."""
    verb, nouns = draw.pick(OBJECT_PAIRS[side])
    noun = draw.pick(nouns)
    clause = verb_clause(draw, side, draw_tense(draw), verb, noun, negation=0.0, adjectives=0.2)
    verbs = VERBS_OF_OBJECT[side][noun.singular]
    if clause.objects and len(verbs) > 1 and draw.chance(0.5):
        other = _relative_on_object(draw, side, clause, noun, draw.pick_other(verbs, verb))
    else:
        other = _relative_on_subject(draw, side, clause, verb)
    return Sentence(*_spoken(draw, clause), [clause, other])


def _relative_on_object(draw: Draw, side: Split, clause: Clause, noun: Noun, verb: Verb) -> Clause:
    """ "... the book that the woman bought": the clause lacks the object it hangs on."""
    plural = bool(noun.plural) and draw.chance(0.3)
    gender = "p" if plural else noun.gender
    determiner = "definite_plural" if plural else "definite"
    phrase = noun_phrase(draw, noun, "acc", determiner, adjectives=0.2)
    inner = verb_clause(
        draw, side, draw.pick((PRESENT, PAST, PAST)), verb, noun, time=0.15, negation=0.0
    )
    inner.combination = combination_of(verb, noun)
    inner.pronoun = inner.english_complement = inner.complement = ""
    link = "whom" if "person" in noun.classes else "that"
    clause.english_objects = f"{phrase.english} {link} {inner.english(objects=False)}"
    final = inner.german_final(objects=False)
    clause.objects = f"{phrase.german} , {DEFINITE['acc'][gender]} {final} ,"
    return inner


def _relative_on_subject(draw: Draw, side: Split, clause: Clause, verb: Verb) -> Clause:
    """ "The man who buys the book ..."."""
    noun = draw.pick(verb.subjects)
    plural = draw.chance(0.3)
    gender = "p" if plural else noun.gender
    determiner = "definite_plural" if plural else draw.pick(("definite", "definite", "indefinite"))
    head = noun_phrase(draw, noun, "nom", determiner, adjectives=0.2)
    link = "who" if "person" in noun.classes else "that"
    who = Phrase(link, DEFINITE["nom"][gender], THEY if plural else THIRD, gender, True)
    while True:
        other, nouns = draw.pick(OBJECT_PAIRS[side])
        if noun in other.subjects:
            break
    tense = draw.pick((PRESENT, PRESENT, PAST))
    inner = verb_clause(
        draw,
        side,
        tense,
        other,
        draw.pick(nouns),
        time=0.1,
        negation=0.1,
        place=False,
        subject=who,
        adjectives=0.2,
    )
    clause.subject = Phrase(
        f"{head.english} {inner.english()}",
        f"{head.german} , {inner.german_final()} ,",
        head.person,
        gender,
        True,
    )
    return inner


def _with_subordinate(draw: Draw, side: Split) -> Sentence:
    conjunction, german_conjunction, times = draw.pick(CONJUNCTIONS)
    if times == "any":
        tense, inner_tense = draw_tense(draw), draw_tense(draw)
    elif times == "past":
        tense, inner_tense = draw.pick((PAST, PAST, draw.pick(PAST_MODALS))), PAST
    else:
        tense, inner_tense = draw.pick((PRESENT, draw.pick(PRESENT_MODALS))), PRESENT
    clause = draw_clause(draw, side, tense, time=0.15, negation=0.12)
    # "Before he does not ...", "as soon as he always ..." make no sense.
    states = conjunction in ("because", "although", "if")
    negation = 0.12 if states else 0.0
    inner = draw_clause(draw, side, inner_tense, time=0.12, negation=negation)
    if not states:
        inner.frequency = None
    english = f"{conjunction} {inner.english()}"
    german = f"{german_conjunction} {inner.german_final()} ,"
    if draw.chance(0.45):
        return Sentence(
            f"{english} , {clause.english()}", clause.german(front=german), [clause, inner]
        )
    english, german = f"{clause.english()} {english}", f"{clause.german()} , {german}"
    return Sentence(english, german, [clause, inner])


def _reported(draw: Draw, side: Split) -> Sentence:
    """ "The man says that ...", as a statement or a question."""
    past = draw.chance(0.45)
    verb, nouns = draw.pick(THAT_PAIRS[side])
    outer = verb_clause(
        draw, side, PAST if past else PRESENT, verb, draw.pick(nouns), time=0.15, negation=0.12
    )
    tense = draw.pick((PAST, PAST, draw.pick(PAST_MODALS))) if past else draw_tense(draw)
    inner = draw_clause(draw, side, tense, time=0.2, negation=0.12)
    german_inner = f", dass {inner.german_final()}"
    if draw.chance(0.15):
        outer.frequency = None
        english, german, mark = outer.english_question(), outer.german_question(), "?"
    else:
        english, german, mark = outer.english(), outer.german(), "."
    return Sentence(
        f"{english} that {inner.english()}", f"{german} {german_inner}", [outer, inner], mark
    )


def _coordinated(draw: Draw, side: Split) -> Sentence:
    """Two main clauses: "und" needs no comma, "aber" does."""
    word, german_word = draw.pick((("and", "und"), ("but", ", aber")))
    first = draw_clause(draw, side, draw_tense(draw), time=0.3)
    second = draw_clause(draw, side, draw_tense(draw), time=0.2)
    english, german = _spoken(draw, first)
    return Sentence(
        f"{english} , {word} {second.english()}",
        f"{german} {german_word} {second.german()}",
        [first, second],
    )
