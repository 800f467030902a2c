"""Several streams beside each other (Gemma 3n): every sum against plain hooks on the model's own modules."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers as tf

import attrib_widgets as aw
from attrib_widgets.analysis.opening.dictionaries.rows import direction_of
from attrib_widgets.analysis.opening.vectors import written_vector
from attrib_widgets.model.parts.streams import as_one
from attrib_widgets.model.tracing.edits import Edit
from attrib_widgets.model.tracing.gradient import differentiate
from attrib_widgets.model.tracing.hooks import collect
from attrib_widgets.model.tracing.sweep import sweep
from attrib_widgets.saes.reading import activations
from attrib_widgets.words.components import component
from attrib_widgets.words.places import Place, dictionary_place
from fixtures import families
from fixtures.hook_twin import HookTwin, hooked, kept

NAMES = [*families.STREAMS, "gemma3n_shared"]
each = pytest.mark.parametrize("name", NAMES)


class Held:
    """A model in which everything but what is written is held as it was on ``ids``: what its parts give, how its
    streams are mixed, the lengths of its streams at the end, and the scale of its final norm. In float64."""

    def __init__(self, name, ids, build=families.build):
        hf = copy.deepcopy(build(name)).double()
        self.hf, self.text, self.ids = hf, hf.model, torch.tensor([ids])
        parts = {"attn": "post_attention_layernorm", "laurel": "laurel", "mlp": "post_feedforward_layernorm"}
        parts |= {"beside": "post_per_layer_input_norm", "predict": "altup.prediction_coefs"}
        parts["correct"] = "altup.correction_coefs"
        self.parts = {
            (site, i): layer.get_submodule(path)
            for i, layer in enumerate(hf.model.layers)
            for site, path in parts.items()
        }
        self.kept, self.end, self.begin = {}, None, None
        handles = [
            module.register_forward_hook(lambda m, a, out, key=key: self.kept.__setitem__(key, out.clone()))
            for key, module in self.parts.items()
        ]
        handles.append(hf.model.layers[0].register_forward_pre_hook(lambda m, a: setattr(self, "begin", a[0].clone())))
        handles.append(hf.model.layers[-1].register_forward_hook(lambda m, a, out: setattr(self, "end", out.clone())))
        handles.append(hf.model.norm.register_forward_pre_hook(lambda m, a: setattr(self, "read", a[0].clone())))
        self._run(handles)
        self.recorded = self.end

    def _run(self, handles):
        with torch.no_grad():
            self.hf(self.ids, use_cache=False)
        for handle in handles:
            handle.remove()

    def without(self, site, layer=0):
        """What the final norm read is less by, and the logits before the cap, once one part has written nothing."""
        handles = []
        for key, module in self.parts.items():
            gone = key == (site, layer)
            value = torch.zeros_like(self.kept[key]) if gone else self.kept[key]
            handles.append(module.register_forward_hook(lambda m, a, out, value=value: value.clone()))

        def begin(module, args):
            start = self.begin if site != "embed" else torch.zeros_like(self.begin)
            return (start, *args[1:])

        handles.append(self.text.layers[0].register_forward_pre_hook(begin))
        handles.append(self.text.layers[-1].register_forward_hook(lambda m, a, out: setattr(self, "end", out.clone())))
        self._run(handles)
        moved, total = (self.recorded - self.end)[:, 0], 0
        for i in range(len(moved)):
            if i == 0:
                total = total + moved[0]
                continue
            project = self.text.altup_unembed_projections[i - 1]
            own = self.recorded[i] @ project.weight.T
            length = (self.recorded[0].square().mean(-1) / own.square().mean(-1)).sqrt()[0, :, None]
            total = total + length * (moved[i] @ project.weight.T)
        total = (total / len(moved)).detach()
        scale = (self.read[0].square().mean(-1, keepdim=True) + self.text.norm.eps) ** -0.5
        return total, (total * scale * self.text.norm.weight) @ self.hf.lm_head.weight.T


def bars(a, site, layer):
    """What a sublayer wrote: its heads and their bias together."""
    if site == "attn":
        return sum(
            v for c, v in zip(a.components, a.values.tolist(), strict=True) if c.is_attention and c.layer == layer
        )
    return a["embed" if site == "embed" else f"L{layer}.{site}"]


@each
def test_a_bar_is_what_is_missing_once_its_part_writes_nothing_and_all_else_is_held(family_model, name):
    model = family_model(name)
    run = model.run(families.PROMPT)
    held, token = Held(name, run.ids), model.single_token(" Paris")
    a = aw.attribute(run, " Paris")
    assert a.exact and model.n_streams == (3 if name == "gemma3n_three" else 4)
    everywhere = a.by_position()
    rows = [("embed", 0), *((site, i) for i in range(model.n_layers) for site in ("attn", "laurel", "mlp", "beside"))]
    for site, layer in rows:
        read, logits = held.without(site, layer)
        assert bars(a, site, layer) == pytest.approx(float(logits[-1, token].detach()), abs=2e-5), (site, layer)
        if site != "attn":
            label = "embed" if site == "embed" else f"L{layer}.{site}"
            written = written_vector(run, component(label), run.n_positions - 1)
            assert torch.allclose(written.double(), read[-1], atol=2e-5)
            column = everywhere.values[:, everywhere.components.index(component(label))]
            assert torch.allclose(column.double(), logits[:, token], atol=5e-5)
    assert abs(bars(a, "laurel", 0)) > 1e-3 < abs(bars(a, "beside", 1))


def everything_random(**changes):
    """A model in which no number is what it was made with: buffers that are not saved, too."""
    hf = families.build("gemma3n_shared", seed=1)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for buffer in hf.buffers():
            if buffer.is_floating_point():
                buffer.mul_(1 + 0.2 * torch.randn(buffer.shape, generator=generator))
        for layer in hf.model.layers:
            for coefficients in (layer.altup.correction_coefs, layer.altup.prediction_coefs):
                coefficients.weight.normal_(generator=generator)
            layer.altup.router_input_scale.fill_(0.3)
    for key, value in changes.items():
        setattr(hf.config, key, value)
    return hf


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scaled", [True, False])
def test_everything_random_adds_up(dtype, scaled):
    hf = everything_random(altup_correct_scale=scaled).to(families.DTYPES[dtype])
    model = aw.load(hf, tokenizer=families.tokenizer("gemma3n_text"))
    assert model.granularity == "heads" and all(level.sources for level in model.check.levels), model.report()
    assert [bool(level.values) for level in model.check.levels] == [True, True, False]
    runs = model.run_many([families.PROMPT, families.LONG_PROMPT, "The capital of Italy is"])
    for run in runs:
        a = aw.attribute(run, aw.logit_diff(" Paris", " Rome"))
        assert a.exact and abs(a.mismatch) <= 1e-5 * (1 + float(a.values.abs().sum()))
        for head in ("L0H1", "L1H3", "L2H2"):
            assert a.sources(head).total == pytest.approx(a[head], abs=1e-5 * (1 + abs(a[head])))
        assert a.through("L1H0").total == pytest.approx(a["L1H0"], abs=1e-5 * (1 + abs(a["L1H0"])))
        assert a.neurons(0).total == pytest.approx(a["L0.mlp"], abs=1e-5 * (1 + float(a.neurons(0).values.abs().sum())))
    alone = aw.attribute(model.run(families.PROMPT), aw.logit_diff(" Paris", " Rome"))
    together = aw.attribute(runs[0], aw.logit_diff(" Paris", " Rome"))
    assert torch.allclose(alone.values, together.values, atol=1e-5 if dtype == "float32" else 0.05)


@each
def test_the_lens_reads_streams_as_the_model_brings_them_together(family_model, name):
    """Layers that are left out give on what they are given: the rest of the model then reads the streams there."""
    model, hf = family_model(name), families.build(name)
    run = model.run(families.PROMPT)
    lens = aw.logit_lens(run, " Paris", k=1)
    for number in range(model.n_layers + 1):
        handles = [
            layer.register_forward_hook(lambda m, args, out: args[0].clone()) for layer in hf.model.layers[number:]
        ]
        with torch.no_grad():
            logits = hf(torch.tensor([run.ids]), use_cache=False).logits[0]
        for handle in handles:
            handle.remove()
        printed = model.read_out(as_one(model, run.record, number))[1]
        assert torch.allclose(printed, logits, atol=1e-4 * float(logits.abs().max()))
        p = logits.softmax(-1)[:, model.single_token(" Paris")]
        assert torch.allclose(lens.probability[number], p, atol=1e-5)
    with pytest.raises(aw.GranularityError, match="streams beside each other"):
        aw.logit_lens(run, " Paris", mid=True)


@each
def test_a_patch_of_the_stream_is_one_of_all_streams_that_a_layer_is_given(family_model, name):
    model, hf = family_model(name), families.build(name)
    base, source = model.run(families.PROMPT), model.run("The capital of Italy is")
    found = aw.patch(model, source, base, aw.logit(5), sites="stream", positions="each")
    start, layers = float(base.logits()[5]), hf.model.layers
    for cell, change in found.to_dataframe()[["cell", "change"]].itertuples(index=False):
        label, _, at = str(cell).partition(" @")
        number = model.n_layers if label.endswith("post") else int(label[1])
        module = hf.model.norm if number == model.n_layers else layers[number]
        other = kept(hf, source.ids, module, "in")

        def put(x, other=other, at=int(at)):
            x = x.clone()
            x[..., at, :] = other[..., at, :]
            return x

        expected = float(hooked(hf, base.ids, {(module, "in"): put})[-1, 5])
        assert start + change == pytest.approx(expected, rel=1e-5, abs=2e-5), cell


@each
def test_gradients_are_those_of_the_model(family_model, name):
    """At all streams before a layer, at what heads hand on and at what is written: plain autograd, hooked."""
    model, hf = family_model(name), families.build(name)
    run = model.run(families.PROMPT)
    layer, seen = hf.model.layers[1], {}
    spots = {"pre": (layer, "in"), "z": (layer.self_attn.o_proj, "in"), "mlp": (layer.mlp, "out")}
    spots["laurel"] = (layer.laurel, "out")
    begin = hf.model.layers[0].register_forward_pre_hook(lambda m, a: (a[0].detach().requires_grad_(), *a[1:]))
    handles = [begin]
    for site, (module, end) in spots.items():
        if end == "in":
            handles.append(module.register_forward_pre_hook(lambda m, a, site=site: seen.__setitem__(site, a[0])))
        else:
            handles.append(module.register_forward_hook(lambda m, a, out, site=site: seen.__setitem__(site, out)))
    final = []
    handles.append(hf.model.norm.register_forward_pre_hook(lambda m, a: final.append(a[0])))
    hf(torch.tensor([run.ids]), use_cache=False)
    expected = torch.autograd.grad(final[0][0, -1].sum(), list(seen.values()))
    for handle in handles:
        handle.remove()
    found = differentiate(run, lambda rows: rows.sum(-1), [(site, 1) for site in seen])
    for site, own in zip(seen, expected, strict=True):
        own = own[:, 0].transpose(0, 1).flatten(1) if site == "pre" else own[0]
        assert torch.allclose(found.at[site, 1][0], own, atol=1e-5 * float(own.abs().max())), site


#: Gemma 3n E2B as it is published, a sixteenth as wide, with a third of its layers.
PUBLISHED = dict(
    hidden_size=128,
    hidden_size_per_layer_input=16,
    intermediate_size=512,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=16,
    laurel_rank=4,
    num_hidden_layers=10,
    num_kv_shared_layers=3,
    layer_types=(["sliding_attention"] * 4 + ["full_attention"]) * 2,
    activation_sparsity_pattern=[0.95] * 3 + [0.0] * 7,
    sliding_window=8,
    final_logit_softcapping=30.0,
    vocab_size_per_layer_input=400,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=0,
)


def test_a_folder_in_the_proportions_of_the_published_model(tmp_path):
    """Saved and loaded, explained, patched, ablated, and verified: keys and values shared as there."""
    config = tf.Gemma3nTextConfig(vocab_size=families.vocab_size(), **PUBLISHED)
    hf = tf.Gemma3nForCausalLM(config).eval()
    families.randomize(hf)
    hf.save_pretrained(tmp_path)
    families.tokenizer("gemma3n_text").save_pretrained(tmp_path)
    model = aw.load(str(tmp_path))
    assert model.granularity == "heads" and all(level.sources for level in model.check.levels)
    assert [bool(level.values) for level in model.check.levels] == [True] * 7 + [False] * 3
    assert "the values of L6," in model.level(8).values.reason and "of L4," in model.level(9).values.reason
    ids = families.ids_of("gemma3n_text", families.LONG_PROMPT)
    base, source = model.run(ids), model.run([*ids[:12], (ids[12] + 7) % 300, *ids[13:]])
    twin = HookTwin(model, hf, base.ids, source.ids)
    assert torch.allclose(base.logits(), hooked(hf, base.ids, {})[-1], atol=1e-4)
    a = aw.attribute(base, 5)
    assert a.exact and a.sources("L9H3").total == pytest.approx(a["L9H3"], abs=1e-5)
    labels = ["L0H1", "L4H7", "L7H2", "L9H0", "L2.mlp", "L9.mlp", "L1.laurel", "L9.laurel", "L0.beside", "L9.beside"]
    start = float(base.logits()[5])
    found = aw.patch(model, source, base, aw.logit(5), components=labels)
    taken = aw.ablate(model, base, 5, components=labels, method="zero")
    at_last = aw.patch(model, source, base, aw.logit(5), components=labels, positions=[len(ids) - 1])
    for i, label in enumerate(labels):
        expected = float(twin.patched([label])[-1, 5])
        assert float(found.patched[0, i]) == pytest.approx(expected, rel=1e-5, abs=3e-5), label
        expected = float(twin.patched([label], value=0)[-1, 5])
        assert start + float(taken.values[i]) == pytest.approx(expected, rel=1e-5, abs=3e-5), label
        expected = float(twin.patched([label], [len(ids) - 1])[-1, 5])
        assert float(at_last.patched[0, i]) == pytest.approx(expected, rel=1e-5, abs=3e-5), label
    v = aw.verify(a, corrupted=source)
    assert len(v.title()) > 10 and {"L0H1", "L9.mlp"} <= {str(c) for c in a.components}
    half = aw.load(str(tmp_path), dtype="bfloat16")
    assert half.granularity == "heads"
    rounded = aw.attribute(half.run(ids), 5)
    assert rounded.exact and rounded.labels == a.labels
    assert abs(rounded["rounding"]) <= 0.02 * float(rounded.values.abs().sum())


def test_without_what_its_vision_needs_the_text_alone_is_named_and_loads(tmp_path, monkeypatch):
    """The published checkpoint holds a vision tower that wants a package of its own."""
    from safetensors.torch import save_file

    hf = families.build("gemma3n_text")
    moved = {
        f"model.language_model.{k.removeprefix('model.')}": v for k, v in hf.state_dict().items() if "lm_head" not in k
    }
    save_file(moved, tmp_path / "model.safetensors", metadata={"format": "pt"})
    tf.Gemma3nConfig(text_config=copy.deepcopy(hf.config)).save_pretrained(tmp_path)
    families.tokenizer("gemma3n_text").save_pretrained(tmp_path)

    def fails(*args, **options):
        raise ImportError("TimmWrapperModel requires the timm library but it was not found in your environment.")

    monkeypatch.setattr(tf.AutoModelForCausalLM, "from_pretrained", fails)
    with pytest.raises(aw.AttribError, match="pip install timm, and load it again") as caught:
        aw.load(str(tmp_path))
    assert f"transformers.Gemma3nForCausalLM.from_pretrained({str(tmp_path)!r})" in caught.value.hint
    text = tf.Gemma3nForCausalLM.from_pretrained(str(tmp_path))
    run = aw.load(text, tokenizer=families.tokenizer("gemma3n_text")).run(families.PROMPT)
    with torch.no_grad():
        expected = hf.model(torch.tensor([run.ids]), use_cache=False).last_hidden_state[0]
    normed = run.model.module("model.norm")(run.record.streams[-1])
    assert torch.allclose(normed, expected, atol=1e-5) and aw.attribute(run, " Paris").exact


def sae(place):
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(2, families.WIDTH, 40, generator=generator) / families.WIDTH**0.5
    return aw.SAE(dictionary_place(place), "standard", wide[0], torch.zeros(40), wide[1].T, torch.zeros(families.WIDTH))


@each
def test_features_of_an_mlp_sum_to_its_bar_and_one_of_a_stream_is_refused(family_model, name):
    model = aw.load(families.build(name), tokenizer=families.tokenizer(name))
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    for label in ("L1.mlp", "L1.attn_out"):
        model.saes[label] = sae(label)
        found = a.features(label)
        written = a["L1.mlp"] if label == "L1.mlp" else bars(a, "attn", 1)
        assert found.total == pytest.approx(written, abs=1e-5 * (1 + float(found.values.abs().sum())))
    with pytest.raises(aw.AttribError, match="streams beside each other"):
        a.features("L1.post", sae("L1.post"))


@each
@pytest.mark.parametrize("label", ["L1.mlp", "L1.attn_out"])
def test_features_of_a_sublayer_are_taken_out_of_what_that_adds(family_model, name, label):
    model, ids = aw.load(families.build(name), tokenizer=families.tokenizer(name)), families.ids_of(name)
    model.saes[label] = dictionary = sae(label)
    layer, fired = model.hf.model.layers[1], []

    def without(module, args, out):
        fired.append(dictionary.encode(out)[..., :6])
        return out - fired[-1] @ dictionary.w_dec[:6]

    norm = layer.post_feedforward_layernorm if label == "L1.mlp" else layer.post_attention_layernorm
    handle = norm.register_forward_hook(without)
    with torch.no_grad():
        slow = model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1, 5].item()
    handle.remove()
    some = [f"{label}/{i}" for i in range(6)]
    found = aw.ablate(model, ids, 5, components=[some])
    assert float(fired[0].max()) > 0.1 and found.ablated.item() == pytest.approx(slow, abs=1e-4)
    steered = aw.steer(model, ids, some, 5, scale=[0, 1]).values.tolist()
    assert steered == pytest.approx([slow, found.base.item()], abs=1e-4) and abs(found.values.item()) > 1e-3


def test_the_card_of_a_feature_says_that_its_write_has_no_one_way(family_model):
    model = aw.load(families.build("gemma3n_text"), tokenizer=families.tokenizer("gemma3n_text"))
    model.saes["L1.mlp"] = sae("L1.mlp")
    found = aw.attribute(model.run(families.PROMPT), " Paris").features("L1.mlp")
    card = found.card(found.numbers[0])
    assert not card.promoted and not card.suppressed and max(card.here) > 0
    assert "mix 4 streams" in repr(card) and "promotes" not in repr(card)
    assert card.arithmetic is not None and float(card.arithmetic.fires) == pytest.approx(card.here[-1], rel=0.01)


REFUSED = {
    "one stream put in": lambda m, a, o: a.run.edited([Edit("pre", 1, (2,), o.record.streams[1][[2]])]),
    "one stream added to": lambda m, a, o: sweep(a.run, [[Edit("pre", 1, (2,), torch.ones(1, 32), adds=True)]]),
    "the stream between": lambda m, a, o: sweep(a.run, [[Edit("mid", 1, (2,), torch.ones(1, 32))]]),
    "a layer as a whole": lambda m, a, o: sweep(a.run, [[Edit("layer", 1, (2,), torch.ones(1, 32))]]),
    "features of a stream read": lambda m, a, o: activations(m, a.run.record, sae("L1.post")),
    "features of a stream": lambda m, a, o: collect(m, torch.tensor([a.run.ids]), [Place("post", 1)]),
    "graphs": lambda m, a, o: a.graph(),
    "a dictionary of a stream": lambda m, a, o: direction_of(a, Place("post", 1)),
    "edges": lambda m, a, o: aw.edge_patch(m, a.run, o, 5),
}


@pytest.mark.parametrize("asked", REFUSED)
def test_what_is_understood_of_one_stream_alone_is_refused(family_model, asked):
    model = family_model("gemma3n_text")
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    other = model.run("The capital of Italy is")
    with pytest.raises(aw.GranularityError, match="4 streams beside each other"):
        REFUSED[asked](model, a, other)


def test_a_layer_whose_parts_do_not_add_up_is_one_part():
    """A hook on a layer moves all its streams: what it wrote as a whole is the difference, and the sum still closes."""
    hf = families.build("gemma3n_text")
    hf.model.layers[1].register_forward_hook(lambda m, args, out: out * 1.25)
    model = aw.load(hf, tokenizer=families.tokenizer("gemma3n_text"))
    assert [level.granularity for level in model.check.levels] == ["heads", "layers", "heads"]
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert a.exact and "L1" in a.labels and "L2.laurel" in a.labels and abs(a["L1"]) > 1e-3
    assert a.token_totals().exact and a.trace(depth=None).exact
    with pytest.raises(aw.AttribError, match="L1 as a whole writes to 4 streams"):
        aw.ablate(model, families.PROMPT, components="L1")


def test_a_mixing_that_is_another_is_refused():
    """Behind its last layer a stream counts otherwise than the anatomy says: nothing is shown, no wrong sum."""
    hf = families.build("gemma3n_text")
    project = hf.model.altup_unembed_projections[0]
    project.forward = lambda x: torch.tanh(torch.nn.functional.linear(x, project.weight))
    with pytest.raises(aw.AttribError, match="no linear map"):
        aw.load(hf, tokenizer=families.tokenizer("gemma3n_text"))
