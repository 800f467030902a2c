"""What the questions with a few answers are asked about: a screen with its numbers covered, and that screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..analysis.attribution.attribute import attribute
from ..analysis.experiments.patching.patch import patch
from ..analysis.lens.logit_lens import logit_lens
from ..result import Result, Table
from ..words.text import visible
from .choice import SAME
from .exercises import LARGE, SMALL, concept_names, sets
from .predict import squares
from .prompts import Examples, groups

if TYPE_CHECKING:
    from ..model.model import Model

#: Prompts of a group that stand beside each other.
ACROSS = 5


class Screen(NamedTuple):
    """What is covered, and what stands in its place afterwards."""

    cover: Callable[[Model, Examples], Table]
    shown: Callable[[Model, Examples], Result | Table]


def _lens_covered(model: Model, of: Examples) -> Table:
    lens = logit_lens(model.run(of.first.prompt), of.first.answer)
    tokens = [visible(token) for token in lens.run.tokens]
    return Table("", ["after", *tokens], [[row, *["?"] * len(tokens)] for row in reversed(lens.layers)])


def _options(heading: str, number: str, names: list[str]) -> Table:
    return Table("", [heading, number], [[name, "?"] for name in names])


def _parts_covered(model: Model, of: Examples) -> Table:
    columns, rows = squares(attribute(model.run(of.first.prompt), of.first.answer))
    return Table("", columns, rows, note="A square for each part: the share of the gap that goes when it is replaced.")


def _damages(model: Model, of: Examples) -> Result:
    """The damage of every head and MLP, of the logit by itself."""
    a = attribute(model.run(of.first.prompt), of.first.answer)
    parts = [str(c) for c in a.components if c.writes and c.kind in ("head", "mlp")]
    return patch(
        model, of.first.prompt, of.first.other, of.first.answer, against=(), components=parts, direction="noise"
    )


def _set_damages(model: Model, of: Examples) -> Result:
    return patch(
        model, of.first.prompt, of.first.other, of.first.answer, against=of.first.rival,
        components=list(sets(model, of)), direction="noise",
    )  # fmt: skip


def _leaders(model: Model) -> list[tuple[str, str]]:
    """Of every capital: the answer, and the part with the largest bar."""
    capitals = groups(model)["capitals"]
    asked = zip(capitals.clean, capitals.target, strict=True)
    return [(visible(str(answer)), str(attribute(model.run(text), answer).top(1)[0][0])) for text, answer in asked]


def _in_rows(cells: list[str]) -> list[list[str]]:
    cells = cells + [""] * (-len(cells) % ACROSS)
    return [cells[i : i + ACROSS] for i in range(0, len(cells), ACROSS)]


def _leaders_covered(model: Model, of: Examples) -> Table:
    towns = [f"{visible(str(answer))} ?" for answer in groups(model)["capitals"].target]
    return Table("", [""] * ACROSS, _in_rows(towns), note="A square for each capital: the part with the largest bar.")


def _leaders_shown(model: Model, of: Examples) -> Table:
    found, first = _leaders(model), str(attribute(model.run(of.first.prompt), of.first.answer).top(1)[0][0])
    counts = ", ".join(f"{part} leads in {n}" for part, n in Counter(part for _, part in found).most_common())
    cells = [f"{SAME if part == first else ''}{town} {part}" for town, part in found]
    return Table("", [""] * ACROSS, _in_rows(cells), note=f"{counts}.")


#: By the name of the question.
SCREENS: dict[str, Screen] = {
    "when": Screen(_lens_covered, lambda model, of: logit_lens(model.run(of.first.prompt), of.first.answer)),
    "concept": Screen(
        lambda model, of: _options("features called", "logits", concept_names(model, of)),
        lambda model, of: of.first.attribution(model).concepts(),
    ),
    "sets": Screen(lambda model, of: _options("replaced together", "of the gap", [LARGE, SMALL]), _set_damages),
    "replaced": Screen(_parts_covered, _damages),
    "typical": Screen(_leaders_covered, _leaders_shown),
}
