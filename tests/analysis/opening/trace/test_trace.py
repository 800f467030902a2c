"""Walking back to the tokens: the tree sums at every node, and with nothing pruned it is every path there is."""

from __future__ import annotations

import math

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.opening.trace import step
from fixtures import families

ALL = families.FAMILIES + families.VARIANTS + families.CARRIED + families.JOINED + families.STREAMS
TWINS = families.TWINS + families.VARIANTS
SHORT = "of France is"
EVERYTHING = 1_000_000  # rows a level


def check(t, dtype="float32"):
    """Every opened node is the sum of its children, and the leaves are the model's own number."""
    eps = torch.finfo(families.DTYPES[dtype]).eps
    size = 1 + math.fsum(max(abs(n.value), n.size) for n in t.leaves())
    assert abs(t.actual - math.fsum(n.value for n in t.leaves())) <= 1e-5 * size, f"gap {t.mismatch:.1e}"
    assert t.exact
    opened = [n for n, _ in t.root.walk() if n.children]
    for n in opened:
        terms = 1 + math.fsum(max(abs(c.value), c.size) for c in n.children)
        assert abs(n.value - math.fsum(c.value for c in n.children)) <= 1e-6 * terms, f"{n.label} at {n.position}"
        rounding = [c.value for c in n.children if str(c.component) == "rounding"]
        assert len(rounding) == 1, "rounding is never pruned"
        assert abs(rounding[0]) <= 4 * eps * terms, f"{n.label}: {rounding[0]:.1e} of {terms:.1f} is rounding"
        assert sum(c.kind == "pruned" for c in n.children) <= 1
    return opened


@pytest.mark.parametrize("mlps", ["stop", "frozen"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ALL)
def test_leaves_sum_to_the_target(family_model, name, dtype, mlps):
    model = family_model(name, families.DTYPES[dtype])
    t = aw.attribute(model.run(families.PROMPT), " Paris").trace(depth=None, keep=60, mlps=mlps)
    opened = {n.component for n in check(t, dtype) if n.component}
    mixed = {layer for layer in range(model.n_layers) if model.has_experts(layer)}
    assert any(c.kind == "head" for c in opened)
    dense = {c.layer for c in opened if c.kind == "mlp"}
    assert not dense & mixed and bool(dense) == (mlps == "frozen" and len(mixed) < model.n_layers)
    assert bool(t.notes) == (mlps == "frozen" and bool(mixed)), t.notes


@pytest.mark.parametrize("mlps", ["stop", "frozen"])
@pytest.mark.parametrize("name", TWINS)
def test_with_nothing_pruned_it_is_every_path(family_model, twin, name, mlps):
    model = family_model(name)
    run = model.run(SHORT)
    depth = 3 if mlps == "frozen" else None
    t = aw.attribute(run, " Paris").trace(depth=depth, keep=EVERYTHING, mlps=mlps)
    slow = twin(name, SHORT)
    expected = slow.paths(slow.token(model.single_token(" Paris")), mlps == "frozen", depth=depth)
    scale = max(map(abs, expected.values()))
    got = {}

    def walk(node, path):
        for child in node.children:
            if child.kind == "part":
                here = (*path, (str(child.component), child.position))
                got[here] = child.value
                walk(child, here)
            else:
                assert child.kind == "constant", "nothing was pruned"

    walk(t.root, ())
    worst = max((abs(got.pop(path, 0.0) - value), path) for path, value in expected.items())
    assert worst[0] <= 1e-5 * scale, f"{name}: {worst[1]} differs by {worst[0]:.1e}"
    assert not got, f"paths that the reference does not have: {list(got)[:3]}"
    check(t)


def test_pruned_rows_are_sums_of_what_was_dropped(family_model):
    a = aw.attribute(family_model("gpt2").run(families.PROMPT), " Paris")
    full, t = a.trace(depth=2, keep=EVERYTHING), a.trace(depth=2, keep=12)
    assert len([n for n in t.root.children if n.kind == "part"]) == 12
    for node in (t.root, *(n for n in t.root.children if n.children)):
        twin = full.root
        if node is not t.root:
            (twin,) = [n for n in full.root.children if n.component == node.component]
        kept = {(n.component, n.position) for n in node.children if n.kind == "part"}
        dropped = [n.value for n in twin.children if n.kind == "part" and (n.component, n.position) not in kept]
        (rest,) = [n for n in node.children if n.kind == "pruned"]
        assert rest.count == len(dropped)
        assert rest.value == pytest.approx(math.fsum(dropped), abs=1e-6)
        assert rest.size == pytest.approx(math.fsum(map(abs, dropped)), abs=1e-5)
    second = [n for n, depth in t.root.walk() if depth == 2 and n.kind == "part"]
    assert len(second) == 12, "the largest of the whole level"
    smallest = min(abs(n.value) for n in second)
    others = [n for n, depth in full.root.walk() if depth == 2 and n.kind == "part"]
    kept_parents = {n.component for n in t.root.children}
    parent = {id(c): n for n, _ in full.root.walk() for c in n.children}
    larger = [n for n in others if abs(n.value) > smallest + 1e-6 and parent[id(n)].component in kept_parents]
    assert len(larger) == 11


@pytest.mark.parametrize("mlps", ["stop", "frozen"])
def test_what_is_shown_and_what_is_not_are_everything(family_model, mlps):
    t = aw.attribute(family_model("gpt2").run(families.PROMPT), " Paris").trace(depth=None, keep=30, mlps=mlps)
    every = t.paths()
    assert {id(path[-1]) for path in every} == {id(n) for n in t.leaves("part")}
    for path in every:
        above = t.root
        for n in path:
            assert any(n is child for child in above.children)
            above = n
    sizes = [abs(path[-1].value) for path in every]
    assert sizes == sorted(sizes, reverse=True)
    for k in (0, 1, 12, len(every), len(every) + 9):
        shares = t.shares(k)
        assert math.fsum(value for value, _ in shares.values()) == pytest.approx(t.total, abs=1e-9)
        assert math.fsum(size for _, size in shares.values()) == pytest.approx(t.size, abs=1e-9)
        assert shares["shown"][0] == pytest.approx(math.fsum(path[-1].value for path in t.paths(k)), abs=1e-9)
        assert shares["constants"][0] == pytest.approx(math.fsum(n.value for n in t.leaves("constant")), abs=1e-9)
    assert t.shares(len(every))["not shown"][1] == pytest.approx(t.dropped, abs=1e-9)


def test_a_share_keeps_more_as_it_grows(family_model):
    a = aw.attribute(family_model("llama").run(families.PROMPT), " Paris")
    sizes = [len(a.trace(depth=2, keep=keep).leaves("part")) for keep in (0.3, 0.6, 0.9, 1.0)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    t = a.trace(depth=1, keep=0.6)
    kept = math.fsum(abs(n.value) for n in t.leaves("part"))
    everything = math.fsum(abs(n.value) for n in a.trace(depth=1, keep=1.0).leaves("part"))
    assert 0.6 <= kept / everything < 0.8


def test_a_share_of_very_many_rows_is_cut_and_says_so(family_model):
    a = aw.attribute(family_model("gpt2").run(families.LONG_PROMPT), " Paris")
    t = a.trace(depth=2, keep=1.0)
    check(t)
    assert len([n for n, depth in t.root.walk() if depth == 2 and n.kind == "part"]) == 1_000
    assert any("largest rows" in note for note in t.notes) and "largest rows" in repr(t)


def test_the_first_level_is_the_attribution_and_the_second_its_through(family_model):
    a = aw.attribute(family_model("qwen3").run(families.PROMPT), " Paris")
    t = a.trace(depth=2, keep=1.0)
    for n in t.root.children:
        if n.position is not None or n.kind == "constant":
            assert n.value == pytest.approx(a[n.component], abs=1e-6)
    (head,) = [n for n in t.root.children if str(n.component) == "L2H1"]
    through = a.through("L2H1")
    names = [str(c) for c in through.components]
    for n in head.children:
        if n.kind == "part":
            expected = float(through.values[n.position, names.index(str(n.component))])
            assert n.value == pytest.approx(expected, abs=1e-6)
    constants = {str(n.component): n.value for n in head.children if n.kind == "constant"}
    assert constants["value.bias"] == pytest.approx(through.value_bias, abs=1e-6)


@pytest.mark.parametrize(
    "target",
    [
        aw.logit_diff(" Paris", " Rome"),
        aw.log_prob(" Paris"),
        aw.score("L2H1", query=-1, key=1),
        aw.score("L2H1", query=-1, key=1, side="key"),
        aw.neuron("L2N4", position=3),
    ],
    ids=lambda t: getattr(t, "kind", type(t).__name__),
)
def test_any_target_can_be_traced(family_model, target):
    run = family_model("qwen3").run(families.PROMPT)
    t = aw.attribute(run, target).trace(depth=3, mlps="frozen")
    check(t)
    assert t.unit == t.attribution.unit


def test_paris_comes_from_france():
    """On the embedded model the walk ends at the word that decides, with more of the logit than at any other."""
    run = aw.load("demo").run("The capital of France is")
    t = aw.attribute(run, " Paris").trace(depth=None, keep=40, mlps="frozen")
    check(t)
    held = t.by_position
    assert run.tokens[int(held.argmax())] == " France"
    assert float(held.max()) > 0.4 * t.actual
    ends = [n for n in t.leaves("part") if n.component.kind == "embed"]
    assert ends and all(n.position is not None for n in ends)


@pytest.mark.parametrize(("mlps", "calls", "count"), [("stop", True, 0), ("frozen", True, 0), ("frozen", False, 1)])
def test_whatever_its_depth_a_walk_costs_one_more_pass_at_most(family_model, monkeypatch, mlps, calls, count):
    """None where MLPs can be called on what was recorded."""
    if not calls:
        monkeypatch.setattr(step, "called", lambda *args: None)
    a = aw.attribute(family_model("llama").run(families.PROMPT), " Paris")
    passes, record = [], step.record_inside
    monkeypatch.setattr(step, "record_inside", lambda *args: passes.append(args) or record(*args))
    t = a.trace(depth=None, mlps=mlps)
    assert t.totals is not None and len(passes) == count
    assert max(depth for _, depth in t.root.walk()) > 3, "several levels were opened"


def test_a_mixture_of_experts_stays_whole(family_model):
    t = aw.attribute(family_model("mixtral").run(families.PROMPT), " Paris").trace(mlps="frozen")
    check(t)
    assert any("mixture of experts" in note for note in t.notes)


def test_as_table(family_model):
    t = aw.attribute(family_model("llama").run(families.PROMPT), " Paris").trace()
    frame = t.to_dataframe()
    leaves = frame[frame["leaf"]]
    assert leaves["value"].sum() == pytest.approx(t.actual, abs=1e-4)
    opened = frame[~frame["leaf"]]
    for _, row in opened.iterrows():
        assert frame[frame["parent"] == row["node"]]["value"].sum() == pytest.approx(row["value"], abs=1e-4)
    text = repr(t)
    assert "leaves" in text and "pruned" in text and "mismatch" in text and len(text.splitlines()) <= 15
    assert "<script" not in str(t._repr_mimebundle_())
    assert t.plot().axes


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"keep": 0}, {"keep": 1.5}, {"keep": True}, {"mlps": "open"}])
def test_arguments_out_of_range(family_model, wrong):
    a = aw.attribute(family_model("llama").run(families.PROMPT), " Paris")
    with pytest.raises(aw.AttribError) as caught:
        a.trace(**wrong)
    assert caught.value.hint
