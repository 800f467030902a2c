"""What roles are measured on: random tokens said twice, pinned by a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from torch import Tensor

from ...words.errors import PositionError

if TYPE_CHECKING:
    from ...model.model import Model

#: Tokens that are said twice, and how many sequences of each length: several lengths, so that a head that looks a fixed
#: number of tokens back is not taken for one that looks for the same token.
LENGTHS, EACH = (6, 10, 15), 8
#: Tokens that circuits are read on: as many at most.
TOKENS = 1024
#: Fewer words than these are no vocabulary; any token is then taken.
FEWEST = 16
#: The first position that counts: before it nearly everything is the first token.
FIRST = 2


@dataclass(frozen=True)
class Probes:
    """``prompts`` are sequences of ids, ``lengths`` how many tokens each says twice, behind ``prefix`` special tokens;
    ``tokens`` is what they were drawn from, ``words`` what that is called, ``seed`` what drew them."""

    prompts: tuple[tuple[int, ...], ...]
    lengths: tuple[int, ...]
    prefix: tuple[int, ...]
    tokens: tuple[int, ...]
    words: str
    seed: int

    def __str__(self) -> str:
        *some, last = map(str, sorted(set(self.lengths)))
        sizes = f"{', '.join(some)} or {last}" if some else last
        return (
            f"{len(self.prompts)} sequences of {sizes} tokens, drawn from {len(self.tokens):,} {self.words} (seed "
            f"{self.seed}), each sequence said twice"
        )


def ordinary(model: Model) -> tuple[list[int], str]:
    """(tokens that a prompt may be drawn from, what they are called): words that the model was trained on where a list
    of them lies beside its weights, else words of its vocabulary, else any token."""
    special = set(model.special_ids)
    ids = [i for i in range(min(model.n_embeddings, model.vocab_size)) if i not in special]
    text = {i: model.token(i) for i in ids if model.pieces.of(i) is not None}
    words = [i for i, t in text.items() if t.startswith(" ") and t[1:].isalpha() and len(t) > 3]
    known = model.known_words
    if known is not None:
        shown = [i for i in words if text[i][1:] in known]
        if len(shown) >= FEWEST:
            return shown, "words of its training text"
    if len(words) >= FEWEST:
        return words, "words of its vocabulary"
    return [i for i in text if not text[i].startswith("<")] or ids, "tokens of its vocabulary"


def probes(model: Model, seed: int = 0) -> Probes:
    """Sequences of distinct random tokens, said twice, behind what the tokenizer puts in front of a text.

    Raises:
        PositionError: the model has too few positions, or too few tokens to tell apart.
    """
    pool, words = ordinary(model)
    draw = random.Random(seed)
    first = model.encode(model.token(pool[0]))[:1]
    prefix = [i for i in first if i in model.special_ids]
    most = min(len(pool), ((model.max_positions or 10**6) - len(prefix)) // 2)
    if most < 4:
        raise PositionError(
            f"{model.name} has too few positions or tokens to say a sequence twice: {most} tokens fit.",
            "Roles are measured on at least 4 tokens said twice.",
        )
    lengths = LENGTHS if most >= LENGTHS[-1] else tuple(range(max(3, most - 2), most + 1))
    made, sizes = [], []
    for length in lengths:
        for _ in range(EACH):
            once = draw.sample(pool, length)
            made.append((*prefix, *once, *once))
            sizes.append(length)
    kept = sorted(draw.sample(pool, TOKENS)) if len(pool) > TOKENS else pool
    return Probes(tuple(made), tuple(sizes), tuple(prefix), tuple(kept), words, seed)


def looked_for(ids: list[int], special: set[int]) -> Mapping[str, Bool[Tensor, "destination source"]]:
    """Where a head of each pattern role looks in a prompt: none in the rows that the role says nothing of.

    Special tokens are not looked for as previous or repeated ones, since heads rest there for reasons of their own.
    """
    n = len(ids)
    t, s = torch.arange(n)[:, None], torch.arange(n)[None, :]
    plain = torch.tensor([i not in special for i in ids])
    both = plain[:, None] & plain[None, :] & (s >= 1)
    row = torch.tensor(ids)
    same = (row[:, None] == row[None, :]) & (s < t) & plain[:, None] & plain[None, :]
    follows = torch.zeros_like(same)
    follows[:, 1:] = same[:, :-1]
    late = t >= FIRST
    return {
        "previous token": both & late & (s == t - 1),
        "duplicate token": same,
        "induction": follows & (s < t) & plain[None, :],
        "current token": both & late & (s == t),
        "first-token sink": late & (s == 0),
    }
