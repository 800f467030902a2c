"""The view that scrolls along the tokens of a phrase: their odds as the spine, and what wrote the token in focus."""

from __future__ import annotations

from ..analysis.attribution.attribution import Attribution
from ..analysis.attribution.phrases import PhraseAttribution
from ..words.components import whole
from ..words.errors import PositionError
from .shapes import results
from .transport.view import View


class PhraseView(View):
    """A phrase, token by token. ``token`` is the one in focus: a click sets it, and so does Python."""

    def __init__(self, result: PhraseAttribution) -> None:
        self.result = result
        super().__init__("phrase", results.phrase(result), result)

    @property
    def token(self) -> int | None:
        """The token in focus, counted from 0 in the phrase; None shows all of them together."""
        return None if self.source < 0 else self.source

    @token.setter
    def token(self, value: int | None) -> None:
        number = -1 if value is None else whole(value)
        if number is None or (value is not None and not -len(self.result) <= number < len(self.result)):
            raise PositionError(
                f"{value!r} is not a token of this phrase.", f"Use 0 to {len(self.result) - 1}, or None."
            )
        self.source = number if value is None else number % len(self.result)

    def source_of(self, value: int) -> int:
        """``value`` as a token of the phrase, or -1 for all.

        Raises:
            PositionError: outside the phrase.
        """
        if not -1 <= value < len(self.result):
            raise PositionError(f"{value} is not a token of this phrase.", f"Use 0 to {len(self.result) - 1}, or −1.")
        return value

    def selected_result(self) -> Attribution | PhraseAttribution:
        """The attribution of the token in focus, which opens in an Explorer of its own; else that of the phrase."""
        return self.result if self.source < 0 else self.result[self.source]
