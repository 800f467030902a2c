"""Patterns and values are heard in the layers themselves, and what cannot be heard is recomputed as before."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch.overrides import _get_current_function_mode_stack

import attrib_widgets as aw
from attrib_widgets.model.parts import attention as attend
from attrib_widgets.model.parts import listen
from fixtures import families

EXACT = 1e-6


def heard(run, layer=1):
    model = run.model
    return listen.heard(model, run.record, layer, attend.normed_input(model, run.record, layer))


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("name", families.FAMILIES + families.VARIANTS)
def test_every_family_is_heard_as_its_anatomy_says(family_model, name, attn):
    run = family_model(name, attn=attn).run(families.LONG_PROMPT)
    for layer in range(run.model.n_layers):
        found, expected = heard(run, layer), attend.scored(run.model, run.record, layer)
        assert found is not None
        assert torch.equal(found.v, expected.v)
        assert float((found.pattern - expected.pattern).abs().max()) <= EXACT
        assert (found.sink is None) == (expected.sink is None)
        if found.sink is not None:
            assert torch.equal(found.sink, expected.sink)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["llama", "gptj", "gemma2", "gpt_oss", "bloom", "falcon_grouped"])
def test_half_precision(family_model, name, dtype):
    kind = families.DTYPES[dtype]
    run = family_model(name, kind).run(families.LONG_PROMPT)
    found, expected = heard(run), attend.scored(run.model, run.record, 1)
    assert torch.equal(found.v, expected.v)
    assert float((found.pattern - expected.pattern).abs().max()) <= torch.finfo(kind).eps


def test_batched_runs_are_heard_one_by_one(family_model):
    model = family_model("bloom")
    runs = model.run_many([families.PROMPT, "The capital of Italy is", families.LONG_PROMPT])
    for run in runs:
        alone = aw.attention(model.run(run.ids)).patterns
        assert float((aw.attention(run).patterns - alone).abs().max()) <= 1e-5


def test_patterns_need_no_copy_of_the_arithmetic(monkeypatch):
    model = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    run = model.run(families.PROMPT)
    expected = aw.attention(run).patterns

    def never(*given):
        raise AssertionError("the anatomy's arithmetic was asked")

    monkeypatch.setattr(attend, "_recompute", never)
    assert torch.equal(aw.attention(run).patterns, expected)
    a = aw.attribute(run, " Paris")
    assert abs(a.sources("L1H1").mismatch) <= 1e-5 and abs(a.through("L1H1").mismatch) <= 1e-5


def test_what_cannot_be_heard_is_recomputed(monkeypatch):
    """An attention of one's own, written with einsum."""

    def own(module, q, k, v, mask, scaling=None, **options):
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
        scores = torch.einsum("bhtd,bhsd->bhts", q, k) * scaling
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        pattern = scores.masked_fill(later, -torch.inf).exp()
        out = torch.einsum("bhts,bhsd->bthd", pattern / pattern.sum(-1, keepdim=True), v)
        return out, None

    monkeypatch.setitem(transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS, "sdpa", own)
    model = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    run = model.run(families.PROMPT)
    assert model.check.ok and heard(run) is None
    usual = aw.load(families.build("llama", attn="eager"), tokenizer=families.tokenizer("llama")).run(run.ids)
    assert float((aw.attention(run).patterns - aw.attention(usual).patterns).abs().max()) <= 1e-5


def test_what_was_heard_must_be_what_was_recorded():
    """Weights that changed since the run are refused, as ever."""
    model = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    run = model.run(families.PROMPT)
    with torch.no_grad():
        model.hf.model.layers[1].self_attn.q_proj.weight.data.mul_(1.1)
    with pytest.raises(aw.GranularityError, match="is not what its heads wrote"):
        attend.attend(model, run.record, 1)


def test_nothing_is_left_behind(family_model, monkeypatch):
    run = family_model("gpt2").run(families.PROMPT)
    assert heard(run) is not None and _get_current_function_mode_stack() == []
    monkeypatch.setitem(run.record.attn_inputs[1], "attention_mask", "no mask")
    assert heard(run) is None and _get_current_function_mode_stack() == []


def test_other_threads_are_not_heard():
    found = []
    with listen.Listener(3) as listener:
        other = threading.Thread(target=lambda: found.append(F.softmax(torch.zeros(2, 3, 3), -1)))
        other.start()
        other.join()
        assert found and listener.told == 0
        F.softmax(torch.zeros(2, 3, 3), -1)
    assert listener.told == 1


def test_a_compiled_attention():
    hf = families.build("llama")
    for layer in hf.model.layers:
        layer.self_attn.compile(backend="eager")
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    run = model.run(families.PROMPT)
    usual = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama")).run(run.ids)
    assert model.check.ok
    assert float((aw.attention(run).patterns - aw.attention(usual).patterns).abs().max()) <= 1e-6


def test_attention_inside_an_unknown_compression():
    """DeepSeek's values come from a shared compressed stream: heads, what they write and by source are exact, no
    more."""
    model = aw.load(families.build("deepseek_v2"), tokenizer=families.tokenizer("deepseek_v2"))
    assert model.granularity == "heads" and not model.check.attention_ok
    assert "no projection of what its layers read" in model.check.reason
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert a.exact and a.heads.shape == (families.LAYERS, families.HEADS)
    with pytest.raises(aw.GranularityError, match="no projection"):
        a.through("L1H1")
    assert a.sources("L1H1").total == pytest.approx(a["L1H1"], abs=1e-5)


def test_what_arrives_is_never_another_threads(family_model):
    model = family_model("laguna")
    ids = torch.tensor([families.ids_of("laguna")])

    def run() -> None:
        with model.quiet():
            model.hf(ids, use_cache=False)

    other = threading.Thread(target=run)
    with listen.arriving(model, 1, ids.shape[1]) as given:
        other.start()
        other.join(0.3)
        assert other.is_alive() and not given
    other.join()
    assert not given
