"""The floors of the house: a room imports only from rooms below, and no circle of modules ties the house together."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "attrib_widgets"

#: Bottom to top, imports inside functions included; what only a type checker reads may look up. Rooms of one floor do
#: not import one another. A module lives in the room with the longest name that begins its own (the house's own
#: ``__init__`` hands out every public name).
FLOORS = (
    ("words",),
    ("result",),
    ("model",),
    ("saes",),
    ("analysis.inputs", "analysis.show"),
    ("analysis.reading",),
    ("analysis.opening",),
    ("analysis.opening.dictionaries", "analysis.opening.trace"),
    ("analysis.graph",),
    ("analysis.attribution",),
    ("analysis.heads", "analysis.lens", "analysis.experiments.cells"),
    ("analysis.experiments.measuring",),
    ("analysis.experiments.patching", "analysis.experiments.ablation"),
    ("analysis.experiments.estimates",),
    ("analysis.verdicts", "analysis.verdicts.circuits", "analysis.comparing", "analysis.survey"),
    ("analysis.roles",),
    ("analysis.weights",),
    # Where the embedded model lies and what it can be asked; to everything below it is a folder like any other.
    ("demo",),
    ("plots", "widgets"),
    ("teach",),
    ("__init__",),
    # Users of the house: the command line, and the tools that made the embedded model.
    ("cli", "demo.making"),
)
#: The tracer, and the only room that knows it.
TRACER, TRACING = "nnsight", "model.tracing"


def imports(tree: ast.AST, package: list[str]) -> Iterator[str]:
    """Full names of what runs as an import: the body of a plain ``if TYPE_CHECKING`` does not, its else does."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from imports(ast.Module(node.orelse, []), package)
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{home}.{name.name}" for name in node.names)
        yield from imports(node, package)


@cache
def house() -> dict[str, set[str]]:
    """Every module (without the package's name) and the full names of all that it imports."""
    found = {}
    for path in HOUSE.rglob("*.py"):
        parts = list(path.relative_to(HOUSE.parent).with_suffix("").parts)
        package = parts[:-1]
        name = ".".join((package if parts[-1] == "__init__" else parts)[1:]) or "__init__"
        found[name] = set(imports(ast.parse(path.read_text(encoding="utf-8")), package))
    return found


@cache
def arrows() -> dict[str, set[str]]:
    """Every module and the modules of the house that it imports."""
    modules, found = house(), {}
    for module, names in modules.items():
        inside = {n.partition(".")[2] for n in names if n.partition(".")[0] == HOUSE.name}
        homes = (n if n in modules else n.rpartition(".")[0] for n in inside)
        found[module] = {home or "__init__" for home in homes} - {module}
    return found


def room(module: str) -> tuple[int, str]:
    """(floor, room) of a module."""
    fits = [(len(r), i, r) for i, f in enumerate(FLOORS) for r in f if f"{module}.".startswith(f"{r}.")]
    assert fits, f"{module} stands on no floor: name its room in FLOORS"
    _, floor, name = max(fits)
    return floor, name


@pytest.mark.parametrize("module", sorted(m for m, others in arrows().items() if others))
def test_a_room_imports_only_from_rooms_below(module: str) -> None:
    floor, own = room(module)
    upward = []
    for other in arrows()[module]:
        there, name = room(other)
        if name != own and there >= floor:
            upward.append(other)
    assert not upward, f"{module} (floor {floor}) looks up at {sorted(upward)}"


def test_no_circle_of_modules() -> None:
    sys.setrecursionlimit(10_000)
    state: dict[str, bool] = {}  # True: on the way, False: done

    def walk(module: str, path: list[str]) -> None:
        assert not state.get(module, False), f"a circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module in state:
            return
        state[module] = True
        for other in sorted(arrows()[module]):
            walk(other, [*path, module])
        state[module] = False

    for module in arrows():
        walk(module, [])


@pytest.mark.parametrize("module", sorted(house()))
def test_only_one_room_knows_the_tracer(module: str) -> None:
    knows = any(name.partition(".")[0] == TRACER for name in house()[module])
    assert not knows or module.startswith(TRACING), f"{module} imports {TRACER}"


def test_the_test_can_see() -> None:
    code = "if TYPE_CHECKING:\n    from ..a import b\nfrom .c import d\ndef f():\n    from ... import e\n"
    assert list(imports(ast.parse(code), ["house", "x", "y"])) == ["house.x.y.c.d", "house.e"]
    both = "if TYPE_CHECKING:\n    import a\nelse:\n    import b\nif not TYPE_CHECKING:\n    import c\n"
    assert list(imports(ast.parse(both), [])) == ["b", "c"]
    assert room("words.text") == (0, "words") and room("demo.making.train")[1] == "demo.making"
    assert "words.text" in arrows()["analysis.attribution.attribution"]
    assert "model.model" not in arrows()["model.parts.attention"], "typing looks up, nothing else"
    assert "widgets" in arrows()["__init__"], "imports inside functions count"
