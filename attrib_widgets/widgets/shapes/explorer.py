"""An explanation as the browser reads it: the header and the arrays of the Explorer's state, part by part.

Which parts travel with a state is decided in :mod:`.budget`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ...analysis.attribution.attribute import attribute
from ...analysis.attribution.phrases import chance
from ...analysis.lens.files import stream_names
from ...analysis.lens.logit_lens import logit_lens
from ...analysis.lens.tuned_lens import refuse_no_lens, refuse_without_mid
from ...analysis.opening.choice import choice_at
from ...analysis.opening.mlps import neurons_of
from ...analysis.reading.features import Inside
from ...analysis.reading.resolve import missing_spaces
from ...model.selfcheck.kinds import mixers_said
from ...model.text.known import LARGER
from ...words.components import BESIDES, component
from ...words.errors import AttribError, PositionError, TargetError
from ...words.targets import Target, score
from ..transport import wire
from ..transport.wire import Stored
from . import contract, experiments, python, results, text

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...analysis.heads.all_heads import HeadTable, ThroughTable, WhyTable
    from ...analysis.lens.tuned_lens import TunedLens
    from ...model.model import Model
    from ...model.run import Run
    from ...words.components import Component
    from ..question import Explanation

CANDIDATES = 6
#: Predictions that the lens shows at every layer and position.
LENS_TOP = 5

# Rows that a part below can share with the explorer; constants of the read point are summed apart.
SHARED = ("embed", "pos", "head", "mlp", "attn", *BESIDES, "layer", "attn.bias", "mlp.bias")

Arrays = dict[contract.ExplorerArray, Stored]
Parts = tuple[contract.Explained, Arrays]


def header(e: Explanation) -> contract.Explained:
    """What every explanation says; the optional parts are empty."""
    a, run, model = e.attribution, e.run, e.run.model
    names, leading = a.finding()
    found: contract.Explained = {
        "model": _about(model),
        "prompt": _prompt(a),
        "candidates": [
            {"text": p.text, "id": p.id, "prob": p.probability, "logit": p.logit}
            for p in run.top(CANDIDATES, position=a.position)
        ],
        "target": target(a),
        "corrupted": _corrupted(e),
        "test": experiments.testable(a, None if e.corrupted is None else e.corrupted.run),
        "rows": [_row(model, c) for c in a.components],
        "finding": {"names": names, "text": leading},
        "total": float(a.total),
        "actual": float(a.actual),
        "gap": float(a.mismatch),
        "exact": bool(a.exact),
        "precap": None if a.precap is None else float(a.precap),
        "rounding": {
            "stream": float(a.rounding.get("stream", 0.0)),
            "heads": float(a.rounding.get("heads", 0.0)),
            "readout": float(a.rounding.get("readout", 0.0)),
        },
        # what is said of the model and of the prompt stands beside them
        "notes": [note for note in a.notes if not note.startswith(tuple(_told_apart(run)))],
        "examples": _examples(model),
        "python": {
            "setup": python.lines(a),
            "lens": python.lens(a, lens_mid(a)),
            "verify": "" if e.corrupted is None else python.verify(a, e.corrupted.run),
        },
        "absent": {},
    }
    if e.contrast is not None:
        found["contrast"] = {
            "rival": None if e.contrast.rival is None else _named(model, [e.contrast.rival]),
            "taken": e.contrast.taken,
            "told": e.contrast.told,
            "matched": e.contrast.matched,
        }
    if a.rival is not None:
        found["shared"] = [{"id": str(s.component), "told": str(s)} for s in a.shared()]
    if told := text.word(a):
        found["word"] = told
    if isinstance(a.target, Target) and (better := _better(a.target, a)):
        found["better"] = better
    return found


def _told_apart(run: Run) -> list[str]:
    """Beginnings of the notes that have a place of their own."""
    built = run.model.built
    return [note for note in (run.unseen_note, "" if built is None else built.note) if note]


def _prompt(a: Attribution) -> contract.Prompt:
    run = a.run
    prompt: contract.Prompt = {
        "text": run.text,
        "tokens": run.tokens,
        "special": run.special,
        "position": a.position,
    }
    if run.unseen:
        prompt["unseen"] = _unseen(run)
    return prompt


def _unseen(run: Run) -> contract.Unseen:
    at = sorted({p for word in run.unseen for p in word.positions})
    return {"at": at, "said": run.unseen_note, "code": LARGER(python.quoted(run.text))}


def _better(target: Target, a: Attribution) -> list[contract.Better]:
    """What to take where a token lacks its space; of a set of tokens it is only said."""
    alone = {"target": len(target.tokens) == 1, "against": len(target.against) == 1}
    found = missing_spaces(target, a.run, a.position)
    return [{"field": b.side, "text": b.text, "note": b.note} for b in found if alone[b.side]]


def _about(model: Model) -> contract.About:
    """The model, and how far each of its layers splits where one of them does not in full."""
    check = model.check
    about: contract.About = {
        "name": model.name,
        "layers": model.n_layers,
        "heads": model.n_heads,
        "granularity": model.granularity,
        "reason": check.reason,
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    if model.built is not None:
        about["built"] = {"called": model.built.called, "story": model.built.story}
    if said := mixers_said(model):
        about["mixers"] = said
    if not check.ok:
        # that a mixer has no heads is said by what it is
        reasons = ["" if v.sublayers and model.mixer(i) else v.reason for i, v in enumerate(check.levels)]
        levels = [(v.granularity, why, v.scores.reason) for v, why in zip(check.levels, reasons, strict=True)]
        about["levels"] = [{"granularity": g, "reason": r, "unscored": u} for g, r, u in levels]
        about["words"] = check.words
    return about


def _row(model: Model, c: Component) -> contract.Row:
    """A bar's name; ``mixture``: its MLP splits into experts, not neurons."""
    row: contract.Row = {
        "id": str(c),
        "kind": c.kind,
        "layer": c.layer,
        "head": c.index if c.kind == "head" else None,
    }
    if c.kind == "mlp" and model.has_experts(c.layer or 0):
        row["mixture"] = True
    return row


def why_key(t: HeadTable) -> list[list[int]]:
    """By layer and head, the key that it looks at most from the explained position."""
    found: list[list[int]] = np.asarray(drawn(t.rows)).argmax(-1).tolist()
    return found


def head_arrays(a: Attribution, t: HeadTable) -> Arrays:
    """Of all heads what multiplies their patterns, and what each token brought to the explained position."""
    found: Arrays = {
        "carry": wire.store(drawn(t.carry)),
        "dest": wire.store(drawn(t.dest)),  # 0 where it is not known: the page shows no contribution there
        "norms": wire.store(drawn(t.norms)),
        "post": wire.store(drawn(t.post)),
        "value_bias": wire.store(drawn(t.value_bias)),
    }
    if t.sink is not None:
        found["sink"] = wire.store(drawn(t.sink))
    found["tokens"] = wire.store(drawn(t.rows * t.carry))  # the printed digits: packed patterns would not add up
    if a.model.precision not in (torch.float32, torch.float64):
        found["head_rounding"] = wire.store(drawn(t.rounding))
    return found


Tables = TypeVar("Tables", torch.Tensor, "torch.Tensor | None")


def drawn(values: Tables) -> Tables:
    """A table [layer, head, ...] without its NaNs of heads that are not there or not split: nothing reads there."""
    return None if values is None else values.nan_to_num(0.0)


def target(a: Attribution) -> contract.Target:
    """The target as the browser names it; a number inside the model has no token id."""
    aim, model = a.target, a.model

    shown: contract.Target = {
        "kind": aim.kind,
        "text": aim.short(model),
        "id": None,
        "against": None,
        "unit": a.unit,
        "phrase": aim.words(model, a.run),
    }
    if isinstance(aim, Target):
        against = _named(model, aim.against) if aim.against else None
        shown = {**shown, **_named(model, aim.tokens), "against": against}
        if len(aim.tokens) == 1:
            shown["prob"], shown["rank"] = chance(a.run, a.position, model.single_token(aim.tokens[0]))
    return shown


def _named(model: Model, tokens: Sequence[str | int]) -> contract.Against:
    ids = [model.single_token(t) for t in tokens]
    texts = [model.token(i) for i in ids]
    return {"text": " or ".join(texts), "texts": texts, "id": ids[0]}


def _corrupted(e: Explanation) -> contract.Corrupted | None:
    other = e.corrupted
    if other is None:
        return None
    here, there = e.run, other.run
    aligned = here.n_positions == there.n_positions
    pairs = enumerate(zip(here.ids, there.ids, strict=False))
    found: contract.Corrupted = {
        "text": there.text,
        "tokens": there.tokens,
        "special": there.special,
        "aligned": aligned,
        "differs": [i for i, (a, b) in pairs if a != b] if aligned else [],
        "gap": float(e.attribution.actual - other.actual),
    }
    if there.unseen:
        found["unseen"] = _unseen(there)
    return found


def _examples(model: Model) -> list[contract.Example]:
    """The first suggestion of every ability."""
    firsts: dict[str, contract.Example] = {}
    for s in model.suggestions:
        firsts.setdefault(
            s.ability, {"label": s.ability, "prompt": s.prompt, "target": s.target, "corrupted": s.corrupted}
        )
    return list(firsts.values())


def writes(a: Attribution) -> dict[str, contract.Writes]:
    """Of every part and the embedding the tokens that it raises and lowers most."""
    told = [c for c in a.components if c.is_replaceable or c.kind == "embed"]
    return {str(c): results.writes(a.writes(c, k=results.WRITES)) for c in told}


def mlp_layers(a: Attribution) -> list[int]:
    """Layers whose MLPs are rows."""
    return [c.layer for c in a.components if c.kind == "mlp" and c.layer is not None]


def neurons(a: Attribution, absent: dict[str, str], layers: Sequence[int]) -> dict[str, contract.Neurons]:
    """Of the MLPs of ``layers`` their neurons, or the experts of a mixture; where neither is known, why."""
    dense = [layer for layer in layers if not a.model.has_experts(layer)]
    found: dict[str, contract.Neurons] = {}
    for group in (dense, *([layer] for layer in layers if layer not in dense)):
        try:
            opened = neurons_of(a, group) if group is dense else {group[0]: a.experts(group[0])}
            found |= {f"L{layer}.mlp": results.neurons(c) for layer, c in opened.items()}
        except AttribError as reason:
            absent |= {f"neurons L{layer}.mlp": str(reason) for layer in group}
    return found


def tuned_lens(model: Model) -> TunedLens | None:
    """The tuned lens of the model; None where it has none that can be read."""
    try:
        return model.lens
    except AttribError:  # said beside the logit lens
        return None


def lens_mid(a: Attribution) -> bool:
    """Whether the lens also reads between attention and MLP: the model has such streams, and its tuned lens, where it
    has one, translates them."""
    try:
        refuse_without_mid(a.model)
        tuned = a.model.lens
        if tuned is not None:
            refuse_no_lens(tuned)
    except AttribError:
        return False
    return tuned is None or tuned.reads(stream_names(a.model.n_layers, True))


def lens(a: Attribution, mid: bool | None = None) -> bytes:
    """Kind ``lens``: follows the first token of the target; for a score, the model's own top prediction."""
    followed = a.target.tokens[0] if isinstance(a.target, Target) else None
    mid = lens_mid(a) if mid is None else mid
    return results.lens(logit_lens(a.run, followed, k=LENS_TOP, mid=mid), a.position)


def lens_rows(a: Attribution, mid: bool) -> int:
    """Rows that are read, of both lenses together."""
    lenses = 1 if tuned_lens(a.model) is None else 2
    return lenses * (1 + a.model.n_layers * (2 if mid else 1))


def embedded_lens(a: Attribution, budget: int) -> Stored | None:
    """The lens inside the Explorer's state, without the streams between attention and MLP where they do not fit; None
    where it exceeds ``budget`` bytes."""
    for mid in dict.fromkeys((lens_mid(a), False)):
        cells = lens_rows(a, mid) * a.run.n_positions
        if results.lens_bytes(cells * LENS_TOP, cells) <= budget:
            return wire.inside(lens(a, mid))
    return None


def _spread(a: Attribution, labels: Sequence[str]) -> NDArray[np.intp]:
    """For every label of a part below, its row in the explorer; -1 for the constants of that read point."""
    rows = {str(c): i for i, c in enumerate(a.components) if c.kind in SHARED}
    return np.array([rows.get(label, -1) for label in labels], dtype=np.intp)


def through_bytes(a: Attribution) -> int:
    """Size of :func:`through`."""
    return 4 * a.reading.point.attentions * a.model.n_heads * a.run.n_positions * len(a.components)


def through(a: Attribution, t: ThroughTable) -> Stored:
    """Who wrote what each head carried, [layer, head, source, row]."""
    found = _widened(drawn(t.values), len(a.components))
    for name, column in (("norm.bias", t.norm_bias), ("rounding", t.rounding)):
        if name in a.labels:
            found[..., a.labels.index(name)] = drawn(column).numpy()
    return wire.store(found)


def _widened(values: torch.Tensor, rows: int) -> NDArray[np.float32]:
    """The parts' columns, and zeros for the explorer's other rows, which come after them."""
    found = np.zeros((*values.shape[:-1], rows), dtype=np.float32)
    found[..., : values.shape[-1]] = values.numpy()
    return found


def why_parts(a: Attribution, head: str, query: int, key: int) -> tuple[NDArray[np.float32], list[float], float]:
    """(values [side, row], bias [side], score) of one attention score: query side first, then key side."""
    values = np.zeros((2, len(a.components)), dtype=np.float32)
    bias = [0.0, 0.0]
    actual = 0.0
    for side, name in enumerate(("query", "key")):
        s = attribute(a.run, score(head, query=query, key=key, side=name))
        at = _spread(a, s.labels)
        parts = np.asarray(s.values)
        values[side, at[at >= 0]] = parts[at >= 0]
        bias[side], actual = float(parts[at < 0].sum(dtype=np.float64)), float(s.actual)
    return values, bias, actual


def why_arrays(a: Attribution, t: WhyTable) -> Arrays:
    """What made every head look from the explained position to one key: [layer, head, side, row], and what made it
    prefer that key to its strongest rival."""
    arrays: Arrays = {
        "why": wire.store(_widened(drawn(t.values), len(a.components))),
        "why_bias": wire.store(drawn(t.constant)),
        "why_score": wire.store(drawn(t.score)),
        "why_rival": wire.store(t.rival, "i4"),
        "why_rival_score": wire.store(drawn(t.rival_score)),
        "why_choice": wire.store(_widened(drawn(t.choice), len(a.components))),
        "why_choice_bias": wire.store(drawn(t.choice_constant)),
    }
    return arrays


def choice_parts(
    a: Attribution, head: str, query: int, key: int
) -> tuple[contract.RivalKey | None, NDArray[np.float32]]:
    """(the strongest other key of ``head`` from ``query``, what made it prefer ``key`` to that one [row])."""
    values = np.zeros(len(a.components), dtype=np.float32)
    try:
        found = choice_at(a.run, component(head), query, key)
    except PositionError:  # it sees no other key
        return None, values
    at, parts = _spread(a, found.labels), np.asarray(found.values)
    values[at[at >= 0]] = parts[at >= 0]
    bias = float(parts[at < 0].sum(dtype=np.float64))
    return {"key": found.against, "score": found.scores[1], "bias": bias}, values


def why(a: Attribution, head: str, query: int, key: int) -> bytes:
    """Kind ``why``: what made ``head`` look from ``query`` to ``key``, and rather there than at its strongest rival."""
    if isinstance(a.reading, Inside):
        raise TargetError(
            f"What made {head} look there was written below these rows, which are inside its layer.",
            f'From Python: aw.attribute(ex.run, aw.score("{head}", query={query}, key={key})).',
        )
    n, causal = a.run.n_positions, a.model.check.causal
    if not (0 <= key < n and 0 <= query < n and (key <= query or not causal)):
        raise AttribError(f"No head looks from position {query} to position {key}.", "A key is at or before its query.")
    values, bias, actual = why_parts(a, head, query, key)
    rival, preferred = choice_parts(a, head, query, key)
    header: contract.WhyHeader = {
        "kind": "why",
        "id": head,
        "query": query,
        "key": key,
        "score": actual,
        "rival": rival,
    }
    return wire.pack(header, {"values": wire.store(values), "bias": wire.store(bias), "choice": wire.store(preferred)})
