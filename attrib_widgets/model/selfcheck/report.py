"""What the self-check found on a loaded model, in full: what is exact, with the numbers, and what is not, with why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...result import Result, Table
from ..anatomy.geometry import projections
from ..anatomy.weights import widths
from ..running.memory import readable
from .levels import named_layers

if TYPE_CHECKING:
    import pandas as pd

    from ..model import Model

# What each number of the self-check compares.
QUESTIONS = {
    "read-out": "the printed logits = unembedding of the final norm of the stream",
    "embedding": "token + position embedding = what layer 0 reads",
    "streams": "what attention, MLPs and the final norm read = all streams, as they are mixed",
    "stream": "before + attention + MLP = after, in every layer",
    "heads": "the heads' writes + bias = the attention's output",
    "attention": "softmax of q . k, times v = what the heads gathered",
    "values": "the value projection of what the layer reads = the values",
    "scores": "the same from the anatomy's q, k and what follows them",
    "causality": "later tokens change nothing before them",
    "MLP input": "what the MLPs read = the stream before them, through its norm",
    "experts": "router weight x expert, summed = the MLP's output",
}


#: How the last column is read.
SCALE = (
    "worst / rounding: the largest mismatch, in units of what rounding can do at most; up to 1.00 passes. Stream often "
    "comes to 1.00, as one sum can be off by so much; a wrong part lies far above."
)


@dataclass(eq=False, repr=False)
class Report(Result):
    """The self-check of one model. Made by :meth:`Model.report`.

    ``numbers`` maps each question to its worst element over all layers, positions and numbers of a probe prompt, in
    units of what rounding explains: at most 1 passes.
    """

    title: str
    facts: list[str]
    numbers: dict[str, float]
    reasons: list[str]

    def summary(self) -> Table:
        rows = [
            [name, QUESTIONS.get(name, ""), "passes" if value <= 1 else "FAILS", f"{value:.2f}"]
            for name, value in self.numbers.items()
        ]
        return Table(
            self.title,
            ["question", "what is compared", "", "worst / rounding"],
            rows,
            note="\n".join(self.facts),
            footer="\n".join([SCALE, *self.reasons]),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``question``, ``compared``, ``worst`` (in units of its rounding bound), ``passes``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "question": list(self.numbers),
                "compared": [QUESTIONS.get(name, "") for name in self.numbers],
                "worst": list(self.numbers.values()),
                "passes": [value <= 1 for value in self.numbers.values()],
            }
        )


def report(model: Model) -> Report:
    """See :meth:`Model.report`."""
    check, config = model.check, model.config
    hf: Any = model.hf
    size = int(hf.num_parameters())  # of packed weights, too
    implementation = getattr(config, "_attn_implementation", None) or "unknown"
    facts = [
        f"{model.family}, {size:,} parameters in {_short(model.dtype)} on {model.device}, attention: {implementation}",
        f"{model.n_layers} layers of {model.geometry.words}, width {model.d_model}; "
        f"a run of 1,000 tokens keeps {readable(model.memory_estimate(1000))} in memory",
    ]
    facts += through_modules(model)
    counts = [layer.n_heads for layer in model.geometry.layers]
    if len(set(counts)) > 1:
        facts.append("heads of its layers: " + ", ".join(f"L{i} {n or 'none'}" for i, n in enumerate(counts)))
    facts += _exact(model)
    reasons = [f"not finer because {check.reason}"] if check.reason else []
    reasons += [f"no attention scores because {check.scores_reason}"] if check.scores_reason else []
    reasons += [f"no neurons or experts because {check.mlp_reason}"] if check.mlp_reason else []
    reasons += [check.remark] if check.remark else []
    title = f"{model.called} adds up, exact {check.words}"
    return Report(title, facts, dict(check.numbers), reasons)


def _exact(model: Model) -> list[str]:
    """What is exact, in one line; one a group of layers where these differ."""
    inside = "experts" if any(model.has_experts(i) for i in range(model.n_layers)) else "neurons"
    names = {"heads": "heads", "sources": "sources", "values": "values", "scores": "attention scores", "inside": inside}
    groups: dict[tuple[str, ...], list[int]] = {}
    for layer, level in enumerate(model.check.levels):
        found = [name for split, name in names.items() if getattr(level, split)]
        if level.sublayers and not level.heads:
            mixer = model.mixer(layer)
            found.insert(0, "attention and MLP" if mixer is None else f"{mixer.name} and the MLP")
        found += [part.name for part in model.anatomy.besides.values()] if level.sublayers else []
        groups.setdefault(tuple(found or ["the layer as a whole"]), []).append(layer)
    if len(groups) == 1:
        return [f"exact: {', '.join(next(iter(groups)))}"]
    return [f"exact in {named_layers(layers)}: {', '.join(found)}" for found, layers in groups.items()]


def through_modules(model: Model) -> list[str]:
    """Which projections hold no plain weight, and what it costs to read them through their modules."""
    met = model.through_modules
    if not met:
        return []
    kinds = {path: found.kind for path, _, found in met}
    named = ", ".join(f"{path} ({kind})" for path, kind in kinds.items())
    rounds = "" if model.precision == model.dtype else f"; they round to {_short(model.precision)} inside"
    said = [f"no plain weight, read through their modules: {named}{rounds}"]
    outs = [found for path, _, found in met if path == model.anatomy.attn_out and not found.shown.why]
    if outs:
        calls, rows = sum(-(-found.d_in // found.block) for found in outs), sum(found.d_in for found in outs)
        sizes = [d_in * d_out for d_in, d_out in filter(None, map(widths, projections(model.anatomy, model.hf)))]
        tokens = sum(found.d_in**2 * found.d_out for found in outs) / sum(sizes)
        said.append(
            f"its price: an attribution calls output projections {calls:,} times more, with {rows:,} rows in all, "
            f"about as much as a forward pass of {tokens:,.0f} tokens"
        )
    return said


def _short(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
