"""Which families are exact at which granularity: a table made by running the self-check, not by hand.

``python -m attrib_widgets.model.selfcheck.supported NAME`` loads a small random model of one family and prints its
report; ``--write`` makes the table of all families anew, and a test holds the committed one against a fresh run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...result import Result, Table
from ...words.errors import AttribError
from ..anatomy.families import FAMILIES
from ..model import Model
from .specimen import families, small_tokenizer, specimen

if TYPE_CHECKING:
    import pandas as pd

TABLE = Path(__file__).with_name("supported.json")
NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Family:
    """What the self-check said of one family.

    ``exact_per`` is ``"head"``, ``"sublayer"``, ``"layer"``, ``"mixed"`` where layers differ (``reason`` then begins
    with how), ``"refused"``, or ``"not tried"`` where no small model could be built; ``heads``, ``sources``,
    ``values``, ``scores`` and ``experiments`` (on parts of layers) in how many of the layers each is exact, ``"1 of
    3"``, ``""`` where in none; ``mixers`` what some layers have in place of attention, or beside it;
    ``inside`` what the MLPs split into, ``"neurons"``, ``"experts"`` or ``""``; ``known`` whether
    the family's anatomy is written down (else it was read off its module names); ``reason`` why it is not finer.
    """

    family: str
    exact_per: str
    heads: str = ""
    sources: str = ""
    values: str = ""
    scores: str = ""
    experiments: str = ""
    mixers: str = ""
    inside: str = ""
    known: bool = False
    reason: str = ""


@dataclass(eq=False, repr=False)
class Supported(Result):
    """The families of one version of transformers. Made by :func:`supported`."""

    transformers: str
    rows: list[Family]

    def __getitem__(self, family: str) -> Family:
        found = next((row for row in self.rows if row.family == family), None)
        if found is None:
            raise AttribError(
                f"{family!r} is not in the table of transformers {self.transformers}.",
                "Load the model and read model.report(): the self-check decides, not this table.",
            )
        return found

    def exact_per(self, granularity: str) -> list[str]:
        """The families that are exact per ``"head"``, ``"sublayer"`` or ``"layer"``, or ``"mixed"``."""
        return [row.family for row in self.rows if row.exact_per == granularity]

    def summary(self) -> Table:
        groups: dict[str, list[str]] = {name: [] for name in _GROUPS}
        for row in self.rows:
            groups[_group(row)].append(row.family)
        rows = []
        for name, found in groups.items():
            shown = ", ".join(found[:12]) + (f" and {len(found) - 12} more" if len(found) > 12 else "")
            rows += [[name, _GROUPS[name], shown, str(len(found))]] if found else []
        return Table(
            f"Families of transformers {self.transformers}: exact at which granularity",
            ["what is exact", "what can be patched", "families", "how many"],
            rows,
            note="Found by the self-check on small random models; it runs again on every model that is loaded.",
            footer=".to_dataframe() has every family, with the reason where it is coarse or refused.",
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``family``, ``exact_per``, ``heads``, ``sources``, ``values``, ``scores``, ``experiments``,
        ``mixers``, ``inside``, ``known``, ``reason``."""
        import pandas as pd

        return pd.DataFrame([vars(row) for row in self.rows])


#: What is exact, and what experiments can be made on.
_GROUPS = {
    "heads, sources, scores": "heads, sublayers, streams",
    "heads, sources": "heads, sublayers, streams",
    "heads": "heads, sublayers, streams",
    "hybrids: heads of attention, other mixers as they are": "heads, sublayers, streams",
    "in some layers": "what is exact in each layer",
    "sublayers": "sublayers, streams",
    "whole layers": "layers, streams",
    "refused": "",
    NOT_TRIED: "",
}


def _group(row: Family) -> str:
    """The line of the table that a family stands in."""
    if row.exact_per == "head":
        full = [name for name in ("sources", "scores") if _everywhere(getattr(row, name))]
        return ", ".join(["heads", *full]) if full != ["scores"] else "heads"
    if row.exact_per == "mixed":
        hybrid = row.mixers and row.heads and _everywhere(row.experiments)
        return "hybrids: heads of attention, other mixers as they are" if hybrid else "in some layers"
    return {"sublayer": "sublayers", "layer": "whole layers"}.get(row.exact_per, row.exact_per)


def _everywhere(counted: str) -> bool:
    some, _, every = counted.partition(" of ")
    return bool(some) and some == every


def supported() -> Supported:
    """Which families are exact at which granularity, as the self-check found on small random models.

    The table that ships with this version; any other model is checked when it is loaded.
    """
    data = json.loads(TABLE.read_text("utf-8"))
    return Supported(data["transformers"], [Family(**row) for row in data["families"]])


def checked(family: str, hf: Any) -> Model:
    """``hf`` with the anatomy that is written down for ``family``: nothing read off names stands in for a wrong one.

    Raises:
        AnatomyError: the family is refused.
    """
    found, refusals = [], []
    for anatomy in FAMILIES.get(family) or (None,):
        try:
            found.append(Model(hf, small_tokenizer(), name=family, anatomy=anatomy))
        except AttribError as reason:
            refusals.append(reason)
    if not found:
        raise refusals[0]
    return min(found, key=lambda model: (model.check.missed, model.check.furthest))


def tried(family: str) -> Family:
    """Run the self-check on a small random model of ``family``."""
    known = family in FAMILIES
    try:
        hf = specimen(family)
    except AttribError as reason:
        return Family(family, NOT_TRIED, known=known, reason=reason.message)
    try:
        model = checked(family, hf)
    except AttribError as reason:
        return Family(family, "refused", known=known, reason=reason.message)
    inside = ""
    if model.check.mlp_ok and any(level.sublayers for level in model.check.levels):
        inside = "experts" if any(model.has_experts(i) for i in range(model.n_layers)) else "neurons"
    why = model.check.reason or model.check.values_reason or model.check.scores_reason or model.check.mlp_reason
    why = f"{model.check.words}: {why}" if model.granularity == "mixed" else why
    levels, exact = model.check.levels, {}
    for split in ("heads", "sources", "values", "scores", "experiments"):
        count = sum(bool(getattr(level, split)) for level in levels)
        exact[split] = f"{count} of {len(levels)}" if count else ""
    found = [mixer.name for i in range(model.n_layers) if (mixer := model.mixer(i)) is not None]
    found += [f"{part.name} beside" for part in model.anatomy.besides.values() if exact["experiments"]]
    mixers = ", ".join(dict.fromkeys(found))
    return Family(
        family, model.granularity.removesuffix("s"), **exact, mixers=mixers, inside=inside, known=known, reason=why
    )


def fresh(only: Sequence[str] = ()) -> dict[str, Any]:
    """The whole table, made by running every check; with ``only``, the committed one with these rows made anew.

    Raises:
        AttribError: only some rows, and the others were made with another version of transformers.
    """
    import transformers

    kept = {row.family: row for row in supported().rows} if only else {}
    if only and supported().transformers != transformers.__version__:
        raise AttribError(
            f"The table was made with transformers {supported().transformers}, and this is {transformers.__version__}.",
            "Make all of it anew: --write without a name.",
        )
    rows = [vars(kept[name] if name in kept and name not in only else tried(name)) for name in families()]
    return {"transformers": transformers.__version__, "families": rows}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: 0 when the families that were asked for are exact per head."""
    from transformers.utils import logging

    parser = argparse.ArgumentParser(prog="python -m attrib_widgets.model.selfcheck.supported", description=__doc__)
    parser.add_argument("family", nargs="*", help="a model_type of transformers, for example llama")
    parser.add_argument(
        "--write", action="store_true", help="make the table anew: of these families, or of all of them"
    )
    args = parser.parse_args(argv)
    logging.set_verbosity_error()
    torch.set_num_threads(1)  # the models are tiny: more threads only wait for one another
    if args.write:
        TABLE.write_text(json.dumps(fresh(args.family), indent=1) + "\n", "utf-8")
        print(supported())
    coarse = 0
    for name in args.family:
        try:
            model = checked(name, specimen(name))
        except AttribError as reason:
            print(f"{name}: {reason}")
            coarse += 1
        else:
            print(model.report())
            coarse += not (model.check.ok and model.check.mlp_ok)
    return min(coarse, 1)


if __name__ == "__main__":
    raise SystemExit(main())
