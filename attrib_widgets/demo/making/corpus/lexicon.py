"""Names and small words that the corpus is made of."""

from __future__ import annotations

from .facts import COUNTRIES, LANDMARKS, cities

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


def words() -> tuple[str, ...]:
    """Every word that is an answer or may stand in a repeated sequence; the tokenizer keeps each whole."""
    return _WORDS
