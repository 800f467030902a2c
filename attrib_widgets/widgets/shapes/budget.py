"""What an explanation brings along: which parts, in which order, within which bytes and which time.

Values, sources and patterns come first; what a head wrote, its neurons and why it looked where it did follow as
far as the byte budget goes. Live views leave out what takes long to compute: a running kernel answers in time.
An offline page gets everything that fits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ...analysis.heads.all_heads import head_table
from ...analysis.opening.totals import MLPs
from ...model.identity.steady import steady
from ...result import strongest
from ...words.errors import AttribError, ComponentError
from ..transport import wire
from ..transport.wire import Stored
from . import contract, experiments, explorer, results

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...model.running.worker import Job
    from ...words.components import Component
    from ..question import Explanation

#: Bytes of one state: an offline page holds it in base64 beside the bundle, 2 MB in all.
BUDGET = 1_400_000
#: Patterns of longer prompts are asked for, one head at a time.
PATTERN_TOKENS = 300
#: Multiplications that a live view may spend on each of the optional parts: a few tens of milliseconds.
LIVE_WORK = 3e8
#: Parameters times positions for which a live view estimates total effects unasked: a fraction of a second.
LIVE_EFFECTS = 1e9
#: Most heads for which a page computes why they looked there and who wrote what they carried.
PAGE_HEADS = 400
#: Largest heads and MLPs whose features a live view brings along, and of whose features a page brings the cards.
LEADING = 8
#: Features of each of them that a page can open: a card without stored activations takes a forward pass over its texts.
CARDS = 8
#: Largest rows whose dot product a page brings along.
WORKED = 64
#: How a view walks back through MLPs.
TRACED: tuple[MLPs, ...] = ("stop", "frozen")

T = TypeVar("T")


@steady()
def encode(e: Explanation, *, complete: bool = False, job: Job | None = None) -> explorer.Parts:
    """Header and arrays of an explanation, kept on it until dictionaries come or go (one that is edited in place does
    neither). ``complete`` adds what a live view would ask for."""
    key = (complete, e.run.model.saes.version)
    if key not in e.parts:
        e.parts = {kept: parts for kept, parts in e.parts.items() if kept[1] == key[1]}  # of the same dictionaries
        e.parts[key] = _encode(e, complete, job)
    return e.parts[key]


def _encode(e: Explanation, complete: bool, job: Job | None) -> explorer.Parts:
    a, run = e.attribution, e.run
    for recorded in e.runs.values():
        recorded.check_fresh()  # before parts that cannot be had are left out with their reasons: this is none
    drawable = run.n_positions <= PATTERN_TOKENS
    table, levels = head_table(a, patterns=drawable), run.model.check.levels
    header = explorer.header(e, table)
    arrays: explorer.Arrays = {"values": wire.store(a.values)}
    if a.rival is not None:
        arrays["rival"] = wire.store(a.rival)
    if table is not None and any(level.sources for level in levels):
        arrays |= explorer.head_arrays(a, table)
    filler = _Filler(header, arrays, job)
    test, other = header["test"], e.corrupted
    if other is not None and not (test["never"] or test["missing"]) and (complete or cheap(a)):
        filler.add("effects", lambda: experiments.effects(a, other.run))
    unembedding = run.model.d_model * run.model.vocab_size
    size = unembedding * len(a.components)
    if table is not None and drawable:
        filler.add("patterns", lambda: results.patterns(explorer.drawn(table.patterns), filler.left))
    if complete or unembedding * (run.model.n_layers + 1) * run.n_positions <= LIVE_WORK:
        filler.add("lens", lambda: explorer.embedded_lens(a, filler.left))
    thorough = complete or size <= LIVE_WORK
    if thorough:
        header["writes"] = filler.text("writes", lambda: explorer.writes(a))
    if any(level.sublayers for level in levels):
        header["neurons"] = filler.text("neurons", lambda: explorer.neurons(a, header["absent"]))
        if found := filler.text("features", lambda: _features(a, header["absent"], None if complete else LEADING)):
            header["features"] = found
    if complete and header.get("features"):
        header["cards"] = filler.text("cards", lambda: _cards(a))
    if table is not None and thorough and run.model.n_layers * run.model.n_heads <= PAGE_HEADS:
        filler.many("why", lambda: explorer.why_arrays(a, header["why_key"]))
        filler.add("through", lambda: explorer.through(a, filler.left))
        if complete:
            header["trace"] = filler.text("trace", lambda: _traces(a))
    if complete:
        header["worked"] = filler.text("worked", lambda: _worked(a))
    return header, arrays


class _Filler:
    """Adds optional parts in order of priority while the budget lasts; a part is whole or absent."""

    def __init__(self, header: contract.Explained, arrays: explorer.Arrays, job: Job | None) -> None:
        self._absent, self._arrays, self._job = header["absent"], arrays, job
        self.left = BUDGET - len(json.dumps(wire.plain(header))) - sum(s.nbytes for s in arrays.values())

    def add(self, name: contract.ExplorerArray, build: Callable[[], Stored | None]) -> None:
        self.many(name, lambda: None if (stored := build()) is None else {name: stored})

    def many(self, name: str, build: Callable[[], explorer.Arrays | None]) -> None:
        found = self._build(name, build)
        # 120 bytes is about what the header says of one array.
        if found and (size := sum(s.nbytes + 120 for s in found.values())) <= self.left:
            self._arrays.update(found)
            self.left -= size

    def text(self, name: str, build: Callable[[], dict[str, T]]) -> dict[str, T]:
        """A part of the header where it fits, else nothing."""
        found = self._build(name, build)
        if not found or (size := len(json.dumps(wire.plain(found)))) > self.left:
            return {}
        self.left -= size
        return found

    def _build(self, name: str, build: Callable[[], T]) -> T | None:
        if self._job is not None:
            self._job.check()
        try:
            return build() if self.left > 0 else None
        except AttribError as reason:  # this model does not split here, with or without a kernel
            self._absent[name] = str(reason)
            return None


def cheap(a: Attribution) -> bool:
    """Whether a live view may estimate total effects unasked."""
    return sum(p.numel() for p in a.model.hf.parameters()) * a.run.n_positions <= LIVE_EFFECTS


def _leading(a: Attribution, count: int | None = None) -> list[Component]:
    """The heads and MLPs, the largest first."""
    order = strongest(a.values)
    return [a.components[i] for i in order if a.components[i].kind in ("head", "mlp")][:count]


def _features(a: Attribution, absent: dict[str, str], count: int | None) -> dict[str, contract.Features]:
    found, missing = {}, {}
    for c in _leading(a, count):
        try:
            found[str(c)] = results.features(a.features(c))
        except AttribError as reason:
            missing[f"features {c}"] = str(reason)
    if missing and not found and not a.model.saes:
        raise ComponentError(
            f"{a.model.name} comes without dictionaries of features.",
            'Give it one of your own: model.saes["L2.mlp"] = aw.read_sae(folder).',
        )
    absent |= missing
    return found


def _cards(a: Attribution) -> dict[str, contract.FeatureCard]:
    found: dict[str, contract.FeatureCard] = {}
    for c in _leading(a, LEADING):
        try:
            opened = a.features(c)
        except AttribError:  # said beside its features
            continue
        leading = opened.values[:-2].abs().argsort(descending=True, stable=True)  # neither the bias nor the error
        for number in [opened.numbers[i] for i in leading[:CARDS].tolist()]:
            found[f"{c}/{number}"] = results.card(opened.card(number))
    return found


def _worked(a: Attribution) -> dict[str, contract.TableHeader]:
    """The dot products of the largest rows that are vectors of the stream."""
    rows = [a.components[i] for i in strongest(a.values)]
    vectors = [c for c in rows if c.is_vector][:WORKED]
    return {str(c): results.printed(a.worked(c).summary()) for c in vectors}


def _traces(a: Attribution) -> dict[str, contract.Trace]:
    return {mlps: results.trace(a.trace(depth=None, mlps=mlps)) for mlps in TRACED}
