"""What an explanation brings along, in the order in which a person looks, within which bytes and which time.

First the bars with what is said of them (:func:`first_draw`), then what else stands on the screen: what all heads
carry, their patterns, estimated effects (:func:`first_screen`), then in pieces what a click is likely to ask for
(:class:`Rest`). Live views leave out what takes long to compute: a running kernel answers in time. An offline page gets
everything that fits (:func:`whole`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from ...analysis.experiments.estimates.slopes import Way
from ...analysis.heads.all_heads import ThroughTable, WhyTable, head_table, joined, through_table, why_table
from ...analysis.opening.trace.totals import MLPs
from ...analysis.reading.features import Inside
from ...model.identity.steady import steady
from ...result import strongest
from ...words.errors import AttribError, ComponentError
from ..transport import wire
from ..transport.wire import Stored
from . import contract, experiments, explorer, heads, opened, results

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...model.running.worker import Job
    from ...words.components import Component
    from ..questions.question import Explanation

#: Bytes of one state: an offline page holds it in base64 beside the bundle, 2 MB in all.
BUDGET = 1_400_000
#: Patterns of longer prompts are asked for, one head at a time.
PATTERN_TOKENS = 300
#: Multiplications that a live view may spend on each of the optional parts: a few tens of milliseconds.
LIVE_WORK = 3e8
#: Parameters times positions, in all rows, for which a live view estimates total effects unasked: a fraction of a
#: second.
LIVE_EFFECTS = 1e9
#: Most heads for which a page computes why they looked there and who wrote what they carried.
PAGE_HEADS = 400
#: Largest heads and MLPs whose features a live view brings along, and of whose features a page brings the cards.
LEADING = 8
#: Features of each of them that a page can open: a card without stored activations takes a forward pass over its texts.
CARDS = 7
#: Concepts that a page can open.
CONCEPT_CARDS = 16
#: Largest rows whose dot product a page brings along.
WORKED = 64
#: How a view walks back through MLPs.
TRACED: tuple[MLPs, ...] = ("stop", "frozen")

T = TypeVar("T")
Further = tuple["contract.Opened", explorer.Arrays]


@steady(end=False)
def first_draw(e: Explanation) -> explorer.Parts:
    """The bars, their sum, the candidates, the headline; kept on ``e``."""
    key = e.run.model.saes.version  # the lines of Python name the dictionaries
    if key not in e.parts.draw:
        header, arrays = explorer.header(e), {"values": wire.store(e.attribution.values)}
        if e.attribution.rival is not None:
            arrays["rival"] = wire.store(e.attribution.rival)
        header["coming"] = _coming(e, header)
        e.parts.draw = {key: (header, cast("explorer.Arrays", arrays))}
    return e.parts.draw[key]


def _coming(e: Explanation, header: contract.Explained) -> list[contract.Coming]:
    """What the first screen adds."""
    a, found = e.attribution, list[contract.Coming]()
    if _has_heads(a):
        found += ["heads"] if any(level.sources for level in a.model.check.levels) else []
        found += ["patterns"] if _drawable(a) else []
    if e.corrupted is not None and not _no_effects(header) and cheap(a):
        found.append("effects")
    return found


def _has_heads(a: Attribution) -> bool:
    return any(map(a.model.heads_of, range(a.reading.point.attentions)))


def _drawable(a: Attribution) -> bool:
    return a.run.n_positions <= PATTERN_TOKENS


def _no_effects(header: contract.Explained) -> bool:
    return bool(header["test"]["never"] or header["test"]["missing"])


def first_screen(e: Explanation, job: Job | None = None) -> Further:
    """What all heads carry to the explained position, their patterns, and the estimated effects; kept on ``e``."""
    with e.screening:  # the cell that shows a view, and the page that says hello, may ask at once
        if e.parts.screen is None:
            e.parts.screen = _first_screen(e, job)
        return e.parts.screen


def _first_screen(e: Explanation, job: Job | None) -> Further:
    a, draw = e.attribution, first_draw(e)
    filler = _Filler(BUDGET - _size(*draw), job)
    with steady(end=False):  # no forward of the model
        for recorded in e.runs.values():
            recorded.check_fresh()  # before parts that cannot be had are left out with their reasons: this is none
        table = head_table(a, patterns=_drawable(a) and e.patterns is None)
    if table is not None:
        filler.header["why_key"] = heads.why_key(table)
        if any(level.sources for level in a.model.check.levels):
            filler.many("heads", lambda: heads.head_arrays(a, table))
            filler.add("carried", lambda: wire.inside(opened.carried(a, table)))
    other = e.corrupted
    if other is not None and "effects" in draw[0].get("coming", []):
        filler.add("effects", lambda: experiments.effects(a, other.run))
    if table is not None and _drawable(a):
        if e.patterns is None:
            e.patterns = heads.patterns(heads.drawn(table.patterns), filler.left)
        filler.add("patterns", lambda: e.patterns)
    return filler.header, filler.arrays


class Rest:
    """What a click is likely to ask for, a piece at a time: kept on ``e`` when all are there, until dictionaries come
    or go (one that is edited in place does neither), or the model gets another tuned lens. ``complete``: everything
    that a live view would ask for."""

    def __init__(self, e: Explanation, complete: bool = False, job: Job | None = None) -> None:
        self.e, self.complete, self.job = e, complete, job
        # The lens itself, which lives as long as what was made with it: no later one is taken for it.
        self._key = (complete, (e.run.model.saes.version, explorer.tuned_lens(e.run.model)))

    @property
    def found(self) -> Further | None:
        """All of it, once it is there."""
        return self.e.parts.rest.get(self._key)

    def pieces(self) -> Iterator[None]:
        """Compute it, stopping after every piece."""
        if self.found is not None:
            return
        e, a = self.e, self.e.attribution
        filler = _Filler(BUDGET - _size(*first_draw(e)) - _size(*first_screen(e, self.job)), self.job)
        for piece in self._of(a, filler):
            with steady(), a.model.quiet():
                a.run.check_fresh()  # that the model has changed is no reason why a part is left out
                piece()
            yield
        rest = {
            kept: parts for kept, parts in e.parts.rest.items() if kept[1] == self._key[1]
        }  # the same dictionaries and lens
        e.parts.rest = {**rest, self._key: (filler.header, filler.arrays)}

    def all(self) -> Further:
        """All of it, at once."""
        for _ in self.pieces():
            pass
        assert self.found is not None
        return self.found

    def _of(self, a: Attribution, filler: _Filler) -> Iterator[Callable[[], object]]:
        e, complete, header, levels = self.e, self.complete, filler.header, a.model.check.levels
        model, run = a.model, a.run
        why_key = first_screen(e)[0].get("why_key")
        other = e.corrupted
        if complete and other is not None and "effects" not in first_screen(e)[1] and not _no_effects(first_draw(e)[0]):
            yield lambda: filler.add("effects", lambda: experiments.effects(a, other.run))
        unembedding = model.d_model * model.vocab_size
        if complete or unembedding * explorer.lens_rows(a, explorer.lens_mid(a)) * run.n_positions <= LIVE_WORK:
            yield lambda: filler.add("lens", lambda: explorer.embedded_lens(a, filler.left))
        thorough = complete or unembedding * len(a.components) <= LIVE_WORK
        if thorough:
            yield lambda: filler.text("writes", lambda: explorer.writes(a))
        if any(level.sublayers for level in levels):
            layers, rows = explorer.mlp_layers(a), _leading(a, None if complete else LEADING)
            for some in [layers] if complete else [[layer] for layer in layers]:
                neurons = partial(explorer.neurons, a, header["absent"], some)
                yield partial(filler.text, "neurons", neurons)
            for row in rows if model.saes else rows[:1]:
                yield partial(filler.text, "features", partial(_features, a, header["absent"], row))
        if complete and model.saes:
            yield lambda: filler.text("concepts", lambda: cast("dict[str, object]", opened.concepts(a.concepts())))
        if complete and header.get("features"):
            yield lambda: filler.text("cards", lambda: _cards(a, header.get("concepts")))
        inside = isinstance(a.reading, Inside)  # its rows are not those that heads read: each is asked for by itself
        if why_key is not None and thorough and not inside and model.n_layers * model.n_heads <= PAGE_HEADS:
            count, whys = a.reading.point.attentions, list[WhyTable]()
            for layer in range(count):
                yield partial(filler.gather, "why", whys, partial(why_table, a, why_key, [layer]))
            yield lambda: filler.many("why", lambda: heads.why_arrays(a, joined(whys)) if len(whys) == count else None)
            throughs = list[ThroughTable]()
            if heads.through_bytes(a) <= filler.left:
                for layer in range(count):
                    yield partial(filler.gather, "through", throughs, partial(through_table, a, [layer]))
            yield lambda: filler.add(
                "through", lambda: heads.through(a, joined(throughs)) if len(throughs) == count else None
            )
            if complete:
                yield lambda: filler.text("trace", lambda: _traces(a))
        if complete:
            yield lambda: filler.add("totals", lambda: wire.inside(opened.totals(a.token_totals())))
            yield lambda: filler.text("worked", lambda: _worked(a))


@steady()
def whole(e: Explanation, job: Job | None = None) -> explorer.Parts:
    """Everything that an offline page holds, in one."""
    return merged(first_draw(e), first_screen(e, job), Rest(e, True, job).all())


def merged(draw: explorer.Parts, *further: Further) -> explorer.Parts:
    """A first draw and what came later as one explanation."""
    header, arrays = dict(draw[0]), dict(draw[1])
    absent = dict(draw[0]["absent"])
    header.pop("coming", None)
    for more, tables in further:
        absent |= more["absent"]
        header |= more
        arrays |= tables
    return cast("contract.Explained", {**header, "absent": absent}), arrays


def _size(header: contract.Explained | contract.Opened, arrays: explorer.Arrays) -> int:
    # 120 bytes is about what the header says of one array.
    return len(wire.said(header)) + sum(s.nbytes + 120 for s in arrays.values())


class _Filler:
    """Adds optional parts in order of priority while the budget lasts; a part is whole or absent."""

    def __init__(self, left: int, job: Job | None) -> None:
        self.header: contract.Opened = {"absent": {}}
        self.arrays: explorer.Arrays = {}
        self.left, self._job = left, job

    def add(self, name: contract.ExplorerArray, build: Callable[[], Stored | None]) -> None:
        self.many(name, lambda: None if (stored := build()) is None else {name: stored})

    def many(self, name: str, build: Callable[[], explorer.Arrays | None]) -> None:
        found = self._build(name, build)
        if found and (size := sum(s.nbytes + 120 for s in found.values())) <= self.left:
            self.arrays.update(found)
            self.left -= size

    def gather(self, name: str, found: list[T], build: Callable[[], T]) -> None:
        """One layer of a part, put beside those before it."""
        if (made := self._build(name, build)) is not None:
            found.append(made)

    def text(self, name: contract.FurtherText, build: Callable[[], dict[str, T]]) -> None:
        """A part of the header, where it fits."""
        found = self._build(name, build)
        if found and (size := len(wire.said(found))) <= self.left:
            self.left -= size
            told = cast("dict[str, dict[str, object]]", self.header)
            told[name] = {**told.get(name, {}), **found}

    def _build(self, name: str, build: Callable[[], T]) -> T | None:
        if self._job is not None:
            self._job.check()
        try:
            return build() if self.left > 0 else None
        except AttribError as reason:  # this model does not split here, with or without a kernel
            self.header["absent"][name] = str(reason)
            return None


def cheap(a: Attribution) -> bool:
    """Whether a live view may estimate total effects unasked."""
    return Way().rows * sum(p.numel() for p in a.model.hf.parameters()) * a.run.n_positions <= LIVE_EFFECTS


def _leading(a: Attribution, count: int | None) -> list[Component]:
    """The heads and MLPs, the largest first."""
    order = strongest(a.values)
    return [a.components[i] for i in order if a.components[i].kind in ("head", "mlp")][:count]


def _features(a: Attribution, absent: dict[str, str], row: Component) -> dict[str, contract.Features]:
    """Of one row; where the model has no dictionary at all, that is said once."""
    if not a.model.saes:
        raise ComponentError(
            f"{a.model.name} comes without dictionaries of features.",
            'Give it one of your own: model.saes["L2.mlp"] = aw.read_sae(folder).',
        )
    try:
        return {str(row): opened.features(a.features(row))}
    except AttribError as reason:
        absent[f"features {row}"] = str(reason)
        return {}


def _cards(a: Attribution, concepts: contract.Concepts | None) -> dict[str, contract.FeatureCard]:
    found: dict[str, contract.FeatureCard] = {}
    for concept in concepts["rows"] if concepts else ():
        row = concept.get("parts", [("", 0.0)])[0][0]
        if row in a.labels and len(found) < CONCEPT_CARDS:
            number = int(concept["id"].rpartition("/")[2])
            found[f"{row}/{number}"] = opened.card(a.features(row).card(number))
    for c in _leading(a, LEADING):
        try:
            split = a.features(c)
        except AttribError:  # said beside its features
            continue
        leading = split.values[:-2].abs().argsort(descending=True, stable=True)  # neither the bias nor the error
        for number in [split.numbers[i] for i in leading[:CARDS].tolist()]:
            if f"{c}/{number}" not in found:
                found[f"{c}/{number}"] = opened.card(split.card(number))
    return found


def _worked(a: Attribution) -> dict[str, contract.TableHeader]:
    """The dot products of the largest rows that are vectors of the stream."""
    rows = [a.components[i] for i in strongest(a.values)]
    vectors = [c for c in rows if c.is_vector][:WORKED]
    return {str(c): results.printed(a.worked(c).summary()) for c in vectors}


def _traces(a: Attribution) -> dict[str, contract.Trace]:
    return {mlps: opened.trace(a.trace(depth=None, mlps=mlps)) for mlps in TRACED}
