"""Path patching against two plain forward passes with hooks, on every family."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from fixtures import circuits, families
from fixtures.patching_twin import PatchTwin

ALL = families.TWINS + families.VARIANTS
TARGET = 17


class PathTwin(PatchTwin):
    """``base`` with a sender's path patched: hold everything, note what the receivers read, let only them read it."""

    def path(self, sender, receivers, freeze):
        own, layers = self.own, range(len(self.own.blocks))
        site, layer, head = sender
        notes, handles = {}, []

        def hold(key):
            def hook(module, args, output):
                notes.setdefault(key, output.detach().clone().reshape(1, -1, output.shape[-1]))
                return own.kept[key][None].to(output.dtype).reshape(output.shape)

            return hook

        for i in layers:
            if i > layer:
                handles.append(own.out_proj(i).register_forward_hook(hold(("attn_out", i))))
            is_sender = site == "mlp" and i == layer
            if is_sender:
                continue
            if freeze and i >= layer + (site == "mlp"):
                handles.append(own.down(i).register_forward_hook(hold(("mlp_out", i))))
            else:

                def note(module, args, output, key=("mlp_out", i)):
                    notes[key] = output.detach().clone().reshape(1, -1, output.shape[-1])

                handles.append(own.down(i).register_forward_hook(note))
        for name in receivers:
            if name[0] in "qkv":

                def keep(module, args, output, key=name):
                    notes[key] = output.detach().clone()

                handles.append(self.outlet(name[1], name[0]).register_forward_hook(keep))
        final = next(m for n, m in own.body.named_children() if n in ("ln_f", "final_layer_norm", "norm"))
        handles.append(final.register_forward_pre_hook(lambda m, a: notes.__setitem__("final", a[0].clone())))
        self.patched(site, layer, head, range(self.base.shape[1]))
        for handle in handles:
            handle.remove()
        return self.second(receivers, notes, final)

    def second(self, receivers, notes, final):
        handles = []
        for name in receivers:
            if name == "logits":
                change = notes["final"] - self.own.kept["final",][None].to(notes["final"].dtype)
                handles.append(final.register_forward_pre_hook(lambda m, a, change=change: (a[0] + change,)))
            elif name[0] == "mlp":

                def put(module, args, output, key=("mlp_out", name[1])):
                    return notes[key].reshape(output.shape)

                handles.append(self.own.down(name[1]).register_forward_hook(put))
            else:
                columns = self.columns(name[0], name[2])

                def swap(module, args, output, key=name, columns=columns):
                    out = output.clone()
                    out[..., columns] = notes[key][..., columns]
                    return out

                handles.append(self.outlet(name[1], name[0]).register_forward_hook(swap))
        logits = self.logits()
        for handle in handles:
            handle.remove()
        return logits


def prompts(name):
    clean = families.ids_of(name)
    corrupted = list(clean)
    corrupted[2] = (corrupted[2] + 7) % 300
    return clean, corrupted


SENDERS = {"L0H1": ("z", 0, 1), "L0.mlp": ("mlp", 0, None), "L1H2": ("z", 1, 2)}
SETS = {
    "q": (["L2H1.q"], [("q", 2, 1)]),
    "kv": (["L2KV0.k", "L2KV0.v"], [("k", 2, 0), ("v", 2, 0)]),
    "mlp": (["L2.mlp"], [("mlp", 2)]),
    "logits": (["logits"], ["logits"]),
    "many": (["L2H0.q", "L2.mlp", "logits"], [("q", 2, 0), ("mlp", 2), "logits"]),
}


@pytest.mark.parametrize("freeze", [False, True], ids=["recompute", "freeze"])
@pytest.mark.parametrize("name", ALL)
def test_two_plain_passes(family_model, name, freeze):
    model = family_model(name, attn="eager")
    clean, corrupted = prompts(name)
    slow = PathTwin(name, families.build(name, attn="eager"), clean, corrupted)
    unpatched, moved = float(slow.logits()[-1, TARGET]), 0.0
    for receivers, plain in SETS.values():
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
    p = aw.path_patch(model, clean, clean, TARGET, receivers=["L2H0.q", "L1.mlp", "logits"])
    assert torch.equal(p.patched[0], p.clean.expand(len(p.cells)))


def test_the_induction_circuit_path_by_path():
    """The previous-token head reaches the answer through the keys of the induction heads, and nothing else."""
    model = aw.load(circuits.induction(), tokenizer=circuits.tokenizer())
    clean, corrupted = circuits.PROMPT, "w3 w8 w11 w2 w9 w7"

    def damage(*receivers):
        p = aw.path_patch(model, clean, corrupted, "w11", receivers=list(receivers), senders=["L0H0"])
        return float(p.values[0])

    assert damage("L1H0.k", "L1H1.k", "L1H2.k") > 0.9
    assert damage("L1H0.q", "L1H1.q", "L1H2.q") == pytest.approx(0.0, abs=1e-3)
    assert damage("L1H0.v", "L1H1.v", "L1H2.v") == pytest.approx(0.0, abs=1e-3)
    assert damage("logits") == pytest.approx(0.0, abs=1e-2)
    assert 0.2 < damage("L1H0.k") < 0.9


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
