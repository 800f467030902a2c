"""The embedded model: where its files are, and prompts that show what it can do.

Nothing heavy is imported here. What the model was taught is in `facts`, `phrasings` and `corpus`, what it is
asked in `cases`, how it was made in `train`; how well it does what it was taught is in `evaluation.json` beside
the weights, and in words in `model.card`.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..saes.readers import Dictionaries

PROMPT = "The capital of France is"
TARGET = " Paris"
CORRUPTED = "The capital of Germany is"


class Task(NamedTuple):
    """A prompt, the token it should continue with, and the same prompt with one token changed."""

    prompt: str
    target: str
    corrupted: str


#: Example prompts by ability. Every corrupted prompt differs from its clean one in exactly one token.
tasks: dict[str, tuple[Task, ...]] = {
    "capitals": (
        Task(PROMPT, TARGET, CORRUPTED),
        Task("The capital of Japan is", " Tokyo", "The capital of Kenya is"),
        Task("In Norway, people speak", " Norwegian", "In Greece, people speak"),
        Task("The currency of Poland is the", " zloty", "The currency of Hungary is the"),
    ),
    "two names": (
        Task(
            "When Mary and John went to the shop, John gave the bag to",
            " Mary",
            "When Mary and John went to the shop, Mary gave the bag to",
        ),
        Task(
            "After Tom and Laura left the museum, Tom handed the letter to",
            " Laura",
            "After Tom and Laura left the museum, Laura handed the letter to",
        ),
    ),
    "induction": (
        Task(
            "apple river lamp garden horse apple river lamp garden",
            " horse",
            "apple river lamp garden piano apple river lamp garden",
        ),
        Task(
            "cloud spoon wolf silver coat cloud spoon wolf",
            " silver",
            "cloud spoon wolf honey coat cloud spoon wolf",
        ),
    ),
    "agreement": (
        Task("Today the keys near the table", " are", "Today the key near the table"),
        Task("Yesterday the teacher behind the horses", " was", "Yesterday the teachers behind the horses"),
    ),
    "two-hop": (
        Task(
            "The language spoken in the city of the Colosseum is",
            " Italian",
            "The language spoken in the city of the Kremlin is",
        ),
        Task(
            "The currency of the country of the Skytree is the",
            " yen",
            "The currency of the country of the Bund is the",
        ),
    ),
}


def path() -> Path:
    """The folder with the trained files; transformers' `from_pretrained` reads it without a network."""
    return Path(__file__).parent / "files"


def weights_sha256(folder: Path | None = None) -> str:
    """SHA-256 of the weights in a folder (default: the embedded model's), which its tables carry."""
    return hashlib.sha256(((folder or path()) / "model.safetensors").read_bytes()).hexdigest()


@cache
def saes() -> Dictionaries:
    """The dictionaries of the embedded model by site (``"L2.mlp"``), each read when it is first asked for."""
    from ..saes.readers import Dictionaries

    return Dictionaries(path() / "saes")


def context(number: int) -> str:
    """One of the texts that the cards of the dictionaries point into: drawn like the corpus, by a seed of its own.

    As a whole none of them was trained on; single sentences of it recur.
    """
    from .making.concepts import context

    return context(number)
