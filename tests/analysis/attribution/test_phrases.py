"""Phrases: the log-probability of a continuation is a sum over its tokens, and each token a sum over the model."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.attribution.attribution import attribute_resolved
from attrib_widgets.words.targets import Target
from attrib_widgets.words.text import unspelled
from fixtures import families

ALL = families.FAMILIES + families.VARIANTS + families.JOINED + families.STREAMS
CONTINUATION = " Paris. The capital of Italy is Rome."
CAPPED = {name for name in ALL if getattr(families.config(name), "final_logit_softcapping", None)}


def unit_of(name):
    return "logits" if name in CAPPED else "nats"


def printed(name, dtype, ids):
    """All logits of the same transformers model, never wrapped by anything."""
    with torch.no_grad():
        return families.build(name, dtype)(torch.tensor([ids]), use_cache=False).logits[0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ALL)
def test_a_phrase_adds_up_to_what_transformers_prints(family_model, name, dtype):
    model = family_model(name, families.DTYPES[dtype])
    run = model.run(families.PROMPT)
    phrase = aw.attribute(run, aw.phrase(CONTINUATION, unit=unit_of(name)))
    ids = families.tokenizer(name)(CONTINUATION, add_special_tokens=False).input_ids
    assert phrase.ids == ids and "".join(phrase.tokens) == CONTINUATION
    assert phrase.run.ids == run.ids + ids and phrase.start == run.n_positions
    logits = printed(name, families.DTYPES[dtype], phrase.run.ids)[run.n_positions - 1 : -1]
    logs = logits.double().log_softmax(-1)
    own = (logits.double() if name in CAPPED else logs).gather(1, torch.tensor(ids)[:, None])[:, 0]
    assert phrase.actual == pytest.approx(float(own.sum()), abs=1e-6), "the model's own number"
    expected = logs.gather(1, torch.tensor(ids)[:, None])[:, 0].float()
    assert torch.allclose(phrase.log_probs, expected, atol=1e-6)
    assert torch.allclose(phrase.entropies.double(), -(logs.exp() * logs).sum(-1), atol=1e-5)
    assert phrase.exact, f"{name}: gap {phrase.mismatch:.1e}"
    assert abs(phrase.mismatch) <= 1e-5 * (1 + float(phrase.values.abs().sum()))
    assert torch.allclose(phrase.sums, phrase.values.sum(0), atol=1e-5)
    assert phrase.values.shape == (len(ids), len(phrase.labels))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ALL)
def test_every_token_is_the_attribution_of_its_position(family_model, name, dtype):
    """All tokens in one pass against one at a time."""
    model = family_model(name, families.DTYPES[dtype])
    phrase = aw.attribute(families.PROMPT, aw.phrase(CONTINUATION, unit=unit_of(name)), model=model)
    for i, a in enumerate(phrase):
        position = phrase.start - 1 + i
        target = (aw.logit if name in CAPPED else aw.log_prob)(phrase.ids[i])
        alone = aw.attribute(phrase.run, target, position)
        assert a.position == position and a.labels == alone.labels == phrase.labels and a.target == target
        scale = 1 + float(alone.values.abs().sum())
        assert torch.allclose(a.values, alone.values, atol=2e-6 * scale), f"{name} token {i}"
        assert a.actual == pytest.approx(alone.actual, abs=1e-6)
        assert a.reading.bound == pytest.approx(alone.reading.bound, rel=1e-4)
        if unit_of(name) == "nats":
            assert a["entropy"] == pytest.approx(-float(phrase.entropies[i]), abs=1e-5)
    # an ordinary attribution in every respect
    assert aw.attribute(phrase.run, " Paris", phrase.start - 1).sources("L1H1").total == pytest.approx(
        aw.attribute(phrase.run, " Paris", phrase.start - 1)["L1H1"], abs=1e-5
    )
    assert phrase[0].sources("L1H1").total == pytest.approx(phrase[0]["L1H1"], abs=1e-5)


@pytest.mark.parametrize("own", [None, "next"])
@pytest.mark.parametrize("name", [n for n in ALL if n not in CAPPED])
def test_all_destinations_at_once_are_the_single_attributions(family_model, name, own):
    """The slow twin: one position after the other."""
    a = aw.attribute(family_model(name).run(families.LONG_PROMPT), aw.log_prob(" Paris"))
    every, token = a.by_position(own), a.model.single_token(" Paris")
    ids = [*a.run.ids[1:], token] if own else [token] * a.run.n_positions
    for p in range(a.run.n_positions):
        alone = attribute_resolved(a.run, Target("log_prob", (ids[p],)), p)
        scale = 1 + float(alone.values.abs().sum())
        assert torch.allclose(every.values[p], alone.values, atol=3e-6 * scale), f"{name} position {p}"
        assert float(every.actual[p]) == pytest.approx(alone.actual, abs=1e-4)
    assert every.labels == alone.labels


def test_next_tokens_in_logits_too(family_model):
    for name in ("gpt2", "gemma2"):
        a = aw.attribute(family_model(name).run(families.LONG_PROMPT), " Paris")
        every = a.by_position("next")
        for p in range(a.run.n_positions - 1):
            alone = attribute_resolved(a.run, aw.logit(a.run.ids[p + 1]), p)
            assert torch.allclose(every.values[p], alone.values, atol=1e-5 * (1 + float(alone.values.abs().sum())))


def test_a_phrase_shorter_than_a_chunk_and_longer(family_model):
    model = family_model("llama")
    run = model.run(families.PROMPT)
    ids = [(7 * i) % model.vocab_size for i in range(40)]  # more than one chunk of positions
    phrase = aw.attribute(run, aw.phrase(ids))
    assert phrase.exact and len(phrase) == 40
    alone = aw.attribute(phrase.run, aw.log_prob(ids[35]), phrase.start + 34)
    assert torch.allclose(phrase[35].values, alone.values, atol=1e-5)
    one = aw.attribute(run, aw.phrase(" Paris"))
    assert len(one) == 1 and one.actual == pytest.approx(aw.attribute(run, aw.log_prob(" Paris")).actual, abs=1e-5)


def test_a_run_that_goes_on_with_the_phrase_is_read_not_run_again(family_model):
    model = family_model("gpt2")
    run = model.run(families.PROMPT + CONTINUATION)
    start = len(model.encode(families.PROMPT))
    given = aw.attribute(run, aw.phrase(CONTINUATION), position=start - 1)
    rest = aw.attribute(run, aw.phrase(), position=start - 1)
    assert given.run is run and rest.run is run and rest.ids == given.ids
    again = aw.attribute(model.run(families.PROMPT), aw.phrase(CONTINUATION))
    assert again.run is not run
    assert torch.allclose(given.values, again.values, atol=1e-5)
    other = aw.attribute(run, aw.phrase(" Rome"), position=start - 1)
    assert other.run is not run and other.run.ids == run.ids[:start] + other.ids


@pytest.mark.parametrize("name", families.FAMILIES)
def test_generated_text_is_what_transformers_generates(family_model, name):
    model = family_model(name)
    run = model.generate(families.PROMPT, 9)
    ids = torch.tensor([families.ids_of(name)])
    with torch.no_grad():
        text = families.build(name).generate(ids, max_new_tokens=9, do_sample=False, pad_token_id=1)[0].tolist()
    assert run.ids == text
    wrote = b"".join(model.pieces.of(i) for i in text[ids.shape[1] :])
    assert run.start == ids.shape[1] and wrote in (run.continuation.encode(), unspelled(run.continuation))
    slow = model.run(families.PROMPT)
    for _ in run.ids[run.start :]:
        slow = model.run([*slow.ids, slow.top(1)[0].id])
    assert run.ids == slow.ids, "the likeliest token, one run after the other"
    assert model.run(families.PROMPT).generate(9).ids == run.ids
    phrase = aw.attribute(run, aw.phrase(unit=unit_of(name)))
    assert phrase.run is run and phrase.ids == run.ids[run.start :] and phrase.exact
    best = [float(run.probabilities(p).max()) for p in range(run.start - 1, run.n_positions - 1)]
    assert phrase.log_probs.exp().tolist() == pytest.approx(best, abs=1e-5), "greedy tokens are the likeliest"


def test_generation_leaves_the_model_as_it_was_and_follows_its_logits(family_model):
    model = family_model("llama")
    before = model.hf.generation_config.to_dict()
    state = torch.random.get_rng_state()
    plain = model.generate(families.PROMPT, 6)
    try:
        model.hf.generation_config.repetition_penalty = 50.0
        assert model.generate(families.PROMPT, 6).ids == plain.ids, "penalties are not what the logits say"
        assert model.hf.generation_config.repetition_penalty == 50.0
    finally:
        model.hf.generation_config.repetition_penalty = before["repetition_penalty"]
    drawn = [model.generate(families.PROMPT, 6, temperature=3.0, seed=s).ids for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.hf.generation_config.to_dict() == before


def test_generation_ends_where_the_model_ends_it(family_model):
    model = family_model("gpt2")
    second = model.generate(families.PROMPT, 3).ids[-2]
    kept = model.hf.generation_config.eos_token_id
    try:
        model.hf.generation_config.eos_token_id = second
        run = model.generate(families.PROMPT, 20)
    finally:
        model.hf.generation_config.eos_token_id = kept
    assert run.ids[-1] == second and run.n_positions - run.start <= 2


def test_what_cannot_be_a_phrase_is_named_with_its_remedy(family_model):
    model, capped = family_model("gpt2"), family_model("gemma2")
    run = model.run(families.PROMPT)
    refused = [
        (lambda: aw.phrase(""), "Paris"),
        (lambda: aw.phrase([]), "Paris"),
        (lambda: aw.phrase(" Paris", unit="bits"), "logits"),
        (lambda: aw.attribute(run, aw.phrase()), "generate"),
        (lambda: aw.attribute(capped.run(families.PROMPT), aw.phrase(" Paris")), 'unit="logits"'),
        (lambda: aw.attribute(run, aw.phrase([10**6])), "vocabulary"),
        (lambda: aw.attribute(run, aw.phrase(" Paris"), position=99), "outside"),
        (lambda: aw.attribute(run, aw.phrase(" Paris" * 99)), "positions"),
        (lambda: aw.attribute(run, aw.phrase(" Paris"))[3], "0 to 0"),
        (lambda: aw.attribute(run, aw.phrase(" Paris")).top(0), "1 or more"),
        (lambda: aw.attribute(run, aw.phrase(" Paris")).top(3, "heads"), "head"),
        (lambda: aw.attribute(families.PROMPT, aw.phrase(" Paris")), "model"),
        (lambda: model.generate(families.PROMPT, 0), "1 or more"),
        (lambda: model.generate(families.PROMPT, 3, temperature=-1), "temperature"),
        (lambda: model.generate(families.PROMPT, 3, temperature="hot"), "temperature"),
        (lambda: model.generate(families.PROMPT, 99), "at most"),
        (lambda: aw.explore(model, families.PROMPT).ask(target=aw.phrase(" Paris")), "aw.phrase"),
    ]
    for call, says in refused:
        with pytest.raises(aw.AttribError) as caught:
            call()
        assert says in str(caught.value), str(caught.value)


def test_a_phrase_is_never_replaced_by_unknown_tokens():
    words = ["The", "capital", "of", "France", "is", "Paris", "<unk>"]
    model = aw.load(families.build("llama"), tokenizer=families.word_tokenizer(words))
    run = model.run("The capital of France is")
    with pytest.raises(aw.TargetError, match="writes otherwise: it reads '<unk>Paris'"):
        aw.attribute(run, aw.phrase("Atlantis Paris"))
    with pytest.raises(aw.TargetError, match="has no tokens here"):
        aw.attribute(run, aw.phrase(" "))
    assert aw.attribute(run, aw.phrase("<unk> Paris")).ids == [6, 5], "typed, it is meant"
    assert aw.attribute(run, aw.phrase([6])).ids == [6]


def test_a_phrase_tells_its_finding(family_model):
    phrase = aw.attribute(aw.load("demo").run("The capital of France is"), aw.phrase(" Paris. The"))
    hardest = int(phrase.log_probs.argmin())
    assert phrase.title().startswith("“·Paris. The” has log-probability −")
    assert f"“{phrase.tokens[hardest].replace(' ', '·')}” costs most" in phrase.title()
    text = repr(phrase)
    assert "probability" in text and "entropy" in text and text.rstrip().endswith("ok")
    frame = phrase.to_dataframe()
    assert len(frame) == len(phrase) * len(phrase.labels)
    assert frame.value.sum() == pytest.approx(phrase.total, abs=1e-5)
    assert [str(c) for c, _ in phrase.top(3, "mlp")] and phrase.top(1)[0][1] == pytest.approx(
        float(phrase.sums[phrase.sums.abs().argmax()])
    )
    long = aw.attribute(phrase.run, aw.phrase(), position=0)
    assert len(repr(long).splitlines()) <= 18
    longer = aw.attribute(phrase.run, aw.phrase(CONTINUATION * 2))
    table = longer.summary()
    assert table.last == 1 and table.rows[-1][0].endswith(" more") and phrase.summary().last == 0
    assert sum(table.bars) == pytest.approx(longer.actual, abs=1e-4)
    logits = aw.attribute(phrase.run, aw.phrase(" Paris. The", unit="logits"), position=phrase.start - 1)
    assert "3 tokens" in logits.title() and logits.unit == "logits" and "entropy" not in logits.labels


def test_text_is_split_as_typed_by_tokenizers_that_add_a_space(trained_folder):
    model = aw.load(str(trained_folder))
    for text in (" time, there was", "time there", ", there", "\nOnce"):
        assert "".join(model.token(i) for i in model.token_ids(text)) == text
    phrase = aw.attribute(model.run("Once upon a"), aw.phrase(" time, there was a little"))
    assert phrase.exact and "".join(phrase.tokens) == " time, there was a little"
    assert float(phrase.log_probs.exp().min()) > 0.01, "a trained model knows how it goes on"


def test_long_phrases_keep_no_vocabulary_per_token(family_model, monkeypatch):
    from attrib_widgets.model import model as room

    model = family_model("gpt2")
    kept = aw.attribute(model.run(families.PROMPT), aw.phrase(CONTINUATION))
    monkeypatch.setattr(room, "KEPT_BYTES", 1000)
    read = aw.attribute(model.run(families.PROMPT), aw.phrase(CONTINUATION))
    assert read.run.record.kept == [read.run.n_positions - 1]
    assert torch.allclose(kept.values, read.values, atol=1e-5) and read.exact
