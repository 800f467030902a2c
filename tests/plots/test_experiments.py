"""Figures of experiments show the numbers of the results."""

from __future__ import annotations

import numpy as np
import pytest

import attrib_widgets as aw

CLEAN, CORRUPTED, ANSWER = "The capital of France is", "The capital of Germany is", " Paris"


@pytest.fixture(scope="module")
def model():
    return aw.load("demo")


@pytest.fixture(scope="module")
def a(model):
    return aw.attribute(model.run(CLEAN), ANSWER)


@pytest.mark.parametrize(
    "options",
    [
        dict(sites="stream", positions="each"),
        dict(sites="z"),
        dict(sites="z", positions="each", layers=[0, 2]),
        dict(sites="mlp"),
    ],
    ids=["stream by position", "heads", "head by position", "layers"],
)
def test_a_grid_shows_every_cell(model, options):
    p = aw.patch(model, CLEAN, CORRUPTED, ANSWER, **options)
    axes = p.plot().axes[0]
    shown = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shown.flatten(), p.grid().numpy().flatten(), atol=1e-6)
    assert len(axes.get_yticklabels()) == shown.shape[0]
    low, high = axes.get_ylim()
    assert low < high, "layers upwards, as in the lens and on the page"


def test_mixed_cells_are_bars(model):
    p = aw.patch(model, CLEAN, CORRUPTED, ANSWER, sites=["z", "mlp"])
    widths = [b.get_width() for b in p.plot(k=5).axes[0].patches]
    np.testing.assert_allclose(widths[:5], [v for _, v in p.top(5)], atol=1e-6)


def test_verdicts_stand_at_their_numbers(a):
    v = aw.verify(a, CORRUPTED)
    axes = v.plot().axes[0]
    points = axes.collections[0].get_offsets()
    np.testing.assert_allclose(points, [[f.direct, f.necessity] for f in v.findings], atol=1e-6)
    named = [t.get_text() for t in axes.texts]
    assert any("L0.mlp" in t for t in named)
    assert "tau" in axes.get_title(loc="left")


def test_the_others(model, a):
    edges = aw.edge_patch(model, CLEAN, CORRUPTED, ANSWER)
    assert float(np.nanmax(np.asarray(edges.plot().axes[0].images[0].get_array()))) == pytest.approx(
        float(edges.values.max()), abs=1e-6
    )
    integrated = aw.integrated_gradients(model, CLEAN, CORRUPTED, ANSWER)
    widths = [b.get_width() for b in integrated.plot().axes[0].patches]
    np.testing.assert_allclose(widths, integrated.values.numpy(), atol=1e-5)
    ablation = aw.ablate(model, CLEAN, ANSWER, components=["L0.mlp", "L0H4"])
    widths = [b.get_width() for b in ablation.plot().axes[0].patches]
    np.testing.assert_allclose(widths, [v for _, v in ablation.top()], atol=1e-5)
    followed = aw.erasure(a, "L0.mlp")
    np.testing.assert_allclose(followed.plot().axes[0].lines[0].get_ydata(), followed.remaining.numpy(), atol=1e-6)
    removal = aw.greedy_removal(a)
    widths = [b.get_width() for b in removal.plot().axes[0].patches]
    np.testing.assert_allclose(widths, [removal.start, *(s.margin for s in removal.steps)], atol=1e-5)
    effects = aw.token_effects(model, CLEAN, ANSWER, draws=2)
    assert len(effects.plot().axes[0].patches) == effects.run.n_positions
