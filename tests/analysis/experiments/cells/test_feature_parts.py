"""Features as parts of experiments: the sweep against plain hooks, and a place against all that it is split into."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.ablation.donors import zero_donor
from attrib_widgets.analysis.experiments.cells.cells import cell
from attrib_widgets.analysis.experiments.measuring.metrics import metric_of
from attrib_widgets.analysis.experiments.measuring.pairs import Cost, run_cells
from attrib_widgets.saes.reading import activations
from attrib_widgets.saes.sae import SAE
from attrib_widgets.words.places import place
from fixtures import families

#: Multi-head, grouped queries, sandwich norms, post-norms alone, multipliers, parallel blocks, third parts that read
#: what an MLP added.
NAMES = ["gpt2", "llama", "gemma2", "gemma3", "olmo2", "granite", "gpt_neox", "gemma4_text", *families.JOINED]
KINDS = ("L1.post", "L1.mlp", "L1.z", "L1.attn_out", "L1.mlp_in", "L0.pre")
#: What is patched where all of a place is.
WHOLE = {"L1.post": "L1.post", "L1.mlp": "L1.mlp", "L1.z": "L1.attn", "L1.attn_out": "L1.attn", "L1.mlp_in": "L1.mlp"}
FEATURES = 10
OTHER = list(range(40, 60))


def dictionary(model, site: str, **more) -> SAE:
    """A random dictionary; of what an MLP reads a transcoder."""
    generator = torch.Generator().manual_seed(11)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    d = model.out(1).d_in if site.endswith(".z") else model.d_model
    out = model.d_model if site.endswith(".mlp_in") else d
    if site.endswith(".mlp_in"):
        more = {"writes": "L1.mlp", "subtract": False, **more}
    shapes = (d, FEATURES), (FEATURES,), (FEATURES, out), (out,)
    return SAE(site, "standard", *(some(*shape) for shape in shapes), **more)


@contextmanager
def changed(model, site: str, change: torch.Tensor):
    """What a place holds plus ``change`` [position, width], by a plain hook on the model's own module."""
    where, a = place(site), model.anatomy
    block = model.layer(where.layer or 0)
    paths = {"mlp": a.mlp_post_norm or a.mlp, "attn_out": a.attn_post_norm or a.attn, "z": a.attn_out}
    module = block if where.is_stream else block.get_submodule(paths[where.site])

    def after(_, __, out):
        if isinstance(out, tuple):
            return (out[0] + change[None], *out[1:])
        return out + change.reshape(out.shape)

    def before(_, args, named):
        if args:
            return (args[0] + change[None], *args[1:]), named
        name = next(iter(named))
        return args, {**named, name: named[name] + change[None]}

    if where.site in ("z", "pre"):
        hook = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        hook = module.register_forward_hook(after)
    try:
        yield
    finally:
        hook.remove()


def last_logits(model, ids) -> torch.Tensor:
    with torch.no_grad():
        return model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].double()


def features_of(model, run, sae: SAE) -> torch.Tensor:
    """What each feature wrote [feature, position, d_out]."""
    x = activations(model, run.record, sae).x
    return sae.encode(x).T[..., None] * sae.undone_by(x)[None] * sae.w_dec[:, None]


def every_part(site: str) -> list[str]:
    return [*(f"{site}/{f}" for f in range(FEATURES)), f"{site}/error", f"{site}/bias"]


@pytest.fixture(autouse=True)
def _own_dictionaries(family_model):
    yield
    for name in NAMES:
        family_model(name).saes.clear()


@pytest.mark.parametrize("site", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_without_a_feature_as_plain_hooks_have_it(family_model, name, site):
    model = family_model(name)
    model.saes[site] = sae = dictionary(model, site)
    run = model.run(families.PROMPT)
    written = features_of(model, run, sae)
    token = run.top(1)[0].id
    firing = [f for f in range(FEATURES) if bool(written[f].any())][:4]
    found = aw.ablate(model, run, token, components=[f"{site}/{f}" for f in firing])
    start = float(last_logits(model, run.ids)[token])
    for f in firing:
        with changed(model, str(sae.target), -written[f]):
            expected = float(last_logits(model, run.ids)[token]) - start
        assert found[f"{site}/{f}"] == pytest.approx(expected, abs=1e-5), f"{name} {site}/{f}"


@pytest.mark.parametrize("site", list(WHOLE))
@pytest.mark.parametrize("name", NAMES)
def test_all_features_the_error_and_the_bias_are_the_place(family_model, name, site):
    model = family_model(name)
    model.saes[site] = dictionary(model, site)
    ids = model.run(families.PROMPT).ids
    other = [ids[0], *OTHER[: len(ids) - 1]]
    whole = [every_part(site), WHOLE[site]]
    for direction in ("noise", "denoise"):
        patched = aw.patch(model, ids, other, 5, components=whole, direction=direction).patched[0]
        assert float(patched[0] - patched[1]) == pytest.approx(0, abs=1e-5), f"{name} {site} {direction}"
    if site != "L1.post" and site != "L1.attn_out":
        gone = aw.ablate(model, ids, 5, components=whole)
        assert gone.values[0] == pytest.approx(float(gone.values[1]), abs=1e-5), f"{name} {site} to zero"


SETTINGS = {
    "layer norm": {"norm": "layer_norm"},
    "rms norm": {"norm": "rms_norm"},
    "centred": {"coordinates": "centred"},
}


@pytest.mark.parametrize("more", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("name", ["gpt2", "gemma3"])
def test_a_scale_that_is_undone_is_held(family_model, name, more):
    model = family_model(name)
    for site in ("L1.mlp", "L1.post"):
        model.saes[site] = sae = dictionary(model, site, **more)
        run = model.run(families.PROMPT)
        other = [run.ids[0], *OTHER[: run.n_positions - 1]]
        patched = aw.patch(model, run, other, 5, components=[every_part(site), WHOLE[site]]).patched[0]
        assert float(patched[0] - patched[1]) == pytest.approx(0, abs=1e-5)
        written = features_of(model, run, sae)
        f = int(written.abs().sum((1, 2)).argmax())
        held = aw.ablate(model, run, 5, components=f"{site}/{f}", method="clamp", strength=2.5).values[0]
        x = activations(model, run.record, sae).x
        change = (2.5 - sae.encode(x)[:, f])[:, None] * sae.undone_by(x) * sae.w_dec[f]
        start = float(last_logits(model, run.ids)[5])
        with changed(model, site, change):
            expected = float(last_logits(model, run.ids)[5]) - start
        assert float(held) == pytest.approx(expected, abs=1e-5)


def test_features_of_several_layers_and_dictionaries_together(family_model):
    model = family_model("gemma3")
    sites = ("L0.pre", "L0.mlp", "L1.z", "L1.post")
    for site in sites:
        model.saes[site] = dictionary(model, site)
    run = model.run(families.PROMPT)
    token, chosen = run.top(1)[0].id, []
    with ExitStack() as stack:
        start = float(last_logits(model, run.ids)[token])
        for site in sites:
            written = features_of(model, run, model.saes[site])
            some = [f for f in range(FEATURES) if bool(written[f].any())][:2]
            chosen += [f"{site}/{f}" for f in some]
            stack.enter_context(changed(model, site, -written[some].sum(0)))
        expected = float(last_logits(model, run.ids)[token]) - start
    assert float(aw.ablate(model, run, token, components=[chosen]).values[0]) == pytest.approx(expected, abs=2e-5)


def test_what_is_changed_as_a_whole_is_not_changed_twice(family_model):
    model = family_model("gpt2")
    for site in ("L1.mlp", "L1.z", "L1.post"):
        model.saes[site] = dictionary(model, site)
    ids = model.run(families.PROMPT).ids
    other = [ids[0], *OTHER[: len(ids) - 1]]
    sets = [
        ["L1.mlp", "L1.mlp/3"],
        "L1.mlp",
        ["L1.attn", "L1.z/2"],
        "L1.attn",
        ["L1.post", "L1/2", "L1.mlp/1"],
        "L1.post",
    ]
    patched = aw.patch(model, ids, other, 5, components=sets).patched[0]
    assert patched[::2].tolist() == patched[1::2].tolist()
    heads = [f"L1H{h}" for h in range(model.heads_of(1))]
    gone = aw.ablate(model, ids, 5, components=[[*heads, "L1.z/2"], heads]).values
    assert float(gone[0]) == float(gone[1])


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "olmo2", "granite", "gemma4_text", *families.JOINED])
def test_the_direct_effects_of_a_place_are_those_of_what_it_is_split_into(family_model, name):
    from attrib_widgets.analysis.experiments.patching.direct import direct_cells

    model = family_model(name)
    for site in ("L1.mlp", "L1.z", "L1.attn_out"):
        model.saes[site] = dictionary(model, site)
        run = model.run(families.PROMPT)
        other = model.run([run.ids[0], *OTHER[: run.n_positions - 1]])
        cells = [cell(model, " + ".join(every_part(site))), cell(model, WHOLE[site])]
        found = direct_cells([(run, other)], cells, [5], "noise", -1).patched[0]
        assert float(found[0]) == pytest.approx(float(found[1]), abs=1e-5), f"{name} {site}"


def test_600_features_of_the_embedded_model_in_8_passes_as_hooks_one_by_one():
    model = aw.load("demo")
    run = model.run("The capital of France is")
    cells, changes = [], []
    for where in model.saes:
        sae = model.saes[where]
        written, active = features_of(model, run, sae), sae.encode(activations(model, run.record, sae).x)
        for p, f in active.nonzero().tolist():
            if p:
                alone = torch.zeros_like(written[f])
                alone[p] = -written[f, p]
                cells.append(cell(model, f"{where}/{f} @{p}"))
                changes.append((str(where), alone))
    assert len(cells) == 600
    cost, metric = Cost(), metric_of(" Paris", run, run.n_positions - 1)
    values, done, _ = run_cells(run, zero_donor(run), cells, metric, -1, cost)
    assert cost.forwards <= 8 and bool(done.all())
    token = model.single_token(" Paris")
    for i in range(0, len(cells), 11):
        with changed(model, *changes[i]):
            assert float(values[i]) == pytest.approx(float(last_logits(model, run.ids)[token]), abs=1e-5), cells[i]


def test_patching_puts_the_other_runs_activation_there(family_model):
    model = family_model("llama")
    model.saes["L1.mlp"] = sae = dictionary(model, "L1.mlp")
    clean = model.run(families.PROMPT)
    other = model.run([clean.ids[0], *OTHER[: clean.n_positions - 1]])
    there, here = (features_of(model, r, sae) for r in (other, clean))
    found = aw.patch(model, clean, other, 5, components=["L1.mlp/4", "L1.mlp/error"], direction="noise")
    with changed(model, "L1.mlp", there[4] - here[4]):
        expected = float(last_logits(model, clean.ids)[5])
    assert float(found.patched[0, 0]) == pytest.approx(expected, abs=1e-5)
    assert found.labels == ["L1.mlp/4", "L1.mlp/error"] and found["L1.mlp/error"] == float(found.values[1])
    errors = [sae.error(activations(model, r.record, sae).x) for r in (other, clean)]
    with changed(model, "L1.mlp", errors[0] - errors[1]):
        assert float(found.patched[0, 1]) == pytest.approx(float(last_logits(model, clean.ids)[5]), abs=1e-5)


def test_steering_is_a_dial_of_experiments(family_model):
    model = family_model("qwen2")
    model.saes["L1.mlp"] = sae = dictionary(model, "L1.mlp")
    run = model.run(families.PROMPT)
    written = features_of(model, run, sae)
    f = next(f for f in range(FEATURES) if bool(written[f].any()))
    dial = aw.steer(model, run, f"L1.mlp/{f}", 5, scale=[0, 1, 3])
    assert float(dial.values[1]) == dial.base and dial.answers[1] == dial.before and dial.complete
    without = aw.ablate(model, run, 5, components=f"L1.mlp/{f}")
    assert float(dial.values[0]) - dial.base == pytest.approx(float(without.values[0]), abs=1e-6)
    for i, factor in enumerate(dial.strengths):
        with changed(model, "L1.mlp", (factor - 1) * written[f]):
            logits = last_logits(model, run.ids)
        assert float(dial.values[i]) == pytest.approx(float(logits[5]), abs=1e-5)
        assert float(dial.probabilities[i]) == pytest.approx(float(logits.softmax(-1)[5]), abs=1e-6)
    held = aw.steer(model, run, [f"L1.mlp/{f}", "L1.mlp/0"], 5, clamp=2, positions=[1, 2])
    x = activations(model, run.record, sae).x
    change = torch.zeros_like(written[0])
    for each in {f, 0}:
        change[1:3] += (2 - sae.encode(x)[1:3, each])[:, None] * sae.w_dec[each]
    with changed(model, "L1.mlp", change):
        assert float(held.values[0]) == pytest.approx(float(last_logits(model, run.ids)[5]), abs=1e-5)
    assert held.to_dataframe()["strength"].tolist() == [2.0]
    model.saes.clear()


def test_heads_and_mlps_are_scaled_too(family_model):
    model = family_model("gpt2")
    run = model.run(families.PROMPT)
    found = aw.ablate(model, run, 5, components=["L1H2", "L1.mlp"], method="scale", strength=0)
    assert found.values.tolist() == aw.ablate(model, run, 5, components=["L1H2", "L1.mlp"]).values.tolist()
    doubled = aw.ablate(model, run, 5, components="L1.mlp", method="scale", strength=2)
    with changed(model, "L1.mlp", run.record.mlp_out[1]):
        expected = float(last_logits(model, run.ids)[5])
    assert float(doubled.ablated[0, 0, 0]) == pytest.approx(expected, abs=1e-5)
    assert "× 2" in doubled.title() and "× 2" in str(doubled)


def test_a_verdict_on_a_feature():
    model = aw.load("demo")
    clean, other = model.run("The capital of France is"), model.run("The capital of Germany is")
    a = aw.attribute(clean, " Paris")
    row = str(a.top(1, kind="mlp")[0][0])
    best = a.features(row).labels[int(a.features(row).values[: a.features(row).firing].abs().argmax())]
    head = str(a.top(1, kind="head")[0][0])
    of_heads = f"{model.saes[aw.place(head).component.site or f'L{aw.component(head).layer}.z'].site}/0"
    found = aw.verify(a, other, components=[best, of_heads], top=0, against=())
    assert [str(f.component) for f in found.findings] and best in map(str, (f.component for f in found.findings))
    patched = aw.patch(model, clean, other, " Paris", components=[best], direction="noise")
    finding = found[best]
    assert finding.necessity == pytest.approx(float(patched.values[0]), abs=1e-6)
    assert finding.bar == pytest.approx(a.features(row)[best], abs=1e-5)
    whole = aw.verify(a, other, components=[best], top=3)
    assert best in map(str, (f.component for f in whole.findings)) and len(whole.findings) > 1


def test_what_cannot_be_done_is_said(family_model):
    model = family_model("gpt2")
    model.saes["L1.mlp"] = dictionary(model, "L1.mlp")
    run = model.run(families.PROMPT)
    written = features_of(model, run, model.saes["L1.mlp"])
    other = [run.ids[0], *OTHER[: run.n_positions - 1]]
    for call, said in (
        (lambda: aw.ablate(model, run, components="L1.mlp/99"), "has no feature 99"),
        (lambda: aw.ablate(model, run, components="L0.mlp/1"), "no dictionary for L0.mlp"),
        (lambda: aw.ablate(model, run, components="L1H0", method="clamp", strength=1), "no one activation"),
        (lambda: aw.ablate(model, run, components="L1H0", method="scale"), "strength=2"),
        (lambda: aw.ablate(model, run, components="L1H0", strength=2), "no use for a strength"),
        (lambda: aw.ablate(model, run, components="L1H0", method="scale", strength="much"), "not a strength"),
        (lambda: aw.ablate(model, run, components="L1H0", method="double", strength=2), "no ablation"),
        (lambda: aw.path_patch(model, run, other, 5, senders="L1.mlp/1"), "no sender"),
        (lambda: aw.steer(model, run, "L1.mlp/1", scale=1, clamp=1), "both given"),
        (lambda: aw.steer(model, run, "L1.mlp/1", scale=[float("nan")]), "not a strength"),
        (lambda: aw.steer(model, run, []), "nothing to steer"),
        (lambda: aw.steer(model, run, "L1.mlp/1", scale=[]), "no strengths"),
        (lambda: aw.steer(model, run, "L1.mlp/1", clamp=[1, 1e38]), "are not finite"),
    ):
        with pytest.raises(aw.AttribError, match=said):
            call()
    never = [f for f in range(FEATURES) if not bool(written[f].any())]
    at = next(p for p in range(run.n_positions) if not bool(written[3, p].any()))
    with pytest.raises(aw.ComponentError, match="is silent"):
        aw.steer(model, run, "L1.mlp/3", positions=at)
    if never:
        assert "silent in this prompt" in str(aw.ablate(model, run, 5, components=f"L1.mlp/{never[0]}"))
