"""Dialogues with summaries that say how things ended, and leave out the small talk.

Held out: the pair that makes an outcome (an activity and its place, a task and its day, a lost
thing and where it was, ...).
"""

from __future__ import annotations

from heed.data.builtin.draw import Draw, Example, Split
from heed.data.builtin.scenes import SCENES, Turn
from heed.data.builtin.small_talk import DAYS, FILLERS, NAMES, PLACES, TIMES

FEWEST_TURNS, MOST_TURNS = 4, 12


def compose(draw: Draw, side: Split, index: int) -> Example:
    """One dialogue of 4 to 12 turns ("Name: text" lines) and its summary."""
    scene = draw.pick(SCENES)(draw, side)
    turns = _merged(scene.turns)
    room = (MOST_TURNS - len(turns)) // 2
    for filler in draw.sample(FILLERS, min(draw.pick((0, 1, 1, 2, 2, 3)), room)):
        turns = _with_filler(draw, turns, scene.people, filler)
    assert FEWEST_TURNS <= len(turns) <= MOST_TURNS
    text = "\n".join(f"{turn.speaker}: {turn.text}" for turn in turns)
    row = {"source": text, "target": scene.summary, "references": [scene.summary]}
    return Example(row, (scene.combination,), text)


def _merged(turns: list[Turn]) -> list[Turn]:
    """The turns, with what one person says twice in a row made one turn."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].speaker == turn.speaker:
            turn = turn._replace(text=f"{merged.pop().text} {turn.text}")
        merged.append(turn)
    return merged


def _with_filler(
    draw: Draw, turns: list[Turn], people: tuple[str, ...], filler: tuple[str, str]
) -> list[Turn]:
    """The turns with a remark and its answer where the talk may wander off."""
    places = [0, *(number for number, turn in enumerate(turns, start=1) if turn.rests)]
    place = draw.pick(places)
    remark, answer = filler
    words = {
        "day": draw.pick(DAYS),
        "time": draw.pick(TIMES),
        "place": draw.pick(PLACES),
        "name": draw.pick_other(NAMES, *people),
    }
    # Before the talk its first speaker asks; later the one who did not speak last.
    first = turns[place].speaker if place < len(turns) else people[0]
    if place and turns[place - 1].speaker == first:
        first = draw.pick_other(people, first)
    second = draw.pick_other(people, first)
    talk = [Turn(first, remark.format(**words)), Turn(second, answer.format(**words), True)]
    return turns[:place] + talk + turns[place:]
