"""Which row of an attribution a dictionary opens, by any name of either, and what is explained where it writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from ....model.parts.outlet import Sublayer, outlet_of
from ....saes.fit import fit
from ....saes.loaded import is_loaded, read_sae
from ....saes.sae import SAE
from ....saes.store import Opened, open_folder
from ....words.components import Component, component
from ....words.errors import ComponentError
from ....words.places import Place, PlaceLike, dictionary_place, place
from ....words.text import kind_of
from ...reading.features import read_place
from ..heads import attention_direction, direction_behind

if TYPE_CHECKING:
    from ...attribution.attribution import Attribution


def row_of(which: PlaceLike) -> tuple[Component | Place, str]:
    """A row, or a place of the stream or of all heads, by any name of either; and what was named, as printed."""
    if str(which).strip().lower() == "embed":
        return component("embed"), "embed"
    try:
        found = place(which, layer_means="post")
    except ComponentError:
        if isinstance(which, Place):
            raise
        part = component(which)
        return part, str(part)
    if found.site == "pre":
        found = dictionary_place(found)
    if found.is_stream or found.site == "attn_out":
        return found, str(found)
    if found.site == "z" and found.head is None:
        return Component("attn", found.layer), str(found)
    if found.site == "mlp_in":
        return Component("mlp", found.layer), str(found)
    if (written := found.component) is None:
        raise ComponentError(f"{found} has no dictionary.", _NAME_ONE)
    return written, str(found)


_NAME_ONE = (
    'Name an MLP ("L2.mlp"), a head ("L3H5"), what an attention adds ("L2.attn_out") or a stream ("L2.mid", "L2.post").'
)


def opened_row(a: Attribution, which: Component) -> Component | Place:
    """The row that a feature is read through: ``L2.mlp`` for ``L2.mlp/12``, the head for ``L3H5/12`` (of ``L3.z``).

    Raises:
        ComponentError: no such row, no dictionary for it, or no such feature.
    """
    if which.kind != "feature":
        raise ComponentError(f"{which} is no feature.", 'Write for example "L2.mlp/12".')
    row, name = row_of(which.site or "")
    if isinstance(row, Component) and row.kind == "attn":
        raise ComponentError(
            f"{which} is read through a head of its layer.", f'Name the head: "L{row.layer}H0/{which.index}".'
        )
    dictionary_of(a, site_of(a, row, name), None).sae.check(which.index or 0)
    return Component("layer", row.layer) if isinstance(row, Place) and row.site == "post" else row


def site_of(a: Attribution, which: Component | Place, name: str) -> Place:
    """The place whose dictionary opens a row, which was named ``name``; of an MLP also a transcoder's."""
    layer, point = which.layer, a.reading.point
    if isinstance(which, Component) and which.kind in ("head", "mlp"):
        a[which]  # refuses what is not a row of this attribution
        if which.kind == "head":
            return Place("z", layer)
        into = Place("mlp_in", layer)
        return into if name == str(into) else read_place(a.model, Place("mlp", layer))
    if layer is not None and layer >= a.model.n_layers:
        raise ComponentError(f"{a.model.name} has no layer {layer}.", f"Its layers are 0 to {a.model.n_layers - 1}.")
    if isinstance(which, Place):
        written = point.mlps if which.site == "post" else point.attentions
        if which.site != "pre" and (layer or 0) >= written:
            raise ComponentError(
                f"The {'stream ' if which.is_stream else 'output '}{name} lies behind what is explained here.",
                "Open what comes before: a stream, an MLP or a head of an earlier layer.",
            )
        return which
    if which.kind == "attn":
        raise ComponentError(f"{name} is opened through one of its heads.", f'Name the head: "L{layer}H0".')
    raise ComponentError(f"{name} has no dictionary.", _NAME_ONE)


def dictionary_of(a: Attribution, site: Place, sae: SAE | Path | str | Any | None) -> Opened:
    """The dictionary that was given, else the model's own."""
    if sae is None:
        return a.model.saes.opened(site)
    if isinstance(sae, str | Path):
        return open_folder(a.model, site, sae)
    if is_loaded(sae):
        sae = read_sae(sae, site)
    if not isinstance(sae, SAE):
        raise ComponentError(f"A dictionary cannot be {kind_of(sae)}.", "Give an aw.SAE, or the folder of one.")
    if site not in (sae.site, sae.target):
        raise ComponentError(f"This dictionary is for {sae.site}, and the row needs one for {site}.")
    fit(a.model, sae, a.model.saes.digest)
    return Opened(sae)


def writing(sae: SAE) -> SAE:
    """The dictionary, which rebuilds something that is added to the stream.

    Raises:
        ComponentError: it rebuilds what an MLP reads, of which no row is made.
    """
    if sae.target.site == "mlp_in":
        raise ComponentError(
            f"{sae!r} rebuilds what the MLP reads behind its norm, which nobody adds to the stream: it splits no row.",
            f'Explain why a feature fires, aw.attribute(run, "{sae.site}/12"), or take it out: aw.ablate(model, run, '
            f'components=["{sae.site}/12"]).',
        )
    return sae


def direction_of(a: Attribution, which: Component | Place) -> Float[Tensor, "d_out"]:
    """The explained direction where the dictionary of a row writes, float64; for a head zero outside its slice, for the
    place of all heads not."""
    kind = which.site if isinstance(which, Place) else which.kind
    if kind not in ("head", "z"):
        sublayer: Sublayer | None = "mlp" if kind == "mlp" else "attn" if kind == "attn_out" else None
        behind = kind in ("layer", "post")  # what the layer multiplies its stream by is in it already
        part = "attn" if kind == "mid" else sublayer or "pre"  # between the two the attention's join is passed
        found = direction_behind(a, (which.layer or 0) + behind, part).double()
        return found if sublayer is None else outlet_of(a.model, sublayer, which.layer or 0).scaled(found)
    layer, d = which.layer or 0, a.model.geometry[which.layer or 0].d_head
    out = a.model.out(layer)
    direction = attention_direction(a, layer).double()
    own = direction.new_zeros(out.d_in)
    rows = slice(0, out.d_in)
    if isinstance(which, Component):
        rows = slice((which.index or 0) * d, ((which.index or 0) + 1) * d)
    own[rows] = out.rows(rows.start, rows.stop).double() @ direction
    return own
