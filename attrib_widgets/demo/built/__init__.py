"""Circuits built by hand: pure cases, each a small transformers model whose causal story is known.

``aw.demo.circuits`` lists them and ``aw.load("demo:backup")`` loads one. Their stories are in :mod:`.stories`; what
builds them is imported when one is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...model.built import PREFIX, Built
from ...result import Result, Table
from ...words.errors import AttribError
from .stories import STORIES

if TYPE_CHECKING:
    import pandas as pd


@dataclass(eq=False, repr=False)
class Circuits(Result):
    """The models that were built by hand; ``aw.demo.circuits["backup"]`` is the story of one."""

    stories: tuple[Built, ...] = STORIES

    def __iter__(self) -> Iterator[Built]:
        return iter(self.stories)

    def __len__(self) -> int:
        return len(self.stories)

    def __getitem__(self, name: str) -> Built:
        """The story of a circuit, by its name or by what :func:`attrib_widgets.load` takes.

        Raises:
            AttribError: there is none of that name.
        """
        found = self.find(name)
        if found is None:
            raise AttribError(
                f"There is no circuit {name!r}.", f"There are {', '.join(story.source for story in self.stories)}."
            )
        return found

    def find(self, name: str) -> Built | None:
        """The story of a circuit; None where there is none of that name."""
        return next((story for story in self.stories if name in (story.name, story.source)), None)

    def build(self, name: str) -> tuple[Any, Any]:
        """(transformers model in float32, tokenizer) of a circuit, which says what it is called by its path.

        Raises:
            AttribError: there is none of that name.
        """
        story = self[name]
        from .builders import build

        hf, tokenizer = build(story.name)
        hf.name_or_path = hf.config.name_or_path = story.source
        return hf, tokenizer

    def summary(self) -> Table:
        rows = [[story.source, story.shows] for story in self.stories]
        return Table(
            f"{len(rows)} circuits built by hand: every weight was written down",
            ["aw.load(...)", "shows"],
            rows,
            footer=f'aw.load("{rows[0][0]}").card tells the story of one; aw.explore("{rows[0][0]}") asks it.',
        )

    def to_dataframe(self) -> pd.DataFrame:
        """One row per circuit: what it is called, what it shows, its story, its question and what is said of it."""
        import pandas as pd

        fields = ("source", "shows", "story", "prompt", "target", "rival", "corrupted", "verdict", "why")
        return pd.DataFrame({name: [getattr(story, name) for story in self.stories] for name in fields})


__all__ = ["PREFIX", "STORIES", "Circuits"]
