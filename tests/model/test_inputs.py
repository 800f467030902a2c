"""Inputs people have: chat messages, batches of mixed lengths, long prompts, models in train mode."""

from __future__ import annotations

import gc

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.running import memory
from attrib_widgets.model.running.worker import Cancelled, Worker
from fixtures import families

TEMPLATE = (
    "{{ bos_token or '' }}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% if not loop.last or add_generation_prompt or m.role != 'assistant' %}<eos>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CHAT = [{"role": "user", "content": families.PROMPT}]
# Several of each length, one of them as many as they are long (a batch is not to be mistaken for a sequence).
MIXED = [[(11 * p + 5 * i + 3) % 390 for i in range(n)] for p, n in enumerate([5, 12, 1, 5, 5, 20, 12, 5, 5, 2, 20])]


def chatty(name):
    tokenizer = families.tokenizer(name)
    tokenizer.chat_template = TEMPLATE
    return aw.load(families.build(name), tokenizer=tokenizer)


@pytest.fixture(scope="module")
def chat_model():
    return chatty("llama")


# -- chat messages -----------------------------------------------------------------------------------------------
def test_messages_go_through_the_template_once_and_are_shown(chat_model):
    expected = chat_model.tokenizer.apply_chat_template(CHAT, tokenize=True, add_generation_prompt=True)
    expected = list(expected["input_ids"] if hasattr(expected, "keys") else expected)
    run = chat_model.run(CHAT)
    assert run.ids == expected, "the tokenizer's own way from messages to ids"
    assert run.ids.count(chat_model.tokenizer.bos_token_id) == 1 and run.special[0] == 0
    assert run.text == f"<bos><user>{families.PROMPT}<eos><assistant>" == "".join(run.tokens)
    assert "<eos>" in run.tokens, "special tokens are tokens, not text"
    with torch.no_grad():
        printed = families.build("llama")(torch.tensor([expected]), use_cache=False, logits_to_keep=1).logits[0, -1]
    assert torch.equal(run.logits(), printed)


def test_messages_wherever_a_prompt_is_taken(chat_model):
    a = aw.attribute(CHAT, " Paris", model=chat_model)
    assert a.exact and a.actual == aw.attribute(chat_model.run(CHAT), " Paris").actual
    assert aw.attention(CHAT, "L1H1", model=chat_model).run.ids == a.run.ids
    assert chat_model.generate(CHAT, 3).ids[: a.run.n_positions] == a.run.ids
    assert [r.text for r in chat_model.run_many([CHAT, "The"])] == [a.run.text, "The"]
    assert aw.attribute(CHAT, aw.phrase(" Paris"), model=chat_model).start == a.run.n_positions
    view = aw.explore(chat_model, CHAT, " Paris")
    assert view.run.ids == a.run.ids and view.attribution.actual == a.actual


def test_an_answer_begun_is_continued(chat_model):
    run = chat_model.run([*CHAT, {"role": "assistant", "content": "It is"}])
    assert run.text.endswith("<assistant>It is"), run.text


def test_bos_can_be_dropped_and_is_never_doubled(chat_model):
    bos = chat_model.tokenizer.bos_token_id
    assert chat_model.run(CHAT, bos=True).ids.count(bos) == 1
    assert chat_model.run(CHAT, bos=False).ids.count(bos) == 0
    run = chat_model.run(CHAT)
    assert chat_model.run(run.text).ids == run.ids, "the shown text, typed again, brings its own"
    assert chat_model.run("<bos><bos>The").ids.count(bos) == 2, "as typed"


def test_what_is_no_chat_is_named_with_its_remedy(family_model, chat_model):
    with pytest.raises(aw.TokenizerError, match="no chat template"):
        family_model("llama").run(CHAT)
    for wrong in ([{"role": "user"}], [{"content": "x"}], [{"role": 3, "content": "x"}]):
        with pytest.raises(aw.TokenizerError, match="is not a message"):
            chat_model.run(wrong)
    strict = chatty("llama")
    strict.tokenizer.chat_template = "{{ raise_exception('no system role here') }}"
    with pytest.raises(aw.TokenizerError, match="no system role here"):
        strict.run(CHAT)


# -- many prompts ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("name", families.FAMILIES + families.VARIANTS + families.CARRIED + families.JOINED)
def test_many_prompts_at_once_are_the_prompts_alone(family_model, name, attn):
    """I14: mixed lengths, every number of the batch against the single run."""
    model = family_model(name, attn=attn)
    together = model.run_many(MIXED)
    assert [r.ids for r in together] == MIXED, "in the order given"
    for run in together:
        alone = model.run(run.ids)
        assert run.text == alone.text and run.special == alone.special and run.record.kept == alone.record.kept
        parts = ("streams", "z", "attn_out", "attn_write", "mlp_out", "mlp_write")
        for part in parts:
            for got, expected in zip(getattr(run.record, part), getattr(alone.record, part), strict=True):
                assert got.shape == expected.shape
                limit = 1e-5 * (1 + float(expected.abs().max()))
                assert torch.allclose(got, expected, atol=limit), f"{name} {part} of {len(run)} tokens"
        assert torch.allclose(run.logits(), alone.logits(), atol=1e-5 * (1 + float(alone.logits().abs().max())))
        a, b = aw.attribute(run, " Paris"), aw.attribute(alone, " Paris")
        assert a.exact and torch.allclose(a.values, b.values, atol=1e-5 * (1 + float(b.values.abs().sum())))
        assert run.record.bytes() == alone.record.bytes()
    for run in (together[0], together[5]):  # what the attention modules were given is split too
        alone = model.run(run.ids)
        got, expected = aw.attention(run).patterns, aw.attention(alone).patterns
        assert torch.allclose(got, expected, atol=1e-5)
        if not model.level(1).scores:
            continue
        assert aw.attribute(run, aw.score("L1H1", key=-2)).actual == pytest.approx(
            aw.attribute(alone, aw.score("L1H1", key=-2)).actual, abs=1e-4
        )


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "bloom"])
def test_many_prompts_in_half_precision(family_model, name):
    model = family_model(name, torch.bfloat16)
    for run in model.run_many(MIXED):
        a = aw.attribute(run, " Paris")
        assert a.exact
        alone = aw.attribute(model.run(run.ids), " Paris")
        assert a.actual == pytest.approx(alone.actual, abs=0.02 * (1 + abs(alone.actual)))


def test_a_batch_is_split_by_its_budget_and_shares_no_memory(family_model, monkeypatch):
    from attrib_widgets.model.running import batch

    model = family_model("llama")
    sizes, real = [], batch.record_many
    monkeypatch.setattr(batch, "record_many", lambda m, rows, keep=None: sizes.append(len(rows)) or real(m, rows, keep))
    model.run_many([[5] * 6] * 7)
    one = memory.estimate(model, 6) + 2 * model.n_heads * 36 * 4
    model.run_many([[5] * 6] * 7, budget=3 * one)
    model.run_many([[5] * 6] * 2, budget=1)
    assert sizes == [7, 3, 3, 1, 1, 1]
    first, second = model.run_many([[5, 6], [7, 8]])
    storage = first.record.streams[0].untyped_storage()
    assert storage.nbytes() == first.record.streams[0].nbytes, "keeping one run would keep them all"
    assert storage.data_ptr() != second.record.streams[0].untyped_storage().data_ptr()


def test_runs_of_this_model_are_kept_and_wrong_prompts_named(family_model):
    model = family_model("llama")
    run = model.run(families.PROMPT)
    assert model.run_many([run, "The"])[0] is run
    assert model.run_many([]) == []
    a = aw.attribute(run, " Paris")
    for one in (run, a):
        assert model.run_many(one) == model.run_many([one]) == [run]
    for one in (run.ids, tuple(run.ids), torch.tensor(run.ids), iter(run.ids)):
        assert [r.ids for r in model.run_many(one)] == [run.ids], "token ids are one prompt"
    with pytest.raises(aw.PositionError, match="not a list"):
        model.run_many(families.PROMPT)
    with pytest.raises(aw.PositionError, match="Prompt 1"):
        model.run_many(["The", []])
    bos = model.tokenizer.bos_token_id
    assert all(bos not in r.ids for r in model.run_many(["The", "A"], bos=False))


def test_progress_and_cancel_between_passes(family_model):
    model = family_model("llama")
    told = []
    worker = Worker("many")
    job = worker.submit(lambda job: model.run_many(MIXED, job=job), on_progress=lambda *what: told.append(what[:2]))
    assert job.wait(60) and job.state == "done" and len(job.result) == len(MIXED)
    assert told[0] == (0, len(MIXED)) and told[-1] == (len(MIXED), len(MIXED)) and sorted(told) == told

    def stop(done, total, note):
        if done:
            stopped.cancel()

    stopped = worker.submit(lambda job: model.run_many(MIXED, job=job), on_progress=stop)
    assert stopped.wait(60) and stopped.state == "cancelled"
    with pytest.raises(Cancelled):
        stopped.check()


# -- memory --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "name", families.FAMILIES + families.VARIANTS + families.CARRIED + families.JOINED + families.BESIDE
)
def test_the_estimate_is_what_a_run_keeps(family_model, name, dtype):
    model = family_model(name, families.DTYPES[dtype])
    for n, positions in ((1, None), (17, None), (40, [3, 5, 39])):
        run = model.run([7] * n, positions=positions)
        estimated = model.memory_estimate(n, len(positions or [0]))
        assert estimated == pytest.approx(run.record.bytes(), rel=0.1), f"{n} tokens"


def test_a_run_that_does_not_fit_is_refused_before_it_runs(family_model, monkeypatch):
    model = family_model("gpt2")
    needed = model.memory_estimate(40)
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda device: needed - 1)
    monkeypatch.setattr(type(model), "quiet", lambda model: pytest.fail("it ran all the same"))
    with pytest.raises(aw.PositionError, match=r"40 tokens takes .* are free"):
        model.run([7] * 40)
    with pytest.raises(aw.PositionError, match="prompts together"):
        model.run_many([[7] * 20] * 4)
    monkeypatch.undo()
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda device: needed + 1)
    with pytest.warns(UserWarning, match="are free"):
        model.run([7] * 40)
    monkeypatch.setattr(memory, "available", lambda device: None)
    assert model.run([7] * 40).n_positions == 40, "a machine that does not say is not held back"


def test_attention_that_does_not_fit_is_refused_before_it_is_computed(family_model, monkeypatch):
    model = family_model("llama")
    a = aw.attribute(model.run([7] * 40), " Paris")
    monkeypatch.setattr(memory, "SMALL", 0)
    for ask, size in (
        (lambda: a.sources("L1H1"), 40),  # one head, one row
        (lambda: aw.attention(a.run, "L1H1"), 40**2),
        (lambda: aw.attribute(a.run, aw.score("L1H1")), 40),  # the same
        (lambda: a.trace(), model.n_heads * 40),
    ):
        monkeypatch.setattr(memory, "available", lambda device, size=size: 16 * size - 1)
        with pytest.raises(aw.PositionError, match=r"attention of layer . over 40 tokens takes .* patterns"):
            ask()
    assert a.exact, "what needs no pattern is still told"


def test_free_memory_is_asked_of_the_machine(monkeypatch):
    free = memory.available(torch.device("cpu"))
    assert free is None or 2**20 < free < 2**50
    assert memory.available(torch.device("meta")) is None

    def nothing(*args, **kwargs):
        raise OSError

    monkeypatch.setattr("builtins.open", nothing)
    total = memory.available(torch.device("cpu"))
    assert total is None or free is None or total >= free
    monkeypatch.delattr(memory.os, "sysconf", raising=False)
    assert memory.available(torch.device("cpu")) is None


def test_what_a_run_takes_is_told(family_model):
    model = family_model("gpt2")
    told = memory.readable(model.memory_estimate(1000))
    assert told in repr(model) and told in repr(model.report())
    assert [memory.readable(n) for n in (12, 1200, 3_400_000, 256_000_000, 5e12)] == [
        "12 bytes",
        "1.2 kB",
        "3.4 MB",
        "256 MB",
        "5000 GB",
    ]


# -- the state a model comes in --------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3", "gpt_neox"])
def test_a_model_in_train_mode_with_dropout_is_read_without_it(name, attn, dtype):
    config = families.config(name)
    for rate in ("attn_pdrop", "resid_pdrop", "embd_pdrop", "attention_dropout", "hidden_dropout"):
        if hasattr(config, rate):
            setattr(config, rate, 0.5)
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_config(config, dtype=families.DTYPES[dtype], attn_implementation=attn)
    families.randomize(hf)
    hf.train()
    model = aw.load(hf, tokenizer=families.tokenizer(name))
    assert model.check.ok
    runs = [model.run(families.PROMPT), *model.run_many([families.PROMPT]), model.generate(families.PROMPT, 2)]
    expected = families.build(name, families.DTYPES[dtype], attn)
    with torch.no_grad():
        printed = expected(torch.tensor([runs[0].ids]), use_cache=False, logits_to_keep=1).logits[0, -1]
    assert torch.equal(runs[0].logits(), printed) and torch.equal(runs[1].logits(), printed)
    assert all(m.training for m in hf.modules()), "the model is left in train mode"
    assert aw.attribute(runs[0], " Paris").exact


def test_many_runs_leave_nothing_behind(family_model):
    model = family_model("llama")

    def tensors():
        gc.collect()
        return sum(1 for o in gc.get_objects() if type(o) is torch.Tensor)

    model.run_many(MIXED)
    before = tensors()
    for _ in range(3):
        model.run_many(MIXED)
    assert tensors() - before <= 2
