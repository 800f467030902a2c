"""A screen as a line to read and edit: ``model=demo&prompt=The+capital+of+France+is&answer=+Paris&part=L3H1``.

It says what was asked and where one looks, and holds no numbers: they are computed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import parse_qsl, urlencode

from ..model.run import Run
from ..words.components import component
from ..words.errors import AttribError, warn
from ..words.targets import AnyTarget, NeuronTarget, ScoreTarget, Target, TokenLike, logit_diff, neuron, score
from .question import Question
from .shapes import contract, python

if TYPE_CHECKING:
    from ..model.model import Model
    from .question import Explanation, PromptLike

#: Every field, in the order in which it is written.
FIELDS = (
    *("model", "prompt", "ids", "position", "answer", "rival", "unit", "neuron", "score", "compared", "compared_ids"),
    *("part", "source", "tab", "mode", "pins"),
)
MODES = get_args(contract.Mode)
#: Units of the answer that are not a plain logit, or a difference of two.
UNITS = {"log_prob": "nats", "centred": "centred logits"}


@dataclass(frozen=True)
class Address:
    """The fields of a line, read; what it does not name is left to the defaults of :func:`explore`."""

    fields: Mapping[str, str] = field(default_factory=dict)

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
        found = cls(dict(rows))
        found.mode(), found.source(), found.position(), found.target()  # before anything is asked
        return found

    def line(self) -> str:
        """The fields as a line, in their order."""
        return urlencode([(name, self.fields[name]) for name in FIELDS if self.fields.get(name, "") != ""])

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

    def mode(self) -> contract.Mode:
        """How the contributions are shown.

        Raises:
            AttribError: another word.
        """
        mode = self.fields.get("mode") or "size"
        if mode not in MODES:
            raise AttribError(f"There is no mode {mode!r}.", f"The modes are {', '.join(MODES)}.")
        return mode  # type: ignore[return-value]

    def pins(self) -> list[str]:
        """Rows that were gathered."""
        return [label for label in self.fields.get("pins", "").split(",") if label]

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

    def question(self, model: Model) -> Question:
        """What it asks of ``model``.

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
        return Question(prompt, self.target(), self.position(), other, alone)

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


def asked(explanation: Explanation) -> Address:
    """What a question asks, without where one looks.

    A target that no field names (a set of numbers inside the model) is left out, so that the line still leads to the
    prompt.
    """
    a = explanation.attribution
    found: dict[str, str] = {"model": python.source(a.model) or a.model.name}
    found |= _prompt(a.run, "prompt", "ids")
    if a.position != a.run.n_positions - 1:
        found["position"] = str(a.position)
    found |= _target(a.model, a.target)
    if explanation.corrupted is not None:
        found |= _prompt(explanation.corrupted.run, "compared", "compared_ids")
    return Address(found)


def _prompt(run: Run, text: str, ids: str) -> dict[str, str]:
    """Text, where it gives the same ids again; else the ids."""
    model = run.model
    try:
        same = list(model.encode(run.text)) == run.ids
    except AttribError:
        same = False
    return {text: run.text} if same and run.text else {ids: ",".join(map(str, run.ids))}


def _target(model: Model, target: AnyTarget) -> dict[str, str]:
    if isinstance(target, NeuronTarget) and target.side == "gate":
        return {"neuron": str(target.neuron)}
    if isinstance(target, ScoreTarget):
        parts = [target.head, target.query, target.key, target.side]
        return {"score": ",".join(map(str, [*parts, *([] if target.against is None else [target.against])]))}
    if not isinstance(target, Target):
        return {}
    unit = UNITS.get("centred" if target.centre else target.kind, "")
    return {"answer": _written(model, target.tokens), "rival": _written(model, target.against), "unit": unit}


#: Between several tokens: no token of a text holds it.
_AND = "\x1f"


#: Before the number of a token whose text names another one.
_ID = "id:"


def _written(model: Model, tokens: tuple[TokenLike, ...]) -> str:
    named = (model.written(model.single_token(t)) for t in tokens)
    return _AND.join(f"{_ID}{name}" if isinstance(name, int) else name for name in named)


def _tokens(text: str | None) -> tuple[TokenLike, ...]:
    parts = text.split(_AND) if text else []
    return tuple(int(p[len(_ID) :]) if p.startswith(_ID) and p[len(_ID) :].isdigit() else p for p in parts)
