"""Models whose layers live on different devices, as ``device_map`` leaves them."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.ablation.donors import clamp_donor, zero_donor
from attrib_widgets.analysis.experiments.cells.cells import cell
from fixtures import families
from fixtures.devices import FAR, NEAR, Far, second_device, send

NAMES = [*families.TWINS, "gpt_neo", "falcon", "granite", "mixtral", "gpt_oss"]
LAYOUTS = ["last layers away", "one layer away"]


def spread(name, layout):
    """A model on two devices: what follows the layers goes where the last layer is."""
    hf = families.build(name)
    whole = aw.load(families.build(name), tokenizer=families.tokenizer(name))
    a = whole.anatomy
    find = lambda path: hf.get_submodule(next(p for p in path.split("|") if _has(hf, p)))  # noqa: E731
    layers = list(find(a.layers))
    away = layers[1:] if layout == "last layers away" else layers[1:2]
    for layer in layers:
        send(layer, FAR if layer in away else NEAR)
    end = FAR if layers[-1] in away else NEAR
    for path in (a.final_norm, a.unembed):
        send(find(path), end)
    if end == FAR:  # the head may be the embedding's weight: it is copied to the other device
        hf.register_forward_hook(lambda m, args, out: out.__class__(logits=out.logits.to(NEAR)))
    return whole, hf


def _has(hf, path):
    try:
        hf.get_submodule(path)
    except AttributeError:
        return False
    return True


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_layers_on_two_devices_give_the_same_numbers(name, layout):
    whole, hf = spread(name, layout)
    expected = aw.attribute(whole.run(families.PROMPT), " Paris")
    with second_device():
        with torch.no_grad():
            ids = torch.tensor([families.ids_of(name)])
            printed = hf(ids, use_cache=False).logits[0, -1]
            assert torch.allclose(printed, expected.run.logits(), atol=1e-5), "the model itself"
        model = aw.load(hf, tokenizer=families.tokenizer(name))
        assert model.check.ok, model.check.reason
        assert (model.home == FAR) == (layout == "last layers away") and model.device == torch.device("cpu")
        run = model.run(families.PROMPT)
        record = run.record
        tensors = [*record.streams, *record.z, *record.attn_write, *record.mlp_write, record.logits, record.precap]
        assert {isinstance(t, Far) for t in tensors} == {model.home == FAR}, "a recording lives on one device"
        a = aw.attribute(run, " Paris")
        assert a.exact and a.values.device == torch.device("cpu")
        assert torch.allclose(a.values, expected.values, atol=1e-6)
        head = "L1H1"
        assert torch.allclose(a.sources(head).values, expected.sources(head).values, atol=1e-6)
        assert torch.allclose(a.through(head).values, expected.through(head).values, atol=1e-6)
        opened = (lambda x: x.experts(1)) if model.has_experts(1) else (lambda x: x.neurons(1))
        assert torch.allclose(opened(a).values, opened(expected).values, atol=1e-6)
        assert torch.allclose(a.by_position().values, expected.by_position().values, atol=1e-6)
        assert torch.allclose(a.writes(head).logits, expected.writes(head).logits, atol=1e-6)
        assert torch.allclose(aw.attention(run).patterns, aw.attention(expected.run).patterns, atol=1e-6)
        for side in ("query", "key"):
            score = aw.score(head, key=1, side=side)
            one, other = aw.attribute(run, score), aw.attribute(expected.run, score)
            assert torch.allclose(one.values, other.values, atol=1e-5 * (1 + float(other.values.abs().max())))
        if not model.has_experts(1):
            fired, there = (aw.attribute(r, aw.neuron("L1N3")) for r in (run, expected.run))
            assert torch.allclose(fired.values, there.values, atol=1e-5)
            assert torch.allclose(fired.by_position().values, there.by_position().values, atol=1e-5)
        for mlps in ("stop", "frozen"):
            walk, other = (x.trace(depth=3, mlps=mlps) for x in (a, expected))
            assert walk.exact and len(walk.leaves()) == len(other.leaves())
        many = model.run_many([families.PROMPT, families.PROMPT, "The"])
        assert torch.allclose(aw.attribute(many[1], " Paris").values, expected.values, atol=1e-5)
        asked = [families.PROMPT, families.PROMPT.replace("France", "Japan"), "The"], [5, 6, 7]
        survey, there = (aw.survey(m, *asked, permutations=9) for m in (model, whole))
        assert torch.allclose(survey.values, there.values, atol=1e-5)
        assert torch.allclose(survey.group().beyond, there.group().beyond, atol=1e-5)
        unit = "logits" if name == "gemma2" else "nats"
        phrase = aw.attribute(run, aw.phrase(" Paris. The", unit=unit))
        assert phrase.exact and "".join(phrase.tokens) == " Paris. The" and len(phrase.likeliest) == len(phrase)
        lens, other = aw.logit_lens(run, " Paris"), aw.logit_lens(expected.run, " Paris")
        assert torch.allclose(lens.probability, other.probability, atol=1e-5)
        aw.head_table(a)
        a.worked(head)
        repr(run), repr(a), repr(phrase)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_gradients_on_two_devices_give_the_same_numbers(name, layout):
    whole, hf = spread(name, layout)
    texts = [families.PROMPT, families.PROMPT.replace("France", "Japan")]
    pairs = [whole.encode(t) for t in texts]
    pairs[1] = [*pairs[0][:2], (pairs[0][2] + 7) % 300, *pairs[0][3:]]
    expected = aw.edge_patch(whole, *pairs), aw.attribution_patch(whole, *pairs), aw.integrated_gradients(whole, *pairs)
    with second_device():
        model = aw.load(hf, tokenizer=families.tokenizer(name))
        found = (
            aw.edge_patch(model, *pairs),
            aw.attribution_patch(model, *pairs),
            aw.integrated_gradients(model, *pairs),
        )
        for one, other in zip(found, expected, strict=True):
            assert other.values.abs().max() > 0
            assert torch.allclose(one.values, other.values, atol=1e-5 * (1 + float(other.values.abs().max())))


def test_weights_left_on_the_disk_are_refused_by_name():
    hf = families.build("llama")
    hf.model.layers[1].to("meta")
    with pytest.raises(aw.AttribError, match=r"model\.layers\.1.* device_map"):
        aw.load(hf, tokenizer=families.tokenizer("llama"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom", "qwen3"])
def test_roles_and_tables_of_weights_on_two_devices_are_the_same(name, layout):
    whole, hf = spread(name, layout)
    expected, a = aw.head_roles(whole, tasks=False, draws=100), aw.attribute(whole.run(families.PROMPT), " Paris")
    with second_device():
        model = aw.load(hf, tokenizer=families.tokenizer(name))
        found, b = aw.head_roles(model, tasks=False, draws=100), aw.attribute(model.run(families.PROMPT), " Paris")
        for measure, score in expected.scores.items():
            assert torch.allclose(found.scores[measure].values, score.values, atol=1e-4, equal_nan=True), measure
            assert torch.allclose(found.scores[measure].null, score.null, atol=1e-4), measure
        assert torch.allclose(aw.ov_table(b, "L1H2").toward, aw.ov_table(a, "L1H2").toward, atol=1e-5)
        one, other = (aw.qk_table(x.run, "L2H1", tokens=[" Paris", " is"]) for x in (b, a))
        assert torch.allclose(one.scores, other.scores, atol=1e-4)
        assert [v for *_, v in one.wanted] == pytest.approx([v for *_, v in other.wanted], abs=1e-3)
        both = (aw.composition(m, "L2H1", rotations=3).scores for m in (model, whole))
        assert torch.allclose(*both, atol=1e-5, equal_nan=True)
        assert [i for _, i, _ in aw.neuron_tokens(model, "L1N3").promoted] == [
            i for _, i, _ in aw.neuron_tokens(whole, "L1N3").promoted
        ]


@pytest.mark.parametrize("site", ["L1.post", "L1.mlp_in", "L1.mlp", "L1.z", "L1.attn_out"])
@pytest.mark.parametrize("name", ["gpt2", "gemma3"])
def test_features_of_a_model_on_two_devices(name, site):
    """Their dictionaries lie where they were read."""
    whole, hf = spread(name, "last layers away")
    generator = torch.Generator().manual_seed(3)
    width = whole.out(1).d_in if site.endswith(".z") else whole.d_model
    transcodes = {"writes": "L1.mlp", "subtract": False} if site.endswith(".mlp_in") else {}
    shapes = (width, 9), (9,), (9, whole.d_model if transcodes else width), (whole.d_model if transcodes else width,)
    sae = aw.SAE(site, "standard", *(torch.randn(*shape, generator=generator) for shape in shapes), **transcodes)

    def found(model):
        model.saes[site] = sae
        run = model.run(families.PROMPT)
        a = aw.attribute(run, aw.feature(f"{site}/2", position=3))
        totals = a.token_totals().positions
        every = cell(model, " + ".join([*(f"{site}/{f}" for f in range(9)), f"{site}/error", f"{site}/bias"]))
        gone, held = zero_donor(run).writes(every), clamp_donor(run, 3.0).writes(cell(model, f"{site}/2"))
        assert a.exact
        return [a.values, totals, *(edit.value.cpu() for edit in (*gone, *held))]

    expected = found(whole)
    with second_device():
        got = found(aw.load(hf, tokenizer=families.tokenizer(name)))
    for one, other in zip(expected, got, strict=True):
        assert torch.allclose(one, other, atol=1e-5 * (1 + float(one.abs().max())))
