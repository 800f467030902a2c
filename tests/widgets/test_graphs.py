"""The view of a graph: what is sent sums, is what the tables have, and a selection is a node that is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attrib_widgets as aw
from attrib_widgets.demo import PROMPT, TARGET
from attrib_widgets.widgets.transport import assets, wire


@pytest.fixture(scope="module")
def graphs(demo: Any) -> dict[str, Any]:
    """Of MLPs and heads with a live twin, of streams without."""
    a = aw.attribute(demo.run(PROMPT), TARGET)
    return {"mlp+z": a.graph(), "mlp": a.graph("mlp", limit=5, live=0)}


@pytest.mark.parametrize("kind", ["mlp+z", "mlp"])
def test_every_opened_node_sums_and_every_edge_is_that_of_the_table(graphs, kind):
    graph = graphs[kind]
    view = graph.view()
    header, arrays = wire.unpack(view.container)
    names = [node["name"] for node in header["nodes"]]
    assert names == list(graph.to_dataframe("nodes").name)
    table = graph.to_dataframe()
    ends, edges = arrays["ends"].reshape(-1, 2), arrays["edges"].reshape(-1, 3)
    known = {(row.target, row.source): (row.value, row.strength) for row in table.itertuples()}
    tested = {(t.target, t.source): t.live for t in graph.twin.tested} if kind == "mlp+z" else {}
    assert len(edges) == table.strength.notna().sum() > 0
    for (source, target), (value, strength, live) in zip(ends.astype(int), edges, strict=True):
        pair = names[target], names[source]
        np.testing.assert_allclose([value, strength], known[pair], rtol=1e-5)
        np.testing.assert_allclose(live, tested.get(pair, np.nan), rtol=1e-5)
    assert np.isfinite(edges[:, 2]).sum() == len(tested), "every edge that was tested is there"
    assert bool(header["tested"]) == bool(tested)
    for opened in header["targets"]:
        into = edges[ends[:, 1] == opened["node"], 0].sum() + opened["left"] + sum(opened["constants"])
        own = opened["total"]
        assert abs(into - own) <= 1e-5 * max(1.0, abs(own)) + 1e-5 * np.abs(opened["constants"]).sum()
        fires = header["nodes"][opened["node"]]["value"]
        assert own == pytest.approx(fires, rel=1e-6)
    view.close()


def test_it_has_a_bundle_of_its_own_and_selects_what_is_kept(graphs):
    graph = graphs["mlp+z"]
    view = graph.view()
    assert view.bundle is assets.GRAPH and view._esm == assets.script(assets.GRAPH)
    assert view.selected_result().parent == graph.target.name
    name = graph.to_dataframe("nodes").name[1]
    view.selected = name.replace("@", " @ ")
    assert view.selected == name, "spelled as everywhere else"
    assert view.selected_result().parent == name
    lost = int((~graph.kept.sources[: graph.weights.features]).nonzero()[0])
    with pytest.raises(aw.ComponentError, match="not among the nodes that are kept"):
        view.selected = graph.node(lost).name
    with pytest.raises(aw.ComponentError, match="no node"):
        view.selected = "L0.mlp/99999@0"
    assert view.selected == name
    view.close()
