"""The words of the passages: kinds of things, what is told of them, and how it is asked.

In the statements and questions {s} is the thing (its name, or "she", "the company", ...) and {v}
the value, which is the answer.
"""

from __future__ import annotations

from typing import NamedTuple

from heed.data.builtin.draw import listed

FIRST_NAMES = listed(
    "Ada Bruno Carla Dario Elsa Fabio Greta Hector Ines Jasper Katja Lorenz Mira Nils Olga Pavel "
    "Renata Stefan Tessa Ulric Vera Walter Xenia Yannick Zelda Arthur Bella Conrad Dora Emil",
    None,
)
WOMEN = frozenset(FIRST_NAMES[0::2])
LAST_NAMES = listed(
    "Arvell Brennik Corvane Delmar Estrova Falken Grovell Hestman Iverno Jastrow Kelloran Lindqua "
    "Morvay Nostrand Orbell Pellgrim Quenby Rostova Sandrel Torvik Ulmer Vantress Westvale "
    "Yarrowby Zellman Ardent Bellwick Castor Dravik Elmond",
    None,
)
TOWNS = listed(
    "Arvenholm Brastow Celdor Dunmarrow Eskeld Farnova Gelspar Hollmere Istravik Jorvale Kestrin "
    "Lomberg Marnfeld Norsund Ostwick Pelmouth Quarndon Rivelsk Solvane Tarnwick Ulvern "
    "Vessport Wexmoor Yarlsted Zandhaven Ambrook Birchmoor Calder Dorvik Elmsford",
    None,
)
COMPANIES = listed(
    "Altrix Borvanta Celnova Drumline Everon Fintara Galvex Hydroma Inventa Jolvar Kestro Lumera "
    "Movanta Nordex Optira Pranto Quadrel Robexa Siltron Tavora Umbrix Velora Wintrex Zenvia",
    None,
)
DEVICES = listed(
    "Arco-5 Bolt-2 Comet-9 Delta-7 Echo-3 Flux-8 Glide-4 Halo-6 Ion-1 Jet-5 Kite-2 Luna-9 Magna-7 "
    "Nova-3 Orbit-8 Pulse-4 Quill-6 Raven-1 Spark-5 Titan-2 Ursa-9 Vega-7 Wave-3 Zephyr-8",
    None,
)

POOLS: dict[str, tuple[str, ...]] = {
    "town": TOWNS,
    "company": COMPANIES,
    "year": tuple(str(year) for year in range(1900, 2020)),
    "job": listed(
        "architect;dentist;pilot;baker;painter;lawyer;engineer;gardener;violinist;teacher;surgeon;"
        "plumber;journalist;librarian;chemist;carpenter;photographer;translator"
    ),
    "hobby": listed(
        "chess;sailing;pottery;hiking;origami;fencing;beekeeping;archery;juggling;surfing;knitting;"
        "astronomy;rowing;calligraphy;badminton;gardening"
    ),
    "instrument": listed(
        "piano;violin;trumpet;harp;cello;flute;drums;guitar;saxophone;accordion;banjo;organ"
    ),
    "pet": listed(
        "parrot;tortoise;greyhound;hamster;pony;goldfish;terrier;iguana;kitten;canary;ferret;poodle"
    ),
    "river": listed(
        "Alder;Brine;Cressel;Dorne;Elva;Fenna;Garrow;Hespe;Irwell;Jossel;Korra;Lavant;Mersa;Nebra"
    ),
    "population": tuple(f"{number},000" for number in range(11, 99)),
    "sight": listed(
        "lighthouse;cathedral;windmill;opera house;botanical garden;stone bridge;clock tower;"
        "fish market;castle ruins;observatory;covered bazaar;marble fountain"
    ),
    "festival": listed(
        "kite festival;jazz festival;lantern parade;flower show;book fair;cheese market;"
        "regatta;puppet week;film festival;harvest dance"
    ),
    "employees": tuple(f"{number}00" for number in range(2, 90)),
    "ware": listed(
        "bicycles;furniture;elevators;toys;raincoats;telescopes;engines;carpets;pianos;tractors;"
        "cameras;batteries;chocolate;umbrellas;watches;paint"
    ),
    "price": tuple(f"{number}9 euros" for number in range(3, 90)),
    "color": listed("silver;black;green;orange;purple;white;yellow;blue;red;gray"),
    "weight": tuple(f"{number} grams" for number in range(110, 990, 10)),
    "material": listed(
        "aluminum;bamboo;ceramic;glass;leather;steel;oak;titanium;carbon fiber;plastic;copper"
    ),
}


class Attribute(NamedTuple):
    """One thing that can be told of a kind: the pool of its values, statements and questions."""

    name: str
    pool: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]


def _attribute(text: str) -> Attribute:
    name, pool, statements, questions = (part.strip() for part in text.split("|"))
    said, asked = (
        tuple(part.strip() for part in parts.split(";")) for parts in (statements, questions)
    )
    return Attribute(name, pool, said, asked)


def _attributes(table: str) -> tuple[Attribute, ...]:
    return tuple(_attribute(block) for block in table.strip().split("\n\n"))


PERSON = _attributes("""
birth year | year
| {s} was born in {v}; {s} came into the world in {v}; the year of birth of {s} is {v}
| When was {s} born?; In which year was {s} born?; What is the year of birth of {s}?

birth town | town
| {s} comes from {v}; the home town of {s} is {v}; {s} grew up in {v}
| Where does {s} come from?; Which town is the home town of {s}?; Where did {s} grow up?

residence | town
| {s} now lives in {v}; today {s} has a house in {v}; {s} has settled down in {v}
| Where does {s} live now?; In which town has {s} settled down?; Where is the house of {s}?

job | job
| {s} works as a trained {v}; the profession of {s} is {v}; {s} earns a living as a {v}
| What is the profession of {s}?; What does {s} do for a living?; As what does {s} work?

employer | company
| {s} is employed by {v}; the employer of {s} is called {v}; {s} has a contract with {v}
| Who employs {s}?; Which company does {s} have a contract with?; What is the employer of {s}?

hobby | hobby
| {s} spends the weekends on {v}; the favorite pastime of {s} is {v}; {s} is fond of {v}
| What is the favorite pastime of {s}?; What is {s} fond of?; What does {s} do on weekends?

instrument | instrument
| {s} plays the {v}; the instrument of {s} is the {v}; {s} has learned to play the {v}
| Which instrument does {s} play?; What is the instrument of {s}?; What has {s} learned to play?

pet | pet
| {s} keeps a {v}; the pet of {s} is a {v}; {s} takes care of a {v}
| What pet does {s} keep?; Which animal does {s} take care of?; What is the pet of {s}?

wedding | year
| {s} got married in {v}; the wedding of {s} took place in {v}; {s} has been married since {v}
| When did {s} get married?; In which year was the wedding of {s}?; Since when is {s} married?
""")

TOWN = _attributes("""
foundation | year
| {s} was founded in {v}; the foundation of {s} dates back to {v}; {s} has existed since {v}
| When was {s} founded?; Since when has {s} existed?; In which year was {s} founded?

river | river
| {s} lies on the river {v}; through {s} flows the river {v}; the river of {s} is the {v}
| On which river does {s} lie?; Which river flows through {s}?; What is the river of {s}?

population | population
| {s} has {v} inhabitants; about {v} people live in {s}; the population of {s} is {v}
| How many people live in {s}?; What is the population of {s}?; How many inhabitants has {s}?

sight | sight
| {s} is known for the {v}; visitors come to {s} for the {v}; the pride of {s} is the {v}
| What is {s} known for?; What do visitors come to {s} for?; What is the pride of {s}?

mayor | person
| the mayor of {s} is {v}; {s} is governed by {v}; {s} has elected {v} as mayor
| Who is the mayor of {s}?; Who governs {s}?; Whom has {s} elected as mayor?

festival | festival
| every summer {s} holds a {v}; the great event of {s} is the {v}; {s} invites to its {v}
| What does {s} hold every summer?; What is the great event of {s}?; To what does {s} invite?
""")

COMPANY = _attributes("""
founder | person
| {s} was founded by {v}; the founder of {s} is {v}; {s} was started by {v}
| Who founded {s}?; Who is the founder of {s}?; Who started {s}?

start | year
| {s} has been in business since {v}; {s} opened its doors in {v}; the history of {s} began in {v}
| Since when has {s} been in business?; When did {s} open its doors?; When did {s} begin?

seat | town
| {s} is based in {v}; the head office of {s} is in {v}; {s} has its seat in {v}
| Where is {s} based?; Where is the head office of {s}?; In which town does {s} have its seat?

employees | employees
| {s} has {v} employees; {v} people work for {s}; the staff of {s} counts {v} people
| How many employees does {s} have?; How many people work for {s}?; How large is the staff of {s}?

ware | ware
| {s} makes {v}; {s} is a producer of {v}; the business of {s} is {v}
| What does {s} make?; What is {s} a producer of?; What is the business of {s}?

director | person
| {s} is led by {v}; the head of {s} is {v}; {s} has {v} as its director
| Who leads {s}?; Who is the head of {s}?; Who is the director of {s}?
""")

DEVICE = _attributes("""
maker | company
| {s} is built by {v}; the maker of {s} is {v}; {s} comes out of a factory of {v}
| Who builds {s}?; Which company is the maker of {s}?; Out of whose factory does {s} come?

price | price
| {s} costs {v}; the price of {s} is {v}; shops sell {s} for {v}
| How much does {s} cost?; What is the price of {s}?; For how much do shops sell {s}?

release | year
| {s} came out in {v}; the first sale of {s} was in {v}; {s} has been on sale since {v}
| When did {s} come out?; In which year was the first sale of {s}?; Since when is {s} on sale?

color | color
| {s} is painted {v}; the color of {s} is {v}; {s} is only sold in {v}
| What color is {s}?; In which color is {s} sold?; What is the color of {s}?

weight | weight
| {s} weighs {v}; the weight of {s} is {v}; {s} comes to {v}
| How much does {s} weigh?; What is the weight of {s}?; How heavy is {s}?

material | material
| {s} is made of {v}; the case of {s} consists of {v}; {s} has a body of {v}
| What is {s} made of?; What does the case of {s} consist of?; Which material is {s} made of?
""")

KINDS = {"person": PERSON, "town": TOWN, "company": COMPANY, "device": DEVICE}
