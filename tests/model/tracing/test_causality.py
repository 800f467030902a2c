"""Models that look ahead: the self-check sees it, experiments are those of a slow twin, nothing is cut in silence."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from transformers import AttentionInterface
from transformers.models.llama.modeling_llama import eager_attention_forward

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.cells.cells import Cell
from attrib_widgets.analysis.experiments.cells.donors import RunDonor
from attrib_widgets.widgets.shapes import results
from attrib_widgets.widgets.transport import wire
from attrib_widgets.words.places import Place
from fixtures import families
from fixtures.patching_twin import PatchTwin
from fixtures.path_twin import SETS, PathTwin

IDS = [5, 9, 33, 70, 71, 99, 120, 34]
OTHER = [5, 9, 33, 88, 71, 99, 41, 34]
TARGET = 17
#: A common recipe to catch patterns: a function of one's own, to which transformers gives no mask.
AttentionInterface.register("watched", lambda *args, **kwargs: eager_attention_forward(*args, **kwargs))


def build(name: str) -> Any:
    torch.manual_seed(0)
    sizes = dict(
        vocab_size=families.vocab_size(), hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3, max_position_embeddings=64,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    if name == "gemma3":
        config = tf.Gemma3TextConfig(**sizes, head_dim=16, sliding_window=4, use_bidirectional_attention=True)
        return tf.Gemma3ForCausalLM._from_config(config, attn_implementation="eager").eval()
    flags = {"is_causal": False} if name == "llama" else {}
    attn = "watched" if name == "watched" else "eager"
    return tf.LlamaForCausalLM._from_config(tf.LlamaConfig(**sizes, **flags), attn_implementation=attn).eval()


AHEAD = ["llama", "gemma3", "watched"]


@functools.cache
def loaded(name: str) -> tuple[Any, PatchTwin]:
    with pytest.warns(UserWarning, match="later tokens change"):
        model = aw.load(build(name), tokenizer=families.byte_tokenizer())
    return model, PatchTwin("gemma3" if name == "gemma3" else "llama", build(name), IDS, OTHER)


@pytest.mark.parametrize("name", AHEAD)
def test_the_self_check_sees_it(name):
    model, _ = loaded(name)
    assert model.check.numbers["causality"] > 100 and not model.check.causal
    report = repr(model.report())
    assert "later tokens change nothing before them" in report and "FAILS" in report
    assert "experiments recompute the whole prompt" in report


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_causal_models_pass(family_model, dtype):
    for name in ("gpt2", "gemma2", "bloom", "mixtral"):
        check = family_model(name, dtype).check
        assert check.causal and check.numbers["causality"] <= 1 and not check.remark


def slow(twin: PatchTwin, site: str, layer: int, head: int | None, at: Any, position: int) -> float:
    return float(twin.patched(site, layer, head, at)[position, TARGET])


@pytest.mark.parametrize("position", [-1, 4, 0])
@pytest.mark.parametrize("name", AHEAD)
def test_patched_cells_are_those_of_hooks(name, position):
    model, twin = loaded(name)
    sites = ["stream", "attn", "mlp", *(["z", "q", "k", "v", "pattern"] if name == "gemma3" else [])]
    for places in ("each", None):
        p = aw.patch(
            model, IDS, OTHER, aw.logit(TARGET), sites=sites, positions=places, position=position, direction="noise"
        )
        assert p.complete and any("looks ahead" in n for n in p.cost.notes)
        moved = 0
        for cell, got in zip(p.cells, p.patched[0].tolist(), strict=True):
            (part,) = cell.parts
            at = range(len(IDS)) if cell.positions is None else cell.positions
            expected = slow(twin, part.grid, part.row, part.head, at, position)
            assert got == pytest.approx(expected, abs=5e-5), f"{cell} read at {position}"
            moved += abs(expected - float(p.clean[0])) > 1e-3
        assert moved > len(p.cells) / 4  # a window of four lets some see nothing


@pytest.mark.parametrize("name", AHEAD)
def test_ablation_and_words_behind_the_position_count(name):
    model, twin = loaded(name)
    for part, layer in (("mlp", 1), ("attn", 0)):
        plain = aw.ablate(model, IDS, aw.logit(TARGET), components=[f"L{layer}.{part}"], position=3)
        module = twin.own.down(layer) if part == "mlp" else twin.own.out_proj(layer)
        handle = module.register_forward_hook(lambda m, a, out: torch.zeros_like(out))
        expected = float(twin.logits()[3, TARGET])
        handle.remove()
        assert float(plain.ablated[0, 0, 0]) == pytest.approx(expected, abs=5e-5)
    one = aw.token_effects(model, IDS, aw.logit(TARGET), position=2, draws=1, alternatives=[7, 8])
    behind = one.changed[0, 3:]
    assert bool((behind != one.base).all())
    ids = torch.tensor([IDS])
    rows = []
    for other in (7, 8):
        moved = ids.clone()
        moved[0, 5] = other
        with torch.no_grad():
            rows.append(float(twin.hf(moved).logits[0, 2, TARGET]))
    assert min(abs(float(one.changed[0, 5]) - r) for r in rows) < 5e-5


def test_paths_are_those_of_hooks():
    model, _ = loaded("gemma3")
    twin = PathTwin("gemma3", build("gemma3"), IDS, OTHER)
    senders = {"L0H1": ("z", 0, 1), "L0.mlp": ("mlp", 0, None)}
    for position in (-1, 3):
        for receivers, plain in SETS.values():
            p = aw.path_patch(model, IDS, OTHER, TARGET, receivers=receivers, senders=list(senders), position=position)
            for i, sender in enumerate(senders.values()):
                expected = float(twin.path(sender, plain, False)[position, TARGET])
                assert float(p.patched[0, i]) == pytest.approx(expected, abs=5e-5), f"{p.cells[i]} to {receivers}"


@pytest.mark.parametrize("name", AHEAD)
def test_estimates_count_positions_before_the_first_change(name):
    """To first order the change of the stream before a layer is its gradient times that change, at every position."""
    model, twin = loaded(name)
    base, source = model.run(IDS), model.run(OTHER)
    cell = Cell((Place("pre", 2),), (1,))
    assert RunDonor(base, source).positions(cell) == (1,)
    estimate = aw.attribution_patch(
        model, base, source, TARGET, sites="stream", layers=[2], positions=[1], position=2, direction="noise"
    )
    x = twin.own.kept["stream", 2].float().clone().requires_grad_(True)
    handle = twin.own.blocks[2].register_forward_pre_hook(lambda m, a: (x[None], *a[1:]))
    logit = twin.hf(twin.base, use_cache=False).logits[0, 2, TARGET]
    handle.remove()
    (slope,) = torch.autograd.grad(logit, x)
    expected = float(logit) + float((twin.other.kept["stream", 2][1].float() - x[1].detach()) @ slope[1])
    assert float(estimate.patched[0, 0]) == pytest.approx(expected, abs=1e-4)
    assert abs(expected - float(logit)) > 1e-4


def test_patterns_are_whole_squares():
    model, twin = loaded("gemma3")
    found = aw.attention(model.run(IDS))
    assert found.ahead
    frame = found.to_dataframe()
    assert len(frame) == len(found.heads) * len(IDS) ** 2
    assert np.allclose(frame.groupby(["head", "destination"]).value.sum(), 1, atol=1e-5)
    for i, h in enumerate(found.heads):
        assert torch.allclose(found.patterns[i], twin.own.patterns[h.layer][h.index].float(), atol=1e-5)
    for shown in (found, found.weighted("value")):
        _, arrays = wire.unpack(results.attention(shown))
        assert np.allclose(arrays["patterns"], shown.patterns.numpy(), atol=1e-2)
        assert np.abs(np.triu(arrays["patterns"], 1)).sum() > 1
    plain = aw.attention(aw.load(build("plain"), tokenizer=families.byte_tokenizer()).run(IDS))
    assert not plain.ahead and len(plain.to_dataframe()) == len(plain.heads) * len(IDS) * (len(IDS) + 1) // 2


def test_traces_reach_later_tokens():
    model, _ = loaded("gemma3")
    a = aw.attribute(model.run(IDS), TARGET, 3)
    t = a.trace(depth=None, keep=2000)
    assert t.exact and a.exact
    assert float(t.by_position[4:].abs().sum()) > 1e-2
    head = a.top(1, kind="head")[0][0]
    s = a.sources(head)
    assert float(s.values[4:].abs().sum()) > 0 and abs(float(s.values.sum()) - a[head]) < 1e-4


@pytest.mark.parametrize("name", AHEAD)
def test_generated_text_is_what_runs_say(name):
    model, twin = loaded(name)
    ids = list(IDS[:5])
    for _ in range(4):
        with torch.no_grad():
            ids.append(int(twin.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    run = model.generate(IDS[:5], 4)
    assert run.ids == ids
    assert model.run(ids[:-1]).top(1)[0].id == ids[-1]


@pytest.mark.parametrize("name", AHEAD)
def test_phrases_are_refused(name):
    """In a run that holds the phrase, the logits in front of a token have seen it."""
    model, _ = loaded(name)
    with pytest.raises(aw.GranularityError, match="looks ahead"):
        aw.attribute(model.run(IDS), aw.phrase([7, 8]))


def test_scores_of_later_keys():
    model, twin = loaded("gemma3")
    a = aw.attribute(model.run(IDS), aw.score("L2H1", query=2, key=4))
    assert a.exact
    b = aw.attribute(model.run(IDS), aw.score("L2H1", query=2, key=4, against=1))
    ratio = twin.own.patterns[2][1, 2]
    assert b.actual == pytest.approx(float((ratio[4] / ratio[1]).log()), abs=1e-3)
