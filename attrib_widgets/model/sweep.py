"""The only tracing that writes: many interventions in few forward passes, exact.

All rows of a pass begin as the recorded run and join at the first layer that they change, so no layer below is
computed twice; positions before the first write are never recomputed (their recorded keys and values are handed
in); nothing after the target position, nor the unembedding, is computed at all. Rows that change the target position
only are packed along the sequence of one row, under a mask that lets each see the prompt and itself. Row 0 of every
pass changes nothing and must come out as it was recorded. Where a family does not allow this, a comparison with the
full recomputation at first use finds out, and full recomputation is what is done (see :attr:`Swept.notes`).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import nnsight
import torch
from jaxtyping import Float
from torch import Tensor

from .attend import allowed_keys, normed_input, project
from .plan import Extent, budget_of, grouped, out_of_memory, rows_that_fit
from .worker import Cancelled
from .writes import Intervention, Site, Write, flattened, relevant

if TYPE_CHECKING:
    from .model import Model
    from .run import Run
    from .worker import Job

# How far a stream may be from its full recomputation, relative to its largest number: the order of sums differs.
LIMITS = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
CHECKED_ROWS = 3


@dataclass
class Swept:
    """What the interventions of a sweep led to, in the order in which they were given.

    ``streams`` is what the final norm reads at the target position (the recorded stream where an intervention was not
    computed: see ``done``). ``reads`` holds what was asked for, per (site, layer). ``forwards`` counts passes through
    the model, ``tokens`` (row, position) pairs they computed. ``notes`` say which shortcut was not taken, and why.
    """

    streams: Float[Tensor, "row d_model"]
    done: Tensor
    reads: dict[tuple[str, int], Float[Tensor, "row position d_model"]] = field(default_factory=dict)
    forwards: int = 0
    tokens: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every intervention was computed (it was not cancelled)."""
        return bool(self.done.all())


@dataclass
class _Known:
    """What was found out about a model: how its layers return, whether the keys and values that its cache holds have
    to be recorded (rather than projected from the recorded streams), and which kinds of passes were not exact."""

    wraps: bool | None = None
    records_keys: bool = False
    refused: dict[tuple[str, bool], str] = field(default_factory=dict)  # "" where it was shown to be exact


_KNOWN: WeakKeyDictionary[Model, _Known] = WeakKeyDictionary()
_PREFIXES: WeakKeyDictionary[Run, list[tuple[Tensor, Tensor]]] = WeakKeyDictionary()


def sweep(
    base: Run,
    interventions: Sequence[Intervention],
    position: int = -1,
    *,
    job: Job | None = None,
    budget: int | None = None,
    reads: Sequence[tuple[Site, int]] = (),
) -> Swept:
    """Run every intervention on ``base``.

    Args:
        position: the target position: what the final norm reads there is returned.
        job: told of the progress after every pass; when it is cancelled, what is done so far is returned.
        budget: bytes that the rows of a pass may take; None asks the device. Halved when memory runs out all the same.
        reads: ``("stream", layer)`` or ``("mlp", layer)``: also return what these held in every row (as it was before
            this intervention's own write there).
    """
    base.check_fresh()
    model, target = base.model, base.position(position)
    rows = [relevant(model, writes, target) for writes in interventions]
    busy = [i for i, writes in enumerate(rows) if writes]
    rec = base.record
    swept = Swept(
        rec.streams[-1][target].expand(len(rows), -1).clone(),
        torch.tensor([not writes for writes in rows], dtype=torch.bool),
        {(site, layer): _recorded(base, site, layer, target, len(rows)) for site, layer in reads},
    )
    extents = [
        Extent(min(w.layer for w in rows[i]), 0 if reads else min(p for w in rows[i] for p in w.positions))
        for i in busy
    ]
    try:
        for part in grouped(extents, target):
            todo = [busy[r] for r in part.rows]
            _work(base, rows, todo, part.start, target, swept, job, budget or budget_of(model))
    except Cancelled:
        pass
    return swept


def _recorded(base: Run, site: str, layer: int, target: int, count: int) -> Tensor:
    rec = base.record
    held = rec.streams[layer] if site == "stream" else rec.mlp_out[layer]
    return held[: target + 1].expand(count, -1, -1).clone()


def _work(
    base: Run,
    rows: Sequence[list[Write]],
    todo: list[int],
    start: int,
    target: int,
    swept: Swept,
    job: Job | None,
    budget: int,
) -> None:
    """The interventions ``todo``, pass by pass: halved when memory runs out, recomputed in full where need be."""
    model = base.model
    kind = "packed" if start == target and start > 0 else "suffix"
    known = _KNOWN.setdefault(model, _Known())
    key = (kind, _beyond_window(model, target))
    if key not in known.refused:
        known.refused[key] = _checked(base, [rows[i] for i in todo], start, target, swept)
    size = rows_that_fit(model, start, target, budget)
    while todo:
        reason = known.refused[key]
        part, begin = todo[:size], 0 if reason else start
        if reason and reason not in swept.notes:
            swept.notes.append(reason)
        one = _Pass(base, [rows[i] for i in part], begin, target, plain=bool(reason), reads=tuple(swept.reads))
        if begin and base not in _PREFIXES and known.records_keys:
            swept.forwards, swept.tokens = swept.forwards + 1, swept.tokens + base.n_positions
        try:
            found, read = one.run()
        except RuntimeError as trouble:
            if not out_of_memory(trouble) or len(part) == 1:
                raise
            size = max(1, len(part) // 2)
            continue
        swept.forwards, swept.tokens = swept.forwards + 1, swept.tokens + one.tokens
        if not reason and (missed := _missed(model, found[0], base.record.streams[-1][target])):
            known.refused[key] = f"{kind} rows: a row that changes nothing came out changed ({missed})"
            continue
        swept.streams[part], swept.done[part] = found[1:], True
        for place, value in read.items():
            swept.reads[place][part] = value
        todo = todo[size:]
        if job is not None:
            job.progress(int(swept.done.sum()), len(rows), f"{int(swept.done.sum())} of {len(rows)}")


def _beyond_window(model: Model, target: int) -> bool:
    window = getattr(model.config, "sliding_window", None)
    return bool(window and target >= window)


def _missed(model: Model, found: Tensor, expected: Tensor) -> str:
    """Empty, or by how much ``found`` misses ``expected``."""
    size = expected.float().abs().max()
    error = float((found.float() - expected.float()).abs().max() / size.clamp_min(1e-30))
    return "" if error <= LIMITS.get(model.dtype, 1e-1) else f"off by {error:.0e} of its size"


def _checked(base: Run, rows: list[list[Write]], start: int, target: int, swept: Swept) -> str:
    """Empty when a few of these rows are what the full recomputation says; otherwise the reason."""
    spread = [rows[i] for i in sorted({0, len(rows) // 2, len(rows) - 1})][:CHECKED_ROWS]
    slow = _Pass(base, spread, 0, target, plain=True)
    expected, _ = slow.run()
    swept.forwards, swept.tokens = swept.forwards + 1, swept.tokens + slow.tokens
    known = _KNOWN[base.model]
    reason = ""
    for records in (False, True):
        known.records_keys = known.records_keys or records or not base.model.check.attention_ok
        fast = _Pass(base, spread, start, target)
        swept.forwards, swept.tokens = swept.forwards + 1, swept.tokens + fast.tokens
        try:
            reason = _missed(base.model, fast.run()[0], expected)
        except Exception as trouble:  # whatever a family's own code says of inputs that it does not expect
            if isinstance(trouble, RuntimeError) and out_of_memory(trouble):
                raise
            reason = (str(trouble).strip().splitlines() or [type(trouble).__name__])[-1][:120]
        if not reason or not start:
            break
        _PREFIXES.pop(base, None)
    return f"Recomputed in full: rows that join late were not exact on this family ({reason})." if reason else ""


class _Pass:
    """One pass through the model: row 0 is the base, the others its interventions, in order of their first layer."""

    def __init__(
        self,
        base: Run,
        rows: Sequence[list[Write]],
        start: int,
        target: int,
        *,
        plain: bool = False,
        reads: tuple[tuple[str, int], ...] = (),
    ) -> None:
        self.base, self.model, self.start, self.target, self.plain = base, base.model, start, target, plain
        self.count, self.reads = len(rows), reads
        self.n = target - start + 1
        self.packed = self.n == 1 and start > 0
        order = sorted(range(len(rows)), key=lambda i: min(w.layer for w in rows[i]))
        self.order = torch.tensor(order)
        layers = [min(w.layer for w in rows[i]) for i in order]
        last = self.model.n_layers
        self.first = 0 if plain else min(layers)
        self.joins = [0 if plain else layers.count(i) for i in range(last + 1)]
        self.alive = [len(rows) + 1 if plain else 1 + sum(self.joins[: i + 1]) for i in range(last + 1)]
        self.edits = flattened([rows[i] for i in order], start, self.model.device)
        self.tokens = sum(self.alive[self.first : last]) * self.n // last

    def run(self) -> tuple[Float[Tensor, "row d_model"], dict[tuple[str, int], Tensor]]:
        """(what the final norm reads at the target position: row 0 and the interventions, what was to be read)."""
        model, root, rec = self.model, self.model.traced, self.base.record
        anatomy, here = model.anatomy, slice(self.start, self.target + 1)
        ids = torch.tensor([self.base.ids[here]], device=model.device)
        past = None if self.plain or not self.start else _cache(self.base, self.start, self.alive, self.packed)
        options = self._options(past)
        blocks, final = root.get(anatomy.layers), root.get(anatomy.final_norm)
        last = model.n_layers - 1
        wraps = self.first > 0 and _layers_wrap(model)
        tokens = ids.expand(self.count + 1 if self.plain else 1, -1)
        # Only the target position leaves the last layer: its MLP need not see the others.
        narrow = not self.plain and self.n > 1 and self.first < last + 1 and not any(w == last for _, w in self.reads)
        with model.quiet(), root.trace(input_ids=tokens, **options) as tracer:
            kept = nnsight.save({})
            for i, block in enumerate(blocks):
                if i < self.first:
                    given = rec.streams[i + 1][here][None]
                    block.skip((given,) if wraps else given)
                    continue
                entered = block.input  # from here on the layer before has run
                if past is not None and i > self.first:
                    _drop(past, i - 1)
                if self.joins[i]:
                    block.input = self._grown(entered, rec.streams[i][here], i)
                if ("stream", i) in self.reads:
                    kept["stream", i] = self._rows(block.input, i).clone()
                if ("stream", i) in self.edits:
                    block.input = self._written(block.input, "stream", i)
                if not self.plain:
                    args, named = block.get(anatomy.attn).inputs
                    block.get(anatomy.attn).inputs = (args, {**named, **self._attention(i)})
                out = block.get(anatomy.attn_out)
                if ("z", i) in self.edits:
                    out.input = self._written(out.input, "z", i)
                if ("attn", i) in self.edits:
                    out.output = self._written(out.output, "attn", i)
                if narrow and i == last:
                    block.get(anatomy.mlp).input = self._narrowed(block.get(anatomy.mlp).input)
                writer = block.get(anatomy.mlp_output or anatomy.mlp)
                if ("mlp", i) in self.reads:
                    kept["mlp", i] = self._rows(writer.output, i).clone()
                if ("mlp", i) in self.edits:
                    writer.output = self._written(writer.output, "mlp", i, narrow and i == last)
            if self.joins[last + 1]:
                final.input = self._grown(final.input, rec.streams[last + 1][here], last + 1)
            if ("stream", last + 1) in self.edits:
                final.input = self._written(final.input, "stream", last + 1)
            if ("stream", last + 1) in self.reads:
                kept["stream", last + 1] = self._rows(final.input, last + 1).clone()
            kept["final"] = self._rows(final.input, last + 1)[:, -1].clone()
            tracer.stop()
        found = torch.empty_like(kept["final"])
        found[0], found[self.order + 1] = kept["final"][0], kept["final"][1:]
        return found, {place: self._placed(place, kept[place]) for place in self.reads}

    def _placed(self, place: tuple[str, int], rows: Tensor) -> Tensor:
        """Read rows in the order of the interventions; those that had not joined yet held what was recorded."""
        out = _recorded(self.base, *place, self.target, self.count)
        out[self.order[: len(rows) - 1], self.start :] = rows[1:]
        return out

    # -- shapes: every tensor of the pass as [row, position, width] ----------------------------------------------
    def _rows(self, x: Any, layer: int) -> Tensor:
        tensor: Tensor = x[0] if isinstance(x, tuple) else x
        return tensor.reshape(self.alive[layer], -1, tensor.shape[-1])

    def _grown(self, x: Tensor, stream: Float[Tensor, "position d_model"], layer: int) -> Tensor:
        """``x`` with the rows that join at ``layer``, which so far were the recorded ``stream``."""
        new = stream.expand(self.joins[layer], -1, -1)
        if self.packed:
            return torch.cat([x, new.transpose(0, 1)], 1)
        return torch.cat([x, new], 0)

    def _written(self, x: Any, site: str, layer: int, narrow: bool = False) -> Any:
        """``x`` with this pass's writes to ``site`` of ``layer``."""
        tensor = x[0] if isinstance(x, tuple) else x
        row, position, head, value = self.edits[site, layer]
        rows = self._rows(tensor, layer).clone()
        if narrow:  # the target position alone is left: every write to the last layer is at it
            position = torch.zeros_like(position)
        if site == "z":
            heads = rows.view(*rows.shape[:2], self.model.n_heads, -1)
            heads[row, position, head] = value.to(heads.dtype)
        else:
            rows[row, position] = value.to(rows.dtype)
        changed = rows.reshape(tensor.shape)
        return (changed, *x[1:]) if isinstance(x, tuple) else changed

    def _narrowed(self, x: Tensor) -> Tensor:
        # The residual keeps its positions, and adding one position to it broadcasts: only the last is read after.
        return x[:, -1:]

    # -- what the model and its attention are given ---------------------------------------------------------------
    def _options(self, past: Any) -> dict[str, Any]:
        names = inspect.signature(type(self.model.hf).forward).parameters
        options: dict[str, Any] = {"use_cache": past is not None}
        if "logits_to_keep" in names:
            options["logits_to_keep"] = 1
        if past is not None:
            options["past_key_values"] = past
            if "position_ids" in names:
                options["position_ids"] = torch.arange(self.start, self.target + 1, device=self.model.device)[None]
        return options

    def _attention(self, layer: int) -> dict[str, Any]:
        """The mask (and the position penalty) of ``layer`` for all its rows, from what the recorded run was given."""
        rec, dtype = self.base.record, self.model.dtype
        given = rec.attn_inputs[layer]
        low, count = torch.finfo(dtype).min, self.alive[layer]
        allowed = allowed_keys(self.model, rec, layer)[:, self.start : self.target + 1, : self.target + 1]
        mask = allowed.clamp_min(low).to(dtype)
        alibi = given.get("alibi")
        if alibi is not None:
            alibi = alibi.reshape(self.model.n_heads, 1, -1)[..., : self.target + 1]
        if self.packed:
            alone = torch.full((len(mask), count, count), low, dtype=dtype, device=mask.device)
            alone.diagonal(dim1=1, dim2=2).copy_(mask[:, 0, -1:].expand(-1, count))
            mask = torch.cat([mask[..., :-1].expand(-1, count, -1), alone], -1)
            if alibi is not None:
                alibi = torch.cat([alibi[..., :-1], alibi[..., -1:].expand(-1, -1, count)], -1)
        elif alibi is not None:
            alibi = alibi.repeat(count, 1, 1)
        return {"attention_mask": mask[None]} if alibi is None else {"attention_mask": mask[None], "alibi": alibi}


def _layers_wrap(model: Model) -> bool:
    """Whether the layers of ``model`` return a tuple (they do in some versions): looked up once."""
    known = _KNOWN.setdefault(model, _Known())
    if known.wraps is None:
        root = model.traced
        blocks = root.get(model.anatomy.layers)
        with model.quiet(), root.trace(input_ids=torch.tensor([[0]], device=model.device), use_cache=False) as tracer:
            found = nnsight.save([])
            found.append(isinstance(blocks[0].output, tuple))
            tracer.stop()
        known.wraps = found[0]
    return known.wraps


def _prefix(base: Run) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of every layer on ``base``, each [1, head, position, d_head]: kept with the run."""
    if base not in _PREFIXES:
        records = _KNOWN.setdefault(base.model, _Known()).records_keys
        _PREFIXES[base] = _recorded_keys(base) if records else _projected_keys(base)
    return _PREFIXES[base]


def _projected_keys(base: Run) -> list[tuple[Tensor, Tensor]]:
    """The layers' own projections of the recorded streams: a tenth of a pass."""
    model, rec = base.model, base.record
    found = []
    for layer in range(model.n_layers):
        x = normed_input(model, rec, layer)
        heads = [project(model, rec, layer, which, x).final[:: model.geometry.group] for which in "kv"]
        keys, values = (h.to(model.dtype)[None] for h in heads)
        found.append((keys, values))
    return found


def _recorded_keys(base: Run) -> list[tuple[Tensor, Tensor]]:
    """What the model's own cache holds after one more pass over the prompt."""
    from transformers import DynamicCache

    model, root, past = base.model, base.model.traced, DynamicCache()
    final = root.get(model.anatomy.final_norm)
    tokens = torch.tensor([base.ids], device=model.device)
    with model.quiet(), root.trace(input_ids=tokens, use_cache=True, past_key_values=past) as tracer:
        seen = nnsight.save([])
        seen.append(len(final.input))
        tracer.stop()
    return [(layer.keys, layer.values) for layer in past.layers]


def _cache(base: Run, start: int, alive: Sequence[int], packed: bool) -> Any:
    """A cache that holds the first ``start`` positions of ``base``, in as many rows as each layer will have."""
    from transformers import DynamicCache

    past = DynamicCache()
    for i, (keys, values) in enumerate(_prefix(base)):
        past.update(keys[..., :start, :], values[..., :start, :], i)
        if not packed:
            layer = past.layers[i]
            layer.keys = layer.keys.expand(alive[i], -1, -1, -1)
            layer.values = layer.values.expand(alive[i], -1, -1, -1)
    return past


def _drop(past: Any, layer: int) -> None:
    """Free the keys and values of a layer that has run."""
    if layer:  # the length of layer 0 is the length of the cache
        past.layers[layer].keys = past.layers[layer].values = None
