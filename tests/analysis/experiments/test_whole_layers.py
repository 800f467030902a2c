"""Experiments where layers split differently: whole layers against the slow twin, and every call on every model."""

from __future__ import annotations

import math

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.estimates.effects import estimated_effects
from attrib_widgets.model.tracing.gradient import differentiate
from fixtures import families
from fixtures.mixed import CLEAN, CORRUPTED, MODELS, LayerTwin, gated
from fixtures.patching_twin import PatchTwin

COARSE = [n for n, (_, grains) in MODELS.items() if "layers" in grains]


@pytest.fixture(scope="module")
def loaded():
    found = {}

    def load(name):
        if name not in found:
            found[name] = gated(name) if name not in MODELS else MODELS[name][0]()
        return found[name]

    return load


def whole_layers(name):
    return [i for i, grain in enumerate(MODELS[name][1]) if grain == "layers"]


def close(found, expected):
    assert float(found) == pytest.approx(float(expected), abs=2e-4 * (1 + abs(float(expected)))), (found, expected)


@pytest.mark.parametrize("position", [-1, -2])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", COARSE)
def test_a_whole_layer_patched_is_its_write_put_there_by_hooks(loaded, name, direction, position):
    model = loaded(name)
    clean, corrupted = model.run(CLEAN), model.run(CORRUPTED)
    base, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    twin, other = LayerTwin(model.hf, base.ids), LayerTwin(model.hf, source.ids)
    token = model.single_token(" Paris")
    layers = whole_layers(name)
    options = dict(direction=direction, position=position)
    for at in (None, [3], [2, 4]):
        found = aw.patch(
            model, clean, corrupted, " Paris", components=[f"L{i}" for i in layers], positions=at, **options
        )
        assert found.labels == [f"L{i}" if at is None else f"L{i} @{','.join(map(str, at))}" for i in layers]
        for cell, layer in enumerate(layers):
            mixed = twin.writes[layer].clone()
            index = slice(None) if at is None else at
            mixed[index] = other.writes[layer][index]
            close(found.patched[0, cell], twin.run({layer: mixed})[position, token])
            assert found[f"L{layer}" if at is None else found.labels[cell]] == pytest.approx(float(found.values[cell]))


@pytest.mark.parametrize("name", ["whole bloom", "no attention known"])
def test_layers_patched_together(loaded, name):
    """The later of two layers adds its write to the stream that the earlier one has changed."""
    model = loaded(name)
    clean, corrupted = model.run(CLEAN), model.run(CORRUPTED)
    twin, other = LayerTwin(model.hf, corrupted.ids), LayerTwin(model.hf, clean.ids)
    token = model.single_token(" Paris")
    sets = [(0, 1), (0, 2), (1, 2), (0, 1, 2)]
    found = aw.patch(model, clean, corrupted, " Paris", components=[[f"L{i}" for i in part] for part in sets])
    for cell, part in enumerate(sets):
        close(found.patched[0, cell], twin.run({i: other.writes[i] for i in part})[-1, token])
    everything = aw.patch(model, clean, corrupted, " Paris", components=[["embed", "L0", "L1", "L2"]])
    assert float(everything.values[0]) == pytest.approx(1.0, abs=1e-4)
    assert float(aw.patch(model, clean, clean.ids, " Paris", sites="layer").changes.abs().max()) == 0


@pytest.mark.parametrize("name", COARSE)
def test_a_layer_beside_parts_that_are_split(loaded, name):
    """Site ``layer`` is all that a layer writes, however far it splits: the same hooks for all of them."""
    model = loaded(name)
    clean, corrupted = model.run(CLEAN), model.run(CORRUPTED)
    twin, other = LayerTwin(model.hf, corrupted.ids), LayerTwin(model.hf, clean.ids)
    found = aw.patch(model, clean, corrupted, " Paris", sites="layer")
    assert len(found.cells) == model.n_layers
    token = model.single_token(" Paris")
    for layer in range(model.n_layers):
        close(found.patched[0, layer], twin.run({layer: other.writes[layer]})[-1, token])


@pytest.mark.parametrize("name", COARSE)
def test_a_whole_layer_ablated(loaded, name):
    """Zero: it adds nothing. Mean: it adds what it adds on average, position by position."""
    model = loaded(name)
    base, others = model.run(CLEAN), [model.run(t) for t in (CORRUPTED, "The capital of Italy is")]
    twin = LayerTwin(model.hf, base.ids)
    token = model.single_token(" Paris")
    layers = whole_layers(name)
    names = [f"L{i}" for i in layers]
    zero = aw.ablate(model, base, " Paris", components=names)
    mean = aw.ablate(model, base, " Paris", components=names, method="mean", reference=others)
    drawn = aw.ablate(model, base, " Paris", components=names, method="resample", reference=others)
    writes = [LayerTwin(model.hf, r.ids).writes for r in others]
    for cell, layer in enumerate(layers):
        close(zero.ablated[0, 0, cell], twin.run({layer: torch.zeros_like(twin.writes[layer])})[-1, token])
        middle = torch.stack([w[layer] for w in writes]).mean(0)
        close(mean.ablated[0, 0, cell], twin.run({layer: middle})[-1, token])
        for draw, w in enumerate(writes):
            close(drawn.ablated[0, draw, cell], twin.run({layer: w[layer]})[-1, token])
    every = aw.ablate(model, base, " Paris")
    assert set(names) <= set(every.labels) and bool(every.values.isfinite().all())


@pytest.mark.parametrize("name", ["hook on llama", "hook on gpt2", "hook on gpt_neox"])
def test_the_layers_that_are_split_are_patched_as_ever(name):
    """The slow twin of heads, sublayers and streams, on a model with a steering hook."""
    make, grains = MODELS[name]
    model = make()
    hf, family = model.hf, name.split()[-1]
    hf.config._attn_implementation = "eager"  # whose softmax the twin replaces
    model = aw.load(hf, tokenizer=families.tokenizer(family))
    assert [v.granularity for v in model.check.levels] == grains
    clean, corrupted = model.run(CLEAN), model.run(CORRUPTED)
    twin = PatchTwin(family, hf, corrupted.ids, clean.ids)
    token, everywhere = model.single_token(" Paris"), range(clean.n_positions)
    for site in ("z", "attn", "mlp", "q", "k", "v", "pattern", "stream"):
        found = aw.patch(model, clean, corrupted, " Paris", sites=site)
        split = [i for i, grain in enumerate(grains) if grain == "heads"]
        assert {c.parts[0].row for c in found.cells} == set(range(model.n_layers + 1) if site == "stream" else split)
        for cell, value in zip(found.cells, found.patched[0], strict=True):
            part = cell.parts[0]
            if part.grouped:
                continue
            close(value, twin.patched(site, part.row, part.head, everywhere)[-1, token])
        if site == "z":
            grid = found.heads
            assert grid.shape == (model.n_layers, families.HEADS)
            assert grid.isnan().all(-1).tolist() == [grain != "heads" for grain in grains]
            assert any("left out" in note and "hook" in note for note in found.notes)


@pytest.mark.parametrize("name", COARSE)
def test_the_direct_path_of_a_whole_layer(loaded, name):
    """With all that follows held, the final stream changes by exactly what the sender writes more."""
    model = loaded(name)
    clean, corrupted = model.run(CLEAN), model.run(CORRUPTED)
    layers = whole_layers(name)
    found = aw.path_patch(model, clean, corrupted, " Paris", senders=[f"L{i}" for i in layers], mlps="freeze")
    token = model.single_token(" Paris")
    for cell, layer in enumerate(layers):
        change = corrupted.record.wrote(layer)[-1] - clean.record.wrote(layer)[-1]
        stream = (clean.record.streams[-1][-1].double() + change).float()
        close(found.patched[0, cell], model.read_out(stream[None])[1][0, token])


@pytest.mark.parametrize("name", ["hook on llama", "own attention"])
def test_parts_before_a_whole_layer_reach_the_readers_directly(loaded, name):
    model = loaded(name)
    clean, corrupted = model.run(CLEAN), model.run(CORRUPTED)
    found = aw.path_patch(model, clean, corrupted, " Paris", senders=["L0.mlp"], mlps="freeze")
    change = corrupted.record.mlp_write[0][-1] - clean.record.mlp_write[0][-1]
    logits = model.read_out((clean.record.streams[-1][-1] + change)[None])[1][0]
    close(found.patched[0, 0], logits[model.single_token(" Paris")])
    with pytest.raises(aw.GranularityError, match=r"L1 of .*on the way") as caught:
        aw.path_patch(model, clean, corrupted, " Paris", senders=["L0.mlp"])
    assert 'mlps="freeze"' in caught.value.hint
    behind = aw.path_patch(model, clean, corrupted, " Paris", senders=["L2H0"])
    assert bool(behind.values.isfinite().all())


@pytest.mark.parametrize("name", COARSE)
def test_estimates_of_whole_layers_are_their_gradients(loaded, name):
    """What a layer writes is added to the stream behind it: gradient there, by plain autograd."""
    model = loaded(name)
    clean, corrupted = model.run(CLEAN), model.run(CORRUPTED)
    token = model.single_token(" Paris")
    a = aw.attribute(clean, " Paris")
    effects = estimated_effects(a, corrupted, "denoise", method="atp")
    twin = LayerTwin(model.hf, corrupted.ids)
    for layer in whole_layers(name):
        kept = []

        def keep(module, args, output, kept=kept):
            stream = output[0] if isinstance(output, tuple) else output
            stream = stream.detach().requires_grad_(True)
            kept.append(stream)
            return (stream, *output[1:]) if isinstance(output, tuple) else stream

        handle = twin.layers[layer].register_forward_hook(keep)
        logit = model.hf(twin.ids, use_cache=False).logits[0, -1, token]
        handle.remove()
        (gradient,) = torch.autograd.grad(logit, kept[0])
        change = clean.record.wrote(layer) - corrupted.record.wrote(layer)
        expected = float((gradient[0].double() * change).sum())
        assert effects[aw.component(f"L{layer}")] == pytest.approx(expected, rel=1e-3, abs=1e-4)
    for method in ("atp", "eap-ig", "partway"):
        estimate = aw.attribution_patch(model, clean, corrupted, " Paris", sites="layer", method=method)
        assert len(estimate.cells) == model.n_layers and bool(estimate.values.isfinite().all())
    with pytest.raises(aw.GranularityError):
        aw.attribution_patch(model, clean, corrupted, " Paris", sites="layer", method="relp")


@pytest.mark.parametrize("name", ["whole bloom", "no attention known", "hook on llama"])
def test_a_gradient_that_leaves_out_a_whole_layer_passes_beside_it(loaded, name):
    model = loaded(name)
    run = model.run(CLEAN)
    token = model.single_token(" Paris")
    layer = whole_layers(name)[0]
    found = differentiate(
        run,
        lambda streams: model.hf.get_submodule(model.anatomy.unembed)(
            model.hf.get_submodule(model.anatomy.final_norm)(streams)
        )[:, token],
        [("pre", layer), ("pre", layer + 1)],
        stopped=[None, layer],
    )
    before, behind = found.at["pre", layer], found.at["pre", layer + 1]
    assert torch.allclose(before[1], behind[1], atol=1e-6) and not torch.allclose(before[0], behind[0], atol=1e-3)
    assert torch.equal(found.values[0], found.values[1])


# -- every call on every model ---------------------------------------------------------------------------------------
CALLS = {
    "attribute": lambda m, r, a: a.total,
    "heads": lambda m, r, a: a.heads,
    "mlps": lambda m, r, a: a.mlps,
    "row of a head": lambda m, r, a: a["L1H1"],
    "row of an attention": lambda m, r, a: a["L1.attn"],
    "row of an MLP": lambda m, r, a: a["L1.mlp"],
    "row of a layer": lambda m, r, a: a["L1"],
    "sources": lambda m, r, a: a.sources("L1H1").total,
    "through": lambda m, r, a: a.through("L1H1").values,
    "worked": lambda m, r, a: a.worked("L1H1").total,
    "neurons": lambda m, r, a: a.neurons(1).total,
    "experts": lambda m, r, a: a.experts(1).total,
    "features": lambda m, r, a: a.features("L1").total,
    "features of an MLP": lambda m, r, a: a.features("L1.mlp").total,
    "writes": lambda m, r, a: a.writes(a.components[1]).logits,
    "buildup": lambda m, r, a: a.buildup().values,
    "by position": lambda m, r, a: a.by_position().values,
    "by next": lambda m, r, a: a.by_position("next").values,
    "trace": lambda m, r, a: a.trace(depth=None).total,
    "trace of MLPs": lambda m, r, a: a.trace(depth=3, mlps="frozen").total,
    "score": lambda m, r, a: aw.attribute(r, aw.score("L1H1")).total,
    "neuron": lambda m, r, a: aw.attribute(r, aw.neuron("L1N3")).total,
    "phrase": lambda m, r, a: aw.attribute(m.generate(r, 2), aw.phrase()).total,
    "lens": lambda m, r, a: aw.logit_lens(r).probability,
    "attention": lambda m, r, a: aw.attention(r).patterns,
    "attention of a head": lambda m, r, a: aw.attention(r, "L1H1").patterns,
    "attention by value": lambda m, r, a: aw.attention(r, "L1H1").weighted("value").patterns,
    **{
        f"patch {site}": lambda m, r, a, site=site: aw.patch(m, r, other(r), TARGET, sites=site).values
        for site in ("stream", "pre", "post", "attn", "mlp", "z", "q", "k", "v", "pattern", "layer")
    },
    **{
        f"patch {part}": lambda m, r, a, part=part: aw.patch(m, r, other(r), TARGET, components=[part]).values
        for part in ("L1", "L1H1", "L1.attn", "L1.mlp", "L1H1.q", "L1.pre", "L1.z", "embed")
    },
    "patch each": lambda m, r, a: aw.patch(m, r, other(r), TARGET, components=["L1"], positions="each").values,
    "patch layer 1": lambda m, r, a: aw.patch(m, r, other(r), TARGET, sites=["z", "mlp"], layers=1).values,
    "ablate": lambda m, r, a: aw.ablate(m, r, TARGET).values,
    "ablate L1": lambda m, r, a: aw.ablate(m, r, TARGET, components=["L1", "L1.mlp"]).values,
    "mean": lambda m, r, a: aw.ablate(m, r, TARGET, method="mean", reference=[other(r)]).values,
    "estimates": lambda m, r, a: list(estimated_effects(a, other(r)).values()),
    "estimates of zero": lambda m, r, a: list(estimated_effects(a).values()),
    "atp": lambda m, r, a: aw.attribution_patch(m, r, other(r), TARGET).values,
    "atp layers": lambda m, r, a: aw.attribution_patch(m, r, other(r), TARGET, sites="layer").values,
    "atp*": lambda m, r, a: aw.attribution_patch(m, r, other(r), TARGET, sites=["q", "k"], method="atp*").values,
    "integrated": lambda m, r, a: aw.integrated_gradients(m, r, other(r), TARGET, steps=3).values,
    "integrated at a cut": lambda m, r, a: aw.integrated_gradients(m, r, other(r), TARGET, cut=1, steps=3).values,
    "edges": lambda m, r, a: aw.edge_patch(m, r, other(r), TARGET).values,
    "paths": lambda m, r, a: aw.path_patch(m, r, other(r), TARGET).values,
    "direct paths": lambda m, r, a: aw.path_patch(m, r, other(r), TARGET, mlps="freeze").values,
    "paths to a head": lambda m, r, a: aw.path_patch(m, r, other(r), TARGET, receivers="L2H1.q").values,
    "paths to an MLP": lambda m, r, a: aw.path_patch(m, r, other(r), TARGET, receivers="L2.mlp").values,
    "token effects": lambda m, r, a: aw.token_effects(m, r, TARGET, draws=1).base,
    "verify": lambda m, r, a: [f.necessity for f in aw.verify(a, other(r)).findings],
    "verify the candidates": lambda m, r, a: [f.direct for f in aw.verify(a, other(r), exact_up_to=1, top=2).findings],
    "verify L1": lambda m, r, a: [f.direct for f in aw.verify(a, other(r), components="L1", top=0).findings],
    "erasure": lambda m, r, a: aw.erasure(a, a.components[1 + bool(m.anatomy.pos)]).remaining,
    "removal": lambda m, r, a: aw.greedy_removal(a, limit=2, candidates=4).start,
    "report": lambda m, r, a: list(m.report().numbers.values()),
    "explore": lambda m, r, a: aw.explore(m, r, TARGET, corrupted=other(r)).attribution.total,
}
TARGET = 7


def other(run):
    """The same run with one token changed."""
    return run.model.run([*run.ids[:-2], (run.ids[-2] + 1) % run.model.vocab_size, run.ids[-1]])


@pytest.mark.parametrize(
    "name", [*MODELS, "afmoe", "deepseek_v3", "qwen3_next", "falcon_h1", "diffllama", "olmo_hybrid"]
)
def test_every_call_gives_a_value_or_says_what_to_ask(loaded, name):
    model = loaded(name)
    run = model.run([3, 14, 15, 9, 26, 5, 35])
    a = aw.attribute(run, TARGET)
    refused, failed = {}, {}
    for call, make in CALLS.items():
        try:
            found = make(model, run, a)
        except aw.AttribError as said:
            refused[call] = said
        except Exception as trouble:
            failed[call] = repr(trouble)
        else:
            values = torch.as_tensor(found, dtype=torch.float64).flatten()
            assert not len(values) or not bool(values.isnan().all()), call
    assert not failed, failed
    for call, said in refused.items():
        assert said.hint, f"{call}: {said}"
        assert not any(word in str(said) for word in ("expanded size", "list index", "NoneType", "size of tensor")), (
            said
        )
    always = {
        "attribute",
        "buildup",
        "by position",
        "trace",
        "lens",
        "patch stream",
        "patch layer",
        "patch L1",
        "ablate",
    }
    always |= {"mean", "estimates", "atp layers", "integrated", "direct paths", "token effects", "verify", "explore"}
    assert not always & set(refused), {call: str(refused[call]) for call in always & set(refused)}
    for split, calls in {
        "sublayers": ("mlps", "patch mlp", "patch attn"),
        "heads": ("heads", "attention", "patch z"),
        "sources": ("patch pattern",),
        "values": ("patch v",),
        "scores": ("patch q", "patch k"),
    }.items():
        known = any(getattr(level, split) for level in model.check.levels)
        assert {call for call in calls if call in refused} == (set() if known else set(calls)), split
    assert math.isfinite(a.total)
