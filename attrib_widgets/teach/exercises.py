"""What the lessons ask: their prompts, and how every answer is computed from the model in use.

No number of any model stands here. The embedded model has prompts of its own; others, which know more words, get those
of the second column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..analysis.attribution.attribute import attribute
from ..analysis.attribution.attribution import Attribution
from ..analysis.experiments.patching import patch
from ..analysis.heads.attention import attention
from ..analysis.lens.logit_lens import LogitLens, logit_lens
from ..analysis.verdicts.table import VERDICTS
from ..analysis.verdicts.verify import verify
from ..words.errors import AttribError
from ..words.text import share, visible
from .answers import Answer, Number, Part, Word

if TYPE_CHECKING:
    from ..model.model import Model


class Example(NamedTuple):
    """A prompt with its answer, a rival, and another prompt of as many tokens after which the rival is said."""

    prompt: str
    answer: str
    rival: str
    other: str

    def attribution(self, model: Model) -> Attribution:
        """Why the answer rather than the rival."""
        return attribute(model.run(self.prompt), self.answer, against=self.rival)


class Examples(NamedTuple):
    """The example of a lesson, and the one of its exercise."""

    first: Example
    second: Example


@dataclass(frozen=True)
class Asked:
    """An exercise, or a question with a few answers to choose from.

    Attributes:
        ask: the question.
        hint: what helps, without the answer.
        solution: how to come to it, as code.
        answer: the right answer, for a model.
        options: what may be chosen, for a model; none where one writes the answer.
        columns: headings of what is covered: of the options, and of what is behind them.
    """

    ask: str
    hint: str
    solution: str
    answer: Callable[[Model, Examples], Answer]
    options: Callable[[Model, Examples], list[str]] | None = None
    columns: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Outline:
    """A lesson: its title, minutes, prompts (of the embedded model, and of others), exercises and questions."""

    title: str
    minutes: int
    embedded: Examples
    elsewhere: Examples
    exercises: Mapping[str, Asked]
    questions: Mapping[str, Asked] = field(default_factory=dict)

    def examples(self, model: Model) -> Examples:
        """Those for a model."""
        own = any(s.ability == "capitals" for s in model.suggestions)
        return self.embedded if own else self.elsewhere


# prompts -------------------------------------------------------------------------------------------------------
FRANCE = Example("The capital of France is", " Paris", " Berlin", "The capital of Germany is")
EIFFEL = Example("The Eiffel Tower is in the city of", " Paris", " Rome", "The Colosseum is in the city of")
COLOSSEUM = Example(
    "The language spoken in the city of the Colosseum is",
    " Italian",
    " Russian",
    "The language spoken in the city of the Kremlin is",
)
ROME = Example(
    "The Colosseum is located in the city of", " Rome", " Paris", "The Eiffel Tower is located in the city of"
)
LIST = Example(
    "apple river lamp garden horse apple river lamp garden",
    " horse",
    " piano",
    "apple river lamp garden piano apple river lamp garden",
)
NAMES = Example(
    "When Mary and John went to the shop, John gave the bag to",
    " Mary",
    " John",
    "When Mary and John went to the shop, Mary gave the bag to",
)
KEYS = Example("Today the keys near the table", " are", " is", "Today the key near the table")


# answers -------------------------------------------------------------------------------------------------------
def _one_head(model: Model, of: Examples) -> Answer:
    a = attribute(model.run(of.first.prompt), of.first.answer)
    slips = {
        "That is L3H1, the head of the cell above. Here layer and head are others.": float(a["L3H1"]),
        "That is L2H1: the head is 7.": float(a["L2H1"]),
        "That is L3H7: the layer is 2.": float(a["L3H7"]),
    }
    return Number(float(a["L2H7"]), slips=slips)


def _duplicate(model: Model, of: Examples) -> Answer:
    run = model.run(of.first.prompt)
    last = run.n_positions - 1
    before = [i for i in range(last) if run.ids[i] == run.ids[last]]
    labels = [f"L{layer}H{head}" for layer in range(model.n_layers) for head in range(model.n_heads)]
    found = attention(run, labels)
    scores = {label: float(found[label][last, before].sum()) for label in labels}
    return Part(scores, f"{{}} of its attention lies on the first {visible(run.tokens[last])}", kind="head")


def layers_of(model: Model, of: Examples) -> list[str]:
    """The rows of a lens, the first one first."""
    return _lens(model, of.first).layers


def _lens(model: Model, of: Example) -> LogitLens:
    return logit_lens(model.run(of.prompt), of.answer)


def _first_row(found: LogitLens) -> Answer:
    said = {row: visible(found.top(row)[0].text) for row in found.layers}
    stays = [row for i, row in enumerate(found.layers) if all(int(r) == 1 for r in found.rank[i:, -1])]
    if not stays:
        raise AttribError(f"This model does not answer {visible(found.token)}.", "Choose a prompt that it answers.")
    wrong = {
        row: f"Behind it {name} stands on top."
        if row not in stays
        else "There it stands on top already, and not first."
        for row, name in said.items()
    }
    return Word(stays[0], wrong)


def _knows(model: Model, of: Examples) -> Answer:
    return _first_row(_lens(model, of.first))


def _knows_late(model: Model, of: Examples) -> Answer:
    return _first_row(_lens(model, of.second))


def sets(model: Model, of: Examples) -> tuple[list[str], list[str]]:
    """The six heads with the largest bars, and the three of the least bars among the six with the largest damage."""
    a = of.first.attribution(model)
    large = [str(part) for part, _ in a.top(6, kind="head")]
    heads = [str(part) for part, _ in a.top(model.n_layers * model.n_heads, kind="head")]
    done = patch(
        model, of.first.prompt, of.first.other, of.first.answer, against=of.first.rival, components=heads,
        direction="noise",
    )  # fmt: skip
    damage = dict(zip(heads, done.values.tolist(), strict=True))
    worst = sorted(heads, key=lambda h: -damage[h])[:6]
    return large, sorted(sorted(worst, key=lambda h: abs(float(a[h])))[:3])


LARGE, SMALL, SAME = "the six with large bars", "the three with next to none", "about the same"


def _which_set(model: Model, of: Examples) -> Answer:
    large, small = sets(model, of)
    done = patch(
        model, of.first.prompt, of.first.other, of.first.answer, against=of.first.rival, components=[large, small],
        direction="noise",
    )  # fmt: skip
    first, second = done.values.tolist()
    right = SAME if abs(first - second) < 0.05 else LARGE if first > second else SMALL
    told = f"Without the six {share(first)} of the gap goes, without the three {share(second)}."
    return Word(right, dict.fromkeys((LARGE, SMALL, SAME), told))


def _verdict(model: Model, of: Examples) -> Answer:
    a = of.second.attribution(model)
    head = str(a.top(1, kind="head")[0][0])
    found = verify(a, corrupted=of.second.other, components=head)[head]
    told = f"Look at {head}: its damage is {share(found.necessity)}, its direct damage {share(found.direct)}."
    return Word(found.word, {row.word: told for row in VERDICTS})


LESSONS: dict[int, Outline] = {
    1: Outline(
        "Working backwards: who wrote the answer?",
        25,
        Examples(FRANCE, FRANCE),
        Examples(EIFFEL, EIFFEL),
        {
            "1.1": Asked(
                "What does L2H7 add to the logit of the answer, in logits, by hand?",
                "Only layer and head change. What it wrote has a share along the same direction u.",
                "float(aw.teach.written_by_head(run, 2, 7) @ u)",
                _one_head,
            )
        },
    ),
    2: Outline(
        "What does each head look at?",
        30,
        Examples(LIST, LIST),
        Examples(LIST, LIST),
        {
            "2.1": Asked(
                "Which head reads, from the last word, the same word where it stood before?",
                "aw.attention(run, [...]) takes many heads. The row is that of the last word, the column that of "
                "the same word before.",
                'heads = [f"L{l}H{h}" for l in range(model.n_layers) for h in range(model.n_heads)]\n'
                "last = run.n_positions - 1; before = run.ids.index(run.ids[last])\n"
                "max(heads, key=lambda h: float(aw.attention(run, h)[h][last, before]))",
                _duplicate,
            )
        },
    ),
    3: Outline(
        "When did it know?",
        30,
        Examples(FRANCE, COLOSSEUM),
        Examples(EIFFEL, ROME),
        {
            "3.1": Asked(
                "Of the second prompt: from which row on does the answer stand on top, by the logit lens?",
                "aw.logit_lens(run, answer) prints a row for each layer. Go down from the first row while the answer "
                "is on top.",
                "lens = aw.logit_lens(run, answer)\n"
                "next(row for i, row in enumerate(lens.layers) if (lens.rank[i:, -1] == 1).all())",
                _knows_late,
            )
        },
        {
            "when": Asked(
                "From which row on does the answer stand on top?",
                "The rows are the stream before the first layer and behind each.",
                "",
                _knows,
                layers_of,
                ("after", "top prediction", "its probability"),
            )
        },
    ),
    5: Outline(
        "Correlation is not causation",
        40,
        Examples(NAMES, KEYS),
        Examples(NAMES, KEYS),
        {
            "5.1": Asked(
                "Of the second prompt: which verdict does the head with the largest bar get?",
                "aw.verify(attribution, corrupted=other, components=head)[head] is what was found of it.",
                "aw.verify(a, corrupted=other, components=head)[head].word",
                _verdict,
            )
        },
        {
            "sets": Asked(
                "Which costs more of the answer, when they are replaced together?",
                "A bar is what a part writes itself; another part may read what it wrote.",
                "",
                _which_set,
                lambda model, of: [LARGE, SMALL, SAME],
                ("replaced together", "of the gap"),
            )
        },
    ),
}
