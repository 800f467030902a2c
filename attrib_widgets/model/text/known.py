"""The words that a small model was trained on, where a list of them lies beside its weights.

A model of a few thousand words answers any text, and on words that it never saw its answer means nothing. The list is
``words.txt``, one word a line, UTF-8. A word is a run of letters and digits, or one other sign: ``France's`` is three.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from ...words.files import read_text
from ...words.text import enumerated, others_label, spelled

FILE = "words.txt"
_WORD = re.compile(r"[^\W_]+|[^\w\s]|_")
#: Words that a sentence names.
SHOWN = 3
#: The line of Python that asks a model that reads any text, of an expression for the text.
LARGER = 'aw.explore("gpt2", {})'.format


class Unseen(NamedTuple):
    """A word that the model never saw, and the positions of its tokens."""

    word: str
    positions: list[int]


def words_in(texts: Iterable[str]) -> set[str]:
    """Every word of some texts."""
    return {word for text in texts for word in _WORD.findall(text)}


def write_words(folder: Path, words: Iterable[str]) -> None:
    """The list, beside the weights."""
    (folder / FILE).write_text("\n".join(sorted(set(words))) + "\n", encoding="utf-8")


def read_words(folder: Path | None) -> frozenset[str] | None:
    """The list in a model's folder; None where it has none.

    Raises:
        AttribError: it is no text in UTF-8.
    """
    file = None if folder is None else folder / FILE
    return frozenset(read_text(file).split()) if file is not None and file.is_file() else None


def unseen(tokens: Sequence[bytes], known: frozenset[str]) -> list[Unseen]:
    """The words of a prompt that are not ``known``. ``tokens`` are their bytes; empty ones part words."""
    parts = [token or b" " for token in tokens]
    owners = [i for i, part in enumerate(parts) for _ in part]  # of every byte
    text = b"".join(parts).decode("utf-8", "surrogateescape")
    starts = list(accumulate((len(c.encode("utf-8", "surrogateescape")) for c in text), initial=0))
    return [
        Unseen(
            spelled(word.group().encode("utf-8", "surrogateescape")),
            list(dict.fromkeys(owners[starts[word.start()] : starts[word.end()]])),
        )
        for word in _WORD.finditer(text)
        if word.group() not in known
    ]


def unseen_note(name: str, words: Sequence[str]) -> str:
    """One sentence about the ``words`` that the model called ``name`` never saw."""
    named = [f"\u201c{word}\u201d" for word in dict.fromkeys(words)]
    more = [others_label(len(named) - SHOWN)] if len(named) > SHOWN else []
    return f"{name} never saw {enumerated([*named[:SHOWN], *more])} in training, so its answer means little here"
