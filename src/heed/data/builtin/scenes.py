"""The scenes of the dialogues: who settles what with whom, and the summary of how it ended.

Plans change while people talk: days, times, places, things and helpers are proposed and dropped,
and only what is agreed in the end belongs in the summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from heed.data.builtin.draw import Combination, Draw, Split, owner_of_combination
from heed.data.builtin.small_talk import (
    ACTIVITIES,
    DAYS,
    DELAYS,
    EVENTS,
    EXCUSES,
    FOOD,
    GIFTS,
    GREETINGS,
    LOST,
    NAMES,
    OCCASIONS,
    PLACES,
    SPOTS,
    STOPS,
    TASKS,
    THINGS,
    TIMES,
    WAYS,
)


class Turn(NamedTuple):
    """What one person says; after a turn that ends a point (`rests`) the talk may wander off."""

    speaker: str
    text: str
    rests: bool = False


class Scene(NamedTuple):
    """A dialogue without its small talk, its summary, and the combination of its outcome."""

    people: tuple[str, ...]
    turns: list[Turn]
    summary: str
    combination: Combination


def owned_pair(
    draw: Draw, side: Split, what: str, firsts: Sequence[str], seconds: Sequence[str]
) -> tuple[str, str]:
    """A first and a second whose combination belongs to this split."""
    while True:
        first, second = draw.pick(firsts), draw.pick(seconds)
        if owner_of_combination(what, first, second) == side:
            return first, second


def dropped(
    draw: Draw, side: Split, what: str, first: str, seconds: Sequence[str], *taken: str
) -> str:
    """What was proposed in place of the outcome; in training this too is a training pair."""
    while True:
        second = draw.pick_other(seconds, *taken)
        if side != "train" or owner_of_combination(what, first, second) == "train":
            return second


def greeting(draw: Draw, name: str) -> str:
    """The first words of a dialogue; they end with a space."""
    return draw.pick(GREETINGS).format(x=name) + " "


def sentence(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[0].upper() + text[1:]


def meeting(draw: Draw, side: Split) -> Scene:
    """Two people settle when and where to meet."""
    a, b = draw.sample(NAMES, 2)
    activity, place = owned_pair(draw, side, "meeting", ACTIVITIES, PLACES)
    day, other_day, last_day = draw.sample(DAYS, 3)
    time, other_time = draw.sample(TIMES, 2)
    (excuse, _), (late_excuse, _) = draw.sample(EXCUSES, 2)
    asked = other_day if (moved := draw.chance(0.5)) else day
    ask = draw.pick(
        ("Do you want to {} on {}?", "Shall we {} on {}?", "Would you like to {} with me on {}?")
    )
    turns = [Turn(a, greeting(draw, b) + ask.format(activity, asked))]
    if moved:
        proposal = draw.pick(("What about {}?", "Is {} possible?", "{} would be better."))
        turns.append(Turn(b, f"I cannot, I {excuse} on {asked}. {proposal.format(day)}"))
        turns.append(Turn(a, draw.pick((f"{day} is fine.", "That works too.", "Sure, why not."))))
    else:
        turns.append(Turn(b, draw.pick(("Good idea.", "I would love to.", "Yes, gladly."))))
    retimed = draw.chance(0.4)
    turns.append(Turn(a, f"Is {other_time if retimed else time} okay?".replace("Is at ", "Is ")))
    if retimed:
        turns.append(Turn(b, f"Could we meet {time} instead?"))
        turns.append(Turn(a, draw.pick(("No problem.", "Okay, also good.", "Of course."))))
    else:
        turns.append(Turn(b, draw.pick(("Perfect.", "Yes, that suits me.", "Sounds good."))))
    if draw.chance(0.4):
        first_place = dropped(draw, side, "meeting", activity, PLACES, place)
        turns.append(Turn(a, f"Then let us meet {first_place}."))
        turns.append(Turn(b, f"It is too loud there. Better {place}."))
        turns.append(Turn(a, draw.pick(("Right.", "Fine with me.", "Agreed.")), True))
    else:
        turns.append(Turn(a, f"Then let us meet {place}."))
        turns.append(Turn(b, draw.pick(("See you there.", "Great.", "All right.")), True))
    if draw.chance(0.25):
        turns.append(Turn(b, f"Wait, on {day} I {late_excuse}. Can we do it on {last_day}?"))
        turns.append(Turn(a, f"Yes, {last_day}, same time, same place.", True))
        day = last_day
    summary = f"{a} and {b} will {activity} on {day} {time}. They will meet {place}."
    return Scene((a, b), turns, summary, ("meeting", activity, place))


def invitation(draw: Draw, side: Split) -> Scene:
    """Somebody invites, and the other has no time."""
    a, b = draw.sample(NAMES, 2)
    thirds = {third: first for first, third in EXCUSES}
    activity, excuse = owned_pair(draw, side, "invitation", ACTIVITIES, tuple(thirds))
    day, other_day = draw.sample(DAYS, 2)
    asked = other_day if (moved := draw.chance(0.5)) else day
    turns = [Turn(a, f"{greeting(draw, b)}Are you free on {asked}?")]
    turns.append(Turn(b, draw.pick(("I think so, why?", "Maybe, what is up?", "It depends."))))
    if moved:
        turns.append(Turn(a, f"I want to {activity}. No, not on {asked}, I mean {day}."))
    else:
        turns.append(Turn(a, f"I want to {activity} and you could come along."))
    turns.append(Turn(b, f"What a pity, I {thirds[excuse]} on {day}."))
    turns.append(Turn(a, draw.pick(("Maybe next time.", "Too bad.", "I understand.")), True))
    summary = f"{a} invites {b} to {activity} on {day}, but {b} {excuse}."
    return Scene((a, b), turns, summary, ("invitation", activity, excuse))


def favor(draw: Draw, side: Split) -> Scene:
    """Somebody asks for help; the task or the day may change, or somebody else does it."""
    a, b, c = draw.sample(NAMES, 3)
    task, day = owned_pair(draw, side, "favor", TASKS, DAYS)
    first_task = draw.pick_other(TASKS, task)
    asking = draw.pick(("Could you {}?", "Can you please {}?", "Would you mind? I need you to {}."))
    because = draw.pick(
        ("I am away until {}.", "I am busy until {}.", "I have so much to do until {}.")
    ).format(draw.pick_other(DAYS, day))
    turns = []
    if draw.chance(0.35):
        turns.append(Turn(a, greeting(draw, b) + asking.format(first_task)))
        turns.append(Turn(b, f"{c} has already done that."))
        turns.append(Turn(a, f"Oh good. But could you {task}? {because}"))
    else:
        turns.append(Turn(a, f"{greeting(draw, b)}{asking.format(task)} {because}"))
    if draw.chance(0.35):
        first_day = dropped(draw, side, "favor", task, DAYS, day)
        turns.append(Turn(b, f"Is {first_day} early enough?"))
        turns.append(Turn(a, f"No, it has to be on {day}."))
    else:
        turns.append(Turn(b, draw.pick(("When?", "Which day?", "By when do you need it?"))))
        turns.append(Turn(a, f"On {day}{draw.pick(('', ', please', ', if possible'))}."))
    summary = f"{a} asks {b} to {task} on {day}."
    if draw.chance(0.65):
        turns.append(Turn(b, draw.pick(("No problem.", "I will do it.", "Sure, gladly."))))
        turns.append(Turn(a, draw.pick(("Thank you so much!", "You are a treasure."))))
        summary += f" {b} agrees."
    else:
        turns.append(Turn(b, f"I am sorry, on {day} I {draw.pick(EXCUSES)[0]}. Ask {c}."))
        turns.append(Turn(a, f"Good idea. {c} said yes, all settled."))
        summary += f" {b} has no time, so {c} will do it."
    turns[-1] = turns[-1]._replace(rests=True)
    return Scene((a, b), turns, summary, ("favor", task, day))


def loan(draw: Draw, side: Split) -> Scene:
    """Somebody borrows a thing and says when it comes back."""
    a, b, c = draw.sample(NAMES, 3)
    thing, day = owned_pair(draw, side, "loan", THINGS, DAYS)
    back = draw.pick_other(DAYS, day)
    turns = [Turn(a, f"{greeting(draw, b)}Do you still have your {thing}?")]
    turns.append(Turn(b, draw.pick(("Yes, why?", "I do. Do you need it?", "Of course."))))
    turns.append(Turn(a, draw.pick(("Can I borrow it?", "Would you lend it to me?"))))
    if draw.chance(0.5):
        early = dropped(draw, side, "loan", thing, DAYS, day, back)
        turns.append(Turn(b, f"Sure, come on {early}."))
        turns.append(Turn(a, "Thank you!", True))
        turns.append(Turn(b, f"Sorry, {c} has it until {early}. You can have it on {day}."))
    else:
        turns.append(Turn(b, f"Yes, you can pick it up on {day}."))
    if draw.chance(0.4):
        wrong = draw.pick_other(DAYS, day, back)
        turns.append(Turn(a, f"Great. I could return it on {wrong}."))
        turns.append(Turn(b, f"I need it later that week, {back} is enough."))
        turns.append(Turn(a, draw.pick(("Deal.", "Thanks, perfect.")), True))
    else:
        turns.append(Turn(a, f"Great. You get it back on {back}."))
        turns.append(Turn(b, draw.pick(("All right.", "No hurry.")), True))
    summary = f"{a} will borrow {b}'s {thing} on {day} and return it on {back}."
    return Scene((a, b), turns, summary, ("loan", thing, day))


def present(draw: Draw, side: Split) -> Scene:
    """Two people choose a present for a third."""
    a, b, c = draw.sample(NAMES, 3)
    occasion, gift = owned_pair(draw, side, "present", OCCASIONS, GIFTS)
    other = dropped(draw, side, "present", occasion, GIFTS, gift)
    asking = draw.pick(
        (
            f"We still need a {occasion} present for {c}. Any ideas?",
            f"What shall we get {c} as a {occasion} present?",
        )
    )
    turns = [Turn(a, greeting(draw, b) + asking)]
    refusal = draw.pick(
        ("{c} already has that.", "That is too boring.", "That was my present last year.")
    ).format(c=c)
    if draw.chance(0.7):
        turns.append(Turn(b, f"How about {other}?"))
        turns.append(Turn(a, f"{refusal} What do you think of {gift}?"))
        turns.append(Turn(b, draw.pick(("Much better!", "Yes, let us do that."))))
    else:
        turns.append(Turn(b, f"I thought of {gift}."))
        turns.append(Turn(a, draw.pick(("Wonderful, I like that.", "That is a great idea."))))
        if draw.chance(0.4):
            turns.append(Turn(b, f"Or rather {other}?"))
            turns.append(Turn(a, "No, your first idea was better."))
    asker, answerer = (b, a) if turns[-1].speaker == a else (a, b)
    turns.append(Turn(asker, draw.pick(("Who buys it?", "Who goes shopping?"))))
    buyer = a if draw.chance(0.5) else b
    if buyer == answerer:
        turns.append(Turn(answerer, draw.pick(("I will.", "I can do that, I am in town."))))
    else:
        turns.append(Turn(answerer, draw.pick(("Could you?", "You, please, I am broke."))))
        turns.append(Turn(asker, draw.pick(("Okay, I will do it.", "Fine, leave it to me."))))
    turns[-1] = turns[-1]._replace(rests=True)
    outcome = f"{c} {gift} as a {occasion} present. {buyer} will buy it."
    summary = f"{a} and {b} will give {outcome}"
    return Scene((a, b), turns, summary, ("present", occasion, gift))


def arrival(draw: Draw, side: Split) -> Scene:
    """Somebody arrives later than planned, and may be picked up."""
    a, b, c = draw.sample(NAMES, 3)
    stop, time = owned_pair(draw, side, "arrival", STOPS, TIMES)
    planned = dropped(draw, side, "arrival", stop, TIMES, time)
    way = draw.pick(WAYS)
    turns = []
    if draw.chance(0.5):
        turns.append(Turn(b, f"{greeting(draw, a)}Do you still arrive {planned}?"))
        turns.append(Turn(a, f"No. {draw.pick(DELAYS)}. I will be there {time}."))
    else:
        turns.append(Turn(a, f"{greeting(draw, b)}{draw.pick(DELAYS)}."))
        turns.append(Turn(b, f"Oh no! So you do not arrive {planned}?"))
        turns.append(Turn(a, f"Exactly, it will be {time.removeprefix('at ')}."))
    turns.append(Turn(b, draw.pick(("And where?", "Where do you get off?", "Which stop?"))))
    turns.append(Turn(a, f"{sentence(stop)}."))
    ending = draw.random()
    if ending < 0.4:
        turns.append(Turn(b, draw.pick(("I will pick you up.", "I will be waiting there."))))
        turns.append(Turn(a, draw.pick(("You are so kind.", "Thanks!"))))
        outcome = f"{b} will pick up {a}."
    elif ending < 0.7:
        turns.append(Turn(b, "Shall I pick you up?"))
        turns.append(Turn(a, f"Not necessary, I will {way}."))
        outcome = f"{a} will {way}."
    else:
        turns.append(Turn(b, f"I would pick you up, but I {draw.pick(EXCUSES)[0]}."))
        turns.append(Turn(a, f"Never mind, {c} will come for me."))
        outcome = f"{c} will pick up {a}."
    turns[-1] = turns[-1]._replace(rests=True)
    before = planned.removeprefix("at ")
    summary = f"{a} will arrive at {stop} {time} instead of {before}. {outcome}"
    return Scene((a, b), turns, summary, ("arrival", stop, time))


def search(draw: Draw, side: Split) -> Scene:
    """Somebody looks for a lost thing, in several places."""
    a, b, c = draw.sample(NAMES, 3)
    thing, spot = owned_pair(draw, side, "search", LOST, SPOTS)
    first = dropped(draw, side, "search", thing, SPOTS, spot)
    second = dropped(draw, side, "search", thing, SPOTS, spot, first)
    asking = draw.pick(("Have you seen my {}?", "I cannot find my {}.", "Where did I leave my {}?"))
    turns = [Turn(a, greeting(draw, b) + asking.format(thing))]
    turns.append(Turn(b, f"Did you look {first}?"))
    turns.append(Turn(a, draw.pick(("Yes, nothing there.", "That was the first thing I did."))))
    if draw.chance(0.5):
        turns.append(Turn(b, f"And {second}?"))
        turns.append(Turn(a, draw.pick(("Nothing either.", "Only dust."))))
    if draw.chance(0.5):
        helper = b
        turns.append(Turn(b, f"Then look {spot}."))
        turns.append(Turn(a, "Found, thank you!", True))
    else:
        helper = c
        turns.append(Turn(b, draw.pick((f"Ask {c}, maybe.", f"Does {c} know?"))))
        turns.append(Turn(a, f"{c} says: {spot}. And that is right!", True))
    summary = f"{a} found the lost {thing} {spot}. {helper} gave the tip."
    return Scene((a, b), turns, summary, ("search", thing, spot))


def potluck(draw: Draw, side: Split) -> Scene:
    """Three people share out what each brings; two may swap."""
    a, b, c = draw.sample(NAMES, 3)
    while True:
        mine, yours, third = draw.sample(FOOD, 3)
        if owner_of_combination("potluck", mine, yours) == side:
            break
    event, day = draw.pick(EVENTS), draw.pick(DAYS)
    swap = draw.chance(0.4)
    if swap and side == "train" and owner_of_combination("potluck", yours, mine) != "train":
        swap = False
    said_a, said_b = (yours, mine) if swap else (mine, yours)
    turns = [Turn(a, f"Hi you two! Who brings what to the {event} on {day}?")]
    turns.append(Turn(b, f"I can bring {said_b}."))
    turns.append(Turn(c, draw.pick((f"Then I bring {third}.", f"{sentence(third)} from me."))))
    turns.append(Turn(a, draw.pick((f"And I bring {said_a}.", f"I take care of {said_a}."))))
    if swap:
        turns.append(Turn(b, f"{a}, could we swap? {sentence(said_a)} would be easier for me."))
        turns.append(Turn(a, f"Okay, then {said_b} is my job."))
    if draw.chance(0.3):
        new_day = draw.pick_other(DAYS, day)
        turns.append(Turn(c, f"Is it not on {new_day} now?"))
        turns.append(Turn(a, f"True, it was moved to {new_day}."))
        day = new_day
    turns[-1] = turns[-1]._replace(rests=True)
    summary = f"{a} will bring {mine}, {b} {yours} and {c} {third} to the {event} on {day}."
    return Scene((a, b, c), turns, summary, ("potluck", mine, yours))


SCENES = (meeting, meeting, invitation, favor, favor, loan, present, arrival, search, potluck)
