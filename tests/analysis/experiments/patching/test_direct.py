"""Direct effects are those of path patching to the logits with everything else held, on every kind of family."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.cells.cells import Cell, cells_from, cells_of
from attrib_widgets.analysis.experiments.measuring.pairs import as_pairs
from attrib_widgets.analysis.experiments.patching.direct import direct_cells
from fixtures import families

# Post-norms (Gemma 2, which caps as well, and OLMo 2), parallel and sequential NeoX, multipliers (Granite), experts.
NAMES = ["gpt2", "llama_biased", "gemma2", "gemma3", "olmo2", "gpt_neox", "gpt_neox_sequential", "granite", "mixtral"]
NAMES += families.JOINED
WAYS = ("noise", "denoise")


def prompts(name, at=2):
    clean = families.ids_of(name)
    corrupted = list(clean)
    corrupted[at] = (corrupted[at] + 7) % 300
    return clean, corrupted


def targets(model):
    found = [17, aw.logit_diff(17, 23), aw.prob(17)]
    return found if model.softcap is not None else [*found, aw.log_prob(17)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES + families.STREAMS)
def test_path_patching_to_the_logits(family_model, name, way):
    model = family_model(name)
    clean, corrupted = prompts(name)
    pairs = as_pairs(model, clean, corrupted, -1)
    cells = [*cells_of(model, ["z", "mlp"], None, "each", [None]), *cells_from(model, [["L1H0", "L1H2"]], [None])]
    for target in targets(model):
        slow = aw.path_patch(
            model, clean, corrupted, target, senders=[list(c.parts) for c in cells], mlps="freeze", direction=way
        )
        fast = direct_cells(pairs, cells, [target], way, -1)
        assert fast.patched == pytest.approx(slow.patched, abs=2e-5)
        assert fast.values == pytest.approx(slow.values, abs=1e-3)
        assert float(fast.values.abs().max()) > 0.01
        assert fast.cost.forwards == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_behind_the_last_mlp_there_is_nothing_else(family_model, name, way):
    model = family_model(name)
    clean, corrupted = prompts(name)
    pairs = as_pairs(model, clean, corrupted, -1)
    last = [f"L{model.n_layers - 1}.mlp"]
    if model.parallel:
        last.append(f"L{model.n_layers - 1}H0")
    for target in targets(model):
        direct = direct_cells(pairs, cells_from(model, last, [None]), [target], way, -1).values
        total = aw.patch(model, clean, corrupted, target, components=last, direction=way).values
        assert direct == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_what_is_not_written_at_the_target_has_no_direct_effect(family_model, name):
    model = family_model(name)
    pairs = as_pairs(model, *prompts(name), -1)
    elsewhere = direct_cells(pairs, cells_of(model, ["z", "mlp", "attn"], None, "each", [(2, 3)]), [17], "noise", -1)
    assert torch.equal(elsewhere.values, torch.zeros(len(elsewhere.cells)))
    # a part that writes the same in both prompts: here all of them, before the first token that differs
    same = direct_cells(pairs, cells_of(model, ["z", "mlp"], None, "each", [(0, 1)]), [17], "noise", -1)
    assert torch.equal(same.values, torch.zeros(len(same.cells)))
    # at the target alone is as good as everywhere
    whole, there = (
        direct_cells(pairs, cells_of(model, ["z", "mlp"], None, "each", [at]), [17], "noise", -1).patched
        for at in (None, (model.run(prompts(name)[0]).n_positions - 1,))
    )
    assert torch.equal(whole, there)


def test_all_writes_together_are_the_other_run(family_model):
    """The stream is their sum, so that with every part, and the embedding, replaced the other run is read out."""
    model = family_model("gemma2")
    clean, corrupted = prompts("gemma2", at=-1)
    pairs = as_pairs(model, clean, corrupted, -1)
    parts = tuple(p for c in cells_of(model, ["z", "mlp"], None, "all", [None]) for p in c.parts)
    embed = cells_from(model, ["embed"], [None])[0].parts
    for way in WAYS:
        found = direct_cells(pairs, [Cell((*parts, *embed))], [17], way, -1)
        assert float(found.values[0]) == pytest.approx(1.0, abs=1e-4)


def test_streams_inside_the_model_write_nothing_themselves(family_model):
    model = family_model("gpt2")
    with pytest.raises(aw.ComponentError, match="writes nothing of its own"):
        direct_cells(as_pairs(model, *prompts("gpt2"), -1), cells_from(model, ["L1.pre"], [None]), [17], "noise", -1)
