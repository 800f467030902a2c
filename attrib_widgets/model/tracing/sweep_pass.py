"""The tracing of a sweep: one forward pass whose rows are the recorded run, each with its own writes.

Row 0 changes nothing. The others join at the first layer that they change, appended to the batch, or, where only the
target position is computed, to the sequence of one row, under a mask that lets each see the prompt and itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import nnsight
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...words.components import BESIDES
from ...words.errors import ComponentError, GranularityError
from ..anatomy.rounding import half_ulp, worst
from ..parts.experts import mlp_input
from ..parts.projections import normed_input, project
from ..parts.scores import allowed_keys, position_penalty
from .edits import Edit, flattened
from .ports import PRE, WRITE, ending, place, ports, require
from .record import last_logits

if TYPE_CHECKING:
    from ..model import Model
    from ..run import Run


def last_needed(base: Run, target: int) -> int:
    """The last position that ``target`` depends on: itself, unless the model looks ahead."""
    return target if base.model.check.causal else base.n_positions - 1


#: What was read of the interventions with these numbers, by (site, layer).
Reads: TypeAlias = "dict[tuple[str, int], tuple[Int[Tensor, 'joined'], Float[Tensor, 'joined position width']]]"
READ = ("pre", "active", "attn_in", "z", "attn", "mid", "mlp_in", "mlp", *BESIDES)


def recorded_rows(base: Run, site: str, layer: int, end: int, count: int) -> Tensor:
    """What a site held in the recorded run up to position ``end``, once per row.

    Raises:
        ComponentError: no recording holds it.
    """
    rec, (site, layer) = base.record, place(site, layer)
    require(base.model, [(site, layer)])
    if site not in READ:
        raise ComponentError(f"A sweep cannot return {site!r}.", f"It can return {', '.join(READ)}.")
    if site == "mlp_in":
        held = mlp_input(base.model, rec, layer)
    else:
        held = normed_input(base.model, rec, layer) if site == "attn_in" else rec.at(site, layer)
    return held[: end + 1].expand(count, -1, -1).clone()


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
        self.count, self.narrow = len(rows), narrow
        self.reads = {asked: place(*asked) for asked in reads}
        self.records_keys = records_keys
        self.end = last_needed(base, target)
        self.n = self.end - start + 1
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

    def run(self) -> tuple[Float[Tensor, "row d_model"], Reads]:
        """(what the final norm reads at the target position: row 0 and the interventions, what was to be read).

        Of a row that had not joined yet nothing is read: the place held there what was recorded.
        """
        model, root, rec = self.model, self.model.traced, self.base.record
        wanted = set(self.reads.values())
        anatomy, here = model.anatomy, slice(self.start, self.end + 1)
        ids = torch.tensor([self.base.ids[here]], device=model.device)
        past = None if self.plain or not self.start else self._cache()
        options = self._options(past)
        blocks, (final, end) = root.get(anatomy.layers), ending(model)
        last = model.n_layers - 1
        wraps = self.first > 0 and _layers_wrap(model)
        tokens = ids.expand(self.count + 1 if self.plain else 1, -1)
        # Only the target position leaves the last layer: its MLP need not see the others.
        alone = self.plain or self.n == 1 or anatomy.attn is None or self.first > last
        narrow = self.narrow and not alone and not any(w == last for _, w in wanted)
        with model.quiet(), root.trace(input_ids=tokens, **options) as tracer:
            kept, middle = nnsight.save({}), nnsight.save({})
            began: dict[int, Tensor] = {}  # what layers read whose write is replaced as a whole
            for i, block in enumerate(blocks):
                if i < self.first:
                    given = rec.states[i + 1][here].transpose(0, 1)[:, None] if rec.states else None
                    given = rec.streams[i + 1][here][None] if given is None else given
                    block.skip((given,) if wraps else given)
                    continue
                for row in ports(model, i):
                    if row.site == "pre":
                        if (WRITE, i - 1) in self.edits:
                            row.put(block, self._rewritten(row.get(block), began.pop(i - 1), i - 1))
                        entered = row.get(block)  # from here on the layer before has run
                        if ("mid", i - 1) in self.edits:
                            middle[i - 1].append(self._last(entered, i - 1))
                        if past is not None and i > self.first:
                            _drop(past, i - 1)
                        if self.joins[i]:
                            row.put(block, self._grown(entered, rec.at(PRE.site, i)[here], i))
                    if row.site == "attn_in" and not self.plain and model.mixer(i) is None:
                        row.give(block, self._attention(i, entered.device))
                    if row.site == "mlp_in" and narrow and i == last:
                        row.put(block, self._narrowed(row.get(block)))
                    if (row.site, i) in wanted:
                        kept[row.site, i] = self._rows(row.get(block), i).clone()
                    if (row.site, i) in self.edits:
                        row.put(block, self._written(row.get(block), row.site, i))
                    if row.site == "pre" and (WRITE, i) in self.edits:
                        began[i] = self._rows(row.get(block), i).clone()
                    behind = () if anatomy.beside is None or anatomy.beside.first else ("beside",)
                    if ("mid", i) in self.edits and row.site in ("mid", "mlp_added", *behind):
                        middle.setdefault(i, []).append(self._last(row.get(block), i))
            if (WRITE, last) in self.edits:
                end.put(final, self._rewritten(end.get(final), began.pop(last), last))
            if ("mid", last) in self.edits:
                middle[last].append(self._last(end.get(final), last))
            if self.joins[last + 1]:
                end.put(final, self._grown(end.get(final), rec.streams[last + 1][here], last + 1))
            if (PRE.site, last + 1) in wanted:
                kept[PRE.site, last + 1] = self._rows(end.get(final), last + 1).clone()
            if (PRE.site, last + 1) in self.edits:
                end.put(final, self._written(end.get(final), PRE.site, last + 1))
            kept["final"] = self._last(end.get(final), last + 1)
            tracer.stop()
        for layer, (stream, added, *own, after) in middle.items():
            _close(model, layer, stream, added, own, after)
        found = torch.empty_like(kept["final"])
        found[0], found[self.order + 1] = kept["final"][0], kept["final"][1:]
        found = found.to(model.home)
        read = {asked: kept[at][1:].to(model.home) for asked, at in self.reads.items() if at in kept}
        return found, {asked: (self.order[: len(rows)], rows) for asked, rows in read.items()}

    # -- shapes: every tensor of the pass as [row, position, width] ----------------------------------------------
    def _rows(self, x: Tensor, layer: int) -> Tensor:
        return x.reshape(self.alive[layer], -1, x.shape[-1])

    def _last(self, x: Tensor, layer: int) -> Float[Tensor, "row width"]:
        """A copy of what all rows hold at the target position: the last that is left, unless the model looks ahead."""
        return self._rows(x, layer)[:, self.target - self.end - 1].clone()

    def _grown(self, x: Tensor, stream: Float[Tensor, "position d_model"], layer: int) -> Tensor:
        """``x`` with the rows that join at ``layer``, which so far were the recorded ``stream``."""
        new = stream.to(x.device).expand(self.joins[layer], -1, -1)
        if self.packed:
            return torch.cat([x, new.transpose(0, 1)], 1)
        return torch.cat([x, new], 0)

    def _written(self, x: Tensor, site: str, layer: int) -> Tensor:
        """``x`` with this pass's writes to ``site`` of ``layer``."""
        rows = self._rows(x, layer).clone()
        edit = self.edits[site, layer].to(rows.device)
        # The target position alone may be left in the last MLP: every write to that layer is then at it. What stands
        # behind the MLP has all positions again.
        position = torch.zeros_like(edit.position) if rows.shape[1] == 1 else edit.position
        if site == "z":
            heads = rows.view(*rows.shape[:2], self.model.geometry[layer].n_heads, -1)
            edit.into(heads, edit.row, position, edit.head)
        else:
            edit.into(rows, edit.row, position)
        return rows.reshape(x.shape)

    def _rewritten(self, x: Tensor, before: Float[Tensor, "row position d_model"], layer: int) -> Tensor:
        """The stream behind ``layer``, what it wrote replaced where this pass does so."""
        rows = self._rows(x, layer).clone()
        row, position, _, value, _ = self.edits[WRITE, layer].to(rows.device)
        rows[row, position] = (before[row, position].double() + value.double()).to(rows.dtype)
        return rows.reshape(x.shape)

    def _narrowed(self, x: Tensor) -> Tensor:
        # The residual keeps its positions, and adding one position to it broadcasts: only the last is read after.
        return x[:, -1:]

    # -- what the model and its attention are given ---------------------------------------------------------------
    def _options(self, past: Any) -> dict[str, Any]:
        names = inspect.signature(type(self.model.hf).forward).parameters
        options: dict[str, Any] = {"use_cache": past is not None}
        if "logits_to_keep" in names:
            options["logits_to_keep"] = last_logits(self.model)
        if past is not None:
            options[_cache_name(self.model)] = past
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
        rec, dtype, qkv = self.base.record, self.model.dtype, self.model.anatomy.qkv
        assert qkv is not None
        low, count = torch.finfo(dtype).min, self.alive[layer]
        allowed = allowed_keys(self.model, rec, layer)[:, self.start : self.target + 1, : self.target + 1]
        mask = allowed.clamp_min(low).to(dtype)
        penalty = position_penalty(self.model, rec, layer, self.target + 1)
        if self.packed:
            alone = torch.full((len(mask), count, count), low, dtype=dtype, device=mask.device)
            alone.diagonal(dim1=1, dim2=2).copy_(mask[:, 0, -1:].expand(-1, count))
            mask = torch.cat([mask[..., :-1].expand(-1, count, -1), alone], -1)
            if penalty is not None:
                penalty = torch.cat([penalty[..., :-1], penalty[..., -1:].expand(-1, -1, count)], -1)
        elif penalty is not None and qkv.penalty_of == "prompt":
            penalty = penalty.repeat(count, 1, 1)
        given = mask == low if qkv.mask_true == "hidden" else mask
        found = {qkv.mask: given[None].to(device)}
        return found if penalty is None else {**found, qkv.penalty: penalty.to(device)}


def _close(model: Model, layer: int, stream: Tensor, added: Tensor, own: Sequence[Tensor], after: Tensor) -> None:
    """The stream that was put between attention and MLP is the one that the MLP (and then ``own``, a third
    part) was added to.

    Raises:
        GranularityError: the layer goes on with a copy of it, which cannot be reached.
    """
    carry = model.carry(layer)
    join = model.join("mlp", layer)
    written = added.to(stream.device) * (model.multiplier if join is None else 1)
    parts = [written if join is None else join.added(written.to(model.home)).to(stream.device)]
    parts += [t.to(stream.device) * model.multiplier_of("beside") for t in own]
    total, bound = stream.double(), half_ulp(parts[0], model.dtype)
    if join is not None:
        total = join.kept(stream.double().to(model.home)).to(stream.device)
        size = total.abs() + join.size(written.to(model.home)).to(stream.device)
        bound = bound + 8 * half_ulp(size, model.dtype)
    for part in parts:
        total = total + part.double()
        bound = bound + 2 * half_ulp(total, model.dtype)
    if carry != 1:
        total, bound = total * carry, bound * abs(carry)
        bound = bound + 2 * half_ulp(total, model.dtype)
    if not worst(after.to(stream.device).double() - total, bound) <= 1:
        raise GranularityError(
            f"{model.name} keeps a copy of the stream inside layer {layer}, so it cannot be replaced there.",
            f"Replace what the attention adds: L{layer}.attn.",
        )


def _layers_wrap(model: Model) -> bool:
    """Whether the layers of ``model`` return a tuple (they do in some versions): looked up once."""

    def look() -> bool:
        root = model.traced
        blocks = root.get(model.anatomy.layers)
        with model.quiet(), root.trace(input_ids=torch.tensor([[0]], device=model.device), use_cache=False) as tracer:
            found = nnsight.save([])
            found.append(isinstance(blocks[0].output, tuple))
            tracer.stop()
        return bool(found[0])

    return model.kept("layers wrap", look)


def has_prefix(base: Run, records_keys: bool) -> bool:
    """Whether :func:`prefix` is at hand already."""
    return base.model.keeps(("prefix", records_keys), base)


def prefix(base: Run, records_keys: bool) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of every layer on ``base``, each [1, head, position, d_head]: kept with the run."""
    compute = _recorded_keys if records_keys else _projected_keys
    return base.model.kept(("prefix", records_keys), lambda: compute(base), base)


def _cache_name(model: Model) -> str:
    """What the model calls the cache it is given: ``cache`` since transformers 5.24, where the older name warns."""
    names = inspect.signature(type(model.hf).forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def _projected_keys(base: Run) -> list[tuple[Tensor, Tensor]]:
    """The layers' own projections of the recorded streams: a tenth of a pass."""
    model, rec = base.model, base.record
    found = []
    with model.quiet():
        for layer in range(model.n_layers):
            x = normed_input(model, rec, layer)
            made: dict[str, Tensor] = {}
            heads = [project(model, rec, layer, which, x, made).final[:: model.geometry[layer].group] for which in "kv"]
            keys, values = (h.to(model.dtype)[None] for h in heads)
            found.append((keys, values))
    return found


def _recorded_keys(base: Run) -> list[tuple[Tensor, Tensor]]:
    """What the model's own cache holds after one more pass over the prompt."""
    from transformers import DynamicCache

    model, root, past = base.model, base.model.traced, DynamicCache()
    final, end = ending(model)
    tokens = torch.tensor([base.ids], device=model.device)
    with model.quiet(), root.trace(input_ids=tokens, use_cache=True, **{_cache_name(model): past}) as tracer:
        seen = nnsight.save([])
        seen.append(len(end.get(final)))
        tracer.stop()
    return [(layer.keys, layer.values) for layer in past.layers]


def _drop(past: Any, layer: int) -> None:
    """Free the keys and values of a layer that has run."""
    if layer:  # the length of layer 0 is the length of the cache
        past.layers[layer].keys = past.layers[layer].values = None
