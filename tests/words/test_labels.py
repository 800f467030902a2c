"""Every label that is printed anywhere reads back as the same thing, on every family."""

from __future__ import annotations

import pytest

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.cells.cells import SITES, Cell, cell, cells_of, joint
from attrib_widgets.analysis.experiments.patching.paths import receiver
from attrib_widgets.words.components import component
from attrib_widgets.words.errors import ComponentError
from attrib_widgets.words.places import Place, place
from fixtures import families

PLACES = [None, (0,), (2, 5)]


def sites_of(model):
    if model.granularity != "heads":
        return [s for s in SITES if s not in ("z", "q", "k", "v", "pattern")]
    return [s for s in SITES if model.check.attention_ok or s not in ("q", "k", "v", "pattern")]


def reads_back(labels, components):
    assert [component(label) for label in labels] == list(components)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_rows_cells_and_lenses(name, family_model):
    model = family_model(name)
    run = model.run(families.PROMPT)
    a = aw.attribute(run)
    reads_back(a.labels, a.components)
    cells = [c for heads in ("each", "all") for c in cells_of(model, sites_of(model), None, heads, PLACES)]
    cells += [Cell(joint(model, given), at) for given in ([], "L1", ["L1.mlp", "embed"]) for at in PLACES]
    assert [cell(model, str(c)) for c in cells] == cells
    assert [str(c) for c in cells_of(model, "stream", None, "each", [None])] == [
        *(f"L{i}.pre" for i in range(model.n_layers)),
        f"L{model.n_layers - 1}.post",
    ]
    rows = aw.logit_lens(run, positions=-1).layers
    assert [place(row).stream for row in rows] == list(range(model.n_layers + 1))
    assert rows[1] == "L0.post"


@pytest.fixture(scope="module")
def pair(family_model):
    def make(name):
        model = family_model(name)
        ids = families.ids_of(name)
        return model.run(ids), model.run([*ids[:3], (ids[3] + 7) % 300, *ids[4:]])

    return make


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3_moe"])
def test_what_results_print(name, pair):
    clean, corrupted = pair(name)
    model, token = clean.model, clean.top(1)[0].id
    a = aw.attribute(clean, token)
    layer = next(i for i in range(model.n_layers) if not model.has_experts(i))
    neurons = a.neurons(layer)
    rows = [label for label, kind in zip(neurons.labels, neurons.kinds, strict=True) if kind == "neuron"]
    assert rows and all(str(component(label)) == label and component(label).layer == layer for label in rows)
    for number in range(model.n_layers):
        if model.has_experts(number):
            found = a.experts(number)
            rows = [label for label, kind in zip(found.labels, found.kinds, strict=True) if kind == "component"]
            assert rows and all(str(component(label)) == label for label in rows)
    nodes = [node for node, _ in a.trace().root.walk() if node.component is not None]
    reads_back([node.label for node in nodes], [node.component for node in nodes])
    v = aw.verify(a, corrupted, top=2, backups=False)
    reads_back(v.labels, [f.component for f in v.findings])
    assert all(v[label].component == component(label) for label in v.labels)
    removed = aw.ablate(model, clean, token, components=["L1", ["L0H0", "L1.mlp"], [1, 2], "L1.attn"])
    assert removed.labels == ["L1.attn + L1.mlp", "L0H0 + L1.mlp", "L1H2", "L1.attn"]
    assert [removed[label] for label in removed.labels] == removed.values.tolist()
    e = aw.edge_patch(model, clean, corrupted, token)
    assert [place(str(r)) for r in e.readers] == e.readers and len(set(map(str, e.readers))) == len(e.readers)
    reads_back(map(str, e.senders), e.senders)
    assert e[str(e.senders[1]), str(e.readers[-1])] == float(e.values[1, -1])
    assert [receiver(model, str(r)).place for r in e.readers] == e.readers
    p = aw.path_patch(
        model, clean, corrupted, token, receivers=[str(e.readers[-2]), str(e.readers[-3])], senders="L0H1"
    )
    assert p.receivers == (str(e.readers[-2]), str(e.readers[-3])) and [cell(model, n) for n in p.labels] == p.cells


def test_a_stream_has_one_name_and_several_spellings(pair):
    clean, corrupted = pair("gpt2")
    model, token = clean.model, clean.top(1)[0].id
    p = aw.patch(model, clean, corrupted, token, sites="stream")
    assert p["L2.stream"] == p["L2.pre"] == p["L1.post"] == p[Place("post", 1)] == p[Cell((Place("pre", 2),))]
    assert p["L2.pre"] == float(p.grid()[2]) == float(p.grid("stream")[2]) == float(p.grid("pre")[2])
    assert p["embed"] == p["L0.pre"]
    assert list(p.to_dataframe()["site"]) == ["pre"] * model.n_layers + ["post"]
    behind = aw.patch(model, clean, corrupted, token, sites="post", layers="L1")
    assert behind.labels == ["L2.pre"] and behind.values[0] == pytest.approx(p["L1.post"], abs=1e-5)
    named = aw.patch(model, clean, corrupted, token, components=["L1.post", "L1H0.q"])
    assert named.labels == ["L2.pre", "L1H0.q"] and named["L2.pre"] == pytest.approx(p["L2.pre"], abs=1e-5)
    for which in ("L2", (1, 2), "L1H2.q", "L0.pre + L1.pre"):
        with pytest.raises(ComponentError) as caught:
            p[which]
        assert which != "L2" or ('"L2.pre"' in str(caught.value) and '"L2.post"' in str(caught.value))
    with pytest.raises(ComponentError, match="cannot be patched by itself"):
        aw.patch(model, clean, corrupted, token, sites="mid")


@pytest.mark.parametrize("typed", ["L0H0 @", "L0H0@ ", "nothing @", "L0H0 @x", "L0H0 @3,", "L0H0 @3 @4", "@"])
def test_a_cell_names_its_positions_or_has_no_mark(pair, typed):
    model = pair("gpt2")[0].model
    with pytest.raises(ComponentError, match=r"names no positions behind its @.*L0H0 @3,4"):
        cell(model, typed)
    assert cell(model, " L0H0 + L1.mlp@3 , 4 ") == Cell((Place("z", 0, 0), Place("mlp", 1)), (3, 4))


def test_keys_belong_to_the_head_that_holds_them(pair):
    model = pair("llama")[0].model
    assert cell(model, "L1KV0.k") == Cell((Place("k", 1, 0, True),))
    with pytest.raises(ComponentError, match=r'"L1KV1\.v"'):
        cell(model, "L1H3.v")
    plain = pair("gpt2")[0].model
    assert cell(plain, "L1KV0.k") == cell(plain, "L1H0.k") == Cell((Place("k", 1, 0),))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("L2.stream", 'sites="stream"'),
        ("L1H2.q", "receivers="),
        ("L1KV0.k", "receivers="),
        ("L1.q", 'heads="all"'),
        ("L5.mlp_in", "receivers="),
        ("logits", "receivers="),
    ],
)
def test_a_place_is_no_component_and_the_error_says_where_it_is_taken(typed, said):
    assert aw.place(typed) == place(typed) and isinstance(place(typed), aw.Place)
    with pytest.raises(ComponentError, match="a place that is read, not a part that writes"):
        aw.component(place(typed))
    with pytest.raises(ComponentError, match="a place that is read, not a part that writes") as caught:
        aw.component(typed)
    assert said in str(caught.value) and typed in str(caught.value)


def test_lens_rows_are_found_by_layer(family_model):
    lens = aw.logit_lens(family_model("gpt2").run(families.PROMPT))
    assert lens.top("L1") == lens.top(1) == lens.top("L1.post") == lens.top("L2.pre") != lens.top("L0")
    assert lens.top("embed") == lens.top("L0.pre")
    for which in ("L9", 9, "L1.mlp", "L1.mid", -1, True):
        with pytest.raises(ComponentError):
            lens.top(which)
