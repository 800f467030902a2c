"""The tracing of a sweep: one forward pass whose rows are the recorded run, each with its own writes.

Row 0 changes nothing. The others join at the first layer that they change, appended to the batch, or, where only the
target position is computed, to the sequence of one row, under a mask that lets each see the prompt and itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import nnsight
import torch
from jaxtyping import Float
from torch import Tensor

from ..parts.attention import allowed_keys, normed_input, project
from .edits import Edit, flattened

if TYPE_CHECKING:
    from ..model import Model
    from ..run import Run

_WRAPS: WeakKeyDictionary[Model, bool] = WeakKeyDictionary()
_PREFIXES: WeakKeyDictionary[Run, dict[bool, list[tuple[Tensor, Tensor]]]] = WeakKeyDictionary()


def recorded_rows(base: Run, site: str, layer: int, target: int, count: int) -> Tensor:
    """What a site held in the recorded run, once per row."""
    rec = base.record
    held = rec.streams[layer] if site == "stream" else rec.mlp_out[layer]
    return held[: target + 1].expand(count, -1, -1).clone()


class Pass:
    """One pass through the model: row 0 is the base, the others its interventions, in order of their first layer."""

    def __init__(
        self,
        base: Run,
        rows: Sequence[list[Edit]],
        start: int,
        target: int,
        *,
        plain: bool = False,
        reads: tuple[tuple[str, int], ...] = (),
        narrow: bool = True,
        packs: bool = True,
        records_keys: bool = False,
    ) -> None:
        self.base, self.model, self.start, self.target, self.plain = base, base.model, start, target, plain
        self.count, self.reads, self.narrow = len(rows), reads, narrow
        self.records_keys = records_keys
        self.n = target - start + 1
        self.packed = packs and self.n == 1 and start > 0
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
        past = None if self.plain or not self.start else self._cache()
        options = self._options(past)
        blocks, final = root.get(anatomy.layers), root.get(anatomy.final_norm)
        last = model.n_layers - 1
        wraps = self.first > 0 and _layers_wrap(model)
        tokens = ids.expand(self.count + 1 if self.plain else 1, -1)
        # Only the target position leaves the last layer: its MLP need not see the others.
        alone = self.plain or self.n == 1 or anatomy.attn is None or self.first > last
        narrow = self.narrow and not alone and not any(w == last for _, w in self.reads)
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
                if not anatomy.attn:  # a model of which whole layers are known
                    continue
                if not self.plain:
                    args, named = block.get(anatomy.attn).inputs
                    block.get(anatomy.attn).inputs = (args, {**named, **self._attention(i, entered.device)})
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
        found = found.to(model.home)
        return found, {place: self._placed(place, kept[place]) for place in self.reads}

    def _placed(self, place: tuple[str, int], rows: Tensor) -> Tensor:
        """Read rows in the order of the interventions; those that had not joined yet held what was recorded."""
        out = recorded_rows(self.base, *place, self.target, self.count)
        out[self.order[: len(rows) - 1], self.start :] = rows[1:].to(out.device)
        return out

    # -- shapes: every tensor of the pass as [row, position, width] ----------------------------------------------
    def _rows(self, x: Any, layer: int) -> Tensor:
        tensor: Tensor = x[0] if isinstance(x, tuple) else x
        return tensor.reshape(self.alive[layer], -1, tensor.shape[-1])

    def _grown(self, x: Tensor, stream: Float[Tensor, "position d_model"], layer: int) -> Tensor:
        """``x`` with the rows that join at ``layer``, which so far were the recorded ``stream``."""
        new = stream.to(x.device).expand(self.joins[layer], -1, -1)
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
        row, position, head, value = (t.to(rows.device) for t in (row, position, head, value))
        if site == "z":
            heads = rows.view(*rows.shape[:2], self.model.heads_of(layer), -1)
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

    def _cache(self) -> Any:
        """A cache that holds the positions before ``start``, in as many rows as each layer will have."""
        from transformers import DynamicCache

        past = DynamicCache()
        for i, (keys, values) in enumerate(prefix(self.base, self.records_keys)):
            past.update(keys[..., : self.start, :], values[..., : self.start, :], i)
            if not self.packed:
                layer = past.layers[i]
                layer.keys = layer.keys.expand(self.alive[i], -1, -1, -1)
                layer.values = layer.values.expand(self.alive[i], -1, -1, -1)
        return past

    def _attention(self, layer: int, device: torch.device) -> dict[str, Any]:
        """The mask (and the position penalty) of ``layer`` for all its rows, from what the recorded run was given."""
        rec, dtype = self.base.record, self.model.dtype
        given = rec.attn_inputs[layer]
        low, count = torch.finfo(dtype).min, self.alive[layer]
        allowed = allowed_keys(self.model, rec, layer)[:, self.start : self.target + 1, : self.target + 1]
        mask = allowed.clamp_min(low).to(dtype)
        alibi = given.get("alibi")
        if alibi is not None:
            alibi = alibi.reshape(self.model.heads_of(layer), 1, -1)[..., : self.target + 1]
        if self.packed:
            alone = torch.full((len(mask), count, count), low, dtype=dtype, device=mask.device)
            alone.diagonal(dim1=1, dim2=2).copy_(mask[:, 0, -1:].expand(-1, count))
            mask = torch.cat([mask[..., :-1].expand(-1, count, -1), alone], -1)
            if alibi is not None:
                alibi = torch.cat([alibi[..., :-1], alibi[..., -1:].expand(-1, -1, count)], -1)
        elif alibi is not None:
            alibi = alibi.repeat(count, 1, 1)
        found = {"attention_mask": mask[None].to(device)}
        return found if alibi is None else {**found, "alibi": alibi.to(device)}


def _layers_wrap(model: Model) -> bool:
    """Whether the layers of ``model`` return a tuple (they do in some versions): looked up once."""
    if model not in _WRAPS:
        root = model.traced
        blocks = root.get(model.anatomy.layers)
        with model.quiet(), root.trace(input_ids=torch.tensor([[0]], device=model.device), use_cache=False) as tracer:
            found = nnsight.save([])
            found.append(isinstance(blocks[0].output, tuple))
            tracer.stop()
        _WRAPS[model] = found[0]
    return _WRAPS[model]


def has_prefix(base: Run, records_keys: bool) -> bool:
    """Whether :func:`prefix` is at hand already."""
    return records_keys in _PREFIXES.get(base, {})


def prefix(base: Run, records_keys: bool) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of every layer on ``base``, each [1, head, position, d_head]: kept with the run."""
    kept = _PREFIXES.setdefault(base, {})
    if records_keys not in kept:
        kept[records_keys] = _recorded_keys(base) if records_keys else _projected_keys(base)
    return kept[records_keys]


def _projected_keys(base: Run) -> list[tuple[Tensor, Tensor]]:
    """The layers' own projections of the recorded streams: a tenth of a pass."""
    model, rec = base.model, base.record
    found = []
    for layer in range(model.n_layers):
        x = normed_input(model, rec, layer)
        heads = [project(model, rec, layer, which, x).final[:: model.geometry[layer].group] for which in "kv"]
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


def _drop(past: Any, layer: int) -> None:
    """Free the keys and values of a layer that has run."""
    if layer:  # the length of layer 0 is the length of the cache
        past.layers[layer].keys = past.layers[layer].values = None
