"""What a stamp sees of a change, what passes of the library's own may write to, and what they may not."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
import torch
from torch import nn

import attrib_widgets as aw
from attrib_widgets.model.identity.stamp import changes, samples, stamp_of
from attrib_widgets.model.running.generate import generated_ids
from attrib_widgets.model.tracing import causality
from attrib_widgets.model.tracing.hooks import collect, losses
from attrib_widgets.words.places import Place
from fixtures import families

CLEAN, CORRUPTED = "The capital of France is", "The capital of Germany is"
TARGET = " Paris"


def llama():
    return aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))


def stretching(kind: str) -> aw.Model:
    """A model that puts other frequencies in place for a long prompt, and its own back for a short one."""
    import transformers as tf

    rope = {"rope_type": kind, "factor": 4.0, "rope_theta": 10000.0}
    if kind == "longrope":
        rope |= {"long_factor": [4.0] * 4, "short_factor": [1.0] * 4, "original_max_position_embeddings": 16}
    torch.manual_seed(0)
    config = tf.LlamaConfig(
        vocab_size=len(families.tokenizer("llama")),
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=48,
        num_hidden_layers=2,
        max_position_embeddings=64 if kind == "longrope" else 16,
        rope_parameters=rope,
        bos_token_id=0,
        eos_token_id=1,
    )
    return aw.load(tf.LlamaForCausalLM(config).eval(), tokenizer=families.tokenizer("llama"))


def test_a_table_that_the_model_writes_itself_is_no_change():
    model = stretching("longrope")
    run = model.run(CLEAN)
    before = aw.attribute(run, TARGET).values
    long = model.run(families.LONG_PROMPT)
    assert long.n_positions > 16 and run.fresh
    assert torch.equal(aw.attribute(run, TARGET).values, before)
    assert aw.attribute(long, TARGET).exact
    patched = aw.patch(model, run, CORRUPTED, TARGET).values
    assert torch.isfinite(patched).all()


PASSES = {
    "losses": lambda model, ids: losses(model, torch.tensor([ids])),
    "collect": lambda model, ids: collect(model, torch.tensor([ids]), [Place("post", 0)]),
    "generate": lambda model, ids: generated_ids(model, ids, 3),
}


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_of_the_library_may_write_to_such_a_table(name):
    model = stretching("dynamic")
    run = model.run(CLEAN)
    before, table = aw.attribute(run, TARGET).values, model.hf.model.rotary_emb.inv_freq.clone()
    PASSES[name](model, (model.encode(families.LONG_PROMPT) * 8)[:40])
    assert not torch.equal(model.hf.model.rotary_emb.inv_freq, table), "the table was written to"
    assert run.fresh and torch.equal(aw.attribute(run, TARGET).values, before)


def test_a_weight_that_is_written_to_during_a_pass_is_refused_then_and_later():
    model = llama()
    run = model.run(CLEAN)
    weight = model.hf.model.layers[1].mlp.up_proj.weight

    def train(*_):
        with torch.no_grad():
            weight.mul_(1.01)

    handle = model.hf.model.layers[0].register_forward_hook(train)
    with pytest.raises(aw.ModelError, match=r"layers\.1\.mlp\.up_proj\.weight of .* was written to while"):
        model.run(CLEAN)
    handle.remove()
    assert not run.fresh
    again = model.run(CLEAN)
    assert again.fresh
    train()
    assert not again.fresh, "the model's passes were not given that weight to write to"
    with pytest.raises(aw.ModelError, match="up_proj"):
        aw.attribute(again, TARGET)


def test_training_in_another_thread_is_not_taken_for_the_model_s_own_doing():
    model = llama()
    weight, stop = model.hf.model.layers[0].mlp.up_proj.weight, threading.Event()

    def train():
        with torch.no_grad():
            while not stop.is_set():
                weight.mul_(1.0001)

    thread = threading.Thread(target=train)
    thread.start()
    recorded = []
    try:
        for _ in range(5):
            with suppress(aw.ModelError):  # a step fell into the pass
                recorded.append(model.run(CLEAN))
    finally:
        stop.set()
        thread.join()
    recorded.append(model.run(CLEAN))
    with torch.no_grad():
        weight.mul_(-1)
    assert not any(run.fresh for run in recorded)


def test_a_function_that_takes_the_place_of_another_is_seen_wherever_it_lies_in_memory():
    model = llama()
    mlp = model.hf.model.layers[0].mlp
    for _ in range(20):  # a new function is often where the old one was
        mlp.gate = lambda x: x
        run = model.run(CLEAN)
        del mlp.gate
        mlp.gate = lambda x: 2 * x
        assert not run.fresh


def kinds():
    sparse = torch.eye(3).to_sparse()
    yield "sparse buffer", nn.Module(), "register_buffer", sparse, lambda t: t.mul_(2)
    yield "large sparse buffer", nn.Module(), "register_buffer", torch.eye(99).to_sparse(), lambda t: t.mul_(2)
    yield "sparse parameter", nn.Module(), "register_parameter", nn.Parameter(sparse.clone()), lambda t: t.mul_(2)
    yield "sparse attribute", nn.Module(), "__setattr__", sparse.clone(), lambda t: t.mul_(2)
    yield "two in one", nn.Module(), "register_buffer", pair(), lambda t: t.first.mul_(2)


def pair():
    from torch.testing._internal.two_tensor import TwoTensor

    class Pair(TwoTensor):
        first = property(lambda self: self.a)

    return Pair(torch.ones(3), torch.ones(3))


@pytest.mark.parametrize(("module", "put", "tensor", "change"), [k[1:] for k in kinds()], ids=[k[0] for k in kinds()])
def test_tensors_that_cannot_be_sampled_are_seen_to_change(module, put, tensor, change):
    getattr(module, put)("table", tensor)
    before = stamp_of(module)
    assert not changes(before, stamp_of(module))
    with torch.no_grad():
        change(tensor)
    assert [key[1].partition(".")[0] for key in changes(before, stamp_of(module))] == ["table"]


def test_a_tensor_without_numbers_is_no_obstacle():
    module = nn.Module()
    module.register_buffer("table", torch.empty(4, device="meta"))
    assert not changes(stamp_of(module), stamp_of(module))
    assert samples([(0, torch.empty(4, device="meta"))]) == {}


def test_compiling_changes_nothing():
    model = llama()
    run = model.run(CLEAN)
    torch.compile(model.hf)
    assert run.fresh


def test_what_is_not_a_number_is_not_causal(monkeypatch):
    model, read = llama(), causality._streams

    def broken(network, prompts):
        found = read(network, prompts)
        return found if len(prompts) > 1 else [x * torch.nan for x in found]

    monkeypatch.setattr(causality, "_streams", broken)
    assert causality.causality_error(model, model.encode(CLEAN)) == torch.inf


def test_a_warning_points_at_the_caller(recwarn):
    hf = families.build("llama")
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    for layer in hf.model.layers:
        layer.self_attn.is_causal = False
    hf.config.is_causal = False
    with pytest.warns(UserWarning, match="later tokens") as seen:
        model.run(CLEAN)
    assert [w.filename for w in seen] == [__file__]
