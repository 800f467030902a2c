"""What the embedded model turned out to do, measured: heads by role, mediators, what is lost without a head,
enrichment, sharpening, redundancy and suppression.

`python -m attrib_widgets.demo.making.phenomena [--folder DIR]` writes `phenomena.json` beside the weights. Nothing is
planted or chosen by hand: every table is drawn from all heads or layers, and the prompts are held out from training
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

from ... import load, logit_lens
from ...analysis.verdicts.rules import Thresholds
from ...model.model import Model
from ...model.parts.attention import attend
from ...model.tracing.hooks import collect, replaced
from ...words.components import Component
from .. import path, weights_sha256
from . import cases, concepts
from .pairs import TASKS
from .verdicts import verdicts

Heads = Float[Tensor, "layer head"]
Change = Callable[[Tensor], Tensor]
Activations = dict[Component, Tensor]

#: The tasks over whose pairs `aw.verify` is asked.
VERIFIED = ("agreement", "attraction")
#: A mediator's direct share is at most this part of its damage: it works through others, not beside them.
LARGEST_DIRECT = 1 / 5


class Probe(NamedTuple):
    """Prompts of one length, the right token of each and the other one, and each prompt with one token changed."""

    ids: Int[Tensor, "row position"]
    good: Int[Tensor, "row"]
    bad: Int[Tensor, "row"]
    corrupted: Int[Tensor, "row position"]


def probe(model: Model, task: str, count: int = 40) -> Probe:
    """The first pairs of a task (see :mod:`.pairs`)."""
    rows = TASKS[task][0](count)
    return Probe(
        torch.tensor([model.encode(row.clean) for row in rows]),
        torch.tensor([model.single_token(row.target) for row in rows]),
        torch.tensor([model.single_token(row.against) for row in rows]),
        torch.tensor([model.encode(row.corrupted) for row in rows]),
    )


# ------------------------------------------------------------------------------------------------ measuring


@torch.no_grad()
def margins(model: Model, probe: Probe, ids: Tensor | None = None) -> Float[Tensor, "row"]:
    """Logit of the right token minus that of the other, at the last position."""
    with model.quiet():
        logits: Tensor = model.hf(probe.ids if ids is None else ids, use_cache=False).logits[:, -1].float()
    rows = torch.arange(len(logits))
    return logits[rows, probe.good] - logits[rows, probe.bad]


def _collected(model: Model, ids: Tensor) -> Activations:
    """What every part writes, and the stream that the final norm reads."""
    parts = [Component(kind, layer) for layer in range(model.n_layers) for kind in ("attn", "mlp")]
    return collect(model, ids, [*parts, _last_stream(model)])


def _last_stream(model: Model) -> Component:
    return Component("layer", model.n_layers - 1)


def _direction(model: Model, probe: Probe, found: Activations) -> Float[Tensor, "row d_model"]:
    """The margin as a direction of the last position's stream, with the final norm frozen as it was in this pass.

    A stream times its own direction is its margin, but for a constant (the norm's bias): the norm's gain, its scale
    and its centring are in the direction.
    """
    norm, weight = model.norm(model.anatomy.final_norm), model.unembed_weight.float()
    scale = norm.scale(found[_last_stream(model)][:, -1])
    return scale[:, None] * norm.pull((weight[:, probe.good] - weight[:, probe.bad]).T)


def _written(model: Model, found: Activations, u: Float[Tensor, "row d_model"]) -> Float[Tensor, "row layer part"]:
    """What the heads of every layer, and then its MLP, wrote along ``u`` at the last position."""
    layers = []
    for layer in range(model.n_layers):
        through = model.out(layer).pull(u)
        heads = (found[Component("attn", layer)][:, -1] * through).view(len(u), model.n_heads, -1).sum(-1)
        mlp = (found[Component("mlp", layer)][:, -1] * u).sum(1, keepdim=True)
        layers.append(torch.cat([heads, mlp], 1))
    return torch.stack(layers, 1)


def direct(model: Model, probe: Probe) -> tuple[Heads, Heads]:
    """Mean contributions of the heads to the margin, on the prompts and on the corrupted ones."""
    here, there = (_collected(model, ids) for ids in (probe.ids, probe.corrupted))
    tables = [_written(model, found, _direction(model, probe, found)).mean(0) for found in (here, there)]
    return tables[0][:, : model.n_heads], tables[1][:, : model.n_heads]


def _slice(model: Model, head: int) -> slice:
    d = model.geometry[0].d_head  # the embedded model's layers are alike
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
    return attention_between(
        model, [concepts.context(i) for i in range(count)], lambda n: [(t, t - 1) for t in range(2, n)]
    )


def induction_attention(model: Model, count: int = 30) -> Heads:
    """Mean attention, in repeated lists of words, from a token to the one that followed it the first time."""
    texts = cases.repeat_cases(79, count)
    # Position 0 begins the sequence: a list of n words stands at 1..n and again at n+1..2n.
    return attention_between(
        model, texts, lambda size: [(t, t - (size - 1) // 2 + 1) for t in range((size - 1) // 2 + 2, size)]
    )


def attention_between(model: Model, texts: Sequence[str], pairs: Callable[[int], list[tuple[int, int]]]) -> Heads:
    total, count = torch.zeros(model.n_layers, model.n_heads), 0
    for text in texts:
        run = model.run(model.encode(text)[:64])
        where = torch.tensor(pairs(run.n_positions))
        for layer in range(model.n_layers):
            pattern = attend(model, run.record, layer).pattern
            total[layer] += pattern[:, where[:, 0], where[:, 1]].sum(1)
        count += len(where)
    return total / count


def mediators(share: Heads, damage: Heads) -> dict[str, dict[str, float]]:
    """Heads with a damage that is read (tau), and a direct share that is not, and small beside the damage as well: that
    alone would let a head pass that writes just below the threshold and damages just above it.
    """
    found = {}
    for label, n in named(damage, damage.numel()).items():
        layer, head = label[1:].split("H")
        d = float(share[int(layer), int(head)])
        if abs(d) < Thresholds.tau <= n and abs(d) <= LARGEST_DIRECT * n:
            found[label] = {"damage": n, "direct": d}
    return found


def without(model: Model, probe: Probe, count: int = 5) -> list[dict[str, Any]]:
    """What the heads that write most to the margin write, what is lost without them, and what makes up for it.

    A head is replaced, at the last position, by its mean over these prompts and their corrupted twins. With x and u
    the stream and its direction (`_direction`) before the change, x' and u' after it, all in logits:

    * ``lost`` is the margin before minus the margin after, as the model prints them;
    * ``direct`` is what the head wrote along u above its mean;
    * ``made up`` is what all other parts write along u after the change, minus what they wrote before: negative
      where they write less. ``risers`` are the three that rise most;
    * ``norm`` is (u' - u) . x': what the final norm's new scale adds to what is left.

    ``lost`` is ``direct - made up - norm``, because the margins are u . x and u' . x' plus one constant.
    """
    clean, result = margins(model, probe), []
    before, twins = _collected(model, probe.ids), _collected(model, probe.corrupted)
    u = _direction(model, probe, before)
    written = _written(model, before, u)
    strongest = written[:, :, : model.n_heads].mean(0).flatten().topk(count).indices.tolist()
    parts = [*(f"H{head}" for head in range(model.n_heads)), ".mlp"]
    for layer, head in [divmod(i, model.n_heads) for i in strongest]:
        rows, site = _slice(model, head), Component("attn", layer)
        mean = torch.cat([before[site][:, -1, rows], twins[site][:, -1, rows]]).mean(0)
        with replaced(model, site, writing(rows, mean, slice(-1, None))):
            after = _collected(model, probe.ids)
            lost = float((clean - margins(model, probe)).mean())
        norm = ((_direction(model, probe, after) - u) * after[_last_stream(model)][:, -1]).sum(1)
        rise = (_written(model, after, u) - written).mean(0)
        own = -float(rise[layer, head])
        rise[layer, head] = 0  # what is left is what others make up
        best = [divmod(i, len(parts)) for i in rise.flatten().topk(3).indices.tolist()]
        result.append(
            {
                "head": f"L{layer}H{head}",
                "direct": own,
                "lost": lost,
                "ratio": lost / own,
                "made up": float(rise.sum()),
                "norm": float(norm.mean()),
                "risers": {f"L{i}{parts[j]}": float(rise[i, j]) for i, j in best},
            }
        )
    return result


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
                found[name].append(float((clean - margins(model, probe)).mean()))
    return found


def sharpening(model: Model, probe: Probe) -> dict[str, list[float]]:
    """The logit lens on the last position, behind the embedding and every layer: nats of the answer, its rank.

    Nats are a mean over the prompts, ranks (1 is the top) a median.
    """
    lenses = [
        logit_lens(model.run(row.tolist()), good, positions=-1)
        for row, good in zip(probe.ids, probe.good.tolist(), strict=True)
    ]
    return {
        "nats": (-torch.stack([lens.log_prob for lens in lenses]).mean(0)[:, 0]).tolist(),
        "median_rank": torch.stack([lens.rank for lens in lenses]).median(0).values[:, 0].tolist(),
    }


def named(table: Heads, count: int = 4, lowest: bool = False) -> dict[str, float]:
    flat = table.flatten()
    order = (-flat if lowest else flat).topk(count).indices.tolist()
    return {f"L{i // table.shape[1]}H{i % table.shape[1]}": float(flat[i]) for i in order}


def task(model: Model, probe: Probe) -> dict[str, Any]:
    """The table of one task. Damage and the direct shares of mediators are shares of the gap, the rest is logits."""
    here, there = direct(model, probe)
    margin = float(margins(model, probe).mean())
    gap = margin - float(margins(model, probe, probe.corrupted).mean())
    damage = noised(model, probe)
    return {
        "prompts": len(probe.ids),
        "margin": margin,
        "gap": gap,
        "writes most": named(here),
        "suppresses most": named(here, lowest=True),
        "damage": named(damage),
        "mediators": mediators((here - there) / gap, damage),
        "without the head": without(model, probe),
        "lens": sharpening(model, probe),
    }


def measure(model: Model) -> dict[str, Any]:
    """All phenomena as one table."""
    asked = probe(model, "capitals")
    return {
        "previous-token attention": named(previous_token(model)),
        "induction attention": named(induction_attention(model)),
        "two names": task(model, probe(model, "two names")),
        "capitals": task(model, asked) | {"mlp at": enrichment(model, asked)},
        **{name: task(model, probe(model, name)) for name in ("induction", "agreement", "attraction")},
        "verdicts": {name: verdicts(model, name, 40) for name in VERIFIED},
    }


def rounded(found: Any) -> Any:
    """The same table with three decimals."""
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [rounded(value) for value in found]
    return round(found, 3) if isinstance(found, float) else found


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=path(), help="folder of the model (default: the embedded one)")
    folder = parser.parse_args(arguments).folder
    found = {"weights_sha256": weights_sha256(folder), **rounded(measure(load(str(folder), dtype="float32")))}
    text = json.dumps(found, indent=1)
    (folder / "phenomena.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
