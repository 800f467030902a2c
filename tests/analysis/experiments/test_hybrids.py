"""Hybrids, and attention that gates what its heads gathered: experiments against plain hooks, one forward pass each."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import transformers as tf

import attrib_widgets as aw
from attrib_widgets.analysis.opening.heads import attention_direction
from attrib_widgets.model.tracing import sweep as engine
from attrib_widgets.model.tracing.edits import Edit
from fixtures import families
from fixtures.hook_twin import HookTwin, hooked, kept

#: What multiplies what the heads gathered, written down a second time: (attention module, what it reads) -> [n, heads,
#: d].
_GATES = {
    "laguna": lambda attn, x: F.softplus(attn.g_proj(x).float()).view(len(x), -1, 1),
    "afmoe": lambda attn, x: torch.sigmoid(attn.gate_proj(x)).view(len(x), families.HEADS, -1),
    "lfm3": lambda attn, x: torch.sigmoid(attn.g_proj(x)).view(len(x), -1, 1),
    "qwen3_next": lambda attn, x: torch.sigmoid(attn.q_proj(x).view(len(x), families.HEADS, -1).chunk(2, -1)[1]),
    "qwen3_5_text": lambda attn, x: torch.sigmoid(attn.q_proj(x).view(len(x), families.HEADS, -1).chunk(2, -1)[1]),
}
GATES = {name: gate for name, gate in _GATES.items() if name in families.GATED or name in families.HYBRIDS}


def pair(model, name, text=families.PROMPT):
    ids = families.ids_of(name, text)
    other = list(ids)
    other[2] = (other[2] + 7) % 300
    return model.run(ids), model.run(other)


@pytest.mark.parametrize(
    "name",
    families.HYBRIDS + families.BESIDE + families.CARRIED + families.JOINED + families.BLIND + families.STREAMS,
)
def test_every_cell_is_what_a_hook_does(family_model, name):
    """Mixers, MLPs and third parts by their outputs, heads by z: the cells of aw.patch, at one position and at all."""
    model = family_model(name)
    base, source = pair(model, name)
    target = 5
    twin = HookTwin(model, families.build(name), base.ids, source.ids)
    sites = ["attn", "mlp", "z", *model.anatomy.besides]
    for positions in (None, "each"):
        found = aw.patch(model, source, base, aw.logit(target), sites=sites, positions=positions)
        start = float(base.logits()[target])
        for cell, change in found.to_dataframe()[["cell", "change"]].itertuples(index=False):
            label, _, at = str(cell).partition(" @")
            expected = float(twin.patched([label], [int(at)] if at else None)[-1, target])
            assert start + change == pytest.approx(expected, rel=1e-5, abs=2e-5), cell


@pytest.mark.parametrize("name", families.HYBRIDS)
def test_a_mixer_with_a_state_is_never_packed_and_never_begins_behind_what_was_recorded(
    family_model, name, monkeypatch
):
    model = family_model(name)
    base, source = pair(model, name, families.LONG_PROMPT)
    passes = []

    class Seen(engine.Pass):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            passes.append(self)

    monkeypatch.setattr(engine, "Pass", Seen)
    last = base.n_positions - 1
    interventions = [
        [Edit("mlp", layer, (at,), source.record.mlp_out[layer][[at]])] for layer in range(3) for at in (last, last - 1)
    ]
    swept = engine.sweep(base, interventions)
    assert passes and all(p.start == 0 and not p.packed for p in passes)
    assert any("A state runs along the sequence in L0 and L2" in note for note in swept.notes)
    assert swept.forwards < len(interventions), "one row each, not one pass each"
    for row, writes in enumerate(interventions):
        alone = Seen(base, [writes], 0, last, plain=True).run()[0][1]
        assert torch.allclose(swept.streams[row], alone, atol=1e-5 * float(alone.abs().max()))


@pytest.mark.parametrize("name", families.HYBRIDS + families.STREAMS)
def test_two_different_interventions_together_are_each_alone(family_model, name):
    model = family_model(name)
    base, source = pair(model, name)
    d, rec = model.geometry[1].d_head, source.record
    one = [Edit("z", 1, (3,), rec.z[1][[3], d : 2 * d], 1)]
    two = [Edit("attn", 0, (2, 4), rec.attn_out[0][[2, 4]])]
    both = engine.sweep(base, [one, two, one]).streams
    for row, writes in ((0, one), (1, two), (2, one)):
        assert torch.equal(both[row], engine.sweep(base, [writes]).streams[0]) or torch.allclose(
            both[row], engine.sweep(base, [writes]).streams[0], atol=1e-5
        )
    assert not torch.allclose(both[0], both[1], atol=1e-4)


@pytest.mark.parametrize("name", families.HYBRIDS)
def test_which_layer_has_which_mixer_is_said(family_model, name):
    model = family_model(name)
    kind = model.mixer(0).name
    assert model.mixer(1) is None and kind in repr(model.report()) and kind in model.check.reason
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert {"L0.attn", "L1H0", "L2.attn"} <= set(a.labels) and a.exact
    with pytest.raises(aw.GranularityError, match=kind):
        aw.attention(a.run, "L0H0")
    with pytest.raises(aw.AttribError, match=kind):
        engine.sweep(a.run, [[Edit("z", 0, (1,), torch.zeros(1, 8), 0)]])


@pytest.mark.parametrize("name", GATES)
def test_sources_of_a_gated_head_are_gate_times_pattern_times_values(family_model, name):
    """A slow twin: transformers' own patterns, the value projection, the gate as the family writes it."""
    model = family_model(name, attn="eager")
    run, hf = model.run(families.PROMPT), families.build(name, attn="eager")
    with torch.no_grad():
        shown = hf(torch.tensor([run.ids]), use_cache=False, output_attentions=True).attentions
    a, at = aw.attribute(run, " Paris"), run.n_positions - 1
    for number, layer in enumerate(families.attention_layers(name)):
        pattern = [p for p in shown if p is not None][number][0]
        block = hf.get_submodule(model.anatomy.layers)[layer]
        attn = block.get_submodule(model.anatomy.attn)
        x = kept(hf, run.ids, attn.q_proj, "in")[0]
        with torch.no_grad():
            values = attn.v_proj(x).view(run.n_positions, -1, model.geometry[layer].d_head)
            gate = GATES[name](attn, x).expand(-1, families.HEADS, model.geometry[layer].d_head)
            weight = attn.o_proj.weight.view(model.d_model, families.HEADS, -1)
        u = attention_direction(a, layer)
        for head in range(families.HEADS):
            taken = pattern[head, at, :, None] * values[:, head // model.geometry[layer].group] * gate[at, head]
            expected = (taken @ weight[:, head].T @ u).detach()
            found = a.sources(f"L{layer}H{head}")
            assert torch.allclose(found.values[: run.n_positions], expected, atol=1e-5)
            assert a.through(f"L{layer}H{head}").total == pytest.approx(a[f"L{layer}H{head}"], abs=1e-5)


@pytest.mark.parametrize("name", GATES)
def test_other_values_pass_the_gate(family_model, name):
    """Values of another prompt in one key head, against a hook on the value projection."""
    model = family_model(name)
    base, source = pair(model, name)
    hf, target, layer = families.build(name), 5, 1
    module = hf.get_submodule(model.anatomy.layers)[layer].get_submodule(f"{model.anatomy.attn}.v_proj")
    other, d = kept(hf, source.ids, module, "out"), model.geometry[layer].d_head

    def put(x):
        x = x.clone()
        x[..., d : 2 * d] = other[..., d : 2 * d]
        return x

    expected = float(hooked(hf, base.ids, {(module, "out"): put})[-1, target])
    found = aw.patch(model, source, base, aw.logit(target), components=f"L{layer}KV1.v")
    assert float(base.logits()[target]) + float(found.to_dataframe()["change"].iloc[0]) == pytest.approx(
        expected, rel=1e-5, abs=1e-5
    )


@pytest.mark.parametrize("name", families.BESIDE)
def test_a_mixer_beside_attention_is_a_part_of_its_own_and_never_packed(family_model, name):
    model = family_model(name)
    base, source = pair(model, name)
    a = aw.attribute(base, " Paris")
    assert a.exact and {"L0.beside", "L0H0", "L0.mlp"} <= set(a.labels) and "a Mamba mixer" in repr(model.report())
    last = base.n_positions - 1
    swept = engine.sweep(base, [[Edit("beside", 1, (last,), source.record.beside_out[1][[last]])]])
    assert any("A state runs along the sequence in L0 to L2 (a Mamba mixer)" in note for note in swept.notes)


@pytest.mark.parametrize("name", ["gemma4_text"])
def test_replaced_tokens_are_run_where_layers_know_their_tokens_beside_the_stream(family_model, name):
    """The embedding in the stream is not all that a token is: the prompts themselves are run."""
    model = family_model(name)
    run = model.run(families.PROMPT)
    effects = aw.token_effects(model, run, aw.logit(5), draws=1, seed=1)
    generator = torch.Generator().manual_seed(1)
    special = set(model.special_ids)
    pool = [i for i in range(model.n_embeddings) if i not in special]
    drawn = [pool[int(torch.randint(len(pool), (1,), generator=generator))] for _ in run.ids]
    for p in range(run.n_positions):
        ids = [*run.ids[:p], drawn[p], *run.ids[p + 1 :]]
        expected = float(hooked(families.build(name), ids, {})[-1, 5])
        assert float(effects.changed[0, p]) == pytest.approx(expected, abs=2e-5)
    other = [*run.ids[:2], (run.ids[2] + 7) % 300, *run.ids[3:]]
    with pytest.raises(aw.GranularityError, match="beside the stream"):
        aw.integrated_gradients(model, run, other, aw.logit(5))
    with pytest.raises(aw.GranularityError, match="are not all that reads the stream"):  # the embedding beside it does
        aw.edge_patch(model, run, other, aw.logit(5))


@pytest.mark.parametrize("name", ["gemma4_shared", "gemma4_moe", "minicpm3"])
def test_what_is_known_in_part_adds_up_and_says_what_is_not(family_model, name):
    model = family_model(name)
    run = model.run(families.PROMPT)
    a = aw.attribute(run, " Paris")
    assert a.exact and model.granularity == "heads" and all(level.sources for level in model.check.levels)
    for label in ("L0H1", "L2H3"):
        assert a.sources(label).total == pytest.approx(a[label], abs=1e-5)
    layer = next((i for i, level in enumerate(model.check.levels) if not level.values), None)
    if layer is not None:
        with pytest.raises(aw.GranularityError, match="not shown to be exact"):
            a.through(f"L{layer}H0")
    else:
        assert model.check.mlp_reason


def published(name):
    """Small models in the layout in which the large ones are published: a language model beside one that reads
    images."""
    text = families.config({"gemma4": "gemma4_shared"}.get(name, name)).to_dict()
    text["pad_token_id"] = 0
    eyes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    if name == "gemma4":
        made = tf.Gemma4Config(text_config=text, vision_config=None, audio_config=None)
    elif name == "llama4_text":
        sizes = dict(
            vision_output_dim=16, projector_input_dim=16, projector_output_dim=16, image_size=28, patch_size=14
        )
        made = tf.Llama4Config(text_config=text, vision_config={**eyes, **sizes})
    elif name == "lfm2":
        made = tf.Lfm2VlConfig(text_config=text, vision_config=eyes)
    else:
        sizes = dict(depth=1, num_heads=2, out_hidden_size=families.WIDTH, num_position_embeddings=16)
        made = tf.Qwen3_5Config(text_config=text, vision_config={**eyes, **sizes})
    hf = tf.AutoModelForImageTextToText.from_config(made, attn_implementation="sdpa")
    families.randomize(hf)
    return hf.eval()


@pytest.mark.parametrize("name", ["qwen3_5_text", "llama4_text", "lfm2", "gemma4"])
def test_a_model_that_reads_images_as_well_splits_as_its_language_model_does(family_model, name):
    plain = family_model({"gemma4": "gemma4_shared"}.get(name, name))
    hf = published(name)
    try:
        hooked(hf, [1, 2, 3], {})
    except AttributeError as reason:
        pytest.skip(f"transformers {tf.__version__}: {type(hf).__name__} does not run without images ({reason})")
    model = aw.load(hf, tokenizer=families.tokenizer("llama4_text"))
    assert [level.granularity for level in model.check.levels] == [level.granularity for level in plain.check.levels]
    base, source = pair(model, "llama4_text")
    a = aw.attribute(base, " Paris")
    assert a.exact and a.labels[:-1] == aw.attribute(plain.run(base.ids), " Paris").labels[:-1]
    found = aw.patch(model, source, base, aw.logit(5), sites="mlp").to_dataframe()
    module = model.module(model.anatomy.mlp_output or model.anatomy.mlp, 1)
    other = kept(model.hf, source.ids, module, "out")
    expected = float(hooked(model.hf, base.ids, {(module, "out"): lambda x: other.reshape(x.shape)})[-1, 5])
    assert float(base.logits()[5]) + found["change"].iloc[1] == pytest.approx(expected, rel=1e-5, abs=2e-5)
