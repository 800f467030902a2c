"""What the embedded model turned out to do, measured: heads by role, backups, mediators, enrichment, sharpening.

`python -m attrib_widgets.demo.phenomena [--folder DIR]` writes `phenomena.json` beside the weights. Nothing is
planted or chosen by hand: every table covers all heads or layers, and the prompts are held out from training
where the ability allows it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import attribute, load, logit_diff
from ..components import Component
from ..model.attend import attend
from ..model.hooks import collect, replaced
from ..model.model import Model
from ..targets import Target
from . import cases, concepts, path
from . import phrasings as say
from .facts import COUNTRIES

Heads = Float[Tensor, "layer head"]
Change = Callable[[Tensor], Tensor]


class Probe(NamedTuple):
    """Prompts of one length, the explained target of each, and each with one token changed."""

    ids: Int[Tensor, "row position"]
    targets: list[Target]
    good: Int[Tensor, "row"]
    bad: Int[Tensor, "row"]
    corrupted: Int[Tensor, "row position"]


def two_names(model: Model, count: int = 40) -> Probe:
    """Held-out pairs of names; the corrupted prompt has the other person give."""
    template = say.TWO_NAME_TEMPLATES[0]
    asked = cases.two_name_cases(77, count, [template])
    swapped = [_swap_last(case.prompt, case.label, case.target) for case in asked]
    return _probe(model, [(c.prompt, c.target, c.label, other) for c, other in zip(asked, swapped, strict=True)])


def capitals(model: Model, count: int = 40) -> Probe:
    """ "The capital of X is", against the capital of another country."""
    pairs = list(zip(COUNTRIES[::3], COUNTRIES[1::3], strict=False))[:count]
    return _probe(
        model,
        [
            (f"The capital of {a.name} is", f" {a.capital}", f" {b.capital}", f"The capital of {b.name} is")
            for a, b in pairs
        ],
    )


def induction(model: Model, count: int = 40) -> Probe:
    """Eight words and again seven of them, against a word that stood there instead."""
    rows: list[tuple[str, str, str, str]] = []
    for words in (text.split() for text in cases.repeat_cases(78, 10 * count)):
        if len(words) >= 18 and len(rows) < count:
            first, other = words[:8], words[8]
            prompt = " ".join(first + first[:7])
            rows.append((prompt, f" {first[7]}", f" {other}", " ".join([*first[:7], other, *first[:7]])))
    return _probe(model, rows)


def _swap_last(prompt: str, giver: str, receiver: str) -> str:
    before, after = prompt.rsplit(giver, 1)
    return before + receiver + after


def _probe(model: Model, rows: Sequence[tuple[str, str, str, str]]) -> Probe:
    good = [model.single_token(row[1]) for row in rows]
    bad = [model.single_token(row[2]) for row in rows]
    return Probe(
        torch.tensor([model.encode(row[0]) for row in rows]),
        [logit_diff(g, b) for g, b in zip(good, bad, strict=True)],
        torch.tensor(good),
        torch.tensor(bad),
        torch.tensor([model.encode(row[3]) for row in rows]),
    )


# ------------------------------------------------------------------------------------------------ measuring


@torch.no_grad()
def margins(model: Model, probe: Probe, ids: Tensor | None = None) -> Float[Tensor, "row"]:
    """Logit of the right token minus that of the other, at the last position."""
    with model.quiet():
        logits: Tensor = model.hf(probe.ids if ids is None else ids, use_cache=False).logits[:, -1].float()
    rows = torch.arange(len(logits))
    return logits[rows, probe.good] - logits[rows, probe.bad]


def direct(model: Model, probe: Probe) -> tuple[Heads, Heads]:
    """Mean contributions of the heads to the margin, on the prompts and on the corrupted ones."""
    tables = []
    for ids in (probe.ids, probe.corrupted):
        rows = [attribute(model.run(row.tolist()), t).heads for row, t in zip(ids, probe.targets, strict=True)]
        tables.append(torch.stack(rows).mean(0))
    return tables[0], tables[1]


def _slice(model: Model, head: int) -> slice:
    d = model.geometry.d_head
    return slice(head * d, (head + 1) * d)


def writing(rows: slice, value: Tensor, positions: slice = slice(None)) -> Change:
    """A change of z that puts ``value`` into one head's numbers, at some positions."""

    def change(z: Tensor) -> Tensor:
        z = z.clone()
        z[:, positions, rows] = value[:, positions] if value.dim() == 3 else value
        return z

    return change


def noised(model: Model, probe: Probe) -> Heads:
    """Damage: the share of the gap that is lost when one head takes its z from the corrupted prompt, everywhere."""
    clean, other = margins(model, probe), margins(model, probe, probe.corrupted)
    gap = float((clean - other).mean())
    out = torch.zeros(model.n_layers, model.n_heads)
    for layer in range(model.n_layers):
        site = Component("attn", layer)
        z = collect(model, probe.corrupted, [site])[site]
        for head in range(model.n_heads):
            rows = _slice(model, head)
            with replaced(model, site, writing(rows, z[..., rows])):
                out[layer, head] = float((clean - margins(model, probe)).mean()) / gap
    return out


def previous_token(model: Model, count: int = 30) -> Heads:
    """Mean attention from a token to the one before it, on contexts of the corpus (from the third token on)."""
    return _attention(model, [concepts.context(i) for i in range(count)], lambda n: [(t, t - 1) for t in range(2, n)])


def induction_attention(model: Model, count: int = 30) -> Heads:
    """Mean attention, in repeated lists of words, from a token to the one that followed it the first time."""
    texts = cases.repeat_cases(79, count)
    # Position 0 begins the sequence: a list of n words stands at 1..n and again at n+1..2n.
    return _attention(
        model, texts, lambda size: [(t, t - (size - 1) // 2 + 1) for t in range((size - 1) // 2 + 2, size)]
    )


def _attention(model: Model, texts: Sequence[str], pairs: Callable[[int], list[tuple[int, int]]]) -> Heads:
    total, count = torch.zeros(model.n_layers, model.n_heads), 0
    for text in texts:
        run = model.run(model.encode(text)[:64])
        where = torch.tensor(pairs(run.n_positions))
        for layer in range(model.n_layers):
            pattern = attend(model, run.record, layer).pattern
            total[layer] += pattern[:, where[:, 0], where[:, 1]].sum(1)
        count += len(where)
    return total / count


def backups(model: Model, probe: Probe) -> list[dict[str, Any]]:
    """The heads that write most to the margin: what they write, what is lost without them, and who makes up for it.

    A head is replaced, at the last position, by its mean over these prompts and their corrupted twins. ``direct``
    is its contribution above that mean; ``lost`` the margin that is lost. Along the frozen direction the
    difference splits into what later parts write instead (``made up``, the most by ``risers``) and ``norm``, what
    the final norm's new scale makes of the rest.
    """
    clean, found = margins(model, probe), []
    sites = [Component(kind, layer) for layer in range(model.n_layers) for kind in ("attn", "mlp")]
    before, twins = collect(model, probe.ids, sites), collect(model, probe.corrupted, sites)
    u = _direction(model, probe)
    written = _written(model, before, u)
    strongest = written[:, :, : model.n_heads].mean(0).flatten().topk(5).indices.tolist()
    for layer, head in [divmod(i, model.n_heads) for i in strongest]:
        rows, site = _slice(model, head), Component("attn", layer)
        mean = torch.cat([before[site][:, -1, rows], twins[site][:, -1, rows]]).mean(0)
        own = (((before[site][:, -1, rows] - mean) @ model.out_weight(layer)[0][rows]) * u).sum(1)
        with replaced(model, site, writing(rows, mean, slice(-1, None))):
            after = collect(model, probe.ids, sites)
            lost = clean - margins(model, probe)
        rise = _written(model, after, u).mean(0) - written.mean(0)
        rise[layer, : model.n_heads] = 0  # the head itself; its neighbours read the same stream as before
        names = [
            f"L{i}H{h}" if h < model.n_heads else f"L{i}.mlp" for i in range(len(rise)) for h in range(rise.shape[1])
        ]
        best = rise.flatten().topk(3).indices.tolist()
        found.append(
            {
                "head": f"L{layer}H{head}",
                "direct": round(float(own.mean()), 3),
                "lost": round(float(lost.mean()), 3),
                "ratio": round(float(lost.mean() / own.mean()), 3),
                "made up": round(float(rise.sum()), 3),
                "norm": round(float(own.mean() - rise.sum() - lost.mean()), 3),
                "risers": {names[i]: round(float(rise.flatten()[i]), 3) for i in best},
            }
        )
    return found


def _direction(model: Model, probe: Probe) -> Float[Tensor, "row d_model"]:
    """The margin's direction of the stream at the last position, norms frozen."""
    runs = [attribute(model.run(row.tolist()), t) for row, t in zip(probe.ids, probe.targets, strict=True)]
    return torch.stack([a.worked(Component("head", 0, 0)).direction for a in runs])


def _written(
    model: Model, found: dict[Component, Tensor], u: Float[Tensor, "row d_model"]
) -> Float[Tensor, "row layer part"]:
    """What the heads of every layer, and then its MLP, wrote along ``u`` at the last position."""
    layers = []
    for layer in range(model.n_layers):
        through = u @ model.out_weight(layer)[0].T
        heads = (found[Component("attn", layer)][:, -1] * through).view(len(u), model.n_heads, -1).sum(-1)
        mlp = (found[Component("mlp", layer)][:, -1] * u).sum(1, keepdim=True)
        layers.append(torch.cat([heads, mlp], 1))
    return torch.stack(layers, 1)


def enrichment(model: Model, probe: Probe) -> dict[str, list[float]]:
    """Margin lost when an MLP writes its mean over all prompts instead, at the subject and at the last position.

    The subject is the one position where the corrupted prompts differ.
    """
    subject = int((probe.ids != probe.corrupted).any(0).nonzero()[0])
    found: dict[str, list[float]] = {"subject": [], "last": []}
    clean = margins(model, probe)
    for layer in range(model.n_layers):
        site = Component("mlp", layer)
        x = collect(model, probe.ids, [site])[site]
        for name, position in (("subject", subject), ("last", x.shape[1] - 1)):
            mean = x[:, position].mean(0)

            def change(out: Tensor, at: int = position, mean: Tensor = mean) -> Tensor:
                out = out.clone()
                out[:, at] = mean
                return out

            with replaced(model, site, change):
                found[name].append(round(float((clean - margins(model, probe)).mean()), 3))
    return found


def sharpening(model: Model, probe: Probe) -> dict[str, list[float]]:
    """The logit lens on the last position, behind the embedding and every layer: nats of the answer, its rank."""
    nats, ranks = [], []
    for row, good in zip(probe.ids, probe.good.tolist(), strict=True):
        run = model.run(row.tolist())
        logits = model.read_out(torch.stack([stream[-1] for stream in run.record.streams]))[1].float()
        nats.append(-logits.log_softmax(-1)[:, good])
        ranks.append((logits > logits[:, good, None]).sum(-1).float())
    return {
        "nats": [round(float(v), 3) for v in torch.stack(nats).mean(0)],
        "median_rank": [float(v) for v in torch.stack(ranks).median(0).values],
    }


def _named(table: Heads, count: int = 4, lowest: bool = False) -> dict[str, float]:
    flat = table.flatten()
    order = (-flat if lowest else flat).topk(count).indices.tolist()
    return {f"L{i // table.shape[1]}H{i % table.shape[1]}": round(float(flat[i]), 3) for i in order}


def measure(model: Model) -> dict[str, Any]:
    """All phenomena as one table."""
    found: dict[str, Any] = {
        "previous-token attention": _named(previous_token(model)),
        "induction attention": _named(induction_attention(model)),
    }
    for name, make in (("two names", two_names), ("capitals", capitals), ("induction", induction)):
        probe = make(model)
        here, there = direct(model, probe)
        gap = float((margins(model, probe) - margins(model, probe, probe.corrupted)).mean())
        share, damage = (here - there) / gap, noised(model, probe)
        mediators = damage.where(share.abs() < 0.05, torch.zeros(()))
        found[name] = {
            "prompts": len(probe.ids),
            "margin": round(float(margins(model, probe).mean()), 3),
            "gap": round(gap, 3),
            "writes most": _named(here),
            "suppresses most": _named(here, lowest=True),
            "damage": _named(damage),
            "mediators": {
                label: {"damage": value, "direct": round(float(share.flatten()[_number(model, label)]), 3)}
                for label, value in _named(mediators, 3).items()
            },
            "backed up": backups(model, probe),
            "lens": sharpening(model, probe),
        }
    found["capitals"]["mlp at"] = enrichment(model, capitals(model))
    return found


def _number(model: Model, label: str) -> int:
    layer, head = label[1:].split("H")
    return int(layer) * model.n_heads + int(head)


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=path(), help="folder of the model (default: the embedded one)")
    folder = parser.parse_args(arguments).folder
    found = measure(load(str(folder), dtype="float32"))
    (folder / "phenomena.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
