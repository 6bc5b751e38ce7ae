"""The words of the reviews: domains with their aspects, and what can be said of those.

Aspects: "was" or "were", the aspect, the group of its adjectives. Adjectives by group: positive,
negative. An underscore stands for a space.
"""

from __future__ import annotations

DOMAINS = {
    "film": "was plot story;was acting craft;was soundtrack craft;was ending story;"
    "were dialogues story;were actors people;was director people;were jokes story;"
    "was camera_work craft;was opening_scene story;was film story",
    "hotel": "were rooms room;was staff people;was breakfast food;was bathroom room;"
    "was receptionist people;was lobby room;were beds room;was hotel room;was location craft;"
    "was manager people",
    "restaurant": "was soup food;were waiters people;was dessert food;was main_course food;"
    "was steak food;was dining_room room;was chef people;were starters food;was service craft;"
    "was terrace room",
    "phone": "was battery device;was screen device;was camera device;were speakers device;"
    "was charger device;was software device;was design craft;was support_team people;"
    "was phone device;were buttons device",
    "book": "was story story;was style craft;was author people;were chapters story;"
    "was heroine people;was final_chapter story;was translation craft;was mystery story;"
    "were characters people;was book story",
}

QUALITIES = {
    "story": (
        "gripping moving thrilling original clever surprising believable funny",
        "boring dull predictable confusing silly tedious shallow lifeless",
    ),
    "people": (
        "friendly charming competent likable convincing warm patient",
        "rude arrogant clumsy annoying careless cold stiff",
    ),
    "food": (
        "delicious tasty fresh well-seasoned generous flavorful juicy",
        "tasteless stale bland soggy overcooked greasy salty",
    ),
    "room": (
        "clean cozy bright comfortable spacious quiet elegant",
        "dirty noisy cramped gloomy shabby smelly drafty",
    ),
    "device": (
        "reliable fast sturdy precise handy responsive powerful",
        "slow fragile unreliable faulty flimsy outdated weak",
    ),
    "craft": (
        "brilliant skillful superb refined remarkable",
        "sloppy amateurish uninspired lackluster inferior",
    ),
    "any": (
        "excellent wonderful great impressive good pleasant fantastic",
        "terrible awful poor disappointing bad mediocre dreadful",
    ),
}

# What stands between "was" and the adjective: it keeps or turns the adjective's sense.
KEEPING = ("", "", "very", "really", "truly", "quite", "absolutely", "so", "simply", "rather")
TURNING = (
    "not",
    "not at all",
    "never",
    "anything but",
    "far from",
    "hardly",
    "by no means",
    "not in the least",
    "not exactly",
    "nowhere near",
)

# What stands around an opinion; {o} is "the plot was dull".
KEEPING_FRAMES = (
    "I must say that {o}",
    "in my opinion, {o}",
    "nobody can deny that {o}",
    "I cannot deny that {o}",
    "there is no doubt that {o}",
    "I have to admit that {o}",
)
TURNING_FRAMES = (
    "nobody could say that {o}",
    "I cannot say that {o}",
    "it is simply not true that {o}",
    "I do not think that {o}",
    "you cannot claim that {o}",
    "it would be wrong to say that {o}",
)

# {w} is the opinion that does not count, {o} the one that does.
CONTRASTS = (
    "{w}, but {o}",
    "{w}, but {o}",
    "although {w}, {o}",
    "even though {w}, {o}",
    "{o}, although {w}",
    "{o}, even if {w}",
    "{w}; still, {o}",
    "at first I thought that {w}, but in the end {o}",
    "in the end {o}, even if I first thought that {w}",
    "I had expected that {w}, but {o}",
    "my friends kept saying that {w}, but {o}",
    "while most critics wrote that {w}, I found that {o}",
    "{o}, no matter how often people say that {w}",
)

OTHERS = (
    "my brother",
    "my sister",
    "my wife",
    "my husband",
    "a friend of mine",
    "my neighbor",
    "the critic of our newspaper",
    "my colleague",
    "a woman at the next table",
    "my father",
)
SAYING = ("said that", "told me that", "insisted that", "wrote that", "believes that", "feels that")
AGREEING = (
    "I could not agree more",
    "I agree completely",
    "and that is exactly what I think",
    "I see it the same way",
    "I would not put it any other way",
    "there is nothing to add to that",
)
DISAGREEING = (
    "I could not disagree more",
    "I do not agree at all",
    "but that is not what I think",
    "I see it the other way around",
    "I would put it the other way",
    "there is nothing right about that",
)

NEUTRAL = {
    "film": "We saw it on a rainy Tuesday;We sat in the third row;My cousin bought the tickets;"
    "It lasted about two hours;I had read about it in a magazine",
    "hotel": "We stayed for three nights;We arrived late in the evening;Our room had number twelve;"
    "I booked it online in March;We came by train",
    "restaurant": "We came on a Sunday evening;There were six of us;I had ordered a table for two;"
    "We sat next to the window;It is close to the station",
    "phone": "I bought it two weeks ago;It came in a black box;I use it every day at work;"
    "My old one was four years old;I ordered it online",
    "book": "I read it on the train;My aunt gave it to me;It has four hundred pages;"
    "I borrowed it from the library;I finished it within a week",
}
