"""Path patching against two plain forward passes with hooks, on every family."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.cells.cells import cells_from
from attrib_widgets.analysis.experiments.patching.direct import direct_cells
from fixtures import families
from fixtures.path_twin import FROZEN, SENDERS, SETS, PathTwin

ALL = families.TWINS + families.VARIANTS
TARGET = 17


def prompts(name):
    clean = families.ids_of(name)
    corrupted = list(clean)
    corrupted[2] = (corrupted[2] + 7) % 300
    return clean, corrupted


@pytest.mark.parametrize("freeze", [False, True], ids=["recompute", "freeze"])
@pytest.mark.parametrize("name", ALL)
def test_two_plain_passes(family_model, name, freeze):
    model = family_model(name, attn="eager")
    clean, corrupted = prompts(name)
    slow = PathTwin(name, families.build(name, attn="eager"), clean, corrupted)
    unpatched, moved = float(slow.logits()[-1, TARGET]), 0.0
    for receivers, plain in {**SETS, **(FROZEN if freeze else {})}.values():
        p = aw.path_patch(
            model,
            clean,
            corrupted,
            TARGET,
            receivers=receivers,
            senders=list(SENDERS),
            mlps="freeze" if freeze else "recompute",
        )
        for i, sender in enumerate(SENDERS.values()):
            expected = float(slow.path(sender, plain, freeze)[-1, TARGET])
            got = float(p.patched[0, i])
            assert got == pytest.approx(expected, abs=3e-5), f"{p.cells[i]} to {receivers}"
            moved = max(moved, abs(expected - unpatched))
    assert moved > 1e-3


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gpt_neox"])
def test_clean_into_clean(family_model, name):
    model = family_model(name)
    clean, _ = prompts(name)
    p = aw.path_patch(model, clean, clean, TARGET, receivers=["L2H0.q", "L1.mlp", "L1H1.v"])
    assert torch.equal(p.patched[0], p.clean.expand(len(p.cells)))


def test_the_induction_circuit_path_by_path():
    """The previous-token head reaches the answer through the keys of the induction heads, and nothing else."""
    model, story = aw.load("demo:induction"), aw.demo.circuits["induction"]
    clean, corrupted = story.prompt, "see Lucy Smith and John Jones then Mary"

    def damage(*receivers):
        p = aw.path_patch(model, clean, corrupted, story.target, receivers=list(receivers), senders=["L0H0"])
        return float(p.values[0])

    assert damage("L1H0.k", "L1H1.k", "L1H2.k") > 0.9
    assert damage("L1H0.q", "L1H1.q", "L1H2.q") == pytest.approx(0.0, abs=1e-3)
    assert damage("L1H0.v", "L1H1.v", "L1H2.v") == pytest.approx(0.0, abs=1e-3)
    assert damage("logits") == pytest.approx(0.0, abs=1e-2)
    assert 0.2 < damage("L1H0.k") < 0.9


def test_an_mlp_and_the_logits_are_not_read_twice(family_model):
    """What the logits read with ``mlps="recompute"`` holds the MLP's answer already: it would count double."""
    model = family_model("gpt2")
    clean, corrupted = prompts("gpt2")
    with pytest.raises(aw.ComponentError, match=r"L1\.mlp and the logits.*would count twice.*freeze"):
        aw.path_patch(model, clean, corrupted, TARGET, receivers=["L1.mlp", "L1H0.q", "logits"])
    for alone in ("L1.mlp", "logits"):
        assert aw.path_patch(model, clean, corrupted, TARGET, receivers=alone).complete


def test_one_layer_of_receivers_takes_two_passes_and_each_further_one_more(family_model):
    model = family_model("llama")
    clean, corrupted = prompts("llama")
    sets = ["L1H0.q", "L1H1.v"], ["L1H0.q", "L2H1.v"]
    for _ in range(2):  # the first ones are compared with full recomputation
        one, more = (
            aw.path_patch(model, clean, corrupted, TARGET, receivers=r, senders=["L0H0"]).cost.forwards for r in sets
        )
    assert (one, more) == (2, 3)


@pytest.mark.parametrize(
    ("name", "receivers", "last"),
    [
        ("gpt2", "L1H0.q", ["L0H3", "L0.mlp"]),
        ("gpt2", "L1.mlp", ["L1H2", "L1H3"]),
        ("gpt_neox", "L1.mlp", ["L0H3", "L0.mlp"]),  # beside its attention, not behind it
        ("gpt2", ["L1.mlp", "L0H0.v"], ["L1H2", "L1H3"]),
        ("gpt2", "logits", ["L2H3", "L2.mlp"]),
    ],
)
def test_who_sends_comes_before_a_receiver(family_model, name, receivers, last):
    model = family_model(name)
    p = aw.path_patch(model, *prompts(name), TARGET, receivers=receivers)
    found = [str(c) for c in p.cells]
    order = [f"L{i}{part}" for i in range(model.n_layers) for part in ("H0", "H1", "H2", "H3", ".mlp")]
    assert sorted(found, key=order.index)[-2:] == last and len(found) == order.index(last[-1]) + 1
    assert all(p.values[len(found) // 2 :] != 0), "what cannot be read changes nothing"


def test_nothing_comes_before_the_first_layer(family_model):
    model = family_model("gpt2")
    with pytest.raises(aw.ComponentError, match=r"No part comes before L0H1\.q"):
        aw.path_patch(model, *prompts("gpt2"), TARGET, receivers="L0H1.q")


@pytest.mark.parametrize("sender", [["L0H0", "L1H0"], "L1.pre", "embed"])
def test_who_cannot_send_is_refused_also_where_nothing_differs(family_model, sender):
    model = family_model("gpt2")
    clean, corrupted = prompts("gpt2")
    for other in (corrupted, clean):
        with pytest.raises(aw.ComponentError, match=r"is no sender.*of one layer"):
            aw.path_patch(model, clean, other, TARGET, senders=[sender])


@pytest.mark.parametrize("mlps", ["recompute", "freeze"])
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gpt_neox"])
def test_a_sublayer_sends_what_its_parts_send_together(family_model, name, mlps):
    model = family_model(name)
    heads = [f"L1H{h}" for h in range(model.n_heads)]
    senders = ["L1.attn", heads, "L1", [*heads, "L1.mlp"]]
    found = aw.path_patch(model, *prompts(name), TARGET, receivers=["L2H1.q", "logits"], senders=senders, mlps=mlps)
    attn, together, layer, all_of_it = found.values.tolist()
    assert attn == pytest.approx(together, abs=1e-5) and layer == pytest.approx(all_of_it, abs=1e-5)


def test_errors_and_table(family_model):
    model = family_model("gpt2")
    clean, corrupted = prompts("gpt2")
    for wrong in ("L9H0.q", "L1H0", "L1H0.z", "embed"):
        with pytest.raises(aw.ComponentError):
            aw.path_patch(model, clean, corrupted, TARGET, receivers=wrong)
    with pytest.raises(aw.ComponentError, match="sender"):
        aw.path_patch(model, clean, corrupted, TARGET, senders=[["L0H0", "L1H0"]])
    p = aw.path_patch(model, clean, corrupted, TARGET, receivers=["L1H0.q", "logits"])
    assert "as read by L1H0.q, logits only" in repr(p)


@pytest.mark.parametrize("name", ["falcon_h1", "gemma4_text", "gemma3n_text", "gemma3n_three"])
def test_what_a_layer_writes_beside_its_sublayers_sends_like_them(family_model, name):
    """Where nothing else answers, a sender has its direct effect, whichever part of its layer it is: a mixer beside
    the attention comes before its MLP, which is held with all else."""
    model = family_model(name)
    clean, corrupted = families.ids_of(name)[:-1], families.ids_of(name)[:-1]
    corrupted[-1] = (corrupted[-1] + 7) % 300  # what no later position reads is told by the last one alone
    pair, site = (model.run(clean), model.run(corrupted)), next(iter(model.anatomy.besides))
    senders = [f"L1.{s}" for s in (*model.anatomy.besides, "attn", "mlp")]
    senders += [["L1H0", f"L1.{s}"] for s in model.anatomy.besides] + [["L1.mlp", f"L1.{site}"]]
    cells = cells_from(model, senders, [None])
    direct = direct_cells([pair], cells, [aw.logit(TARGET)], "noise", -1).values
    sent = aw.path_patch(model, *pair, TARGET, senders=senders, mlps="freeze").values
    assert torch.allclose(sent, direct, atol=2e-5) and float(direct.abs().min()) > 1e-4


def test_a_mixer_in_front_of_an_mlp_is_one_of_its_senders(family_model):
    for name, site in (("falcon_h1", "beside"), ("gemma3n_text", "laurel")):
        found = aw.path_patch(family_model(name), *prompts(name), TARGET, receivers="L1.mlp")
        assert {f"L0.{site}", f"L1.{site}"} <= set(map(str, found.cells))
    assert "L1.beside" not in set(map(str, found.cells)), "which comes behind it"
