"""The contract with the browser: what really travels has the declared shape, and both sides were told the same."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

import attrib_widgets as aw
import typescript
from attrib_widgets.demo import PROMPT, TARGET
from attrib_widgets.result import view_of
from attrib_widgets.widgets import explore
from attrib_widgets.widgets.shapes import contract
from attrib_widgets.widgets.transport import wire
from states import results

DECLARED = {d.name: d for d in typescript.declared()}
NUMBERS = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


def wrong(value: Any, kind: ast.expr, at: str) -> list[str]:
    """Where ``value``, as JSON gives it back, is not what the contract says."""
    if isinstance(kind, ast.BinOp):
        found = [wrong(value, side, at) for side in (kind.left, kind.right)]
        return [] if not all(found) else found[0]
    if isinstance(kind, ast.Constant):
        return [] if value is kind.value else [f"{at}: {value!r} is not {kind.value}"]
    if isinstance(kind, ast.Subscript):
        parts = list(kind.slice.elts) if isinstance(kind.slice, ast.Tuple) else [kind.slice]
        name = ast.unparse(kind.value)
        if name == "Literal":
            return [] if value in [p.value for p in parts] else [f"{at}: {value!r} is no such word"]
        if name == "list" and isinstance(value, list):
            return [w for i, v in enumerate(value) for w in wrong(v, parts[0], f"{at}[{i}]")]
        if name == "tuple" and isinstance(value, list) and len(value) == len(parts):
            return [w for i, (v, p) in enumerate(zip(value, parts, strict=True)) for w in wrong(v, p, f"{at}[{i}]")]
        if name == "dict" and isinstance(value, dict):
            return [w for k, v in value.items() for w in wrong(v, parts[1], f"{at}.{k}")]
        return [f"{at}: {type(value).__name__} is not {ast.unparse(kind)}"]
    assert isinstance(kind, ast.Name)
    if kind.id in NUMBERS:
        right = isinstance(value, NUMBERS[kind.id]) and (kind.id == "bool" or not isinstance(value, bool))
        return [] if right else [f"{at}: {value!r} is not {kind.id}"]
    if kind.id in ("Any", "bytes"):
        return []
    named = DECLARED[kind.id]
    if isinstance(named, typescript.Choice):
        return wrong(value, named.type, at)
    if not isinstance(value, dict):
        return [f"{at}: {type(value).__name__} is not {kind.id}"]
    keys = every_key(named)
    missing = [f"{at}.{name} is missing" for name, key in keys.items() if name not in value and not key.optional]
    unknown = [f"{at}.{name} is not declared" for name in value if name not in keys]
    deep = [w for name, v in value.items() if name in keys for w in wrong(v, keys[name].type, f"{at}.{name}")]
    return missing + unknown + deep


def every_key(shape: typescript.Shape) -> dict[str, typescript.Key]:
    base = DECLARED.get(shape.base)
    above = every_key(base) if isinstance(base, typescript.Shape) else {}
    return above | {key.name: key for key in shape.keys}


def told(bytes_: bytes) -> dict[str, Any]:
    """The header without what the container itself says."""
    header, _ = wire.unpack(bytes_)
    return {name: value for name, value in header.items() if name not in ("v", "arrays")}


def of(table: str, name: str) -> ast.expr:
    return every_key(DECLARED[table])[name].type


def test_the_types_of_the_browser_are_what_the_contract_says():
    assert typescript.TYPES.read_text(encoding="utf-8") == typescript.written()


def test_the_script_compares_and_needs_no_package(tmp_path: Path):
    script = [sys.executable, "-S", "-E", str(Path(typescript.__file__)), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "types.ts: what the contract says")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("list[int | None]", "(number | null)[]"),
        ("dict[int, tuple[str, float]]", "Record<number, [string, number]>"),
        ("Literal['a', 'b'] | bool", '"a" | "b" | boolean'),
    ],
)
def test_types_are_translated(text: str, said: str):
    assert typescript.translated(ast.parse(text, mode="eval").body) == said


@pytest.mark.parametrize("text", ["set[int]", "Literal[1]", "3", "Callable[[], int]"])
def test_what_has_no_counterpart_is_refused(text: str):
    with pytest.raises(ValueError, match="no counterpart"):
        typescript.translated(ast.parse(text, mode="eval").body)


def test_every_declared_name_is_exported_or_only_used_inside():
    inside = {name for name, d in DECLARED.items() if name not in contract.__all__}
    forgotten = {n for n in inside if not n.endswith(("Args", "Answer"))}
    assert not forgotten, f"export {', '.join(sorted(forgotten))} in widgets/shapes/contract/__init__.py"
    assert set(contract.__all__) <= DECLARED.keys()


def test_the_tables_agree_with_each_other():
    views, arguments, answers, containers = (
        list(every_key(DECLARED[name])) for name in ("Views", "Arguments", "Answers", "Containers")
    )
    assert tuple(views) == get_args(contract.Kind)
    assert tuple(arguments) == tuple(answers) == get_args(contract.Op)
    assert set(containers) <= set(answers)


def test_the_traits_are_those_of_the_widgets(explorer):
    survey = view_of(aw.survey(aw.load("demo"), aw.demo.pairs("capitals", 2)))
    graph = view_of(aw.attribute(aw.load("demo").run(PROMPT), TARGET).graph(live=0))
    graph.graph.group("two", ["L2.z/359@5", "L3.z/164@5"])
    declared, ours = every_key(DECLARED["Traits"]), set()
    for view in (explorer, survey, graph):
        for name, trait in view.traits(sync=True).items():
            if name[0] != "_" and trait.this_class.__module__.startswith("attrib_widgets"):
                ours.add(name)
                assert wrong(getattr(view, name), declared[name].type, name) == []
    survey.close()
    graph.close()
    assert ours == declared.keys()


def test_the_views_answer_exactly_what_the_contract_names(explorer):
    survey = view_of(aw.survey(aw.load("demo"), aw.demo.pairs("capitals", 2)))
    graph = view_of(aw.attribute(aw.load("demo").run(PROMPT), TARGET).graph(live=0))
    asked = {"hello", "save", "words", "reveal", *explorer.operations(), *survey.operations(), *survey.at_once()}
    asked |= {*graph.operations()}
    survey.close()
    graph.close()
    assert asked == set(get_args(contract.Op))


def test_every_view_sends_the_header_that_is_declared(demo):
    seen = set()
    for kind, result in results(demo).items():
        view = view_of(result)
        assert view.kind == kind
        assert wrong(told(view.container), of("Views", kind), kind) == []
        seen.add(kind)
        view.close()
    assert seen | {"explorer"} == set(get_args(contract.Kind))


def test_the_explorer_sends_the_header_that_is_declared(explorer):
    for complete in (False, True):
        header = told(explorer._container(explorer._now, complete))
        assert wrong(header, of("Views", "explorer"), "explorer") == []
    assert {"features", "cards", "trace"} <= header.keys()
    explorer.verify(["L3.mlp"])
    assert wrong(explorer.tested, of("Traits", "tested"), "tested") == []
    assert explorer.tested["findings"]
    explorer.chosen = ["L3.mlp", "L3H1"]
    explorer.chosen_result()
    for trait in ("chosen", "without"):
        assert wrong(getattr(explorer, trait), of("Traits", trait), trait) == [] and getattr(explorer, trait)


def test_targets_inside_the_model_and_sets_of_tokens_have_their_shape(demo):
    targets = [aw.neuron("L2N7", position=-1), aw.score("L2H1", query=5, key=3), aw.log_prob(TARGET)]
    for target in [*targets, aw.logit_diff([TARGET, " Rome"], " Berlin")]:
        ex = explore(demo, PROMPT, target)
        assert wrong(told(ex.container), of("Views", "explorer"), "explorer") == []
        ex.close()


ASKED = {
    "hello": {},
    "explain": {"target": " Rome"},
    "head": {"id": "L1H2"},
    "patterns": {},
    "through": {"id": "L1H2", "source": 4},
    "why": {"id": "L2H1", "key": 3, "query": 5},
    "neurons": {"id": "L1.mlp"},
    "features": {"id": "L2.mlp"},
    "feature": {"id": "L2.mlp/{}"},
    "writes": {"id": "embed"},
    "concepts": {},
    "trace": {"mlps": "frozen"},
    "carried": {},
    "search": {"query": "Gabon"},
    "totals": {},
    "lens": {},
    "streams": {},
    "verify": {"components": ["L3.mlp"]},
    "ablate": {"id": "L3.mlp"},
    "replaced": {},
    "effects": {},
    "roles": {},
    "beyond": {"id": "L2H1", "what": "contexts"},
    "without": {"components": ["L3.mlp", "L3H1"]},
    "circuit": {"components": ["L3.mlp", "L3H1"]},
    "beside": {"beside": "compared", "swapped": False},
    "save": {"form": "csv"},
    "words": {},
    "worked": {"id": "L3H1"},
    "reveal": {"parts": []},
}


#: What only the view of a survey answers.
SURVEYED = {
    "surveyed": {"id": "L1H2"},
    "reads": {"id": "L1H2", "prompts": [1, 0]},
    "test": {"ids": ["L1H2"], "groups": ["all"]},
    "open": {"prompt": 1},
    "opened": {"prompt": 1},
}


#: What the view of a graph answers, beside the card of a feature.
GRAPHED = {
    "between": {"id": "L3.z/164@5", "into": ""},
    "looked": {"id": "L3.z/164@5", "into": "", "head": "L3H4"},
}


def test_every_answer_of_a_graph_has_the_shape_that_is_declared(demo, browser):
    view = view_of(aw.attribute(demo.run(PROMPT), TARGET).graph(live=0))
    talk = browser(view)
    for op, args in {**GRAPHED, "feature": {"id": "L3.z/164@5"}}.items():
        talk.say(op, op, **args)
        assert wrong(json.loads(json.dumps(talk.last(op)["data"])), of("Answers", op), op) == []
    page = told(view.page_traits()["container"])
    assert wrong(page, of("Views", "graph"), "page") == [] and page["cards"] and page["between"]
    view.close()


def test_every_answer_of_a_survey_has_the_shape_that_is_declared(demo, browser):
    view = view_of(aw.survey(demo, aw.demo.pairs("capitals", 2)))
    talk = browser(view)
    for op, args in SURVEYED.items():
        talk.say(op, op, **args)
        assert wrong(talk.last(op)["data"], of("Answers", op), op) == []
        for buffer in talk.buffers(op):
            assert wrong(told(buffer), of("Containers", op), op) == []
    assert {op for op in SURVEYED if talk.buffers(op)} == SURVEYED.keys() & every_key(DECLARED["Containers"]).keys()
    view.close()


def test_every_answer_has_the_shape_that_is_declared(explorer, browser):
    assert ASKED.keys() | SURVEYED.keys() | GRAPHED.keys() == set(get_args(contract.Op))
    talk = browser(explorer)
    number = explorer.attribution.features("L2.mlp").numbers[0]
    for op, args in ASKED.items():
        talk.say(op, op, **json.loads(json.dumps(args).replace('{}"}', f'{number}"}}')))
        last = talk.last(op)
        assert last["kind"] == "result", (op, last)
        for message in talk.answers(op):
            assert wrong(json.loads(json.dumps(message)), ast.Name("Message"), op) == []
        assert wrong(json.loads(json.dumps(last["data"])), of("Answers", op), op) == []
        containers = every_key(DECLARED["Containers"])
        assert bool(talk.buffers(op)) == (op in containers), op
        if op in containers:
            assert wrong(told(talk.buffers(op)[0]), containers[op].type, op) == []


def test_a_wrong_shape_is_seen(explorer):
    """The check itself: a missing, a misspelt and a mistyped key, each by its place."""
    header = told(explorer.container)
    row = {**header["rows"][0], "head": "1", "Layer": 0}
    del row["id"]
    found = wrong({**header, "rows": [row]}, of("Views", "explorer"), "e")
    assert found == ["e.rows[0].id is missing", "e.rows[0].Layer is not declared", "e.rows[0].head: '1' is not int"]
