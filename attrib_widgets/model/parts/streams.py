"""Several streams beside each other for every position, and the way of what is written through them.

Mixed by coefficients that are computed from the active stream, position by position: with these held as they were in
a run, every layer is linear in all its streams and in what its parts write, and so is what the final norm reads. What a
part wrote arrives as that vector times one number for every stream at the end, or for the one stream that attention or
an MLP reads. The coefficients are those that the model's own modules gave (:class:`..anatomy.anatomy.AltUp`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...words.errors import GranularityError
from ..anatomy.anatomy import AltUp
from ..anatomy.linear import Projection
from ..anatomy.rounding import half_ulp

if TYPE_CHECKING:
    from ..network import Network
    from ..tracing.recording import Recording

_ALL = slice(None)
#: What can be asked instead of what is understood of one stream alone.
EXACT = "Attributions, their sources, and experiments on parts or on all streams together are exact on it."


@dataclass(frozen=True)
class Mix:
    """How one layer mixes its streams at every position, in float64.

    ``before`` [to, from] is in front of the layer, and ``given`` what every stream is given of what the active one
    is more than before. ``enter`` of all streams is what attention reads, ``mid`` what the MLP reads, beside ``shrink``
    times what is written between them. ``keep`` [to, from] is what is left of the streams behind the layer, and
    ``gains`` what each of its parts adds to every one of them, by its site.
    """

    before: Float[Tensor, "position stream stream"]
    given: Float[Tensor, "position stream"]
    enter: Float[Tensor, "position stream"]
    mid: Float[Tensor, "position stream"]
    shrink: float
    keep: Float[Tensor, "position stream stream"]
    gains: Mapping[str, Float[Tensor, "position stream"]]


def altup_of(model: Network) -> AltUp:
    """What its anatomy says of several streams."""
    assert model.anatomy.altup is not None
    return model.anatomy.altup


def mix_of(model: Network, rec: Recording, layer: int, index: Any = _ALL) -> Mix:
    """The :class:`Mix` of ``layer`` in a recording, at the positions ``index``."""
    altup, count = altup_of(model), model.n_streams
    active, shrink = int(getattr(model.config, altup.active)), altup.shrink
    predicted, corrected = rec.predicted[layer][index], rec.corrected[layer][index]
    before = predicted.double().unflatten(-1, (count, count)) + torch.eye(count, device=predicted.device)
    given = (corrected + 1.0).double()  # rounded where the model rounds it
    enter = before[:, active]
    keep = before + (shrink - 1) * given[..., None] * enter[:, None]
    others = torch.ones_like(given)
    others[:, 0] = 0.0
    gains = {"attn": shrink * given, "laurel": shrink * given, "mlp": given, "beside": others}
    return Mix(before, given, enter, shrink * enter, shrink, keep, gains)


def state_error(
    model: Network, rec: Recording, layer: int, index: Any = _ALL
) -> tuple[Float[Tensor, "position stream d_model"], Float[Tensor, "position stream d_model"]]:
    """(streams behind ``layer`` - what it leaves of those before it and what its parts add, its rounding bound)."""
    mix, kind = mix_of(model, rec, layer, index), rec.states[layer].dtype
    before, after = (rec.states[i][index].double() for i in (layer, layer + 1))
    written = _written(rec, layer, index)
    total = mix.keep @ before + sum(mix.gains[site][..., None] * w[:, None] for site, w in written.items())
    entered, mixed = _entering(model, rec, layer, index, mix)
    read, size = rec.mids[layer][index].double(), rec.mids[layer][index].double().abs() + written["mlp"].abs()
    own = rec.streams[layer][index].double()
    between = entered + mix.shrink * _half(own, written, kind) + half_ulp(read, kind) + 1e-7 * read.abs()
    inside = between + half_ulp(size, kind) + half_ulp(size + own.abs(), kind)
    given = mix.given[..., None].abs()
    grown = given * (size + own.abs())[:, None]
    whole = (mix.before.abs() @ before.abs()) + grown
    bound = mixed + given * inside[:, None] + half_ulp(grown, kind) + half_ulp(whole, kind)
    bound = bound + half_ulp(whole + mix.gains["beside"][..., None] * written["beside"].abs()[:, None], kind)
    return after - total, bound


def read_error(
    model: Network, rec: Recording, layer: int, mid: bool = False, index: Any = _ALL
) -> tuple[Float[Tensor, "position d_model"], Float[Tensor, "position d_model"]]:
    """(what attention or with ``mid`` the MLP of ``layer`` reads, or the final norm - its parts, its rounding bound).

    Its parts are the streams before the layer, and with ``mid`` what is written in it before.
    """
    if layer == model.n_layers:
        return _merge_error(model, rec, index)
    mix, kind, state = mix_of(model, rec, layer, index), rec.streams[layer].dtype, rec.states[layer][index].double()
    entered, _ = _entering(model, rec, layer, index, mix)
    own = rec.streams[layer][index].double()
    if not mid:
        return own - _along(mix.enter, state), entered
    written, read = _written(rec, layer, index), rec.mids[layer][index].double()
    total = _along(mix.mid, state) + mix.shrink * (written["attn"] + written["laurel"])
    return read - total, mix.shrink * (entered + _half(own, written, kind)) + half_ulp(read, kind) + 1e-7 * read.abs()


def _along(weights: Float[Tensor, "position stream"], state: Tensor) -> Float[Tensor, "position d_model"]:
    return (weights[..., None] * state).sum(1)


def _written(rec: Recording, layer: int, index: Any) -> dict[str, Float[Tensor, "position d_model"]]:
    found = {"attn": rec.attn_write, "laurel": rec.laurel_write, "mlp": rec.mlp_write, "beside": rec.beside_write}
    return {site: tensors[layer][index].double() for site, tensors in found.items()}


def _half(own: Tensor, written: Mapping[str, Tensor], kind: torch.dtype) -> Tensor:
    """How far the sum that the attention, and what is added with it, make with the active stream may be off."""
    size = own.abs() + written["attn"].abs()
    return half_ulp(size, kind) + half_ulp(size + written["laurel"].abs(), kind)


def _entering(
    model: Network, rec: Recording, layer: int, index: Any, mix: Mix
) -> tuple[Float[Tensor, "position d_model"], Float[Tensor, "position stream d_model"]]:
    """How far the active stream, and all of them, may be off behind their mixture in front of ``layer``."""
    state = rec.states[layer][index].double().abs()
    one = torch.eye(model.n_streams, device=state.device)
    kind = rec.states[layer].dtype
    size = (mix.before - one).abs() @ state
    bound = (2 + model.n_streams * (kind == torch.float32)) * half_ulp(size, kind) + half_ulp(size + state, kind)
    return bound[:, int(getattr(model.config, altup_of(model).active))], bound


# -- the end ------------------------------------------------------------------------------------------------------
def merging(model: Network) -> list[Projection | None]:
    """What every stream passes behind the last layer; None for the first, which passes nothing."""
    path = altup_of(model).merge
    return [None, *(model.projection(f"{path}.{i}") for i in range(model.n_streams - 1))]


def merged(
    model: Network, state: Float[Tensor, "*row stream d_model"]
) -> tuple[Float[Tensor, "*row d_model"], Float[Tensor, "*row stream"]]:
    """(what the final norm would read of streams, as the model computes it; what every stream counts for there, behind
    its projection, in float64)."""
    passed, least = _passed(model, state), altup_of(model).least
    target = passed[0].square().mean(-1, keepdim=True) ** 0.5
    sizes = [x.square().mean(-1, keepdim=True).clamp(min=least**2).sqrt() for x in passed[1:]]
    brought = [passed[0], *(x * target / size for x, size in zip(passed[1:], sizes, strict=True))]
    counts = [torch.ones_like(target).double(), *(target.double() / size.double() for size in sizes)]
    return torch.stack(brought).mean(0), torch.cat(counts, -1) / len(brought)


def as_one(model: Network, rec: Recording, number: int) -> Float[Tensor, "position d_model"]:
    """A recorded stream, or what several would come to if the final norm read them there."""
    several = rec.states and number < model.n_layers
    return merged(model, rec.states[number])[0] if several else rec.streams[number]


def _passed(model: Network, state: Float[Tensor, "*row stream d_model"]) -> list[Float[Tensor, "*row d_model"]]:
    """Every stream behind its projection, as the model computes it."""
    path, streams = altup_of(model).merge, state.unbind(-2)
    with model.quiet():
        others = [model.call(model.module(f"{path}.{i}"), x[None])[0] for i, x in enumerate(streams[1:])]
    return [streams[0], *others]


def _merge_error(
    model: Network, rec: Recording, index: Any
) -> tuple[Float[Tensor, "position d_model"], Float[Tensor, "position d_model"]]:
    state, read = rec.states[-1][index], rec.streams[-1][index].double()
    counts, kind = merged(model, state)[1], rec.states[-1].dtype
    total = counts[:, :1] * state[:, 0].double()
    bound, size = torch.zeros_like(total), total.abs()
    for i, (projection, out) in enumerate(zip(merging(model), _passed(model, state), strict=True)):
        if projection is None:
            continue
        missed, own = projection.missed(state[:, i], out)
        count = counts[:, i : i + 1]
        arrived = count * out.double()
        total = total + arrived - count * missed
        bound = bound + count * own + 4 * half_ulp(arrived * model.n_streams, kind) / model.n_streams
        size = size + arrived.abs()
    bound = bound + 2 * half_ulp(size * model.n_streams, kind) / model.n_streams + half_ulp(read, kind) + 1e-6 * size
    return read - total, bound


class Passage:
    """What becomes of what is written in a recording on its way to one read point, at the positions ``index``.

    The point is what attention reads in ``layer``, with ``mid`` its MLP, or, for the number of layers, what the final
    norm reads; with ``apart`` all streams before ``layer``. There are as many ``bases`` as tensors that one unit of a
    write may become there: one inside the model, one for every stream at its end.
    """

    def __init__(
        self, model: Network, rec: Recording, layer: int, mid: bool, index: Any, whole: Any = (), apart: bool = False
    ) -> None:
        self.model, self.until, self.mid, self.whole = model, layer, mid, whole
        state = rec.states[layer][index]
        self.final = layer == model.n_layers and not apart
        self._mixes = {i: mix_of(model, rec, i, index) for i in range(min(layer + 1, model.n_layers))}
        if apart:
            end = torch.eye(model.n_streams, device=state.device).double().expand(len(state), -1, -1)
        elif self.final:
            end = torch.diag_embed(merged(model, state)[1])
        else:
            mix = self._mixes[layer]
            end = (mix.mid if mid else mix.enter)[:, None]
        self._before: dict[int, Tensor] = {layer: end}
        for i in reversed(range(layer)):
            later = self._before[i + 1]
            self._before[i] = later if i in whole else later @ self._mixes[i].keep

    @property
    def bases(self) -> int:
        """How many tensors one unit of a write may become at the point."""
        return int(next(iter(self._before.values())).shape[1])

    def before(self, layer: int) -> Float[Tensor, "position base stream"]:
        """What one unit of every stream before ``layer`` is worth at the point, in float64."""
        return self._before[layer]

    def of(self, layer: int, part: str) -> Float[Tensor, "position base"]:
        """What one unit that a part of ``layer`` (its site) writes is worth at the point, in float64."""
        mix = self._mixes[layer]
        if layer == self.until:
            worth = mix.shrink if part in ("attn", "laurel") else 0.0
            return torch.full_like(self._before[layer][..., 0], worth)
        return (self._before[layer + 1] @ mix.gains[part][..., None])[..., 0]

    def directions(self, v: Float[Tensor, "k d_model"]) -> Float[Tensor, "base k d_model"]:
        """Directions of the point as directions of each tensor that a write may become there."""
        if not self.final:
            return v[None]
        return torch.stack([v if p is None else p.pull(v) for p in merging(self.model)])

    def arrived(self, worth: Float[Tensor, "*row base"], written: Float[Tensor, "*row d_model"]) -> Tensor:
        """A write at the point, ``worth`` units of each base, in float32."""
        if not self.final:
            return worth[..., :1].float() * written
        made = [written if p is None else p.product(written) for p in merging(self.model)]
        return (worth[..., None].float() * torch.stack(made, -2)).sum(-2)

    def standing(
        self, layer: int, state: Float[Tensor, "position stream d_model"]
    ) -> Float[Tensor, "position d_model"]:
        """All streams before ``layer`` at the point, in float32."""
        each = (self._before[layer] @ state.double()).unbind(1)
        passed = merging(self.model) if self.final else [None]
        made = [x.float() if p is None else p.product(x.float()) for x, p in zip(each, passed, strict=True)]
        return torch.stack(made).sum(0)


def one_stream(model: Network, what: str, hint: str = EXACT) -> None:
    """Refuse what is understood of one stream alone.

    Raises:
        GranularityError: ``model`` carries several.
    """
    if model.n_streams > 1:
        raise GranularityError(
            f"{model.name} carries {model.n_streams} streams beside each other for every position, which every layer "
            f"mixes: {what}.",
            hint,
        )
