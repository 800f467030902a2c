"""Making cards: texts pass through the model up to where a dictionary reads, and what its features do is counted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from math import log2
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from ...model.running.worker import Cancelled
from ...words.components import whole
from ...words.errors import AttribError, said_of
from ...words.text import kind_of, visible
from ..reading import collected
from ..sae import SAE
from .kept import Cards
from .labels import Say, neighbours
from .tally import DRAWN, TOP, Tally

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.running.worker import Job

#: Tokens of one context, and how many contexts are run at once.
LONGEST, AT_ONCE = 128, 32
#: Where what is needed to go on is kept, until all texts were read.
STATE = "cards.state.safetensors"
#: The first cards come after one batch in so many, the next after twice as many, and so on. Of texts whose number is
#: not known, after so many batches.
SHARE, FIRST = 100, 8
#: Seconds after which what it takes to go on is written again.
EVERY = 60
#: The strongest contexts that are kept where texts are kept elsewhere.
FEW = 5


def cards_from(
    sae: SAE,
    x: Float[Tensor, "context position d_in"],
    real: Sequence[int],
    properties: Sequence[Sequence[Sequence[str]]],
) -> Cards:
    """Cards from activations that are there already, with texts that are kept elsewhere: the strongest contexts alone.

    Args:
        x: activations; position 0 and what lies behind the end of a context are left out.
        real: how many positions of each context hold its tokens.
        properties: for every context and position what can be said of it, the kind of statement first ("on ·is"),
            and which token it is before all else.
    """
    tally = Tally(sae, FEW, 0)
    for start in range(0, len(x), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        rows = [said[:n] for said, n in zip(properties[some], real[some], strict=True)]
        tally.add(x[some], [[0] * n for n in real[some]], rows)
    return tally.cards(properties.__getitem__, own=False)


def read_cards(
    model: Model,
    sae: SAE,
    texts: Iterable[Any],
    *,
    folder: Path | None = None,
    context: int = LONGEST,
    say: Say = neighbours,
    publish: Callable[[Cards], None] = lambda cards: None,
    job: Job | None = None,
    shown: bool = True,
) -> Cards:
    """See :func:`...making.make_cards`.

    Args:
        publish: is given the cards so far, and last all of them.
        shown: whether a bar shows how far it is.
    """
    total = len(texts) if isinstance(texts, Sized) else None
    made = _Making(model, sae, context, say, folder)
    bar = tqdm(
        total=total, desc=f"cards of {sae.site}", mininterval=1, disable=job is not None or not shown, unit="text"
    )
    batches, due, saved = _batches(made.rows(texts)), FIRST if total is None else 1, monotonic()
    found: Cards | None = None
    try:
        made.skip(batches)
        for batch in batches:
            if job is not None:
                job.progress(made.read, total or made.read + 1, f"{made.tally.tokens:,} tokens")
            made.take(batch)
            bar.update(made.read - bar.n)
            done = made.tally.contexts // AT_ONCE if total is None else SHARE * made.read // max(1, total)
            if due <= done and made.read != total:
                due *= 2 ** (1 + int(log2(done / due)))
                found = made.save(made.cards(False))
                publish(found)
                saved = monotonic()
            elif monotonic() - saved > EVERY:
                made.keep()
                saved = monotonic()
    except (Cancelled, KeyboardInterrupt):  # what was counted so far is kept
        if made.whole and made.tally.tokens:
            found = made.save(made.cards(False))
        if found is None:
            raise
    else:
        if not made.tally.tokens:
            raise AttribError("There are no texts to make cards from.", 'Give some: ["...", "..."].')
        found = made.save(made.cards(True))
        if job is not None:
            job.progress(made.read, made.read)
    finally:
        bar.close()
    publish(found)
    return found


class _Making:
    """One pass over texts, and what it takes to go on with it."""

    def __init__(self, model: Model, sae: SAE, context: int, say: Say, folder: Path | None) -> None:
        self.model, self.sae, self.say, self.folder = model, sae, say, folder
        longest = whole(context)
        if longest is None or longest < 2:
            raise AttribError(
                f"context={context!r} is no number of tokens that a context can have.", "Give context=128, for example."
            )
        self.context = min(longest, model.max_positions or longest)
        self.tally = Tally(sae)
        self.read = 0
        self.seen = sha256()
        self.whole = True
        """Whether nothing was counted by half: an interrupt may come at any time."""
        self._names: dict[int, str] = {}

    @property
    def state(self) -> Path | None:
        """The file that it goes on from."""
        return None if self.folder is None else self.folder / STATE

    def rows(self, texts: Iterable[Any]) -> Iterator[list[int]]:
        """The contexts of texts, in order."""
        if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
            raise AttribError(
                f"{kind_of(texts, start=True)} is no list of texts.",
                'Give many: ["...", "..."], or lists of token ids.',
            )
        for number, text in enumerate(texts):
            with said_of(f"Text {number}"):
                pieces = self.model.cut(text, self.context)
            yield from pieces
            self.read = number + 1

    def named(self, ids: Sequence[int]) -> list[str]:
        """Tokens as text; each is asked once."""
        for i in ids:
            if i not in self._names:
                self._names[i] = visible(self.model.token(i))
        return [self._names[i] for i in ids]

    def said(self, ids: Sequence[int]) -> Sequence[Sequence[str]]:
        """What can be said of every token of a context.

        Raises:
            AttribError: of more or fewer than there are.
        """
        found = self.say(self.named(ids))
        if not isinstance(found, Sequence) or len(found) != len(ids):
            many = f"{len(found)} entries" if isinstance(found, Sequence) else kind_of(found)
            raise AttribError(f"say gave {many} for {len(ids)} tokens.", "Return a list of statements for every token.")
        return found

    def take(self, batch: list[list[int]]) -> None:
        """Run a few contexts and count what the features do in them."""
        padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in batch], batch_first=True)
        x = collected(self.model, padded, self.sae, list(map(len, batch)))
        said = [self.said(row) for row in batch]
        self.whole = False
        self.tally.add(x, batch, said)
        self._see(batch)
        self.whole = True

    def cards(self, finished: bool) -> Cards:
        """The cards of what was counted so far."""
        found = self.tally.cards(lambda number: self.said(self.tally.ids[number]), finished=finished)
        return replace(found, place=str(self.sae.site), model=self.model)

    # going on ---------------------------------------------------------------------------------------------------
    def save(self, cards: Cards) -> Cards:
        """Write the cards, and what it takes to go on where they are not finished."""
        if self.folder is not None and self.state is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                if cards.finished:
                    self.state.unlink(missing_ok=True)
                else:
                    self.keep()
                cards.write(self.folder)
            except OSError as reason:
                said = reason.strerror or reason
                raise AttribError(f"{self.folder} cannot be written: {said}.", "Give another folder.") from reason
        return cards

    def keep(self) -> None:
        """Write what it takes to go on from here."""
        from safetensors.torch import save_file

        if self.state is None:
            return
        part = self.state.with_suffix(".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: t.contiguous() for name, t in self.tally.tensors().items()}
        save_file(kept, part, {"recipe": self._recipe()})
        os.replace(part, self.state)

    def skip(self, batches: Iterator[list[list[int]]]) -> None:
        """Go on from what was saved, if anything was: the contexts that were counted pass unread.

        Raises:
            AttribError: it was begun with something else.
        """
        from safetensors import SafetensorError, safe_open

        if self.state is None or not self.state.is_file():
            return
        remedy = f"Give the same again, or remove {self.state} to begin anew."
        try:
            with safe_open(self.state, framework="pt") as content:
                recipe = json.loads((content.metadata() or {})["recipe"])
                kept = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (it is no mapping)
            sizes = kept["sizes"].tolist()
        except (SafetensorError, KeyError, ValueError) as reason:
            raise AttribError(f"{self.state} cannot be read: {reason}.", remedy) from reason
        own = json.loads(self._recipe())
        odd = [name for name in own if name != "texts" and own[name] != recipe.get(name)]
        if odd:
            raise AttribError(
                f"The cards in {self.folder} were begun with another {odd[0]}: {recipe.get(odd[0])}, not "
                f"{own[odd[0]]}.",
                remedy,
            )
        for batch in islice(batches, -(-sizes[0] // AT_ONCE)):
            self._see(batch)
        if self.seen.hexdigest() != recipe["texts"]:
            raise AttribError(f"The cards in {self.folder} were begun with other texts.", remedy)
        self.tally.restore(kept)

    def _see(self, batch: list[list[int]]) -> None:
        for row in batch:
            self.seen.update(f"{','.join(map(str, row))};".encode())

    def _recipe(self) -> str:
        """What has to be the same for what was saved to be gone on with."""
        digest = sha256()
        sae, step = self.sae, max(1, self.sae.n_features // 64)
        parts = (sae.w_enc[:, ::step], sae.w_dec[::step], sae.b_enc, sae.b_dec, sae.threshold)
        for t in (part for part in parts if part is not None):
            digest.update(t.cpu().contiguous().numpy().tobytes())
        return json.dumps(
            {
                "dictionary": f"{self.sae!r} {digest.hexdigest()[:12]}",
                "model": f"{self.model.name} {self.model.dtype} {(self.model.saes.digest() or '')[:12]}",
                "context": self.context,
                "version": [1, TOP, DRAWN, AT_ONCE],
                "texts": self.seen.hexdigest(),
            }
        )


def _batches(rows: Iterator[list[int]]) -> Iterator[list[list[int]]]:
    while batch := list(islice(rows, AT_ONCE)):
        yield batch
