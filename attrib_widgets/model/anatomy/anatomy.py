"""The shape of an anatomy: where a model keeps its parts, as data. The families' own are in :mod:`.families`.

An :class:`Anatomy` is a set of module paths and a few facts. Nothing in it is trusted: the self-check
(:mod:`..selfcheck.check`) adds the parts up on the loaded model, and an anatomy whose sums do not close is not used.
To add a family, write its :class:`Anatomy`, pass it as ``aw.load(model, anatomy=...)`` and read ``model.report()``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...words.errors import AnatomyError


class Layout(NamedTuple):
    """How one projection holds queries, keys and values: ``blocks`` of equal size, each in this ``order``.

    ``blocks`` is a number, or ``"heads"`` or ``"key heads"``: as many as there are.
    """

    blocks: int | str
    order: str


#: Beside ``"split"``, which is three projections, and ``"gated"``, the same with a gate behind each head's queries.
LAYOUTS: Mapping[str, Layout] = {
    "thirds": Layout(1, "qkv"),
    "per_head": Layout("heads", "qkv"),
    "grouped": Layout("key heads", "qkv"),  # its queries, their key, their value
    "quarters": Layout(4, "qvk"),
}


@dataclass(frozen=True)
class QKV:
    """How queries, keys and values come out of their projections. Paths are relative to the attention module;
    of alternatives (``"v_proj|k_proj"``: keys that are values as well) each layer has its own.

    ``layout``: ``"split"`` three projections, ``"gated"`` three of which that of the queries gives, head by head, the
    queries and a gate, or one projection in an order of :data:`LAYOUTS`. ``q_norm`` and ``k_norm`` are norms, over one
    head or over the whole projection (told apart by their width), applied before the rotation, or with
    ``rotary_first`` behind it; ``v_norm`` is one over the values of one head, ``v_factor`` and ``k_factor`` attributes
    that multiply values and keys (these last, where keys are normed). A gate that multiplies what heads gathered is not
    written down: it is found by letting ones arrive in its place (:mod:`...parts.listen`). ``scaling`` multiplies the
    scores: an attribute, ``"/name"`` for one that divides, or a number. ``softcap`` names the attribute that caps them,
    ``sinks`` a learned extra column, ``window`` the length of a sliding window, ``causal`` a buffer [1, 1, position,
    position] that is true where attention may look.

    ``rotary``: ``"halves"`` or ``"interleaved"``, how the numbers of a head are paired; ``rotary_back``: pairs turn the
    other way round; ``rotary_table`` how the cosines are laid out that the layer is given: ``"doubled"`` (each half
    holds all), ``"interleaved"`` (each one twice in a row), ``"single"``, ``"sines_first"`` (single, the sines before
    the cosines), or the name of a buffer [position, sines and cosines] of the attention module itself. ``rotary_if``
    names an attribute that is false in layers that do not rotate (``"a|b"``: both are). ``temperature`` names the
    switch of a module that multiplies the queries of layers that do not rotate by a factor that grows with their
    position (its ``floor_scale`` and ``attn_scale``). Two switches say where a model in half precision computes in
    float32 all the same: ``float_rotary`` (``"kept"``: what was turned is not rounded back) and ``float_scores``; with
    ``early_scaling`` the queries are scaled, and rounded, before they meet the keys. ``alibi``: the position penalty is
    ``"added"`` to the scaled scores, or ``"scaled"`` with them. ``clip`` names a config entry that clamps queries, keys
    and values (``"attn_config.clip_qkv"``: inside another).

    What the attention module is given beside the stream, by the names of its arguments: ``mask``, which is added to the
    scores or, where it is of booleans, true where they are ``"allowed"`` or ``"hidden"`` (``mask_true``); ``penalty``,
    the position penalty, one per prompt (``"prompt"``) or one for all, of which the last keys are meant (``"all"``:
    ``penalty_of``); ``angles``, the cosines and sines of the rotation.
    """

    q: str
    k: str
    v: str
    layout: str = "split"
    q_norm: str | None = None
    k_norm: str | None = None
    v_norm: str | None = None
    scaling: str | float = "scaling"
    softcap: str | None = None
    sinks: str | None = None
    window: str | None = None
    causal: str | None = None
    rotary: str = "halves"
    rotary_table: str = "doubled"
    rotary_if: str | None = None
    rotary_first: bool = False
    rotary_back: bool = False
    temperature: str | None = None
    v_factor: str | None = None
    k_factor: str | None = None
    float_rotary: bool | str = False
    float_scores: bool = False
    early_scaling: bool = False
    alibi: str = "added"
    clip: str | None = "clip_qkv"
    mask: str = "attention_mask"
    mask_true: str = "allowed"
    penalty: str = "alibi"
    penalty_of: str = "prompt"
    angles: str = "position_embeddings"

    @property
    def apart(self) -> bool:
        """Whether queries, keys and values have projections of their own."""
        return self.layout in ("split", "gated")

    @property
    def arguments(self) -> dict[str, str]:
        """What the recomputation of a pattern needs besides the stream -> the attention module's name for it."""
        return {"mask": self.mask, "penalty": self.penalty, "angles": self.angles}


def _bare(name: str) -> str:
    """``"a Mamba mixer"`` without its article."""
    return name.partition(" ")[2] or name


@dataclass(frozen=True)
class Mixer:
    """What stands in the place of attention in some layers of a hybrid. ``path`` is relative to the layer, ``name``
    says what it is ("a gated delta net"), ``tag`` the same in a few letters, as it stands beside the name of a part.

    It has no heads: it is the sublayer ``L0.attn``, exact as such. It carries a state along the sequence, which no mask
    and no cache of keys stands for: rows of an experiment are never packed beside each other above it, and nothing that
    was recorded is handed in for earlier positions. ``has`` is a module or tensor inside of it that tells it from
    attention where both have one name.
    """

    path: str
    name: str
    has: str | None = None
    tag: str = ""

    @property
    def short(self) -> str:
        """What it is in a few letters."""
        return self.tag or _bare(self.name)


@dataclass(frozen=True)
class Beside:
    """A third part that every layer adds to its stream beside attention and MLP: ``L0.beside``. ``path`` is of the
    module whose output is added, relative to the layer, ``name`` says what it is.

    It runs behind the MLP, or with ``first`` in front of the attention: it is then added with that. With ``state`` it
    carries one along the sequence as a :class:`Mixer` does. ``multiplier`` scales what it adds, as
    :attr:`Anatomy.multiplier` does for the others.
    """

    path: str
    name: str
    first: bool = False
    state: bool = False
    multiplier: str | None = None
    tag: str = ""

    @property
    def short(self) -> str:
        """What it is in a few letters."""
        return self.tag or _bare(self.name)


@dataclass(frozen=True)
class AltUp:
    """Several streams beside each other for every position, of which the layers read and write one: alternating updates
    (Baykal et al. 2023, arXiv 2301.13310), as Gemma 3n has them.

    In front of a layer every stream becomes itself and a mixture of all, by the coefficients that ``predict`` gives:
    the active one is what attention and MLP read and write. What that is more than before is then added to every
    stream, times 1 + what ``correct`` gives; the output of :attr:`Anatomy.beside` to all but the first. ``laurel`` is
    added with the attention, and the sum multiplied by ``shrink``. Behind the last layer all streams but the first pass
    the projections of ``merge``, are brought to the length of the first (divided by their own, ``least`` where that is
    shorter), and the mean of all is what the final norm reads.

    ``predict``, ``correct`` and ``laurel`` are relative to the layer, ``merge`` is a list of modules; ``streams`` and
    ``active`` name config entries: how many there are, and the number of the active one.
    """

    predict: str
    correct: str
    merge: str
    laurel: Beside
    streams: str = "altup_num_inputs"
    active: str = "altup_active_idx"
    shrink: float = 0.5**0.5
    least: float = 1e-5**0.5


@dataclass(frozen=True)
class Experts:
    """Where a mixture of experts keeps its parts. Paths are relative to the layer.

    ``router`` returns (scores, weights, indices); ``experts`` is called with the MLP's input, the indices and the
    weights, and is linear in the weights. A router that returns two tables of one number for every expert is understood
    as well: the first is what each expert's input is multiplied by, and all experts run. ``bias`` is a tensor of the
    layer that the router is given beside the input. ``shared`` are modules that every token passes, ``shared_gate`` the
    projection whose sigmoid multiplies them.
    """

    router: str
    experts: str
    shared: str | None = None
    shared_gate: str | None = None
    bias: str | None = None


#: What hybrids call the mixers of their layers without attention. A layer that has an attention has none.
MIXERS = (
    Mixer("self_attn", "a delta attention", has="forget_gate", tag="delta"),
    Mixer("self_attn", "a lightning attention", has="slope_rate", tag="lightning"),
    Mixer("linear_attn", "a gated delta net", tag="delta net"),
    Mixer("mamba", "a Mamba mixer", tag="Mamba"),
    Mixer("conv", "a short convolution", tag="conv"),
    Mixer("temporal_block", "a recurrent block", tag="recurrent"),
)


@dataclass(frozen=True)
class Anatomy:
    """Module paths of one family. Alternatives are written ``"lm_head|embed_out"``: the first that exists.

    ``attn_out`` is the output projection whose input is z, ``mlp_down`` the projection whose input holds the neurons,
    ``mlp_in`` the one that the activation function is applied to and ``mlp_mul`` the one whose output multiplies the
    activation (the same path where both are halves of one projection, the gate first). A sublayer's output passes
    its post-norm, then a multiplier, and is added to the stream. ``parallel`` is True, or the name of a config switch,
    when the attention and the MLP read the same stream. ``mixers`` are what some layers have in place of attention. An
    anatomy without ``attn`` knows whole layers only.

    ``beside`` is a third part of every layer, ``altup`` what a model has that carries several streams. ``n_heads`` and
    ``n_kv_heads`` name config entries, ``multiplier`` one (``".name"``: an attribute of the layers, the same in all of
    them) that scales what every sublayer adds, ``attn_multiplier`` that of the attention where it has one of its own,
    ``attn_factor`` what its input is multiplied by behind its norm, ``carry`` an attribute of the layers, a number that
    multiplies the stream behind a layer once all is added to it, ``logit_scale`` a config entry that multiplies the
    logits (``"/name"`` divides), ``softcap`` the cap of the final logits. ``refused`` maps a config entry's value to
    the reason why a model with it is refused.
    """

    layers: str
    final_norm: str
    unembed: str
    embed: str
    attn: str | None = None
    attn_out: str | None = None
    mlp: str | None = None
    mlp_down: str | None = None
    qkv: QKV | None = None
    pos: str | None = None
    attn_norm: str | None = None
    attn_post_norm: str | None = None
    mlp_norm: str | None = None  # None where the MLP reads the raw stream
    mlp_in: str | None = None
    mlp_mul: str | None = None
    mlp_post_norm: str | None = None
    beside: Beside | None = None
    altup: AltUp | None = None
    attn_multiplier: str | None = None
    attn_factor: str | None = None
    mlp_output: str | None = None  # when not the MLP module's own output; "<path": what that module reads
    experts: Experts | None = None
    mixers: tuple[Mixer, ...] = MIXERS
    parallel: bool | str = False
    multiplier: str | None = None
    carry: str | None = None
    logit_scale: str | None = None
    softcap: str | None = None
    n_heads: str | int = "num_attention_heads"
    n_kv_heads: str | int | None = "num_key_value_heads"
    refused: tuple[tuple[str, Any, str], ...] = ()

    @property
    def besides(self) -> dict[str, Beside]:
        """What a layer adds beside attention and MLP, by its site."""
        found = {"laurel": None if self.altup is None else self.altup.laurel, "beside": self.beside}
        return {site: part for site, part in found.items() if part is not None}


def with_changes(base: Anatomy, changes: Mapping[str, Any]) -> Anatomy:
    """``base`` with some fields changed; ``"qkv.layout"`` and the like change one of its projections' fields.

    Raises:
        AnatomyError: no such field.
    """
    names = {f.name for f in dataclasses.fields(Anatomy)}
    inner = {f.name for f in dataclasses.fields(QKV)}
    unknown = [k for k in changes if k not in names and not (k.startswith("qkv.") and k[4:] in inner)]
    if unknown:
        raise AnatomyError(f"Anatomy has no field {unknown[0]!r}.", f"Its fields are {', '.join(sorted(names))}.")
    outer = {k: v for k, v in changes.items() if k in names}
    deep = {k[4:]: v for k, v in changes.items() if k.startswith("qkv.")}
    if deep and base.qkv is not None:
        outer = {"qkv": dataclasses.replace(base.qkv, **deep), **outer}
    return dataclasses.replace(base, **outer)
