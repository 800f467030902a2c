"""The identities that make every number trustworthy, on every family, in float32 and in bfloat16.

Each is checked against transformers itself or against the modules of the model, not against the library's own sums.
I6 (features) is in test_features.py; I10 to I13 (patching, gradients) are beside their methods.
"""

from __future__ import annotations

import copy
import inspect

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.opening.vectors import written_vector
from attrib_widgets.words.components import component
from fixtures import families

ALL = (
    families.FAMILIES
    + families.VARIANTS
    + families.UNEVEN
    + families.HYBRIDS
    + families.CARRIED
    + families.JOINED
    + families.BLIND
    + families.BESIDE
    + families.STREAMS
)
BOTH = ["float32", "bfloat16"]
HEADS = ["L0H1", "L1H3", "L2H2"]
each = pytest.mark.parametrize("name", ALL)
both = pytest.mark.parametrize("dtype", BOTH)


@pytest.fixture(scope="module")
def asked(family_model):
    """(model, run, attribution of " Paris"), kept."""
    kept = {}

    def make(name, dtype):
        if (name, dtype) not in kept:
            model = family_model(name, families.DTYPES[dtype])
            run = model.run(families.PROMPT)
            kept[name, dtype] = model, run, aw.attribute(run, " Paris")
        return kept[name, dtype]

    return make


def printed(hf, run, **options):
    """transformers' own forward pass, printing what a run asks for: the last logits, where that can be asked."""
    if "logits_to_keep" in inspect.signature(type(hf).forward).parameters:
        options["logits_to_keep"] = 1
    with torch.no_grad():
        return hf(torch.tensor([run.ids]), use_cache=False, **options)


def size(row):
    return 1 + float(row.values.abs().sum())


@both
@each
def test_i1_the_stream_is_the_sum_of_what_is_written(asked, name, dtype):
    model, run, _ = asked(name, dtype)
    hidden = printed(model.hf, run, output_hidden_states=True).hidden_states
    rec = run.record
    if name in families.STREAMS:
        for layer in range(model.n_layers):
            assert torch.equal(rec.states[layer + 1], hidden[layer + 1][:, 0].transpose(0, 1))
            read, between, total = families.mixed(model, rec, layer)
            for made, held in ((read, rec.streams), (between, rec.mids), (total, rec.states[1:])):
                limit = 1e-5 if dtype == "float32" else 2e-2
                assert float((made - held[layer]).abs().max()) <= limit * float(made.abs().max())
        return
    for layer in range(model.n_layers):
        assert torch.equal(rec.streams[layer], hidden[layer][0]), f"layer {layer} reads another stream"
        if name in families.JOINS:
            own = (rec.streams[layer], rec.attn_out[layer], rec.mlp_out[layer])
            total = families.JOINS[name](model.layer(layer), layer, *(x.double() for x in own))
        else:
            total = rec.streams[layer].double() + rec.attn_write[layer].double() + rec.mlp_write[layer].double()
        total = total + (rec.beside_write[layer].double() if rec.beside_write else 0)
        total = total * float(getattr(model.layer(layer), "layer_scalar", 1.0))
        after = rec.streams[layer + 1].double()
        limit = 1e-5 if dtype == "float32" else 1e-2
        assert float((after - total).abs().max()) <= limit * float(after.abs().max())


@both
@each
def test_i2_rows_sum_to_the_read_out_of_the_stream(asked, name, dtype):
    model, run, a = asked(name, dtype)
    token = model.single_token(" Paris")
    norm = copy.deepcopy(model.module(model.anatomy.final_norm))
    norm.__dict__.pop("forward", None)
    with torch.no_grad():
        normed = norm.float()(run.record.streams[-1][-1].float()).double()
    read = float(normed @ model.unembed_weight[:, token].double()) * model.logit_scale
    if model.unembed_bias is not None:
        read += float(model.unembed_bias[token]) * model.logit_scale
    softcap = a["softcap"] if "softcap" in a.labels else 0.0
    assert a.total - softcap - a.rounding["readout"] == pytest.approx(read, abs=1e-5 * size(a))


@both
@each
def test_i3_and_to_what_the_model_prints(asked, name, dtype):
    model, run, a = asked(name, dtype)
    logit = float(printed(model.hf, run).logits[0, -1, model.single_token(" Paris")])
    assert a.actual == logit
    assert a.total == pytest.approx(logit, abs=1e-5 * size(a))
    limit = 1e-5 * size(a) if dtype == "float32" else 2**-7 * size(a)
    assert abs(a["rounding"]) <= limit


@both
@each
def test_i4_heads_sum_to_their_output_projection(asked, name, dtype):
    model, run, _ = asked(name, dtype)
    for layer in families.attention_layers(name):
        weight, bias = model.out_weight(layer)
        heads = families.heads_of(name)[layer]
        parts = run.record.z[layer].float().view(run.n_positions, heads, 1, -1) @ weight.view(heads, -1, model.d_model)
        total = parts.sum((1, 2)) + (0 if bias is None else bias)
        out = run.record.attn_out[layer].float()
        limit = 1e-6 if dtype == "float32" else 5e-3
        assert float((total - out).norm() / out.norm()) <= limit


@both
@each
def test_i5_sources_and_what_passed_through_them_sum_to_the_head(asked, name, dtype):
    _, _, a = asked(name, dtype)
    for head in (h for h in HEADS if component(h).layer in families.attention_layers(name)):
        for opened in (a.sources(head), *([] if name in families.BLIND else [a.through(head)])):
            assert abs(opened.mismatch) <= 1e-5 * size(opened)
            assert opened.parent_value == pytest.approx(a[head], abs=1e-6 * size(a))


@both
@each
def test_i7_neurons_or_experts_sum_to_the_mlp(asked, name, dtype):
    model, _, a = asked(name, dtype)
    for layer in range(model.n_layers):
        if not (level := model.level(layer)).inside:
            assert name in families.UNSPLIT and level.inside.reason
            with pytest.raises(aw.GranularityError, match="experts"):
                a.experts(layer)
            continue
        opened = a.experts(layer) if model.has_experts(layer) else a.neurons(layer)
        assert abs(a[f"L{layer}.mlp"] - opened.total) <= 1e-5 * size(opened)


@both
@each
def test_i8_the_last_row_of_the_lens_is_the_models_output(asked, name, dtype):
    model, run, _ = asked(name, dtype)
    lens = aw.logit_lens(run, " Paris")
    expected = printed(model.hf, run).logits[0, -1].float().softmax(-1)
    found = lens.probability[-1, -1]
    assert float(found) == pytest.approx(float(expected[model.single_token(" Paris")]), abs=1e-6)
    assert float(lens.kl[-1, -1]) == 0.0


@both
@each
def test_i9_tracing_changes_no_logit(asked, name, dtype):
    _, run, _ = asked(name, dtype)
    untouched = families.build(name, families.DTYPES[dtype])
    assert torch.equal(run.logits(), printed(untouched, run).logits[0, -1])


@each
def test_i14_padding_and_batching_change_no_number(asked, name):
    model, _, _ = asked(name, "float32")
    prompts = [families.PROMPT, "The capital of Italy is", "Mary gave the bag to", families.LONG_PROMPT]
    for alone, batched in zip(map(model.run, prompts), model.run_many(prompts), strict=True):
        a, b = aw.attribute(alone, " Paris"), aw.attribute(batched, " Paris")
        assert torch.allclose(a.values, b.values, atol=1e-5 * size(a))


@each
def test_i15_gain_and_unembedding_may_share_a_factor(name):
    """Rescaling the final norm's gain and undoing it in the unembedding changes no contribution."""
    hf = families.build(name)
    model = aw.load(hf, tokenizer=families.tokenizer(name))
    norm = model.module(model.anatomy.final_norm)
    if getattr(norm, "weight", None) is None:
        pytest.skip("its final norm has no gain")
    before = aw.attribute(model.run(families.PROMPT), " Paris")
    factor = torch.rand(model.d_model, generator=torch.Generator().manual_seed(3)) + 0.5
    with torch.no_grad():
        head = hf.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight / factor)  # untied from the embedding, which stays
        plus_one = torch.allclose(model.norm(model.anatomy.final_norm).gain, norm.weight + 1, atol=1e-3)
        norm.weight.copy_((norm.weight + 1) * factor - 1 if plus_one else norm.weight * factor)
        if getattr(norm, "bias", None) is not None:
            norm.bias.mul_(factor)
    after = aw.attribute(aw.load(hf, tokenizer=families.tokenizer(name)).run(families.PROMPT), " Paris")
    assert after.labels == before.labels
    assert torch.allclose(after.values, before.values, atol=1e-5 * size(before))


@each
def test_i15_a_constant_added_to_a_layernorm_model_is_seen_by_nobody(asked, name):
    model, _, a = asked(name, "float32")
    norm = model.norm(model.anatomy.final_norm)
    seen = float(norm.pull(a.reading.direction).sum())
    if norm.centred:
        assert abs(seen) <= 1e-4
    else:
        assert abs(seen) > 1e-3, "an RMS norm sees the mean"


@each
def test_i16_a_contribution_is_a_directional_derivative(asked, name):
    """The gradient of the logit with the norm's scale held, along what a part wrote."""
    model, run, a = asked(name, "float32")
    module = model.module(model.anatomy.final_norm)
    x = run.record.streams[-1][-1].clone().requires_grad_()

    def spread(y: torch.Tensor) -> torch.Tensor:
        centred = y - y.mean() if model.norm(model.anatomy.final_norm).centred else y
        return centred.pow(2).mean().sqrt()

    token, bias = model.single_token(" Paris"), getattr(module, "bias", None)
    with torch.enable_grad():
        y = module(x)
        constant = 0.0 if bias is None else bias.detach()
        held = (y - constant) * (spread(x) / spread(x).detach())  # the division by the scale undone, to first order
        logit = ((held + constant) @ model.unembed_weight[:, token]) * model.logit_scale
        (gradient,) = torch.autograd.grad(logit, x)
    for label in ("embed", "L1H3", "L2.mlp"):
        along = float(gradient @ written_vector(a.run, component(label), a.reading.position))
        assert along == pytest.approx(a[label], abs=2e-4 * size(a))
