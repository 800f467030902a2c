"""A screen as a line to read and edit: ``model=demo&prompt=The+capital+of+France+is&answer=+Paris&part=L3H1``.

It says what was asked and where one looks, and holds no numbers: they are computed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import parse_qsl, urlencode

import traitlets as t

from ...words.components import component
from ...words.errors import AttribError, warn
from ...words.targets import AnyTarget, Target, TokenLike, feature, logit, logit_diff, neuron, phrase, score
from ...words.text import safe, visible
from ..shapes import contract, python
from ..transport.requests import from_python
from ..transport.traits import Locked
from .passage import given, word_of, written
from .question import Question

if TYPE_CHECKING:
    from ...model.model import Model
    from .passage import Passage
    from .question import PromptLike

#: Every field, in the order in which it is written.
FIELDS = (
    *(
        "model",
        "prompt",
        "ids",
        "position",
        "answer",
        "rival",
        "unit",
        "neuron",
        "feature",
        "score",
        "compared",
        "compared_ids",
    ),
    *("n", "seed", "phrase", "phrase_ids", "word"),
    *("part", "source", "tab", "mode", "pins", "beside", "side", "under", "pinned"),
)
#: Of these what asks; the others say where one looks.
ASKING = FIELDS[: FIELDS.index("part")]
MODES = get_args(contract.Mode)
#: What lines of earlier versions call otherwise.
RENAMED: dict[str, contract.Mode] = {"map": "heads"}
#: The word in focus, where it is none of them.
ALL = "all"
TABS = get_args(contract.Tab)
UNDERS = get_args(contract.Under)
#: Units of the answer that are not a plain logit, or a difference of two.
UNITS = {"log_prob": "nats", "centred": "centred logits"}


@dataclass(frozen=True)
class Address:
    """The fields of a line, read; what it does not name is left to the defaults of :func:`explore`."""

    fields: Mapping[str, str] = field(default_factory=dict)
    pinned: tuple[str, ...] = ()
    """Questions that were pinned, each as a line of its own."""

    @classmethod
    def read(cls, text: Any) -> Address:
        """Read a line, with or without a leading ``?`` or ``#``.

        Raises:
            AttribError: no text, a field that there is not, with those there are, or one that cannot be read.
        """
        if not isinstance(text, str):
            raise AttribError(f"{text!r} is no state.", 'Write "model=demo&prompt=The+capital+of+France+is".')
        rows = parse_qsl(text.strip().lstrip("?#"), keep_blank_values=True)
        if unknown := [name for name, _ in rows if name not in FIELDS]:
            raise AttribError(f"A state has no field {unknown[0]!r}.", f"The fields are {', '.join(FIELDS)}.")
        if not rows:
            raise AttribError(f"{text!r} is no state.", 'Write "model=demo&prompt=The+capital+of+France+is".')
        found = cls({k: v for k, v in rows if k != "pinned"}, tuple(v for k, v in rows if k == "pinned"))
        found.looking(), found.source(), found.position(), found.target()  # before anything is asked
        found.word()
        for line in (*found.pinned, *([found.beside()] if found.beside() not in ("", "compared") else [])):
            cls.read(line)
        return found

    def line(self) -> str:
        """The fields as a line, in their order."""
        rows = [(name, self.fields[name]) for name in FIELDS if self.fields.get(name, "") != ""]
        return urlencode([*rows, *(("pinned", line) for line in self.pinned)])

    def question_alone(self) -> Address:
        """What it asks, without the model and where one looks."""
        return Address({k: v for k, v in self.fields.items() if k in ASKING and k != "model"})

    def name(self) -> str:
        """The question in a few words: ``·Paris over ·Berlin after “The capital of France is”``."""
        f = self.fields
        said = (
            f.get("neuron")
            or f.get("feature")
            or f.get("score", "").split(",")[0]
            or " over ".join(
                " or ".join(map(visible, f[side].split(_AND))) for side in ("answer", "rival") if f.get(side)
            )
        )
        prompt = f.get("prompt", f"tokens {f['ids']}" if "ids" in f else "")
        where = f" at {f['position']}" if "position" in f else ""
        unit = f" in {f['unit']}" if f.get("unit") else ""
        return safe(f"{said or 'what comes next'}{unit} after “{prompt}”{where}")

    @staticmethod
    def of_answer(model: Model, token: int) -> contract.Pin:
        """The same question about another answer."""
        written = spelled(model, (token,))
        return {"line": urlencode({"answer": written}), "name": visible(written)}

    def warn_of_another(self, model: Model) -> None:
        """Say that it names another model than the one that it is opened with."""
        named = self.fields.get("model")
        if named and model.name not in (named, Path(named).name) and named != python.source(model):
            warn(f"This state is of {named!r}; it is opened with {model.name}.")

    # where one looks ----------------------------------------------------------------------------------------------
    def part(self) -> str:
        """The open part; "" for none."""
        return self.fields.get("part", "")

    def source(self) -> int:
        """The token inside the open part; -1 for none."""
        return self.number("source", self.fields.get("source") or "-1")

    def looking(self) -> contract.Showing:
        """The open tab, how the contributions are shown, what stands beside them and under the words.

        Raises:
            AttribError: another word.
        """
        found, side = _looking(self.fields), self.fields.get("side") or "A"
        if side not in ("A", "B"):
            raise AttribError(f"There is no side {side!r}.", "The sides are A and B.")
        if self.beside():
            found["beside"] = self.beside()
        if side == "B":
            found["swapped"] = True
        return found

    def pins(self) -> list[str]:
        """Rows that were gathered."""
        return [label for label in self.fields.get("pins", "").split(",") if label]

    def beside(self) -> str:
        """What stands beside the question: "compared", or the line of another; "" for what is offered first."""
        return self.fields.get("beside", "")

    # what is asked ------------------------------------------------------------------------------------------------
    def prompt(self, name: str = "prompt", ids: str = "ids") -> PromptLike | None:
        """The prompt, or the one to compare with, as text or ids; None where the line has none."""
        if ids in self.fields:
            return tuple(self.number(ids, i) for i in self.fields[ids].split(","))
        return self.fields.get(name)

    def position(self) -> int:
        """Where the prediction is read; -1 is the last token."""
        return self.number("position", self.fields.get("position", "-1"))

    def target(self) -> AnyTarget | None:
        """The target; None is the model's own.

        Raises:
            AttribError: another unit, a rival of no answer, or what is no part of this kind.
        """
        if "neuron" in self.fields:
            return neuron(component(self.fields["neuron"]), position=self.position())
        if "feature" in self.fields:
            return feature(self.fields["feature"], position=self.position())
        if "score" in self.fields:
            return self._score(self.fields["score"])
        tokens, rivals = _tokens(self.fields.get("answer")), _tokens(self.fields.get("rival"))
        unit = self.fields.get("unit") or ""
        if unit and unit not in UNITS.values():
            raise AttribError(f"There is no unit {unit!r}.", f"The units are {', '.join(UNITS.values())}.")
        if rivals and not tokens:
            raise AttribError("A state with a rival names its answer, too.", "Add answer=.")
        if not tokens:
            return None
        if rivals:
            return logit_diff(tokens, rivals)
        kind = "log_prob" if unit == UNITS["log_prob"] else "logit"
        return Target(kind, tokens, centre=unit == UNITS["centred"])

    def _score(self, text: str) -> AnyTarget:
        head, *rest = text.split(",")
        if len(rest) not in (3, 4):
            raise AttribError(f"score={text} is no score.", "Write head, query, key, side: score=L3H1,5,4,query.")
        query, key, *against = (self.number("score", n) for n in (*rest[:2], *rest[3:]))
        return score(head, query=query, key=key, side=rest[2], against=against[0] if against else None)

    def all(self) -> bool:
        """Whether all words that follow the prompt are shown together."""
        return self.fields.get("word") == ALL

    def of_all(self) -> Address:
        """The same of all words that follow the prompt."""
        one = ("answer", "rival", "position", "part", "source")
        kept = {name: value for name, value in self.fields.items() if name not in one}
        return replace(self, fields={**kept, "word": ALL})

    def unanswered(self) -> Address:
        """The same without the answer and its rival, which the model then gives."""
        kept = {name: value for name, value in self.fields.items() if name not in ("answer", "rival", "unit")}
        return replace(self, fields=kept)

    def word(self) -> int | None:
        """The word of the text that is explained; None for another one than the text has, or for all.

        Raises:
            AttribError: it is no number, or there are no words behind the prompt to show together.
        """
        follows = any(name in self.fields for name in ("n", "phrase", "phrase_ids"))
        if self.all() and not follows:
            raise AttribError("word=all is of the words that follow a prompt.", "Add n= or phrase=.")
        return self.number("word", self.fields["word"]) if "word" in self.fields and not self.all() else None

    def question(self, model: Model) -> tuple[Question, Passage | None]:
        """(what it asks of ``model``, the words that follow the prompt).

        Raises:
            AttribError: neither the line nor the model has a prompt.
        """
        prompt = self.prompt()
        if prompt is None:
            first = next(iter(model.suggestions), None)
            if first is None:
                raise AttribError("There is no prompt.", 'Add one: "prompt=The+capital+of+France+is".')
            prompt = first.prompt
        alone = bool(self.fields.get("answer")) and not self.fields.get("rival")
        other = self.prompt("compared", "compared_ids") or None
        passage = self._passage(model, prompt, other)
        word, target = self.word(), self.target()
        if passage is not None:
            at = self.position() if "position" in self.fields else passage.phrase.start - 1
            question, _ = passage.question(at if word is None else word_of(passage.phrase.run, word) - 1, target)
            return replace(question, alone=alone), passage
        if word is None:
            return Question(prompt, target, self.position(), other, alone), None
        run = model.run(prompt)
        at = word_of(run, word)
        return Question(prompt, target or logit(model.written(run.ids[at])), at - 1, other, alone), None

    def _passage(self, model: Model, prompt: PromptLike, other: PromptLike | None) -> Passage | None:
        unit = "nats" if self.fields.get("unit") == "nats" else "logits"
        if "n" in self.fields:
            n, seed = self.number("n", self.fields["n"]), self.fields.get("seed")
            run, sampled = model.run(prompt), None if seed is None else self.number("seed", seed)
            found = written(run, Question(prompt, corrupted=other), n, sampled, unit, from_python())
            found.compared = None if other is None else tuple(model.encode(other))
            return found
        words: Any = self.prompt("phrase", "phrase_ids")
        return None if words is None else given(model, prompt, phrase(words, unit=unit), other)

    def number(self, name: str, text: str) -> int:
        """A whole number of a field.

        Raises:
            AttribError: something else.
        """
        try:
            return int(text)
        except ValueError:
            raise AttribError(
                f"{name}={self.fields[name]} holds {text!r}, no whole number.", "Edit the state."
            ) from None


class Looking(Locked, t.Dict):
    """Where one looks, ``{"tab": "why", "mode": "heads"}`` and what else :class:`contract.Showing` has."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Tab and mode with words that a screen has, and of the rest what is not as on a new screen."""
        given: dict[str, Any] = super().validate(obj, value) or {}
        if unknown := [name for name in given if name not in contract.Showing.__annotations__]:
            raise AttribError(f"A screen shows no {unknown[0]!r}.", "It shows a tab and a mode.")
        rest = {name: given[name] for name in ("beside", "swapped", "all") if given.get(name)}
        return {**_looking(given), **rest}


def _looking(fields: Mapping[str, Any]) -> contract.Showing:
    """``tab`` and ``mode``, and the numbers under the words; what is missing is what a new screen shows."""
    tab, mode = fields.get("tab") or "", fields.get("mode") or "size"
    mode = RENAMED.get(mode, mode)
    if tab not in TABS:
        raise AttribError(f"There is no tab {tab!r}.", f"The tabs are {', '.join(TABS[1:])}.")
    if mode not in MODES:
        raise AttribError(f"There is no mode {mode!r}.", f"The modes are {', '.join(MODES)}.")
    found: contract.Showing = {"tab": tab, "mode": mode}  # type: ignore[typeddict-item]
    if under := fields.get("under"):
        if under not in UNDERS:
            raise AttribError(f"There are no numbers {under!r} under words.", f"There are {', '.join(UNDERS)}.")
        found["under"] = under
    return found


#: Between several tokens: no token of a text holds it.
_AND = "\x1f"
#: Before the number of a token whose text names another one.
_ID = "id:"


def spelled(model: Model, tokens: tuple[TokenLike, ...]) -> str:
    """Tokens as a field of a line holds them."""
    named = (model.written(model.single_token(t)) for t in tokens)
    return _AND.join(f"{_ID}{name}" if isinstance(name, int) else name for name in named)


def _tokens(text: str | None) -> tuple[TokenLike, ...]:
    parts = text.split(_AND) if text else []
    return tuple(int(p[len(_ID) :]) if p.startswith(_ID) and p[len(_ID) :].isdigit() else p for p in parts)
