"""A recording belongs to its model, and to the model as it was: every number is the recorded model's, or refused."""

from __future__ import annotations

import copy
import types

import pytest
import torch
from torch import nn

import attrib_widgets as aw
from attrib_widgets.analysis.heads.all_heads import head_table
from fixtures import families
from fixtures.calls import CALLS, CLEAN, CORRUPTED, MEETINGS, TARGET, Given
from fixtures.patching_twin import given_up


# -- another model's ------------------------------------------------------------------------------------------------
def nudged():
    hf = families.build("llama")
    with torch.no_grad():
        for p in hf.parameters():
            p += 0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    return aw.load(hf, tokenizer=families.tokenizer("llama"))


@pytest.fixture(scope="module")
def plain():
    return Given()


@pytest.fixture(scope="module")
def others():
    retokenized = copy.deepcopy(families.tokenizer("llama"))
    retokenized.add_tokens([" Atlantis"])
    small = families.build("gpt2")
    return {
        "tuned": nudged(),
        "loaded again": aw.load(families.build("llama"), tokenizer=families.tokenizer("llama")),
        "bfloat16": aw.load(families.build("llama", torch.bfloat16), tokenizer=families.tokenizer("llama")),
        "another family": aw.load(small, tokenizer=families.tokenizer("gpt2")),
        "tokenizer": retokenized,
    }


@pytest.mark.parametrize("meeting", MEETINGS)
@pytest.mark.parametrize("kind", ["tuned", "loaded again", "bfloat16", "another family", "tokenizer"])
def test_a_run_of_another_model_is_refused_by_name(plain, others, kind, meeting):
    model = others[kind]
    if kind == "tokenizer":
        model = aw.load(plain.model.hf, tokenizer=model)
    model.name = "the other"
    with pytest.raises(aw.ModelError, match=r"run of LlamaForCausalLM.*the other.*model\.run\(run\.ids\)"):
        MEETINGS[meeting](model, plain)


@pytest.mark.parametrize("meeting", MEETINGS)
def test_another_wrapper_of_the_same_model_is_that_model(plain, meeting):
    again = aw.load(plain.model.hf, tokenizer=copy.deepcopy(families.tokenizer("llama")))
    MEETINGS[meeting](again, plain)
    moved = again.run(plain.run)
    assert moved.model is again and plain.run.model is plain.model
    assert torch.equal(aw.attribute(moved, TARGET).values, plain.a.values)


def test_a_coarser_wrapper_records_what_it_needs(plain):
    coarse = aw.load(
        plain.model.hf,
        tokenizer=families.tokenizer("llama"),
        anatomy=aw.Anatomy(
            layers="model.layers", final_norm="model.norm", unembed="lm_head", embed="model.embed_tokens"
        ),
    )
    assert coarse.granularity == "layers"
    moved = coarse.run(plain.run)
    assert moved.model is coarse and not moved.record.z
    assert aw.attribute(plain.run, TARGET, model=coarse).exact


def test_two_models_of_one_name_are_told_apart(plain, others):
    model = others["loaded again"]
    model.name = plain.model.name
    with pytest.raises(aw.ModelError, match=r"run of LlamaForCausalLM.*another model called LlamaForCausalLM"):
        model.run(plain.run)
    assert torch.equal(model.run(plain.run.ids).logits(), plain.run.logits())


# -- the model as it was --------------------------------------------------------------------------------------------
V = torch.randn(families.WIDTH, generator=torch.Generator().manual_seed(3))


def hook(hf):
    hf.model.layers[1].register_forward_hook(lambda module, inputs, out: out + V)


def pre_hook(hf):
    hf.model.layers[2].mlp.register_forward_pre_hook(lambda module, inputs: (inputs[0] + V,))


def hook_on_the_unembedding(hf):
    hf.lm_head.register_forward_hook(lambda module, inputs, out: 2 * out)


def replaced_forward(hf):
    mlp = hf.model.layers[1].mlp
    mlp.forward = types.MethodType(lambda self, x: 0.5 * self.down_proj(self.up_proj(x)), mlp)


def no_grad(hf):
    with torch.no_grad():
        hf.model.layers[0].self_attn.v_proj.weight.mul_(1.5)


def data(hf):
    weight = hf.model.layers[1].mlp.down_proj.weight
    weight.data += torch.outer(V, torch.ones(weight.shape[1]))


def data_of_o(hf):
    hf.model.layers[0].self_attn.o_proj.weight.data *= 1.3


def data_of_embedding(hf):
    hf.model.embed_tokens.weight.data *= 1.1


def data_of_unembedding(hf):
    hf.lm_head.weight.data *= 1.1


def data_of_one_norm_gain(hf):
    hf.model.layers[1].input_layernorm.weight.data[5] += 1.0


def data_of_the_final_norm(hf):
    hf.model.norm.weight.data *= 2.0


def another_tensor(hf):
    hf.model.layers[1].mlp.up_proj.weight = nn.Parameter(-hf.model.layers[1].mlp.up_proj.weight.detach())


def rotary_buffer(hf):
    hf.model.rotary_emb.inv_freq.mul_(0.5)


def rotary_buffer_through_data(hf):
    hf.model.rotary_emb.inv_freq.data *= 0.5


def rotary_buffer_anew(hf):
    hf.model.rotary_emb.inv_freq = hf.model.rotary_emb.inv_freq * 0.5


def attribute_of_a_module(hf):
    hf.model.layers[1].self_attn.scaling *= 2


def epsilon(hf):
    hf.model.norm.variance_epsilon = 1.0


def activation(hf):
    hf.model.layers[1].mlp.act_fn = nn.ReLU()


def configuration(hf):
    hf.config.rms_norm_eps = 1.0


def implementation(hf):
    hf.set_attn_implementation("eager")


def adapter(hf):
    """An adapter put around a projection."""

    class Adapted(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base, self.weight = base, base.weight
            self.down, self.up = nn.Linear(families.WIDTH, 2), nn.Linear(2, base.out_features)

        def forward(self, x):
            return self.base(x) + self.up(self.down(x))

    hf.model.layers[1].self_attn.q_proj = Adapted(hf.model.layers[1].self_attn.q_proj)


CHANGES = [
    hook,
    pre_hook,
    hook_on_the_unembedding,
    replaced_forward,
    no_grad,
    data,
    data_of_o,
    data_of_embedding,
    data_of_unembedding,
    data_of_one_norm_gain,
    data_of_the_final_norm,
    another_tensor,
    rotary_buffer,
    rotary_buffer_through_data,
    rotary_buffer_anew,
    attribute_of_a_module,
    epsilon,
    activation,
    configuration,
    implementation,
    adapter,
]


@pytest.fixture(scope="module")
def expected():
    """What every call prints on a model that nobody changes."""
    untouched = Given()
    return {name: call(untouched) for name, call in CALLS.items()}


@pytest.fixture(scope="module")
def changed(request):
    given = Given()
    request.param(given.model.hf)
    return given


def same_or_refused(given, expected, name):
    remedy = ""
    try:
        found = CALLS[name](given)
    except aw.AttribError as refused:
        remedy = str(refused)
    if remedy:
        assert "model.run(run.ids)" in remedy or "Load it again" in remedy
        return False
    torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-5, equal_nan=True)
    return True


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("changed", CHANGES, indirect=True, ids=lambda c: c.__name__)
def test_after_a_change_numbers_are_those_recorded_or_refused(changed, expected, name):
    kept = same_or_refused(changed, expected, name)
    assert kept or name not in ("recorded results", "explorer"), "what was printed before stays"


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
def test_a_new_run_is_the_remedy(change):
    given = Given()
    change(given.model.hf)
    if change is replaced_forward:
        with pytest.raises(aw.AnatomyError, match=r"the forward of model\.layers\.1\.mlp .*Load it again"):
            given.model.run(given.run.ids)
        return
    run = given.model.run(given.run.ids)
    with torch.no_grad():
        printed = given.model.hf(torch.tensor([run.ids]), use_cache=False).logits[0, -1]
    assert torch.allclose(run.logits(), printed, atol=1e-5)
    if change in (hook, pre_hook, hook_on_the_unembedding, replaced_forward, adapter, rotary_buffer):
        return  # what a hook adds is no part of the sums: closing them is another question
    assert aw.attribute(run, TARGET).exact


def test_what_changed_is_named():
    given = Given()
    hook(given.model.hf)
    with pytest.raises(aw.ModelError, match=r"a hook on model\.layers\.1\)"):
        given.a.sources("L1H1")
    given = Given()
    data(given.model.hf)
    with pytest.raises(aw.ModelError, match=r"model\.layers\.1\.mlp\.down_proj\.weight"):
        aw.patch(*given.pair())
    given = Given()
    attribute_of_a_module(given.model.hf)
    with pytest.raises(aw.ModelError, match=r"model\.layers\.1\.self_attn\.scaling"):
        aw.patch(*given.pair())


class Steering:
    """A hook that was there when the run was recorded, and whose strength is kept where no stamp can see it."""

    def __init__(self, module):
        self.strength = [0.0]
        module.register_forward_hook(lambda module, inputs, out: out + self.strength[0] * V)


@pytest.fixture(scope="module", params=["stream", "mlp"])
def steered(request):
    hf = families.build("llama")
    loaded = aw.load(hf, tokenizer=families.tokenizer("llama"))
    steering = Steering(hf.model.layers[1] if request.param == "stream" else hf.model.layers[1].mlp)
    given = Given.__new__(Given)
    given.model = loaded
    given.run, given.other = loaded.run(CLEAN), loaded.run(CORRUPTED)
    given.a = aw.attribute(given.run, TARGET)
    given.lens, given.pattern = aw.logit_lens(given.run, TARGET), aw.attention(given.run, "L1H1")
    given.explorer = aw.explore(loaded, given.run, TARGET, corrupted=given.other)
    steering.strength[0] = 0.05
    return given


# What runs only a new prompt, or puts recorded parts into one: nothing there shows a change that no stamp sees.
UNSEEN = {
    "phrase",
    "generate",
    "run elsewhere",
    "patch into a text",
    "ablate to the mean",
    "attribution_patch of a text",
}


@pytest.mark.parametrize("name", [c for c in CALLS if c not in UNSEEN])
def test_what_no_stamp_sees_shows_in_the_unchanged_row(steered, expected, name):
    kept = same_or_refused(steered, expected, name)
    runs_again = (
        "patch",
        "ablate",
        "steer",
        "path",
        "attribution_patch",
        "atp",
        "edge",
        "estimated",
        "token_effects",
        "verify",
        "eras",
    )
    if not name.endswith("by relevance"):  # gates and patterns held: the two recordings have all of it
        assert not (kept and name.startswith(runs_again)), "an experiment ran another model than the one recorded"


def test_a_stale_run_does_not_make_the_model_slow():
    """A shortcut is not given up because the model changed."""
    given = Given()
    steering = Steering(given.model.hf.model.layers[1])
    run, other = given.model.run(CLEAN), given.model.run(CORRUPTED)
    assert not given_up(aw.patch(given.model, run, other, TARGET).cost)
    steering.strength[0] = 1.0
    with pytest.raises(aw.ModelError, match="differently now"):
        aw.patch(given.model, run, other, TARGET)
    run, other = given.model.run(run.ids), given.model.run(other.ids)
    assert not given_up(aw.patch(given.model, run, other, TARGET).cost)


# -- what does not matter ----------------------------------------------------------------------------------------------
def train_flags(g):
    g.model.hf.train()


def checkpointing(g):
    g.model.hf.gradient_checkpointing_enable()


def gradients(g):
    ids = torch.tensor([g.run.ids])
    g.model.hf(ids, labels=ids).loss.backward()


def frozen(g):
    g.model.hf.requires_grad_(False)


def more_runs(g):
    g.model.run(families.LONG_PROMPT)
    g.model.run_many([CLEAN, CORRUPTED])
    g.model.generate(CLEAN, 3)
    aw.patch(g.model, CLEAN, CORRUPTED, TARGET, sites=("z", "stream"))
    aw.integrated_gradients(g.model, CLEAN, CORRUPTED, TARGET)


def a_users_trace(g):
    with torch.no_grad(), g.model.traced.trace(torch.tensor([g.run.ids])):
        out = g.model.traced.lm_head.output.save()
    assert out.shape[1] == len(g.run.ids)


def loaded_twice(g):
    aw.load(g.model.hf, tokenizer=families.tokenizer("llama")).run(CLEAN)


def a_hook_come_and_gone(g):
    handle = g.model.hf.model.layers[1].register_forward_hook(lambda module, inputs, out: out + V)
    assert not g.run.fresh
    handle.remove()


def use_cache(g):
    g.model.hf.config.use_cache = False


@pytest.mark.parametrize(
    "event",
    [
        train_flags,
        checkpointing,
        gradients,
        frozen,
        more_runs,
        a_users_trace,
        loaded_twice,
        a_hook_come_and_gone,
        use_cache,
    ],
    ids=lambda e: e.__name__,
)
def test_what_does_not_change_the_function_is_not_refused(event, expected):
    given = Given()
    event(given)
    for name in ("attribute", "sources", "patch", "attribution_patch", "logit_lens"):
        assert same_or_refused(given, expected, name), name


@pytest.mark.parametrize("name", families.FAMILIES + families.VARIANTS)
def test_no_family_changes_by_running(family_model, name):
    model = family_model(name)
    run = model.run(families.ids_of(name))
    model.run(families.ids_of(name, families.LONG_PROMPT))
    model.generate(families.ids_of(name), 2)
    assert run.fresh


def test_the_explorer_asks_again_after_a_change():
    given = Given()
    explorer = aw.explore(given.model, CLEAN, TARGET, corrupted=CORRUPTED)
    before = explorer.attribution.values.clone()
    data(given.model.hf)
    with pytest.raises(aw.ModelError, match="changed since"):
        explorer.attribution.sources("L1H1")
    explorer.ask(prompt=CORRUPTED)
    a = explorer.ask(prompt=CLEAN, target=TARGET)
    assert a.run.fresh and not torch.allclose(a.values, before)
    assert torch.equal(a.values, aw.attribute(given.model.run(CLEAN), TARGET).values)


def test_asking_the_model_for_what_it_can_return_changes_nothing():
    """transformers leaves hooks behind that only look, once hidden states or attentions were asked for."""
    g = Given()
    run = g.model.run(CLEAN)
    before = aw.attribute(run, TARGET).values
    with torch.no_grad():
        g.model.hf(torch.tensor([run.ids]), output_hidden_states=True, output_attentions=True)
    assert torch.equal(aw.attribute(run, TARGET).values, before)
    assert aw.patch(g.model, run, CORRUPTED, TARGET).complete


def unsampled(weight, token):
    """Change one row of a weight behind autograd's back, where the stamp does not look."""
    weight.data[token].mul_(-1)


def test_what_lies_behind_the_stream_is_still_that_of_the_run():
    model = aw.load("demo")
    run, other = model.run(CLEAN), model.run(CORRUPTED)
    unsampled(model.hf.lm_head.weight, model.single_token(TARGET))
    assert run.fresh, "the stamp cannot see this: what follows must"
    asks = [
        lambda: aw.ablate(model, run, TARGET, components="L4.mlp"),
        lambda: aw.attribute(run, TARGET, position=4),
        lambda: aw.attribute(run, TARGET),
        lambda: run.logits(2),
        lambda: aw.patch(model, run, other, TARGET),
        lambda: aw.token_effects(model, run, TARGET),
    ]
    for ask in asks:
        with pytest.raises(aw.AttribError):
            ask()
    assert float(model.run(run.ids).logits(2)[model.single_token(TARGET)]) != 0


def test_the_table_of_heads_closes_like_each_of_them():
    model = aw.load("demo")
    a = aw.attribute(model.run(CLEAN), TARGET)
    model.hf.transformer.h[1].attn.c_proj.weight.data[3:6, 20].add_(2.0)
    with pytest.raises(aw.AttribError):
        head_table(a)


def test_a_model_that_looks_ahead_after_loading_is_looked_at_again():
    hf = families.build("llama")
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    assert model.check.causal
    for layer in hf.model.layers:
        layer.self_attn.is_causal = False
    hf.config.is_causal = False
    with pytest.warns(UserWarning, match="later tokens"):
        found = aw.patch(model, CLEAN, CORRUPTED, TARGET, sites="stream", positions="each")
    assert not model.check.causal
    with pytest.warns(UserWarning, match="later tokens"):
        anew = aw.load(hf, tokenizer=families.tokenizer("llama"))
    expected = aw.patch(anew, CLEAN, CORRUPTED, TARGET, sites="stream", positions="each")
    assert torch.allclose(found.values, expected.values, atol=1e-5) and found.labels == expected.labels


@pytest.mark.parametrize(
    "change",
    [
        lambda m, path: m.hf.save_pretrained(path),
        lambda m, path: setattr(m.hf.config, "pad_token_id", 0),
        lambda m, path: setattr(m.hf.config, "output_hidden_states", True),
        lambda m, path: setattr(m.hf.config, "num_labels", 3),
        lambda m, path: setattr(m.hf, "name_or_path", "x"),
    ],
    ids=["saved", "pad token", "hidden states", "labels", "name"],
)
def test_what_says_nothing_of_the_function_is_no_change(change, tmp_path):
    g = Given()
    before = aw.attribute(g.run, TARGET).values
    change(g.model, tmp_path)
    assert torch.equal(aw.attribute(g.run, TARGET).values, before)


def test_the_name_of_its_own_model_beside_a_run_is_no_other_model():
    run = aw.load("demo").run(CLEAN)
    assert torch.equal(aw.attribute(run, TARGET, model="demo").values, aw.attribute(run, TARGET).values)
