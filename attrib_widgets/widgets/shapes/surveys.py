"""A survey as the browser reads it: a map of every group, and what every part writes to every prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...analysis.heads.attention import attention
from ...analysis.survey.group import LEVEL
from ...analysis.survey.parts import column_of, columns_of
from ...analysis.survey.said import MEASURES, measured
from ...analysis.survey.tested import METHODS, SHORT
from ...analysis.survey.testing import planned
from ..transport import wire
from . import contract

if TYPE_CHECKING:
    from ...analysis.survey.parts import SurveyedPart
    from ...analysis.survey.result import Survey
    from ...model.model import Model
    from ...words.components import ComponentLike

#: Up to so many bytes what every part writes to every prompt travels with the view; else a part is asked for.
LARGEST = 2_000_000
#: Why no prompt can be opened.
CLOSED = "It was read from a file without its model: aw.Survey.load(path, model)."


def survey(s: Survey) -> bytes:
    """Kind ``survey``: everything that was measured, and, where it is small enough, every part on every prompt."""
    table, columns = s.summary(), columns_of(s.parts)
    header: contract.SurveyHeader = {
        "kind": "survey",
        "title": table.title,
        "notes": table.note.splitlines(),
        "checks": s.checks(),
        "unit": s.unit,
        "level": LEVEL,
        "columns": columns,
        "parts": [
            {"id": str(part), "layer": part.layer or 0, "column": columns.index(column_of(part))} for part in s.parts
        ],
        "groups": [
            {"name": name, "prompts": g.numbers, "specific": g.passing(), "why": g.specific_why, **_experiment(s, name)}
            for name, g in s.groups.items()
        ],
        "measures": [{"name": name, "words": words} for name, words in MEASURES.items()],
        "prompts": s.texts,
        "answers": s.answers,
        "closed": CLOSED if s.model is None else "",
    }
    found = torch.stack([torch.stack(list(measured(group).values())) for group in s.groups.values()])
    arrays = {"measures": wire.store(found, missing=True)}
    values = s.values[:, s.tested].T
    if 4 * values.numel() <= LARGEST:
        arrays["values"] = wire.store(values)
    return wire.pack(header, arrays)


def _experiment(s: Survey, group: str) -> contract.Replaceable:
    """How parts are replaced in a group, and what stands in the way."""
    method, able, left_out = planned(s, group)
    return {"how": METHODS[method], "able": len(able), "unable": "; ".join(left_out)}


def tests(s: Survey) -> bytes:
    """Kind ``survey_tests``: what every experiment found; empty where there was none."""
    if not s.tests:
        return b""
    groups = list(s.groups)
    found = torch.full((len(s.tests), len(s)), torch.nan)
    for row, test in enumerate(s.tests.values()):
        found[row, test.numbers] = test.effects.float()
    header: contract.SurveyTestsHeader = {
        "kind": "survey_tests",
        "tests": [
            {"part": t.part, "group": groups.index(t.group), "how": SHORT[t.method], "said": t.said(), "n": len(t)}
            for t in s.tests.values()
        ],
    }
    return wire.pack(header, {"effects": wire.store(found, missing=True)})


def surveyed(part: SurveyedPart) -> bytes:
    """Kind ``surveyed``: one part on every prompt."""
    header: contract.SurveyedHeader = {"kind": "surveyed"}
    return wire.pack(header, {"values": wire.store(part.values)})


def most_read(model: Model, ids: list[int], head: ComponentLike, position: int, prompt: int) -> contract.MostRead:
    """The word of a prompt that a head reads most where the prompt is read."""
    run = model.run(ids)
    row = attention(run, head).patterns[0, run.position(position)]
    at = int(row.argmax())
    plain = [i for i in range(run.n_positions) if i not in run.special]
    before, after = ([run.ids[i] for i in plain if i < at], [run.ids[i] for i in plain if i > at])
    return {
        "prompt": prompt,
        "before": model.joined(before),
        "word": run.tokens[at],
        "after": model.joined(after),
        "share": float(row[at]),
    }
