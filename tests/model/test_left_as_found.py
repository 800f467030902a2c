"""Whatever is done with it, the model and its tokenizer are left as they were."""

from __future__ import annotations

import copy
import hashlib

import pytest
import torch

import attrib_widgets as aw
from fixtures import families


def fingerprint(hf):
    digest = hashlib.sha256()
    for name, tensor in sorted(hf.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hooks(hf):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {(name, kind): len(getattr(m, kind, {}) or {}) for name, m in hf.named_modules() for kind in kinds}


def snapshot(hf, ids):
    with torch.no_grad():
        logits = hf(torch.tensor([ids]), use_cache=False).logits.clone()
        text = hf.generate(torch.tensor([ids]), max_new_tokens=5, do_sample=False, pad_token_id=1)
    return {
        "weights": fingerprint(hf),
        "logits": logits,
        "generated": text,
        "training": [m.training for m in hf.modules()],
        "needs grad": [p.requires_grad for p in hf.parameters()],
        "grad": [p.grad is None for p in hf.parameters()],
        "attention": hf.config._attn_implementation,
        "cache": hf.config.get_text_config().use_cache,
        "config": hf.config.to_json_string(),
        "hooks": hooks(hf),
        "modules": [type(m).__name__ for m in hf.modules()],
    }


def same(before, after):
    for key, value in before.items():
        equal = torch.equal(value, after[key]) if isinstance(value, torch.Tensor) else value == after[key]
        assert equal, f"{key} changed"


def tokenizer_state(tok):
    return {
        "side": tok.padding_side,
        "pad": tok.pad_token,
        "pad id": tok.pad_token_id,
        "special": dict(tok.special_tokens_map),
        "size": len(tok),
        "truncation": tok.truncation_side,
        "backend": tok.backend_tokenizer.to_str(),
        "ids": tok(families.PROMPT).input_ids,
    }


def everything(model):
    run = model.run(families.PROMPT)
    a = aw.attribute(run, " Paris")
    a.sources("L1H1"), a.through("L1H1"), a.worked("L1H1"), a.writes("L1H1"), a.by_position()
    a.experts(1) if model.has_experts(1) else a.neurons(1)
    aw.attribute(run, aw.score("L1H1", key=1))
    aw.attention(run).weighted("contribution", target=" Paris")
    aw.head_table(a)
    run.top(3, position=0)
    repr(model), repr(model.check), repr(a), repr(run)


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("name", families.FAMILIES)
def test_model_and_tokenizer(name, attn):
    hf, tok = families.build(name, attn=attn), families.tokenizer(name)
    before, tok_before = snapshot(hf, families.ids_of(name)), tokenizer_state(tok)
    model = aw.load(hf, tokenizer=tok)
    same(before, snapshot(hf, families.ids_of(name)))
    everything(model)
    same(before, snapshot(hf, families.ids_of(name)))
    assert tokenizer_state(tok) == tok_before, f"the tokenizer changed: {tok_before} -> {tokenizer_state(tok)}"
    assert model.hf is hf, "the model under study is the user's own"


def test_training_flags_and_dropout():
    """A model in the middle of training: explained without dropout, handed back training, frozen parts still frozen."""
    hf = families.build("gpt2")
    for module in hf.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    hf.train()
    hf.transformer.h[1].eval()
    hf.transformer.wte.weight.requires_grad_(False)
    flags = [m.training for m in hf.modules()]
    model = aw.load(hf, tokenizer=families.tokenizer("gpt2"))
    assert [m.training for m in hf.modules()] == flags
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    again = aw.attribute(model.run(families.PROMPT), " Paris")
    assert torch.equal(a.values, again.values), "dropout was active"
    assert a.exact
    assert [m.training for m in hf.modules()] == flags
    assert not hf.transformer.wte.weight.requires_grad
    assert all(p.grad is None for p in hf.parameters())


def test_gradients_of_the_user_survive():
    hf = families.build("llama")
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    ids = torch.tensor([families.ids_of("llama")])
    hf(ids, labels=ids).loss.backward()
    grads = [p.grad.clone() for p in hf.parameters()]
    everything(model)
    assert all(torch.equal(p.grad, g) for p, g in zip(hf.parameters(), grads, strict=True))
    hf(ids, labels=ids).loss.backward()
    assert all(torch.allclose(p.grad, 2 * g, rtol=1e-4, atol=1e-6) for p, g in zip(hf.parameters(), grads, strict=True))


def test_random_numbers_are_the_users():
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    everything(model)
    assert torch.equal(torch.randn(3), expected), "the global random state moved"


def test_loading_leaves_random_numbers_alone():
    hf = families.build("gemma3")
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    aw.load(hf, tokenizer=families.tokenizer("gemma3"))
    assert torch.equal(torch.randn(3), expected), "loading moved the global random state"


def test_two_wrappers_of_one_model():
    hf = families.build("llama")
    first = aw.load(hf, tokenizer=families.tokenizer("llama"))
    alone = aw.attribute(first.run(families.PROMPT), " Paris").values
    second = aw.load(hf, tokenizer=families.tokenizer("llama"))
    for model in (first, second, first):
        assert torch.equal(aw.attribute(model.run(families.PROMPT), " Paris").values, alone)


def test_an_nnsight_model_is_accepted():
    from nnsight import TransformersModel

    hf = families.build("llama")
    traced = TransformersModel(hf, tokenizer=families.tokenizer("llama"), task="text-generation")
    side, pad = traced.tokenizer.padding_side, traced.tokenizer.pad_token
    model = aw.load(traced)
    assert model.hf is hf
    plain = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    a, b = (aw.attribute(m.run(families.PROMPT), " Paris") for m in (model, plain))
    assert torch.equal(a.values, b.values)
    assert (traced.tokenizer.padding_side, traced.tokenizer.pad_token) == (side, pad)
    ids = torch.tensor([families.ids_of("llama")])
    with torch.no_grad(), traced.trace(ids):
        out = traced.lm_head.output.save()
    assert torch.allclose(out[0, -1], a.run.logits(), atol=1e-5), "the user's own trace no longer works"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_after_an_interruption(error):
    hf = families.build("gemma2")
    model = aw.load(hf, tokenizer=families.tokenizer("gemma2"))
    before = aw.attribute(model.run(families.PROMPT), " Paris").values
    state = snapshot(hf, families.ids_of("gemma2"))

    def stop(*args):
        raise error("stopped")

    for place in (hf.model.layers[1].mlp, hf.lm_head):
        handle = place.register_forward_pre_hook(stop)
        with pytest.raises(error):
            model.run(families.PROMPT)
        handle.remove()
        assert torch.equal(aw.attribute(model.run(families.PROMPT), " Paris").values, before)
    same(state, snapshot(hf, families.ids_of("gemma2")))
    assert model.lock.acquire(blocking=False), "the lock is still held"
    model.lock.release()


def test_the_model_can_still_be_copied_and_saved(tmp_path):
    hf = families.build("qwen3")
    model = aw.load(hf, tokenizer=families.tokenizer("qwen3"))
    everything(model)
    twin = copy.deepcopy(hf)
    ids = torch.tensor([families.ids_of("qwen3")])
    with torch.no_grad():
        assert torch.equal(twin(ids).logits, hf(ids).logits)
    hf.save_pretrained(tmp_path)
    again = type(hf).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(ids).logits, hf(ids).logits)


def test_the_models_own_hooks_stay_in_force():
    """A user who steers the model with a hook gets the steered model explained."""
    hf = families.build("llama")
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    handle = hf.model.layers[1].mlp.register_forward_hook(lambda m, i, o: o * 0.0)
    try:
        run = model.run(families.PROMPT)
        with torch.no_grad():
            printed = hf(torch.tensor([run.ids]), use_cache=False).logits[0, -1]
        assert torch.allclose(run.logits(), printed, atol=1e-5)
        a = aw.attribute(run, " Paris")
        assert a.exact
        assert a["L1.mlp"] == pytest.approx(0.0, abs=1e-6), "the MLP was switched off, yet it contributes"
    except aw.GranularityError:
        pass
    finally:
        handle.remove()
