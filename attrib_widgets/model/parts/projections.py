"""What attention reads and projects: its norm, queries, keys and values, and their rotation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...words.errors import AnatomyError, GranularityError
from ..anatomy.anatomy import QKV
from ..anatomy.linear import Projection
from ..anatomy.lookup import below, find
from ..anatomy.norms import FrozenNorm, no_norm
from ..identity.steady import during

if TYPE_CHECKING:
    from ..network import Network
    from ..tracing.recording import Recording


@dataclass
class Projected:
    """One of q, k, v of a layer: before and after its norm and rotation, per query head."""

    raw: Float[Tensor, "position width"]
    final: Float[Tensor, "head position d_head"]
    norm: FrozenNorm | None


def qkv_of(model: Network) -> QKV:
    if model.anatomy.qkv is None:
        raise AnatomyError(f"the attention of {model.name} is not known")
    return model.anatomy.qkv


def _module(model: Network, layer: int) -> nn.Module:
    return model.module(model.anatomy.attn or "", layer)


def setting(model: Network, layer: int, name: str | None) -> Any:
    """An attribute of the attention module, or of the config (``"config.name"``); None where there is none."""
    if name is None:
        return None
    owner: Any = model.config if name.startswith("config.") else _module(model, layer)
    return getattr(owner, name.removeprefix("config."), None)


def _clip(model: Network) -> float | None:
    """What queries, keys and values are cut off at, or None."""
    found: Any = model.config
    for name in (qkv_of(model).clip or "").split("."):
        found = getattr(found, name, None) if name else None
    return float(found) if found else None


def normed_input(model: Network, rec: Recording, layer: int) -> Float[Tensor, "position d_model"]:
    """What the attention of ``layer`` reads, in the model's dtype; one layer's is remembered during an operation."""
    last: dict[int, Tensor] = during(rec, "normed input", dict)
    if layer not in last:
        last.clear()
        last[layer] = normed(model, layer, rec.streams[layer])
    return last[layer]


def normed(model: Network, layer: int, stream: Float[Tensor, "position d_model"]) -> Float[Tensor, "position d_model"]:
    """A stream as the attention of ``layer`` reads it, in the model's dtype."""
    path = model.anatomy.attn_norm
    if path is None:
        return stream
    with model.quiet():
        read, factor = model.call(model.module(path, layer), stream[None])[0], model.factor(model.anatomy.attn_factor)
    return read if factor == 1 else read * factor


def input_norm(model: Network, layer: int) -> FrozenNorm:
    """The norm that the attention of ``layer`` reads through."""
    path, factor = model.anatomy.attn_norm, model.factor(model.anatomy.attn_factor)
    norm = no_norm(model.d_model, model.home) if path is None else model.norm(path, layer)
    return norm if factor == 1 else norm.times(factor)


@dataclass(frozen=True)
class Rotation:
    """Rotary embedding of one layer on one prompt: a cosine and a sine for every pair of numbers of a head.

    The first ``2 * pairs`` numbers of a head are turned; ``interleaved`` pairs neighbours, else halves are paired.
    """

    cos: Float[Tensor, "position pairs"]
    sin: Float[Tensor, "position pairs"]
    interleaved: bool

    def at(self, position: int) -> Rotation:
        """The rotation at one position, in float32."""
        return Rotation(self.cos[position].float(), self.sin[position].float(), self.interleaved)

    def __call__(self, x: Float[Tensor, "*shape d_head"], back: bool = False) -> Float[Tensor, "*shape d_head"]:
        """``x`` turned; ``back`` applies the transpose."""
        pairs = self.cos.shape[-1]
        part, rest = x[..., : 2 * pairs], x[..., 2 * pairs :]
        shaped = part.unflatten(-1, (pairs, 2) if self.interleaved else (2, pairs))
        axis = -1 if self.interleaved else -2
        a, b = shaped.unbind(axis)
        sin = -self.sin if back else self.sin
        turned = torch.stack([a * self.cos - b * sin, b * self.cos + a * sin], axis).flatten(-2)
        return torch.cat([turned, rest], -1)


def rotation(model: Network, rec: Recording, layer: int) -> Rotation | None:
    """What turns the queries and keys of ``layer``, or None where nothing does."""
    qkv, attn = qkv_of(model), _module(model, layer)
    still = qkv.rotary_if and not any(getattr(attn, name, None) for name in qkv.rotary_if.split("|"))
    if still or rec.attn_inputs[layer].get(qkv_of(model).penalty) is not None:
        return None
    interleaved = qkv.rotary == "interleaved"
    own = getattr(attn, qkv.rotary_table, None)
    if isinstance(own, Tensor):
        stream = rec.streams[layer]
        table = own[: len(stream)].to(stream.device, own.dtype if qkv.float_rotary == "kept" else stream.dtype)
        sin, cos = table.chunk(2, -1)
        return Rotation(cos, sin, interleaved)
    given = rec.attn_inputs[layer].get(qkv_of(model).angles)
    if given is None:
        return None
    if isinstance(given, Tensor) and given.is_complex():
        cos, sin = (part.reshape(-1, part.shape[-1]) for part in (given.real, given.imag))
        return Rotation(cos, -sin if qkv.rotary_back else sin, interleaved)
    cos, sin = (t.reshape(-1, t.shape[-1]) for t in given)
    if qkv.rotary_back:
        sin = -sin
    if qkv.rotary_table == "sines_first":
        return Rotation(sin, cos, interleaved)
    if qkv.rotary_table == "interleaved":
        cos, sin = cos[:, ::2], sin[:, ::2]
    elif qkv.rotary_table != "single":
        cos, sin = cos[:, : cos.shape[-1] // 2], sin[:, : sin.shape[-1] // 2]
    return Rotation(cos, sin, interleaved)


def temperatures(model: Network, rec: Recording, layer: int) -> Float[Tensor, "position"] | None:
    """What the queries of ``layer`` are multiplied by at every position; None where by nothing."""
    name = qkv_of(model).temperature
    if not setting(model, layer, name) or rotation(model, rec, layer) is not None:
        return None
    stream = rec.streams[layer]
    floor, scale = (float(setting(model, layer, each)) for each in ("floor_scale", "attn_scale"))
    positions = torch.arange(len(stream), device=stream.device).float()
    return torch.log1p(torch.floor((positions + 1) / floor)) * scale + 1


def project(
    model: Network,
    rec: Recording,
    layer: int,
    which: str,
    x: Tensor,
    made: dict[str, Tensor] | None = None,
    at: int | None = None,
) -> Projected:
    """``which`` is ``"q"``, ``"k"`` or ``"v"``; ``x`` is :func:`normed_input`.

    ``made`` keeps what modules gave for ``x``, by path: where one projection gives all three, it is called once.
    ``at``: all rows of ``x`` stand at this one position of the recording, whatever their number.
    """
    geo, qkv = model.geometry[layer], qkv_of(model)
    d_head = geo.rows[which].shape[1]
    rows, path = geo.rows[which], str(getattr(qkv, which))
    made = {} if made is None else made
    with model.quiet():
        if path not in made:
            made[path] = model.call(model.module(below(model.anatomy.attn, path), layer), x)
        out = made[path]
        width = rows.numel() * (2 if qkv.layout == "gated" and which == "q" else 1)
        if int(rows.max()) >= out.shape[-1] or (qkv.apart and width != out.shape[-1]):
            raise AnatomyError(f"the {which} projection has {out.shape[-1]} outputs, not {width}")
        raw = out[:, rows.flatten().to(out.device)]
        final, norm = raw, None
        limit = _clip(model)
        if limit and bool((raw.abs() > limit).any()):
            raise GranularityError(
                f"On this prompt the {which} projection of layer {layer} exceeds {limit:g}, where {model.name} cuts it "
                "off: what remains is no sum of what was read."
            )
        own = getattr(qkv, f"{which}_norm", None)
        module = find(_module(model, layer), own) if own else None  # some layers have none
        if own and module is not None:
            norm = _head_norm(model, layer, own, module, d_head)
            wide = norm.gain.numel() != d_head

            def normed(rows: Tensor) -> Tensor:
                shaped = rows if wide else rows.view(len(rows), -1, d_head)
                return model.call(module, shaped).reshape(len(rows), -1)

        def turned(rows: Tensor) -> Tensor:
            turn = rotation(model, rec, layer) if which != "v" else None
            if turn is None:
                return rows
            turn = turn if at is None else turn.at(at)
            heads = rows.view(len(rows), -1, d_head).transpose(0, 1)
            made = turn(heads.float() if qkv.float_rotary else heads)
            made = made if qkv.float_rotary == "kept" else made.to(heads.dtype)
            return made.transpose(0, 1).reshape(len(rows), -1)

        steps = [*([] if norm is None else [normed]), turned]
        for step in reversed(steps) if qkv.rotary_first else steps:
            final = step(final)
        warmth = temperatures(model, rec, layer) if which == "q" else None
        if warmth is not None:
            final = (final * (warmth[:, None] if at is None else warmth[at])).to(final.dtype)
        if (factor := factor_of(model, layer, which)) != 1:
            final = final * factor
    heads = final.view(len(raw), -1, d_head).transpose(0, 1)
    if heads.shape[0] != geo.n_heads:
        heads = heads.repeat_interleave(geo.group, 0)
    return Projected(raw.float(), heads.float(), norm)


def _head_norm(model: Network, layer: int, path: str, module: nn.Module, d_head: int) -> FrozenNorm:
    weight = getattr(module, "weight", None)
    width = weight.numel() if isinstance(weight, Tensor) else d_head
    return model.read_norm(module, width, f"{model.anatomy.attn}.{path}", layer)


def value_norm(model: Network, layer: int) -> FrozenNorm | None:
    """The norm over the values of every head of ``layer``, or None."""
    path = qkv_of(model).v_norm
    module = None if path is None else find(_module(model, layer), path)
    return None if module is None else _head_norm(model, layer, path or "", module, model.geometry[layer].d_head)


def factor_of(model: Network, layer: int, which: str) -> float:
    """What the keys (``"k"``) or values (``"v"``) of ``layer`` are multiplied by; 1 in most families."""
    value = setting(model, layer, getattr(qkv_of(model), f"{which}_factor", None))
    return 1.0 if value is None else float(value)


def value_factor(model: Network, layer: int) -> float:
    """What the values of ``layer`` are multiplied by; 1 in most families."""
    return factor_of(model, layer, "v")


# -- the linear maps between a head and the normalised stream it reads ------------------------------------
def qkv_projection(model: Network, layer: int, which: str, head: int | None = None) -> Projection:
    """The q, k or v projection, its outputs head by head; those of one of its heads alone."""
    found = model.projection(below(model.anatomy.attn, getattr(qkv_of(model), which)), layer)
    rows = model.geometry[layer].rows[which]
    return found.select((rows if head is None else rows[head]).flatten().to(model.home))


def kv_head(model: Network, layer: int, head: int) -> int:
    """The key and value head that query head ``head`` of ``layer`` uses."""
    return head // model.geometry[layer].group
