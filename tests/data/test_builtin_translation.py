"""German and English of the synchronous grammar, against tables written apart from it."""

from __future__ import annotations

import re

import pytest

from heed.data.builtin.generate import generate
from heed.data.builtin.inflection import VERBS, english_third, with_article


# Genders as any dictionary has them, written here without looking at the lexicon.
def words(text: str) -> set[str]:
    return set(text.split())


MASCULINE = words(
    "Mann Vater Bruder Sohn Onkel König Freund Arzt Gast Bäcker Koch Hund Vogel Apfel Kuchen "
    "Käse Kaffee Tee Wein Roman Brief Mantel Hut Schal Rock Schuh Zug Bus Koffer Computer "
    "Schlüssel Löffel Ring Teller Spiegel Ball Tisch Stuhl Teppich Garten Park Wald Keller "
    "Bahnhof Turm"
)
FEMININE = words(
    "Frau Mutter Schwester Tochter Tante Königin Katze Maus Kuh Ente Banane Birne Suppe Pizza "
    "Milch Zeitung Geschichte Postkarte Jacke Mütze Tür Flasche Tasche Lampe Kamera Gabel Tasse "
    "Uhr Blume Gitarre Kerze Bank Küche Schule Kirche Wohnung Stadt Fabrik Bibliothek"
)
NEUTER = words(
    "Kind Mädchen Baby Pferd Schwein Kaninchen Ei Brot Fleisch Wasser Bier Buch Gedicht Hemd "
    "Kleid Auto Fahrrad Boot Schiff Fenster Tor Paket Radio Messer Glas Bild Geschenk Bett Sofa "
    "Regal Zimmer Haus Museum Hotel Theater Schloss Dorf Büro"
)
GENDER = dict.fromkeys(MASCULINE, "m") | dict.fromkeys(FEMININE, "f") | dict.fromkeys(NEUTER, "n")
# The same in singular and plural: an article before them may be the plural's.
UNMARKED = words(
    "Bäcker Kuchen Koffer Computer Schlüssel Löffel Teller Spiegel Keller Mädchen Kaninchen "
    "Fenster Messer Zimmer Theater Onkel"
)

# Which genders may follow each article, in any case.
ARTICLES = {
    "das": "n",
    "den": "m",
    "dem": "mn",
    "die": "f",
    "einen": "m",
    "einem": "mn",
    "eine": "f",
    "ein": "mn",
    "einer": "f",
    "keinen": "m",
    "dieses": "n",
    "diesem": "mn",
    "jedes": "n",
    "im": "mn",
    "ins": "n",
    "zum": "mn",
    "zur": "f",
}
# After each preposition, the articles its case allows.
DATIVE = {"dem", "der", "den", "einem", "einer", "meinem", "meiner", "diesem", "dieser", "diesen"}
ACCUSATIVE = {"das", "die", "den", "ein", "eine", "einen"}


@pytest.fixture(scope="module")
def rows():
    return list(generate("translation", "train", size=4999, seed=3))


def test_sentences_look_like_sentences(rows):
    for row in rows:
        english, german = row["source"], row["target"]
        assert 4 <= len(english.split()) <= 25
        assert english[0].isupper()
        assert german[0].isupper()
        assert english[-1] == german[-1]
        assert english[-1] in ".?"
        for text in (english, german):
            assert not re.search(r" [,.?]|,,|,[.?]|  |_", text)


def plain(row: dict[str, str]) -> str:
    """The German without its relative pronouns, which look like articles."""
    return re.sub(r", (der|die|das|den) ", ", ", row["target"])


def test_articles_agree_with_the_gender_of_their_noun(rows):
    seen = set()
    for row in rows:
        for article, noun in re.findall(r"\b(\w+) (\w+)", plain(row)):
            genders = ARTICLES.get(article.lower())
            if genders is None or noun not in GENDER or noun in UNMARKED:
                continue
            seen.add(noun)
            assert GENDER[noun] in genders, row["target"]
    assert len(seen) > 80


def test_adjectives_take_the_ending_of_article_and_gender(rows):
    """Weak after the definite article, mixed after "ein": the nominative and accusative."""
    endings = {
        ("das", "n"): "e",
        ("dem", "m"): "en",
        ("dem", "n"): "en",
        ("den", "m"): "en",
        ("ein", "m"): "er",
        ("ein", "n"): "es",
        ("einen", "m"): "en",
        ("eine", "f"): "e",
        ("einem", "m"): "en",
        ("einer", "f"): "en",
    }
    seen = set()
    for row in rows:
        for article, adjective, noun in re.findall(r"\b(\w+) ([a-zäöüß]+) (\w+)", plain(row)):
            expected = endings.get((article.lower(), GENDER.get(noun, "")))
            if expected is None or noun in UNMARKED:
                continue
            seen.add((article.lower(), GENDER[noun]))
            assert re.search(r"(e[nrs]?)$", adjective)[1] == expected, row["target"]
    assert seen == set(endings)


def test_prepositions_take_their_case(rows):
    counted = 0
    for row in rows:
        for preposition, article in re.findall(
            r"\b(mit|zu|aus|von|vor|hinter) (\w+)", row["target"]
        ):
            if article in ACCUSATIVE | DATIVE and preposition in ("mit", "zu", "aus", "von"):
                counted += 1
                assert article in DATIVE, row["target"]
        for word in ("zu dem ", "zu der ", "in dem ", "in das ", "von dem ", "an das "):
            assert f" {word}" not in row["target"], row["target"]
    assert counted > 100


def test_two_way_prepositions_tell_place_from_direction(rows):
    for row in rows:
        english, german = row["source"], row["target"]
        if match := re.fullmatch(r"\w+ puts? the \w+ on the (\w+)\.", english):
            assert re.search(r" auf (den|die|das) \w+( gelegt)?\.$", german), match
        if re.fullmatch(r"The \w+ (sits|lies) on the \w+\.", english):
            assert re.search(r" auf (dem|der) \w+\.$", german)
        if re.search(r" into the \w+\.$", english):
            assert re.search(r" (ins|in den|in die) ", german)


def test_the_finite_verb_closes_a_subordinate_clause(rows):
    finite = {form for verb in VERBS for form in (verb.prefix + f for f in verb.finite)}
    finite |= words("hat haben habe hast ist sind bin bist war waren warst kann kannst können")
    finite |= words("muss musst müssen will willst wollen darf darfst dürfen wird wirst")
    finite |= words("werde werden konnte konnten konntest musste mussten musstest wollte")
    finite |= words("wollten wolltest sollte sollten solltest kostet kosten gibt gab koste")
    counted = 0
    for row in rows:
        for clause in re.findall(
            r", (?:dass|weil|obwohl|bevor|sobald) ([^,]+)[.?]$", row["target"]
        ):
            counted += 1
            assert clause.split()[-1] in finite, row["target"]
    assert counted > 500


def test_the_finite_verb_stands_second_after_a_time(rows):
    past = re.compile(r"^(Gestern|Letzte Woche|Letztes Jahr|Vor zwei Tagen) (\w+) ")
    second = words("hat haben habe hast ist sind bin bist konnte konnten konntest musste")
    second |= words("mussten musstest wollte wollten wolltest gab")
    found = [match[2] for row in rows if (match := past.match(row["target"]))]
    assert len(found) > 50
    assert set(found) <= second


def test_separable_verbs_part_and_join(rows):
    targets = {row["source"]: row["target"] for row in rows}
    opened = {english: german for english, german in targets.items() if " opens " in f" {english} "}
    assert opened
    for english, german in opened.items():
        assert re.search(r"macht .* auf\b|aufmacht\b", german), english
    for english, german in targets.items():
        if re.search(r"\bopened\b", english):
            assert "aufgemacht" in german
        if re.search(r"\b(to|can|will|may|should|could) open\b", english):
            assert "aufmachen" in german


def test_kein_and_nicht(rows):
    negated = [row for row in rows if re.search(r"\b(not|cannot)\b", row["source"])]
    assert len(negated) > 500
    for row in rows:
        words = re.findall(r"\bnicht\b|\bkein", row["target"], flags=re.IGNORECASE)
        negations = len(re.findall(r"\bnot\b|\bcannot\b", row["source"]))
        assert len(words) == negations, row


def test_forms_by_hand():
    by_name = {(verb.infinitive, verb.pattern): verb for verb in VERBS}
    expected = {
        ("lesen", "acc"): "lese liest liest lesen lesen",
        ("sehen", "acc"): "sehe siehst sieht sehen sehen",
        ("finden", "acc"): "finde findest findet finden finden",
        ("zeichnen", "acc"): "zeichne zeichnest zeichnet zeichnen zeichnen",
        ("füttern", "acc"): "füttere fütterst füttert füttern füttern",
        ("küssen", "acc"): "küsse küsst küsst küssen küssen",
        ("einladen", "acc"): "lade lädst lädt laden laden",
        ("tanzen", "intransitive"): "tanze tanzt tanzt tanzen tanzen",
        ("fahren", "motion"): "fahre fährst fährt fahren fahren",
        ("verlassen", "acc"): "verlasse verlässt verlässt verlassen verlassen",
        ("wohnen", "location"): "wohne wohnst wohnt wohnen wohnen",
        ("warten", "prep"): "warte wartest wartet warten warten",
    }
    for key, forms in expected.items():
        assert " ".join(by_name[key].finite) == forms
    third = {"wash": "washes", "carry": "carries", "buy": "buys", "go": "goes"}
    third |= {"tidy up": "tidies up", "look for": "looks for", "watch": "watches"}
    assert {base: english_third(base) for base in third} == third
    articles = {"apple": "an apple", "useful book": "a useful book", "honest man": "an honest man"}
    assert {phrase: with_article(phrase) for phrase in articles} == articles
