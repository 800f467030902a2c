"""What the self-check found on a loaded model, in full: what is exact, with the numbers, and what is not, with why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...result import Result, Table
from ..running.memory import readable
from .levels import named_layers

if TYPE_CHECKING:
    import pandas as pd

    from ..model import Model

# What each number of the self-check compares.
QUESTIONS = {
    "read-out": "the printed logits = unembedding of the final norm of the stream",
    "embedding": "token + position embedding = what layer 0 reads",
    "stream": "before + attention + MLP = after, in every layer",
    "heads": "the heads' writes + bias = the attention's output",
    "attention": "softmax of q . k, times v = what the heads gathered",
    "values": "the value projection of what the layer reads = the values",
    "scores": "the same from the anatomy's q, k and what follows them",
    "causality": "later tokens change nothing before them",
    "MLP input": "the MLPs read what the anatomy says",
    "experts": "router weight x expert, summed = the MLP's output",
}


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
            footer="\n".join(self.reasons),
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
    size = sum(p.numel() for p in model.hf.parameters())
    implementation = getattr(config, "_attn_implementation", None) or "unknown"
    facts = [
        f"{model.family}, {size:,} parameters in {str(model.dtype).removeprefix('torch.')} on {model.device}, "
        f"attention: {implementation}",
        f"{model.n_layers} layers of {model.geometry.words}, width {model.d_model}; "
        f"a run of 1,000 tokens keeps {readable(model.memory_estimate(1000))}",
    ]
    counts = [layer.n_heads for layer in model.geometry.layers]
    if len(set(counts)) > 1:
        facts.append("heads of its layers: " + ", ".join(f"L{i} {n or 'none'}" for i, n in enumerate(counts)))
    facts += _exact(model)
    reasons = [f"not finer because {check.reason}"] if check.reason else []
    reasons += [f"no attention scores because {check.scores_reason}"] if check.scores_reason else []
    reasons += [f"no neurons or experts because {check.mlp_reason}"] if check.mlp_reason else []
    reasons += [check.remark] if check.remark else []
    title = f"{model.name} adds up, exact {check.words}"
    return Report(title, facts, dict(check.numbers), reasons)


def _exact(model: Model) -> list[str]:
    """What is exact, in one line; one a group of layers where these differ."""
    inside = "experts" if any(model.has_experts(i) for i in range(model.n_layers)) else "neurons"
    names = {"heads": "heads", "sources": "sources", "scores": "attention scores", "inside": inside}
    groups: dict[tuple[str, ...], list[int]] = {}
    for layer, level in enumerate(model.check.levels):
        found = [name for split, name in names.items() if getattr(level, split)]
        if level.sublayers and not level.heads:
            found.insert(0, "attention and MLP")
        groups.setdefault(tuple(found or ["the layer as a whole"]), []).append(layer)
    if len(groups) == 1:
        return [f"exact: {', '.join(next(iter(groups)))}"]
    return [f"exact in {named_layers(layers)}: {', '.join(found)}" for found, layers in groups.items()]
