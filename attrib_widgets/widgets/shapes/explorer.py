"""An explanation as the browser reads it: the header and the arrays of the Explorer's state, part by part.

Which parts travel with a state is decided in :mod:`.budget`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...analysis.attribution.phrases import chance
from ...analysis.lens.files import stream_names
from ...analysis.lens.logit_lens import logit_lens
from ...analysis.lens.tuned_lens import refuse_no_lens, refuse_without_mid
from ...analysis.opening.mlps import neurons_of
from ...analysis.reading.resolve import missing_spaces
from ...model.selfcheck.kinds import mixers_said
from ...model.text.known import LARGER
from ...words.errors import AttribError
from ...words.targets import Target
from ..transport import wire
from ..transport.wire import Stored
from . import contract, experiments, opened, python, results, text

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...analysis.lens.tuned_lens import TunedLens
    from ...model.model import Model
    from ...model.run import Run
    from ...words.components import Component
    from ..questions.question import Explanation

CANDIDATES = 6
#: Predictions that the lens shows at every layer and position.
LENS_TOP = 5


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
    return {str(c): opened.writes(a.writes(c, k=opened.WRITES)) for c in told}


def mlp_layers(a: Attribution) -> list[int]:
    """Layers whose MLPs are rows."""
    return [c.layer for c in a.components if c.kind == "mlp" and c.layer is not None]


def neurons(a: Attribution, absent: dict[str, str], layers: Sequence[int]) -> dict[str, contract.Neurons]:
    """Of the MLPs of ``layers`` their neurons, or the experts of a mixture; where neither is known, why."""
    dense = [layer for layer in layers if not a.model.has_experts(layer)]
    found: dict[str, contract.Neurons] = {}
    for group in (dense, *([layer] for layer in layers if layer not in dense)):
        try:
            split = neurons_of(a, group) if group is dense else {group[0]: a.experts(group[0])}
            found |= {f"L{layer}.mlp": opened.neurons(c) for layer, c in split.items()}
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
