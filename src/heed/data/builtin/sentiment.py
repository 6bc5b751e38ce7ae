"""Reviews that a bag of words cannot judge: negation, contrast, and other people's opinions.

The label is the writer's own verdict. Every opinion about an aspect says it with an adjective that
a modifier or a frame may turn around ("not at all boring", "nobody could say that ..."); in a
contrast the main clause counts, or the one after "but"; what others say counts only so far as the
writer agrees. Held out: triples of aspect, modifier and adjective.
"""

from __future__ import annotations

from typing import NamedTuple

from heed.data.builtin import opinions
from heed.data.builtin.draw import (
    SPLITS,
    Combination,
    Draw,
    Example,
    Split,
    owner_of_combination,
    stable_hash,
)

LABELS = ("negative", "positive")
# Shares of reviews that only state opinions and that weigh two; the rest reports another's. Shares
# of opinions within a frame, and with a modifier that turns the adjective. At these a bag of words
# finds enough to start from and far too little to judge by.
PLAIN, CONTRASTED = 0.55, 0.25
FRAMED, TURNED = 0.25, 0.33


class Aspect(NamedTuple):
    """What an opinion is about, and its adjectives: negative and positive."""

    subject: str
    noun: str
    adjectives: tuple[tuple[str, ...], tuple[str, ...]]


def _aspect(entry: str) -> Aspect:
    verb, noun, group = entry.split()
    positive, negative = (
        tuple(f"{own} {common}".split())
        for own, common in zip(opinions.QUALITIES[group], opinions.QUALITIES["any"], strict=True)
    )
    noun = noun.replace("_", " ")
    return Aspect(f"the {noun} {verb}", noun, (negative, positive))


ASPECTS = {
    domain: tuple(_aspect(entry) for entry in table.split(";"))
    for domain, table in opinions.DOMAINS.items()
}
NEUTRAL = {domain: tuple(table.split(";")) for domain, table in opinions.NEUTRAL.items()}
DOMAINS = tuple(ASPECTS)
MODIFIERS = (opinions.KEEPING, opinions.TURNING)
FRAMES = (opinions.KEEPING_FRAMES, opinions.TURNING_FRAMES)
_DISTINCT_MODIFIERS = sorted({*opinions.KEEPING, *opinions.TURNING})
# Whether a triple belongs to a split, looked up as often as it is drawn.
OWNERS: dict[Combination, Split] = {
    (aspect.noun, modifier, adjective): owner_of_combination(aspect.noun, modifier, adjective)
    for aspects in ASPECTS.values()
    for aspect in aspects
    for modifier in _DISTINCT_MODIFIERS
    for adjective in (*aspect.adjectives[0], *aspect.adjectives[1])
}
assert set(OWNERS.values()) == set(SPLITS)


def compose(draw: Draw, side: Split, index: int) -> Example:
    """One review of one to four sentences. Each pair of rows 2n, 2n + 1 has one of each label."""
    review = _Review(draw, side)
    positive = (stable_hash("label", index // 2) + index) % 2
    sentences = review.verdict(positive)
    neutral = NEUTRAL[review.domain]
    wanted = draw.pick((0, 0, 1, 1, 2))
    while len(sentences) < 4 and wanted:
        sentence = draw.pick(neutral)
        if sentence not in sentences:
            sentences.insert(0 if draw.chance(0.6) else len(sentences), sentence)
        wanted -= 1
    text = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)
    return Example({"text": text, "label": LABELS[positive]}, tuple(review.combinations), text)


class _Review:
    """The opinions of one review: they share a domain and never an aspect."""

    def __init__(self, draw: Draw, side: Split) -> None:
        self.draw = draw
        self.side = side
        self.domain = draw.pick(DOMAINS)
        self.aspects: list[Aspect] = []
        self.combinations: list[Combination] = []

    def verdict(self, positive: int) -> list[str]:
        """Sentences that come to this verdict, 1 positive, 0 negative."""
        kind = self.draw.random()
        if kind < PLAIN:
            several = self.draw.pick((1, 1, 2, 2, 3))
            return [self.sentence(positive) for _ in range(several)]
        if kind < PLAIN + CONTRASTED:
            sentences = [self.contrast(positive)]
        else:
            sentences = [self.reported(positive)]
        if self.draw.chance(0.3):
            sentences.append(self.sentence(positive))
        return sentences

    def sentence(self, positive: int) -> str:
        """One opinion, at times framed or joined to a second of the same sense."""
        if self.draw.chance(0.2):
            return f"{self.opinion(positive)}, and {self.opinion(positive)}"
        return self.framed(positive)

    def contrast(self, positive: int) -> str:
        """Two opinions of opposite sense; the one that counts has the sense asked for."""
        form = self.draw.pick(opinions.CONTRASTS)
        weak, own = self.opinion(1 - positive), self.opinion(positive)
        return form.format(w=weak, o=own)

    def reported(self, positive: int) -> str:
        """What somebody else thinks, and whether the writer thinks so too."""
        draw = self.draw
        agrees = draw.chance(0.5)
        answer = draw.pick(opinions.AGREEING if agrees else opinions.DISAGREEING)
        link = ", " if answer.startswith(("and ", "but ")) else "; "
        who, says = draw.pick(opinions.OTHERS), draw.pick(opinions.SAYING)
        return f"{who} {says} {self.opinion(positive if agrees else 1 - positive)}{link}{answer}"

    def framed(self, positive: int) -> str:
        """An opinion, at times within a frame that keeps or turns its sense."""
        if not self.draw.chance(FRAMED):
            return self.opinion(positive)
        turned = self.draw.chance(0.5)
        frame = self.draw.pick(FRAMES[turned])
        return frame.format(o=self.opinion(1 - positive if turned else positive))

    def opinion(self, positive: int) -> str:
        """ "the plot was not at all boring", whose triple belongs to the split."""
        draw = self.draw
        aspect = draw.pick_other(ASPECTS[self.domain], *self.aspects)
        self.aspects.append(aspect)
        while True:
            turned = draw.chance(TURNED)
            modifier = draw.pick(MODIFIERS[turned])
            adjective = draw.pick(aspect.adjectives[1 - positive if turned else positive])
            combination = (aspect.noun, modifier, adjective)
            if OWNERS[combination] == self.side:
                break
        self.combinations.append(combination)
        return f"{aspect.subject} {modifier} {adjective}".replace("  ", " ")
