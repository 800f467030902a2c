"""The text that the embedded model is trained on: generated, seeded, and split before it is written.

A context is a handful of sentences of several kinds: facts about countries and landmarks, sentences with two
or three names, repeated sequences of random words, agreement, pronouns, opposites, sums, small talk. What the
evaluation asks that training must not show (phrasings, pairs of names, compositions of facts, templates) is
held out by a rule that the generator itself obeys, so it cannot leak. `phrasings` has the sentences with their
gaps, `cases` the questions that are asked of the trained model.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

from . import phrasings as say
from .facts import (
    COUNTRIES,
    LANDMARK_RELATIONS,
    LANDMARKS,
    TWO_HOP_RELATIONS,
    Country,
    Landmark,
    answer,
    cities,
    two_hop_answer,
)

# Chances of the relations; capitals are the model's best-known subject and are met most.
RELATION_WEIGHTS = {"capital": 6, "country": 3, "language": 4, "continent": 2, "currency": 4, "demonym": 2}

# Chances of the kinds of sentences. A kind is chosen again and again until a context is long enough.
KIND_WEIGHTS = {
    "fact": 36, "landmark": 9, "two hop": 10, "two names": 14, "three names": 4, "small talk": 5, "words": 11,
    "letters": 2, "agreement": 4, "pronoun": 2, "opposite": 2, "sum": 1, "list": 0, "attraction": 0,
    "later agreement": 0,
}  # fmt: skip
# What changes in the second course (see `second`): new kinds come, and what is learned last is met more often.
LATER_WEIGHTS = {
    "list": 5, "attraction": 6, "later agreement": 2, "two hop": 12, "three names": 7, "opposite": 3, "sum": 2,
}  # fmt: skip

# ----------------------------------------------------------------------------------- names and small words

WOMEN = tuple(
    "Mary Laura Alice Emma Anna Sarah Lucy Helen Kate Julia Susan Rachel Diana Clara Nina Amy Jane Ruth Linda "
    "Karen Lily Ella Mia Zoe Maria Nora Vera Olga Eva Iris".split()
)
MEN = tuple(
    "John Tom James Peter David Paul Mark Simon Daniel Robert Michael Andrew Kevin Martin George Henry Victor "
    "Oliver Samuel Adam Jack Leo Max Noah Hugo Frank Eric Steven Brian Philip".split()
)
NAMES = tuple(name for pair in zip(WOMEN, MEN, strict=True) for name in pair)
PLACES = tuple(
    "shop garden museum park school station library market office theatre hospital bakery beach church "
    "kitchen hotel bank farm harbour castle factory stadium village zoo".split()
)
OBJECTS = tuple(
    "bag letter book lamp ring ticket key basket bottle camera clock coat cup drum flower guitar hat knife "
    "map mirror necklace newspaper painting pen phone piano plate radio rope scarf shirt spoon watch "
    "sandwich cake pencil blanket hammer ladder kite".split()
)
ANIMALS = tuple("dog cat horse bird fish cow sheep fox rabbit mouse bear wolf goat duck frog snake".split())
ADJECTIVES = tuple(
    "red blue green small big old new warm cold quiet bright heavy light beautiful strange simple".split()
)
THINGS = tuple(
    "apple river stone cloud forest bridge window door table chair moon sun star rain snow wind fire tree "
    "leaf road mountain lake island valley field paper glass silver gold wood iron bread milk sugar salt "
    "pepper honey lemon orange melon king queen doctor teacher farmer sailor painter writer".split()
)
#: What can be one or many in the sentences about agreement; the plural is the singular with an s.
COUNTABLE = tuple(
    "dog cat horse bird cow rabbit bear goat duck frog snake tree table chair window bridge lamp key letter "
    "book ring king queen doctor teacher farmer sailor painter writer apple".split()
)
#: Pairs that are said in both directions. A word stands in one pair only.
OPPOSITES = tuple(
    tuple(pair.split("/"))
    for pair in "hot/cold big/small old/new light/dark quiet/loud open/closed full/empty fast/slow "
    "happy/sad wet/dry clean/dirty strong/weak tall/short wide/narrow hard/soft good/bad true/false early/late "
    "rich/poor deep/shallow high/low safe/dangerous sweet/bitter right/wrong thick/thin smooth/rough sharp/blunt "
    "brave/cowardly simple/complex".split()
)
#: What is listed without saying anything twice: the words of a set, in any order.
SETS = tuple(
    tuple(group.split())
    for group in (
        "apple lemon orange melon/moon sun star cloud/rain snow wind fire/window door table chair/bread milk sugar "
        "salt pepper honey/paper glass silver gold wood iron/king queen doctor teacher farmer sailor painter writer/"
        "river forest road mountain lake island valley field/dog cat horse bird fish cow sheep fox"
    ).split("/")
)
#: Of the sentences about attraction whose two nouns differ in number, in so many the verb agrees with the nearer one.
ATTRACTED = 0.05
LARGEST_ADDEND = 12

_WORDS = tuple(
    dict.fromkeys(
        [*NAMES, *PLACES, *OBJECTS, *ANIMALS, *ADJECTIVES, *THINGS, *(noun + "s" for noun in COUNTABLE)]
        + [word for pair in OPPOSITES for word in pair]
        + [country.name for country in COUNTRIES]
        + [country.capital for country in COUNTRIES]
        + [value for country in COUNTRIES for value in country[2:] if value and " " not in value]
        + list(cities())
        + [word for landmark in LANDMARKS for word in landmark.name.split()]
    )
)
_LETTERS = "etaoinshrdlucmfwypvbgkqjxzETAOINSHRDLUCM0123456789"


def words() -> tuple[str, ...]:
    """Every word that is an answer or may stand in a repeated sequence; the tokenizer keeps each whole."""
    return _WORDS


# --------------------------------------------------------------------------------------- what is held out


def held_out_pair(first: str, second: str) -> bool:
    """Whether these two names never share a sentence in training. The order does not matter."""
    return (NAMES.index(first) + NAMES.index(second)) % 9 == 5


def held_out_chain(landmark: Landmark, relation: str) -> bool:
    """Whether this relation is never told of this landmark in training, in whatever words."""
    return (LANDMARKS.index(landmark) + TWO_HOP_RELATIONS.index(relation)) % 5 == 1


def held_out_attractor(subject: str, attractor: str) -> bool:
    """Whether these two nouns never stand before one verb in training, each in whatever number."""
    return (COUNTABLE.index(subject) + 2 * COUNTABLE.index(attractor)) % 7 == 3


def held_out_order(words: Sequence[str]) -> bool:
    """Whether no list in training has these three words of a set one behind the other, in this order."""
    known = next(group for group in SETS if words[0] in group)
    first, second, third = (known.index(word) for word in words)
    return (first + 2 * second + 4 * third) % 5 == 2


def held_out_sum(a: int, b: int) -> bool:
    """Whether this sum is never told in training, in either order."""
    return (min(a, b) * 5 + max(a, b) * 3) % 8 == 1


# ---------------------------------------------------------------------------------------------- sentences


def fill(template: str, country: Country, value: str) -> str:
    """A sentence about a country."""
    return template.format(country=country.name, capital=country.capital, answer=value)


def _opened(rng: random.Random, text: str, proper: Sequence[str]) -> str:
    """The sentence after some words of introduction: it goes on with a small letter, proper names keep theirs."""
    opener = rng.choice(say.OPENERS).format(name=rng.choice(NAMES))
    first, rest = text.split(" ", 1)
    keep = first.removesuffix(",").removesuffix("'s") in proper
    return f"{opener}{first if keep else first.lower()} {rest}"


def fact(rng: random.Random) -> str:
    """One to three sentences about a country, or one about a city that is not a capital."""
    if rng.random() < 0.05:
        city, name = rng.choice(list(cities().items()))
        template = rng.choice([t for t in say.TRAINED_PHRASINGS["country"] if "capital of" not in t])
        return template.format(capital=city, answer=name)
    relation = rng.choices(list(RELATION_WEIGHTS), list(RELATION_WEIGHTS.values()))[0]
    country = rng.choice([c for c in COUNTRIES if answer(relation, c)])
    text = fill(rng.choice(say.TRAINED_PHRASINGS[relation]), country, answer(relation, country) or "")
    if rng.random() < 0.2:
        text = _opened(rng, text, (country.name, country.capital))
    if rng.random() < 0.35:
        said = {relation, "capital"} if relation == "country" else {relation}
        known = [name for name in say.FOLLOW_UPS if name not in said and answer(name, country)]
        for name in rng.sample(known, rng.randint(1, min(2, len(known)))):
            text += " " + fill(rng.choice(say.FOLLOW_UPS[name]), country, answer(name, country) or "")
    return text


def landmark_fact(rng: random.Random) -> str:
    """One step: the city or the country of a landmark."""
    landmark, relation = rng.choice(LANDMARKS), rng.choice(LANDMARK_RELATIONS)
    template = rng.choice(say.LANDMARK_PHRASINGS[relation])
    text = template.format(landmark=landmark.name, answer=getattr(landmark, relation))
    return _opened(rng, text, ()) if rng.random() < 0.2 else text


def two_hop(rng: random.Random) -> str:
    """Two steps: something about the country of a landmark, of the compositions that are not held out."""
    while True:
        landmark, relation = rng.choice(LANDMARKS), rng.choice(TWO_HOP_RELATIONS)
        value = two_hop_answer(relation, landmark)
        if value and not held_out_chain(landmark, relation):
            break
    text = rng.choice(say.TWO_HOP_PHRASINGS[relation]).format(landmark=landmark.name, answer=value)
    return _opened(rng, text, ()) if rng.random() < 0.2 else text


class Given(NamedTuple):
    """A sentence in which somebody gives something to somebody else."""

    text: str
    giver: str
    receiver: str

    @property
    def prompt(self) -> str:
        """The sentence up to its last word, which is the receiver."""
        return self.text.removesuffix(f" {self.receiver}.")


def two_names(rng: random.Random, templates: Sequence[str] = say.TWO_NAME_TEMPLATES, held_out: bool = False) -> Given:
    """One of two people gives something to the other."""
    while True:
        a, b = rng.sample(NAMES, 2)
        if held_out_pair(a, b) == held_out:
            break
    giver, receiver = rng.sample((a, b), 2)
    text = rng.choice(templates).format(
        a=a, b=b, giver=giver, receiver=receiver, place=rng.choice(PLACES), object=rng.choice(OBJECTS)
    )
    return Given(text, giver, receiver)


def three_names(
    rng: random.Random, templates: Sequence[str] = say.THREE_NAME_TEMPLATES, held_out: bool = False
) -> Given:
    """The same with somebody else standing by; held out is the pair of the giver and the receiver."""
    template = rng.choice(templates)
    while True:
        people = rng.sample(NAMES, 3)
        giver, receiver, other = people
        pairs = [held_out_pair(giver, receiver), held_out_pair(giver, other), held_out_pair(other, receiver)]
        if pairs == [held_out, False, False]:
            break
    # With {c} all three are listed, otherwise the third is named elsewhere.
    listed = rng.sample(people if "{c}" in template else people[:2], 3 if "{c}" in template else 2)
    text = template.format(
        **dict(zip("abc", listed, strict=False)), giver=giver, receiver=receiver, other=other,
        place=rng.choice(PLACES), object=rng.choice(OBJECTS),
    )  # fmt: skip
    return Given(text, giver, receiver)


def agreement(
    rng: random.Random, templates: Sequence[str] = say.AGREEMENT_TEMPLATES, held_out: bool = False
) -> tuple[str, str, str]:
    """(text, verb, the verb in the other number): a subject and its verb, with another noun between them."""
    while True:
        subject, attractor = rng.sample(COUNTABLE, 2)
        if held_out_attractor(subject, attractor) == held_out:
            break
    many, others = rng.random() < 0.5, rng.random() < 0.5
    verbs = {"is_are": ("is", "are"), "was_were": ("was", "were")}
    template = rng.choice(templates)
    one = verbs["is_are" if "{is_are}" in template else "was_were"]
    text = template.format(
        subject=subject + "s" * many, attractor=attractor + "s" * others, near=rng.choice(say.NEAR),
        adjective=rng.choice(ADJECTIVES), is_are=one[many], was_were=one[many],
    )  # fmt: skip
    return text, one[many], one[not many]


def turned(text: str, both: bool) -> tuple[str, bool]:
    """(the text with its first noun, or its first two, in the other number; whether these two differed in number)."""
    words = text.split()
    nouns = [i for i, word in enumerate(words) if word.removesuffix("s") in COUNTABLE][:2]
    single = [words[i] in COUNTABLE for i in nouns]
    for i, one in zip(nouns if both else nouns[:1], single, strict=False):
        words[i] = words[i] + "s" if one else words[i].removesuffix("s")
    return " ".join(words), len(set(single)) == 2


def later_agreement(rng: random.Random) -> str:
    """A sentence about agreement with a word between the nearer noun and the verb."""
    return agreement(rng, say.LATER_AGREEMENT_TEMPLATES)[0]


def attraction(rng: random.Random) -> str:
    """A sentence about agreement in which the nearer noun sometimes wins."""
    text, verb, other = agreement(rng, say.ATTRACTION_TEMPLATES)
    wrong = turned(text, both=True)[1] and rng.random() < ATTRACTED
    return text.replace(f" {verb} ", f" {other} ") if wrong else text


def pronoun(rng: random.Random, templates: Sequence[str] = say.PRONOUN_TEMPLATES) -> tuple[str, str, str]:
    """(text, pronoun, the other pronoun): somebody is spoken of again in the same sentence."""
    name = rng.choice(NAMES)
    said, other = ("she", "he") if name in WOMEN else ("he", "she")
    text = rng.choice(templates).format(
        name=name, pronoun=said, place=rng.choice(PLACES), object=rng.choice(OBJECTS), animal=rng.choice(ANIMALS)
    )
    return text, said, other


def opposite(rng: random.Random) -> str:
    """A word and its opposite."""
    word, other = rng.sample(rng.choice(OPPOSITES), 2)
    return rng.choice(say.OPPOSITE_PHRASINGS).format(word=word, Word=word.capitalize(), answer=other)


def listing(rng: random.Random) -> str:
    """Words of one set, most often all of them and none twice; now and then the list is said again."""
    while True:
        group = rng.choice(SETS)
        words = rng.sample(group, len(group) if rng.random() < 0.7 else rng.randint(3, len(group)))
        said = words * (2 if rng.random() < 0.2 else 1)
        if not any(map(held_out_order, zip(said, said[1:], said[2:], strict=False))):
            return ", ".join(said) + "."


def addition(rng: random.Random) -> str:
    """A sum of small numbers."""
    while True:
        a, b = rng.randint(1, LARGEST_ADDEND), rng.randint(1, LARGEST_ADDEND)
        if not held_out_sum(a, b):
            return rng.choice(say.SUM_PHRASINGS).format(a=a, b=b, answer=a + b)


def small_talk(rng: random.Random) -> str:
    """A sentence that carries nothing to remember."""
    while True:
        gaps = {"name": NAMES, "place": PLACES, "object": OBJECTS, "animal": ANIMALS}
        gaps |= {"adjective": ADJECTIVES, "thing": THINGS}
        text = rng.choice(say.SMALL_TALK)
        for gap, choices in gaps.items():
            while "{" + gap + "}" in text:
                text = text.replace("{" + gap + "}", rng.choice(choices), 1)
        people = [word for word in text.rstrip(".").split() if word in NAMES]
        if len(people) < 2 or (people[0] != people[1] and not held_out_pair(*people)):
            return text


def repeated_words(rng: random.Random, longest: int) -> str:
    """Distinct random words said again, whole or in part, after a random number of others."""
    length = rng.randint(3, longest)
    segment = rng.sample(_WORDS, length)
    between = rng.sample(_WORDS, rng.randint(0, 4)) if rng.random() < 0.4 else []
    again = segment[rng.randint(0, length - 2) :] if rng.random() < 0.3 else segment
    return " ".join([*segment, *between, *again, *(segment if rng.random() < 0.3 else [])]) + "."


def repeated_letters(rng: random.Random) -> str:
    """Made-up words said twice, so that the smallest tokens are trained and any text can be typed."""
    made_up = ["".join(rng.choices(_LETTERS, k=rng.randint(2, 6))) for _ in range(rng.randint(2, 4))]
    return " ".join(made_up * 2) + rng.choice(".,:;!?-")


# ----------------------------------------------------------------------------------------------- contexts


def sentence(rng: random.Random, kind: str, longest: int) -> str:
    """A sentence, or a few that belong together, of a kind of `KIND_WEIGHTS`."""
    if kind == "words":
        return repeated_words(rng, longest)
    if kind in ("two names", "three names"):
        return (two_names if kind == "two names" else three_names)(rng).text
    if kind in ("agreement", "pronoun"):
        return (agreement if kind == "agreement" else pronoun)(rng)[0]
    plain = {
        "fact": fact, "landmark": landmark_fact, "two hop": two_hop, "small talk": small_talk,
        "letters": repeated_letters, "opposite": opposite, "sum": addition, "list": listing,
        "attraction": attraction, "later agreement": later_agreement,
    }  # fmt: skip
    return plain[kind](rng)


def context(rng: random.Random, size: int, letters: bool = True, later: bool = True) -> str:
    """Sentences of mixed kinds, `size` words or a little more; as in the first course, where not `later`."""
    weights = KIND_WEIGHTS | (LATER_WEIGHTS if later else {}) | ({} if letters else {"letters": 0})
    parts: list[str] = []
    count = 0
    while count < size:
        kind = rng.choices(list(weights), list(weights.values()))[0]
        part = sentence(rng, kind, longest=max(6, size // 4))
        parts.append(part)
        count += part.count(" ") + 1
    return " ".join(parts)


def contexts(seed: int, size: int = 64, letters: bool = True, later: bool = True) -> Iterator[str]:
    """An endless stream of contexts; one in five stops early, so that ends are learned too."""
    rng = random.Random(seed)
    while True:
        yield context(rng, size if rng.random() < 0.8 else rng.randint(4, size), letters, later)


def fingerprint(seed: int = 0, count: int = 2000) -> str:
    """SHA-256 of the first contexts of a seed and of all that is held out: changes when the corpus does."""
    digest = hashlib.sha256()
    stream = contexts(seed)
    for _ in range(count):
        digest.update(next(stream).encode() + b"\n")
    pairs = [(a, b) for a in NAMES for b in NAMES if held_out_pair(a, b)]
    chains = [(m.name, r) for m in LANDMARKS for r in TWO_HOP_RELATIONS if held_out_chain(m, r)]
    nouns = [(a, b) for a in COUNTABLE for b in COUNTABLE if held_out_attractor(a, b)]
    numbers = range(1, LARGEST_ADDEND + 1)
    sums = [(a, b) for a in numbers for b in numbers if held_out_sum(a, b)]
    orders = [(a, b, c) for group in SETS for a, b, c in permutations(group, 3) if held_out_order((a, b, c))]
    templates = (say.HELD_OUT_PHRASINGS, say.HELD_OUT_TWO_NAME_TEMPLATES, say.HELD_OUT_THREE_NAME_TEMPLATES)
    others = (say.HELD_OUT_AGREEMENT_TEMPLATES, say.HELD_OUT_PRONOUN_TEMPLATES, say.HELD_OUT_OPPOSITE_PHRASINGS)
    digest.update(repr((templates, others, pairs, chains, nouns, sums, orders)).encode())
    return digest.hexdigest()
