"""An induction circuit, in closed form.

The stream of width 96 holds centred one-hot blocks [token | position | previous token | output]; the MLPs are zero.

* ``L0H0`` copies the previous token into its block (a previous-token head).
* ``L1H0``, ``L1H1`` and ``L1H2`` look for the position whose previous token is the current one, and write its token
  into the output block with weights +3, +2 and -1 (two induction heads and one that suppresses).

After ``Mary Smith ... Mary`` the model therefore says ``Smith``.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from .stream import UNKNOWN, blank, centred, empty_head, word_tokenizer, write_head

WORDS = (
    *(" Tom", " Anna", " and", "see", " then", " Peter", " Lucy", " Mary", " John", " ask"),
    *(" Brown", " Smith", " Jones", " Green", " Miller", " Baker", " call", " with", " again", UNKNOWN),
)
VOCAB, POSITIONS, WIDTH, HEADS, LAYERS = len(WORDS), 16, 96, 4, 2
SIZE = WIDTH // HEADS
TOKEN = slice(0, VOCAB)
POSITION = slice(VOCAB, VOCAB + POSITIONS)
PREVIOUS = slice(VOCAB + POSITIONS, 2 * VOCAB + POSITIONS)
OUTPUT = slice(2 * VOCAB + POSITIONS, 3 * VOCAB + POSITIONS)
COPY = {"L1H0": 3.0, "L1H1": 2.0, "L1H2": -1.0}  # what each head writes of the token that it finds
READ = 4.0  # length of the unembedding rows
EPSILON = 1e-5


def tokenizer() -> Any:
    """One token per word of :data:`WORDS`."""
    return word_tokenizer(WORDS)


def induction() -> Any:
    """The circuit as a float32 ``GPT2LMHeadModel`` in eval mode."""
    model = blank(LAYERS, HEADS, width=WIDTH, vocab=VOCAB, positions=POSITIONS, epsilon=EPSILON)
    token, place = 1 - 1 / VOCAB, 1 - 1 / POSITIONS
    first = math.sqrt((token + place) / WIDTH)  # standard deviation of the stream at layer 0
    second = math.sqrt((2 * token + place) / WIDTH)  # and at layer 1, once the previous token is written
    sharp = 60.0 * math.sqrt(SIZE)  # a matching query and key score about 60
    eye = torch.eye(VOCAB)
    with torch.no_grad():
        model.transformer.wte.weight[:, TOKEN] = centred(VOCAB)
        model.transformer.wpe.weight[:, POSITION] = centred(POSITIONS)
        model.lm_head.weight[:, OUTPUT] = READ * eye
    # The previous-token head: position i asks for position i - 1.
    q, k, v, o = empty_head(model)
    q[POSITION, :POSITIONS] = torch.roll(centred(POSITIONS), -1, 1) * first * sharp
    k[POSITION, :POSITIONS] = centred(POSITIONS) * first
    v[TOKEN, :VOCAB] = eye * first
    o[:VOCAB, PREVIOUS] = eye
    write_head(model, 0, 0, q, k, v, o)
    # The induction heads: the current token asks for the position after its earlier occurrence.
    for index, beta in enumerate(COPY.values()):
        q, k, v, o = empty_head(model)
        q[TOKEN, :VOCAB] = centred(VOCAB) * second * sharp
        k[PREVIOUS, :VOCAB] = centred(VOCAB) * second
        v[TOKEN, :VOCAB] = eye * second
        o[:VOCAB, OUTPUT] = beta * eye
        write_head(model, 1, index, q, k, v, o)
    return model
