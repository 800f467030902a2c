"""The tuned lens: the logit lens before any training, its own formula after, nearer to the output on other texts."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.lens import training
from attrib_widgets.analysis.lens.files import FILE, stream_names
from attrib_widgets.model.running.worker import Job
from attrib_widgets.widgets.shapes import explorer
from fixtures import families

ALL = families.FAMILIES + families.VARIANTS
NUMBERS = ("top_ids", "top_probabilities", "top_logits", "probability", "log_prob", "rank", "entropy", "kl")
WORDS = "France Paris Germany Berlin Italy Rome Spain Madrid Japan Tokyo the capital of is and in they like".split()


def texts(count, seed=0, least=4, most=12):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(least, most))) for _ in range(count)]


def chance(model, mid=False, size=0.3, metadata=None):
    """A lens whose A and b are no zeros."""
    places, g = stream_names(model.n_layers, mid), torch.Generator().manual_seed(5)
    weight = size * torch.randn(len(places), model.d_model, model.d_model, generator=g)
    return aw.TunedLens(
        places, weight, torch.randn(len(places), model.d_model, generator=g), model.n_layers, metadata or {}
    )


def published(folder, model, weight, bias, **config):
    """A folder as the tuned-lens package writes it: one nn.Linear a layer, by its number."""
    folder.mkdir(exist_ok=True)
    held = {f"{i}.weight": w for i, w in enumerate(weight)} | {f"{i}.bias": b for i, b in enumerate(bias)}
    torch.save(held, folder / "params.pt")
    said = {
        "base_model_name_or_path": "somebody/model",
        "d_model": weight.shape[-1],
        "num_hidden_layers": len(weight),
        "bias": True,
        "base_model_revision": None,
        "unembed_hash": None,
        "lens_type": "linear_tuned_lens",
    }
    (folder / "config.json").write_text(json.dumps({**said, **config}))
    return folder


# -- before any training --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_at_the_identity_it_is_the_logit_lens_bit_by_bit(family_model, name, dtype):
    model = family_model(name, families.DTYPES[dtype])
    run = model.run(families.PROMPT)
    mid = not model.parallel and all(level.sublayers for level in model.check.levels)
    plain = aw.logit_lens(run, 17, mid=mid)
    lens = aw.logit_lens(run, 17, lens=aw.TunedLens.identity(model, mid), mid=mid)
    assert lens.layers == plain.layers
    for what in NUMBERS:
        assert torch.equal(getattr(lens, what), getattr(plain, what)), what


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_the_stream_after_attention_is_what_the_mlp_reads(family_model, name):
    """Caught by a hook of our own on the transformers model, before the norm of the MLP."""
    hf, caught = families.build(name), []
    norm = {"gpt2": "ln_2", "llama": "post_attention_layernorm", "gemma2": "pre_feedforward_layernorm"}[name]
    for path, module in hf.named_modules():
        if path.endswith(norm):
            module.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0][0].detach()))
    with torch.no_grad():
        hf(torch.tensor([families.ids_of(name, families.PROMPT)]), use_cache=False)
    model = family_model(name)
    lens = aw.logit_lens(model.run(families.PROMPT), 17, mid=True)
    assert lens.layers == [x for i in range(3) for x in (["embed"] if not i else []) + [f"L{i}.mid", f"L{i}.post"]]
    for i, x in enumerate(caught):
        p = model.read_out(x)[1].softmax(-1)[:, 17]
        torch.testing.assert_close(lens.probability[lens.layers.index(f"L{i}.mid")], p, atol=1e-6, rtol=1e-4)
    assert lens.top("L1.mid")[0].probability == float(lens.top_probabilities[3, -1, 0])
    whole = aw.logit_lens(model.run(families.PROMPT), 17)
    rows = [lens.layers.index(row) for row in whole.layers]
    torch.testing.assert_close(lens.log_prob[rows], whole.log_prob, atol=2e-6, rtol=2e-5)


def test_where_no_stream_stands_between_them_that_is_said(family_model):
    model = family_model("gpt_neox")
    with pytest.raises(aw.GranularityError, match="read the same stream"):
        aw.logit_lens(model.run(families.PROMPT), mid=True)
    with pytest.raises(aw.GranularityError, match="Leave out mid="):
        aw.TunedLens.train(model, texts(40), mid=True)


# -- a published checkpoint -----------------------------------------------------------------------------------------
def by_the_formula(name, folder, ids, cap):
    """Log-probabilities [layer, position, token]: each file's h + (W h + b) of transformers' own hidden state of that
    number, in float64, through modules of a copy."""
    hf = families.build(name).double()
    held = torch.load(folder / "params.pt", weights_only=True)
    with torch.no_grad():
        states = hf(torch.tensor([ids]), use_cache=False, output_hidden_states=True).hidden_states
        norm = hf.transformer.ln_f if name == "gpt2" else hf.model.norm
        rows = []
        for i in range(families.LAYERS):
            h = states[i][0]
            h = torch.stack([row + held[f"{i}.weight"].double() @ row + held[f"{i}.bias"].double() for row in h])
            logits = hf.lm_head(norm(h))
            rows.append(cap * torch.tanh(logits / cap) if cap else logits)
    return torch.stack(rows).log_softmax(-1)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_a_published_checkpoint_reads_as_its_formula_says(tmp_path, name):
    """Number i reads the stream before layer i; a soft cap is applied as the model does."""
    model = aw.load(families.build(name), tokenizer=families.tokenizer(name))
    model.hf.name_or_path = "somebody/model"
    made = chance(model)
    folder = published(tmp_path / "lens", model, made.weight, made.bias)
    lens = aw.TunedLens.load(folder, model)
    cap = getattr(model.config, "final_logit_softcapping", None)
    assert (cap is not None) == (name == "gemma2")
    expected = by_the_formula(name, folder, model.encode(families.PROMPT), cap)
    found = aw.logit_lens(model.run(families.PROMPT), 17, lens=lens)
    assert found.layers == ["embed", "L0.post", "L1.post", "L2.post"]
    torch.testing.assert_close(found.log_prob[:-1].double(), expected[..., 17], atol=2e-5, rtol=2e-5)
    own = aw.logit_lens(model.run(families.PROMPT), 17)
    assert torch.equal(found.log_prob[-1], own.log_prob[-1]), "the last row is the model's own output"
    assert float((found.log_prob[:-1] - own.log_prob[:-1]).abs().max()) > 0.1
    assert "Nobody measured" in repr(found)
    assert [lens.kl_of(place) for place in lens.places] == [None] * 3


def test_a_checkpoint_without_biases_and_in_half_precision(family_model, tmp_path):
    model = family_model("gpt2")
    made = chance(model)
    folder = published(tmp_path / "lens", model, made.weight.half(), made.bias.half())
    torch.save({f"{i}.weight": w.half() for i, w in enumerate(made.weight)}, folder / "params.pt")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "bias": False}))
    lens = aw.TunedLens.load(folder)
    assert torch.equal(lens.weight, made.weight.half().float()) and not lens.bias.any()


def test_what_a_checkpoint_may_not_be_is_refused_with_the_reason(tmp_path):
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    model.hf.name_or_path = "openai-community/gpt2"
    made = chance(model)

    def refused(match, error=aw.AttribError, params=None, **config):
        folder = published(tmp_path / "lens", model, made.weight, made.bias, **config)
        if params is not None:
            torch.save(params, folder / "params.pt")
        with pytest.raises(error, match=match):
            aw.TunedLens.load(folder, model)

    held = {f"{i}.{part}": t for part in ("weight", "bias") for i, t in enumerate(getattr(made, part))}
    refused("does not say d_model", d_model=None)
    refused("lens_type = 'other'", lens_type="other")
    refused(r"lacks '2\.bias'", params={k: v for k, v in held.items() if k != "2.bias"})
    refused(r"holds '3\.weight'.*0 to 2", params={**held, "3.weight": made.weight[0]})
    refused(r"embed\.weight.*\[32, 16\], not \[32, 32\]", params={**held, "0.weight": made.weight[0][:, :16]})
    refused("not finite", params={**held, "1.weight": made.weight[0] * torch.nan})
    refused("no tensor of floating", params={**held, "1.weight": made.weight[0].long()})
    refused("holds a list", params=[1, 2])
    refused("cannot be read as weights alone", params={**held, "0.weight": Reaching()})
    refused(
        r"trained on EleutherAI/pythia-70m, and this is", aw.ModelError, base_model_name_or_path="EleutherAI/pythia-70m"
    )
    with pytest.raises(aw.AttribError, match=r"no tuned lens in .*params"):
        aw.TunedLens.load(tmp_path)


class Reaching:
    """What a file could run if more than weights were read."""

    def __reduce__(self):
        raise_ = "raise RuntimeError('run')"
        return exec, (raise_,)


def test_a_lens_of_another_model_is_refused_by_what_it_says(family_model, tmp_path):
    model, other = family_model("gpt2"), families.build("llama")
    run = model.run(families.PROMPT)
    lens = chance(model)
    for wrong, said in (
        (
            aw.TunedLens(lens.places, lens.weight[:, :16, :16], lens.bias[:, :16], 3),
            "16 numbers wide.* is 32 numbers wide",
        ),
        (aw.TunedLens(lens.places[:2], lens.weight[:2], lens.bias[:2], 2), "2 layers deep.* is 3 layers deep"),
    ):
        with pytest.raises(aw.ModelError, match=said):
            aw.logit_lens(run, lens=wrong)
    named = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    named.hf.name_or_path = "openai-community/gpt2"
    for name, fits in (("EleutherAI/pythia-70m", False), ("gpt2", True)):
        told = replace(lens, metadata={"model_name": name})
        if fits:
            told.check(named)
        else:
            with pytest.raises(aw.ModelError, match=f"trained on {name}"):
                aw.logit_lens(named.run(families.PROMPT), lens=told)
    other.save_pretrained(tmp_path)
    folder = aw.load(str(tmp_path), tokenizer=families.tokenizer("llama"))
    own = sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    chance(folder, metadata={"weights_sha256": own}).check(folder)
    with pytest.raises(aw.ModelError, match=r"other weights of it.*dataclasses\.replace"):
        chance(folder, metadata={"weights_sha256": "0" * 64, "model_name": "it"}).check(folder)


def test_the_unembedding_is_known_by_its_fingerprint(family_model):
    """SHA-256 of what numpy prints of the matrix [token, width] with one digit."""
    model = family_model("llama")
    printed = np.array_str(model.hf.lm_head.weight.detach().numpy(), precision=1)
    right = chance(model, metadata={"unembed_hash": sha256(printed.encode()).hexdigest()})
    right.check(model)
    with np.printoptions(precision=3, threshold=5, linewidth=200):
        right.check(model)  # whatever a notebook set
    half = np.array_str(model.hf.lm_head.weight.detach().half().numpy(), precision=1)
    chance(model, metadata={"unembed_hash": sha256(half.encode()).hexdigest()}).check(model)
    with pytest.raises(aw.ModelError, match="another unembedding"):
        chance(model, metadata={"unembed_hash": "0" * 64}).check(model)


# -- kept -----------------------------------------------------------------------------------------------------------
def test_what_is_saved_is_loaded_bit_by_bit(family_model, tmp_path):
    model = family_model("llama")
    lens = chance(model, mid=True, metadata={"model_name": "llama", "kl": [0.25] * 6, "logit_lens_kl": [1.0] * 6})
    file = lens.save(tmp_path)
    assert file == tmp_path / FILE and lens.save(tmp_path / "a" / "mine.safetensors").name == "mine.safetensors"
    for source in (tmp_path, file, tmp_path / "a" / "mine.safetensors", str(file)):
        again = aw.TunedLens.load(source)
        assert again.places == lens.places and again.n_layers == 3 and again.metadata == lens.metadata
        assert torch.equal(again.weight, lens.weight) and torch.equal(again.bias, lens.bias)
    assert repr(aw.TunedLens.load(file)) == repr(lens)
    half = aw.TunedLens.load(lens.save(tmp_path / "half", torch.float16))
    assert torch.equal(half.weight, lens.weight.half().float())
    with pytest.raises(aw.AttribError, match="does not fit into float16"):
        replace(lens, weight=1e6 * lens.weight).save(tmp_path, torch.float16)


def test_a_file_that_holds_no_lens_is_refused(family_model, tmp_path):
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(aw.AttribError, match="holds no tuned lens"):
        aw.TunedLens.load(tmp_path / "x.safetensors")
    header = {"places": ["embed", "L0.post"], "n_layers": 2}
    held = {"embed.weight": torch.zeros(4, 4), "embed.bias": torch.zeros(4), "L0.post.weight": torch.zeros(4, 4)}
    save_file(held, tmp_path / "x.safetensors", {"tuned_lens": json.dumps(header)})
    with pytest.raises(aw.AttribError, match=r"lacks L0\.post\.bias"):
        aw.TunedLens.load(tmp_path / "x.safetensors")


WRONG = {
    "places": [None, "embed", [], [1], ["embed", "L7.post"], ["embed", "embed", "L0.post"]],
    "n_layers": [None, "3", 0, 2.0],
    "kl": ["abc", [0.5], [float("nan")] * 3, [None] * 3],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_header_that_cannot_be_is_refused_when_it_is_read(family_model, tmp_path, key, value):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    file = chance(family_model("gpt2"), metadata={"texts": 5}).save(tmp_path)
    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()["tuned_lens"])
    held = load_file(file)
    save_file(held, file, {"tuned_lens": json.dumps({**header, key: value})})
    with pytest.raises(aw.AttribError, match=r"does not say which|reads a stream twice|one number for every"):
        aw.TunedLens.load(file)
    save_file(held, file, {"tuned_lens": json.dumps(header)})
    assert "Trained on 5 texts" in repr(aw.TunedLens.load(file))  # nobody says how many steps


@pytest.mark.parametrize("said", ["{", "[]", "3"])
def test_a_header_that_is_no_list_of_names_is_refused(tmp_path, said):
    from safetensors.torch import save_file

    save_file({"embed.weight": torch.zeros(4, 4), "embed.bias": torch.zeros(())}, tmp_path / FILE, {"tuned_lens": said})
    with pytest.raises(aw.AttribError, match="does not say which streams"):
        aw.TunedLens.load(tmp_path)
    header = json.dumps({"places": ["embed"], "n_layers": 1})
    save_file(
        {"embed.weight": torch.zeros(4, 4), "embed.bias": torch.zeros(())}, tmp_path / FILE, {"tuned_lens": header}
    )
    with pytest.raises(aw.AttribError, match=r"embed\.weight in .* is \[4, 4\], not \[1, 1\]"):
        aw.TunedLens.load(tmp_path)


def test_a_lens_is_kept_as_floating_point_numbers(family_model, tmp_path):
    with pytest.raises(aw.AttribError, match="not kept as int32"):
        chance(family_model("gpt2")).save(tmp_path, torch.int32)


@pytest.mark.parametrize("given", ["tuned_lens.safetensors", True, 3])
def test_what_is_no_lens_is_refused(family_model, given):
    with pytest.raises(aw.AttribError, match="is no tuned lens"):
        aw.logit_lens(family_model("gpt2").run(families.PROMPT), lens=given)


def test_a_model_that_was_given_no_lens_for_one_still_has_its_logit_lens():
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    plain = aw.logit_lens(a.run, " Paris")
    model.lens = "tuned_lens.safetensors"
    with pytest.raises(aw.AttribError, match=r"is no tuned lens.*TunedLens\.load"):
        plain.beside()
    assert b"is no tuned lens" in explorer.lens(a)  # said beside what it shows


def test_a_lens_trained_on_a_model_in_memory_knows_it_in_any_dtype(family_model):
    lens = aw.TunedLens.train(family_model("gpt2"), texts(16), steps=1)
    lens.check(family_model("gpt2"))
    lens.check(family_model("gpt2", torch.bfloat16))
    for name in ("gpt2", "llama"):  # as wide and as deep
        other = aw.load(families.build(name, seed=1), tokenizer=families.tokenizer(name))
        with pytest.raises(aw.ModelError, match="another unembedding"):
            lens.check(other)


def test_a_row_without_a_translator_is_named(family_model):
    model = family_model("llama")
    with pytest.raises(aw.AttribError, match=r"no translator for L0\.mid, L1\.mid and L2\.mid.*mid=True"):
        aw.logit_lens(model.run(families.PROMPT), lens=chance(model), mid=True)


def test_the_lens_of_a_model_lies_beside_its_weights_or_is_put_there(tmp_path):
    families.build("llama").save_pretrained(tmp_path)
    model = aw.load(str(tmp_path), tokenizer=families.tokenizer("llama"))
    assert model.lens is None and aw.logit_lens(model.run(families.PROMPT)).beside() is None
    lens = chance(model)
    lens.save(tmp_path)
    again = aw.load(str(tmp_path), tokenizer=families.tokenizer("llama"))
    assert torch.equal(again.lens.weight, lens.weight)
    plain = aw.logit_lens(again.run(families.PROMPT), 17)
    beside = plain.beside()
    assert beside.lens is again.lens and beside.beside().lens is None
    assert torch.equal(beside.beside().log_prob, plain.log_prob)
    assert torch.equal(beside.log_prob, aw.logit_lens(plain.run, 17, lens=lens).log_prob)
    again.lens = None
    assert plain.beside() is None


# -- trained --------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def small():
    return aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))


@pytest.fixture(scope="module")
def learned(small):
    return aw.TunedLens.train(small, texts(200), steps=60, mid=True)


def test_training_brings_every_row_nearer_on_texts_held_out(small, learned):
    kl = [learned.kl_of(place) for place in learned.places]
    assert all(own < plain for plain, own in kl)
    assert learned.metadata["progress"][0][1] != learned.metadata["progress"][-1][1]
    assert learned.metadata["model_name"] == small.name and learned.metadata["weights_sha256"] is None
    assert f"{learned.metadata['held_out']} other texts give the KL" in repr(learned)


@pytest.mark.parametrize("name", ["gemma2", "gpt_neox", "gpt2"])
def test_caps_biases_and_parallel_layers_are_trained_through(family_model, name):
    lens = aw.TunedLens.train(family_model(name), texts(120), steps=50)
    assert all(own < plain for plain, own in map(lens.kl_of, lens.places))


def test_a_model_in_bfloat16_is_trained_in_float32(family_model):
    model = family_model("llama", torch.bfloat16)
    lens = aw.TunedLens.train(model, texts(120), steps=50)
    assert lens.weight.dtype == lens.bias.dtype == torch.float32
    assert all(own < plain for plain, own in map(lens.kl_of, lens.places))
    found = aw.logit_lens(model.run(families.PROMPT), lens=lens)
    assert bool(torch.isfinite(found.log_prob).all())


def test_the_measured_kl_is_that_of_the_lens_prompt_by_prompt(small, learned):
    """As ``aw.logit_lens`` computes it, over every position of texts that came later."""
    later = texts(24, seed=9)
    again = learned.measured(small, later)
    runs = [small.run(text) for text in dict.fromkeys(later)]
    for lens, column in ((None, 0), (learned, 1)):
        kl = torch.cat([aw.logit_lens(run, lens=lens, mid=True).kl[:-1] for run in runs], 1).mean(1)
        found = torch.tensor([again.kl_of(place)[column] for place in again.places])
        torch.testing.assert_close(found, kl, atol=3e-5, rtol=1e-4)
    assert again.metadata["held_out"] == len(runs) and torch.equal(again.weight, learned.weight)
    # Whether they trained it is not known of texts that are given.
    assert f"{len(runs)} texts that were given later give the KL" in repr(again) and "other texts" not in repr(again)
    assert again.given and "own prediction on texts that were given, in nats" in repr(
        aw.logit_lens(runs[0], lens=again)
    )


def test_the_same_seed_gives_the_same_lens_and_no_seed_of_torch_is_touched(small):
    state = torch.random.get_rng_state()
    one, two, other = (aw.TunedLens.train(small, texts(60), steps=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(one.weight, two.weight) and one.metadata == two.metadata
    assert not torch.equal(one.weight, other.weight)


def test_only_prompts_of_one_length_share_a_pass_and_none_is_padded(small, monkeypatch):
    given, passes = texts(60), []
    record = training.record_many
    monkeypatch.setattr(training, "record_many", lambda model, ids: passes.append(ids) or record(model, ids))
    aw.TunedLens.train(small, given, steps=4, context=8)
    beginnings = {tuple(small.encode(text)[:8]) for text in given}
    assert passes and max(map(len, passes)) > 1
    for ids in passes:
        assert len({len(row) for row in ids}) == 1 and {tuple(row) for row in ids} <= beginnings


def test_what_is_held_out_neither_trains_nor_stops(small):
    split = training._split(small, texts(100), training.LensSettings())
    rows = [{tuple(row) for row in part} for part in split]
    assert all(rows) and not (rows[0] & rows[1] or rows[0] & rows[2] or rows[1] & rows[2])
    assert len(rows[2]) == sum(map(len, rows)) // 8


def test_cancelled_it_keeps_the_best_so_far(small, monkeypatch):
    monkeypatch.setattr(training, "EVERY", 5)
    said = []

    def heard(done, total, note):
        said.append((done, total, note))
        if done == 12:
            job.cancel()

    job = Job(lambda job: aw.TunedLens.train(small, texts(100), steps=50, job=job), heard)
    job.run()
    lens = job.result
    assert job.state == "done" and lens.metadata["stopped"] == "cancelled" and lens.metadata["steps"] == 13
    assert [step for step, _ in lens.metadata["progress"]] == [0, 5, 10]
    assert said[0][:2] == (0, 50) and all(f"{place} " in said[0][2] for place in lens.places)
    whole = aw.TunedLens.train(small, texts(100), steps=50)
    assert whole.metadata["progress"][1][1] == lens.metadata["progress"][1][1]
    assert all(own < plain for plain, own in map(lens.kl_of, lens.places))
    assert "with the best so far" in repr(lens)


def test_a_cell_that_is_interrupted_keeps_it_too(small, monkeypatch):
    monkeypatch.setattr(training, "EVERY", 2)
    calls = []

    def interrupted(self, h, logits=training._Reader.logits):
        calls.append(1)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return logits(self, h)

    monkeypatch.setattr(training._Reader, "logits", interrupted)
    lens = aw.TunedLens.train(small, texts(60), steps=50)
    assert lens.metadata["stopped"] == "cancelled" and 0 < lens.metadata["steps"] < 50


def test_it_stops_where_nothing_is_gained(small, monkeypatch):
    monkeypatch.setattr(training, "EVERY", 1)
    monkeypatch.setattr(training, "GAIN", 1.0)  # no gain is enough
    lens = aw.TunedLens.train(small, texts(60), steps=50)
    assert lens.metadata["steps"] == training.PATIENCE and "nothing was gained" in lens.metadata["stopped"]


def test_a_look_keeps_the_best_of_every_place_by_itself():
    translators = training._Translators(torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(0)), True)
    best = training._Best(translators, torch.tensor([3.0, 3.0]), ["embed", "L0.post"])
    for value, found in ((1.0, [2.0, 4.0]), (2.0, [2.5, 1.0])):
        with torch.no_grad():
            translators.vector.fill_(value)
        best.look(1, translators, torch.tensor(found))
    best.into(translators)
    assert best.kl.tolist() == [2.0, 1.0] and translators.vector[:, 0].tolist() == [1.0, 2.0]


def test_whitened_translators_are_what_acts_on_the_stream():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 80, 6, generator=g) * torch.tensor([1, 1, 1, 1, 1, 300.0]) + 5
    made = training._Translators(x, True)
    with torch.no_grad():
        made.matrix.normal_(generator=g)
        made.vector.normal_(generator=g)
    weight, bias = made.plain()
    for i in range(2):
        expected = x[i].double() + x[i].double() @ weight[i].T.double() + bias[i].double()
        torch.testing.assert_close(made(i, x[i]).detach().double(), expected, atol=2e-2, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("one text", "One text is no list of texts"),
        ([1, 2], "An int is no list of texts"),
        (["The capital of France is"] * 50, "1 different texts are too few"),
        (None, "comes without texts to train on"),
    ],
)
def test_what_it_cannot_be_trained_on_is_refused(small, given, said):
    with pytest.raises(aw.AttribError, match=said):
        aw.TunedLens.train(small, given)


@pytest.mark.parametrize("value", [0, -1, 1.5, "5", True, None, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["steps", "rows", "context", "learning_rate"])
def test_a_setting_that_trains_nothing_is_refused(small, name, value):
    if (name, value) != ("learning_rate", 1.5):
        with pytest.raises(aw.AttribError, match=f"{name}={value!r} trains nothing"):
            aw.TunedLens.train(small, texts(60), **{name: value})


@pytest.mark.parametrize("value", ["a", 1.5, None])
def test_a_seed_is_a_whole_number(small, value):
    with pytest.raises(aw.AttribError, match="no whole number"):
        aw.TunedLens.train(small, texts(60), seed=value)


# -- trained models -------------------------------------------------------------------------------------------------
def nearer_than(model, lens, given, mid):
    """Held-out KL of this lens below the logit lens's, and below that of one that learned vectors alone, everywhere."""
    settings = training.LensSettings(steps=lens.metadata["settings"]["steps"])
    vectors = aw.TunedLens(*training.trained(model, given, settings, mid, linear=False))
    assert not vectors.weight.any()
    assert vectors.metadata["texts_sha256"] == lens.metadata["texts_sha256"], "on the same texts"
    for place in lens.places:
        (plain, own), (_, bias) = lens.kl_of(place), vectors.kl_of(place)
        assert own < plain and own < bias, f"{place}: logit lens {plain}, vectors alone {bias}, this lens {own}"


def test_on_the_embedded_model_it_is_nearer_than_vectors_alone():
    model = aw.load("demo")
    given = json.loads((model.folder / "saes" / "contexts.json").read_text())[:600]
    nearer_than(model, aw.TunedLens.train(model, given, steps=50), given, False)


@pytest.mark.weights
def test_on_a_trained_llama_it_is_nearer_than_vectors_alone(trained_folder):
    model = aw.load(str(trained_folder))
    start = torch.full((200, 1), model.tokenizer.bos_token_id)
    torch.manual_seed(0)
    with torch.no_grad():
        rows = model.hf.generate(start, max_length=48, min_length=48, do_sample=True, pad_token_id=0)
    given = model.tokenizer.batch_decode(rows, skip_special_tokens=True)
    nearer_than(model, aw.TunedLens.train(model, given, steps=80), given, False)
