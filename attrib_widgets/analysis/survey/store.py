"""A survey as one file: tensors and a JSON header in safetensors, which holds numbers and text, nothing that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...model.identity.stamp import fingerprint
from ...words.components import component
from ...words.errors import AttribError, ModelError
from ...words.targets import Target
from .decomposed import Crossed
from .group import Group
from .measures import Null

if TYPE_CHECKING:
    from ...model.model import Model
    from .result import Survey

HEADER, VERSION = "attrib_widgets.survey", 1
#: Tensors of a group, and of its two nulls, by the name of the field.
_OF_GROUP = "mean", "spread", "same_sign", "same_sign_permuted", "rank_range", "selectivity"
_CROSSED = "values", "own", "block"
_OF_NULL = "statistic", "p", "best"
_PLAIN = "name", "dtype", "mark", "texts", "ids", "answers", "position", "permutations", "seed", "notes"
_TESTS = "specific", "between"


def save(survey: Survey, path: Path | str) -> Path:
    """Write a survey; what is there is replaced once all of it is written."""
    from safetensors.torch import save as packed

    file = Path(path)
    tensors = {"values": survey.values, "actual": survey.actual}
    groups = []
    for i, group in enumerate(survey.groups.values()):
        tensors |= {f"{i}.{name}": getattr(group, name) for name in _OF_GROUP}
        tensors |= {f"{i}.crossed.{name}": getattr(group.crossed, name) for name in _CROSSED}
        orders = {}
        for test in _TESTS:
            null: Null | None = getattr(group, test)
            if null is not None:
                tensors |= {f"{i}.{test}.{name}": getattr(null, name) for name in _OF_NULL}
                orders[test] = null.orders
        plain = {name: getattr(group, name) for name in ("name", "numbers", "specific_why", "between_why", "beside")}
        stable = group.stability if group.stability == group.stability else None
        groups.append({**plain, "stability": stable, "orders": orders})
    header = {
        "version": VERSION,
        **{name: getattr(survey, name) for name in _PLAIN},
        "targets": [[t.kind, t.tokens, t.against, t.centre] for t in survey.targets],
        "components": survey.labels,
        "groups": groups,
    }
    data = packed(
        {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()},
        metadata={HEADER: json.dumps(header, ensure_ascii=False)},
    )
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_bytes(data)
        part.replace(file)
    except OSError as reason:
        raise AttribError(f"{file} cannot be written: {reason.strerror or reason}.", "Give another path.") from reason
    return file


def read(cls: type[Survey], path: Path | str, model: Model | None) -> Survey:
    """Read what :func:`save` wrote.

    Raises:
        AttribError: it cannot be read, or is no survey.
        ModelError: ``model`` is another one than ran.
    """
    file = Path(path)
    header, tensors = _content(file)
    try:
        made = _survey(cls, header, tensors, model)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as reason:
        raise _broken(file, f"{type(reason).__name__} {reason}") from reason
    if model is not None and fingerprint(model.hf) != made.mark:
        raise ModelError(
            f"{file} was made with {made.name}, and {model.name} has other weights, or others in part.",
            "Load that model as it was, in the same dtype; or read the numbers alone: aw.Survey.load(path).",
        )
    return made


def _content(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(header, tensors) of a file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as content:
            text = (content.metadata() or {}).get(HEADER)
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except FileNotFoundError as reason:
        raise AttribError(f"{file} is not there.", "Check the path: survey.save(path) returns it.") from reason
    except (SafetensorError, OSError) as reason:
        raise _broken(file, str(reason)) from reason
    if text is None:
        raise _broken(file, "it has no header of one")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as reason:
        raise _broken(file, str(reason)) from reason
    if not isinstance(header, dict) or header.get("version") != VERSION:
        found = header.get("version") if isinstance(header, dict) else None
        raise AttribError(
            f"{file} is a survey of version {found!r}, and this reads version {VERSION}.",
            "Make it anew: aw.survey(...).",
        )
    return header, tensors


def _broken(file: Path, why: str) -> AttribError:
    return AttribError(f"{file} is no survey: {why.rstrip('.')}.", "Give a file that survey.save(path) wrote.")


def _survey(cls: type[Survey], header: dict[str, Any], tensors: dict[str, Tensor], model: Model | None) -> Survey:
    """The survey of a header and its tensors, which must fit together."""
    targets = [Target(kind, tuple(a), tuple(b), centre) for kind, a, b, centre in header["targets"]]
    plain = {name: header[name] for name in _PLAIN}
    components = [component(label) for label in header["components"]]
    parts = sum(c.is_replaceable for c in components)
    groups = {row["name"]: _group(i, row, tensors, parts) for i, row in enumerate(header["groups"])}
    made = cls(
        model=model,
        targets=targets,
        components=components,
        values=tensors["values"],
        actual=tensors["actual"],
        groups=groups,
        **plain,
    )
    count = len(made.texts)
    numbers = sorted(n for g in groups.values() for n in g.numbers)
    sizes = [len(made.ids), len(made.answers), len(targets), len(made.actual)]
    if any(size != count for size in sizes) or numbers != list(range(count)):
        raise ValueError("the prompts are not as many everywhere")
    if tuple(made.values.shape) != (count, len(components)):
        raise ValueError("the numbers do not fit the prompts and components")
    return made


def _group(i: int, row: dict[str, Any], tensors: dict[str, Tensor], parts: int) -> Group:
    """One group of a file."""
    nulls = {
        test: Null(**{name: tensors[f"{i}.{test}.{name}"] for name in _OF_NULL}, orders=float(row["orders"][test]))
        for test in row["orders"]
        if test in _TESTS
    }
    measured = {name: tensors[f"{i}.{name}"] for name in _OF_GROUP}
    crossed = Crossed(*(tensors[f"{i}.crossed.{name}"] for name in _CROSSED))
    numbers = [int(n) for n in row["numbers"]]
    if any(t.shape[-1] != parts for t in (*measured.values(), *(n.statistic for n in nulls.values()))):
        raise ValueError("a group has other parts than the rows")
    if tuple(crossed.values.shape[:2]) != (len(numbers), parts) or len(crossed.own) != len(numbers):
        raise ValueError("a group has other prompts than its numbers")
    return Group(
        name=str(row["name"]),
        numbers=numbers,
        crossed=crossed,
        stability=torch.nan if row["stability"] is None else float(row["stability"]),
        specific_why=str(row["specific_why"]),
        between_why=str(row["between_why"]),
        beside=tuple(row["beside"]),
        specific=nulls.get("specific"),
        between=nulls.get("between"),
        **measured,
    )
