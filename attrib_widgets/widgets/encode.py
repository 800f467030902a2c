"""An explanation as one container: what the Explorer needs to draw and to open without asking again.

Values, sources and patterns come first; what a head wrote, its neurons and why it looked where it did follow as
far as the byte budget goes. Live views leave out what takes long to compute: a running kernel answers in time.
An offline page gets everything that fits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..analysis.attribution.attribution import attribute
from ..analysis.heads.all_heads import head_table, through_table, why_table
from ..analysis.lens.logit_lens import logit_lens
from ..analysis.opening.trace import MLPs
from ..analysis.opening.vectors import neurons_of
from ..analysis.reading.decomposition import absent_heads
from ..words.errors import AttribError, ComponentError
from ..words.targets import NeuronTarget, Target, score
from . import details, experiments, setup, wire
from .wire import Stored

if TYPE_CHECKING:
    from ..analysis.attribution.attribution import Attribution
    from ..analysis.heads.all_heads import HeadTable
    from ..model.model import Model
    from ..model.worker import Job
    from ..words.components import Component
    from .explanation import Explanation

#: Bytes of one state: an offline page holds it in base64 beside the bundle, 2 MB in all.
BUDGET = 1_400_000
#: Patterns of longer prompts are asked for, one head at a time.
PATTERN_TOKENS = 300
#: Multiplications that a live view may spend on each of the optional parts: a few tens of milliseconds.
LIVE_WORK = 3e8
#: Most heads for which a page computes why they looked there and who wrote what they carried.
PAGE_HEADS = 400
CANDIDATES = 6
#: Largest heads and MLPs whose features a live view brings along, and of whose features a page brings the cards.
LEADING = 8
#: Features of each of them that a page can open: a card takes a forward pass over its contexts, once for all heads.
CARDS = 8
#: How a view walks back through MLPs.
TRACED: tuple[MLPs, ...] = ("stop", "frozen")
#: Predictions that the lens shows at every layer and position.
LENS_TOP = 5

# Rows that a part below can share with the explorer; constants of the read point are summed apart.
SHARED = ("embed", "pos", "head", "mlp", "attn", "layer", "attn.bias", "mlp.bias")

Parts = tuple[dict[str, Any], dict[str, Stored]]


def encode(e: Explanation, *, complete: bool = False, job: Job | None = None) -> Parts:
    """Header and arrays of an explanation, kept on it. ``complete`` adds what a live view would ask for."""
    if complete not in e.parts:
        e.parts[complete] = _encode(e, complete, job)
    return e.parts[complete]


def _encode(e: Explanation, complete: bool, job: Job | None) -> Parts:
    a, run = e.attribution, e.run
    drawable = run.n_positions <= PATTERN_TOKENS
    table = head_table(a, patterns=drawable) if run.model.granularity == "heads" else None
    header = _header(e, table)
    arrays = {"values": wire.store(a.values)}
    if table is not None:
        arrays |= _head_arrays(a, table)
    filler = _Filler(header, arrays, job)
    test, other = header["test"], e.corrupted
    if other is not None and not (test["never"] or test["missing"]) and (complete or experiments.cheap(a)):
        filler.add("effects", lambda: experiments.effects(a, other.run))
    unembedding = run.model.d_model * run.model.vocab_size
    size = unembedding * len(a.components)
    if table is not None and drawable:
        filler.add("patterns", lambda: details.patterns(_drawn(a, table.patterns), filler.left))
    if complete or unembedding * (run.model.n_layers + 1) * run.n_positions <= LIVE_WORK:
        filler.add("lens", lambda: _lens(a, filler.left))
    thorough = complete or size <= LIVE_WORK
    if thorough:
        filler.text("writes", lambda: _writes(a))
    if run.model.granularity != "layers":
        filler.text("neurons", lambda: _neurons(a, header["absent"]))
        filler.text("features", lambda: _features(a, header["absent"], None if complete else LEADING))
    if complete and header.get("features"):
        filler.text("cards", lambda: _cards(a))
    if table is not None and thorough and run.model.n_layers * run.model.n_heads <= PAGE_HEADS:
        filler.many("why", lambda: _why(a, header["why_key"]))
        filler.add("through", lambda: _through(a, filler.left))
        if complete:
            filler.text("trace", lambda: {mlps: details.trace(a.trace(depth=None, mlps=mlps)) for mlps in TRACED})
    return header, arrays


class _Filler:
    """Adds optional parts in order of priority while the budget lasts; a part is whole or absent."""

    def __init__(self, header: dict[str, Any], arrays: dict[str, Stored], job: Job | None) -> None:
        self.header, self.arrays, self._job = header, arrays, job
        self.header["absent"] = {}
        self.left = BUDGET - len(json.dumps(wire.plain(header))) - sum(s.nbytes for s in arrays.values())

    def add(self, name: str, build: Callable[[], Stored | None]) -> None:
        self.many(name, lambda: None if (stored := build()) is None else {name: stored})

    def many(self, name: str, build: Callable[[], dict[str, Stored] | None]) -> None:
        found = self._build(name, build)
        # 120 bytes is about what the header says of one array.
        if found and (size := sum(s.nbytes + 120 for s in found.values())) <= self.left:
            self.arrays.update(found)
            self.left -= size

    def text(self, name: str, build: Callable[[], dict[str, Any]]) -> None:
        found = self._build(name, build)
        if found and (size := len(json.dumps(wire.plain(found)))) <= self.left:
            self.header[name] = found
            self.left -= size

    def _build(self, name: str, build: Callable[[], Any]) -> Any:
        if self._job is not None:
            self._job.check()
        try:
            return build() if self.left > 0 else None
        except AttribError as reason:  # this model does not split here, with or without a kernel
            self.header["absent"][name] = str(reason)
            return None


def _header(e: Explanation, table: HeadTable | None) -> dict[str, Any]:
    a, run, model = e.attribution, e.run, e.run.model
    header: dict[str, Any] = {
        "model": {
            "name": model.name,
            "family": model.family,
            "layers": model.n_layers,
            "heads": model.n_heads,
            "granularity": model.granularity,
            "reason": model.check.reason,
            "dtype": str(model.dtype).removeprefix("torch."),
            "params": sum(p.numel() for p in model.hf.parameters()),
            "max_positions": model.max_positions,
        },
        "prompt": {"text": run.text, "tokens": run.tokens, "special": run.special, "position": a.position},
        "candidates": [
            {"text": p.text, "id": p.id, "prob": p.probability, "logit": p.logit}
            for p in run.top(CANDIDATES, position=a.position)
        ],
        "target": target(a),
        "compare": _compare(e),
        "test": experiments.test_header(a, None if e.corrupted is None else e.corrupted.run),
        "rows": [_row(model, c) for c in a.components],
        "finding": dict(zip(("names", "text"), a.finding(), strict=True)),
        "total": float(a.total),
        "actual": float(a.actual),
        "gap": float(a.gap),
        "exact": bool(a.exact),
        "precap": None if a.precap is None else float(a.precap),
        "rounding": {part: float(a.rounding.get(part, 0.0)) for part in ("stream", "heads", "readout")},
        "notes": list(a.notes),
        "examples": _examples(model),
        "python": {
            "setup": setup.lines(a),
            "load": setup.load(model),
            "lens": setup.lens(a),
            "verify": "" if e.corrupted is None else setup.verify(e.corrupted.run),
        },
        "neurons": {},
        "writes": {},
        "why_key": [],
    }
    if table is not None:
        header["why_key"] = np.asarray(_drawn(a, table.rows)).argmax(-1).tolist()
    return header


def _row(model: Model, c: Component) -> dict[str, Any]:
    """A bar's name; ``mixture``: its MLP splits into experts, not neurons."""
    row = {"id": str(c), "kind": c.kind, "layer": c.layer, "head": c.index if c.kind == "head" else None}
    return {**row, "mixture": True} if c.kind == "mlp" and model.has_experts(c.layer or 0) else row


def _head_arrays(a: Attribution, t: HeadTable) -> dict[str, Stored]:
    names = ("carry", "dest", "norms", "post", "value_bias", "sink")
    per_layer = ("dest", "post")
    found = {name: getattr(t, name) if name in per_layer else _drawn(a, getattr(t, name)) for name in names}
    found["tokens"] = _drawn(a, t.rows * t.carry)  # the printed digits: a product with packed patterns would not add up
    if a.model.dtype not in (torch.float32, torch.float64):
        found["head_rounding"] = _drawn(a, t.rounding)
    return {name: wire.store(values) for name, values in found.items() if values is not None}


def _drawn(a: Attribution, values: torch.Tensor | None) -> torch.Tensor | None:
    """A table [layer, head, ...] without its NaNs of heads that do not exist: no row of the header reads there."""
    even = all(layer.n_heads == a.model.n_heads for layer in a.model.geometry.layers)
    return values if values is None or even else absent_heads(a.model, values.clone(), 0.0)


def target(a: Attribution) -> dict[str, Any]:
    """The target as the browser names it: a number inside the model (kind ``score``, ``neuron``) has no token id."""
    aim, model = a.target, a.model
    kind, text = ("neuron", str(aim.neuron)) if isinstance(aim, NeuronTarget) else ("score", "the score")
    answer: dict[str, Any] = {"kind": kind, "text": text, "id": None, "against": None, "unit": a.unit}
    if isinstance(aim, Target):

        def named(tokens: Sequence[str | int]) -> dict[str, Any]:
            ids = [model.single_token(t) for t in tokens]
            texts = [model.token(i) for i in ids]
            return {"text": " or ".join(texts), "texts": texts, "id": ids[0]}

        answer |= {"kind": aim.kind, **named(aim.tokens)}
        answer["against"] = named(aim.against) if aim.against else None
    return {**answer, "phrase": aim.words(model, a.run)}


def _compare(e: Explanation) -> dict[str, Any] | None:
    other = e.corrupted
    if other is None:
        return None
    here, there = e.run, other.run
    aligned = here.n_positions == there.n_positions
    pairs = enumerate(zip(here.ids, there.ids, strict=False))
    return {
        "text": there.text,
        "tokens": there.tokens,
        "special": there.special,
        "aligned": aligned,
        "differs": [i for i, (a, b) in pairs if a != b] if aligned else [],
        "value": float(other.actual),
        "gap": float(e.attribution.actual - other.actual),
    }


def _examples(model: Model) -> list[dict[str, str]]:
    if not model.embedded:
        return []
    from ..demo import tasks as abilities

    return [
        {"label": kind, "prompt": first.prompt, "target": first.target, "corrupted": first.corrupted}
        for kind, (first, *_) in abilities.items()
    ]


def _writes(a: Attribution) -> dict[str, Any]:
    found = {}
    for c in a.components:
        if c.kind in ("head", "mlp", "embed"):
            found[str(c)] = details.writes(a.writes(c, k=details.WRITES))
    return found


def _neurons(a: Attribution, absent: dict[str, str]) -> dict[str, Any]:
    """Of every MLP its neurons (in one pass), or the experts of its mixture; where neither is known, why."""
    layers = [c.layer for c in a.components if c.kind == "mlp" and c.layer is not None]
    dense = [layer for layer in layers if not a.model.has_experts(layer)]
    found: dict[str, Any] = {}
    for group in (dense, *([layer] for layer in layers if layer not in dense)):
        try:
            opened = neurons_of(a, group) if group is dense else {group[0]: a.experts(group[0])}
            found |= {f"L{layer}.mlp": details.neurons(c) for layer, c in opened.items()}
        except AttribError as reason:
            absent |= {f"neurons L{layer}.mlp": str(reason) for layer in group}
    return found


def _leading(a: Attribution, count: int | None = None) -> list[Component]:
    """The heads and MLPs, the largest first."""
    order = a.values.abs().argsort(descending=True, stable=True).tolist()
    return [a.components[i] for i in order if a.components[i].kind in ("head", "mlp")][:count]


def _features(a: Attribution, absent: dict[str, str], count: int | None) -> dict[str, Any]:
    found, missing = {}, {}
    for c in _leading(a, count):
        try:
            found[str(c)] = details.features(a.features(c))
        except AttribError as reason:
            missing[f"features {c}"] = str(reason)
    if missing and not found:
        raise ComponentError(
            f"{a.model.name} comes without dictionaries of features.",
            'With one of your own: a.features("L2.mlp", aw.read_sae(folder)).',
        )
    absent |= missing
    return found


def _cards(a: Attribution) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for c in _leading(a, LEADING):
        try:
            opened = a.features(c)
        except AttribError:  # said beside its features
            continue
        leading = opened.values[:-2].abs().argsort(descending=True, stable=True)  # neither the bias nor the error
        for number in [opened.numbers[i] for i in leading[:CARDS].tolist()]:
            found[f"{c}/{number}"] = details.card(opened.card(number))
    return found


def lens(a: Attribution) -> bytes:
    """Kind ``lens``: follows the first token of the target; for a score, the model's own top prediction."""
    followed = a.target.tokens[0] if isinstance(a.target, Target) else None
    return details.lens(logit_lens(a.run, followed, k=LENS_TOP), a.position)


def _lens(a: Attribution, budget: int) -> Stored | None:
    cells = (a.model.n_layers + 1) * a.run.n_positions
    if details.lens_bytes(cells * LENS_TOP, cells) > budget:
        return None
    # A container inside the container: the view decodes the same bytes whether they were embedded or asked for.
    return wire.store(np.frombuffer(lens(a), dtype="<i4"), "i4")


def _spread(a: Attribution, labels: Sequence[str]) -> NDArray[np.intp]:
    """For every label of a part below, its row in the explorer; -1 for the constants of that read point."""
    rows = {str(c): i for i, c in enumerate(a.components) if c.kind in SHARED}
    return np.array([rows.get(label, -1) for label in labels], dtype=np.intp)


def _through(a: Attribution, budget: int) -> Stored | None:
    shape = (a.reading.point.attentions, a.model.n_heads, a.run.n_positions, len(a.components))
    if 4 * np.prod(shape) > budget:
        return None
    t = through_table(a)
    found = _widened(_drawn(a, t.values), shape[-1])
    for name, column in (("norm.bias", t.norm_bias), ("rounding", t.rounding)):
        if name in a.labels:
            found[..., a.labels.index(name)] = np.asarray(_drawn(a, column))
    return wire.store(found)


def _widened(values: torch.Tensor | None, rows: int) -> NDArray[np.float32]:
    """The parts' columns, and zeros for the explorer's other rows, which come after them."""
    below = np.asarray(values)
    found = np.zeros((*below.shape[:-1], rows), dtype=np.float32)
    found[..., : below.shape[-1]] = below
    return found


def why_parts(a: Attribution, head: str, query: int, key: int) -> tuple[NDArray[np.float32], list[float], float]:
    """(values [side, row], bias [side], score) of one attention score: query side first, then key side."""
    values = np.zeros((2, len(a.components)), dtype=np.float32)
    bias = [0.0, 0.0]
    actual = 0.0
    for side, name in enumerate(("query", "key")):
        s = attribute(a.run, score(head, query=query, key=key, side=name))
        at = _spread(a, s.labels)
        parts = np.asarray(s.values)
        values[side, at[at >= 0]] = parts[at >= 0]
        bias[side], actual = float(parts[at < 0].sum(dtype=np.float64)), float(s.actual)
    return values, bias, actual


def _why(a: Attribution, keys: Sequence[Sequence[int]]) -> dict[str, Stored] | None:
    t = why_table(a, keys)
    values = _widened(_drawn(a, t.values), len(a.components))
    bias, score = _drawn(a, t.constant), _drawn(a, t.score)
    return {"why": wire.store(values), "why_bias": wire.store(bias), "why_score": wire.store(score)}


def why(a: Attribution, head: str, query: int, key: int) -> bytes:
    """Kind ``why``: what made ``head`` look from ``query`` to ``key``."""
    if not 0 <= key <= query < a.run.n_positions:
        raise AttribError(f"No head looks from position {query} to position {key}.", "A key is at or before its query.")
    values, bias, actual = why_parts(a, head, query, key)
    header = {"kind": "why", "id": head, "query": query, "key": key, "score": actual}
    return wire.pack(header, {"values": wire.store(values), "bias": wire.store(bias)})
