"""Roles: what was planted is named and nothing else, chance names nothing, and every measure has a slow twin."""

from __future__ import annotations

import random

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.roles import circuits, patterns
from attrib_widgets.analysis.roles.definitions import MEASURES, PATTERN, ROLES
from attrib_widgets.analysis.roles.effective import effective
from attrib_widgets.analysis.roles.probes import probes
from fixtures import families, levels, planted

#: What the heads of the circuits do, from how each was written; heads that are not here do nothing that has a name.
PLANTED = {
    "sole-path": {"L0H0": "K"},
    "chain": {},
    "induction": {"L0H0": "P", "L1H0": "IK", "L1H1": "IK", "L1H2": "IN"},
    "backup": {"L0H0": "K", "L1H0": "K"},
    "half-backup": {"L0H0": "K", "L1H0": "K"},
    "three-way-backup": {"L0H0": "K", "L1H0": "K", "L2H0": "K"},
    "or": {},
    "and": {},
    "suppression": {"L0H0": "K", "L0H1": "K", "L1H0": "N"},
    "erasure": {"L0H0": "K", "L1H0": "C", "L1H1": "K"},
    "many-hands": {f"L{layer}H{head}": "K" for layer in range(16) for head in range(2)},
    "common-mode": {"L0H0": "K"},
    "constant": {"L0H0": "K"},
    "soft-cap": {"L0H0": "K"},
}


@pytest.fixture(scope="module")
def demo():
    return aw.load("demo")


@pytest.fixture(scope="module")
def roles(demo):
    return aw.head_roles(demo, "The capital of France is", tasks=False)


# -- what was planted -----------------------------------------------------------------------------------------------
def test_every_circuit_has_its_line():
    assert list(PLANTED) == [story.name for story in aw.demo.circuits]


@pytest.mark.parametrize("name", PLANTED)
def test_what_was_written_into_a_circuit_is_named_and_nothing_else(name):
    assert aw.head_roles(f"demo:{name}", tasks=False).letters() == PLANTED[name]


def test_sinks_own_positions_and_copy_suppression_are_told_apart():
    assert aw.head_roles(planted.single()).letters() == {"L0H0": "F", "L0H1": "C", "L1H0": "SN"}


def test_the_task_of_two_names_has_its_mover_and_its_inhibition():
    found = aw.head_roles(planted.names())
    assert found.letters() == {"L0H0": "DC", "L1H0": "H", "L2H0": "KM"}
    assert found.score("L2H0", "to the logits")[0] == pytest.approx(1, abs=0.01)  # it alone writes the answer
    assert found.score("L1H0", "to the queries")[0] == pytest.approx(1, abs=0.01)  # and this alone decides which


def test_roles_in_a_task_need_a_model_that_does_it():
    found = aw.head_roles("demo:induction")
    assert "does not do the task of two names" in repr(found)
    assert not any(found.heads(role) for role in ("name mover", "S-inhibition"))
    few = aw.head_roles("demo:backup")
    assert "too few names" in few.said(next(role for role in ROLES if role.name == "name mover"))


# -- chance ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["gpt2", "llama", "gemma2", "bloom", "qwen3", "gpt_neox", "falcon_alibi", "phi3", "opt"]
)
def test_random_weights_have_no_role(name, family_model):
    found = aw.head_roles(family_model(name), tasks=False)
    assert found.letters() == {} and "0 of 12 heads" in found.title
    measured = [m for m, score in found.scores.items() if not score.missing]
    assert len(measured) == 9 and all(len(found.scores[m].null) == found.draws for m in measured)
    assert "no head" in repr(found)


def test_random_networks_with_learned_positions_have_no_sinks():
    # Some position is looked at most; that it is the first is a matter of chance. At .4 a tenth of these had a sink.
    tokenizer = families.tokenizer("opt")
    for seed in range(24):
        model = aw.load(families.build("opt", seed=seed), tokenizer=tokenizer)
        assert aw.head_roles(model, roles="first-token sink", draws=100).letters() == {}, seed


def test_a_short_prompt_of_ones_own_has_nothing_to_hold_a_sink_against(family_model):
    model = family_model("gpt2")
    short, long = ([*range(100, 100 + n)] for n in (11, 12))
    for ids, draws in ((short, 0), (long, 100)):
        own = aw.head_roles(model, [ids], roles="first-token sink", draws=100).own["first-token sink"]
        assert len(own.null) == draws and bool(own.values.isfinite().all())
    assert "no head" in repr(aw.head_roles(model, "The capital of France is", draws=100, tasks=False))


def test_a_head_is_named_only_above_the_threshold_and_the_null(roles):
    frame = roles.to_dataframe()
    assert len(frame) == 40 * sum(len(role.measures) for role in roles.roles)
    for (head, role), rows in frame.groupby(["head", "role"]):
        above = all(rows["value"] > rows[["null", "threshold"]].max(axis=1))
        assert set(rows["called"]) == {above}, (head, role)
        assert (role in [r.name for r in roles.called(head)]) == above
    for score in roles.scores.values():
        beaten = (score.null > score.level).float().mean()
        assert float(beaten) <= 0.01 < float((score.null >= score.level).float().mean()) + 0.01


# -- trained models -------------------------------------------------------------------------------------------------
def test_previous_token_heads_of_a_trained_llama(trained_folder):
    named = [str(h) for h in aw.head_roles(str(trained_folder), tasks=False).heads("previous token")]
    assert {"L3H6", "L1H3"} <= set(named)


def test_induction_heads_cost_copying_more_than_other_heads_of_their_layers(demo, roles):
    heads = roles.heads("induction")
    draw, sets = random.Random(0), []
    by_layer = {layer: [h for h in heads if h.layer == layer] for layer in range(demo.n_layers)}
    for _ in range(100):
        sets.append(
            [f"L{i}H{h}" for i, own in by_layer.items() for h in sorted(draw.sample(range(demo.heads_of(i)), len(own)))]
        )
    p = aw.demo.pairs("induction", 6)
    losses = []
    for prompt, answer, rival in zip(p.clean, p.target, p.against, strict=True):
        found = aw.ablate(demo, prompt, aw.logit_diff(answer, rival), components=[[*map(str, heads)], *sets])
        losses.append(found.values)
    cost = -torch.stack(losses).mean(0)
    assert int((cost[0] > cost[1:]).sum()) > 95


# -- slow twins -----------------------------------------------------------------------------------------------------
def test_pattern_roles_are_attention_to_where_they_look(demo, roles):
    ids = list(roles.probes.prompts[0])
    once, first = roles.probes.lengths[0], len(roles.probes.prefix)
    pattern = aw.attention(demo.run(ids), "L2H4").patterns[0]
    later = range(first + once, len(ids))
    slow = {
        "induction": [pattern[t, t - once + 1] for t in later],
        "duplicate token": [pattern[t, t - once] for t in later],
        "previous token": [pattern[t, t - 1] for t in range(2, len(ids))],
        "current token": [pattern[t, t] for t in range(2, len(ids))],
        "first-token sink": [pattern[t, 0] for t in range(2, len(ids))],
    }
    found = aw.head_roles(demo, [ids], tasks=False, draws=100).own
    for name, values in slow.items():
        assert float(found[name].values[2, 4]) == pytest.approx(float(torch.stack(values).mean()), abs=1e-5)


def test_a_sink_is_held_against_other_positions_that_are_one_from_everywhere():
    pattern = torch.rand(2, 9, 9, generator=torch.Generator().manual_seed(0)).tril()
    found = patterns._to_one(pattern)
    for head in range(2):
        for number, place in enumerate((1, 2, 3)):
            slow = sum(float(pattern[head, t, place]) for t in range(place + 1, 9)) / (8 - place)
            assert float(found[head, number]) == pytest.approx(slow, abs=1e-6)


def dense(name: str, hf, ids: list[int], layer: int, head: int) -> torch.Tensor:
    """The OV circuit from embedding to logits of some tokens, all of it, straight from a family's own modules."""
    with torch.no_grad():
        if name == "gpt2":
            block, e = hf.transformer.h[layer], hf.transformer.wte.weight[ids]
            normed, d = block.ln_1(e) - block.ln_1.bias, families.WIDTH // families.HEADS
            v = block.attn.c_attn.weight[:, 2 * families.WIDTH :][:, head * d : (head + 1) * d]
            o, gain = block.attn.c_proj.weight[head * d : (head + 1) * d], hf.transformer.ln_f.weight
            written = normed @ v @ o
            written = (written - written.mean(-1, keepdim=True)) * gain
        else:
            block, e = hf.model.layers[layer], hf.model.embed_tokens.weight[ids]
            d = families.HEAD_DIM if block.self_attn.head_dim == families.HEAD_DIM else block.self_attn.head_dim
            key = head // (families.HEADS // families.KV_HEADS)
            v = block.self_attn.v_proj.weight[key * d : (key + 1) * d].T
            o = block.self_attn.o_proj.weight[:, head * d : (head + 1) * d].T
            written = block.input_layernorm(e) @ v @ o * hf.model.norm.weight
        rows = hf.lm_head.weight[ids]
        return written @ (rows - rows.mean(0)).T


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("head", [0, 3])
def test_small_eigenvalues_are_those_of_the_dense_circuit(name, head, family_model):
    model, ids = family_model(name), list(range(20, 80))
    plain = effective(model, ids).plain
    found = circuits.circuit(model, 1, plain)
    small = circuits.eigenvalues(found.values[head], circuits.met(found.writes, circuits.rows_of(model, ids))[head])
    full = torch.linalg.eigvals(dense(name, model.hf, ids, 1, head).double())
    full = full[full.abs().argsort(descending=True)][: len(small)]
    assert torch.allclose(small.abs().sort().values, full.abs().sort().values, rtol=1e-3, atol=1e-6)
    assert torch.allclose(small.sum(), full.sum(), rtol=1e-3, atol=1e-6)


def test_a_sign_turns_the_eigenvalues_and_nothing_has_none():
    eye = torch.eye(4, 8)
    assert circuits.positive(circuits.eigenvalues(eye.T, eye)) == 1
    assert circuits.positive(circuits.eigenvalues(eye.T, -eye)) == -1
    assert circuits.positive(circuits.eigenvalues(eye.T, 0 * eye)) == 0


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_direct_copying_counts_tokens_that_write_for_themselves(name, family_model):
    model, ids = family_model(name), list(range(2, 60))
    read = effective(model, ids)
    copied, suppressed = circuits.own_tokens(model, read, 100, torch.Generator().manual_seed(0))
    top = max(1, min(circuits.TOP, int(circuits.SHARE * model.vocab_size)))
    for layer, head in ((0, 0), (1, 2), (2, 3)):
        found = circuits.circuit(model, layer, read.of(layer))
        high = low = 0
        for row, token in enumerate(ids):
            logits = found.values[head, row] @ found.writes[head] @ model.unembed_weight.float()
            order = logits.argsort(descending=True).tolist()
            high, low = high + (token in order[:top]), low + (token in order[-top:])
        assert float(copied.values[layer, head]) == pytest.approx(high / len(ids), abs=1e-6)
        assert float(suppressed.values[layer, head]) == pytest.approx(low / len(ids), abs=1e-6)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gpt_neox", "olmo2", "bloom", "opt", "mixtral"])
def test_effective_embeddings_are_what_a_silent_first_layer_leaves(name, family_model):
    model, ids = family_model(name), [5, 9, 30, 5]
    read = effective(model, ids)
    assert read.further is not None and torch.allclose(read.plain[0], read.plain[3], atol=1e-6)
    assert torch.allclose(read.further[0], read.further[3], atol=1e-5)  # no position and no neighbour is in it
    again = effective(model, ids[::-1])
    assert torch.allclose(again.further.flip(0), read.further, atol=1e-5)
    run = model.run(ids)
    there = run.record.streams[0].float() - (0 if run.record.pos is None else run.record.pos.float())
    assert torch.allclose(read.plain, there, atol=1e-6)


# -- probes and the result ------------------------------------------------------------------------------------------
def test_probes_are_pinned_and_said_twice(demo, roles):
    assert probes(demo) == roles.probes != probes(demo, 1)
    known, start = demo.known_words, len(roles.probes.prefix)
    for ids, length in zip(roles.probes.prompts, roles.probes.lengths, strict=True):
        once, again = ids[start : start + length], ids[start + length :]
        assert once == again and len(set(once)) == length
        assert all(demo.token(i).strip() in known for i in once)
    again = aw.head_roles(demo, "The capital of France is", tasks=False)
    assert again.letters() == roles.letters() and repr(again) == repr(roles)


def test_what_it_prints_names_probes_thresholds_and_that_it_is_observed(roles):
    text = repr(roles)
    assert str(roles.probes) in text and "Observed, no experiment" in text and "on your own prompt" in text
    assert all(role.name in text for role in PATTERN) and "name mover " not in text.replace("negative name mover", "")
    assert all(m.threshold > 0 and m.null for m in MEASURES.values())
    assert len({role.letter for role in ROLES}) == len(ROLES) and all(role.source and role.means for role in ROLES)


@pytest.mark.parametrize("role", ROLES, ids=[role.name for role in ROLES])
def test_a_role_says_what_it_means_whose_it_is_and_what_it_is_held_against(roles, role):
    said = roles.definition(role.letter)
    assert said == roles.definition(role.name) and said.startswith(f"{role.name}: {role.means} ({role.source})")
    assert len(said.splitlines()) == 1 + len(role.measures) and all(m.null in said for m in role.measures)
    measured = [m for m in role.measures if m.key in roles.scores and len(roles.scores[m.key].null)]
    assert said.count("99 % of chance") == len(measured)
    with pytest.raises(aw.AttribError, match="is not a role"):
        roles.definition("loudness")


def test_some_roles_are_measured_alone_and_come_out_as_among_all(demo, roles):
    some = aw.head_roles(demo, roles=["induction", "N"])
    assert [role.name for role in some.roles] == ["induction", "negative name mover"]
    assert some.heads("induction") == roles.heads("induction") and "eigenvalues" not in some.scores
    assert set("".join(some.letters().values())) <= {"I", "N"} and "copying" not in repr(some)
    with pytest.raises(aw.AttribError, match="copying was not measured"):
        some.heads("copying")
    with pytest.raises(aw.AttribError, match="is not a role"):
        aw.head_roles(demo, roles="loudness")


@pytest.mark.parametrize(("level", "blind"), [("layers", 8), ("sublayers", 8), ("heads", 3)])
def test_what_no_head_shows_is_not_measurable(level, blind):
    model = levels.coarser(aw.load(families.build("llama"), tokenizer=families.tokenizer("llama")), level)
    found = aw.head_roles(model, "The capital of France is", tasks=False, draws=100)
    said = [found.said(role) for role in found.roles]
    assert sum(text.startswith("not measurable: ") for text in said) == blind
    assert "chosen by this test" in found.said(found.roles[-1]) and said[:5].count("no head") in (0, 5)
    assert found.letters() == {}


def test_what_cannot_be_asked_is_refused(roles, demo):
    with pytest.raises(aw.AttribError, match="at least 100 draws"):
        aw.head_roles(demo, draws=50)
    with pytest.raises(aw.AttribError, match=r"is not a role.*induction"):
        roles.heads("inducing")
    with pytest.raises(aw.ComponentError, match="L9H0 is not a head of"):
        roles.called("L9H0")
    with pytest.raises(aw.AttribError, match="is not a measure"):
        roles.score("L0H0", "loudness")
    with pytest.raises(aw.AttribError, match="is not a measure"):
        roles.score("L0H0", ["induction"])
    with pytest.raises(aw.AttribError, match="is not a role"):
        roles.heads(["induction"])
    with pytest.raises(aw.AttribError, match="was not measured"):
        roles.score("L0H0", "to the logits")  # tasks=False
    for given in ({"roles": []}, {"roles": "name mover", "tasks": False}):
        with pytest.raises(aw.AttribError, match="No role is left"):
            aw.head_roles(demo, **given)
    with pytest.raises(aw.AttribError, match="no prompts"):
        aw.head_roles(demo, [])


def test_ones_own_prompts_are_asked_for_the_same_roles(family_model):
    own = aw.head_roles(family_model("gpt2"), "The capital of France is", roles="P", draws=100).own
    assert list(own) == ["previous token"]


# -- contexts -------------------------------------------------------------------------------------------------------
def test_contexts_are_from_every_tenth_of_the_activity(demo, roles):
    texts = ["apple river lamp garden horse apple river lamp", "The capital of France is Paris.", "Mary and John went."]
    found = roles.contexts("L2H4", texts)
    slow = []
    for text in texts:
        run = demo.run(text)
        weighted = aw.attention(run, "L2H4").weighted("value").patterns[0]
        slow += [float(weighted[t].max()) for t in range(1, run.n_positions) if t not in run.special]
    slow.sort(reverse=True)
    assert found.count == len(slow) and sum(found.shares) == pytest.approx(1, abs=1e-5)
    for number, chunk in enumerate(torch.tensor(slow).tensor_split(10)):
        assert found.bounds[number] == pytest.approx(float(chunk.min()), rel=1e-4)
        assert all(
            float(chunk.min()) * 0.999 <= c.activity <= float(chunk.max()) * 1.001 for c in found.deciles[number]
        )
    assert len(found.to_dataframe()) == sum(map(len, found.deciles))


def test_contexts_come_from_the_texts_beside_the_model_or_are_asked_for(roles, family_model):
    assert roles.contexts("L2H4").texts > 100
    one = "apple river lamp garden horse apple river lamp"
    assert roles.contexts("L2H4", one).to_dataframe().equals(roles.contexts("L2H4", [one]).to_dataframe())
    small = aw.head_roles(family_model("gpt2"), roles="P", draws=100)
    for given, said in (([" Paris"], "two tokens"), ([0], "An int is not a text"), (3, "An int is not a text")):
        with pytest.raises(aw.AttribError, match=said):
            small.contexts("L0H0", given)
    with pytest.raises(aw.AttribError, match="came without texts"):
        aw.head_roles("demo:backup", tasks=False).contexts("L0H0")
