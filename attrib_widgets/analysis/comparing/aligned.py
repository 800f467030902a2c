"""The words of two prompts under each other, and what all heads together carried from each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...result import Result, Table
from ...words.text import signed, visible
from ..heads.all_heads import HeadTable, head_table

if TYPE_CHECKING:
    import pandas as pd

    from ..attribution.attribution import Attribution

Pair = tuple[int | None, int | None]


@dataclass(eq=False, repr=False)
class AlignedTokens(Result):
    """Two prompts, word under word. Made by :meth:`.compare.Comparison.tokens`.

    Attributes:
        pairs: positions in A and in B of the same or the changed word; None where one has no such word.
        values: what all heads together carried from each word to the number that is explained (attention weight x
            value x output matrix, read along its direction); NaN where one has no such word. None where the heads of
            one of the two are not exact, or what they carried is not known.
        rest: what heads write whatever they read (value biases), and their measured rounding. With it the values of a
            side sum to what all its heads contributed.
    """

    a: Attribution
    b: Attribution
    pairs: list[Pair]
    values: Float[Tensor, "side pair"] | None
    rest: Float[Tensor, "side"] | None

    @property
    def same(self) -> list[bool]:
        """Of every pair, whether both prompts have this word."""
        texts = (self.a.run.tokens, self.b.run.tokens)
        return [None not in pair and texts[0][pair[0]] == texts[1][pair[1]] for pair in self.pairs]  # type: ignore[index]

    @property
    def texts(self) -> tuple[list[str | None], list[str | None]]:
        """The words of both, None for a gap."""
        one, other = self.a.run.tokens, self.b.run.tokens
        return [None if i is None else one[i] for i, _ in self.pairs], [
            None if j is None else other[j] for _, j in self.pairs
        ]

    @property
    def difference(self) -> Float[Tensor, "pair"] | None:
        """B − A; a word that one of the two lacks counts as 0 there."""
        return None if self.values is None else self.values[1].nan_to_num(0) - self.values[0].nan_to_num(0)

    @property
    def totals(self) -> tuple[float, float] | None:
        """What all heads of A, and of B, contributed: the sums of the values and the rest."""
        if self.values is None or self.rest is None:
            return None
        one, other = (self.values.double().nan_to_num(0).sum(-1) + self.rest.double()).tolist()
        return one, other

    def title(self) -> str:
        """The finding in one line."""
        changed = self.same.count(False)
        if self.values is None:
            return f"{changed or 'No'} {'word differs' if changed == 1 else 'words differ'}"
        difference = self.difference
        assert difference is not None
        at = int(difference.abs().argmax())
        if not float(difference[at]):
            return "All heads together carried the same from every word"
        words = " / ".join(dict.fromkeys(visible(t) for t in (side[at] for side in self.texts) if t is not None))
        moved = signed(float(difference[at]))
        return f"What all heads together carried differs most at {words}: {moved} {self.a.unit}"

    def summary(self) -> Table:
        texts = self.texts
        rows = [[_shown(one), _shown(other), _told(one, other)] for one, other in zip(*texts, strict=True)]
        if self.values is None or self.difference is None or self.rest is None or self.totals is None:
            return Table(self.title(), ["A", "B", ""], rows)
        difference = self.difference
        sums = [*self.totals, self.totals[1] - self.totals[0]]
        rest = [*self.rest.tolist(), float(self.rest[1] - self.rest[0])]
        columns = [*self.values, difference]
        rows = [
            [*row, *("" if v != v else signed(v, 3) for v in (float(c[i]) for c in columns))]
            for i, row in enumerate(rows)
        ]
        rows += [
            [name, "", "", *(signed(v, 3) for v in values)] for name, values in (("biases", rest), ("all heads", sums))
        ]
        bars = [*difference.tolist(), rest[-1], None]
        headings = ["A", "B", "", f"carried in A, {self.a.unit}", "in B", "B − A"]
        return Table(self.title(), headings, rows, bars, "Observed, not tested.", last=2)

    def to_dataframe(self) -> pd.DataFrame:
        """A row per pair of words: ``position_a``, ``position_b``, ``token_a``, ``token_b``, ``same``, and, where it is
        known, what all heads carried from it: ``a``, ``b`` and ``difference``; NaN where one has no such word. The last
        row, which has no positions, is then what they write whatever they read: ``biases``."""
        import pandas as pd

        known = self.values is not None and self.difference is not None and self.rest is not None
        end = [None] if known else []
        texts = [[*side, *(["biases"] if known else [])] for side in self.texts]
        frame = pd.DataFrame(
            {
                "position_a": pd.array([*(i for i, _ in self.pairs), *end], dtype="Int64"),
                "position_b": pd.array([*(j for _, j in self.pairs), *end], dtype="Int64"),
                "token_a": texts[0],
                "token_b": texts[1],
                "same": [*self.same, *([True] if known else [])],
            }
        )
        if self.values is not None and self.difference is not None and self.rest is not None:
            one, other = (torch.cat([v, r[None]]).tolist() for v, r in zip(self.values, self.rest, strict=True))
            frame["a"], frame["b"] = one, other
            frame["difference"] = [*self.difference.tolist(), float(self.rest[1] - self.rest[0])]
        return frame


def _shown(text: str | None) -> str:
    return "" if text is None else visible(text)


def _told(one: str | None, other: str | None) -> str:
    """What a person is to see of two words under each other; nothing where they are the same."""
    if None in (one, other):
        return "only in A" if other is None else "only in B"
    return "" if one == other else "changed"


def aligned(a: Attribution, b: Attribution) -> AlignedTokens:
    """The words of two prompts under each other, with what all heads carried from each where that is exact."""
    pairs = align(a.run.tokens, b.run.tokens)
    sides = [carried(x) for x in (a, b)]
    if sides[0] is None or sides[1] is None:
        return AlignedTokens(a, b, pairs, None, None)
    values = torch.full((2, len(pairs)), torch.nan)
    for row, (found, _), side in zip(values, (s for s in sides if s is not None), (0, 1), strict=True):
        for i, pair in enumerate(pairs):
            at = pair[side]
            if at is not None:
                row[i] = found[at]
    return AlignedTokens(a, b, pairs, values, torch.tensor([s[1] for s in sides if s is not None]))


def align(one: Sequence[str], other: Sequence[str]) -> list[Pair]:
    """Positions of two texts word under word: same words meet, changed words stand under each other, and what one has
    more of stands over a gap (the longest common runs first, as in difflib).

    Texts of one length that agree in at least half of their places are paired place by place: two names that were
    exchanged are two changed words, not an insertion and a deletion.
    """
    if len(one) == len(other) and 2 * sum(x == y for x, y in zip(one, other, strict=True)) >= len(one):
        return [(i, i) for i in range(len(one))]
    pairs: list[Pair] = []
    for _, i, i_end, j, j_end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        for k in range(max(i_end - i, j_end - j)):
            pairs.append((i + k if i + k < i_end else None, j + k if j + k < j_end else None))
    return pairs


def carried(a: Attribution, table: HeadTable | None = None) -> tuple[Float[Tensor, "source"], float] | None:
    """(what all heads together carried from each token to the explained number, what they write whatever they read and
    their measured rounding); both sum to what all heads contributed. None where a layer's heads, or what they carried,
    are not exact. ``table`` is that of ``a``, if at hand."""
    layers = range(a.reading.point.attentions)
    if not layers or not all(a.model.level(layer).sources for layer in layers):
        return None
    table = table or head_table(a, patterns=False)
    if table is None:
        return None
    sums = (table.rows * table.carry).double().nan_to_num(0).sum((0, 1))
    rest = (table.value_bias.double().nan_to_num(0) + table.rounding.double().nan_to_num(0)).sum()
    return sums.float(), float(rest)
