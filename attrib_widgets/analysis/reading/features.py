"""Why a feature fired: its pre-activation split among the parts that wrote what its dictionary reads.

A pre-activation is linear in what the dictionary reads, its norm held. Where that is the stream, or what an MLP reads,
it is one more direction at one more read point: the feature's row of the encoder. Inside a sublayer (what the heads
hand on, what an attention or an MLP adds) it is a direction there, and its rows are that layer's heads or neurons: see
:class:`Inside`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...model.anatomy.norms import FrozenNorm, no_norm
from ...model.anatomy.rounding import dot_bound
from ...model.parts.mlp import mlp_norm
from ...model.selfcheck.levels import need
from ...saes.reading import activations, before_gain, value_bias
from ...saes.sae import CHOOSING, SAE, Fired
from ...words.components import Component
from ...words.errors import ComponentError, TargetError
from ...words.places import Place
from ...words.targets import FeatureTarget
from ...words.text import number
from .neurons import mlp_point
from .point import Reading, ReadPoint

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run


class Inside(Reading):
    """A direction of what is inside one sublayer: no read point of the stream has it, so it has rows of its own.

    Attributes:
        site: the place that the dictionary reads.
        along: the direction of what the sublayer adds to the stream; None where the heads' outputs are read.
        z: the direction of the heads' outputs side by side; None where what a sublayer adds is read.
        sublayer: ``"attn"`` or ``"mlp"``.
    """

    def __init__(
        self,
        model: Model,
        site: Place,
        w: Float[Tensor, "width"],
        position: int,
        constants: list[tuple[Component, float]],
        actual: float,
        bound: float,
        notes: list[str],
    ) -> None:
        layer = site.layer or 0
        self.site, self.position, self.constants = site, position, constants
        self.actual, self.precap, self.bound, self.notes = actual, None, bound, notes
        self.sublayer = "mlp" if site.site == "mlp" else "attn"
        self.point = ReadPoint(layer + 1) if self.sublayer == "mlp" else ReadPoint(layer, mid=True)
        self.z = w if site.site == "z" else None
        self.along = None if site.site == "z" else w / model.multiplier_of(self.sublayer)

    @property
    def layer(self) -> int:
        """The layer that it is inside."""
        return self.site.layer or 0

    def none(self) -> TargetError:
        """What to say where a direction of the stream is needed."""
        return TargetError(
            f"A feature of {self.site} is read inside a sublayer: no direction of the stream stands for it.",
            "Open its rows: a.through() and a.sources(head) of heads, aw.neuron of a neuron, a.trace() of both.",
        )

    @property
    def norm(self) -> FrozenNorm:  # type: ignore[override]
        """Raises TargetError: it reads through none."""
        raise self.none()

    @property
    def direction(self) -> Float[Tensor, "d_model"]:  # type: ignore[override]
        """Raises TargetError: it has none in the stream."""
        raise self.none()


class _Seen(nn.Module):
    """What of an activation is encoded, as a norm: the mean taken off where the coordinates ask for it."""

    def __init__(self, sae: SAE) -> None:
        super().__init__()
        self.sae = sae

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.sae.coordinates == "centred":
            x = x - x.mean(-1, keepdim=True)
        return self.sae.seen(x)


class _WithoutGain(nn.Module):
    """What a norm hands on before its gain and its bias."""

    def __init__(self, norm: FrozenNorm) -> None:
        super().__init__()
        self.inner = norm

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return (x - x.mean(-1, keepdim=True) if self.inner.centred else x) * self.inner.scale(x)[..., None]


def read_place(model: Model, place: Place) -> Place:
    """Where the dictionary of a place reads: there, or for what an MLP adds also where a transcoder to it does."""
    saes = model.saes
    if place.site != "mlp" or place in saes:
        return place
    across = (Place("mlp_in", place.layer), Place("mid", place.layer))
    return next((into for into in across if into in saes and saes[into].writes == place), place)


def dictionary_at(model: Model, place: Place) -> SAE:
    """The dictionary of the model for a place (see :func:`read_place`).

    Raises:
        ComponentError: there is none.
    """
    found = read_place(model, place)
    if found not in model.saes:
        raise model.saes.lacking(place)
    return model.saes[found]


@dataclass(frozen=True)
class _Encoder:
    """One feature of a dictionary in a run: what is encoded, everywhere, and the row of the encoder."""

    sae: SAE
    feature: int
    x: Float[Tensor, "position d_in"]
    w: Float[Tensor, "d_in"]

    @staticmethod
    def of(run: Run, target: FeatureTarget) -> _Encoder:
        run.check_fresh()
        sae = dictionary_at(run.model, target.site)
        number = target.feature.index or 0
        sae.check(number)
        if sae.encoder is not None:
            raise ComponentError(
                f"Of {sae!r} only the activations are known, and no pre-activation that could be split among parts.",
                "Its features can be taken out (aw.ablate), and rows opened with them (a.features).",
            )
        x = activations(run.model, run.record, sae).x.float()
        return _Encoder(sae, number, x, sae.w_enc[:, number].to(x.device))

    @property
    def constant(self) -> float:
        """What is added whatever is read: the encoder's bias, less the decoder's where that is taken off before."""
        own, sae = self.sae.b_enc[self.feature].double(), self.sae
        return float(own - sae.b_dec.double() @ sae.w_enc[:, self.feature].double() if sae.subtract else own)

    def printed(self, precision: torch.dtype, positions: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(pre-activations as the dictionary computes them, how far rounding may have moved them), [position]."""
        sae, x, some = self.sae, self.x[list(positions)], slice(self.feature, self.feature + 1)
        actual, seen = sae.pre_activations(x, some)[:, 0].double(), sae.seen(x)
        bound = dot_bound(precision, seen, self.w.expand_as(seen))
        if sae.subtract:
            bound = bound + dot_bound(torch.float32, sae.b_dec, self.w)
        return actual.cpu(), (bound + 1e-6 * (actual.abs() + abs(self.constant)) + 1e-12).cpu()

    def said(self, position: int, actual: float) -> str:
        """Whether it fires, and what keeps it from firing."""
        fires = float(Fired(self.sae, self.x[position : position + 1])(self.feature)[0])
        name = f"{self.sae.site}/{self.feature}"
        if fires:
            return f"{name} fires here, at {number(fires)}."
        if self.sae.architecture in CHOOSING:
            limit = "it is not among those that are kept" if actual > 0 else "it is below 0"
        else:
            held = 0.0 if self.sae.threshold is None else float(self.sae.threshold[self.feature])
            limit = f"its threshold is {number(max(held, 0.0))}"
        return f"{name} does not fire here: its pre-activation is {number(actual)}, and {limit}."


def read_feature(run: Run, target: FeatureTarget) -> Reading:
    """A pre-activation as a direction of what the feature's dictionary reads.

    Raises:
        ComponentError: no dictionary, or no such feature. PositionError: outside the prompt.
        GranularityError: the layer that is read inside of is exact as a whole only.
    """
    model, position = run.model, run.position(target.position)
    found = _Encoder.of(run, target)
    sae, site, layer = found.sae, found.sae.site, found.sae.site.layer or 0
    actual, bound = (float(t[0]) for t in found.printed(model.precision, [position]))
    constants = [(Component("encoder.bias"), found.constant)]
    notes, w = [found.said(position, actual)], found.w.to(model.home)
    own = _own_norm(model, sae)
    if own is not None:
        notes.append(_HELD.format("the dictionary's own norm"))
    if site.is_stream:
        point = ReadPoint(layer, mid=True) if site.site == "mid" else ReadPoint(site.stream)
        return Reading(
            point, own or no_norm(model.d_model, model.home), w, position, constants, actual, None, bound, notes
        )
    if own is not None:  # behind what else it reads through: seen from there
        w = own.pull(w) * own.scale(found.x[position].to(model.home))
    if site.site == "mlp_in":
        notes += [] if model.anatomy.mlp_norm is None else [_HELD.format("the norm in front of the MLP")]
        norm = _mlp_norm(model, sae)
        return Reading(mlp_point(model, layer), norm, w, position, constants, actual, None, bound, notes)
    if sae.coordinates == "without value bias" and (given := value_bias(model, layer)) is not None:
        constants.append((Component("value.bias"), -float(given.to(w.device).double() @ w.double())))
    need(model, "sublayers" if site.site == "mlp" else "heads", layer)
    if site.site != "z" and model.join("mlp" if site.site == "mlp" else "attn", layer) is not None:
        raise TargetError(
            f"What {site} of {model.name} adds to the stream has gains and constants of its own: what its parts put "
            "into a feature of it is not told.",
            f"Explain a feature of the stream behind it, L{layer}.",
        )
    notes.append(_ROWS["mlp" if site.site == "mlp" else "attn"].format(layer))
    return Inside(model, site, w, position, constants, actual, bound, notes)


def features_at(run: Run, target: FeatureTarget, positions: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """(pre-activations, the same, how far rounding may have moved them) at some positions.

    Raises:
        TargetError: the direction differs between positions.
    """
    found = _Encoder.of(run, target)
    if not found.sae.site.is_stream and (found.sae.site.site != "mlp_in" or _own_norm(run.model, found.sae)):
        raise TargetError(
            f"{target.feature} is read along another direction at every position.", "Explain one position at a time."
        )
    actual, bound = found.printed(run.model.precision, positions)
    return actual, actual, bound


_HELD = "The scale of {} is held as it was."
#: What the rows of a dictionary inside a sublayer are.
_ROWS = {
    "mlp": "Rows are the neurons of L{0}.mlp, nothing held; gates are held where it is opened further.",
    "attn": "Rows are the heads of layer {0}, nothing held; a.through() splits them by source token and part, patterns "
    "held.",
}


def _mlp_norm(model: Model, sae: SAE) -> FrozenNorm:
    """The norm in front of an MLP, as a dictionary reads behind it: without its gain where that is what it reads."""
    norm = mlp_norm(model, sae.site.layer or 0)
    if before_gain(model, sae):
        return _plain_norm(_WithoutGain(norm), sae.d_in, norm.centred, model.home)
    return norm


def _own_norm(model: Model, sae: SAE) -> FrozenNorm | None:
    """What a dictionary does to each activation before it encodes it; None where it takes it as it is."""
    centred = sae.coordinates == "centred" or sae.norm == "layer_norm"
    return _plain_norm(_Seen(sae), sae.d_in, centred, model.home) if centred or sae.norm != "none" else None


def _plain_norm(module: nn.Module, width: int, centred: bool, home: torch.device) -> FrozenNorm:
    """A norm without gain and bias."""
    return FrozenNorm(module, torch.ones(width, device=home), torch.zeros(width, device=home), centred)
