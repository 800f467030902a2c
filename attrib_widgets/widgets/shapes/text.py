"""A text as the browser reads it: a phrase word by word, what follows a prompt, and a word where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...analysis.attribution.phrases import in_place, odds
from ...words.errors import AttribError
from ...words.targets import Target
from ..transport import wire
from . import contract, python, results

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...analysis.attribution.phrases import PhraseAttribution
    from ..questions.passage import Passage
    from .explorer import Parts

#: Most tokens of a prompt whose odds travel with what follows it.
GIVEN = 300


def phrase(p: PhraseAttribution, given: bool = False) -> bytes:
    """Kind ``phrase``: the tokens of a continuation with their odds, and what contributed to each; in an Explorer the
    prompt that was ``given``, too.

    Raises:
        AttribError: more than a notebook should carry.
    """
    tables = {"values": p.values, "sums": p.sums}
    size = sum(t.numel() * 4 for t in tables.values())
    if size > results.LARGEST:
        raise AttribError(
            f"{len(p)} tokens with {len(p.labels)} parts each take {size / 1e6:.0f} MB, too much to draw.",
            "Explain fewer tokens, or read .to_dataframe().",
        )
    o = p.odds
    told = zip(p.tokens, o.log_probs.exp().tolist(), o.entropies.tolist(), o.ranks, o.likeliest, p.parts, strict=True)
    table = p.summary()
    header: contract.PhraseHeader = {
        "kind": "phrase",
        "title": table.title,
        "note": table.note.splitlines()[0],
        "unit": p.unit,
        "start": p.start,
        "labels": p.labels,
        "tokens": [
            {
                "text": text,
                "prob": prob,
                "entropy": entropy,
                "rank": rank,
                "likeliest": best,
                "actual": a.actual,
                "gap": a.mismatch,
            }
            for text, prob, entropy, rank, best, a in told
        ],
        "actual": p.actual,
        "gap": p.mismatch,
    }
    if given:
        header["given"] = _given(p)
    return wire.pack(header, {name: wire.store(t) for name, t in tables.items()})


def _given(p: PhraseAttribution) -> list[contract.GivenToken]:
    run, known = p.run, range(1, min(p.start, GIVEN + 1))
    o = odds(run, known.start, known.stop)
    probs, found = o.log_probs.exp().tolist(), list[contract.GivenToken]()
    for i in range(p.start):
        at = i - known.start if i in known else None
        found.append(
            {
                "text": run.tokens[i],
                "special": i in run.special,
                "prob": None if at is None else probs[at],
                "entropy": None if at is None else float(o.entropies[at]),
                "rank": None if at is None else o.ranks[at],
            }
        )
    return found


def with_passage(explained: Parts, a: Attribution, passage: Passage | None) -> Parts:
    """An explanation with the words among which it stands."""
    header, arrays = explained
    if passage is None:
        return explained
    code = python.passage(passage)
    told: contract.Passage = {
        "prompt": passage.prompt,
        "compared": passage.compared_text,
        "start": passage.phrase.start,
        "n": passage.n,
        "seed": passage.seed,
        "code": code,
    }
    setup = f"{code}\n{python.of_passage(passage, a)}"
    header = {**header, "python": {**header["python"], "setup": setup}, "passage": told}
    return header, {**arrays, "phrase": wire.inside(passage.packed)}


def word(a: Attribution) -> contract.Word | None:
    """The word that is explained where it stands in the text; None where another token is."""
    run, at = a.run, a.position + 1
    target = a.target
    if not isinstance(target, Target) or at >= run.n_positions or not run.model.check.causal:
        return None
    if [run.model.single_token(t) for t in target.tokens] != [run.ids[at]]:
        return None
    return {"at": at, "told": in_place(run, at)}
