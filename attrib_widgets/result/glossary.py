"""The glossary as a result: ``aw.glossary()``, ``aw.glossary("damage", "recovery")``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..words.glossary import TERMS, Term, term
from .results import Result
from .table import Table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(eq=False, repr=False)
class Glossary(Result):
    """Words, what they mean, and how to read a number of each."""

    terms: list[Term]

    def summary(self) -> Table:
        rows = [row for t in self.terms for row in ([t.name, t.means], ["", f"For example: {t.read}"])]
        return Table("What the words mean", ["word", ""], rows)

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``word``, ``means``, ``read`` and ``also``."""
        import pandas as pd

        rows = [(t.name, t.means, t.read, ", ".join(t.also)) for t in self.terms]
        return pd.DataFrame(rows, columns=["word", "means", "read", "also"])


def glossary(*words: str) -> Glossary:
    """What the words mean that the page, tables and notes print; all of them where none is named.

    Raises:
        AttribError: no such word, with those there are.
    """
    return Glossary([term(w) for w in words] if words else list(TERMS))
