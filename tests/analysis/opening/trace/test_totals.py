"""What every token put into a number by all paths: the limit of the walk back, in one backward pass."""

from __future__ import annotations

import math

import pytest
import torch

import attrib_widgets as aw
from fixtures import families

ALL = families.FAMILIES + families.VARIANTS + families.CARRIED + families.JOINED + families.STREAMS
TWINS = families.TWINS + families.VARIANTS
SHORT = "of France"
EVERYTHING = 1_000_000  # rows a level


@pytest.mark.parametrize("mlps", ["stop", "frozen"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ALL)
def test_totals_and_constants_sum_to_the_number(family_model, name, dtype, mlps):
    model = family_model(name, families.DTYPES[dtype])
    t = aw.attribute(model.run(families.PROMPT), " Paris").token_totals(mlps)
    size = 1 + float(t.terms().abs().sum())
    assert t.exact and abs(t.mismatch) <= 1e-5 * size
    rounding = dict(t.constants)[aw.component("rounding")]
    assert abs(rounding) <= 4 * torch.finfo(families.DTYPES[dtype]).eps * size
    mixed = [f"L{i}.mlp" for i in range(model.n_layers) if model.has_experts(i)]
    stopped = [str(c) for c in t.parts if c.kind == "mlp"]
    assert stopped == (mixed if mlps == "frozen" else [f"L{i}.mlp" for i in range(model.n_layers)])
    assert bool(t.notes) == (mlps == "frozen" and bool(mixed)), t.notes


@pytest.mark.parametrize("mlps", ["stop", "frozen"])
@pytest.mark.parametrize("name", TWINS)
def test_totals_are_what_each_write_becomes_in_the_held_network(family_model, twin, name, mlps):
    """The other way round: every write pushed forwards, in float64."""
    model = family_model(name)
    t = aw.attribute(model.run(families.PROMPT), " Paris").token_totals(mlps)
    slow = twin(name, families.PROMPT)
    expected = slow.totals(slow.token(model.single_token(" Paris")), mlps == "frozen")
    got = {(str(c), p): float(t.values[p, i]) for i, c in enumerate(t.parts) for p in range(len(t.values))}
    assert got.keys() == expected.keys()
    scale = 1 + math.fsum(map(abs, expected.values()))
    worst = max((abs(got[k] - v), k) for k, v in expected.items())
    assert worst[0] <= 1e-5 * scale, f"{name}: {worst[1]} differs by {worst[0]:.1e} of {scale:.2f}"


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3", "gemma2", "olmo2", "gpt_neox", "mixtral", "gemma3n_three"])
def test_totals_are_the_leaves_of_the_unpruned_walk(family_model, name):
    a = aw.attribute(family_model(name).run(SHORT), " Paris")
    walk, t = a.trace(depth=None, keep=EVERYTHING, mlps="frozen"), a.token_totals()
    assert not walk.leaves("pruned")
    leaves = {}
    for n in walk.leaves():
        at = n.position if n.component in t.parts else None
        leaves.setdefault((str(n.component), at), []).append(n.value)
    got = {(str(c), p): float(t.values[p, i]) for i, c in enumerate(t.parts) for p in range(len(t.values))}
    got |= {(str(c), None): v for c, v in t.constants}
    for key in leaves.keys() | got.keys():
        expected = math.fsum(leaves.get(key, []))
        assert got.get(key, 0.0) == pytest.approx(expected, abs=1e-5 * (1 + walk.size)), f"{name}: {key}"
    assert walk.title() == t.title()


def test_a_walk_is_titled_with_its_limit_and_says_how_much_it_pruned():
    run = aw.load("demo").run("The capital of Spain is")
    a = aw.attribute(run, " Madrid")
    t = a.token_totals()
    assert t[4] == pytest.approx(11.34, abs=0.01), "·Spain"
    assert t["embed"] + t["pos"] + math.fsum(v for _, v in t.constants) == pytest.approx(a.actual, abs=1e-4)
    short = a.trace(depth=None, keep=24, mlps="frozen")
    assert float(short.by_position[4]) < t[4] - 2, "what it shows is not what the token carries"
    assert short.title() == t.title() == "·Spain carries +11.34 of 17.58 logits, the logit of “·Madrid”"
    pruned = math.fsum(n.size for n in short.leaves("pruned"))
    kept = math.fsum(abs(n.value) for n in short.leaves() if n.kind != "pruned")
    assert short.dropped == pytest.approx(pruned) and short.size == pytest.approx(pruned + kept)
    share = f"by size {100 * pruned / (pruned + kept):.0f}\u00a0%: {pruned:.1f} of {pruned + kept:.1f}"
    assert share in short.balance() and pruned / (pruned + kept) > 0.2
    assert "pruned 0.000 · sum" in a.trace(depth=1, keep=1000).balance()
    stopped = a.trace()
    assert stopped.title() == a.token_totals("stop").title()
    assert stopped.title().startswith("What was written at ·is holds +8.55"), "its MLPs are whole"
    for mlps, held in (("stop", "norms held, MLPs whole"), ("frozen", "norms and the gates of MLPs held")):
        for result in (a.trace(mlps=mlps), a.token_totals(mlps)):
            assert held in repr(result), "two titles name two tokens, and the note says why"


@pytest.mark.parametrize(
    "target",
    [
        aw.logit_diff(" Paris", " Rome"),
        aw.log_prob(" Paris"),
        aw.score("L2H1", query=-1, key=1),
        aw.score("L2H1", query=-1, key=1, side="key"),
        aw.neuron("L2N4", position=3),
    ],
    ids=lambda t: f"{type(t).__name__}-{getattr(t, 'kind', '')}",
)
@pytest.mark.parametrize("name", ["qwen3", "gpt2", "gpt_neox", "gemma3n_three"])
def test_any_target_has_totals(family_model, name, target):
    run = family_model(name).run(families.PROMPT)
    if target.unit == "nats" and run.model.softcap is not None:
        pytest.skip("under a cap a log-probability is no sum")
    a = aw.attribute(run, target)
    t = a.token_totals()
    assert t.exact and t.unit == a.unit
    later = t.positions[a.position + 1 :]
    assert not bool(later.any()), "nothing comes from behind"
    assert t[a.position] == float(t.positions[a.position]) and t[-1] == float(t.positions[-1])


def test_on_a_coarse_model_the_walk_ends_early(family_model):
    plain = family_model("llama")
    paths = {"layers": "model.layers", "final_norm": "model.norm", "unembed": "lm_head", "embed": "model.embed_tokens"}
    coarse = aw.load(plain.hf, tokenizer=families.tokenizer("llama"), anatomy=aw.Anatomy(**paths))
    a = aw.attribute(coarse.run(families.PROMPT), " Paris")
    t = a.token_totals()
    assert t.exact and [str(c) for c in t.parts] == ["embed", "L0", "L1", "L2"][: len(t.parts)]
    for c in t.parts:
        assert t[c] == pytest.approx(a[c], abs=1e-5)


def test_as_table_and_picture(family_model):
    a = aw.attribute(family_model("gpt2").run(families.LONG_PROMPT), " Paris")
    t = a.token_totals()
    frame = t.to_dataframe()
    assert frame["value"].sum() == pytest.approx(a.actual, abs=1e-4)
    at = frame[frame["position"] == 2]
    assert at["value"].sum() == pytest.approx(t[2], abs=1e-5) and at["component"].tolist() == ["embed", "pos"]
    text = repr(t)
    assert "other tokens" in text and "constants" in text and "mismatch" in text and "not yet tested" in text
    widths = [b.get_width() for b in t.plot().axes[0].patches]
    assert widths == pytest.approx([*t.positions.tolist(), math.fsum(v for _, v in t.constants)], abs=1e-5)


def test_what_is_no_end_of_the_walk_is_refused(family_model):
    a = aw.attribute(family_model("llama").run(families.PROMPT), " Paris")
    with pytest.raises(aw.ComponentError, match="Ends are embed"):
        a.token_totals()["L0H0"]
    with pytest.raises(aw.AttribError, match="frozen"):
        a.token_totals("open")
    with pytest.raises(aw.PositionError):
        a.token_totals()[99]
