"""Tokens as bytes: whatever is printed can be typed, and what is typed is what is explained."""

from __future__ import annotations

import warnings

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.words.text import visible
from fixtures import families, tokenizers

HARD = [
    "🤗",
    "!🤗",
    "你🤗好",
    " 🤗",
    "é",
    "\n\n",
    "\t",
    "a",
    " a",
    "  two",
    " Paris. The",
    "Zoë",
    "<0xF0>",
    "中",
    "\u2581",
    "12 34",
]


@pytest.fixture(scope="module")
def made():
    """``made(form)``: a model with the tokenizer of that form, kept."""
    kept = {}

    def get(form):
        if form not in kept:
            kept[form] = tokenizers.model(tokenizers.FORMS[form]())
        return kept[form]

    return get


# -- printing ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", tokenizers.FORMS)
def test_every_token_that_is_printed_can_be_typed(made, form):
    """The whole vocabulary: text to id and back."""
    check_every_token(made(form))


def test_every_token_of_the_embedded_model_can_be_typed():
    model = aw.load("demo")
    check_every_token(model)
    odd = [i for i in range(model.vocab_size) if "<0x" in model.token(i)]
    assert len(odd) == 128, "the bytes above ASCII, and no other"


def check_every_token(model):
    texts = {}
    for token in range(model.vocab_size):
        text = model.token(token)
        assert "\ufffd" not in text, "no two tokens share the sign for what cannot be read"
        texts.setdefault(text, []).append(token)
        assert model.single_token(model.written(token)) == token
        assert model.single_token(str(text)) in texts[text] or len(texts[text]) == 1
    alone = [t for t, ids in texts.items() if len(ids) == 1]
    assert all(model.single_token(t) == texts[t][0] for t in alone)
    shared = [ids for ids in texts.values() if len(ids) > 1]
    assert not shared, f"these share a text: {shared}"


def test_a_byte_of_its_own_and_the_character_of_that_byte_are_told_apart(made):
    model = made("llama")
    character, byte = model.single_token("a"), model.single_token("<0x61>")
    assert character != byte == model.tokenizer.convert_tokens_to_ids("<0x61>")
    assert [model.token(i) for i in (character, byte)] == ["a", "<0x61>"]
    assert model.token(model.tokenizer.convert_tokens_to_ids("<0x0A>")) == "\n", "nothing else is a line break"


def test_a_token_that_the_tokenizer_never_writes_can_be_typed():
    """Digits one by one, though the vocabulary has two together; a letter that is written in another form."""
    tokenizer = tokenizers.byte_level(digits=True)
    model = tokenizers.model(tokenizer)
    pair = tokenizer.convert_tokens_to_ids("12")
    assert len(model.token_ids("12")) == 2, "as typed in a text"
    assert model.single_token("12") == pair and model.written(pair) == "12"
    assert aw.attribute(model.run("a"), aw.phrase("12")).ids == model.token_ids("12")


# -- reading -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", HARD)
@pytest.mark.parametrize("form", [f for f in tokenizers.FORMS if f not in ("words", "metaspace")])
def test_a_phrase_is_explained_as_typed(made, form, text):
    model = made(form)
    run = model.run("a")
    if form in ("llama", "gemma") and "\u2581" in text:
        with pytest.raises(aw.TargetError, match=r"it reads ' +'"):  # they write a space so
            aw.attribute(run, aw.phrase(text))
        return
    phrase = aw.attribute(run, aw.phrase(text))
    assert b"".join(model.pieces.of(i) for i in phrase.ids) == text.encode(), phrase.tokens
    assert phrase.run.ids == run.ids + phrase.ids and phrase.exact
    assert phrase.title().startswith(f"“{visible(text)}”") or len(text) > 30
    assert model.joined(phrase.ids) == text
    assert list(phrase.tokens) == [model.token(i) for i in phrase.ids]


def test_the_reported_input(made):
    """A character of four byte tokens behind another one, where a space is put in front of every text."""
    model = made("llama")
    assert [model.token(i) for i in model.token_ids("!🤗")] == ["!", "<0xF0>", "<0x9F>", "<0xA4>", "<0x97>"]
    for i, byte in enumerate("🤗".encode()):
        assert model.single_token(f"<0x{byte:02X}>") == model.token_ids("🤗")[i] == 3 + byte


def test_a_prompt_is_read_as_the_tokenizer_reads_it(made):
    for form in tokenizers.FORMS:
        model = made(form)
        run = model.run("the capital is 🤗")
        assert run.ids == list(model.tokenizer("the capital is 🤗").input_ids)
        assert len(run.tokens) == len(run.ids) and run.text == "the capital is 🤗"


@pytest.mark.parametrize("form", ["metaspace", "words"])
def test_a_phrase_that_no_tokens_are_is_refused_with_what_is_read(made, form):
    model = made(form)
    with pytest.raises(aw.TargetError, match=r"it reads .*<unk>"):
        aw.attribute(model.run("the"), aw.phrase("the ☃"))
    assert aw.attribute(model.run("the"), aw.phrase("capital is" if form == "words" else " capital is")).exact


def test_a_phrase_that_the_tokenizer_writes_otherwise_is_refused():
    model = tokenizers.model(tokenizers.byte_level(lower=True))
    with pytest.raises(aw.TargetError, match=r"' PARIS' holds .* or writes otherwise: it reads ' paris'"):
        aw.attribute(model.run("the"), aw.phrase(" PARIS"))
    with pytest.raises(aw.TargetError, match="reads it so"):
        model.single_token(" PARIS")
    assert aw.attribute(model.run("the"), aw.phrase(" paris")).exact


def test_half_a_character_is_refused_by_name():
    model = aw.load("demo")
    run = model.run("The capital of France is")
    for ask, kind in (
        (lambda: model.run("\ud83e"), aw.PositionError),
        (lambda: aw.attribute(run, "\ud83e"), aw.TargetError),
        (lambda: aw.attribute(run, " Paris", against="\ud83e"), aw.TargetError),
        (lambda: aw.attribute(run, aw.phrase("a\ud83e")), aw.TargetError),
        (lambda: aw.explore(model, "\ud83e"), aw.PositionError),
    ):
        with pytest.raises(kind, match="half a character"):
            ask()


# -- hints ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["llama", "gemma", "byte level", "byte level, space in front"])
@pytest.mark.parametrize("text", ["\n\n\n", "🤗", "你好", " xyzzy", "\u2028", "\t\t\t\t\t"])
def test_what_a_hint_offers_is_a_token_and_the_beginning_of_what_was_typed(made, form, text):
    model = made(form)
    with pytest.raises(aw.TargetError) as error:
        model.single_token(text)
    first = model.token(model.token_ids(text)[0])
    assert error.value.hint == f"A target is one token: try the first, {first!r}, or all of it with aw.phrase(...)."
    token = model.single_token(first)
    assert text.encode().startswith(model.pieces.of(token))
    assert aw.attribute(model.run("a"), first).actual == pytest.approx(float(model.run("a").logits()[token]), abs=1e-6)
    assert aw.attribute(model.run("a"), aw.phrase(text)).exact


def test_a_form_of_the_word_that_is_one_token_is_offered_first():
    model = aw.load("demo")
    with pytest.raises(aw.TargetError, match="try ' Paris' or 'Paris'"):
        model.single_token(" paris")


def test_an_empty_prompt_says_what_could_be_given():
    model = tokenizers.model(tokenizers.byte_level())
    with pytest.raises(aw.PositionError, match=r"at least one word.$"):
        model.run("")
    begun = tokenizers.byte_level()
    begun.bos_token = "<bos>"
    model = tokenizers.model(begun)
    with pytest.raises(aw.PositionError, match="or give bos=True: <bos> alone"):
        model.run("")
    assert model.run("", bos=True).tokens == ["<bos>"]


# -- ids beyond ----------------------------------------------------------------------------------------------------
EVERYWHERE = {
    "attribute": lambda m, t: aw.attribute(m.run("The capital"), t),
    "against": lambda m, t: aw.attribute(m.run("The capital"), 5, against=t),
    "log_prob": lambda m, t: aw.attribute(m.run("The capital"), aw.log_prob(t)),
    "phrase of tokens": lambda m, t: aw.attribute(m.run("The capital"), aw.phrase([t])),
    "lens": lambda m, t: aw.logit_lens(m.run("The capital"), t),
    "patch": lambda m, t: aw.patch(m, "The capital", "The France", t, sites="z"),
    "prob": lambda m, t: aw.patch(m, "The capital", "The France", aw.prob(t), sites="z"),
    "ablate": lambda m, t: aw.ablate(m, "The capital", t),
    "explore": lambda m, t: aw.explore(m, "The capital", t),
    "explore against": lambda m, t: aw.explore(m, "The capital", 5, against=t),
    "token effects": lambda m, t: aw.token_effects(m, "The capital", 5, alternatives=[t, 4]),
}


@pytest.mark.parametrize("call", EVERYWHERE)
@pytest.mark.parametrize("spec", [" NewToken", "id", "<id>"])
def test_a_token_without_a_logit_is_named_with_both_numbers(call, spec):
    tokenizer = tokenizers.byte_level(added=[" NewToken"])
    rows = len(tokenizer) - 1
    model = tokenizers.model(tokenizer, rows)
    given = {"id": rows, "<id>": f"<{rows + 7}>"}.get(spec, spec)
    with pytest.raises(aw.TargetError) as error:
        EVERYWHERE[call](model, given)
    assert f"logits for {rows} tokens" in str(error.value) and f"tokenizer has {rows + 1}" in str(error.value)
    assert "resize_token_embeddings" in error.value.hint


def test_a_phrase_with_such_a_token_is_refused_alike():
    tokenizer = tokenizers.byte_level(added=[" NewToken"])
    model = tokenizers.model(tokenizer, len(tokenizer) - 1)
    with pytest.raises(aw.TargetError, match="has logits for"):
        aw.attribute(model.run("The"), aw.phrase(" a NewToken"))


def test_rows_that_the_tokenizer_does_not_name_are_chosen_by_what_is_printed():
    tokenizer = tokenizers.byte_level()
    model = tokenizers.model(tokenizer, len(tokenizer) + 5)
    last = len(tokenizer) + 4
    assert model.token(last) == f"<{last}>" and model.single_token(f"<{last}>") == last
    assert aw.attribute(model.run("The"), f"<{last}>").target.words(model) == f"logit of “<{last}>”"


# -- texts that are closed -------------------------------------------------------------------------------------------
CLOSED = {
    "byte level": lambda: tokenizers.closed(tokenizers.byte_level(), "<eos>"),
    "byte level, begun": lambda: tokenizers.closed(tokenizers.byte_level(bos=True), "<eos>"),
    "llama": lambda: tokenizers.sentencepiece(closing=True),
}


@pytest.mark.parametrize("form", CLOSED)
def test_a_prompt_is_left_open(form):
    tokenizer = CLOSED[form]()
    model = tokenizers.model(tokenizer)
    text, end = "The capital of France is", tokenizer.eos_token_id
    with pytest.warns(UserWarning, match=f"closes every text with “{tokenizer.eos_token}”") as told:
        run = model.run(text)
    assert len(told) == 1 and f"model.run([*run.ids, {end}])" in str(told[0].message)
    full = list(tokenizer(text).input_ids)
    assert full[-1] == end and run.ids == full[:-1], "all but what closes it"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # said once a model
        assert model.run_many([text, [3, 4]])[0].ids == run.ids
        assert model.generate(text, 2).ids[: run.n_positions] == run.ids
        patched = aw.patch(model, text, text.replace("France", "Italy"), 9, sites="stream", positions=[-1])
        assert patched.pairs[0][0].ids == run.ids and patched.pairs[0][1].ids[-1] == run.ids[-1]
        phrase = aw.attribute(text, aw.phrase(" the"), model=model)
        assert phrase.run.ids[: phrase.start] == run.ids and end not in phrase.run.ids
        view = aw.explore(model, text)
    for said in (run.notes, aw.attribute(run, 9).notes, view.attribution.notes, [repr(run)], [repr(view.attribution)]):
        assert "loses every text" in " ".join(said), said
    closed = model.run([*run.ids, end])
    assert closed.ids == full and model.run(f"{text}{tokenizer.eos_token}").ids == full, "typed, it is what was asked"
    with torch.no_grad():
        printed = model.hf(torch.tensor([full])).logits[0, -1]
    assert torch.allclose(closed.logits(), printed, atol=1e-5)


def test_nothing_is_said_where_nothing_closes(family_model):
    for name in ("gpt2", "llama"):
        run = family_model(name).run(families.PROMPT)
        assert run.notes == [] and family_model(name).closing == () and "\n" not in repr(run)


# -- the same text twice ---------------------------------------------------------------------------------------------
def test_tokens_of_one_text_are_given_by_their_ids():
    """An added token that repeats a piece: the tokenizer finds it first, the piece is told by its id."""
    plain = tokenizers.byte_level()
    piece = plain.convert_tokens_to_ids("ĠParis")
    tokenizer = tokenizers.byte_level(added=[" Paris"])
    model = tokenizers.model(tokenizer)
    added = tokenizer.convert_tokens_to_ids(" Paris")
    assert piece != added and model.token(piece) == model.token(added) == " Paris"
    chosen = model.single_token(" Paris")
    other = ({piece, added} - {chosen}).pop()
    assert model.written(chosen) == " Paris" and model.written(other) == other
    a, b = (aw.attribute(model.run("The"), t) for t in (" Paris", other))
    assert a.actual == pytest.approx(float(a.run.logits()[chosen]), abs=1e-6)
    assert b.actual == pytest.approx(float(b.run.logits()[other]), abs=1e-6)
    for found, own, rest in ((a, chosen, other), (b, other, chosen)):
        assert [n for n in found.notes if f"is token {own} here" in n and f"{rest} has the same text" in n], found.notes
