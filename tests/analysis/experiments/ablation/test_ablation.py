"""Ablation is the weights without the part, or the part's output replaced by hand."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.running.worker import Job
from fixtures import families
from fixtures.twins import Twin

ALL = families.TWINS + families.VARIANTS
TARGET = 17


def replaced(name, text, layer, head, value):
    """Last logit of the target when one head's z is ``value`` everywhere: one plain forward with one hook."""
    hf = families.build(name, attn="eager")
    twin = Twin(name, hf, families.ids_of(name, text))
    columns = slice(head * twin.head_size, (head + 1) * twin.head_size)

    def hook(module, args):
        z = args[0].clone()
        z[0, :, columns] = value(z[0, :, columns], columns, twin)
        return (z, *args[1:])

    handle = twin.out_proj(layer).register_forward_pre_hook(hook)
    with torch.no_grad():
        logits = hf(torch.tensor([twin.ids]), use_cache=False).logits[0, -1]
    handle.remove()
    return float(logits[TARGET])


@pytest.mark.parametrize("name", ALL)
def test_zero(family_model, name):
    model = family_model(name, attn="eager")
    a = aw.ablate(model, families.PROMPT, TARGET)
    assert len(a.cells) == model.n_layers * (model.n_heads + 1)
    for layer, head in [(0, 0), (1, 3), (2, 1)]:
        expected = replaced(name, families.PROMPT, layer, head, lambda z, *_: torch.zeros_like(z))
        assert a.base + a[(layer, head)] == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_means(family_model, name):
    model = family_model(name, attn="eager")
    ids = families.ids_of(name)
    others = [[(i + k) % 300 if n > 1 else i for n, i in enumerate(ids)] for k in (3, 50)]
    runs = [Twin(name, families.build(name, attn="eager"), o) for o in others]

    def aligned(z, columns, twin):
        return torch.stack([r.kept["z", 1][:, columns] for r in runs]).mean(0).to(z.dtype)

    a = aw.ablate(model, families.PROMPT, TARGET, components=["L1H2"], method="mean", reference=others)
    assert a.base + float(a.values[0]) == pytest.approx(replaced(name, families.PROMPT, 1, 2, aligned), abs=2e-5)
    assert "each part set to its mean over 2 reference prompts, position by position, in" in repr(a)

    shorter = [others[0], others[1][:-1]]
    runs = [Twin(name, families.build(name, attn="eager"), o) for o in shorter]

    def pooled(z, columns, twin):
        mean = torch.cat([r.kept["z", 1][1:, columns] for r in runs]).mean(0).to(z.dtype)
        return torch.cat([z[:1], mean.expand(len(z) - 1, -1)])

    a = aw.ablate(model, families.PROMPT, TARGET, components=["L1H2"], method="mean", reference=shorter)
    assert a.base + float(a.values[0]) == pytest.approx(replaced(name, families.PROMPT, 1, 2, pooled), abs=2e-5)
    assert "each part set to its mean over all positions but the first of 2 reference prompts, in" in repr(a)
    both = aw.ablate(model, [ids, ids[:-1]], TARGET, components=["L1H2"], method="mean", reference=[others[0]])
    assert "\u201d, position by position, where the lengths agree, and else its mean over all" in repr(both)


def test_resample(family_model):
    model = family_model("gpt2")
    ids = families.ids_of("gpt2")
    others = [[(i + k) % 300 for i in ids] for k in (3, 50, 70)]
    a = aw.ablate(model, ids, TARGET, components=["L1H2", ["L0H0", "L1.mlp"]], method="resample", reference=others)
    assert a.ablated.shape == (1, 3, 2) and a.spread is not None
    noised = [aw.patch(model, ids, o, TARGET, components=["L1H2"], direction="noise") for o in others]
    assert a.ablated[0, :, 0].tolist() == pytest.approx([float(p.patched[0, 0]) for p in noised], abs=1e-5)
    drawn = aw.ablate(model, ids, TARGET, components=["L1H2"], method="resample", reference=[others[0][:-1]], draws=5)
    again = aw.ablate(model, ids, TARGET, components=["L1H2"], method="resample", reference=[others[0][:-1]], draws=5)
    assert drawn.ablated.shape == (1, 5, 1) and torch.equal(drawn.ablated, again.ablated)


def test_what_is_not_aligned_leaves_the_first_position_alone(family_model):
    model = family_model("gpt2")
    ids = families.ids_of("gpt2")
    for method in ("mean", "resample"):
        how = dict(components=["L0H0"], method=method, reference=[ids[:-1]])
        each = aw.ablate(model, ids, TARGET, positions="each", **how).values
        assert float(each[0]) == 0 and bool((each[1:] != 0).all())
        two = aw.ablate(model, ids, TARGET, positions=[0, 2], **how).values
        assert float(two[0]) == pytest.approx(float(each[2]), abs=1e-6)


def test_a_cancelled_resampling_keeps_its_finished_draws(family_model):
    model = family_model("gpt2")
    ids = families.ids_of("gpt2")
    others = [[(i + k) % 300 for i in ids] for k in (3, 50, 70)]
    how = dict(method="resample", reference=others)
    every = aw.ablate(model, ids, TARGET, **how)
    drawn = []

    def stop_in_the_second(done, total, note):
        drawn.append(done)
        if drawn.count(total) == 2:
            job.cancel()

    job = Job(lambda job: aw.ablate(model, ids, TARGET, job=job, **how), stop_in_the_second)
    job.run()
    kept = job.result
    assert bool(kept.done.all()) and 1 <= kept.ablated.shape[1] < 3
    assert torch.allclose(kept.ablated, every.ablated[:, : kept.ablated.shape[1]])


def test_a_whole_attention_layer_keeps_its_bias(family_model):
    model = family_model("gpt2")
    heads = [f"L1H{h}" for h in range(model.n_heads)]
    a = aw.ablate(model, families.PROMPT, TARGET, components=["L1.attn", heads])
    assert float(a.values[0]) == pytest.approx(float(a.values[1]), abs=1e-6)


def test_errors_and_table(family_model):
    model = family_model("gpt2")
    with pytest.raises(aw.AttribError, match="reference="):
        aw.ablate(model, families.PROMPT, TARGET, method="mean")
    with pytest.raises(aw.AttribError, match="resample"):
        aw.ablate(model, families.PROMPT, TARGET, method="median")
    with pytest.raises(aw.ComponentError, match="Ablate what a part writes"):
        aw.ablate(model, families.PROMPT, TARGET, components=["embed"])
    with pytest.raises(aw.ComponentError, match="nothing to take out"):
        aw.ablate(model, families.PROMPT, TARGET, components=[])
    with pytest.raises(aw.AttribError, match="draws"):
        aw.ablate(model, families.PROMPT, TARGET, method="resample", reference=["The"], draws=0)
    a = aw.ablate(model, families.PROMPT, TARGET)
    assert "Without" in repr(a) and len(a.to_dataframe()) == len(a.cells)


def test_an_experiment_of_many_parts_is_told_in_a_line(family_model):
    """Their names are in the cell; a title has room for few."""
    model = family_model("gpt2")
    heads = [f"L{i}H{h}" for i in range(2) for h in range(model.n_heads)]
    found = aw.ablate(model, families.PROMPT, 5, components=[heads], positions=3)
    (cell,) = found.cells
    assert str(cell).count(" + ") == len(heads) - 1 and cell.short == f"L0H0 + L0H1 + L0H2 + {len(heads) - 3} more @3"
    assert cell.short in found.title() and cell.short in repr(found) and str(cell) not in repr(found)
    assert found.to_dataframe().iloc[0, 0] == str(cell) or str(cell) in found.to_dataframe().to_string()
    few = aw.ablate(model, families.PROMPT, 5, components=[heads[:4]])
    assert str(few.cells[0]) in few.title()


def test_a_strength_below_zero_has_a_true_minus(family_model):
    found = aw.ablate(family_model("gpt2"), families.PROMPT, 5, components="L1.mlp", method="scale", strength=-2)
    assert "× −2 " in found.title() and "-" not in found.title()


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "olmo2", "gemma4_text", "gemma3n_text", "llama"])
def test_a_sublayer_is_scaled_behind_its_own_norm(family_model, name):
    """A norm that follows a sublayer undoes every factor in front of it."""
    model, ids = family_model(name), families.ids_of(name)
    base = model.hf.model
    behind = {"attn": "post_attention_layernorm", "mlp": "post_feedforward_layernorm"}
    if name == "llama":
        behind = {"attn": "self_attn.o_proj", "mlp": "mlp"}
    for site, path in behind.items():
        with torch.no_grad():
            hook = base.layers[1].get_submodule(path).register_forward_hook(lambda m, a, out: out * 2.5)
            slow = model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1, 5].item()
            hook.remove()
        found = aw.ablate(model, ids, 5, components=f"L1.{site}", method="scale", strength=2.5)
        assert found.ablated.item() == pytest.approx(slow, abs=1e-4) and abs(found.values.item()) > 1e-3
        steered = aw.steer(model, ids, f"L1.{site}", 5, scale=[0, 1, 2.5])
        without = aw.ablate(model, ids, 5, components=f"L1.{site}").ablated.item()
        assert steered.values.tolist() == pytest.approx([without, steered.base, slow], abs=1e-4)
