"""Words and their forms: what the lexicon's tables become, in German and in English.

A grammatical person is a number: 0 I, 1 you, 2 he/she/it, 3 we, 4 they. A German gender is one of
"m", "f", "n" and, for every plural, "p"; a case is "nom", "acc" or "dat".
"""

from __future__ import annotations

from typing import NamedTuple

from heed.data.builtin import lexicon

FIRST, SECOND, THIRD, WE, THEY = range(5)
GENDERS = "mfnp"


class Noun(NamedTuple):
    """A noun: its forms in both languages; `plural` is "" where there is none."""

    gender: str
    singular: str
    oblique: str
    plural: str
    english: str
    english_plural: str
    classes: frozenset[str]

    def form(self, gender: str, case: str) -> str:
        """The German noun in this case; gender "p" asks for the plural."""
        if gender == "p":
            ends_so = self.plural.endswith(("n", "s"))
            return self.plural if case != "dat" or ends_so else self.plural + "n"
        return self.singular if case == "nom" else self.oblique


class Adjective(NamedTuple):
    """An adjective: `stem` takes endings, `base` stands alone; `comparative` may be ""."""

    stem: str
    base: str
    comparative: str
    english: str
    english_comparative: str
    classes: frozenset[str]


class Verb(NamedTuple):
    """A verb: `finite` are its five present forms without the separable `prefix`."""

    infinitive: str
    prefix: str
    finite: tuple[str, ...]
    participle: str
    auxiliary: tuple[str, ...]
    english: str
    english_third: str
    english_past: str
    pattern: str
    preposition: str
    case: str
    flags: frozenset[str]
    subjects: tuple[Noun, ...]
    nouns: tuple[Noun, ...]


class Tense(NamedTuple):
    """A tense or modal. Where `modal` is None the verb itself is finite (or its auxiliary)."""

    name: str
    times: str
    modal: tuple[str, ...] | None
    english_auxiliary: str
    english_head: tuple[str, str, str]


HAVE = ("habe", "hast", "hat", "haben", "haben")
BE = ("bin", "bist", "ist", "sind", "sind")
WAS = ("war", "warst", "war", "waren", "waren")
ENGLISH_BE = ("am", "are", "is", "are", "are")
ENGLISH_WAS = ("was", "were", "was", "were", "were")

PRESENT = Tense("present", "present", None, "", ("", "", ""))
PAST = Tense("past", "past", None, "", ("", "", ""))
MODALS = (
    Tense("will", "future", ("werde", "wirst", "wird", "werden", "werden"), "will", ("",) * 3),
    Tense("can", "future", ("kann", "kannst", "kann", "können", "können"), "can", ("",) * 3),
    Tense("may", "future", ("darf", "darfst", "darf", "dürfen", "dürfen"), "may", ("",) * 3),
    Tense(
        "should",
        "future",
        ("sollte", "solltest", "sollte", "sollten", "sollten"),
        "should",
        ("",) * 3,
    ),
    Tense(
        "must",
        "future",
        ("muss", "musst", "muss", "müssen", "müssen"),
        "",
        ("have to ", "has to ", "had to "),
    ),
    Tense(
        "want",
        "future",
        ("will", "willst", "will", "wollen", "wollen"),
        "",
        ("want to ", "wants to ", "wanted to "),
    ),
    Tense(
        "could",
        "past",
        ("konnte", "konntest", "konnte", "konnten", "konnten"),
        "could",
        ("",) * 3,
    ),
    Tense(
        "had to",
        "past",
        ("musste", "musstest", "musste", "mussten", "mussten"),
        "did",
        ("have to ", "has to ", "had to "),
    ),
    Tense(
        "wanted",
        "past",
        ("wollte", "wolltest", "wollte", "wollten", "wollten"),
        "did",
        ("want to ", "wants to ", "wanted to "),
    ),
)


def german_finite(verb: str, changed: str) -> tuple[str, ...]:
    """The five present forms of a verb from its infinitive and changed stem ("-": regular)."""
    stem = verb.removesuffix("en") if verb.endswith("en") else verb.removesuffix("n")
    if changed != "-":
        second = changed + ("t" if changed[-1] in "sßzx" else "st")
        third = changed + "t"
    else:
        linked = stem + "e" if stem.endswith(("t", "d", "chn")) else stem
        second = linked + ("t" if linked[-1] in "sßzx" else "st")
        third = linked + "t"
    return (stem + "e", second, third, verb, verb)


def english_plural(noun: str) -> str:
    """The regular plural."""
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def english_third(base: str) -> str:
    """The third person singular, of the first word ("turn on" -> "turns on")."""
    verb, _, rest = base.partition(" ")
    inflected = verb + "es" if verb.endswith("o") else english_plural(verb)
    return f"{inflected} {rest}".rstrip()


def with_article(phrase: str) -> str:
    """ "a" or "an" before a phrase, by its first sound."""
    vowel = phrase[0] in "aeiou" and not phrase.startswith(("useful", "uni"))
    return ("an " if vowel or phrase.startswith("honest") else "a ") + phrase


def english_verb(tense: Tense, verb: Verb, person: int) -> tuple[str, str, str]:
    """The auxiliary that negation and questions use, the plain finite group, the bare group."""
    if tense.english_auxiliary and not tense.english_head[0]:
        return (
            tense.english_auxiliary,
            f"{tense.english_auxiliary} {verb.english}",
            verb.english,
        )
    base, third, past = tense.english_head
    bare = base + verb.english
    if tense.times == "past":
        return "did", past + verb.english if base else verb.english_past, bare
    if person != THIRD:
        return "do", bare, bare
    return "does", third + verb.english if base else verb.english_third, bare


def german_verb(tense: Tense, verb: Verb, person: int) -> tuple[str, str, str]:
    """The finite form, what closes a main clause, and the group that closes a subordinate one."""
    if tense.modal is not None:
        finite = tense.modal[person]
        return finite, verb.infinitive, f"{verb.infinitive} {finite}"
    if tense is PAST:
        finite = verb.auxiliary[person]
        return finite, verb.participle, f"{verb.participle} {finite}"
    finite = verb.finite[person]
    return finite, verb.prefix, verb.prefix + finite


def words(text: str) -> str:
    """A table cell as words."""
    return text.replace("_", " ")


def pairs(table: str) -> tuple[tuple[str, str], ...]:
    """A table of "english german;..." as pairs."""
    halves = (entry.split() for entry in table.split(";"))
    return tuple((words(english), words(german)) for english, german in halves)


def _noun(line: str) -> Noun:
    gender, german, plural, english, plural_english, *classes = line.split()
    singular, _, oblique = german.partition(">")
    english = words(english)
    return Noun(
        gender,
        singular,
        oblique or singular,
        "" if plural == "-" else plural,
        english,
        english_plural(english) if plural_english == "." else plural_english,
        frozenset(classes),
    )


def _adjective(line: str) -> Adjective:
    german, comparative, english, comparative_english, *classes = line.split()
    stem, _, base = german.partition(">")
    return Adjective(
        stem,
        base or stem,
        comparative.strip("-"),
        english,
        words(comparative_english).strip("-"),
        frozenset(classes),
    )


def _nouns_of(names: str) -> tuple[Noun, ...]:
    """The nouns of these classes, or of these English names, each once."""
    chosen: dict[str, Noun] = {}
    for name in names.split():
        found = [noun for noun in NOUNS if name in noun.classes or noun.english == words(name)]
        assert found, f"no noun and no class is called {name!r}"
        chosen.update((noun.singular, noun) for noun in found)
    return tuple(chosen.values())


def _verb(line: str) -> Verb:
    german, english, pattern, subjects, nouns = (cell.strip() for cell in line.split("/"))
    infinitive, changed, participle, auxiliary = german.split()
    prefix, _, core = infinitive.rpartition("+")
    base, past = (words(cell) for cell in english.split())
    kind, *flags = pattern.split()
    preposition, case = flags[:2] if kind == "prep" else ("", "")
    return Verb(
        prefix + core,
        prefix,
        german_finite(core, changed),
        participle,
        HAVE if auxiliary == "h" else BE,
        base,
        english_third(base),
        past,
        kind,
        preposition,
        case,
        frozenset(flags),
        () if subjects == "key" else _nouns_of(subjects),
        _nouns_of(nouns),
    )


NOUNS = tuple(_noun(line) for line in lexicon.NOUNS.strip().splitlines())
ADJECTIVES = tuple(_adjective(line) for line in lexicon.ADJECTIVES.strip().splitlines())
VERBS = tuple(_verb(line) for line in lexicon.VERBS.strip().splitlines())
