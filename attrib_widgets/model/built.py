"""What is known of a model that was built by hand: its story, and the question that it answers."""

from __future__ import annotations

from dataclasses import dataclass

from ..words.text import visible
from .suggestions import Suggestion

#: What its name begins with where it is loaded: ``aw.load("demo:backup")``.
PREFIX = "demo:"


@dataclass(frozen=True)
class Built:
    """A model whose weights were written one by one, so that what causes what is known.

    ``shows`` is the ability that it was built for, ``story`` how it works, ``verdict`` the title of ``aw.verify`` about
    ``target`` rather than ``rival`` (the rival that it finds itself; empty where it finds none), and ``why`` what makes
    it say so.
    """

    name: str
    shows: str
    story: str
    prompt: str
    target: str
    rival: str
    corrupted: str
    verdict: str
    why: str

    @property
    def source(self) -> str:
        """The name by which it is loaded."""
        return PREFIX + self.name

    @property
    def called(self) -> str:
        """The name that stands wherever it is shown."""
        return f"built by hand: {self.source}"

    @property
    def note(self) -> str:
        """Its name and its story, for results."""
        return f"{self.called}. {self.story}"

    @property
    def suggestion(self) -> Suggestion:
        """Its own question."""
        return Suggestion(self.shows, self.prompt, self.target, self.corrupted)

    @property
    def card(self) -> str:
        """Its model card, markdown."""
        return f"""# {self.called}

Shows: {self.shows}. Nobody trained it: every weight was written down, so that what causes what is known.

{self.story}

- Prompt: `{self.prompt}`, after which it says `{visible(self.target)}`
- Comparison: `{self.corrupted}`, after which it says `{visible(self.rival or self.target)}`

```python
model = aw.load("{self.source}")
aw.verify(aw.attribute(model.run("{self.prompt}"), "{self.target}"), "{self.corrupted}")
```

What `aw.verify` says: **{self.verdict}**. {self.why}

It knows a few words and this one form of prompt; anything else that is asked of it has no story.
"""
