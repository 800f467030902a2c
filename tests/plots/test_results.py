"""Figures say what the results say: the same numbers, titles and units."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

import attrib_widgets as aw
from attrib_widgets.words.errors import AttribError


@pytest.fixture(scope="module")
def a():
    return aw.attribute(aw.load("demo").run("The capital of France is"), " Paris")


def test_the_waterfall_ends_at_the_models_own_number(a):
    axes = a.plot().axes[0]
    bars = axes.patches
    assert len(bars) == 13, "twelve rows and the rest"
    assert bars[-1].get_x() + bars[-1].get_width() == pytest.approx(a.actual, abs=1e-4)
    starts = [b.get_x() for b in bars]
    np.testing.assert_allclose(starts[1:], np.cumsum([b.get_width() for b in bars])[:-1], atol=1e-5)
    assert axes.get_yticklabels()[0].get_text() == str(a.top(1)[0][0])
    assert "logits" in axes.get_xlabel() and axes.get_title(loc="left") == a.title()


def test_bars_of_a_head_are_its_sources(a):
    rows = a.sources("L0H1")
    widths = [b.get_width() for b in rows.plot().axes[0].patches]
    np.testing.assert_allclose(widths, rows.values.numpy(), atol=1e-6)


def test_a_pattern_shows_the_lower_triangle_only(a):
    image = aw.attention(a.run, "L0H1").plot().axes[0].images[0].get_array()
    n = a.run.n_positions
    assert image.shape == (n, n)
    hidden = np.ma.getmaskarray(image) | np.isnan(np.ma.getdata(image))
    assert hidden[np.triu_indices(n, 1)].all() and not hidden[np.tril_indices(n)].any()
    assert len(aw.attention(a.run).plot().axes) == a.model.n_layers * a.model.n_heads


def test_maps_say_the_sign_with_the_colours_of_the_bars(a):
    image = a.by_position("next").plot().axes[0].images[0]
    top = image.norm.vmax
    low, zero, high = (image.cmap(image.norm(value))[:3] for value in (-top, 0.0, top))
    assert image.norm.vmin == -top and zero == pytest.approx((1, 1, 1), abs=0.02)
    bars = {b.get_width() > 0: b.get_facecolor()[:3] for b in a.writes("L1.mlp").plot().axes[0].patches}
    assert bars[True] == pytest.approx(high) and bars[False] == pytest.approx(low)


@pytest.mark.parametrize(
    "make",
    [
        lambda a: a.through("L2H0"),
        lambda a: a.neurons(1),
        lambda a: a.worked("L2H0"),
        lambda a: a.writes("L1.mlp"),
        lambda a: a.by_position("next"),
        lambda a: a.trace(depth=None, mlps="frozen"),
        lambda a: aw.attribute(a.run, aw.neuron("L2N7")).by_position(),
        lambda a: aw.attention(a.run, "L2H0").weighted("contribution", " Paris"),
        lambda a: aw.attribute(a.run, aw.score("L2H0", query=-1, key=2)),
        lambda a: a.buildup(),
        lambda a: aw.logit_lens(a.run),
    ],
)
def test_every_result_has_a_figure_that_a_notebook_shows(a, make):
    figure = make(a).plot()
    assert isinstance(figure, Figure) and figure.axes
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("show", ["top", "probability", "rank", "entropy", "kl"])
def test_the_lens_figure_has_layers_upwards_from_the_tokens(a, show):
    lens = aw.logit_lens(a.run, " Paris")
    axes = lens.plot(show=show).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == lens.layers
    image = axes.images[0]
    assert image.origin == "lower" and image.get_array().shape == lens.probability.shape
    assert "Paris" in axes.get_xlabel() or show not in ("probability", "rank")
    texts = [t.get_text() for t in axes.texts]
    if show == "top":
        assert texts[-1] == "\u00b7Paris"
    else:
        assert float(texts[-1]) == pytest.approx(float(getattr(lens, show)[-1, -1]), abs=0.005)


def test_the_lens_figure_names_what_it_can_show(a):
    with pytest.raises(TypeError, match="top, probability, rank, entropy, kl"):
        aw.logit_lens(a.run).plot(show="loudness")
    with pytest.raises(TypeError, match="entropy=False"):
        aw.logit_lens(a.run, entropy=False).plot(show="kl")


def test_what_has_no_figure_says_where_its_numbers_are():
    from attrib_widgets.plots.drawing import figure_of

    for one in (object(), aw.glossary(), aw.supported()):
        with pytest.raises(AttribError, match=r"has no figure.*to_dataframe"):
            figure_of(one)
