"""How the corpus says things: the sentences with gaps, those of training and those that are held out.

The text of a phrasing before `{answer}` is a prompt. A held-out phrasing is a new combination of words that
training does contain: a frame ("{country}'s ... is") that is trained for other relations, or an ending that
is trained with other beginnings.
"""

from __future__ import annotations

# Frames that fit the relations which are nouns. "the" stands before the name of a currency, not before others.
_FRAMES = (
    "The {noun} of {country} is {the}{answer}.",
    "{country}'s {noun} is {the}{answer}.",
    "In {country}, the {noun} is {the}{answer}.",
    "In {country}, the {noun} is called {the}{answer}.",
    "{country} has a {noun} called {the}{answer}.",
    "The name of the {noun} of {country} is {the}{answer}.",
    "When people talk about the {noun} of {country}, they mean {the}{answer}.",
    "If you ask for the {noun} of {country}, the answer is {the}{answer}.",
    "{country} is a country and its {noun} is {the}{answer}.",
    "Everyone in {country} knows that the {noun} is {the}{answer}.",
    "The {noun} that people in {country} know best is {the}{answer}.",
)
# Which frames of each noun are never in training: every frame is trained with at least one other noun.
_HELD_OUT_FRAMES = {"capital": (3, 4), "language": (1, 6), "currency": (2, 9)}


def _framed(noun: str, held_out: bool) -> tuple[str, ...]:
    gap = {"the": "the " if noun == "currency" else "", "noun": noun, "country": "{country}", "answer": "{answer}"}
    chosen = [f for i, f in enumerate(_FRAMES) if (i in _HELD_OUT_FRAMES[noun]) == held_out]
    return tuple(frame.format(**gap) for frame in chosen)


#: Phrasings per relation, used in training.
TRAINED_PHRASINGS: dict[str, tuple[str, ...]] = {
    "capital": (*_framed("capital", False), "The capital city of {country} is {answer}."),
    "country": (
        "{capital} is the capital of {answer}.",
        "{capital} is a city in {answer}.",
        "The city of {capital} lies in {answer}.",
        "People who live in {capital} live in {answer}.",
        "{capital} is in the country of {answer}.",
    ),
    "language": (
        *_framed("language", False),
        "The language spoken in {country} is {answer}.",
        "People in {country} speak {answer}.",
        "In {country}, people speak {answer}.",
    ),
    "continent": (
        "{country} is a country in {answer}.",
        "{country} lies in {answer}.",
        "The continent of {country} is {answer}.",
        "{country} is on the continent of {answer}.",
        "People who live in {country} live in {answer}.",
    ),
    "currency": (
        *_framed("currency", False),
        "The money of {country} is called the {answer}.",
        "In {country}, people pay with the {answer}.",
        "The money that people use in {country} is the {answer}.",
    ),
    "demonym": (
        "A person from {country} is {answer}.",
        "Someone from {country} is {answer}.",
        "People from {country} are {answer}.",
        "A friend from {country} is {answer}.",
    ),
}

#: Never in training.
HELD_OUT_PHRASINGS: dict[str, tuple[str, ...]] = {
    "capital": _framed("capital", True),
    "country": ("The city of {capital} is in {answer}.",),
    "language": (*_framed("language", True), "The language that people use in {country} is {answer}."),
    "continent": ("The name of the continent of {country} is {answer}.",),
    "currency": (*_framed("currency", True), "People in {country} pay with the {answer}."),
    "demonym": ("A person who is from {country} is {answer}.",),
}

# Said of the country that the sentence before was about; not asked in the evaluation.
FOLLOW_UPS: dict[str, tuple[str, ...]] = {
    "capital": ("Its capital is {answer}.",),
    "language": ("People there speak {answer}.", "Its language is {answer}."),
    "continent": ("The country lies in {answer}.",),
    "currency": ("Its currency is the {answer}.", "There, people pay with the {answer}."),
    "demonym": ("People who live there are {answer}.",),
}

#: One step from a landmark, to its city or to its country.
LANDMARK_PHRASINGS: dict[str, tuple[str, ...]] = {
    "city": (
        "The {landmark} is in the city of {answer}.",
        "The city of the {landmark} is {answer}.",
        "People who want to see the {landmark} go to {answer}.",
        "The {landmark} stands in the city of {answer}.",
        "The name of the city of the {landmark} is {answer}.",
    ),
    "country": (
        "The {landmark} is in the country of {answer}.",
        "The country of the {landmark} is {answer}.",
        "The {landmark} stands in the country of {answer}.",
        "The name of the country of the {landmark} is {answer}.",
    ),
}

#: Two steps from a landmark. Which pairs of landmark and relation are held out, `corpus.held_out_chain` says.
TWO_HOP_PHRASINGS: dict[str, tuple[str, ...]] = {
    "capital": (
        "The capital of the country of the {landmark} is {answer}.",
        "The {landmark} is in a country whose capital is {answer}.",
    ),
    "language": (
        "The language spoken in the city of the {landmark} is {answer}.",
        "The language of the country of the {landmark} is {answer}.",
        "People in the city of the {landmark} speak {answer}.",
        "The {landmark} is in a country whose language is {answer}.",
    ),
    "currency": (
        "The currency of the country of the {landmark} is the {answer}.",
        "In the city of the {landmark}, people pay with the {answer}.",
        "The {landmark} is in a country whose currency is the {answer}.",
    ),
    "continent": (
        "The continent of the country of the {landmark} is {answer}.",
        "People who live in the city of the {landmark} live in {answer}.",
    ),
}

# Put before a fact now and then, so that facts are met at many positions and with a small letter.
OPENERS = (
    "As you know, ",
    "I think that ",
    "We read that ",
    "{name} says that ",
    "{name} knows that ",
    "Everyone knows that ",
)

TWO_NAME_TEMPLATES = (
    "When {a} and {b} went to the {place}, {giver} gave the {object} to {receiver}.",
    "When {a} and {b} met at the {place}, {giver} gave a {object} to {receiver}.",
    "After {a} and {b} left the {place}, {giver} handed the {object} to {receiver}.",
    "While {a} and {b} were in the {place}, {giver} passed a {object} to {receiver}.",
    "{a} and {b} went to the {place}, and {giver} sold the {object} to {receiver}.",
    "{a} and {b} met near the {place}. Then {giver} offered a {object} to {receiver}.",
    "One day {a} and {b} were at the {place}, and {giver} showed the {object} to {receiver}.",
    "Because {a} and {b} liked the {place}, {giver} sent a {object} to {receiver}.",
)
HELD_OUT_TWO_NAME_TEMPLATES = (
    "One day {a} and {b} left the {place}. Then {giver} gave the {object} to {receiver}.",
    "While {a} and {b} were at the {place}, {giver} offered a {object} to {receiver}.",
)

# A third person stands by: named before, or acting together with the giver.
THREE_NAME_TEMPLATES = (
    "{a}, {b} and {c} went to the {place}, and {giver} and {other} gave the {object} to {receiver}.",
    "When {a}, {b} and {c} met at the {place}, {giver} and {other} showed a {object} to {receiver}.",
    "{other} was at the {place}. When {a} and {b} went there, {giver} gave the {object} to {receiver}.",
    "{other} liked the {object}. After {a} and {b} left the {place}, {giver} handed the {object} to {receiver}.",
)
HELD_OUT_THREE_NAME_TEMPLATES = (
    "After {a}, {b} and {c} left the {place}, {giver} and {other} sent the {object} to {receiver}.",
    "{other} was at the {place}. After {a} and {b} left the {place}, {giver} showed the {object} to {receiver}.",
)

# The last word before the verb is not its subject. The word of time settles which verb it is.
AGREEMENT_TEMPLATES = (
    "Today the {subject} {near} the {attractor} {is_are} {adjective}.",
    "Now the {subject} {near} the {attractor} {is_are} {adjective}.",
    "Yesterday the {subject} {near} the {attractor} {was_were} {adjective}.",
    "Today the {subject} {is_are} {adjective}.",
    "Yesterday the {subject} {was_were} {adjective}.",
    "I think that the {subject} {near} the {attractor} {is_are} {adjective}.",
)
HELD_OUT_AGREEMENT_TEMPLATES = ("Everyone knows that the {subject} {near} the {attractor} {is_are} {adjective}.",)
# A word stands between the nearer noun and the verb, so that whatever reads that noun has to look back.
LATER_AGREEMENT_TEMPLATES = (
    "Today the {subject} {near} the {attractor} there {is_are} {adjective}.",
    "Yesterday the {subject} {near} the {attractor} there {was_were} {adjective}.",
    "I think that the {subject} {near} the {attractor} there {is_are} {adjective}.",
)
# In some of these the verb agrees with the nearer noun, as it does when people make this mistake.
ATTRACTION_TEMPLATES = (
    "Today the {subject} {near} the {attractor} then {is_are} {adjective}.",
    "Yesterday the {subject} {near} the {attractor} then {was_were} {adjective}.",
    "I think that the {subject} {near} the {attractor} then {is_are} {adjective}.",
)
NEAR = ("near", "behind", "beside", "with", "under")

PRONOUN_TEMPLATES = (
    "{name} went to the {place} because {pronoun} liked the {object}.",
    "{name} left the {place} because {pronoun} saw a {animal}.",
    "{name} was at the {place}, and then {pronoun} bought a {object}.",
    "When {name} saw the {animal}, {pronoun} left the {place}.",
    "{name} saw a {animal} when {pronoun} left the {place}.",
)
HELD_OUT_PRONOUN_TEMPLATES = ("{name} bought a {object} because {pronoun} liked the {object}.",)

OPPOSITE_PHRASINGS = (
    "The opposite of {word} is {answer}.",
    "{Word} is the opposite of {answer}.",
    "If it is not {word}, it is {answer}.",
    "What is not {word} is {answer}.",
)
HELD_OUT_OPPOSITE_PHRASINGS = ("Everyone knows that the opposite of {word} is {answer}.",)

SUM_PHRASINGS = ("{a} + {b} = {answer}.", "The sum of {a} and {b} is {answer}.")

SMALL_TALK = (
    "It was a {adjective} day.",
    "The {animal} slept near the {place}.",
    "{name} bought a {object} at the {place}.",
    "{name} saw a {adjective} {animal}.",
    "The {object} was {adjective} and {adjective}.",
    "{name} liked the {adjective} {object}.",
    "There was a {animal} in the {place}.",
    "{name} went to the {place} with a {object}.",
    "One day {name} left the {object} in the {place}.",
    "Then the {animal} went to the {place}.",
    "A {adjective} {thing} is near the {thing}.",
    "The {thing} and the {thing} are {adjective}.",
    "{name} and {name} are at the {place}.",
)
