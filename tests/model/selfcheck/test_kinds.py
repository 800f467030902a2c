"""What a part is where its name alone would mislead: one table, and every surface reads it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.selfcheck.kinds import TOGETHER, WHOLE, mixers_said
from attrib_widgets.widgets.transport import wire
from attrib_widgets.words.components import described
from fixtures import families
from fixtures.mixed import MODELS
from fixtures.screens import filled


def other_of(ids):
    ids = list(ids)
    ids[2] = (ids[2] + 7) % 300
    return ids


@pytest.mark.parametrize("name", families.HYBRIDS)
def test_exactly_the_layers_without_attention_have_a_mixer_in_its_place(family_model, name):
    """The twin: whether the layer's module has an attention, by the list of the fixtures."""
    model = family_model(name)
    kinds = model.part_kinds
    for layer in range(model.n_layers):
        has = layer in families.attention_layers(name)
        assert (f"L{layer}.attn" in kinds) is not has and (f"L{layer}.mid" in kinds) is not has
        if not has:
            mixer, kind = model.mixer(layer), kinds[f"L{layer}.attn"]
            assert kind.short == mixer.short and kind.words.startswith(f"{mixer.name} in place of attention")
            assert described(f"L{layer}.attn", kinds) == f"L{layer}.attn: {kind.words}"
    assert model.mixer(0).name in mixers_said(model) and "L0 and L2 have" in mixers_said(model)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
def test_a_model_of_one_kind_has_nothing_to_tell(family_model, name):
    model = family_model(name)
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert model.part_kinds == {} and mixers_said(model) == ""
    assert "what it is" not in repr(a) and "what" not in a.to_dataframe()
    view = aw.explore(model, families.PROMPT, " Paris")
    assert "kinds" not in view.options and "mixers" not in wire.unpack(view.container)[0]["model"]


@pytest.mark.parametrize("name", families.BESIDE)
def test_a_mixer_beside_attention_is_named_too(family_model, name):
    model = family_model(name)
    assert set(model.part_kinds) == {f"L{i}.beside" for i in range(model.n_layers)}
    assert mixers_said(model) == "Exact per head: every layer has a Mamba mixer beside attention and MLP"
    run = model.run(families.PROMPT)
    leading = (aw.attribute(run, aw.logit(token)) for token in range(300))
    a = next(a for a in leading if a.top(1)[0][0].kind == "beside")
    name = f"{a.top(1)[0][0]} (Mamba)"
    assert a.title().startswith(name) and name in a.in_words()


@pytest.mark.parametrize(
    ("name", "label", "kind"),
    [("hook on llama", "L1", WHOLE), ("own attention", "L1", WHOLE), ("bent output", "L1.attn", TOGETHER)],
)
def test_what_is_split_less_than_elsewhere_is_said_in_the_same_manner(name, label, kind):
    model = MODELS[name][0]()
    assert model.granularity == "mixed" and model.part_kinds == {label: kind}
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert a.exact and label in a.labels
    row = a.to_dataframe().set_index("component").loc[label]
    assert row["what"] == kind.short
    view = aw.explore(model, a.run, " Paris")
    assert view.options["kinds"] == [{"short": kind.short, "words": kind.words, "parts": [label]}]
    header = wire.unpack(view.container)[0]["model"]
    assert "mixers" not in header and header["levels"][1]["reason"], "why it is not split is told with the part"


@pytest.fixture(scope="module")
def hybrid(family_model):
    model = family_model("qwen3_5_text")
    run = model.run(families.PROMPT)
    return run, model.run(other_of(run.ids))


def results_of(run, other):
    a = aw.attribute(run, " Paris")
    yield a
    yield a.buildup()
    yield a.through("L1H1")
    yield a.through("L1H1").at(3)
    yield a.trace()
    yield aw.compare(a, aw.attribute(other, " Paris"))
    yield aw.ablate(run.model, run, aw.logit(5))
    yield aw.patch(run.model, run, other, aw.logit(5), sites=["attn", "mlp"])
    yield aw.verify(a, corrupted=other)
    yield aw.logit_lens(run, mid=True)


def test_every_result_that_names_a_mixer_says_what_it_is(hybrid):
    """In print, in its static table and in its view: no row of a mixer without its word."""
    count = 0
    for result in results_of(*hybrid):
        kinds = result.part_kinds
        assert kinds == hybrid[0].model.part_kinds
        for line in repr(result).splitlines():
            cells = line.split()
            if cells and line.startswith("  ") and (label := next((c for c in cells[:2] if c in kinds), None)):
                assert kinds[label].short in line, line
                count += 1
        text = result._repr_mimebundle_()
        data = text[0] if isinstance(text, tuple) else text
        assert "delta net" in data["text/html"] and "delta net" in data["text/plain"]
        view = result.view()
        if hasattr(view, "options"):
            assert {label for kind in view.options["kinds"] for label in kind["parts"]} == set(kinds)
    assert count >= 20


def test_a_survey_keeps_what_its_parts_are_when_it_is_read_without_the_model(hybrid, tmp_path):
    run, _ = hybrid
    prompts = [f"The capital of {x} is" for x in ("France", "Spain", "Peru")]
    survey = aw.survey(run.model, prompts, [" Paris"] * 3)
    read = aw.Survey.load(survey.save(tmp_path / "survey.safetensors"))
    assert read.model is None and read.part_kinds == run.model.part_kinds
    assert read.view().options["kinds"] == survey.view().options["kinds"]
    assert repr(read) == repr(survey) and "delta net" in repr(read)


def test_what_a_mixer_writes_for_both_answers_is_said_with_its_word(hybrid):
    run, _ = hybrid
    told = [str(s) for s in aw.attribute(run, aw.logit_diff(5, 7)).shared(99)]
    mixers = [line for line in told if line.startswith(("L0.attn", "L2.attn"))]
    assert mixers and all(line.split(" +")[0].split(" \u2212")[0].endswith("(delta net)") for line in mixers)
    assert not any("(" in line for line in told if line not in mixers)


def test_figures_name_mixers(hybrid):
    for result in list(results_of(*hybrid))[:6]:
        try:
            figure = result.plot()
        except aw.AttribError:
            continue
        said = [text.get_text() for axes in figure.axes for text in (*axes.get_yticklabels(), *axes.get_xticklabels())]
        for label in said:
            assert label not in ("L0.attn", "L2.attn"), "without its word"
        plt.close("all")
    bars = aw.attribute(hybrid[0], " Paris").plot()
    assert "L0.attn (delta net)" in [text.get_text() for text in bars.axes[0].get_yticklabels()]


def test_the_page_is_told_once_and_knows_why_a_mixer_is_not_split(hybrid):
    run, other = hybrid
    view = aw.explore(run.model, run, " Paris", corrupted=other)
    header, _ = filled(view)
    about = header["model"]
    assert about["mixers"] == "Exact per head in 1 of 3 layers: L0 and L2 have a gated delta net in place of attention"
    assert [level["reason"] for level in about["levels"]] == ["", "", ""], "its kind says it"
    kinds = {label: kind["short"] for kind in view.options["kinds"] for label in kind["parts"]}
    assert kinds == {label: kind.short for label, kind in run.model.part_kinds.items()}
    assert (
        "delta net" in repr(view)
        and "delta net" in view.saved("csv")["text"]
        and "delta net" in view.saved("svg")["text"]
    )


def test_a_mixer_is_tested_from_the_page_as_by_hand(hybrid):
    """Verdict and numbers of the mixer's row, against the mixer's output of the other prompt put in by a plain hook."""
    run, other = hybrid
    model, hf = run.model, families.build("qwen3_5_text")
    view = aw.explore(model, run, " Paris", against=" the", corrupted=other)
    found = view.verify(["L0.attn"])["L0.attn"]
    module = hf.get_submodule(model.anatomy.layers)[0].get_submodule(model.mixer(0).path)
    kept = []

    def metric(ids, hook=None):
        handle = hook and module.register_forward_hook(hook)
        with torch.no_grad():
            logits = hf(torch.tensor([ids]), use_cache=False).logits[0, -1]
        if handle:
            handle.remove()
        ours, theirs = (model.single_token(t) for t in (" Paris", " the"))
        return float(logits[ours] - logits[theirs])

    def keep(m, args, out):
        kept.append((out[0] if isinstance(out, tuple) else out).clone())

    def put(m, args, out):
        return (kept[0], *out[1:]) if isinstance(out, tuple) else kept[0]

    corrupted = metric(other.ids, keep)
    clean, patched = metric(run.ids), metric(run.ids, put)
    assert found.necessity == pytest.approx((clean - patched) / (clean - corrupted), rel=1e-3, abs=1e-4)
    row = view.tested["findings"][0] if "findings" in view.tested else None
    assert row is not None and row["id"] == "L0.attn"
