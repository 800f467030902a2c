"""What is counted of every feature while texts pass by: as much memory after a billion tokens as after a million.

Of every feature are kept its strongest firings, the strongest of each of its strongest contexts, some firings drawn at
random (each as likely as any other, whatever the order), how many there were and how strong, by bins of equal width on
a logarithmic scale; of the texts those that some feature needs.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..sae import SAE
from .kept import BINS, FIRST_BIN, PER_OCTAVE, Cards, Rows
from .labels import label_of
from .leaders import Leaders
from .weaker import STEPS, WINDOW, Weaker, start_of

#: How many of the strongest firings a label is counted from; how many contexts are kept, and how many firings drawn.
LOOKED_AT, TOP, DRAWN = 24, 20, 25
#: Of each firing that was drawn, how many of the strongest other features there are kept.
OTHERS = 8
#: Activations that are held at once.
BLOCK = 2**23

_WHERE: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {"context": (torch.int64, ()), "position": (torch.int32, ())}
_AROUND = {**_WHERE, "window": (torch.uint8, (WINDOW,)), "peak": (torch.float32, ())}


class Tally:
    """Counts of one dictionary's features over contexts that are given a few at a time.

    Only activations above 0 count, and no first positions: those are unlike all others in most models.
    """

    def __init__(self, sae: SAE, top: int = TOP, drawn: int = DRAWN) -> None:
        n = sae.n_features
        self.sae = sae
        self.length = sae.w_dec.norm(dim=1).cpu()
        self.count = torch.zeros(n, dtype=torch.long)
        self.bins = torch.zeros(n, BINS, dtype=torch.int32)
        self.base: Counter[str] = Counter()
        self.contexts, self.tokens, self.longest = 0, 0, 0
        self.ids: dict[int, array[int]] = {}
        self._needed = 0
        self.strongest = Leaders(n, LOOKED_AT, _WHERE)
        self.best = Leaders(n, top, _AROUND)
        others = (torch.int32, (OTHERS,))
        self.drawn = Leaders(n, drawn, {**_AROUND, "value": (torch.float32, ()), "others": others})

    # taking in --------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def add(
        self,
        x: Float[Tensor, "context position d_in"],
        ids: Sequence[Sequence[int]],
        said: Sequence[Sequence[Sequence[str]]],
    ) -> None:
        """Take in contexts: their activations (what lies behind their end is left out), token ids, and what can be said
        of every token."""
        for rows in said:
            self.base.update(what for row in rows[1:] for what in set(row))
        size = max(1, BLOCK // max(1, self.sae.n_features * x.shape[1]))
        for start in range(0, len(ids), size):
            some = slice(start, start + size)
            real = torch.tensor([len(row) for row in ids[some]])
            active = self.sae.encode(x[some].float()).clamp_min(0)
            inside = torch.arange(x.shape[1])[None] < real[:, None]
            inside[:, 0] = False
            self._count(active * inside[..., None].to(active.device), real, self.contexts + start)
        self.ids |= {self.contexts + c: array("i", row) for c, row in enumerate(ids)}
        self.contexts += len(ids)
        self.tokens += sum(len(row) - 1 for row in ids)
        self.longest = max(self.longest, *map(len, ids))
        if len(self.ids) > 4096 and len(self.ids) > 2 * self._needed:
            self._forget()

    def _count(self, active: Float[Tensor, "context position feature"], real: Tensor, first: int) -> None:
        device, (rows, length, n) = active.device, active.shape
        found = active.nonzero(as_tuple=True)
        value = active[found].cpu()
        context, position, feature = (t.cpu() for t in found)
        self.count += torch.bincount(feature, minlength=n)
        where = feature * BINS + bin_of(value)
        self.bins.view(-1).index_add_(0, where, torch.ones(len(where), dtype=torch.int32))

        def places(some: Tensor) -> dict[str, Tensor]:
            return {"context": context[some] + first, "position": position[some]}

        def around(some: Tensor) -> dict[str, Tensor]:
            c, f, start = context[some], feature[some], start_of(position[some], real[context[some]])
            at = start[:, None] + torch.arange(WINDOW)
            near = active[c[:, None].to(device), at.clamp_max(length - 1).to(device), f[:, None].to(device)].cpu()
            near = near * (at < length)
            peak = near.amax(1)
            share = (STEPS * near / peak[:, None]).round().clamp(1, STEPS) * (near > 0)
            return {**places(some), "window": share, "peak": peak}

        self.strongest.add(feature, value, places)
        # The strongest firing of every feature in every context, in the order in which they came.
        order = value.argsort(descending=True, stable=True)
        pair = feature * rows + context
        order = order[pair[order].argsort(stable=True)]
        begins = torch.ones(len(order), dtype=torch.bool)
        begins[1:] = pair[order][1:] != pair[order][:-1]
        most = order[begins].sort().values
        self.best.add(feature[most], value[most], lambda some: around(most[some]))
        if self.drawn.key.shape[1]:
            there = self._there(context * length + position, feature, value, rows * length)

            def drawn(some: Tensor) -> dict[str, Tensor]:
                listed, own = there[(context * length + position)[some]], feature[some, None]
                others = listed.gather(1, (listed == own).long().argsort(dim=1, stable=True)[:, :OTHERS])
                return {**around(some), "value": value[some], "others": others}

            self.drawn.add(feature, -lot(feature, context + first, position), drawn)

    def _there(
        self, at: Int[Tensor, "row"], feature: Int[Tensor, "row"], value: Float[Tensor, "row"], positions: int
    ) -> Int[Tensor, "position feature"]:
        """The features that write the longest vectors at every position, -1 where no more fire."""
        order = (value * self.length[feature]).argsort(descending=True, stable=True)
        order = order[at[order].argsort(stable=True)]
        counts = torch.bincount(at, minlength=positions)
        rank = torch.arange(len(order)) - (counts.cumsum(0) - counts)[at[order]]
        order, rank = order[rank <= OTHERS], rank[rank <= OTHERS]
        found = torch.full((positions, OTHERS + 1), -1, dtype=torch.long)
        found[at[order], rank] = feature[order]
        return found

    def _forget(self) -> None:
        """Drop the texts that no feature needs any more."""
        needed = {c for kept in (self.strongest, self.best, self.drawn) for c in _contexts(kept)}
        self.ids = {c: row for c, row in self.ids.items() if c in needed}
        self._needed = len(self.ids)

    # giving out --------------------------------------------------------------------------------------------------
    def cards(
        self, properties: Callable[[int], Sequence[Sequence[str]]], own: bool = True, finished: bool = True
    ) -> Cards:
        """The cards of what was counted so far.

        Args:
            properties: what can be said of the tokens of a context, by its number.
            own: whether the token ids of the contexts are kept with the cards, which then count them anew.
            finished: whether these are all of the texts.
        """
        kept = [self.best, self.drawn]
        context, position = (torch.cat([k.column(name) for k in kept], 1).long() for name in ("context", "position"))
        filled = torch.cat([k.filled for k in kept], 1)
        window, peak = (torch.cat([k.column(name) for k in kept], 1) for name in ("window", "peak"))
        activation = torch.cat([self.best.key, self.drawn.column("value")], 1).masked_fill(~filled, 0.0)
        texts = None
        numbers = context[filled].unique()
        lengths = torch.tensor([len(self.ids[c]) for c in numbers.tolist()], dtype=torch.long)
        dense = torch.searchsorted(numbers, context).clamp_max(max(0, len(numbers) - 1)).masked_fill(~filled, 0)
        real = lengths[dense] if len(numbers) else torch.zeros_like(dense)
        if own:
            texts, context = Rows.of([self.ids[c] for c in numbers.tolist()]), dense
        weaker = Weaker.around(window, position, start_of(position, real), filled, self.longest)
        drawn = self.drawn.column("others")
        return Cards(
            self.labels(properties),
            self.count / max(1, self.tokens),
            context,
            position,
            activation.float(),
            weaker,
            top=self.best.key.shape[1],
            peaks=peak if self.drawn.key.shape[1] else None,
            others=drawn if drawn.numel() else None,
            histogram=self.bins if drawn.numel() else None,
            texts=texts,
            tokens=self.tokens,
            finished=finished,
        )

    def labels(self, properties: Callable[[int], Sequence[Sequence[str]]]) -> list[str]:
        """A label of every feature; each context is described once."""
        filled, context, position = self.strongest.filled, *map(self.strongest.column, ("context", "position"))
        order = context[filled].argsort(stable=True)
        where = filled.nonzero()[order].tolist()
        numbers, places = context[filled][order].tolist(), position[filled][order].tolist()
        said: list[list[Sequence[str]]] = [[()] * count for count in filled.sum(1).tolist()]
        known, rows = -1, list[Sequence[str]]()
        for (feature, rank), number, at in zip(where, numbers, places, strict=True):
            if number != known:
                known, rows = number, list(properties(number))
            said[feature][rank] = rows[at]
        return [label_of(firings, self.base, self.tokens) for firings in said]

    # going on ----------------------------------------------------------------------------------------------------
    def tensors(self) -> dict[str, Tensor]:
        """All that it takes to go on from here, by name."""
        self._forget()
        texts = Rows.of([self.ids[c] for c in sorted(self.ids)])
        kept = {"strongest": self.strongest, "best": self.best, "drawn": self.drawn}
        base = json.dumps(self.base, ensure_ascii=False).encode("utf-8", "surrogatepass")
        return {
            "count": self.count,
            "bins": self.bins,
            "sizes": torch.tensor([self.contexts, self.tokens, self.longest]),
            "base": torch.tensor(list(base), dtype=torch.uint8),
            "numbers": torch.tensor(sorted(self.ids), dtype=torch.long),
            "ids": texts.ids,
            "ends": texts.ends,
            **{key: t for name, leaders in kept.items() for key, t in leaders.tensors(name).items()},
        }

    def restore(self, found: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`tensors` gave, of the same dictionary and sizes."""
        self.count.copy_(found["count"])
        self.bins.copy_(found["bins"])
        self.contexts, self.tokens, self.longest = found["sizes"].tolist()
        self.base = Counter(json.loads(bytes(found["base"].tolist()).decode("utf-8", "surrogatepass")))
        texts = Rows(found["ids"], found["ends"])
        self.ids = {c: array("i", texts[row]) for row, c in enumerate(found["numbers"].tolist())}
        for name, leaders in (("strongest", self.strongest), ("best", self.best), ("drawn", self.drawn)):
            leaders.restore(name, found)


def _contexts(kept: Leaders) -> list[int]:
    found: list[int] = kept.column("context")[kept.filled].unique().tolist()
    return found


def bin_of(value: Float[Tensor, "row"]) -> Int[Tensor, "row"]:
    """Which bin an activation above 0 falls into; those outside fall into the first and the last."""
    return (PER_OCTAVE * value.double().log2()).floor().long().sub(FIRST_BIN).clamp(0, BINS - 1)


def lot(feature: Int[Tensor, "row"], context: Int[Tensor, "row"], position: Int[Tensor, "row"]) -> Float[Tensor, "row"]:
    """A number of each firing, as good as drawn at random: the least of these are kept. A bit mixer (SplitMix64, Steele
    et al. 2014), so that no generator has to be remembered and nothing depends on the order."""
    x = feature * _ODD[0] + context * _ODD[1] + position * _ODD[2]
    for shift, factor in ((30, _ODD[1]), (27, _ODD[2]), (31, 1)):
        x = (x ^ (x >> shift & (1 << 64 - shift) - 1)) * factor
    return (x >> 40 & 0xFFFFFF).float()


#: As signed numbers of 64 bits.
_ODD = (0x9E3779B97F4A7C15 - 2**64, 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
