"""Prompts, positions and predictions."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.words.text import percent
from fixtures import families


@pytest.fixture(scope="module")
def model(family_model):
    return family_model("llama")


@pytest.fixture(scope="module")
def run(model):
    return model.run(families.PROMPT)


def test_what_a_model_says_of_itself(model):
    assert (model.n_layers, model.n_heads, model.d_model) == (families.LAYERS, families.HEADS, families.WIDTH)
    assert model.vocab_size == families.vocab_size()
    assert model.dtype == torch.float32
    assert model.device == torch.device("cpu")
    assert "Llama" in model.family
    assert "heads" in repr(model)
    assert model.config.model_type == "llama"
    assert aw.load(model) is model


def test_a_run_knows_its_prompt(model, run):
    assert run.model is model
    assert run.text == families.PROMPT
    assert run.ids == families.ids_of("llama")
    assert run.n_positions == len(run) == len(run.ids) == len(run.tokens)
    assert "".join(run.tokens[1:]) == families.PROMPT, f"tokens {run.tokens} do not spell the prompt"
    assert run.tokens[-2] == " France", "a token keeps its leading space"
    assert run.special == [0], "the BOS token is special"
    assert "France" in repr(run)


def test_tokens_of_any_text_are_exact(model):
    text = "  two spaces\nnew line\ttab é 漢 🙂"
    assert model.run(text).text == text
    ids = model.encode(text)[1:]
    joined = bytes("".join(model.token(i) for i in ids), "utf-8", "replace")
    assert b"two" in joined
    assert model.tokenizer.decode(ids) == text


def test_bos_follows_the_tokenizer_and_can_be_set(family_model, model):
    bos = model.tokenizer.bos_token_id
    assert model.run("The").ids[0] == bos
    assert model.run("The", bos=False).ids[0] != bos
    assert model.run("The", bos=True).ids.count(bos) == 1, "not twice"
    plain = family_model("gpt2")
    assert plain.run("The").ids == plain.tokenizer("The").input_ids
    with pytest.raises(aw.TokenizerError):
        plain.run("The", bos=True)


@pytest.mark.parametrize(
    "wrap", [list, tuple, torch.tensor, lambda i: torch.tensor([i])], ids=["list", "tuple", "tensor", "batch of one"]
)
def test_ids_and_runs_are_prompts(model, run, wrap):
    again = model.run(wrap(run.ids))
    assert again.ids == run.ids
    assert torch.equal(again.logits(), run.logits())
    assert model.run(run) is run


def test_a_batch_is_not_silently_one_long_prompt(model, run):
    with pytest.raises(aw.AttribError):
        model.run(torch.tensor([run.ids, run.ids]))


def test_predictions(model, run):
    with torch.no_grad():
        logits = model.hf(torch.tensor([run.ids]), use_cache=False).logits[0]
    p = logits.softmax(-1)
    for position in (-1, 0, 2, run.n_positions - 1):
        top = run.top(5, position=position)
        expected = p[position].topk(5)
        assert [t.id for t in top] == expected.indices.tolist(), f"position {position}"
        for prediction, value in zip(top, expected.values.tolist(), strict=True):
            assert prediction.probability == pytest.approx(value, abs=1e-6)
            assert prediction.logit == pytest.approx(float(logits[position, prediction.id]), abs=2e-5)
            assert prediction.text == model.token(prediction.id)
    assert len(run.top(3)) == 3
    assert len(run.top(10**6)) == model.vocab_size
    assert [row[-1] for row in run.top(2).summary().rows] == [percent(t.probability) for t in run.top(2)]


def test_all_positions_from_the_record(model, run):
    with torch.no_grad():
        logits = model.hf(torch.tensor([run.ids]), use_cache=False).logits[0]
    for position in range(run.n_positions):
        assert torch.allclose(run.logits(position), logits[position], atol=2e-5), f"position {position}"
    assert torch.equal(run.logits(-2), run.logits(run.n_positions - 2))


@pytest.mark.parametrize("position", [-7, 6, 100, -100])
def test_positions_outside_the_prompt(run, position):
    assert run.n_positions == 6
    for ask in (
        lambda: run.top(1, position=position),
        lambda: run.logits(position),
        lambda: aw.attribute(run, " Paris", position=position),
    ):
        with pytest.raises(aw.PositionError) as caught:
            ask()
        assert "6" in str(caught.value), f"the message does not say how long the prompt is: {caught.value}"
        assert caught.value.hint


def test_kept_positions_outside_the_prompt(model):
    with pytest.raises(aw.PositionError):
        model.run(families.PROMPT, positions=[100])


def test_negative_positions_count_from_the_end(run):
    last, same = aw.attribute(run, " Paris", position=-1), aw.attribute(run, " Paris", position=5)
    assert last.position == same.position == 5
    assert torch.equal(last.values, same.values)


def test_empty_prompts(family_model, model):
    for text in ("", []):
        with pytest.raises(aw.PositionError) as caught:
            family_model("gpt2").run(text)
        assert "token" in str(caught.value)
    assert model.run("").ids == [model.tokenizer.bos_token_id], "with a BOS token, an empty text is one token"


@pytest.mark.parametrize("name", families.FAMILIES)
def test_one_token(family_model, name):
    model = family_model(name)
    run = model.run([5])
    assert run.n_positions == 1
    a = aw.attribute(run, " Paris")
    assert a.exact, f"{name}: gap {a.mismatch:.1e}"
    assert a.sources("L1H2").total == pytest.approx(a["L1H2"], abs=1e-5)
    found = aw.attention(run, "L1H2")
    assert torch.allclose(found.patterns[0, 0] + (0 if found.sink is None else found.sink[0]), torch.ones(1), atol=1e-6)


def test_longer_than_the_model_has_positions(family_model):
    model = family_model("gpt2")
    limit = families.MAX_POSITIONS
    assert model.run([5] * limit).n_positions == limit
    with pytest.raises(aw.PositionError) as caught:
        model.run([5] * (limit + 1))
    assert str(limit) in str(caught.value) and str(limit + 1) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("wrong", [[0, 10**6], [-1], ["a", "b"], [1.5], None, 3, {"ids": 1}])
def test_what_is_no_prompt(model, wrong):
    with pytest.raises((aw.AttribError, TypeError)) as caught:
        model.run(wrong)
    assert str(caught.value)


def test_the_record_keeps_no_vocabulary_per_position(model):
    run = model.run(families.LONG_PROMPT)
    assert run.record.logits.shape == (1, model.vocab_size)
    assert run.record.bytes() < 40 * run.n_positions * model.d_model * 4 * model.n_layers


def test_nothing_to_load():
    with pytest.raises(aw.AttribError) as caught:
        aw.load("/no/such/folder")
    assert "/no/such/folder" in str(caught.value) and "demo" in caught.value.hint
    with pytest.raises(aw.AttribError):
        aw.load(42)


def test_a_model_without_its_tokenizer():
    with pytest.raises(aw.TokenizerError) as caught:
        aw.load(families.build("gpt2"))
    assert "tokenizer=" in caught.value.hint


def test_a_tokenizer_of_another_model():
    """Ids that the model does not have must be an error, not an index into nowhere."""
    from fixtures.families import word_tokenizer

    words = word_tokenizer([f"w{i}" for i in range(2000)])
    model = aw.load(families.build("gpt2"), tokenizer=words)
    with pytest.raises(aw.TokenizerError):
        model.run("w1500")


def test_saved_and_loaded_from_a_folder(tmp_path):
    families.build("llama", torch.bfloat16).save_pretrained(tmp_path / "tiny")
    families.tokenizer("llama").save_pretrained(tmp_path / "tiny")
    model = aw.load(str(tmp_path / "tiny"))
    assert model.dtype == torch.bfloat16, "None keeps the checkpoint's dtype"
    assert model.name == "tiny"
    assert model.run(families.PROMPT).ids == families.ids_of("llama")
    wide = aw.load(tmp_path / "tiny", dtype="float32")
    assert wide.dtype == torch.float32


def test_run_of_one_model_on_another(family_model, run):
    other = family_model("gpt2")
    with pytest.raises(aw.ModelError, match=r"LlamaForCausalLM.*GPT2LMHeadModel.*model\.run\(run\.ids\)"):
        other.run(run)
    moved = other.run(run.ids)
    assert moved.model is other
    assert all(0 <= i < other.vocab_size for i in moved.ids)


def test_grad_mode_and_inference_mode_do_not_matter(model, run):
    with torch.inference_mode():
        inside = aw.attribute(model.run(families.PROMPT), " Paris")
    with torch.enable_grad():
        outside = aw.attribute(model.run(families.PROMPT), " Paris")
    assert torch.equal(inside.values.clone(), outside.values)
    assert not outside.values.requires_grad, "values must not carry a graph"
    assert all(not s.requires_grad for s in outside.run.record.streams)


@pytest.mark.parametrize("wrap", [np.array, lambda ids: np.array([ids]), lambda ids: torch.tensor([ids])])
def test_arrays_are_prompts(model, run, wrap):
    assert model.run(wrap(run.ids)).ids == run.ids


@pytest.mark.parametrize("wrong", [torch.tensor(5), np.int64(5), np.array([[1, 2], [3, 4]]), np.array([0.5])])
def test_what_is_no_prompt_is_named(model, wrong):
    with pytest.raises(aw.PositionError):
        model.run(wrong)


def test_kept_positions_in_any_form(model, run):
    for positions, kept in ((1, [1]), (np.array([0, -1]), [0, 5]), (torch.tensor([2]), [2]), (range(2), [0, 1])):
        assert model.run(run.ids, positions=positions).record.kept == kept
    for wrong in ([], "last", [0.5], 99, 1.5):
        with pytest.raises(aw.PositionError) as caught:
            model.run(run.ids, positions=wrong)
        assert caught.value.hint
    for one in (np.int64(-1), torch.tensor(-1), {5}, iter([5])):
        assert model.run(run.ids, positions=one).record.kept == [5]
    with pytest.raises(aw.PositionError, match=r"^'each' is not a position"):
        model.run(run.ids, positions="each")


@pytest.mark.parametrize("change", [lambda layers: layers.__delitem__(1), lambda layers: layers.append(layers[0])])
def test_layers_that_came_or_went_are_noticed(change):
    model = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    count = model.n_layers
    change(model.hf.model.layers)
    now = len(model.hf.model.layers)
    assert now != count
    for call in (model.run, lambda prompt: model.run_many([prompt])):
        with pytest.raises(aw.AnatomyError, match=f"{now} layers now and was loaded with {count}.*aw.load"):
            call(families.PROMPT)


def test_parts_replaced_after_loading_are_noticed():
    def changed(change):
        model = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
        change(model.hf)
        with pytest.raises(aw.AnatomyError, match="replaced since") as caught:
            model.run(families.PROMPT)
        assert "aw.load" in caught.value.hint
        return str(caught.value)

    assert "lm_head" in changed(lambda hf: setattr(hf, "lm_head", copy.deepcopy(hf.lm_head)))
    assert "model.layers" in changed(lambda hf: setattr(hf.model, "layers", copy.deepcopy(hf.model.layers)))
    layer = "model.layers.1.self_attn.o_proj"
    assert layer in changed(
        lambda hf: setattr(hf.model.layers[1].self_attn, "o_proj", copy.deepcopy(hf.model.layers[1].self_attn.o_proj))
    )


def test_settings_of_torch_that_take_float32_away_are_named(model, run):
    asks = [lambda: model.run(families.PROMPT), lambda: aw.attribute(run, " Paris"), lambda: aw.logit_lens(run)]
    for ask in asks:
        with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(aw.NumberError, match="autocast"):
            ask()
        for dtype in (torch.bfloat16, torch.float64):
            torch.set_default_dtype(dtype)
            try:
                with pytest.raises(aw.NumberError, match="set_default_dtype"):
                    ask()
            finally:
                torch.set_default_dtype(torch.float32)
