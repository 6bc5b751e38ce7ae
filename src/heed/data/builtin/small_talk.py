"""The words of the dialogues: names, days, places, tasks, things, and talk that leads nowhere."""

from __future__ import annotations

from heed.data.builtin.draw import listed

NAMES = listed(
    "Alice Ben Clara David Emma Felix Grace Henry Irene Jack Kate Leo Maria Noah Olivia Peter "
    "Rosa Sam Tina Victor Wendy Anna Oscar Julia Martin Nina Paul Sarah Tom Lucy Hugo Ella "
    "George Helen Ivan Laura Max Nora Simon Vera",
    None,
)
DAYS = listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday", None)
TIMES = listed(
    "at 8 am;at 9 am;at 10 am;at half past ten;at 11 am;at noon;at 1 pm;at 2 pm;at half past two;"
    "at 3 pm;at 4 pm;at half past four;at 5 pm;at 6 pm;at half past six;at 7 pm;at 8 pm;at 9 pm"
)

ACTIVITIES = listed(
    "go to the cinema;have lunch;play tennis;visit the museum;study for the exam;go swimming;"
    "try the new pizzeria;watch the football match;go for a run;see the exhibition;"
    "practise the presentation;play chess;go to the concert;look at the new apartment;"
    "rehearse the song;go bowling;buy a bicycle;take a walk"
)
PLACES = listed(
    "in front of the cinema;at the station;at the café;in the library;at the bus stop;"
    "in front of the town hall;at the market;by the fountain;at the office;in the park;"
    "at the main gate;outside the bakery;on the bridge;in the hotel lobby"
)
# First and third person.
EXCUSES = (
    ("have to work late", "has to work late"),
    ("have a dentist appointment", "has a dentist appointment"),
    ("have to pick up my parents", "has to pick up the parents"),
    ("have a driving lesson", "has a driving lesson"),
    ("have to finish a report", "has to finish a report"),
    ("am on a business trip", "is on a business trip"),
    ("have to babysit", "has to babysit"),
    ("have choir practice", "has choir practice"),
    ("am moving house", "is moving house"),
    ("have guests", "has guests"),
)
TASKS = listed(
    "water the plants;walk the dog;feed the cat;print the tickets;return the library books;"
    "book a table;pick up the parcel;check the report;call the landlord;buy some bread;"
    "clean the kitchen;reserve the meeting room;translate the letter;fix the bicycle;"
    "pay the electricity bill;send the invitations;order the taxi;update the website;"
    "collect the keys;empty the mailbox;charge the camera;cancel the appointment"
)
THINGS = listed(
    "tent;drill;suitcase;ladder;camera;bicycle;sleeping bag;guitar;projector;raincoat;"
    "calculator;backpack;lawn mower;sewing machine;car;dictionary;board game;grill"
)
GIFTS = listed(
    "a book;a scarf;a plant;a watch;a voucher;a teapot;a puzzle;a cookbook;a lamp;a bottle of wine;"
    "concert tickets;a photo album;a wallet;headphones;a painting;a box of chocolates"
)
OCCASIONS = listed("birthday;wedding;graduation;retirement;Christmas;housewarming;farewell;moving")
STOPS = listed(
    "central station;north station;the airport;the harbor;the bus station;east station;"
    "the ferry terminal;south station"
)
DELAYS = (
    "The train is delayed",
    "I missed my connection",
    "There is a strike",
    "They changed the timetable",
    "The road is closed",
)
WAYS = ("take a taxi", "take the bus", "walk home", "take the tram")
LOST = listed(
    "wallet;phone;passport;umbrella;keys;glasses;notebook;charger;headphones;ticket;gloves;"
    "laptop;watch;library card"
)
SPOTS = listed(
    "under the sofa;in the kitchen;on the balcony;in the car;next to the printer;on the shelf;"
    "in the bathroom;behind the door;in the blue bag;on the desk;in the garage;under the bed;"
    "in the jacket;at the reception"
)
FOOD = listed(
    "salad;drinks;dessert;bread;cheese;soup;pizza;fruit;cookies;sandwiches;ice cream;pasta"
)
EVENTS = listed("party;picnic;barbecue;office lunch;game night;farewell party")

GREETINGS = ("Hi {x}!", "Hello {x}.", "Hey {x}!", "Good morning {x}.", "Hello!", "Hi!")
# A question or remark and its answer; they change nothing, whatever days or people they name.
FILLERS = (
    ("How was your weekend?", "Quiet, I mostly slept."),
    ("How was the trip on {day}?", "Long, but the weather was nice."),
    ("Did you sleep well?", "Not really, the neighbors had guests until midnight."),
    ("What is the weather like over there?", "It has been raining since {day}."),
    ("Have you heard from {name} lately?", "Yes, {name} called me on {day}."),
    ("I finally finished my tax return.", "Congratulations, I still have to do mine."),
    ("Is your cold better?", "Much better, thanks for asking."),
    ("I saw {name} {place} on {day}.", "Really? Give my regards next time."),
    ("Did you watch the game on {day}?", "Only the second half."),
    ("My phone is acting up again.", "Mine too, ever since the last update."),
    ("How are the kids?", "Fine, they started school on {day}."),
    ("I am so tired today.", "Then drink a coffee, it helps."),
    ("Did {name} get the job?", "Yes, {name} starts on {day} {time}."),
    ("The traffic was terrible this morning.", "I know, I took the bike."),
    ("Have you read the news?", "Not yet, anything interesting?"),
    ("I started learning Spanish.", "Nice, my course begins on {day} {time}."),
    ("Our meeting on {day} took three hours.", "Poor you, ours was canceled."),
    ("{name} bought a new car.", "Another one? The last one was not even old."),
    ("I had lunch with {name} {place}.", "Sounds nice, the food there is good."),
    ("My sister is visiting me on {day}.", "Say hello to her from me."),
    ("Did you know that {name} moved away?", "Yes, I helped with the boxes on {day}."),
    ("I have to get up {time} tomorrow.", "That is not so bad."),
    ("The lift is broken again.", "Then we get some exercise."),
    ("Did you see my photos?", "Yes, the one with the lake is great."),
)
