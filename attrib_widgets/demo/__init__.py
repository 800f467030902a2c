"""The embedded model: where its files are, and prompts that show what it can do; and circuits that were built by hand.

Nothing heavy is imported here. What the model was taught is in `making/corpus/`, what it is asked in `making/cases`,
how it was made in `train` and `second` there. In `files/`, beside the weights, `words.txt` lists every word
that it was shown, and `evaluation.json` says how well it does what it was taught; in words that is in `model.card`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..words.components import whole
from ..words.errors import AttribError
from .built import Circuits

if TYPE_CHECKING:
    from ..saes.store import Dictionaries


class Task(NamedTuple):
    """A prompt, the token it should continue with, and the same prompt with one token changed (two where it is about
    attraction: both nouns change their number)."""

    prompt: str
    target: str
    corrupted: str


def path() -> Path:
    """The folder with the trained files; transformers' `from_pretrained` reads it without a network."""
    return Path(__file__).parent / "files"


def _tasks() -> dict[str, tuple[Task, ...]]:
    rows = json.loads((path() / "suggestions.json").read_text(encoding="utf-8"))
    found: dict[str, tuple[Task, ...]] = {}
    for row in rows:
        ability = row.pop("ability")
        found[ability] = (*found.get(ability, ()), Task(**row))
    return found


class Pairs(NamedTuple):
    """Pairs of prompts, column by column: what ``aw.patch(model, p.clean, p.corrupted, p.target, against=p.against)``
    takes."""

    clean: list[str]
    target: list[str]
    against: list[str]
    corrupted: list[str]


def pairs(name: str, count: int = 20) -> Pairs:
    """The first pairs of a task: "capitals", "two names", "induction", "agreement" or "attraction".

    All prompts of a task have one length; each pair has its own answer, and the comparison's as its rival. The two
    prompts of a pair differ in one token, in two where the task is "attraction".

    Raises:
        AttribError: no such task, or not so many pairs.
    """
    tasks = json.loads((path() / "pairs.json").read_text(encoding="utf-8"))
    if name not in list(tasks):
        raise AttribError(f"{name!r} is no task with pairs.", f"The tasks are {', '.join(map(repr, tasks))}.")
    kept, wanted = tasks[name], whole(count) or 0
    if not 1 <= wanted <= len(kept):
        raise AttribError(
            f"{name!r} has {len(kept)} pairs, and {count!r} were asked for.", f"Ask for 1 to {len(kept)}."
        )
    return Pairs(*map(list, zip(*kept[:wanted], strict=True)))


def prompts() -> list[str]:
    """Every prompt of the tasks and of their pairs, each once."""
    rows = json.loads((path() / "pairs.json").read_text(encoding="utf-8"))
    found = [text for group in tasks.values() for task in group for text in (task.prompt, task.corrupted)]
    found += [text for pairs_of in rows.values() for clean, _, _, corrupted in pairs_of for text in (clean, corrupted)]
    return list(dict.fromkeys(found))


#: Example prompts by ability. Every corrupted prompt differs from its clean one in one token, of attraction in two.
tasks = _tasks()
PROMPT, TARGET, CORRUPTED = tasks["capitals"][0]
#: Pure cases: small models built by hand, whose causal story is known; ``aw.load("demo:backup")`` loads one.
circuits = Circuits()


def weights_sha256(folder: Path | None = None) -> str:
    """SHA-256 of the weights in a folder (default: the embedded model's), which its tables carry."""
    from ..saes.formats.files import sha256

    return sha256((folder or path()) / "model.safetensors")


@cache
def saes() -> Dictionaries:
    """The dictionaries of the embedded model, each read when it is first asked for; ``model.saes`` has them too."""
    from ..saes.store import Dictionaries

    return Dictionaries(path() / "saes")
