"""Passages of facts about invented people, towns, companies and devices, with one question each.

A passage tells of two or three things, mostly of the same kind, so that every answer has rivals of
its own type. A thing is named once and then often only referred to ("she", "the company"). Some
questions take two steps ("Where does the founder of Altrix come from?"). Held out: pairs of a thing
and an attribute; a passage of training states and asks training pairs only.
"""

from __future__ import annotations

from typing import NamedTuple

from heed.data.builtin import facts
from heed.data.builtin.draw import Combination, Draw, Example, Split, owner_of_combination
from heed.data.builtin.facts import Attribute

# How a question may get to a person: the attribute that names one, and how it is put.
STEPS = {
    "founder": "the founder of {s}",
    "director": "the director of {s}",
    "mayor": "the mayor of {s}",
}


class Thing(NamedTuple):
    """A person, town, company or device: its name, what may stand for it, and its facts."""

    kind: str
    name: str
    reference: str
    attributes: tuple[Attribute, ...]


class Fact(NamedTuple):
    """An attribute of a thing, and its value."""

    thing: Thing
    attribute: Attribute
    value: str


class Passage(NamedTuple):
    """A text, its facts in order, and where in the text the value of each begins."""

    text: str
    facts: list[Fact]
    starts: list[int]


def compose(draw: Draw, side: Split, index: int) -> Example:
    """One passage and a question whose answer is a span of it."""
    while True:
        passage = _passage(draw, side, _things(draw))
        candidates = [
            number
            for number, fact in enumerate(passage.facts)
            if owner_of_combination(*combination_of(fact)) == side
        ]
        if candidates:
            break
    number = draw.pick(candidates)
    fact = passage.facts[number]
    name = _step_to(draw, fact.thing, passage.facts) or fact.thing.name
    question = draw.pick(fact.attribute.questions).format(s=name)
    return _example(passage, question, combination_of(fact), [fact.value], [passage.starts[number]])


def compose_open(draw: Draw, side: Split, index: int) -> Example:
    """One passage and a question about a thing in it that the passage does not answer."""
    while True:
        things = _things(draw)
        passage = _passage(draw, side, things)
        told = {combination_of(fact) for fact in passage.facts}
        candidates = [
            (thing, attribute)
            for thing in things
            for attribute in thing.attributes
            if (thing.name, attribute.name) not in told
            and owner_of_combination(thing.name, attribute.name) == side
        ]
        if candidates:
            break
    thing, attribute = draw.pick(candidates)
    question = draw.pick(attribute.questions).format(s=thing.name)
    return _example(passage, question, (thing.name, attribute.name), [], [])


def combination_of(fact: Fact) -> Combination:
    """What is held out: a thing and an attribute."""
    return (fact.thing.name, fact.attribute.name)


def _example(
    passage: Passage, question: str, asked: Combination, answers: list[str], starts: list[int]
) -> Example:
    row = {
        "id": "",
        "question": question,
        "context": passage.text,
        "answers": answers,
        "starts": starts,
    }
    stated = (combination_of(fact) for fact in passage.facts)
    return Example(row, (asked, *stated), f"{question}\n{passage.text}")


def _things(draw: Draw) -> list[Thing]:
    """Two or three things; the first two of one kind."""
    kind = draw.pick(tuple(facts.KINDS))
    kinds = [kind, kind, *([draw.pick(tuple(facts.KINDS))] if draw.chance(0.6) else [])]
    things: list[Thing] = []
    for each in kinds:
        while (thing := _thing(draw, each)).name in [other.name for other in things]:
            pass
        things.append(thing)
    draw.shuffle(things)
    return things


def _thing(draw: Draw, kind: str) -> Thing:
    attributes = facts.KINDS[kind]
    if kind == "person":
        first = draw.pick(facts.FIRST_NAMES)
        name = f"{first} {draw.pick(facts.LAST_NAMES)}"
        return Thing(kind, name, "she" if first in facts.WOMEN else "he", attributes)
    if kind == "town":
        return Thing(kind, draw.pick(facts.TOWNS), "the town", attributes)
    if kind == "company":
        return Thing(kind, draw.pick(facts.COMPANIES), "the company", attributes)
    return Thing(kind, f"the {draw.pick(facts.DEVICES)}", "the device", attributes)


def _passage(draw: Draw, side: Split, things: list[Thing]) -> Passage:
    """Two to four facts of each thing, all values of one type different."""
    taken = {thing.name for thing in things}
    people = [thing.name for thing in things if thing.kind == "person"]
    blocks = []
    for thing in things:
        allowed = [
            attribute
            for attribute in thing.attributes
            if owner_of_combination(thing.name, attribute.name) in (side, "train")
        ]
        chosen = draw.sample(allowed, min(draw.pick((2, 3, 3, 4)), len(allowed)))
        block = []
        for attribute in chosen:
            value = _value(draw, attribute, people, taken)
            taken.add(value)
            block.append(Fact(thing, attribute, value))
        blocks.append(block)
    ordered = [fact for block in blocks for fact in block]
    if draw.chance(0.25):
        draw.shuffle(ordered)
    return _told(draw, ordered)


def _value(draw: Draw, attribute: Attribute, people: list[str], taken: set[str]) -> str:
    """A value that the passage does not have yet; a person at times one it tells of."""
    if attribute.pool != "person":
        return draw.pick_other(facts.POOLS[attribute.pool], *taken)
    if people and draw.chance(0.7):
        return people.pop()
    while True:
        name = f"{draw.pick(facts.FIRST_NAMES)} {draw.pick(facts.LAST_NAMES)}"
        if name not in taken:
            return name


def _told(draw: Draw, ordered: list[Fact]) -> Passage:
    """The facts as sentences; what the last sentence was about may go by its reference."""
    sentences: list[str] = []
    starts: list[int] = []
    length, last = 0, ""
    for fact in ordered:
        statement = draw.pick(fact.attribute.statements)
        subject = fact.thing.name
        refers = fact.thing.name == last and draw.chance(0.6)
        if refers and not ("of {s}" in statement and fact.thing.kind == "person"):
            subject = fact.thing.reference
        before, after = statement.replace("{s}", subject).split("{v}")
        text = f"{before}{fact.value}{after}."
        sentences.append(text[0].upper() + text[1:])
        starts.append(length + len(before))
        length += len(text) + 1
        last = fact.thing.name
    return Passage(" ".join(sentences), ordered, starts)


def _step_to(draw: Draw, thing: Thing, told: list[Fact]) -> str:
    """At times, another way to name a person: "the mayor of Dunmarrow"; else ""."""
    if thing.kind != "person" or not draw.chance(0.6):
        return ""
    for fact in told:
        if fact.value == thing.name and fact.attribute.name in STEPS:
            return STEPS[fact.attribute.name].format(s=fact.thing.name)
    return ""
