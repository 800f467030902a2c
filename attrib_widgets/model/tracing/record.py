"""The only tracing that reads: one forward pass of the model becomes a :class:`Recording`."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import nnsight
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...words.errors import AnatomyError, ComponentError
from ..anatomy.lookup import find
from ..parts.listen import given_to
from .edits import Edits, edited, rewritten
from .ports import POST, PRE, WRITE, Port, ending, port, ports, refuse_flex, require, tensor_of
from .recording import KEPT, MIXED, READ_ALWAYS, Recording

if TYPE_CHECKING:
    from ..model import Model


def _rows(tensor: Tensor, positions: int) -> Tensor:
    """A copy of one batch row as [position, width] (families that flatten batch and position included).

    A copy, because some families later add to their own output in place.
    """
    tensor = tensor.detach()
    return tensor.reshape(-1, tensor.shape[-1])[-positions:].clone()


def forward_options(model: Model, keep: Sequence[int] | None) -> dict[str, Any]:
    """Keyword arguments of the forward pass: no cache, and only the logits that are asked for."""
    options: dict[str, Any] = {"use_cache": False}
    if "logits_to_keep" in inspect.signature(type(model.hf).forward).parameters:
        options["logits_to_keep"] = last_logits(model) if keep is None else torch.tensor(list(keep))
    return options


def last_logits(model: Model) -> int | Tensor:
    """What asks for the last position's logits: 1, or its index where a number would let layers that share keys and
    values compute that position alone."""
    shares = bool(getattr(model.config, "num_kv_shared_layers", 0))
    return torch.tensor([-1]) if shares else 1  # on the CPU an index fits any device


def refuse_rebuilt(model: Model, edited: Iterable[str] = ()) -> None:
    """The parts that are read, and the sites that are ``edited``, are those that were wrapped: a module put in their
    place later would run unseen.

    Raises:
        AnatomyError: one of them, or what it runs, was replaced since the model was loaded, or layers came or went.
    """
    a, root = model.anatomy, model.traced
    layers, wrapped = find(model.hf, a.layers), root.get(a.layers)
    if isinstance(layers, nn.ModuleList) and len(layers) != model.n_layers:
        raise AnatomyError(
            f"{model.name} has {len(layers)} layers now and was loaded with {model.n_layers}.",
            "Load it again: aw.load(model, ...).",
        )
    pairs = [(p, find(model.hf, p), root.get(p)) for p in (a.final_norm, a.unembed, a.pos) if p]
    if isinstance(layers, nn.ModuleList):
        read = {*READ_ALWAYS, *edited}
        for i, (layer, block) in enumerate(zip(layers, wrapped, strict=True)):
            pairs.append((f"{a.layers}.{i}", layer, block))
            paths = dict.fromkeys(row.path for row in ports(model, i) if row.site in read)
            there = [p for p in paths if p and find(block._module, p) is not None]
            pairs += [(f"{a.layers}.{i}.{p}", find(layer, p), block.get(p)) for p in there]
        changed = next((path for path, module, envoy in pairs if envoy._module is not module), None)
    else:
        changed = a.layers
    if changed is None:
        own = ((path, vars(m).get("forward")) for path, m in model.hf.named_modules() if "__nnsight__" in vars(m))
        changed = next((f"the forward of {p}" for p, f in own if not type(f).__module__.startswith("nnsight")), None)
    if changed is not None:
        raise AnatomyError(
            f"{changed} of {model.name} was replaced since the model was loaded.", "Load it again: aw.load(model, ...)."
        )


def record(
    model: Model,
    ids: Sequence[int],
    keep: Sequence[int] | None = None,
    inside: bool = False,
    edits: Edits | None = None,
) -> Recording:
    """Run the model once on ``ids`` and keep what the decomposition needs.

    Args:
        ids: token ids of one prompt.
        keep: positions whose printed logits are kept; None keeps the last one.
        inside: keep the output of every MLP's input projection as well (the self-check compares it).
        edits: what is replaced on the way (see :mod:`.edits`); the recording then holds what became of it.
    """
    return record_many(model, [ids], keep, inside, edits)[0]


def record_many(
    model: Model,
    prompts: Sequence[Sequence[int]],
    keep: Sequence[int] | None = None,
    inside: bool = False,
    edits: Edits | None = None,
) -> list[Recording]:
    """:func:`record` for several prompts of equal length, in one forward pass.

    ``edits`` count their positions through all of the prompts.
    """
    rec, each = _recorded(model, prompts, keep, inside, edits), len(prompts[0])
    return [_prompt(rec, row, len(prompts), each, model) for row in range(len(prompts))]


def record_at(model: Model, prompts: Sequence[Sequence[int]], position: int) -> Recording:
    """What the decomposition needs at one ``position`` of every prompt, all of one length, in one forward pass.

    The axis of positions is that of the prompts. There is nothing of attention in it, which reads other positions.
    """
    count, each = len(prompts), len(prompts[0])
    # The last one as :func:`record_many` asks for it: half precision rounds by how it is asked.
    rec = _recorded(model, prompts, None if position == each - 1 else [position])

    def own(tensor: Tensor) -> Tensor:
        alone = len(tensor) == each  # learned positions are looked up once for all prompts
        rows = tensor[None].expand(count, *tensor.shape) if alone else tensor.unflatten(0, (count, each))
        return rows[:, position].clone().to(model.home)

    found = rec.part(own, list(range(count)))
    found.logits = rec.logits[:, 0].to(model.home)
    found.precap = found.logits if rec.precap is rec.logits else rec.precap[:, 0].to(model.home)
    return found


def _recorded(
    model: Model,
    prompts: Sequence[Sequence[int]],
    keep: Sequence[int] | None = None,
    inside: bool = False,
    edits: Edits | None = None,
) -> Recording:
    """One pass over prompts of equal length: rows of all of them below each other, logits [prompt, kept, vocab]."""
    refuse_rebuilt(model, (site for site, _ in edits or ()))
    anatomy, root, each, edits = model.anatomy, model.traced, len(prompts[0]), edits or {}
    require(model, edits, written=True)
    if edits:
        refuse_flex(model)
    middle = next((layer for site, layer in edits if site == "mid"), None)
    if middle is not None:
        raise ComponentError(
            f"A recording in which L{middle}.mid is replaced has no part that wrote the difference.",
            f"Replace what the attention adds: L{middle}.attn.",
        )
    tokens = torch.tensor([list(ids) for ids in prompts], device=model.device)
    count = tokens.numel()
    options = forward_options(model, keep)
    unembed = root.get(anatomy.unembed)
    blocks, (final, end) = root.get(anatomy.layers), ending(model)
    last = model.n_layers - 1
    kept = {**KEPT, **MIXED}
    read = {row.site: kept[row.site] for row in ports(model) if row.site in kept and not _same(model, row.site)}
    wide = model.n_streams, model.d_model
    with model.quiet(), model.passing(), root.trace(input_ids=tokens, **options):
        rec: Recording = nnsight.save(Recording())
        if anatomy.pos:  # reads follow the order of execution
            rec.embed = _rows(root.get(anatomy.embed).output, count)
            rec.pos = _rows(root.get(anatomy.pos).output, count)
        for i, block in enumerate(blocks):
            for row in ports(model, i):
                if row.site == PRE.site and (WRITE, i - 1) in edits:
                    row.put(block, rewritten(row.get(block), rec.streams[i - 1], edits[WRITE, i - 1]))
                if (row.site, i) in edits:
                    heads = model.geometry[i].n_heads if row.site == "z" else 1
                    row.put(block, edited(row.get(block), edits[row.site, i], heads))
                if row.stacked:
                    rec.states.append(_rows(row.get(block), count).unflatten(-1, wide))
                elif row.site in read:
                    getattr(rec, read[row.site]).append(_rows(row.get(block), count))
                if row.site == "mid" and (i in model.joining or anatomy.altup is not None):
                    rec.mids[i] = _rows(row.get(block), count)
                if row.site == "attn_in":
                    inner = row.of(block)
                    rec.attn_inputs.append(given_to(inner._module, inner.inputs, rec.streams[i].shape[-1]))
                if row.site == "entered" and inside:
                    rec.mlp_entered.append(_rows(row.get(block), count) if row.exists(block) else None)
            if i in model.unread:  # known as a whole: the lists run over all layers
                _skip(rec, [name for site, name in read.items() if site not in (PRE.site, *MIXED)])
            elif "z" in read and all(row.site != "z" for row in ports(model, i)):  # a mixer has none
                rec.z.append(rec.streams[-1].new_empty(count, 0))
        if anatomy.altup is not None:
            behind = replace(POST, stacked=True).get(blocks[last])
            rec.states.append(_rows(behind, count).unflatten(-1, wide))
        if (WRITE, last) in edits:
            end.put(final, rewritten(end.get(final), rec.streams[last], edits[WRITE, last]))
        if (PRE.site, len(blocks)) in edits:
            end.put(final, edited(end.get(final), edits[PRE.site, len(blocks)]))
        rec.streams.append(_rows(end.get(final), count))
        rec.precap = tensor_of(unembed.output).detach().clone()
        rec.logits = root.output.logits.detach().clone()
    model.saw(rec.streams, [*rec.z, *rec.attn_out, *rec.mlp_out], rec.logits)
    rec.attn_write = _added(rec.attn_write or rec.attn_out, model.multiplier_of("attn"), model.joining)
    rec.mlp_write = _added(rec.mlp_write or rec.mlp_out, model.multiplier, model.joining)
    rec.beside_write = _added(rec.beside_out, model.multiplier_of("beside"))
    rec.laurel_write = _added(rec.laurel_out, model.multiplier_of("laurel"))
    rec.beside_first = anatomy.beside is not None and anatomy.beside.first
    _join(rec, model)
    if "logits_to_keep" not in options:  # an older forward prints every position: keep what was asked for
        picked = [each - 1] if keep is None else list(keep)
        rec.precap, rec.logits = rec.precap[:, picked].clone(), rec.logits[:, picked].clone()
    rec.precap = rec.logits if model.softcap is None else model.scaled(rec.precap)
    rec.kept = [each - 1] if keep is None else [int(k) for k in keep]
    return rec


def _join(rec: Recording, model: Model) -> None:
    """What sublayers add where that is more than their output."""
    if not model.joining:
        return
    for name, number in (("attn", 0), ("mlp", 1)):
        written = list(getattr(rec, f"{name}_write"))
        for layer in model.joining:
            join = model.joins()[layer][number]
            if not join.adds_as_given:
                written[layer] = join.added(written[layer].to(model.home)).to(rec.streams[layer])
        setattr(rec, f"{name}_write", written)
    rec.joins = {layer: model.joins()[layer] for layer in model.joining}


def _skip(rec: Recording, names: Sequence[str]) -> None:
    """Nothing was read inside of the layer that ran last."""
    for name in names:
        getattr(rec, name).append(rec.streams[-1].new_empty(len(rec.streams[-1]), 0))
    rec.attn_inputs.append({})
    rec.mlp_entered.append(None)


def _same(model: Model, site: str) -> bool:
    """Whether what is added is the sublayer's own output: one tensor for both."""
    if not site.endswith("_added"):
        return False
    added, given = port(model, site), port(model, site.removesuffix("_added"))
    return (added.path, added.end) == (given.path, given.end)


def _prompt(rec: Recording, row: int, count: int, each: int, model: Model) -> Recording:
    """One prompt's part of a recording of ``count`` prompts of ``each`` tokens, in memory of its own on one device."""
    home, anatomy = model.home, model.anatomy

    def own(tensor: Tensor) -> Tensor:
        alone = count == 1 or len(tensor) == each  # learned positions are looked up once for all prompts
        return (tensor if alone else tensor[row * each : (row + 1) * each].clone()).to(home)

    found = rec.part(own, list(rec.kept))
    if rec.attn_write is rec.attn_out:
        found.attn_write = found.attn_out
    if rec.mlp_write is rec.mlp_out:
        found.mlp_write = found.mlp_out
    if rec.beside_write is rec.beside_out:
        found.beside_write = found.beside_out
    if rec.laurel_write is rec.laurel_out:
        found.laurel_write = found.laurel_out
    moved: dict[int, Any] = {}  # layers share what they are given: one copy of it will do
    for given in rec.attn_inputs:
        for name, value in given.items():
            shared = anatomy.qkv is not None and name == anatomy.qkv.penalty and anatomy.qkv.penalty_of == "all"
            if id(value) not in moved:
                moved[id(value)] = _given(value, row, 1 if shared else count, home)
    found.attn_inputs = [{k: moved[id(v)] for k, v in given.items()} for given in rec.attn_inputs]
    found.mlp_entered = [None if t is None else own(t) for t in rec.mlp_entered]
    found.precap, found.logits = ((t[row] if count == 1 else t[row].clone()).to(home) for t in (rec.precap, rec.logits))
    if rec.precap is rec.logits:
        found.precap = found.logits
    return found


def _given(value: Any, row: int, count: int, home: torch.device) -> Any:
    """One prompt's part of what an attention module was given, as a batch of one."""
    if isinstance(value, (tuple, list)):
        return tuple(_given(v, row, count, home) for v in value)
    if isinstance(value, dict):
        return {name: _given(v, row, count, home) for name, v in value.items()}
    if not isinstance(value, Tensor):
        return value
    table = value.dim() < 3 - (not value.is_floating_point())  # of rotations, say: the same for every prompt
    size = 0 if count == 1 or table or value.shape[0] % count else value.shape[0] // count  # 1, or one per head
    return (value[row * size : (row + 1) * size] if size else value).to(home)


def _added(parts: list[Tensor], multiplier: float, joining: Collection[int] = ()) -> list[Tensor]:
    """What is added to the stream, rounded as the model rounds it. The joins of layers hold their multiplier."""
    return parts if multiplier == 1 else [p if i in joining else p * multiplier for i, p in enumerate(parts)]


def record_neurons(
    model: Model, ids: Sequence[int], layers: Sequence[int], positions: Sequence[int]
) -> dict[int, Float[Tensor, "position neuron"]]:
    """What the MLP's down-projection reads (the neurons' activations) in ``layers`` at ``positions``.

    Costs one forward pass up to the last of the layers.
    """
    row = port(model, "neuron")
    places = [(row.path, row.end)]
    return {layer: found[0] for layer, found in record_inside(model, ids, layers, positions, places).items()}


def record_inside(
    model: Model,
    ids: Sequence[int],
    layers: Sequence[int],
    positions: Sequence[int],
    places: Sequence[tuple[str | None, str]],
) -> dict[int, list[Float[Tensor, "position width"]]]:
    """What modules inside ``layers`` read or give at ``positions``.

    Args:
        places: (path in the layer, ``"input"`` or ``"output"``), in the order in which the model runs them.

    Costs one forward pass up to the last of the layers.
    """
    anatomy, root = model.anatomy, model.traced
    tokens = torch.tensor([list(ids)], device=model.device)
    options = forward_options(model, None)
    wanted, count, index = sorted(set(layers)), len(ids), list(positions)
    ends = [Port("", path or "", end) for path, end in places]
    blocks = root.get(anatomy.layers)
    with model.quiet(), root.trace(input_ids=tokens, **options) as tracer:
        found = nnsight.save({})
        for layer in wanted:
            found[layer] = [_rows(row.get(blocks[layer]), count)[index] for row in ends]
        tracer.stop()
    return {layer: [values.to(model.home) for values in made] for layer, made in found.items()}
