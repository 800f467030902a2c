"""What is known of all features of one dictionary: what they fire on, and labels computed from that; kept beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...words.errors import AttribError
from ...words.files import read_text
from ..formats.files import stored
from .weaker import PER_FIRING, WINDOW, Weaker, smallest, start_of

if TYPE_CHECKING:
    from ...model.model import Model
    from .searching import Hits

LABELS, FIRINGS = "labels.json", "cards.safetensors"
#: The bins of a histogram: so many between an activation and twice that, from 2^(FIRST_BIN / PER_OCTAVE) on.
PER_OCTAVE, FIRST_BIN, BINS = 4, -80, 160
#: In how many groups of equal size the firings that were drawn at random are shown, by how strong they are.
BANDS = 5

_INTEGERS = (torch.uint8, torch.int16, torch.int32, torch.int64)
#: Names in the file of firings of what is not one row a feature.
_APART = (*PER_FIRING, "text_ids", "text_ends", "facts", "first_bin")


@dataclass(frozen=True)
class Rows:
    """Token ids of several texts, one behind the other, and where each ends."""

    ids: Int[Tensor, "token"]
    ends: Int[Tensor, "text"]

    @staticmethod
    def of(rows: Sequence[Sequence[int]]) -> Rows:
        """From lists of ids."""
        ids = torch.tensor([i for row in rows for i in row], dtype=torch.int32)
        return Rows(ids, torch.tensor([len(row) for row in rows], dtype=torch.long).cumsum(0))

    def __getitem__(self, number: int) -> list[int]:
        start = int(self.ends[number - 1]) if number else 0
        found: list[int] = self.ids[start : int(self.ends[number])].tolist()
        return found

    def __len__(self) -> int:
        return len(self.ends)


#: Where the texts of cards come from: by number the text, or its token ids.
Text: TypeAlias = Callable[[int], str | list[int]]


class Firing(NamedTuple):
    """One context in which a feature fires: its tokens, the activation on each, and where it is strongest."""

    tokens: list[str]
    activations: list[float]
    position: int


@dataclass(frozen=True, eq=False, repr=False)
class Cards:
    """The strongest firings of every feature of one dictionary, and its computed labels.

    ``contexts[feature, rank]`` numbers a text; ``positions`` says which of its tokens (the beginning of the sequence
    counted) the feature fired on, ``activations`` how strongly (0 where there is no firing). The first ``top`` ranks
    are the strongest contexts, strongest first; those behind were drawn from all firings at random.
    ``density`` is the share of positions that a feature fires on. ``weaker`` says where else it fires in these texts;
    cards that were written without it are run through the model when one is opened. ``firings`` keeps the contexts of
    the features that were opened, by the model that names their tokens: all heads of a layer share them.

    Attributes:
        peaks: the strongest activation around each firing; None where it is the firing itself.
        others: for each firing drawn, the other features that write the longest vectors there (-1: no more fire).
        histogram: how many firings fall into each bin (:func:`bounds` says between what).
        texts: the contexts as token ids; None where they are kept elsewhere.
        tokens: on how many positions features were looked at; 0 where that is not known.
        finished: whether all texts were looked at.
        place: where the dictionary reads.
        model: whose tokens these are, where that is known.
        elsewhere: where the texts come from that are not kept here.
    """

    labels: list[str]
    density: Float[Tensor, "feature"]
    contexts: Int[Tensor, "feature rank"]
    positions: Int[Tensor, "feature rank"]
    activations: Float[Tensor, "feature rank"]
    weaker: Weaker | None = None
    firings: WeakKeyDictionary[Model, dict[int, tuple[list[Firing], list[Firing]]]] = field(
        default_factory=WeakKeyDictionary
    )
    top: int | None = None
    peaks: Float[Tensor, "feature rank"] | None = None
    others: Int[Tensor, "feature drawn other"] | None = None
    histogram: Int[Tensor, "feature bin"] | None = None
    texts: Rows | None = None
    tokens: int = 0
    finished: bool = True
    place: str = ""
    model: Model | None = None
    elsewhere: Text | None = None

    @property
    def text(self) -> Text | None:
        """The contexts by number, as text or token ids; None where they are not known."""
        return self.elsewhere if self.texts is None else self.texts.__getitem__

    def search(self, query: str) -> Hits:
        """The features whose label holds a word, or which fire on it or behind it in their strongest contexts; capital
        letters or not.

        Raises:
            AttribError: nothing to look for.
        """
        from .searching import search

        return search(self, query)

    @property
    def ranks(self) -> int:
        """How many of the ranks are the strongest contexts."""
        return self.contexts.shape[1] if self.top is None else self.top

    def stored(self, feature: int, rank: int, length: int) -> tuple[list[float], int]:
        """(the activation on every token, where it fires) in one of the contexts, which has so many tokens.

        Raises:
            AttribError: it fired behind the end of this text.
        """
        assert self.weaker is not None
        own, position = float(self.activations[feature, rank]), int(self.positions[feature, rank])
        most = own if self.peaks is None else float(self.peaks[feature, rank])
        where, shares = self.weaker.row(feature, rank)
        if max([position, *where]) >= length:
            raise AttribError(
                f"Feature {feature} fired on token {max([position, *where])} of a text that has {length} tokens.",
                "The texts and the cards do not belong together: take both from one folder.",
            )
        found = [0.0] * length
        for at, share in zip(where, shares, strict=True):
            found[at] = share * most
        found[position] = own
        return found, position

    def window(self, feature: int, rank: int, length: int) -> slice:
        """Which tokens of a context that has so many are known: those around the firing, where texts are kept here."""
        if self.texts is None:
            return slice(0, length)
        start = int(start_of(self.positions[feature, rank], torch.tensor(length)))
        return slice(start, start + WINDOW)

    def write(self, folder: Path) -> None:
        """Beside the dictionary, in as few bytes as will hold every number. Who reads meanwhile reads what was there
        before, or this."""
        from safetensors.torch import save_file

        kept = {
            "density": smallest(self.density, torch.float16, torch.float32),
            "contexts": smallest(self.contexts, torch.int16, torch.int32, torch.int64),
            "positions": smallest(self.positions, *_INTEGERS),
            "activations": smallest(self.activations, torch.float16, torch.float32),
        }
        if self.weaker is not None:
            kept |= self.weaker.packed()
        if self.peaks is not None:
            kept["peaks"] = smallest(self.peaks, torch.float16, torch.float32)
        if self.others is not None:
            kept["others"] = smallest(self.others, torch.int16, torch.int32)
        if self.histogram is not None:
            used = self.histogram.any(0).nonzero()[:, 0].tolist() or [0]
            kept["histogram"] = smallest(self.histogram[:, used[0] : used[-1] + 1], *_INTEGERS)
            kept["first_bin"] = torch.tensor([used[0]])
        if self.texts is not None:
            kept |= {"text_ids": smallest(self.texts.ids, torch.int16, torch.int32), "text_ends": self.texts.ends}
            kept["facts"] = torch.tensor([self.ranks, self.tokens, self.finished])
        labels = json.dumps(self.labels, ensure_ascii=False, indent=0) + "\n"
        parts = {LABELS: folder / f"{LABELS}.part", FIRINGS: folder / f"{FIRINGS}.part"}
        save_file({name: t.contiguous() for name, t in kept.items()}, parts[FIRINGS])
        parts[LABELS].write_text(labels, encoding="utf-8")
        for name, part in parts.items():
            part.chmod(0o644)
            os.replace(part, folder / name)

    @staticmethod
    def read(folder: Path, features: int | None = None) -> Cards | None:
        """The cards of a dictionary's folder; None where it has none.

        Raises:
            AttribError: broken files, or cards of a dictionary of another size than ``features``.
        """
        if not (folder / FIRINGS).is_file():
            return None
        t = stored(folder / FIRINGS)
        try:
            labels = json.loads(read_text(folder / LABELS))
            top, tokens, finished = t["facts"].tolist() if "text_ids" in t else (None, 0, True)
            histogram = None
            if "histogram" in t:
                histogram = torch.zeros(len(t["histogram"]), BINS, dtype=torch.int64)
                first = int(t["first_bin"])
                histogram[:, first : first + t["histogram"].shape[1]] = t["histogram"]
            found = Cards(
                labels,
                t["density"].float(),
                t["contexts"].long(),
                t["positions"].long(),
                t["activations"].float(),
                Weaker.unpacked(t),
                top=top,
                peaks=t["peaks"].float() if "peaks" in t else None,
                others=t["others"].long() if "others" in t else None,
                histogram=histogram,
                texts=Rows(t["text_ids"].int(), t["text_ends"].long()) if "text_ids" in t else None,
                tokens=int(tokens),
                finished=bool(finished),
            )
        except (ValueError, KeyError, RuntimeError) as reason:
            raise AttribError(
                f"The cards in {folder} cannot be read: {reason}.", f"Take {FIRINGS} and {LABELS} from one place."
            ) from reason
        sizes = [len(value) for name, value in t.items() if name not in _APART]
        counts = {len(labels), *sizes} | ({features} if features else set())
        if len(counts) > 1:
            raise AttribError(
                f"The cards in {folder} are of another dictionary: they count {len(found.density)} features, with "
                f"{len(labels)} labels{f', and it has {features}' if features else ''}.",
                f"Take all files from one dictionary, or remove {FIRINGS}.",
            )
        return found


def bounds(number: int) -> tuple[float, float]:
    """The activations between which a bin of a histogram counts."""
    first, last = ((number + FIRST_BIN + end) / PER_OCTAVE for end in (0, 1))
    return 2.0**first, 2.0**last
