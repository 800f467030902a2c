"""A question with a few answers: a screen whose numbers are covered, a button for each answer, and the screen itself
once one is chosen."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

from IPython import display as ipython
from ipywidgets import HTML, Button, ToggleButtons, VBox

from ..result import Result, Table, render_html, render_text
from ..result.still import WIDGET
from ..words.errors import AttribError
from .answers import Answer, Checked
from .report import Done

LOCKED = "Guess first: click it in the picture, or write it in the place of the three dots. Then run this cell again."
#: Stands before what is as the first one.
SAME = "\u2713 "
_STYLE = (
    "<style>.aw-blank{overflow-x:auto}.aw-blank p{margin:2px 0;max-width:60em}"
    ".aw-blank table{border-spacing:3px;border-collapse:separate;margin:6px 0}"
    ".aw-blank td,.aw-blank th{font-weight:400;padding:2px 8px;text-align:left;white-space:nowrap}"
    ".aw-blank .q{text-align:center;border:1px solid color-mix(in srgb,currentColor 30%,transparent);"
    "background:color-mix(in srgb,currentColor 7%,transparent);border-radius:3px}</style>"
)


class Choice:
    """A question with a few answers, as buttons under what is covered. Made by ``lesson.choose``.

    What is behind the covers is not computed before a guess: no source and no tab of the page holds it.
    """

    def __init__(
        self,
        ask: str,
        options: Sequence[str],
        answer: Callable[[], Answer],
        cover: Table,
        screen: Callable[[], Result | Table],
    ) -> None:
        """
        Args:
            ask: the question; options: what may be chosen; answer: the right one.
            cover: the screen with ``?`` in the place of its numbers.
            screen: what takes its place.
        """
        self.ask = ask
        self.options = list(options)
        self.buttons = ToggleButtons(options=self.options, value=None, style={"button_width": "initial"})
        self._cover, self._answer, self._screen = cover, answer, screen
        self._found: Checked | None = None
        self._said = HTML()
        self._open = Button(description="Reveal", disabled=True)
        self._open.on_click(lambda _: self.reveal())
        self.buttons.observe(self._chosen, "value")
        self.box = VBox(
            [HTML(blank(Table(ask, cover.columns, cover.rows, note=cover.note))), self.buttons, self._open, self._said]
        )

    @property
    def guess(self) -> str | None:
        """What was chosen, by a click or from Python; None before."""
        return None if self.buttons.value is None else str(self.buttons.value)

    @guess.setter
    def guess(self, value: str) -> None:
        if value not in self.options:
            raise AttribError(
                f"{value!r} cannot be chosen here.", f"Choose one of {', '.join(map(repr, self.options))}."
            )
        self.buttons.value = value

    @property
    def right(self) -> bool | None:
        """Whether the guess was right; None before the reveal."""
        return None if self._found is None else self._found.right

    def reveal(self, guess: Any = None) -> None:
        """Say what the guess was worth, and uncover; without a guess only that one is needed. The first one counts.

        Raises:
            AttribError: a guess that cannot be chosen.
        """
        if guess is not None and guess is not ... and self._found is None:
            self.guess = guess
        if self.guess is None:
            print(LOCKED)
            return
        if self._found is None:
            answer, self._first = self._answer(), self.guess
            self._found = answer.judge(self._first)
            self._told = str(self._found if self._found else f"{self._found} It is: {answer.told()}.")
            self._uncover()
        print(self._told)

    def done(self, name: str) -> Done:
        """For the report."""
        return Done(name) if self._found is None else Done(name, self._found.right, 1, said=self._first)

    def summary(self) -> Table:
        """The question, and what is asked about with its numbers covered."""
        cover = self._cover
        return Table(self.ask, cover.columns, cover.rows, note=cover.note, footer=f"Choose: {'; '.join(self.options)}")

    def __repr__(self) -> str:
        return render_text(self.summary())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        return {"text/plain": repr(self), "text/html": render_html(self.summary()), WIDGET: view}

    def _ipython_display_(self) -> None:
        show: Any = ipython.display
        show(self._repr_mimebundle_(), raw=True)

    def _chosen(self, change: Any) -> None:
        self._open.disabled = change["new"] is None

    def _uncover(self) -> None:
        self.buttons.disabled = True
        self._said.value = f"<b>You said {html.escape(str(self._first))}.</b> {html.escape(self._told)}"
        screen = self._screen()
        shown = HTML(blank(screen)) if isinstance(screen, Table) else screen.view()
        self.box.children = [self._said, shown]


def blank(table: Table) -> str:
    """A table as HTML: question marks are drawn as blanks, what is marked as the same has a frame."""

    def cell(text: str) -> str:
        marked = text == "?" or text.endswith(" ?") or text.startswith(SAME)
        return f"<td{' class=q' if marked else ''}>{html.escape(text)}</td>"

    head = "".join(f"<th scope=col>{html.escape(name)}</th>" for name in table.columns)
    rows = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in table.rows)
    note = f"<p>{html.escape(table.note)}</p>" if table.note else ""
    return (
        f"<div class=aw-blank>{_STYLE}<b>{html.escape(table.title)}</b>{note}<table><tr>{head}</tr>{rows}</table></div>"
    )
