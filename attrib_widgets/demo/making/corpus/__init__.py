"""The text that the embedded model is trained on: generated, seeded, and split before it is written.

A context is a handful of sentences of several kinds: facts about countries and landmarks, sentences with two
or three names, repeated sequences of random words, agreement, pronouns, opposites, sums, small talk. What the
evaluation asks that training must not show (phrasings, pairs of names, compositions of facts, templates) is
held out by a rule that the generator itself obeys, so it cannot leak. `facts` and `lexicon` are what is spoken of,
`phrasings` the sentences with their gaps, which `sentences` fills, and `mixture` makes contexts of them. The questions
that are asked of the trained model are beside, in `cases`.
"""

from .held_out import held_out_attractor, held_out_chain, held_out_order, held_out_pair, held_out_sum
from .lexicon import ADJECTIVES, ANIMALS, COUNTABLE, MEN, NAMES, OBJECTS, OPPOSITES, PLACES, SETS, WOMEN, words
from .mixture import LATER_WEIGHTS, context, contexts, fingerprint
from .sentences import ATTRACTED, LARGEST_ADDEND, agreement, attraction, fill, pronoun, three_names, turned, two_names

__all__ = [
    "ADJECTIVES",
    "ANIMALS",
    "ATTRACTED",
    "COUNTABLE",
    "LARGEST_ADDEND",
    "LATER_WEIGHTS",
    "MEN",
    "NAMES",
    "OBJECTS",
    "OPPOSITES",
    "PLACES",
    "SETS",
    "WOMEN",
    "agreement",
    "attraction",
    "context",
    "contexts",
    "fill",
    "fingerprint",
    "held_out_attractor",
    "held_out_chain",
    "held_out_order",
    "held_out_pair",
    "held_out_sum",
    "pronoun",
    "three_names",
    "turned",
    "two_names",
    "words",
]
