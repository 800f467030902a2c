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
from ...words.kinds import Kind
from ...words.targets import Target
from .decomposed import Crossed
from .group import Group
from .measures import Null
from .tested import METHODS, PartTest

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
#: Of an experiment: tensors, one number a prompt, and what is none.
_OF_TEST = "bars", "effects", "gaps"
_PLAIN_TEST = "part", "group", "method", "numbers", "left_out"
#: What stands in a header, in words.
_NAMED = {str: "text", int: "number", list: "list"}


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
    tests = []
    for i, found in enumerate(survey.tests.values()):
        tensors |= {f"test.{i}.{name}": getattr(found, name) for name in _OF_TEST}
        tests.append({name: getattr(found, name) for name in _PLAIN_TEST})
    header = {
        "version": VERSION,
        **{name: getattr(survey, name) for name in _PLAIN},
        "targets": [[t.kind, t.tokens, t.against, t.centre] for t in survey.targets],
        "components": survey.labels,
        "kinds": {label: [kind.short, kind.words] for label, kind in survey.part_kinds.items()},
        "groups": groups,
        "corrupted": survey.corrupted,
        "tests": tests,
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
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as reason:
        why = str(reason) if isinstance(reason, ValueError) else f"its header is damaged ({reason})"
        raise _broken(file, f"it has no {reason}" if isinstance(reason, KeyError) else why) from reason
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
    _are(str, *(plain[name] for name in ("name", "dtype", "mark")))
    _are(str, *plain["texts"], *plain["answers"], *plain["notes"])
    _are(list, *(plain[name] for name in ("texts", "answers", "notes")))
    _are(int, plain["position"], plain["permutations"], plain["seed"])
    _are(int, *(i for row in (*plain["ids"], *((*t.tokens, *t.against) for t in targets)) for i in row))
    components = [component(label) for label in header["components"]]
    parts = sum(c.is_replaceable for c in components)
    count = len(plain["texts"])
    groups = {row["name"]: _group(i, row, tensors, parts) for i, row in enumerate(header["groups"])}
    others = header.get("corrupted") or [[]] * count  # what was written before there were tests has none
    _are(list, *others)
    _are(int, *(i for row in others for i in row))
    tests = [_test(i, row, tensors, groups) for i, row in enumerate(header.get("tests") or ())]
    kinds = header.get("kinds") or {}  # what was written before them has none
    _are(list, *kinds.values())
    _are(str, *kinds, *(text for row in kinds.values() for text in row))
    made = cls(
        model=model,
        targets=targets,
        components=components,
        values=_numbers(tensors, "values", count, len(components)),
        actual=_numbers(tensors, "actual", count),
        groups=groups,
        corrupted=others,
        tests={(test.part, test.group): test for test in tests},
        **plain,
    )
    made._part_kinds = {label: Kind(*row) for label, row in kinds.items()}
    numbers = sorted(n for g in groups.values() for n in g.numbers)
    sizes = [len(made.ids), len(made.answers), len(targets), len(others)]
    if any(size != count for size in sizes) or numbers != list(range(count)):
        raise ValueError("the prompts are not as many everywhere")
    if not parts or not groups:
        raise ValueError("it has no groups, or no parts")
    if not all(bool(t.isfinite().all()) for t in (made.values, made.actual)):
        raise ValueError("it has numbers that are none")
    return made


def _are(kind: type, *given: Any) -> None:
    """Plain values of a header are what they should be."""
    for value in given:
        if type(value) is not kind:
            raise ValueError(f"{str(value)[:40]!r} is no {_NAMED[kind]}")


def _numbers(tensors: dict[str, Tensor], name: str, *shape: int, of: torch.dtype | None = None) -> Tensor:
    """A tensor of that shape (-1 is any), of floats or what is named."""
    found = tensors[name]
    fits = found.dim() == len(shape) and all(want in (-1, size) for want, size in zip(shape, found.shape, strict=True))
    if not fits or (found.dtype != of if of else not found.is_floating_point()):
        raise ValueError(f"{name} is {str(found.dtype).removeprefix('torch.')} {list(found.shape)}")
    return found


def _test(i: int, row: dict[str, Any], tensors: dict[str, Tensor], groups: dict[str, Group]) -> PartTest:
    """One experiment of a file."""
    _are(str, row["part"], row["group"], row["method"], *row["left_out"])
    _are(int, *row["numbers"], *(n for numbers in row["left_out"].values() for n in numbers))
    if not {*row["numbers"], *(n for numbers in row["left_out"].values() for n in numbers)} <= {
        *groups[row["group"]].numbers
    }:
        raise ValueError("an experiment has prompts of another group")
    count = len(row["numbers"])
    found: dict[str, Any] = {name: _numbers(tensors, f"test.{i}.{name}", count) for name in _OF_TEST}
    if row["method"] not in METHODS or not all(bool(found[name].isfinite().all()) for name in ("bars", "effects")):
        raise ValueError("an experiment has numbers that are none")
    return PartTest(**{name: row[name] for name in _PLAIN_TEST}, **found)


def _group(i: int, row: dict[str, Any], tensors: dict[str, Tensor], parts: int) -> Group:
    """One group of a file."""
    _are(str, row["name"], row["specific_why"], row["between_why"], *row["beside"])
    _are(int, *row["numbers"])
    count = len(row["numbers"])
    if count < 2:
        raise ValueError("a group has fewer than two prompts")
    of_null = {"statistic": (parts,), "p": (parts,), "best": (-1,)}
    nulls = {
        test: Null(
            **{name: _numbers(tensors, f"{i}.{test}.{name}", *shape) for name, shape in of_null.items()},
            orders=float(row["orders"][test]),
        )
        for test in row["orders"]
        if test in _TESTS
    }
    shapes = {name: (2, parts) if name == "rank_range" else (parts,) for name in _OF_GROUP}
    measured = {name: _numbers(tensors, f"{i}.{name}", *shape) for name, shape in shapes.items()}
    crossed = Crossed(
        _numbers(tensors, f"{i}.crossed.values", count, parts, -1),
        *(_numbers(tensors, f"{i}.crossed.{name}", count, of=torch.long) for name in ("own", "block")),
    )
    if not all(bool(measured[name].isfinite().all()) for name in ("mean", "spread", "same_sign")):
        raise ValueError("a group has numbers that are none")
    return Group(
        name=row["name"],
        numbers=row["numbers"],
        crossed=crossed,
        stability=torch.nan if row["stability"] is None else float(row["stability"]),
        specific_why=row["specific_why"],
        between_why=row["between_why"],
        beside=tuple(row["beside"]),
        specific=nulls.get("specific"),
        between=nulls.get("between"),
        **measured,
    )
