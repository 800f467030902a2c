#!/usr/bin/env python3
"""Writes js/src/core/types.ts from attrib_widgets/widgets/shapes/contract: ``python3 tests/typescript.py``.

With ``--check`` it only says whether the committed file is what it would write. The contract is read as text, so this
needs no package and imports none. It knows what the contract uses, and refuses the rest by name.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = ROOT / "attrib_widgets" / "widgets" / "shapes" / "contract"
TYPES = ROOT / "js" / "src" / "core" / "types.ts"
#: In the order of the file that is written.
FILES = ("explorer", "opened", "results", "surveys", "graphs", "experiments", "views", "words", "requests")
HEAD = """\
/**
 * What travels between Python and the browser. Written by tests/typescript.py from the typed dictionaries in
 * attrib_widgets/widgets/shapes/contract: change them, and write this again. Arrays are described in wire.ts.
 */
"""
SIMPLE = {"str": "string", "int": "number", "float": "number", "bool": "boolean", "None": "null"}
# Bytes arrive as whatever the host has for them.
SIMPLE |= {"bytes": "unknown", "Any": "unknown"}
WIDTH = 120


@dataclass(frozen=True)
class Key:
    """One key of a typed dictionary."""

    name: str
    type: ast.expr
    optional: bool
    doc: str


@dataclass(frozen=True)
class Shape:
    """A typed dictionary."""

    name: str
    base: str
    doc: str
    keys: tuple[Key, ...]


@dataclass(frozen=True)
class Choice:
    """A name for one of several words."""

    name: str
    type: ast.expr
    doc: str


def declared() -> Iterator[Shape | Choice]:
    """Everything that the contract declares, in order.

    Raises:
        ValueError: a statement that is no shape and no choice.
    """
    for name in FILES:
        text = (CONTRACT / f"{name}.py").read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.parse(text).body[1:]:  # without the docstring
            if isinstance(node, ast.ClassDef):
                yield _shape(node, lines)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                yield Choice(node.targets[0].id, node.value, _comment(node, lines))
            elif not isinstance(node, (ast.Import, ast.ImportFrom, ast.If)):
                raise ValueError(f"{name}.py, line {node.lineno}: no shape and no choice of words.")


def _shape(node: ast.ClassDef, lines: list[str]) -> Shape:
    (base,) = (b.id for b in node.bases if isinstance(b, ast.Name))
    keys = []
    for line in node.body[1:]:
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
            raise ValueError(f"{node.name}, line {line.lineno}: only keys with their types belong in a shape.")
        kind, optional = line.annotation, False
        if isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "NotRequired":
            kind, optional = kind.slice, True
        keys.append(Key(line.target.id, kind, optional, _comment(line, lines)))
    return Shape(node.name, "" if base == "TypedDict" else base, ast.get_docstring(node) or "", tuple(keys))


def _comment(node: ast.stmt, lines: list[str]) -> str:
    """The lines above that begin with ``#:``."""
    found: list[str] = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.strip().startswith("#:"):
            break
        found.insert(0, line.strip()[2:].strip())
    return " ".join(found)


def translated(kind: ast.expr) -> str:
    """A type of Python's as one of TypeScript's.

    Raises:
        ValueError: a type that the contract does not know.
    """
    if isinstance(kind, ast.Constant) and kind.value is None:
        return "null"
    if isinstance(kind, ast.Name):
        return SIMPLE.get(kind.id, kind.id)
    if isinstance(kind, ast.BinOp) and isinstance(kind.op, ast.BitOr):
        return f"{translated(kind.left)} | {translated(kind.right)}"
    if isinstance(kind, ast.Subscript) and isinstance(kind.value, ast.Name):
        parts = list(kind.slice.elts) if isinstance(kind.slice, ast.Tuple) else [kind.slice]
        if kind.value.id == "Literal":
            words = [f'"{p.value}"' for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)]
            if len(words) == len(parts):
                return " | ".join(words)
        inner = [translated(p) for p in parts]
        if kind.value.id == "list":
            return f"({inner[0]})[]" if " | " in inner[0] else f"{inner[0]}[]"
        if kind.value.id == "tuple":
            return f"[{', '.join(inner)}]"
        if kind.value.id == "dict":
            return f"Record<{', '.join(inner)}>"
    raise ValueError(f"{ast.unparse(kind)} has no counterpart in TypeScript.")


def written() -> str:
    """The text of types.ts."""
    return "\n".join([HEAD, *(_interface(d) if isinstance(d, Shape) else _alias(d) for d in declared())])


def _interface(shape: Shape) -> str:
    if not shape.keys:  # an empty interface would take anything
        return "\n".join([*_doc(shape.doc), f"export type {shape.name} = Record<string, never>;", ""])
    lines = [*_doc(shape.doc), f"export interface {shape.name}{f' extends {shape.base}' if shape.base else ''} {{"]
    for key in shape.keys:
        lines += _doc(key.doc, "  ")
        lines.append(f"  {key.name}{'?' if key.optional else ''}: {translated(key.type)};")
    return "\n".join([*lines, "}", ""])


def _alias(choice: Choice) -> str:
    line = f"export type {choice.name} = {translated(choice.type)};"
    if len(line) > WIDTH:
        words = translated(choice.type).split(" | ")
        line = "\n".join([f"export type {choice.name} =", *(f"  | {word}" for word in words)]) + ";"
    return "\n".join([*_doc(choice.doc), line, ""])


def _doc(text: str, indent: str = "") -> list[str]:
    return [f"{indent}/** {' '.join(text.split())} */"] if text else []


def main() -> int:
    """Write the file, or with ``--check`` compare it."""
    ask = argparse.ArgumentParser(description="Writes js/src/core/types.ts from the typed dictionaries in Python.")
    ask.add_argument("--check", action="store_true", help="only compare")
    check = ask.parse_args().check
    text = written()
    if not check:
        TYPES.write_text(text, encoding="utf-8", newline="\n")
        return 0
    if TYPES.read_text(encoding="utf-8") == text:
        print(f"{TYPES.name}: what the contract says")
        return 0
    print(f"{TYPES.name} is not what the contract says: python3 tests/typescript.py, and commit it")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
