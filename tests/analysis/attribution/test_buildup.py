"""How the answer builds up: sums of contributions that end at the model's own number."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from fixtures import families
from fixtures.levels import coarser

ALL = families.FAMILIES + families.VARIANTS + families.CARRIED + families.JOINED


def streams_read(a):
    """Every recorded stream along the attribution's direction, with the scale of the stream that was read; as it
    arrives there in models that multiply it on the way."""
    rec, reading = a.run.record, a.reading
    u = reading.norm.pull(reading.direction).double()
    scale = float(reading.norm.scale(rec.streams[reading.point.layer][reading.position]))
    until = reading.point.layer
    ways = [a.model.carried(i, until) for i in range(until + 1)]
    streams = zip(rec.streams[: until + 1], ways, strict=True)
    return torch.stack([(s[reading.position].double() * way) @ u * scale for s, way in streams])


TARGETS = [" Paris", aw.logit_diff(" Paris", 17), aw.score("L2H1", key=2)]


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("name", ALL)
def test_it_reads_every_stream_along_one_direction_and_ends_at_the_models_number(family_model, name, target):
    model = family_model(name)
    if target == TARGETS[2] and not all(level.scores for level in model.check.levels):
        pytest.skip("its scores are not exact")
    a = aw.attribute(model.run(families.PROMPT), target)
    b = a.buildup()
    size = 1 + float(a.values.abs().sum())
    worst = float((b.layers - streams_read(a)).abs().max())
    assert worst <= 1e-5 * size, f"{name}: a stream reads otherwise by {worst:.1e}"
    assert float(b.values[-1]) == pytest.approx(a.actual, abs=1e-5 * size)
    assert float(b.values[-1]) == pytest.approx(a.total, abs=1e-6 * size)
    parts = ["attn", "mlp", *(["beside"] if model.anatomy.beside else [])]
    steps = ["embed", *(f"L{i}.{part}" for i in range(a.reading.point.layer) for part in parts)]
    assert b.steps[: b.depth] == steps
    assert b.constants == {label: pytest.approx(a[label]) for label in b.steps[b.depth :]}
    assert set(b.constants) == {str(c) for c in a.components if c.layer is None and c.kind not in ("embed", "pos")}


@pytest.mark.parametrize("name", ["gpt2", "bloom", "gemma2"])
def test_it_is_the_running_sum_of_the_rows(family_model, name):
    a = aw.attribute(family_model(name).run(families.PROMPT), " Paris")
    b = a.buildup()
    running = 0.0
    for step, value in zip(b.steps[: b.depth], b.values.tolist(), strict=False):
        layer, _, part = step.partition(".")
        for c, own in zip(a.components, a.values.tolist(), strict=True):
            if step == "embed":
                running += own if c.kind in ("embed", "pos") else 0
            elif c.layer is not None and f"L{c.layer}" == layer:
                running += own if (c.kind == "mlp") == (part == "mlp") else 0
        assert value == pytest.approx(running, abs=1e-5), step
    torch.testing.assert_close(b.added.cumsum(0), b.values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gpt_neox"])
def test_in_half_precision_the_streams_differ_by_the_measured_rounding(family_model, name):
    a = aw.attribute(family_model(name, torch.bfloat16).run(families.PROMPT), " Paris")
    size = 1 + float(a.values.abs().sum())
    off = float(streams_read(a)[-1] - a.buildup().layers[-1])
    assert off == pytest.approx(a.rounding["stream"] + a.rounding["heads"], abs=1e-5 * size)


@pytest.mark.parametrize("granularity", ["sublayers", "layers"])
def test_coarse_models_build_up_by_what_is_exact(granularity):
    model = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    coarser(model, granularity)
    a = aw.attribute(model.run(families.PROMPT), 17)
    b = a.buildup()
    parts = ("",) if granularity == "layers" else (".attn", ".mlp")
    assert b.steps[: b.depth] == ["embed", *(f"L{i}{part}" for i in range(model.n_layers) for part in parts)]
    assert float((b.layers - streams_read(a)).abs().max()) <= 1e-5 * (1 + float(a.values.abs().sum()))
    assert float(b.values[-1]) == pytest.approx(a.actual, abs=1e-4)


def test_every_row_has_its_step():
    from attrib_widgets.analysis.attribution.buildup import step_of
    from attrib_widgets.words.components import component

    assert [step_of(component(c)) for c in ("L3", "L3H1", "L3.attn.bias", "L3.mlp", "pos", "rounding")] == [
        "L3",
        "L3.attn",
        "L3.attn",
        "L3.mlp",
        "embed",
        "rounding",
    ]


def test_table_frame_and_figure_say_the_same():
    a = aw.attribute(aw.load("demo").run("The capital of France is"), " Paris")
    b = a.buildup()
    most = int(b.added[: b.depth].abs().argmax())
    assert b.title().startswith(f"{b.steps[most]} moves the logit of")
    assert repr(b).splitlines()[-1] == f"ends at {a.actual:.4f}   model {a.actual:.4f}"
    frame = b.to_dataframe()
    assert frame.value.iloc[-1] == pytest.approx(a.actual, abs=1e-4)
    assert list(frame.step[frame.constant]) == list(b.constants)
    bars = b.plot().axes[0].patches
    assert [bar.get_width() for bar in bars] == pytest.approx(b.added.tolist(), abs=1e-6)
    assert bars[-1].get_x() + bars[-1].get_width() == pytest.approx(a.actual, abs=1e-4)


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_a_neuron_builds_up_to_the_stream_that_its_mlp_reads(family_model, name):
    a = aw.attribute(family_model(name).run(families.PROMPT), aw.neuron("L1N3"))
    b = a.buildup()
    steps = ["embed", "L0.attn", "L0.mlp"] + ["L1.attn"] * a.reading.point.mid
    assert b.steps[: b.depth] == steps
    assert float(b.values[-1]) == pytest.approx(a.actual, abs=1e-5)
