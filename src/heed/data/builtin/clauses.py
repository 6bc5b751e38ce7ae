"""One clause in both languages: held in parts, then said in any word order.

English keeps subject, verb and objects together and supports negation and questions with "do".
German puts the finite verb second, first (questions) or last (subordinate clauses) and closes the
clause with the participle, the infinitive or the separable prefix.
"""

from __future__ import annotations

from dataclasses import dataclass

from heed.data.builtin.draw import Combination
from heed.data.builtin.inflection import (
    BE,
    ENGLISH_BE,
    ENGLISH_WAS,
    PAST,
    WAS,
    Tense,
    Verb,
    english_verb,
    german_verb,
)
from heed.data.builtin.noun_phrases import Phrase

Pair = tuple[str, str]


@dataclass(slots=True)
class Clause:
    """A clause before its word order is chosen. Empty texts are absent parts.

    Attributes:
        verb: None stands for "to be".
        german_not: Whether "nicht" is said (with "kein" it is not).
        combination: The held-out combination it holds, if any.
        english_objects, english_complement: What follows the English verb.
        pronoun, objects, complement: German objects that are pronouns; that are not; and what
            stands after "nicht" (prepositional phrases, predicates).
        time, frequency: In English and German.
    """

    subject: Phrase
    verb: Verb | None
    tense: Tense
    negated: bool
    german_not: bool
    combination: Combination | None
    english_objects: str = ""
    english_complement: str = ""
    pronoun: str = ""
    objects: str = ""
    complement: str = ""
    time: Pair | None = None
    frequency: Pair | None = None

    def english(self, *, front: bool = False, objects: bool = True) -> str:
        """The clause as a statement; `front` says the time first."""
        auxiliary, finite, bare = self._english_verb()
        if self.negated:
            group = f"cannot {bare}" if auxiliary == "can" else f"{auxiliary} not {bare}".rstrip()
        else:
            group = f"{self.frequency[0]} {finite}" if self.frequency else finite
        time = self.time[0] if self.time else ""
        return joined(
            time if front else "",
            self.subject.english,
            group,
            self.english_objects if objects else "",
            self.english_complement,
            "" if front else time,
        )

    def english_question(self, lead: str = "", *, objects: bool = True) -> str:
        """The clause as a question, after a question word if given."""
        auxiliary, _, bare = self._english_verb()
        return joined(
            lead,
            auxiliary,
            self.subject.english,
            "not" if self.negated else "",
            bare,
            self.english_objects if objects else "",
            self.english_complement,
            self.time[0] if self.time else "",
        )

    def german(self, *, front: str = "") -> str:
        """Verb second: after the subject, or after `front` (the time or a clause)."""
        finite, closing, _ = self._german_verb()
        if not front:
            return joined(self.subject.german, finite, self._middle(), closing)
        middle = self._middle(time=self.time is None or front != self.time[1])
        return joined(front, finite, self.subject.german, middle, closing)

    def german_question(self, lead: str = "", *, objects: bool = True) -> str:
        """Verb first, or after a question word; without `objects` where `lead` is the object."""
        finite, closing, _ = self._german_verb()
        middle = self._middle(objects=objects)
        return joined(lead, finite, self.subject.german, middle, closing)

    def german_final(self, *, objects: bool = True) -> str:
        """Verb last, as subordinate clauses have it."""
        _, _, group = self._german_verb()
        return joined(self.subject.german, self._middle(objects=objects), group)

    def _middle(self, *, time: bool = True, objects: bool = True) -> str:
        return joined(
            self.pronoun,
            self.time[1] if time and self.time else "",
            self.frequency[1] if self.frequency else "",
            self.objects if objects else "",
            "nicht" if self.german_not else "",
            self.complement,
        )

    def _english_verb(self) -> tuple[str, str, str]:
        person = self.subject.person
        if self.verb is not None:
            return english_verb(self.tense, self.verb, person)
        finite = (ENGLISH_WAS if self.tense is PAST else ENGLISH_BE)[person]
        return finite, finite, ""

    def _german_verb(self) -> tuple[str, str, str]:
        person = self.subject.person
        if self.verb is not None:
            return german_verb(self.tense, self.verb, person)
        finite = (WAS if self.tense is PAST else BE)[person]
        return finite, "", finite


def joined(*parts: str) -> str:
    """The parts that are not empty, with spaces between."""
    return " ".join(filter(None, parts))
