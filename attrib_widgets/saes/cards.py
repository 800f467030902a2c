"""What a feature fires on: its strongest contexts in newly drawn text, and a label computed from them.

A label is the property that the strongest firings share and other positions rarely have ("before ·Paris, about
France"). It is counted, never written by hand, and says nothing of weaker firings. Where they share nothing, the label
says which tokens are commonest and how common they are.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..model.parts.outlet import outlet_of
from ..result import Result, Table
from ..words.components import Component
from ..words.errors import AttribError
from ..words.files import read_text
from ..words.text import bracketed, safe, signed, significant, visible
from .arithmetic import Arithmetic
from .formats.files import stored
from .reading import collected
from .sae import SAE, Fired
from .weaker import PER_FIRING, Weaker, smallest

if TYPE_CHECKING:
    import pandas as pd

    from ..model.model import Model
    from ..model.network import Network

LABELS, FIRINGS = "labels.json", "cards.safetensors"
#: A property is named when at least this share of the strongest firings have it.
SHARE = 0.7
#: How many of the strongest firings are looked at, and how many are kept as examples.
LOOKED_AT, KEPT = 24, 5
#: A feature that fires less often has no label: what a few firings share may be chance.
FEWEST = 5
#: Tokens of an own text that count, and how many texts are run at once.
LONGEST, AT_ONCE = 128, 32

#: Columns of the unembedding that are read at once.
PIECE = 16384

#: Where the texts of cards come from: by number the text, or its token ids.
Text: TypeAlias = Callable[[int], str | list[int]]


@dataclass(frozen=True, eq=False, repr=False)
class Cards:
    """The strongest firings of every feature of one dictionary, and its computed labels.

    ``contexts[feature, rank]`` numbers a text of ``text``; ``positions`` says which of its tokens (the beginning
    of the sequence counted) the feature fired on, ``activations`` how strongly (0 where there is no firing).
    ``density`` is the share of positions that a feature fires on. ``weaker`` says where else it fires in these texts;
    cards that were written without it are run through the model when one is opened. ``firings`` keeps the contexts of
    the features that were opened, by the model that names their tokens: all heads of a layer share them.
    """

    labels: list[str]
    density: Float[Tensor, "feature"]
    contexts: Int[Tensor, "feature rank"]
    positions: Int[Tensor, "feature rank"]
    activations: Float[Tensor, "feature rank"]
    weaker: Weaker | None = None
    firings: WeakKeyDictionary[Model, dict[int, list[Firing]]] = field(default_factory=WeakKeyDictionary)

    def stored(self, feature: int, rank: int, length: int) -> tuple[list[float], int]:
        """(the activation on every token, where it is strongest) in one of the contexts, which has so many tokens.

        Raises:
            AttribError: it fired behind the end of this text.
        """
        assert self.weaker is not None
        most, position = float(self.activations[feature, rank]), int(self.positions[feature, rank])
        where, shares = self.weaker.row(feature, rank)
        if max([position, *where]) >= length:
            raise AttribError(
                f"Feature {feature} fired on token {max([position, *where])} of a text that has {length} tokens.",
                "The texts and the cards do not belong together: take both from one folder.",
            )
        found = [0.0] * length
        for at, share in zip([position, *where], [1.0, *shares], strict=True):
            found[at] = share * most
        return found, position

    def write(self, folder: Path) -> None:
        """Beside the dictionary, in as few bytes as will hold every number."""
        from safetensors.torch import save_file

        kept = {
            "density": smallest(self.density, torch.float16, torch.float32),
            "contexts": smallest(self.contexts, torch.int16, torch.int32, torch.int64),
            "positions": smallest(self.positions, torch.uint8, torch.int16, torch.int32, torch.int64),
            "activations": smallest(self.activations, torch.float16, torch.float32),
        }
        if self.weaker is not None:
            kept |= self.weaker.packed()
        save_file({name: t.contiguous() for name, t in kept.items()}, folder / FIRINGS)
        (folder / FIRINGS).chmod(0o644)
        (folder / LABELS).write_text(json.dumps(self.labels, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")

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
            weaker = Weaker.unpacked(t)
            found = Cards(
                labels,
                t["density"].float(),
                t["contexts"].long(),
                t["positions"].long(),
                t["activations"].float(),
                weaker,
            )
        except (ValueError, KeyError) as reason:
            raise AttribError(
                f"The cards in {folder} cannot be read: {reason}.", f"Take {FIRINGS} and {LABELS} from one place."
            ) from reason
        sizes = [len(value) for name, value in t.items() if name not in PER_FIRING]
        counts = {len(labels), *sizes} | ({features} if features else set())
        if len(counts) > 1:
            raise AttribError(
                f"The cards in {folder} are of another dictionary: they count {len(found.density)} features, with "
                f"{len(labels)} labels{f', and it has {features}' if features else ''}.",
                f"Take all files from one dictionary, or remove {FIRINGS}.",
            )
        return found


class Firing(NamedTuple):
    """One context in which a feature fires: its tokens, the activation on each, and where it is strongest."""

    tokens: list[str]
    activations: list[float]
    position: int


@dataclass(eq=False, repr=False)
class Card(Result):
    """One feature: what it fires on, what it writes, and where it fires in the prompt at hand.

    ``label`` is computed from the strongest contexts ("" where it fires too rarely), and ``density`` is the share of
    tokens that it fires on; without cards they are "" and NaN. ``promoted`` and ``suppressed`` list (token text, id,
    logits per unit of activation that it adds directly, before the final norm's scale); for a feature of the heads'
    outputs ``through`` names the head that this is read through. ``here`` has the activation on each of ``tokens``,
    those of the prompt. ``missing`` says why there are no contexts, and how to give some. ``arithmetic`` is what it
    adds to what is explained; None where it does not fire.
    """

    feature: Component
    label: str
    density: float
    contexts: list[Firing]
    promoted: list[tuple[str, int, float]]
    suppressed: list[tuple[str, int, float]]
    tokens: list[str]
    here: list[float]
    through: str = ""
    missing: str = ""
    arithmetic: Arithmetic | None = None

    def summary(self) -> Table:
        rows = [
            [f"fires at {significant(c.activations[c.position])}", _shaded(c.tokens, c.activations, c.position)]
            for c in self.contexts
        ]
        rows.append(["in this prompt", _shaded(self.tokens, self.here, len(self.tokens) - 1)])
        through = f" through {self.through}" if self.through else ""
        for name, entries in (("promotes", self.promoted), ("suppresses", self.suppressed)):
            rows.append(
                [name + through, "  ".join(f"{visible(text)} {signed(value)}" for text, _, value in entries[:5])]
            )
        without = "no label was computed" if math.isnan(self.density) else "it fires too rarely for a label"
        often = "" if math.isnan(self.density) else f" fires on {100 * self.density:.2g}\u00a0% of tokens"
        name = f"computed label of {self.feature}" if self.label else f"{self.feature}: {without}"
        said = [f"{name};{often}" if often else name, *([] if self.arithmetic is None else [self.arithmetic.line()])]
        return Table(self.label or str(self.feature), ["", ""], rows, [], "\n".join(said), self.missing)

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``context``, ``position``, ``token``, ``activation``: every token of the strongest contexts."""
        import pandas as pd

        rows = [
            (number, position, token, value)
            for number, firing in enumerate(self.contexts)
            for position, (token, value) in enumerate(zip(firing.tokens, firing.activations, strict=True))
        ]
        return pd.DataFrame(rows, columns=["context", "position", "token", "activation"])


def _shaded(tokens: Sequence[str], activations: Sequence[float], end: int, width: int = 12) -> str:
    """The last tokens up to ``end``; those that fire stand in brackets."""
    start = max(0, end - width + 1)
    shown = zip(tokens[start : end + 1], activations[start : end + 1], strict=True)
    text = "".join(bracketed(token) if value > 0 else token for token, value in shown)
    return ("…" if start else "") + safe(text)


def make_cards(
    sae: SAE,
    x: Float[Tensor, "context position d_in"],
    real: Sequence[int],
    properties: Sequence[Sequence[Sequence[str]]],
) -> Cards:
    """Cards from the activations of contexts that the dictionary was not trained on.

    Args:
        x: activations; position 0 and what lies behind the end of a context are left out.
        real: how many positions of each context hold its tokens.
        properties: for every context and position what can be said of it, the kind of statement first ("on ·is"),
            and which token it is before all else.
    """
    inside = torch.zeros(x.shape[:2], dtype=torch.bool)
    for number, length in enumerate(real):
        inside[number, 1:length] = True
    base = Counter(said for c, rows in enumerate(properties) for p in range(1, real[c]) for said in set(rows[p]))
    total = int(inside.sum())
    fired = [_firings(sae, x[c : c + 64], inside[c : c + 64], c) for c in range(0, len(x), 64)]
    value, feature, context, position = (torch.cat(parts) for parts in zip(*fired, strict=True))
    order = value.argsort(descending=True, stable=True)
    order = order[feature[order].argsort(stable=True)]
    counts = torch.bincount(feature, minlength=sae.n_features)
    labels, kept = list[str](), torch.zeros(3, sae.n_features, KEPT, dtype=torch.float64)
    weaker: list[tuple[Tensor, Tensor]] = []
    for number, rows in enumerate(order.split(counts.tolist())):
        where = [(int(context[r]), int(position[r])) for r in rows[:LOOKED_AT]]
        labels.append(label_of([properties[c][p] for c, p in where], base, total))
        first: dict[int, int] = {}
        for row in rows[: 20 * KEPT].tolist():  # the strongest firing of each of the strongest contexts
            first.setdefault(int(context[row]), row)
        chosen = list(first.values())[:KEPT]
        kept[:, number, : len(chosen)] = torch.stack([context[chosen], position[chosen], value[chosen].double()])
        for row in chosen:
            also = rows[(context[rows] == context[row]) & (rows != row)]
            weaker.append((position[also], value[also] / value[row]))
        weaker += [(position[:0], value[:0])] * (KEPT - len(chosen))
    beside = Weaker.of(weaker, (sae.n_features, KEPT), x.shape[1])
    return Cards(labels, counts / total, kept[0].long(), kept[1].long(), kept[2].float(), beside)


def _firings(sae: SAE, x: Tensor, inside: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(activation, feature, context, position) of everything that fires in a few contexts."""
    active = sae.encode(x) * inside[..., None]
    context, position, feature = active.nonzero(as_tuple=True)
    return active[context, position, feature], feature, context + first, position


def label_of(firings: Sequence[Sequence[str]], base: Counter[str], total: int) -> str:
    """Up to two properties that nearly all of these firings share and that are rare elsewhere.

    Ranked by share x log(share / share of all positions); of one kind ("on", "before") only one is named. "mostly"
    names up to three tokens that make up most of the firings between them, "mixed" one that does not.
    """
    if len(firings) < FEWEST:
        return ""
    counts = Counter(said for properties in firings for said in set(properties))
    scored = [
        (share * math.log(share * total / base[said]), said)
        for said, count in counts.items()
        if (share := count / len(firings)) >= SHARE and share * total > base[said]
    ]
    named: list[str] = []
    for _, said in sorted(scored, key=lambda entry: (-entry[0], entry[1])):
        kind, what = said.split(" ", 1)
        if all(kind != other.split(" ", 1)[0] and what.strip("·") not in other for other in named):
            named.append(said)
        if len(named) == 2:
            break
    return ", ".join(named) or _commonest(firings)


def _commonest(firings: Sequence[Sequence[str]]) -> str:
    """Which tokens firings without a common property stand on."""
    ranked = Counter(properties[0] for properties in firings if properties).most_common(3)
    covered = 0
    for number, (_, count) in enumerate(ranked, 1):
        covered += count
        if covered >= SHARE * len(firings):
            return "mostly " + ", ".join(said for said, _ in ranked[:number])
    return f"mixed: {ranked[0][0]} in {ranked[0][1]} of {len(firings)}" if ranked else ""


def cards_of(model: Model, sae: SAE, texts: Sequence[str]) -> tuple[Cards, Text]:
    """(cards, where their texts come from) for a dictionary that came without: what it fires on in ``texts``.

    Of each text the first :data:`LONGEST` tokens count. What can be said of a token is which it is and what stands
    before and behind it.
    """
    ids = [model.encode(text)[:LONGEST] for text in texts]
    parts: list[Tensor] = []
    for first in range(0, len(ids), AT_ONCE):
        rows = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(r) for r in ids[first : first + AT_ONCE]], batch_first=True
        )
        x = collected(model, rows, sae).float().cpu()
        parts.append(torch.nn.functional.pad(x, (0, 0, 0, max(map(len, ids)) - x.shape[1])))
    said = [_neighbours([visible(model.token(i)) for i in row]) for row in ids]
    return make_cards(sae, torch.cat(parts), [len(row) for row in ids], said), ids.__getitem__


def _neighbours(tokens: Sequence[str]) -> list[list[str]]:
    rows = [[f"on {token}"] for token in tokens]
    for p, row in enumerate(rows):
        row += [f"after {tokens[p - 1]}"] * (p > 1) + [f"before {token}" for token in tokens[p + 1 : p + 2]]
    return rows


def card_of(
    model: Model,
    sae: SAE,
    cards: Cards | None,
    feature: int,
    prompt: tuple[Sequence[str], Fired],
    text: Text | None,
    head: int | None = None,
    k: int = 8,
    without: str = "",
) -> Card:
    """The card of one feature; its contexts are run through the model to find which tokens it fires on.

    Args:
        prompt: the tokens at hand and what the dictionary makes of its site on them.
        text: the text of a context by its number, or its token ids; without it no contexts are shown.
        head: what a feature of the heads' outputs writes is read through this head alone; None: through all.
        without: what to say, and to type, where there are no texts.

    Raises:
        ComponentError: the dictionary has no such feature.
    """
    sae.check(feature)
    contexts = _contexts(model, sae, cards, feature, text) if cards is not None and text is not None else []
    logits = written_logits(model, sae, feature, head)
    here, fired = prompt
    through = "" if sae.site.site != "z" else f"all heads of L{sae.site.layer}"
    none = without if cards is None or text is None else "It fires in none of the texts."
    return Card(
        Component("feature", index=feature, site=str(sae.site)),
        cards.labels[feature] if cards else "",
        float(cards.density[feature]) if cards else math.nan,
        contexts,
        [(model.token(i), i, float(logits[i])) for i in logits.topk(k).indices.tolist()],
        [(model.token(i), i, float(logits[i])) for i in logits.topk(k, largest=False).indices.tolist()],
        list(here),
        fired(feature).tolist(),
        through if head is None else str(Component("head", sae.site.layer, head)),
        "" if contexts else none,
    )


def _contexts(model: Model, sae: SAE, cards: Cards, feature: int, text: Text) -> list[Firing]:
    """The strongest contexts of a feature: as they were stored, or else in one forward pass (what stands behind a
    context changes nothing in it)."""
    kept = cards.firings.setdefault(model, {})
    known = int((cards.activations[feature] > 0).sum())
    if feature in kept or not known:
        return kept.get(feature, [])
    ids = [model.encode(text(number)) for number in cards.contexts[feature, :known].tolist()]
    if cards.weaker is not None:
        ids = [row[: cards.weaker.read] for row in ids]
        kept[feature] = [
            Firing([model.token(i) for i in row], *cards.stored(feature, rank, len(row)))
            for rank, row in enumerate(ids)
        ]
        return kept[feature]
    rows = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
    active = sae.column(collected(model, rows, sae), feature)
    active[:, 0] = 0
    positions = cards.positions[feature].tolist()
    kept[feature] = [
        Firing([model.token(i) for i in row], active[rank, : len(row)].tolist(), positions[rank])
        for rank, row in enumerate(ids)
    ]
    return kept[feature]


@torch.no_grad()
def written_logits(model: Model, sae: SAE, feature: int, head: int | None = None) -> Float[Tensor, "vocab"]:
    """What one unit of a feature adds to every logit directly, before the scales of the norms that it passes.

    A feature of the heads' outputs writes through ``head`` alone, or through all heads of its layer.
    """
    row = written_direction(model, sae, feature, head)
    return unembedded(model, model.norm(model.anatomy.final_norm).push(row))


@torch.no_grad()
def written_direction(model: Model, sae: SAE, feature: int, head: int | None = None) -> Float[Tensor, "d_model"]:
    """What one unit of a feature adds to the stream as it arrives at the final norm, before the scale of a norm behind
    the sublayer; through ``head`` alone, or through all heads of its layer."""
    row, layer = sae.w_dec[feature].to(model.home), sae.target.layer or 0
    if sae.target.site == "z":
        d = model.geometry[layer].d_head
        rows = slice(None) if head is None else slice(head * d, (head + 1) * d)
        row = outlet_of(model, "attn", layer).push(row[rows] @ model.out(layer).rows(*rows.indices(len(row))[:2]))
    elif sae.target.site in ("mlp", "attn_out"):  # read behind the sublayer's own norm and before the multiplier
        row = outlet_of(model, "mlp" if sae.target.site == "mlp" else "attn", layer).scaled(row)
    part = {"z": "attn", "attn_out": "attn", "mlp": "mlp"}.get(sae.target.site, "pre")
    return row * model.carried(layer + (sae.target.site == "post"), model.n_layers, part)


def unembedded(model: Network, normed: Float[Tensor, "d_model"]) -> Float[Tensor, "vocab"]:
    """A vector behind the final norm as logits, float32 on the CPU, without the unembedding's bias and soft cap.

    A piece of the vocabulary at a time: in half precision the whole matrix would be copied to float32 for one vector.
    """
    if not model.unembedding.plain:
        return model.unembedding.apply(normed).cpu() * model.logit_scale
    weight = model.unembed_weight
    pieces = [normed @ weight[:, start : start + PIECE].float() for start in range(0, weight.shape[1], PIECE)]
    return torch.cat(pieces).cpu() * model.logit_scale
