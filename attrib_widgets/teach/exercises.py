"""What the lessons ask, and how every answer is computed from the model in use; no number of any model stands here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..analysis.attribution.attribute import attribute
from ..analysis.experiments.patching.patch import FinalNorm, patch
from ..analysis.heads.attention import attention
from ..analysis.lens.logit_lens import LogitLens, logit_lens
from ..analysis.survey.survey import survey
from ..analysis.verdicts.table import VERDICTS
from ..analysis.verdicts.verify import verify
from ..words.text import percent, share, signed, visible
from .answers import Answer, Number, Part, Word
from .prompts import (
    COLOSSEUM,
    EIFFEL,
    FRANCE,
    JAPAN,
    KEYS,
    LIST,
    NAMES,
    NORWAY,
    ROME,
    TOWER,
    Example,
    Examples,
    embedded,
    groups,
)

if TYPE_CHECKING:
    from ..model.model import Model


@dataclass(frozen=True)
class Asked:
    """An exercise, or a question with a few answers to choose from.

    Attributes:
        ask: the question.
        hint: what helps, without the answer.
        solution: how to come to it, as code.
        answer: the right answer, for a model.
        options: what may be chosen, for a model; none where one writes the answer.
    """

    ask: str
    hint: str
    solution: str
    answer: Callable[[Model, Examples], Answer]
    options: Callable[[Model, Examples], list[str]] | None = None


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
        """Those for a model: of two prompts that its tokenizer cuts unequally, which cannot be exchanged, the embedded
        model's take the place."""
        if embedded(model):
            return self.embedded
        return Examples(*(e if e.fits(model) else own for e, own in zip(self.elsewhere, self.embedded, strict=True)))


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


NEVER = "never"


def layers_of(model: Model, of: Examples) -> list[str]:
    """The rows of a lens, the first one first, and that the answer never stands on top."""
    return [*_lens(model, of.first).layers, NEVER]


def _lens(model: Model, of: Example) -> LogitLens:
    return logit_lens(model.run(of.prompt), of.answer)


def _first_row(found: LogitLens) -> Answer:
    said = {row: visible(found.top(row)[0].text) for row in found.layers}
    stays = [row for i, row in enumerate(found.layers) if all(int(r) == 1 for r in found.rank[i:, -1])]
    later, lost = "There it stands on top, and it did before.", "There it stands on top, and further on no more."
    first = {row: int(found.rank[i, -1]) == 1 for i, row in enumerate(found.layers)}
    among = {
        row: later if row in stays else lost if first[row] else f"There {name} is on top." for row, name in said.items()
    }
    among[NEVER] = "It does, and stays there." if stays else ""
    if stays:
        among[stays[0]] = f"There it has {percent(found.top(stays[0])[0].probability)}."
    return Word(stays[0] if stays else NEVER, among)


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


def concept_names(model: Model, of: Examples) -> list[str]:
    """The labels (names, where there are none) of the five largest features of the first prompt, by alphabet."""
    c = of.first.attribution(model).concepts()
    largest = sorted(range(c.firing), key=lambda row: -abs(float(c.values[row])))
    return sorted(list(dict.fromkeys(c.concepts[row] or c.labels[row] for row in largest))[:5])


def _leading_concept(model: Model, of: Examples) -> Answer:
    c = of.first.attribution(model).concepts()
    writes: dict[str, float] = {}
    for row in range(c.firing):
        name = c.concepts[row] or c.labels[row]
        writes[name] = writes.get(name, 0.0) + float(c.values[row])
    told = {name: f"Its features write {signed(writes[name])} logits." for name in concept_names(model, of)}
    return Word(max(told, key=lambda name: writes[name]), told)


def _speaks_against(model: Model, of: Examples) -> Answer:
    c = of.second.attribution(model).concepts()
    scores = {c.labels[row]: -float(c.values[row]) for row in range(c.firing)}
    return Part(scores, f"{{}} logits for {visible(of.second.rival)}", kind="feature")


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


def _alone(model: Model, of: Example, against: str | None = None, norm: FinalNorm = "live") -> float:
    """The damage of the leading head, of the logit by itself unless a rival is given."""
    head = str(attribute(model.run(of.prompt), of.answer).top(1, kind="head")[0][0])
    done = patch(
        model, of.prompt, of.other, of.answer, against=() if against is None else against, components=head,
        direction="noise", final_norm=norm,
    )  # fmt: skip
    return float(done.values[0])


LITTLE, TENTH, MORE = "less than 5 %", "5 to 15 %", "more than 15 %"


def _replaced(model: Model, of: Examples) -> Answer:
    damage = _alone(model, of.first)
    right = LITTLE if damage < 0.05 else TENTH if damage <= 0.15 else MORE
    return Word(right, dict.fromkeys((LITTLE, TENTH, MORE), f"It is {share(damage)}."))


def _held(model: Model, of: Examples) -> Answer:
    slips = {
        "That is with the divisor as it moves. Hold it.": _alone(model, of.second),
        "That is against the rival. Here it is the logit by itself.": _alone(model, of.second, of.second.rival),
    }
    return Number(_alone(model, of.second, norm="frozen"), "of the gap", slips)


MOST, SOME, FEW = "for most of them (over two thirds)", "for about half", "for few (under a third)"


def _leads(model: Model, of: Examples) -> Answer:
    lead = str(attribute(model.run(of.first.prompt), of.first.answer).top(1)[0][0])
    capitals = groups(model)["capitals"]
    asked = zip(capitals.clean, capitals.target, strict=True)
    count = sum(str(attribute(model.run(text), token).top(1)[0][0]) == lead for text, token in asked)
    part = count / len(capitals.clean)
    right = MOST if part > 2 / 3 else FEW if part < 1 / 3 else SOME
    told = f"{lead} leads in {count} of {len(capitals.clean)}."
    return Word(right, dict.fromkeys((MOST, SOME, FEW), told))


def _selective(model: Model, of: Examples) -> Answer:
    found = survey(model, groups(model), permutations=99)
    selectivity = found.group("two names").selectivity.tolist()
    scores = {str(c): v for c, v in zip(found.parts, selectivity, strict=True) if c.kind == "head"}
    return Part(scores, "{} logits more in two names than in the others", kind="head")


def _costs(model: Model, of: Examples) -> Answer:
    a = of.second.attribution(model)
    lead = str(a.top(1)[0][0])
    found = verify(a, corrupted=of.second.other, top=0, components=lead)[lead]
    slips = {
        "That is its share of the sum: observed, and no test.": float(a[lead]) / a.total,
        "That is its recovery: put into the other prompt, and not taken from this one.": found.sufficiency,
    }
    return Number(found.necessity, "of the gap", slips)


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
                'next((row for i, row in enumerate(lens.layers) if (lens.rank[i:, -1] == 1).all()), "never")',
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
            )
        },
    ),
    4: Outline(
        "Which concepts?",
        35,
        Examples(FRANCE, TOWER),
        Examples(EIFFEL, ROME),
        {
            "4.1": Asked(
                "Of the second prompt: which feature writes most for the rival?",
                "The rows of a.concepts() are for the answer over the rival: what is negative speaks for the rival.",
                "c = aw.attribute(model.run(prompt), answer, against=rival).concepts()\n"
                "min(c.labels[: c.firing], key=lambda name: c[name])",
                _speaks_against,
            )
        },
        {
            "concept": Asked(
                "Which of these writes most for the answer rather than the rival?",
                "What they have in common helps both alike.",
                "",
                _leading_concept,
                concept_names,
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
            )
        },
    ),
    6: Outline(
        "How attribution lies",
        30,
        Examples(FRANCE, JAPAN),
        Examples(EIFFEL, ROME),
        {
            "6.1": Asked(
                "Of the second prompt: with the divisor held, what share of the gap does the leading head cost, of the "
                "logit by itself?",
                'aw.patch(..., direction="noise", final_norm="frozen") holds it; against=() asks for the logit alone.',
                "a = aw.attribute(model.run(prompt), answer)\n"
                'aw.patch(model, prompt, other, answer, against=(), components=str(a.top(1, kind="head")[0][0]), '
                'direction="noise", final_norm="frozen")',
                _held,
            )
        },
        {
            "replaced": Asked(
                "The leading head is replaced. How much of the gap of the logit goes?",
                "",
                "",
                _replaced,
                lambda model, of: [LITTLE, TENTH, MORE],
            )
        },
    ),
    7: Outline(
        "From one prompt to many",
        35,
        Examples(FRANCE, FRANCE),
        Examples(EIFFEL, EIFFEL),
        {
            "7.1": Asked(
                "Which head writes most in two names above what it writes in the other groups?",
                "The column “selective” of the survey; s.group(name).selectivity has it for every part.",
                'found = s.group("two names").selectivity\n'
                'max((c for c in s.parts if c.kind == "head"), key=lambda c: float(found[s.parts.index(c)]))',
                _selective,
            )
        },
        {
            "typical": Asked(
                "The part with the largest bar for the first prompt: for how many capitals does it lead?",
                "",
                "",
                _leads,
                lambda model, of: [MOST, SOME, FEW],
            )
        },
    ),
    8: Outline(
        "Your own model",
        25,
        Examples(NORWAY, COLOSSEUM),
        Examples(NAMES, KEYS),
        {
            "8.1": Asked(
                "Of the second prompt: what share of the gap does the part with the largest bar cost?",
                "aw.verify(a, corrupted=other, components=part)[part] has its damage; .necessity is the number.",
                "a = aw.attribute(model.run(prompt), answer, against=rival)\n"
                "part = a.top(1)[0][0]\n"
                "aw.verify(a, corrupted=other, top=0, components=str(part))[part].necessity",
                _costs,
            )
        },
    ),
}
