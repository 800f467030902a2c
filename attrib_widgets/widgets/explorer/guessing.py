"""Asking the reader: what a person says before the answer is shown, and what it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import traitlets as t

from ...analysis.attribution.phrases import chance
from ...result import strongest
from ...words.components import component, whole
from ...words.errors import AttribError, ComponentError, PositionError, TargetError
from ...words.text import number, percent, signed, visible
from ..transport.traits import Locked
from .answering import Answering

if TYPE_CHECKING:
    from ..shapes import contract

#: What is hidden where each kind of guess is asked for.
COVERS: dict[str, tuple[contract.Part, ...]] = {
    "part": ("values", "heads"),
    "token": ("candidates",),
    "word": ("detail",),
}
#: Places that are told by their number.
TOLD = 6


@dataclass(frozen=True)
class Guess:
    """What a person said before the answer was shown, and once it is revealed, what it was.

    Attributes:
        asked: ``"part"`` (which part leads?), ``"token"`` (which token comes next?) or ``"word"`` (which word of the
            prompt does the head read?).
        said: a part's label, a token as it was typed, or the word.
        position: of a word that was said.
        head: the head that a word was said of.
        truth: the answer; None before it is revealed, like ``place`` and ``right``.
        place: of what was said among all that could have been: 1 is right. None: it is none of them.
        right: whether it was.
        told: the comparison in a sentence; "" before.
    """

    asked: Literal["part", "token", "word"]
    said: str
    position: int | None = None
    head: str = ""
    truth: str | None = None
    place: int | None = None
    right: bool | None = None
    told: str = ""


class Guessed(Locked, t.Dict):
    """The guesses that are marked, by kind."""

    def validate(self, obj: Any, value: Any) -> Any:
        """The guesses as the view spells them."""
        return obj.guesses_of(super().validate(obj, value))


class Guessing(Answering):
    """A view that asks before it shows.

    What ``hidden=`` covers is drawn as blanks: a person marks a guess, and *Reveal* uncovers the answer and compares.
    ``guess`` is the last one and ``guesses`` are all that were revealed. The page's source still holds the numbers:
    this is a nudge, not a lock.
    """

    guessed: Any = Guessed().tag(sync=True)
    checked = (*Answering.checked, "guessed")
    guesses: list[Guess]
    _last: Guess | None = None

    @property
    def guess(self) -> Guess | None:
        """The last guess; None before one. Set it: a part (``"L1.mlp"``), the next token (``" Paris"``), or, where the
        detail of a head is hidden, the position of the word that it reads.

        It is kept as it was when the answer is revealed, by the page or by :meth:`reveal`; only then it says whether it
        was right. A guess about what is shown already is refused.

        Raises:
            AttribError: nothing is hidden that this could be a guess about, or no such part or word.
        """
        return self._last

    @guess.setter
    def guess(self, value: Any) -> None:
        self.guessed = {**self.guessed, **self._meant(value)}

    def _meant(self, value: Any) -> dict[str, Any]:
        asked = [kind for kind, parts in COVERS.items() if not set(parts).isdisjoint(self.hidden)]
        if whole(value) is not None and "word" in asked:
            return {"word": {"of": self._head(), "at": whole(value)}}
        if "part" in asked:
            try:
                return {"part": self._leading(value)}
            except ComponentError:
                if "token" not in asked:
                    raise
        if "token" in asked and isinstance(value, str):
            return {"token": value}
        raise AttribError(
            f"{value!r} is no guess about what is hidden: {', '.join(self.hidden) or 'nothing is'}.",
            'Give a part ("L1.mlp"), a token (" Paris") or the position of a word.',
        )

    def guesses_of(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Guesses from either side, checked.

        Raises:
            AttribError: no such part or word, or a guess about what is not hidden.
        """
        kept = self.guessed if "guessed" in self._trait_values else {}
        found = dict(kept)
        for asked, said in value.items():
            if said == kept.get(asked):
                continue
            if set(COVERS.get(asked, ())).isdisjoint(self.hidden):
                raise AttribError(
                    f"There is nothing hidden to guess ({asked}).", 'Hide it first: ex.hidden = ["values"].'
                )
            if asked == "part":
                found[asked] = self._leading(said)
                self._last = Guess("part", found[asked])
            elif asked == "token":
                found[asked] = str(said)
                self._last = Guess("token", found[asked])
            else:
                found[asked] = self._word(said)
                of, at = found[asked]["of"], found[asked]["at"]
                self._last = Guess("word", self.run.tokens[at], at, of)
        return found if value else {}

    def _leading(self, value: Any) -> str:
        label = str(component(value))
        if label not in [str(c) for c in self.attribution.components if c.writes]:
            raise ComponentError(f"{label} is no part that could lead here.", "See .attribution.labels.")
        return label

    def _word(self, said: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(said, Mapping):
            raise AttribError(f"{said!r} names no word.", 'Write {"of": "L3H1", "at": 4}, or ex.guess = 4.')
        at, of = whole(said.get("at")), self.label_of(said.get("of"))
        part = component(of) if of else None
        if part is None or part.kind != "head":
            raise ComponentError(f"Heads read words: {of or repr(of)} is none.", 'Select one: ex.selected = "L3H1".')
        if not self.model.level(part.layer or 0).sources:
            raise ComponentError(f"What {of} carried is not known in this model.", "Guess a part or a token.")
        if at is None or not 0 <= at <= self.attribution.position:
            raise PositionError(
                f"{said.get('at')!r} is no word that {of} can read.", "Give a position up to the last read."
            )
        return {"of": of, "at": at}

    def _head(self) -> str:
        """The head whose detail is open, or would be."""
        if self.selected:
            return str(self.selected.partition("/")[0])
        a = self.attribution
        heads = [c for i in strongest(a.values) if (c := a.components[i]).kind == "head"]
        if not heads:
            raise ComponentError("No head is open.", 'Select one: ex.selected = "L3H1".')
        return str(heads[0])

    # what it was ------------------------------------------------------------------------------------------------
    def _revealed(self, before: set[str], now: set[str]) -> None:
        """Compare the guesses about what was uncovered."""
        for asked, said in self.guessed.items():
            parts = set(COVERS[asked])
            if parts & before and not parts & now:
                self._last = self._judged(asked, said)
                self.guesses.append(self._last)

    def _judged(self, asked: str, said: Any) -> Guess:
        a = self.attribution
        if asked == "part":
            order = [str(c) for c, _ in a.top(len(a.components)) if c.writes]
            most, own = (f"{signed(a[name])}" for name in (order[0], said))
            most = f"{most} of {number(a.actual)} {a.unit}"
            return _told(Guess("part", said), order[0], order.index(said) + 1, "leads", most, own)
        if asked == "token":
            best = self.run.top(1, position=a.position)[0].text
            same = best.strip() == said.strip()
            place = 1 if same else self._rank(said)
            most = percent(self.run.top(1, position=a.position)[0].probability)
            return _told(Guess("token", said), best, place, "is likeliest", most)
        of, at = said["of"], said["at"]
        values = a.sources(of).values[: a.position + 1]
        sign = 1 if float(a[of]) >= 0 else -1
        order_at = sorted(
            range(len(values)), key=lambda i: -abs(float(values[i])) * (1 if float(values[i]) * sign >= 0 else 1e-3)
        )
        guess = Guess("word", self.run.tokens[at], at, of)
        most, own = (signed(float(values[i])) for i in (order_at[0], at))
        most = f"it carries {most} of {signed(a[of])} {a.unit}"
        return _told(guess, self.run.tokens[order_at[0]], order_at.index(at) + 1, f"is what {of} reads", most, own)

    def _rank(self, said: str) -> int | None:
        """The place of a token, with its space or without, whichever is likelier; None where it is none."""
        ranks = []
        for text in dict.fromkeys((said, f" {said.strip()}", said.strip())):
            try:
                ranks.append(chance(self.run, self.attribution.position, self.model.single_token(text))[1])
            except TargetError:
                continue
        return min(ranks, default=None)


def _told(guess: Guess, truth: str, place: int | None, how: str, most: str, own: str = "") -> Guess:
    """``most`` is the number of the answer, and ``own`` that of what was said."""
    said, right = visible(guess.said), place == 1
    near = guess.asked != "token" or (place is not None and place <= TOLD)
    where = f"is number {place}{f' ({own})' if own else ''}" if near else f"is not among the first {TOLD}"
    told = f"{visible(truth)} {how} ({most}), {said} {where}"
    told = f"You said {said}: right ({most})." if right else f"You said {said}; {told}."
    return Guess(guess.asked, guess.said, guess.position, guess.head, truth, place, right, told)
