"""Which parts of the model wrote this number: exact direct attribution at any read point.

Direct logit attribution with a frozen final norm (Elhage et al. 2021, "A Mathematical Framework for Transformer
Circuits"; nostalgebraist 2020), on unmodified weights, with every bias and the measured rounding as rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.selfcheck.levels import NEEDED, need, refusal
from ...result import Sum, Table, shown, strongest, with_others
from ...words.components import Component, ComponentLike, component, whole
from ...words.errors import AttribError, ComponentError
from ...words.kinds import with_kind
from ...words.targets import AnyTarget, FeatureTarget, Target, TokenSet, logit, rather_than
from ...words.text import kind_of, number, safe, signed, visible
from ..graph.build import Given, graph
from ..graph.result import Graph
from ..opening.choice import Choice, choice
from ..opening.dictionaries.concepts import Concepts, concepts
from ..opening.dictionaries.features import Features, features
from ..opening.heads import sources, through
from ..opening.inside import inside_rows
from ..opening.mlps import ExpertContributions, experts, neurons
from ..opening.results import Contributions, Through, Worked, Writes
from ..opening.trace.totals import TokenTotals, token_totals
from ..opening.trace.trace import Trace, trace
from ..opening.vectors import worked, writes
from ..reading.decomposition import Closed, absent_heads, closed, decompose
from ..reading.features import Inside
from ..reading.point import Reading
from ..reading.readers import read
from .buildup import Buildup, buildup
from .positions import PositionAttribution, by_position
from .shared import WORTH, Shared, shared
from .words import in_words, tested_of

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from ...model.model import Model
    from ...model.run import Run
    from ...model.running.worker import Job
    from ...saes.sae import SAE
    from ...words.places import PlaceLike


@dataclass(eq=False, repr=False)
class Attribution(Sum):
    """Contributions of every part of the model to one number, in model order. Made by :func:`.attribute.attribute`.

    Attributes:
        components: the rows; labels: their names; values: float32 on the CPU, in the target's unit.
        actual: the model's own number; precap: the same before a soft cap (None without one).
        rounding: the three measured parts of the rounding row: ``stream``, ``heads``, ``readout``.
        rival: what every row writes for the rival alone, where the target is held against one: the answer's own part is
            ``values + rival``. None where nothing is held against it.
        notes: remarks for the reader.
    """

    run: Run
    target: AnyTarget
    position: int
    reading: Reading
    components: list[Component]
    values: Float[Tensor, "component"]
    rounding: dict[str, float]
    rival: Float[Tensor, "component"] | None = None

    @property
    def model(self) -> Model:
        """The model that ran."""
        return self.run.model

    @property
    def unit(self) -> str:
        """``"logits"``, ``"nats"``, ``"score"`` or ``"pre-activation"``."""
        return self.target.unit

    @property
    def notes(self) -> list[str]:
        """Remarks for the reader."""
        return [*self.run.notes, *self.reading.notes]

    @property
    def labels(self) -> list[str]:
        """Names of the rows."""
        return [str(c) for c in self.components]

    @property
    def actual(self) -> float:
        """The model's own number."""
        return self.reading.actual

    @property
    def precap(self) -> float | None:
        """The model's number before its soft cap; None where there is no cap."""
        return self.reading.precap

    @property
    def explained(self) -> float:
        """The model's own number."""
        return self.actual

    def shared(self, k: int = 3) -> list[Shared]:
        """The ``k`` parts that write most for both answers alike (the smaller of the two amounts), the largest first;
        none where nothing is held against the target. What is shared does not choose between the two."""
        if self.rival is None:
            return []
        own = self.values + self.rival
        both = shared(own, self.rival)
        order = [i for i in strongest(both) if self.components[i].writes and abs(float(both[i])) >= WORTH]
        return [
            Shared(c, float(own[i]), float(self.rival[i]), self.actual, self.part_kinds.get(str(c)))
            for i, c in ((i, self.components[i]) for i in order[:k])
        ]

    def __getitem__(self, which: ComponentLike) -> float:
        return float(self.values[self._row(which)])

    def _row(self, which: ComponentLike) -> int:
        wanted = component(which)
        if wanted not in self.components:
            raise self._missing(wanted)
        return self.components.index(wanted)

    def _missing(self, wanted: Component) -> AttribError:
        """Why there is no such row: its layer does not split so far, or there is no such part."""
        layer, model = wanted.layer, self.model
        said = f"{wanted} is not a row of this attribution."
        if layer is not None and layer < self.reading.point.attentions:
            split = NEEDED.get(wanted.kind)
            if split is not None and not getattr(model.level(layer), split):
                return refusal(model, split, layer if model.granularity == "mixed" else None)
            if wanted.kind == "head" and (wanted.index or 0) >= model.heads_of(layer):
                return ComponentError(said, model.geometry.remedy(layer))
        return ComponentError(said, f"Its rows run from {self.components[0]} to {self.components[-1]}: see .labels.")

    @property
    def heads(self) -> Float[Tensor, "layer head"]:
        """Contributions of the heads; zero in layers above the read point, NaN where a layer has no such head, or its
        heads are not exact.

        Raises:
            GranularityError: heads are exact in no layer of this model; the reason is in the message.
        """
        need(self.model, "heads")
        out = absent_heads(self.model, torch.zeros(self.model.n_layers, self.model.n_heads))
        for c, value in zip(self.components, self.values, strict=True):
            if c.kind == "head":
                out[c.layer, c.index] = value
        return out

    @property
    def mlps(self) -> Float[Tensor, "layer"]:
        """Contributions of the MLPs, their output biases included; NaN where a layer is exact as a whole only.

        Raises:
            GranularityError: sublayers are exact in no layer of this model; the reason is in the message.
        """
        need(self.model, "sublayers")
        out = torch.tensor([0.0 if level.sublayers else torch.nan for level in self.model.check.levels])
        for c, value in zip(self.components, self.values, strict=True):
            if c.kind == "mlp":
                out[c.layer] = value
        return out

    def top(self, k: int = 10, kind: str | None = None) -> list[tuple[Component, float]]:
        """The ``k`` largest rows by magnitude, with their signs; ``kind="head"`` keeps only heads, and so on."""
        return top_rows(self.components, self.values, k, kind)

    # -- opening a row -------------------------------------------------------------------------------------
    def sources(self, head: ComponentLike) -> Contributions:
        """What each source token contributed through ``head``: A[t,s] (v_s - b_V) W_O . u, and the value bias."""
        return sources(self, self._head(head))

    def through(self, head: ComponentLike | None = None) -> Through:
        """The contribution of ``head`` split over source token and upstream part, pattern and norms frozen.

        Args:
            head: None is all heads of the layer together, where a feature of their outputs is explained.
        """
        found = through(self, None if head is None else self._head(head))
        found._part_kinds = self.part_kinds
        return found

    def choice(self, head: ComponentLike, key: int | None = None, against: int | None = None) -> Choice:
        """Why ``head`` looked at one key rather than at another: the difference of two scores, by who wrote the keys.

        A row is what a part wrote at ``key`` minus what it wrote at ``against``, each through its own frozen norm, with
        the query of this attribution's position held. The rows sum to the difference of the two scores (after a soft
        cap, where there is one), and e to the power of it is how many times the attention ``key`` got.

        Args:
            key: None is the token that the head read most.
            against: None is the strongest other key.

        Raises:
            PositionError: a key after the query or outside the head's window, the same one twice, or no other.
            GranularityError: scores of this model were not shown to be exact.
        """
        found = choice(self, self._head(head), key, against)
        found._part_kinds = self.part_kinds
        return found

    def neurons(self, layer: int | ComponentLike) -> Contributions:
        """What each neuron of an MLP contributed. Costs one more forward pass, up to that layer."""
        return neurons(self, self._mlp(layer))

    def experts(self, layer: int | ComponentLike) -> ExpertContributions:
        """What each expert of a mixture contributed: router weight x expert output, read like the MLP itself.

        Raises:
            GranularityError: the MLP of ``layer`` is no mixture, or its experts cannot be called one at a time.
        """
        return experts(self, self._mlp(layer))

    def _mlp(self, layer: int | ComponentLike) -> int:
        need(self.model, "sublayers")
        number = whole(layer)
        if number is None:
            found = component(layer)  # type: ignore[arg-type]
            number = found.layer if found.kind in ("mlp", "layer", "neuron", "expert") else None
        if number is None or not 0 <= number < self.reading.point.mlps:
            last = self.reading.point.mlps - 1
            raise ComponentError(f"{layer!r} is no MLP below the read point.", f"Use 0 to {last}.")
        need(self.model, "sublayers", number)
        return number

    def features(self, which: PlaceLike, sae: SAE | Path | str | Any | None = None) -> Features:
        """What each feature of a dictionary contributed through an MLP, a head, an attention or a stream.

        Args:
            which: ``"L2.mlp"`` (of a transcoder ``"L2.mlp_in"`` is the same), ``"L3H5"`` (read in the outputs of all
                heads of its layer), ``"L2.attn_out"``, or a stream: ``"L2"`` is ``"L2.post"``.
            sae: the dictionary, its folder in any format that is known, or an object that another library has loaded;
                None takes the model's own, ``model.saes``.

        Raises:
            ComponentError: no such row, or no dictionary for it; AttribError: a folder that cannot be read.
        """
        return features(self, which, sae)

    def concepts(self, use: PlaceLike | Iterable[PlaceLike] | None = None) -> Concepts:
        """Every part that has a dictionary split into its features, all at once: rows that sum to the number.

        A feature of the heads' outputs is summed over the heads of its layer. Parts without a dictionary are rows of
        their own; what no feature says (reconstruction errors, decoder biases) is one row, which ``.unsaid()`` opens by
        part. ``.parts(row)`` says who wrote a concept, ``.card(row)`` what it fires on, ``.like(row)`` in which layers
        it is. Of an attention the dictionary of its heads' outputs is taken before that of what it adds, of an MLP that
        of its output before a transcoder; one of a stream splits what nobody wrote by itself, and is not used.

        Args:
            use: the place of the dictionary to take, or several, for example ``["L2.attn_out", "L8.mlp_in"]``; None is
                all of ``model.saes``.

        Raises:
            ComponentError: no part has a dictionary, or a place of ``use`` has none or splits no part.
        """
        return concepts(self, use)

    def worked(self, which: ComponentLike) -> Worked:
        """A row as a dot product, number by number: what the part wrote, divided by what the norm divided by in this
        run, times the direction of what is asked.

        Args:
            which: a head, an MLP, the embedding, a bias that is added to the stream (or by the norm), a whole layer, or
                an expert, ``"L1.mlp/E3"``.

        Raises:
            ComponentError: no such row, or one that is no vector of the stream (rounding, soft cap, entropy).
        """
        part = component(which)
        return worked(self, part if part.kind == "expert" else self.components[self._row(part)])

    def writes(self, which: ComponentLike, k: int = 8) -> Writes:
        """What a component adds to the logits of the whole vocabulary, through the frozen final norm."""
        return writes(self, self.components[self._row(which)], k)

    def buildup(self) -> Buildup:
        """How the number builds up through depth: the sum of contributions so far after every sublayer."""
        return buildup(self)

    def by_position(self, target: Literal["next"] | None = None) -> PositionAttribution:
        """The same attribution at every destination position at once.

        Args:
            target: None keeps this target; ``"next"`` explains each position's own next token (the last position:
                this attribution's target).
        """
        return by_position(self, target)

    def trace(self, depth: int | None = 2, keep: float = 24, mlps: Literal["stop", "frozen"] = "stop") -> Trace:
        """Walk backwards from this number to the tokens: a pruned tree whose leaves sum to it.

        Args:
            depth: 1 is this attribution; 2 opens its heads over (source token, upstream part), and so on. None goes
                on until only tokens, biases and MLPs are left.
            keep: how many rows of each level are kept, the largest of all its nodes; or (a float up to 1.0) the share
                of the level's summed magnitude that is kept, at most 1,000 rows. What is dropped is summed at its node.
            mlps: ``"stop"`` leaves MLPs whole. ``"frozen"`` opens them too, with every neuron's gate held as it was:
                exact in sum, but silent on why the gates were open (a transcoder's answer is of the same kind).
                Costs its MLPs once more, in half precision a forward pass.

        It is titled with the :meth:`token_totals` of the same ``mlps``, its limit when nothing is pruned; how much was
        is said in its last line.

        Raises:
            AttribError: an argument out of range.
            GranularityError: the recorded tensors do not add up on this prompt.
        """
        return trace(self, depth, keep, mlps)

    def token_totals(self, mlps: Literal["stop", "frozen"] = "frozen") -> TokenTotals:
        """What each token of the prompt put into this number by all paths: the limit of :meth:`trace`, nothing pruned.

        Attention patterns and norm scales are held, and with ``mlps="frozen"`` the gates of MLPs, as in :meth:`trace`;
        the totals of the embedding at every position, of what is not opened, and the constants (biases) sum to the
        number. Costs one backward pass, and the MLPs once more (in half precision a forward pass; nothing with
        ``"stop"``).

        Raises:
            AttribError: another way to treat MLPs.
            GranularityError: the recorded tensors do not add up on this prompt.
        """
        return token_totals(self, mlps)

    def graph(
        self,
        saes: Given = None,
        *,
        limit: int | None = None,
        live: int = 20,
        job: Job | None = None,
    ) -> Graph:
        """The attribution graph: which features put how much into this number, which into those, down to the tokens.

        Dictionaries stand for what they rebuild, and their errors are nodes beside them. With patterns, norms and the
        gates of MLPs held as they were, everything that was put into a node sums to it (:meth:`.Graph.into`). Edges are
        observations; the strongest are tested in the live model, and the title says how they stood.

        Args:
            saes: a kind of graph, for the dictionaries of ``model.saes`` (``"mlp"``, ``"mlp+z"``, ``"z"``,
                ``"stream"``, ``"transcoder"``), or dictionaries: an SAE, a list or mapping of them, a cross-layer
                transcoder. None takes those of MLPs and heads, else all.
            limit: how many features are opened at most, the most influential first; None is all that memory allows.
            live: how many edges are tested; 0 for none.
            job: told of the progress after every walk; when it is cancelled, what was opened so far is returned.

        Costs arithmetic on the recording (and MLPs once more, where they are passed through), then one row of a forward
        pass for every tested source.

        Raises:
            ComponentError: no such dictionaries. AttribError: two of one place, or no kind of graph.
            GranularityError: the recorded tensors do not add up on this prompt.
        """
        return graph(self, saes, limit, live, job, lambda t: attribute_resolved(self.run, t, self.position))

    def _head(self, which: ComponentLike) -> Component:
        need(self.model, "heads")
        found = self.components[self._row(which)]
        if found.kind != "head":
            raise ComponentError(f"{found} is not a head.", 'Name one as "L7H4".')
        return found

    # -- showing -------------------------------------------------------------------------------------------
    def finding(self) -> tuple[list[str], str]:
        """(who leads, with how much of what): corrections such as biases and rounding never lead."""
        rows = [row for row in self.top(len(self.components)) if row[0].writes]
        (one, a), (other, b) = rows[0], rows[1] if len(rows) > 1 else (None, 0.0)
        first, second = (with_kind(str(part), self.part_kinds) for part in (one, other))
        of = f"of {number(self.actual)}" + (f" {self.unit}" if not self.target.inner else "")
        alone = len(rows) == 1
        opposed = a * b < 0 and abs(b) > abs(a) / 3
        if a * self.actual < 0 or abs(self.actual) < 0.5 * abs(a) or opposed:  # a share would mislead
            if alone:
                return [first], f"writes {signed(a)}, {of}"
            return [first, second], f"pull most: {signed(a)} and {signed(b)}, {of}"
        if a * b <= 0 or abs(b) < abs(a) / 5:
            return [first], f"leads: {signed(a)} {of}"
        return [first, second], f"lead: {signed(a + b)} {of}"

    def title(self) -> str:
        """The finding in one line."""
        names, text = self.finding()
        return f"{' and '.join(names)} {text}, the {self.target.words(self.model, self.run)}"

    def in_words(self, verdicts: Any = None) -> str:
        """The answer in a few sentences: what comes next and how surely, what wrote it and how much is not named, from
        which words, which concept, and what was tested; each with its number.

        Args:
            verdicts: what :func:`attrib_widgets.verify` found about this attribution (held against a rival or not);
                without it nothing is called a cause.

        Raises:
            AttribError: something else, or verdicts on another prompt, token or position.
        """
        return " ".join(in_words(self, tested_of(self, verdicts)))

    def summary(self) -> Table:
        beside = [] if self.rival is None else [self.rival]
        order = shown(self.values, 10)
        rows, bars = with_others(self.values, order, lambda i: [self.labels[i]], beside=beside)
        asked = [self.unit] if self.rival is None else [f"for {self.rival_name}", f"difference, {self.unit}"]
        start = max(0, self.position - 11)
        where = ("…" if start else "") + safe(self.run.model.joined(self.run.ids[start : self.position + 1]))
        place = "read at" if self.target.inner else "after"
        note = "\n".join([*self.notes, f"{place} {where.strip()}", "Direct contributions: observed, not yet tested."])
        shared = "; ".join(map(str, self.shared()))
        alike = [f"for answer and rival alike: {shared}"] if shared else []
        foot = "\n".join([*alike, "   ".join(self.checks())])
        return Table(self.title(), ["component", *asked], rows, bars, note, foot, last=len(rows) - len(order))

    @property
    def rival_name(self) -> str:
        """The tokens that are held against the answer, as they are printed; "" without any."""
        against = self.target.against if isinstance(self.target, Target) else ()
        return " or ".join(visible(self.model.token(self.model.single_token(t))) for t in against)

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``component``, ``kind``, ``layer``, ``index``, ``value``, in model order, and ``rival`` where the
        target is held against one: what the row writes for that alone. Of a model with mixers also ``what``,
        ``"Mamba"`` and the like, "" of parts that are what their names say."""
        import pandas as pd

        frame = pd.DataFrame(
            {
                "component": self.labels,
                "kind": [c.kind for c in self.components],
                "layer": pd.array([c.layer for c in self.components], dtype="Int64"),
                "index": pd.array([c.index for c in self.components], dtype="Int64"),
                "value": self.values.numpy(),
            }
        )
        if self.rival is not None:
            frame["rival"] = self.rival.numpy()
        if kinds := self.part_kinds:
            frame.insert(2, "what", [kinds[label].short if label in kinds else "" for label in self.labels])
        return frame


def top_rows(
    components: Sequence[Component], values: Float[Tensor, "component"], k: int, kind: str | None
) -> list[tuple[Component, float]]:
    """The ``k`` largest rows by magnitude, with their signs; of one kind, where one is named.

    Raises:
        ComponentError: no rows of that kind, or fewer than one asked for.
    """
    kinds = sorted({c.kind for c in components})
    if kind is not None and kind not in kinds:
        raise ComponentError(f"There are no rows of kind {kind!r}.", f"The kinds are {', '.join(kinds)}.")
    if (whole(k) or 0) < 1:
        raise ComponentError(f"{k!r} is not a number of rows.", "Give 1 or more.")
    return [(components[i], float(values[i])) for i in strongest(values) if kind in (None, components[i].kind)][:k]


@torch.no_grad()
def attribute_resolved(run: Run, target: AnyTarget, position: int) -> Attribution:
    """:func:`.attribute.attribute` once the run, the target and the position are settled."""
    against = target.against if isinstance(target, Target) else ()
    if isinstance(target, FeatureTarget):
        reading = read(run, target, position)
        if isinstance(reading, Inside):
            return assembled(run, target, reading, inside_rows(run, reading))
    readings = [read(run, t, position) for t in (target, *([logit(against)] if against else []))]
    reading = readings[0]
    directions = torch.stack([r.direction for r in readings])  # both at once: the weights are read once
    rows = decompose(run, reading.point, reading.norm, directions, [reading.position])
    found, *beside = (closed(r, rows, direction=i) for i, r in enumerate(readings))
    made = assembled(run, target, reading, found)
    for alone in beside:
        written = dict(zip(alone.components, alone.values.tolist(), strict=True))
        made.rival = torch.tensor([written.get(c, 0.0) for c in made.components])
    return made


def refuse_other(given: Any) -> None:
    """Nothing where ``given`` is an attribution.

    Raises:
        AttribError: it is none.
    """
    if not isinstance(given, Attribution):
        raise AttribError(f"{kind_of(given, start=True)} is no attribution.", "Write aw.attribute(run, target) first.")


def rather(a: Attribution, against: TokenSet | None) -> Attribution:
    """``a`` once more, the logit of ``against`` subtracted from what it explains; ``a`` itself where it is None.

    Raises:
        AttribError: it is no attribution.
    """
    refuse_other(a)
    target = rather_than(a.target, against, a.model.single_token)
    return a if target is a.target else attribute_resolved(a.run, target, a.position)


def assembled(run: Run, target: AnyTarget, reading: Reading, found: Closed) -> Attribution:
    """A reading and its closed sum as an attribution."""
    return Attribution(run, target, reading.position, reading, found.components, found.values, found.rounding)
