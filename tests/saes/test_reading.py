"""What a dictionary reads: every place and kind of coordinates, against plain hooks; and rows that sum to the bar."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.saes.fit import misfit
from attrib_widgets.saes.reading import activations, collected, value_bias
from attrib_widgets.saes.sae import SAE
from attrib_widgets.words.errors import ComponentError
from attrib_widgets.words.places import Place, dictionary_place
from fixtures import families

NAMES = ["gpt2", "llama", "gemma2", "gemma3", "granite", "gpt_neox"]


def random_sae(site: str, width: int, out: int | None = None, **others) -> SAE:
    """A dictionary that knows nothing; a transcoder where it ``writes``."""
    torch.manual_seed(1)
    out = out or width
    return SAE(
        dictionary_place(site), "standard", torch.randn(width, 30), torch.randn(30), torch.randn(30, out),
        torch.randn(out), **{"subtract": "writes" not in others, **others},
    )  # fmt: skip


def hooked(model, module, end: str) -> torch.Tensor:
    """What goes into a module, or comes out of it, for the prompt of the families."""
    found = []

    def keep(_, args, named, out):
        given = args[0] if args else next(iter(named.values()))
        value = given if end == "input" else out
        found.append((value[0] if isinstance(value, tuple) else value).detach().clone())

    handle = module.register_forward_hook(keep, with_kwargs=True)
    try:
        model.hf(torch.tensor([model.encode(families.PROMPT)]), use_cache=False)
    finally:
        handle.remove()
    return found[0].reshape(-1, found[0].shape[-1])


def by_hook(model, site: str, layer: int = 1) -> torch.Tensor:
    """What a place holds, by the module of the family that has it."""
    a, get = model.anatomy, lambda path: model.module(path, layer)
    if site == "mlp_in":
        return hooked(model, get(a.mlp), "input")
    if site == "mid":
        return hooked(model, get(a.mlp_norm), "input")
    if site == "attn_out":
        return hooked(model, get(a.attn_post_norm or a.attn_out), "output")
    assert site == "pre"
    return hooked(model, model.layer(0), "input")


@pytest.mark.parametrize("name", [*NAMES, "falcon_h1"])  # its attention has a multiplier of its own
def test_every_place_holds_what_a_hook_sees(family_model, name):
    model = family_model(name, torch.float32)
    run, ids = model.run(families.PROMPT), torch.tensor([model.encode(families.PROMPT)])
    for site in ("L0.pre", "L1.attn_out", "L1.mid", "L1.mlp_in"):
        sae = random_sae(site, model.d_model)
        if site == "L1.mid" and model.parallel:
            assert "read the same stream" in misfit(model, sae.site, None)
            with pytest.raises(ComponentError, match="attention and MLP read the same stream"):
                model.saes.add(sae)
            continue
        seen = activations(model, run.record, sae)
        expected = by_hook(model, site.partition(".")[2])
        assert torch.allclose(seen.x.float(), expected.float(), atol=1e-5), site
        assert seen.aside is None and torch.equal(seen.goal, seen.x)
        assert torch.allclose(collected(model, ids, sae)[0], seen.x, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_before_the_gain_of_a_norm(family_model, name):
    model = family_model(name, torch.float32)
    run, ids = model.run(families.PROMPT), torch.tensor([model.encode(families.PROMPT)])
    transcoder = {"writes": Place("mlp", 1)}
    sae = random_sae("L1.mlp_in", model.d_model, coordinates="before gain", **transcoder)
    stream = run.record.streams[1] if model.parallel else run.record.mid(1)
    stream = stream.double()
    norm = model.module(model.anatomy.mlp_norm, 1)
    centred = "LayerNorm" in type(norm).__name__ and "bias" in dict(norm.named_parameters())
    if centred:
        stream = stream - stream.mean(-1, keepdim=True)
    eps = getattr(norm, "eps", None) or getattr(norm, "variance_epsilon", 1e-6)
    expected = stream / (stream.square().mean(-1, keepdim=True) + eps).sqrt()
    seen = activations(model, run.record, sae)
    assert torch.allclose(seen.x.double(), expected, atol=1e-4)
    assert torch.allclose(collected(model, ids, sae)[0].double(), expected, atol=1e-4)
    # TransformerLens names the same place before the gain of an RMS norm; up to version 2 it is behind that of a layer
    # norm, and from 3 on before it.
    named = activations(model, run.record, replace(sae, coordinates="before RMS gain")).x
    raw = activations(model, run.record, replace(sae, coordinates="raw")).x
    assert torch.allclose(named.float(), raw.float() if centred else seen.x, atol=1e-5)
    unsaid = replace(sae, coordinates="hook_normalized")
    if centred:
        with pytest.raises(ComponentError, match=r"up to TransformerLens 2 and before them since.*coordinates=\"raw\""):
            model.saes.add(unsaid)
    else:
        assert torch.equal(activations(model, run.record, unsaid).x, seen.x)


def test_centred_and_without_the_bias_of_the_values():
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    run = model.run(families.PROMPT)
    seen = activations(model, run.record, random_sae("L1", model.d_model, coordinates="centred"))
    assert float(seen.x.mean(-1).abs().max()) < 1e-6 and torch.allclose(seen.x + seen.aside, seen.y, atol=1e-6)
    # A model whose values have no bias hands on as much less.
    twin = copy.deepcopy(model.hf)
    d = model.d_model
    with torch.no_grad():
        model.hf.transformer.h[0].attn.c_attn.bias[2 * d :] = torch.randn(d)
        twin.transformer.h[0].attn.c_attn.bias[2 * d :] = 0
    other = aw.load(twin, tokenizer=families.tokenizer("gpt2"))
    run = model.run(families.PROMPT)
    width = model.n_heads * model.geometry[0].d_head
    seen = activations(model, run.record, random_sae("L0.z", width, coordinates="without value bias"))
    assert torch.allclose(seen.x, other.run(families.PROMPT).record.z[0], atol=1e-5)
    assert torch.allclose(seen.aside[0], value_bias(model, 0), atol=1e-6) and float(seen.aside.abs().max()) > 0.1


ROWS = [
    ("L1.mlp", "L1.mlp_in", {"writes": "mlp"}),
    ("L1.mlp_in", "L1.mlp_in", {"writes": "mlp", "skip": True}),
    ("L1.mlp", "L1.mlp_in", {"writes": "mlp", "skip": True, "coordinates": "before gain", "norm": "rms_norm"}),
    ("L1.attn_out", "L1.attn_out", {}),
    ("L0.attn_out", "L0.attn_out", {"norm": "layer_norm"}),
    ("L1.mid", "L1.mid", {"coordinates": "centred"}),
    ("L0.pre", "L0.pre", {"norm": "rms_norm"}),
    ("L1", "L1", {"norm": "layer_norm"}),
    ("L1.mlp", "L1.mlp", {"norm": "layer_norm", "coordinates": "centred", "skip": True}),
    ("L1H2", "L1.z", {"coordinates": "without value bias", "norm": "rms_norm"}),
]


@pytest.mark.parametrize("name", NAMES)
def test_rows_sum_to_the_bar(family_model, name):
    model = family_model(name, torch.float32)
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    for row, site, asked in ROWS:
        if model.parallel and site == "L1.mid":
            continue
        width = model.n_heads * model.geometry[1].d_head if site.endswith(".z") else model.d_model
        others = {key: value for key, value in asked.items() if key != "skip"}
        if "writes" in others:
            others["writes"] = Place("mlp", 1)
        if asked.get("skip"):
            others["w_skip"] = torch.randn(width, width)
        if others.get("coordinates") == "without value bias" and value_bias(model, 1) is None:
            del others["coordinates"]
        sae = random_sae(site, width, **others)
        found = a.features(row, sae)
        size = 1 + float(found.values.abs().sum())
        assert abs(found.mismatch) <= 1e-6 * size, f"{name} {row} {asked}: {found.total} for {found.parent_value}"
        if row in ("L1.mlp", "L1H2", "L1.mlp_in"):
            assert found.parent_value == a["L1H2" if row == "L1H2" else "L1.mlp"]
        behind = found.kinds[found.firing :]
        assert behind[0] == "bias" and behind[-1] == "error" and found.site == str(sae.site)
        assert ("skip" in behind) == bool(asked.get("skip"))
        assert ("aside" in behind) == ("coordinates" in others and "writes" not in others)
        assert ("mean" in behind) == (others.get("norm") == "layer_norm")
        if found.firing:
            card = found.card(found.numbers[0])
            assert card.arithmetic is not None and str(card.feature) == found.labels[0]


def test_of_an_mlp_the_transcoder_is_used_where_there_is_no_other(family_model):
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    model.saes.add(random_sae("L1.mlp_in", model.d_model, writes=Place("mlp", 1)))
    assert a.features("L1.mlp").site == "L1.mlp_in" == a.features("L1.mlp_in").site
    assert a.features("L1.mlp").labels[0].startswith("L1.mlp_in/")
    model.saes.add(random_sae("L1.mlp", model.d_model))
    assert a.features("L1.mlp").site == "L1.mlp" and a.features("L1.mlp_in").site == "L1.mlp_in"


def test_a_transcoder_of_another_width_does_not_fit(family_model):
    model = family_model("gpt2", torch.float32)
    with pytest.raises(ComponentError, match="The transcoder writes 7 numbers"):
        model.saes.add(random_sae("L1.mlp_in", model.d_model, 7, writes=Place("mlp", 1)))


def test_what_a_module_returns_is_not_what_is_added_behind_a_norm(family_model):
    for name, fits in (("gpt2", True), ("gemma2", False)):
        model = family_model(name, torch.float32)
        for site in ("L1.attn_out", "L1.mlp"):
            sae = random_sae(site, model.d_model, metadata={"module": "layers.1.x"})
            if fits:
                aw.attribute(model.run(families.PROMPT), " Paris").features(site, sae)
            else:
                with pytest.raises(ComponentError, match="norms what that returns"):
                    model.saes.add(sae)
    for name, fits in (("gemma2", True), ("gpt2", False)):
        model = family_model(name, torch.float32)
        a = aw.attribute(model.run(families.PROMPT), " Paris")
        sae = random_sae("L0.pre", model.d_model, metadata={"module": "hook_embed"})
        if fits:
            assert a.features("L0.pre", sae).site == "L0.pre"
        else:
            with pytest.raises(ComponentError, match="adds its positions before layer 0"):
                a.features("L0.pre", sae)


def test_a_transcoder_is_named_by_either_end(tmp_path):
    """From the stream between the sublayers, as in circuit-tracer; from one layer's end to the next, as in sparsify."""
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    middle = random_sae("L1.mid", model.d_model, writes=Place("mlp", 1))
    model.saes["L1.mlp"] = middle
    assert list(model.saes) == [Place("mid", 1)]
    for found in (
        a.features("L1.mlp"),
        a.features("L1.mid"),
        a.features("L1.mlp", middle),
        a.features("L1.mid", middle),
    ):
        assert found.site == "L1.mid" and found.parent == "L1.mlp" and found.parent_value == a["L1.mlp"]
        assert abs(found.mismatch) <= 1e-6 * (1 + float(found.values.abs().sum()))
    whole = random_sae("L0", model.d_model, writes=Place("post", 1))
    for row in ("L0", "L1"):
        found = a.features(row, whole)
        assert found.site == "L0.post" and found.parent == "stream behind L1"
        assert found.parent_value == a.features("L1", random_sae("L1", model.d_model)).parent_value
        assert abs(found.mismatch) <= 1e-6 * (1 + float(found.values.abs().sum()))
    beyond = random_sae("L1", model.d_model, writes=Place("post", 9))
    with pytest.raises(ComponentError, match="no layer 9"):
        a.features("L1", beyond)


def test_what_is_trained_on_goes_on_from_plain_dictionaries_alone():
    from attrib_widgets.saes.train import train_sae

    x = torch.randn(64, 8)
    for odd in ({"norm": "layer_norm"}, {"writes": Place("mlp", 1)}, {"w_skip": torch.zeros(8, 8)}, {"signed": True}):
        with pytest.raises(aw.AttribError, match="no dictionary to go on from"):
            train_sae(x, "L1", start=random_sae("L1", 8, **odd))
