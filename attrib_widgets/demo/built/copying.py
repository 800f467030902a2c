"""Circuits of heads that copy a word, in closed form.

The stream holds centred one-hot blocks [token | position | output] and a ballast: two large numbers that keep the
scale of every norm nearly constant, so that removing a part rescales next to nothing. The MLPs are zero. In each
circuit the last position looks at position 1 (all others at position 0) and copies the token there to the output.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .stream import UNKNOWN, blank, centred, empty_head, word_tokenizer, write_head

WORDS = (
    *("Say", " Rome", " Madrid", " Paris", " Vienna", " once", " Athens", " Oslo", " Berlin", " more"),
    *(" Lisbon", " Dublin", " Prague", " Warsaw", " Cairo", " Tokyo", " Delhi", " Lima", " nothing", UNKNOWN),
)
CLEAN, CORRUPTED = "Say Paris once more", "Say Berlin once more"
ANSWER, OTHER, NOTHING = " Paris", " Berlin", " nothing"
VOCAB, POSITIONS, LENGTH = len(WORDS), 10, len(CLEAN.split())
HEADS, SIZE = 2, 32
WIDTH = HEADS * SIZE
TOKEN = slice(0, VOCAB)
POSITION = slice(VOCAB, VOCAB + POSITIONS)
OUTPUT = slice(VOCAB + POSITIONS, 2 * VOCAB + POSITIONS)
SIGNAL = 2 * VOCAB + POSITIONS  # one number of the stream, and minus it in the next: whether a token is that one
BALLAST = slice(WIDTH - 2, WIDTH)
WEIGHT = 40.0  # of the ballast
READ = 30.0
SHARP = 60.0
EPSILON = 1e-10
ONE = 1 - 1 / VOCAB  # squared length of a centred one-hot; also what it holds at its own number
ERASED = 0.8


def tokenizer() -> Any:
    """One token per word of :data:`WORDS`."""
    return word_tokenizer(WORDS)


def scale(*output: float) -> float:
    """Standard deviation of a stream whose output block holds the given lengths of different tokens."""
    # centred one-hots of different tokens overlap by -1/V
    crossed = sum(2 * a * b / VOCAB for i, a in enumerate(output) for b in output[i + 1 :])
    inner = sum(a * a for a in output) * ONE - crossed
    return math.sqrt((ONE + (1 - 1 / POSITIONS) + inner + 2 * WEIGHT**2) / WIDTH + EPSILON)


def network(layers: int, activation: str = "gelu_new") -> Any:
    """The embeddings and the read-out that all of these circuits share, and nothing between them."""
    model = blank(layers, HEADS, width=WIDTH, vocab=VOCAB, positions=POSITIONS, epsilon=EPSILON, activation=activation)
    with torch.no_grad():
        model.transformer.wte.weight[:, TOKEN] = centred(VOCAB)
        model.transformer.wpe.weight[:, POSITION] = centred(POSITIONS)
        model.transformer.wpe.weight[:, BALLAST] = torch.tensor([WEIGHT, -WEIGHT])
        model.lm_head.weight[:, OUTPUT] = READ * torch.eye(VOCAB)
    return model


def _looks() -> Float[Tensor, "position position"]:
    """The last position asks for 1 (and, failing that, for 0), the others for 0."""
    table = torch.zeros(POSITIONS, POSITIONS)
    table[:, 0] = 1.0
    table[LENGTH - 1] = 2.0 * torch.eye(POSITIONS)[1] + 1.5 * torch.eye(POSITIONS)[0]
    return table - table.mean(0)


def copy(
    model: Any,
    layer: int,
    head: int,
    weight: float,
    sigma: float,
    gate: float = 0.0,
    into: Float[Tensor, "token d_model"] | None = None,
) -> None:
    """A head that copies the token it looks at, ``into`` the stream or to the output, ``sigma`` the scale of what it
    reads. ``gate``: it looks away when the output holds that very token."""
    q, k, v, o = empty_head(model)
    sharp = SHARP * math.sqrt(SIZE)
    q[POSITION, VOCAB : VOCAB + POSITIONS] = _looks() * sigma * sharp
    k[POSITION, VOCAB : VOCAB + POSITIONS] = centred(POSITIONS) * sigma
    if gate:
        q[OUTPUT, :VOCAB] = -gate * centred(VOCAB) * sigma * sharp
        k[TOKEN, :VOCAB] = centred(VOCAB) * sigma
    v[TOKEN, :VOCAB] = torch.eye(VOCAB) * sigma
    if into is None:
        o[:VOCAB, OUTPUT] = weight * torch.eye(VOCAB)
    else:
        o[:VOCAB] = weight * into
    write_head(model, layer, head, q, k, v, o)


def signal(word: str, length: float = 1.0) -> Float[Tensor, "token d_model"]:
    """What a head writes that only says whether it read ``word``."""
    into, token = torch.zeros(VOCAB, WIDTH), WORDS.index(word)
    into[token, SIGNAL], into[token, SIGNAL + 1] = length, -length
    return into


def spoken() -> Float[Tensor, "token d_model"]:
    """What a head writes that copies every word but "Say" and "nothing", where it writes nothing."""
    into, silent = torch.zeros(VOCAB, WIDTH), [WORDS.index("Say"), WORDS.index(NOTHING)]
    table = torch.eye(VOCAB)
    table[silent] = 0.0
    kept = [token for token in range(VOCAB) if token not in silent]
    table[kept] -= table.sum(0) / len(kept)
    into[:, OUTPUT] = table
    return into


def say(model: Any, layer: int, word: str, length: float) -> None:
    """The MLP of ``layer`` writes ``length`` of ``word``, whatever it reads."""
    with torch.no_grad():
        model.transformer.h[layer].mlp.c_proj.bias[OUTPUT] = length * centred(VOCAB)[WORDS.index(word)]


def sole() -> Any:
    """L0H0 copies with weight 2."""
    model = network(1)
    copy(model, 0, 0, 2.0, scale())
    return model


def backup(*weights: float) -> Any:
    """L0H0 copies with weight 2; the first head of each further layer, with its weight (2 unless others are given),
    where the output does not hold the word yet: where it does, the head looks at the first word and writes nothing.
    Where nobody copies, the last MLP says "nothing".
    """
    later = weights or (2.0,)
    model = network(1 + len(later))
    copy(model, 0, 0, 2.0, scale(), into=spoken())
    for layer, weight in enumerate(later, 1):
        copy(model, layer, 0, weight, scale(2.0), gate=2.0, into=spoken())
    say(model, len(later), NOTHING, 1.0)
    return model


def suppression() -> Any:
    """L0H0 and L0H1 copy with weights +3 and +2, L1H0 with weight -2."""
    model = network(2)
    copy(model, 0, 0, 3.0, scale())
    copy(model, 0, 1, 2.0, scale())
    copy(model, 1, 0, -2.0, scale(5.0))
    return model


def erasure(share: float = ERASED) -> Any:
    """L0H0 copies with weight 2; L1H0 looks at its own position and writes minus ``share`` times what the output holds
    there; L1H1 copies with weight 1."""
    model = network(2)
    copy(model, 0, 0, 2.0, scale())
    q, k, v, o = empty_head(model)
    sigma = scale(2.0)
    q[POSITION, :POSITIONS] = centred(POSITIONS) * sigma * SHARP * math.sqrt(SIZE)
    k[POSITION, :POSITIONS] = centred(POSITIONS) * sigma
    v[OUTPUT, :VOCAB] = torch.eye(VOCAB) * sigma
    o[:VOCAB, OUTPUT] = -share * torch.eye(VOCAB)
    write_head(model, 1, 0, q, k, v, o)
    copy(model, 1, 1, 1.0, sigma)
    return model


def many(count: int = 32) -> Any:
    """Every head of ``count / 2`` layers copies with an equal weight; together as much as one of weight 3.2."""
    model = network(count // HEADS)
    for layer in range(count // HEADS):
        for head in range(HEADS):
            copy(model, layer, head, 3.2 / count, scale(1.6))
    return model


def common() -> Any:
    """L0H0 copies with weight 2; L0H1 adds the same to every token's logit where it reads the answer."""
    model = sole()
    into = torch.zeros(VOCAB, WIDTH)
    into[WORDS.index(ANSWER), OUTPUT] = 1.0
    copy(model, 0, 1, 1.0, scale(), into=into)
    return model


def constant() -> Any:
    """L0H0 copies with weight 2; L0.mlp writes 3 of the answer whatever it reads; where L0H1 reads the other word it
    makes the stream half as long again."""
    model = sole()
    copy(model, 0, 1, 1.0, scale(), into=signal(OTHER, 1.1 * WEIGHT))
    say(model, 0, ANSWER, 3.0)
    return model
