"""Models in the configurations that were published in 2026, small: loaded by their folder, explained, and tested.

What is expected comes from the class that was published, as it was before it was saved, by hooks and by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import transformers as tf

import attrib_widgets as aw
from attrib_widgets.model.tracing import sweep as engine
from attrib_widgets.model.tracing.edits import Edit
from fixtures import families, published
from fixtures.hook_twin import HookTwin, hooked

TARGET = 5
#: What each layer splits into, layer by layer: h heads, and by name what has none.
SPLIT = {
    "Qwen3.5-9B": ["a gated delta net"] * 3 + ["h"],
    "LFM2.5-VL-1.6B": ["a short convolution", "a short convolution", "h"] * 2,
    "Llama-4-Scout-17B-16E": ["h"] * 4,
    "gemma-4-E2B": ["h"] * 10,
    "gemma-4-26B-A4B": ["h"] * 6,
    "gemma-4-31B": ["h"] * 6,
}


@dataclass
class Pair:
    """A loaded model with two runs, and the published class with the same weights."""

    name: str
    model: aw.Model
    base: Any
    source: Any
    twin: HookTwin
    folder: str

    def parts(self, layer: int) -> list[str]:
        """The labels of a layer's parts."""
        level, heads = self.model.check.levels[layer], self.model.geometry[layer].n_heads
        found = [f"L{layer}H{h}" for h in range(heads)] if level.granularity == "heads" else [f"L{layer}.attn"]
        return [*found, f"L{layer}.mlp", *([f"L{layer}.beside"] if self.model.anatomy.beside else [])]


@pytest.fixture(scope="module", params=published.NAMES)
def pair(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    hf = published.save(request.param, folder)
    if hasattr(
        getattr(hf, "language_model", None), "lm_head"
    ):  # Llama 4's runs alone; without images 5.24's class fails
        hf = hf.language_model
    model = aw.load(str(folder))
    ids = families.ids_of("llama4_text", families.LONG_PROMPT)  # longer than every window and chunk here
    other = [*ids[:12], (ids[12] + 7) % 300, *ids[13:]]
    return Pair(request.param, model, model.run(ids), model.run(other), HookTwin(model, hf, ids, other), str(folder))


def test_small_means_smaller_in_the_same_proportions():
    for name, given in published.CONFIGS.items():
        large, small = given["text_config"], published.small(name)["text_config"]
        for one, other in (
            ("num_attention_heads", "num_key_value_heads"),
            ("intermediate_size", "hidden_size"),
            ("linear_num_value_heads", "linear_num_key_heads"),
            ("global_head_dim", "head_dim"),
        ):
            if large.get(one) and large.get(other):
                assert large[one] * small[other] == small[one] * large[other], (name, one)
        if "head_dim" in large:
            wide = [text["num_attention_heads"] * text["head_dim"] / text["hidden_size"] for text in (large, small)]
            assert wide[0] == wide[1], name
        kinds = [set(text.get("layer_types") or text["no_rope_layers"]) for text in (large, small)]
        assert kinds[0] == kinds[1] and len(SPLIT[name]) == small["num_hidden_layers"]


def test_a_folder_loads_and_prints_what_was_saved(pair):
    own = hooked(pair.twin.hf, pair.base.ids, {})
    assert torch.allclose(pair.base.logits(), own[-1], atol=1e-5 * float(own.abs().max()))
    found = [
        "h" if level.granularity == "heads" and level.sources else pair.model.mixer(layer).name
        for layer, level in enumerate(pair.model.check.levels)
    ]
    assert found == SPLIT[pair.name] and all(level.experiments for level in pair.model.check.levels)
    for words in set(SPLIT[pair.name]) - {"h"}:
        assert words in str(pair.model.report())


def test_in_the_precision_of_the_checkpoints_it_splits_as_finely(pair):
    model = aw.load(pair.folder, dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    assert [level.granularity for level in model.check.levels] == [
        known.granularity for known in pair.model.check.levels
    ]
    a = aw.attribute(model.run(pair.base.ids), TARGET)
    assert a.exact and a.labels == aw.attribute(pair.base, TARGET).labels
    assert abs(a["rounding"]) <= 0.01 * float(a.values.abs().sum())


def test_an_entry_that_an_older_release_wrote_is_named(tmp_path):
    """Llama 4 as it was published: the switch of the temperature is a number there."""
    published.save("Llama-4-Scout-17B-16E", tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["text_config"]["attn_temperature_tuning"] = 4
    file.write_text(json.dumps(config))
    with pytest.raises(aw.AttribError, match="attn_temperature_tuning") as caught:
        aw.load(str(tmp_path))
    assert "config.json" in caught.value.hint and tf.__version__ in caught.value.hint


def test_rows_are_what_each_part_adds_along_the_frozen_norms(pair):
    """Norms as the factor by which they changed each number, what the stream was multiplied by as a number a layer."""
    twin, at = pair.twin, -1
    a = aw.attribute(pair.base, TARGET)
    assert a.exact and float(a.values.sum()) == pytest.approx(float(pair.base.logits()[TARGET]), abs=1e-5)
    decoder = next(m for m in twin.hf.modules() if getattr(m, "layers", None) is twin.layers)
    unembed = twin.hf.get_output_embeddings()
    final = _factor(twin, getattr(decoder, pair.model.anatomy.final_norm.rpartition(".")[2]), at)
    down = unembed.weight[TARGET].detach() * final
    rest = 1.0
    for layer in reversed(range(pair.model.n_layers)):
        rest *= float(getattr(twin.layers[layer], "layer_scalar", torch.ones(1)))
        for label in pair.parts(layer):
            expected = float(down @ _write(pair, label, at)) * rest
            assert a[label] == pytest.approx(expected, abs=2e-5), label
    embedded = twin.read(twin.layers[0], "in")[0, at]
    assert a["embed"] == pytest.approx(float(down @ embedded) * rest, abs=2e-5)


def _factor(twin, norm, at):
    """What a norm multiplied each number of a position by."""
    return (twin.read(norm, "out") / twin.read(norm, "in"))[0, at]


def _write(pair, label, at):
    """What a part wrote to the stream, the norms behind it included."""
    twin, part = pair.twin, aw.component(label)
    layer = twin.layers[part.layer]
    module, end, columns = twin.place(label)
    given = twin.read(module, end)
    written = given.reshape(-1, given.shape[-1])[at, columns]
    norms = {"head": "post_attention_layernorm", "mlp": "post_feedforward_layernorm"}
    norm = getattr(layer, norms[part.kind], None) if pair.name.startswith("gemma") and part.kind in norms else None
    if part.kind == "head":
        written = module.weight[:, columns].detach() @ written
    return written if norm is None else written * _factor(twin, norm, at)


def test_what_a_head_took_from_every_position_adds_up_to_it(pair):
    a = aw.attribute(pair.base, TARGET)
    for layer, level in enumerate(pair.model.check.levels):
        if not level.sources:
            continue
        head = f"L{layer}H{pair.model.geometry[layer].n_heads - 1}"
        assert a.sources(head).total == pytest.approx(a[head], abs=1e-5)
        if level.values:
            assert a.through(head).total == pytest.approx(a[head], abs=1e-5)
        else:
            with pytest.raises(aw.GranularityError, match="not shown to be exact"):
                a.through(head)


def test_whose_keys_and_values_a_layer_gathers_is_said(pair):
    """Those of the last layer of its kind that has some of its own."""
    config = pair.twin.hf.config.get_text_config()
    shared = getattr(config, "num_kv_shared_layers", 0)
    kinds, own = getattr(config, "layer_types", []), pair.model.n_layers - shared
    for layer in range(own, pair.model.n_layers):
        owner = max(i for i in range(own) if kinds[i] == kinds[layer])
        level = pair.model.check.levels[layer]
        assert level.sources and f"the values of L{owner}," in level.values.reason
        assert level.scores.reason == f"its keys are those of L{owner}"
    assert shared == (5 if pair.name == "gemma-4-E2B" else 0)


def test_patched_and_ablated_parts_are_what_hooks_give(pair):
    model, start = pair.model, float(pair.base.logits()[TARGET])
    every = [label for layer in range(model.n_layers) for label in pair.parts(layer)]
    chosen = every if len(every) < 60 else every[::3]
    found = aw.patch(model, pair.source, pair.base, aw.logit(TARGET), components=chosen)
    taken = aw.ablate(model, pair.base, TARGET, components=chosen, method="zero")
    assert found.complete and taken.complete
    moved = 0.0
    for label, put, without in zip(chosen, found.patched[0].tolist(), taken.values.tolist(), strict=True):
        expected = float(pair.twin.patched([label])[-1, TARGET])
        assert put == pytest.approx(expected, rel=1e-5, abs=2e-5), label
        moved = max(moved, abs(expected - start))
        expected = float(pair.twin.patched([label], value=0)[-1, TARGET])
        assert start + without == pytest.approx(expected, rel=1e-5, abs=2e-5), label
    assert moved > 1e-3
    for at in (12, len(pair.base.ids) - 1):
        found = aw.patch(model, pair.source, pair.base, aw.logit(TARGET), components=chosen[:9], positions=[at])
        for label, put in zip(chosen[:9], found.patched[0].tolist(), strict=True):
            expected = float(pair.twin.patched([label], [at])[-1, TARGET])
            assert put == pytest.approx(expected, rel=1e-5, abs=2e-5), (label, at)


def test_different_interventions_in_one_batch_are_each_alone(pair):
    model, rec = pair.model, pair.source.record
    last = model.n_layers - 1
    d = model.geometry[last].d_head
    rows = [
        [Edit("z", last, (12, 14), rec.z[last][[12, 14], d : 2 * d], 1)],
        [Edit("mlp", 0, (13,), rec.mlp_out[0][[13]])],
        [Edit("mlp", last, (12,), rec.mlp_out[last][[12]]), Edit("mlp", 0, (12,), rec.mlp_out[0][[12]])],
    ]
    both = engine.sweep(pair.base, rows).streams
    for found, writes in zip(both, rows, strict=True):
        alone = engine.sweep(pair.base, [writes]).streams[0]
        assert torch.allclose(found, alone, atol=1e-5 * float(alone.abs().max()))


def test_a_verification_measures_what_hooks_measure(pair):
    a = aw.attribute(pair.base, TARGET)
    v = aw.verify(a, pair.source.ids, against=(), top=3, backups=False)
    start = float(pair.base.logits()[TARGET])
    assert v.gap == pytest.approx(start - float(pair.source.logits()[TARGET]), abs=1e-5)
    assert len(v.findings) >= 3 and all(f.word for f in v.findings)
    for f in v.findings:
        fallen = start - float(pair.twin.patched([str(f.component)])[-1, TARGET])
        assert f.necessity * v.gap == pytest.approx(fallen, abs=5e-5), f.component
