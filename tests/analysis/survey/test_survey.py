"""Many prompts at once: each as if it were alone, toward its own answer and toward those of the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.survey import decomposed
from attrib_widgets.model.running.worker import Cancelled, Job
from fixtures import families, mixed

PROMPTS = [
    *("The capital of France is", "The capital of Germany is", families.LONG_PROMPT, "In Rome they like"),
    *("Tokyo is the capital of", "The capital of Spain is", "In Paris they like Italy"),
]
ANSWERS = [" Paris", " Berlin", " Rome", " Rome", " Japan", " Madrid", " and"]
RIVALS = [" Rome", " Madrid", " Paris", " Berlin", " Spain", " Paris", " is"]
#: How they know positions: learned, turned (rotary), or as a penalty (ALiBi).
POSITIONS = {"learned": "gpt2", "rotary": "llama", "ALiBi": "bloom"}
ASKED = {
    "centred": (dict(targets=ANSWERS), lambda i: aw.logit(ANSWERS[i]).centered()),
    "a difference": (
        dict(targets=ANSWERS, against=RIVALS),
        lambda i: aw.logit_diff(ANSWERS[i], RIVALS[i]),
    ),
    "one rival": (
        dict(targets=ANSWERS, against=" they"),
        lambda i: aw.logit_diff(ANSWERS[i], " they"),
    ),
    "as it is": (dict(targets=[aw.logit(a) for a in ANSWERS]), lambda i: aw.logit(ANSWERS[i])),
}


@pytest.fixture
def s(family_model):
    return aw.survey(family_model("gpt2"), PROMPTS, ANSWERS, permutations=19)


@pytest.mark.parametrize("how", ASKED)
@pytest.mark.parametrize("positions", POSITIONS)
def test_a_batch_of_mixed_lengths_is_each_prompt_alone(family_model, positions, how):
    model = family_model(POSITIONS[positions])
    together, alone = ASKED[how]
    s = aw.survey(model, PROMPTS, **together, permutations=19)
    crossed = s.group().crossed
    assert len({len(ids) for ids in s.ids}) > 2 and s.texts == PROMPTS
    for i, prompt in enumerate(PROMPTS):
        run = model.run(prompt)
        a = aw.attribute(run, alone(i))
        assert s.labels == a.labels and s.ids[i] == run.ids
        torch.testing.assert_close(s.values[i], a.values, atol=1e-5, rtol=0)
        assert float(s.actual[i]) == pytest.approx(a.actual, abs=1e-5)
        for j in range(len(PROMPTS)):
            other = aw.attribute(run, alone(j)).values[s.tested]
            torch.testing.assert_close(crossed.values[i, :, crossed.own[j]], other, atol=1e-5, rtol=0)
    assert float(s.mismatches().abs().max()) <= 1e-5 * (1 + float(s.values.abs().sum(-1).max())), "every row closes"


def test_a_prompt_that_does_not_close_is_refused_by_its_number(family_model, monkeypatch):
    read = decomposed.readings_of

    def wrong(run, *more):
        for reading, token in zip(read(run, *more), run.ids, strict=True):
            yield replace(reading, actual=reading.actual + (token == last))

    model = family_model("gpt2")
    last = model.encode(PROMPTS[4])[-1]
    assert [model.encode(p)[-1] == last for p in PROMPTS].index(True) == 4
    monkeypatch.setattr(decomposed, "readings_of", wrong)
    with pytest.raises(aw.GranularityError, match="Prompt 4: On this prompt the printed number is not"):
        aw.survey(model, PROMPTS, ANSWERS)


@pytest.mark.parametrize("name", ["gemma2", "mixtral", "olmo2"])
def test_caps_experts_and_norms_behind_sublayers(family_model, name):
    model = family_model(name)
    s = aw.survey(model, PROMPTS, ANSWERS, against=RIVALS, permutations=19)
    for i, prompt in enumerate(PROMPTS):
        a = aw.attribute(model.run(prompt), aw.logit_diff(ANSWERS[i], RIVALS[i]))
        torch.testing.assert_close(s.values[i], a.values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", mixed.MODELS)
def test_layers_that_do_not_split_are_one_part(name):
    model = mixed.MODELS[name][0]()
    s = aw.survey(model, PROMPTS, ANSWERS, permutations=19)
    a = aw.attribute(model.run(PROMPTS[0]), aw.logit(ANSWERS[0]).centered())
    torch.testing.assert_close(s.values[0], a.values, atol=1e-5, rtol=0)
    assert [str(p) for p in s.parts] == [str(c) for c in a.components if c.kind in ("head", "mlp", "attn", "layer")]
    assert s.plot().axes and len(s.by_group(1, kind=None).components) == 1


def test_half_precision_states_its_rounding(family_model):
    model = family_model("llama", torch.bfloat16)
    s = aw.survey(model, PROMPTS, ANSWERS, permutations=19)
    rounding = s["rounding"].values
    assert float(rounding.abs().max()) > 1e-4 and f"{float(rounding.abs().max()):.4f}" in s.summary().footer
    assert "the model computes in bfloat16" in s.summary().footer
    assert float(s.mismatches().abs().max()) <= 1e-5 * (1 + float(s.values.abs().sum(-1).max())), "rounding is a row"
    assert "rounding" not in str(aw.survey(family_model("llama"), PROMPTS, ANSWERS, permutations=19))


def test_where_nothing_is_asked_the_models_own_answers_are(family_model):
    model = family_model("gpt2")
    s = aw.survey(model, PROMPTS, permutations=19)
    best = [model.run(p).top(1)[0].id for p in PROMPTS]
    assert [t.tokens for t in s.targets] == [(b,) for b in best] and all(t.centre for t in s.targets)


def test_pairs_rows_groups_and_columns_are_the_same_question():
    model, pairs = aw.load("demo"), aw.demo.pairs("capitals", 6)
    asked = dict(permutations=19)
    plain = aw.survey(model, pairs.clean, pairs.target, against=pairs.against, **asked)
    rows = list(zip(pairs.clean, pairs.target, pairs.against, strict=True))
    for given in (pairs, rows, pd.DataFrame(rows, columns=["clean", "target", "against"])):
        found = aw.survey(model, given, **asked)
        assert torch.equal(found.values, plain.values) and found.answers == plain.answers
    grouped = aw.survey(
        model,
        {"one": pairs.clean, "other": aw.demo.pairs("agreement", 5)},
        {"one": pairs.target, "other": None},
        against={"one": pairs.against, "other": None},
        **asked,
    )
    assert list(grouped.groups) == ["one", "other"] and grouped.groups["other"].numbers == [6, 7, 8, 9, 10]
    torch.testing.assert_close(grouped.values[:6], plain.values, atol=1e-5, rtol=0)
    assert torch.equal(grouped.groups["one"].p, plain.group().p), "another group beside it changes no draw"
    columns = aw.survey(
        model, pd.Series(pairs.clean), pd.Series(pairs.target), against=np.array(pairs.against), **asked
    )
    assert torch.equal(columns.values, plain.values)
    without = aw.survey(model, [row[:2] for row in rows], **asked)
    centred = aw.survey(model, pairs.clean, pairs.target, **asked)
    assert torch.equal(without.values, centred.values) and "entred logit of each" in str(centred)


def test_measures_are_those_of_the_values(s):
    group, values = s.group(), s.values[:, s.tested].double()
    torch.testing.assert_close(group.mean, values.mean(0))
    torch.testing.assert_close(group.spread, values.std(0))
    order = sorted(range(len(s.parts)), key=lambda i: -abs(float(group.mean[i])))
    assert [order.index(i) + 1 for i in range(len(order))] == group.rank.int().tolist()
    assert group.selectivity.isnan().all(), "there is one group"
    low, high = group.rank_range
    assert bool((low <= high).all()) and bool((low >= 1).all()) and bool((high <= len(order)).all())


def test_selectivity_is_the_mean_over_the_means_of_the_others(family_model):
    model = family_model("gpt2")
    groups = {"a": PROMPTS[:3], "b": PROMPTS[3:5], "c": PROMPTS[5:]}
    s = aw.survey(model, groups, " Paris", permutations=19)
    means = {name: s.values[s.groups[name].numbers][:, s.tested].double().mean(0) for name in groups}
    for name in groups:
        others = [mean for other, mean in means.items() if other != name]
        torch.testing.assert_close(s.groups[name].selectivity, means[name] - (others[0] + others[1]) / 2)
    assert [s.group_of(i) for i in range(7)] == ["a", "a", "a", "b", "b", "c", "c"]


def test_frames_have_every_number(s):
    frame = s.to_dataframe()
    assert list(frame["component"]) == [str(p) for p in s.parts] and set(frame["group"]) == {"all"}
    assert list(frame["mean"]) == s.group().mean.tolist() and list(frame["p_specific"]) == s.group().p.tolist()
    rows = s.to_dataframe(per="prompt")
    assert rows.groupby("prompt")["value"].sum().to_numpy() == pytest.approx(s.actual.numpy(), abs=1e-4)
    part = s["L1H2"]
    assert list(part.to_dataframe()["value"]) == part.values.tolist() == s.values[:, s.labels.index("L1H2")].tolist()
    assert list(part.to_dataframe()["answer"]) == s.answers


def test_examples_of_a_part_go_by_its_contribution(s):
    part = s["L1.mlp"]
    values = part.values.tolist()
    order = sorted(range(len(values)), key=values.__getitem__)
    assert part.examples(k=3) == order[::-1][:3] and part.examples(which="smallest", k=2) == order[:2]
    assert part.examples(which="deciles") == order, "of seven prompts every one is at some tenth"
    with pytest.raises(aw.AttribError, match="largest"):
        part.examples(which="middle")


def test_prompts_of_a_large_group_exchange_answers_in_blocks(family_model, monkeypatch):
    model = family_model("gpt2")
    prompts = [[2 + i, 5, 6, 7 + i % 3] for i in range(21)]
    answers = [20 + i % 9 for i in range(21)]
    whole = aw.survey(model, prompts, answers, permutations=19).group().crossed
    monkeypatch.setattr(decomposed, "BLOCK", 8)
    s = aw.survey(model, prompts, answers, permutations=19)
    crossed = s.group().crossed
    assert sorted(torch.bincount(crossed.block).tolist()) == [7, 7, 7]
    for i in range(21):
        for j in range(21):
            if crossed.block[i] == crossed.block[j]:
                mine, same = crossed.values[i, :, crossed.own[j]], whole.values[i, :, whole.own[j]]
                torch.testing.assert_close(mine, same, atol=1e-5, rtol=0)
    own = crossed.values[torch.arange(21), :, crossed.own]
    torch.testing.assert_close(own, s.values[:, s.tested], atol=1e-5, rtol=0)


def test_a_token_typed_without_its_space_is_said():
    model, pairs = aw.load("demo"), aw.demo.pairs("capitals", 6)
    s = aw.survey(model, pairs.clean, [t.strip() if i == 0 else t for i, t in enumerate(pairs.target)], permutations=19)
    assert "likelier than" in s.summary().note and len(s.notes) == 1


def test_a_prompt_opens_in_the_explorer():
    model, pairs = aw.load("demo"), aw.demo.pairs("capitals", 4)
    for against in (None, pairs.against):
        s = aw.survey(model, pairs.clean, pairs.target, against=against, permutations=19)
        explorer = s.open(2)
        torch.testing.assert_close(explorer.attribution.values, s.values[2], atol=1e-5, rtol=0)
        assert explorer.attribution.run.ids == s.ids[2] and explorer.attribution.run.text == pairs.clean[2]
    with pytest.raises(aw.PositionError, match=r"no prompt 4.*0 to 3"):
        s.open(4)


def test_progress_and_cancel(family_model):
    told = []
    aw.survey(
        family_model("gpt2"), PROMPTS, ANSWERS, permutations=19, job=Job(lambda job: None, lambda *a: told.append(a))
    )
    lengths = len({len(family_model("gpt2").encode(p)) for p in PROMPTS})
    assert [d for d, _, _ in told] == sorted(d for d, _, _ in told) and len(told) == lengths + 2
    assert told[-1] == (7, 7, "permuting the answers of all")
    stopped = Job(lambda job: None, lambda done, *_: stopped.cancel())
    with pytest.raises(Cancelled):
        aw.survey(family_model("gpt2"), PROMPTS, ANSWERS, job=stopped)


PAIRS = [("The capital of France is", " Paris", " Rome"), ("The capital of Spain is", " Madrid", " Rome")]
REFUSED = {
    "nothing": (dict(prompts=[]), aw.AttribError, "There are no prompts: a survey compares several"),
    "one text": (dict(prompts=PROMPTS[0]), aw.AttribError, "There is one prompt.*aw.attribute"),
    "two names for one group": (dict(prompts={1: PROMPTS, "1": PROMPTS}), aw.AttribError, "same name"),
    "no groups": (dict(prompts={}), aw.AttribError, "no groups"),
    "a group of one": (dict(prompts={"a": PROMPTS, "b": PROMPTS[:1]}), aw.AttribError, "one prompt in 'b'"),
    "too few answers": (dict(prompts=PROMPTS, targets=ANSWERS[:2]), aw.AttribError, "2 targets for 7 prompts"),
    "too few in a group": (
        dict(prompts={"a": PROMPTS[:3], "b": PROMPTS[3:]}, targets={"a": ANSWERS[:3], "b": ANSWERS[:3]}),
        aw.AttribError,
        "3 targets for 4 prompts in 'b'",
    ),
    "a group without answers": (
        dict(prompts={"a": PROMPTS[:3], "b": PROMPTS[3:]}, targets={"a": ANSWERS[:3]}),
        aw.AttribError,
        "no targets of 'b'.*'a', 'b'",
    ),
    "answers without a group": (
        dict(prompts={"a": PROMPTS}, targets=" Paris", against={"a": " Rome", "c": " Rome"}),
        aw.AttribError,
        "no group 'c' for its rivals",
    ),
    "one list for groups": (dict(prompts={"a": PROMPTS}, targets=ANSWERS), aw.AttribError, "with the same names"),
    "groups for one list": (dict(prompts=PROMPTS, targets={"a": ANSWERS}), aw.AttribError, "come by group"),
    "ragged rows": (dict(prompts=[PAIRS[0], PAIRS[1][:2]]), aw.AttribError, "Row 1 has 2 entries.*answer, rival"),
    "rows and answers": (dict(prompts=PAIRS, targets=" Paris"), aw.AttribError, "bring their answers along"),
    "pairs and answers": (
        dict(prompts={"a": aw.demo.pairs("capitals", 2)}, targets=" Paris"),
        aw.AttribError,
        "pairs in 'a' bring their answers",
    ),
    "twice": (dict(prompts=[*PROMPTS, PROMPTS[1]]), aw.AttribError, "Prompt 7 is prompt 1 once more.*Leave it out"),
    "twice in a group": (
        dict(prompts={"a": PROMPTS, "b": [*PROMPTS[:2], PROMPTS[0]]}),
        aw.AttribError,
        "Prompt 2 of 'b' is prompt 0 once more",
    ),
    "several tokens": (
        dict(prompts={"a": PROMPTS}, targets={"a": [*ANSWERS[:2], " Paris and", *ANSWERS[3:]]}),
        aw.TargetError,
        "Prompt 2 of 'a': ' Paris and' is 2 tokens",
    ),
    "no such token": (
        dict(prompts=PROMPTS, targets=[*ANSWERS[:6], 10**6]),
        aw.TargetError,
        "Prompt 6: Token id 1000000 is outside the vocabulary",
    ),
    "no token": (dict(prompts=PROMPTS, targets=[*ANSWERS[:6], 1.5]), aw.TargetError, "Prompt 6: 1.5 is not a target"),
    "no rival": (dict(prompts=PROMPTS, against=" Paris"), aw.TargetError, "Prompt 0: There is nothing to hold against"),
    "both the same": (dict(prompts=PROMPTS, targets=" Paris", against=" Paris"), aw.TargetError, "the same token"),
    "no logit": (
        dict(prompts=PROMPTS, targets=aw.log_prob(" Paris")),
        aw.TargetError,
        "of logits, and this is a log_prob",
    ),
    "a score": (dict(prompts=PROMPTS, targets=aw.score("L1H1")), aw.TargetError, "and this is a score"),
    "several kinds": (
        dict(prompts={"a": PAIRS, "b": PROMPTS[:2]}, targets=None),
        aw.TargetError,
        "Prompt 0 of 'a' asks for a difference.*prompt 0 of 'b' asks for a logit, centred",
    ),
    "no position": (
        dict(prompts=PROMPTS, targets=ANSWERS, position=9),
        aw.PositionError,
        "Prompt 0: Position 9 is outside",
    ),
    "no permutations": (dict(prompts=PROMPTS, targets=ANSWERS, permutations=0), aw.AttribError, "permutations=0"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_it_refuses_names_the_input_and_the_remedy(family_model, what):
    given, error, said = REFUSED[what]
    with pytest.raises(error, match=said) as found:
        aw.survey(family_model("gpt2"), **given)
    assert found.value.hint, "what to type instead"


def test_what_its_results_refuse(s):
    with pytest.raises(aw.ComponentError, match=r"L9H9 is not a row.*see .labels"):
        s["L9H9"]
    with pytest.raises(aw.AttribError, match=r"no group 'b'.*'all'"):
        s.passing("b")
    with pytest.raises(aw.AttribError, match="per="):
        s.to_dataframe(per="head")
    with pytest.raises(aw.ComponentError, match=r"kind 'neuron'.*head, mlp"):
        s.by_group(kind="neuron")
    with pytest.raises(aw.ComponentError, match="1 or more"):
        s.by_group(0)
