"""Does this layer add up? Its level on a probe prompt, sum by sum, each in units of its own rounding bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...words.errors import AttribError, GranularityError, clause
from ..anatomy.rounding import worst
from ..parts.alignment import own_patterns
from ..parts.attention import heard_error, owner_of_values, scores_error
from ..parts.closing import head_error, stream_error
from ..parts.experts import mixture, mlp_input
from ..parts.outlet import outlet_of
from ..parts.projections import value_norm
from ..parts.streams import read_error, state_error
from ..tracing.ports import port
from .causes import within
from .levels import Exact, Level, whole

if TYPE_CHECKING:
    from ..model import Model
    from ..tracing.recording import Recording

#: What parts of the wrong kind or shape lead to: then the split is not exact, and that is all.
MISFITS = (AttribError, RuntimeError, AttributeError, TypeError, ValueError, IndexError, KeyError, AssertionError)
NOWHERE = "; pass anatomy= to say where it is"


class Checked:
    """The numbers of one anatomy as they are found, and what need not be found twice.

    ``numbers`` maps each question to its worst element over the layers; ``known`` outlives the anatomy: whatever two
    anatomies share is found once.
    """

    def __init__(self, model: Model, rec: Recording, known: dict[Any, Any]) -> None:
        self.model, self.rec, self.known = model, rec, known
        self.numbers: dict[str, float] = {}

    def note(self, question: str, value: float) -> bool:
        """Keep ``value`` where it is the worst so far; whether it passes."""
        self.numbers[question] = max(self.numbers.get(question, 0.0), value if value == value else math.inf)
        return value <= 1

    def level(self, layer: int) -> Level:
        """How far ``layer`` splits, and why not further."""
        model = self.model
        if reason := model.unread.get(layer):
            return whole(reason)
        if not self.note("stream", self._stream(layer)):
            parts = f"{port(model, 'attn_added', layer).path} and {port(model, 'mlp_added').path} of layer {layer}"
            return whole(f"{parts} do not add up to what the layer writes{within(model, layer)}")
        inside = Exact(self._inside(layer))
        if (mixer := model.mixer(layer)) is not None:
            return Level(heads=Exact(f"its mixer is {mixer.name}, which has no heads"), inside=inside)
        if why := self._heads(layer):
            return Level(heads=Exact(f"{why}{within(model, layer)}, so heads are not shown"), inside=inside)
        return self._attention(layer, inside)

    def _stream(self, layer: int) -> float:
        """How far the parts of ``layer`` are from what it writes; of several streams, and from what they read."""
        model, rec = self.model, self.rec
        if model.anatomy.altup is None:
            how = rec.streams[layer].dtype, model.parallel, slice(None), model.read_carry(layer)
            return worst(*stream_error(rec, layer, *how))
        if not self.note("streams", max(worst(*read_error(model, rec, layer, mid)) for mid in (False, True))):
            return math.inf
        return worst(*state_error(model, rec, layer))

    def _heads(self, layer: int) -> str:
        """Why the heads of ``layer`` do not add up; "" where they do."""
        model, rec = self.model, self.rec
        geo = model.geometry[layer]
        if not geo.n_heads:
            return geo.trouble or "there are no heads"
        try:
            attn, mlp = outlet_of(model, "attn", layer), outlet_of(model, "mlp", layer)
            found = max(
                worst(*head_error(model, rec, layer)),
                worst(*attn.error(rec.attn_out[layer], rec.attn_write[layer])),
                worst(*mlp.error(rec.mlp_out[layer], rec.mlp_write[layer])),
            )
        except MISFITS as refused:
            return clause(refused)
        if self.note("heads", found):
            return ""
        return f"the heads of {model.anatomy.attn_out} and its bias do not add up to its output"

    def _attention(self, layer: int, inside: Exact) -> Level:
        """The level of a layer whose heads add up."""
        model, rec, more, missed = self.model, self.rec, "", math.inf
        try:
            missed = scores_error(model, rec, layer)
            reason = "attention recomputed from queries, keys and values is not what the heads wrote"
        except MISFITS as refused:
            reason, more = f"attention could not be recomputed ({clause(refused)})", NOWHERE
        if missed <= 1:
            self.note("attention", missed)
            if value_norm(model, layer) is not None and not heard_error(model, rec, layer)[1] <= 1:
                why = "its heads' values are normed, and are no linear map of what its layers read"
                return Level(values=Exact(why), inside=inside)
            return Level(inside=inside)
        reason += within(model, layer)
        heard, values = self._once("heard", layer, lambda: heard_error(model, rec, layer))
        if heard <= 1:
            self.note("attention", heard)
            if missed < math.inf:
                self.note("scores", missed)
            if values <= 1:
                self.note("values", values)
                return Level(scores=Exact(reason + more), inside=inside)
            owner = self._once("owner", layer, lambda: owner_of_values(model, rec, layer))
            if owner is not None:
                why = f"its heads gather the values of L{owner}, which are no projection of what they read"
                return Level(values=Exact(why), scores=Exact(f"its keys are those of L{owner}"), inside=inside)
            why = f"its heads' values are no projection of what its layers read ({reason}{more})"
            return Level(values=Exact(why), scores=Exact(reason + more), inside=inside)
        if missed < math.inf:
            self.note("attention", missed)
        if self._once("own", layer, lambda: own_patterns(model, rec, layer)) is not None:
            return Level(sources=Exact(reason + more), inside=inside)
        return Level(heads=Exact(f"{reason}, so heads are not shown{more}"), inside=inside)

    def _once(self, what: str, layer: int, find: Any) -> Any:
        """``find()``, which looks at the layer's own attention module only."""
        a, geo = self.model.anatomy, self.model.geometry[layer]
        v = None if a.qkv is None or what == "own" else (a.qkv.v, a.qkv.layout)
        key = (what, layer, a.layers, a.attn, a.attn_out, a.attn_norm, v, geo.n_heads, geo.n_kv_heads)
        if key not in self.known:
            self.known[key] = find()
        return self.known[key]

    def _inside(self, layer: int) -> str:
        """Why neurons' inputs or experts are not exact; "" when they are."""
        model, rec = self.model, self.rec
        whole = model.anatomy.mlp_output or ""
        if whole.startswith("<"):
            return f"what the MLP of layer {layer} gives is not all that {whole[1:]} reads"
        try:
            if model.has_experts(layer):
                where = f"the experts of layer {layer} do not add up to its MLP"
                name, found = "experts", worst(*mixture(model, rec, layer).error(rec.mlp_out[layer]))
            else:
                where = f"the MLP of layer {layer} does not read {model.anatomy.mlp_norm or 'the stream'}"
                name, found = "MLP input", _mlp_input_error(model, rec, layer)
        except MISFITS as refused:
            return clause(refused)
        return "" if self.note(name, found) else f"{where}{within(model, layer)}"


def _mlp_input_error(model: Model, rec: Recording, layer: int) -> float:
    """The recorded output of the MLP's input projection against its product with what the anatomy says it reads."""
    path = model.anatomy.mlp_in
    if path is None or not rec.mlp_entered or rec.mlp_entered[layer] is None:
        raise GranularityError(f"the MLP of layer {layer} has no input projection {path!r}")
    given = rec.mlp_entered[layer]
    assert given is not None
    return worst(*model.projection(path, layer).called(mlp_input(model, rec, layer), given))
