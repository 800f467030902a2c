"""Nulls over the best of all parts: against every order there is, on random models, and on parts that were planted."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers as tf

import attrib_widgets as aw
from attrib_widgets.analysis.survey import measures
from attrib_widgets.analysis.survey.decomposed import Crossed
from attrib_widgets.demo.built import copying
from attrib_widgets.demo.built.stream import centred
from fixtures import survey_twin

CITIES = [word for word in copying.WORDS[1:18] if word[1:2].isupper()]


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("own", "block"),
    [([0, 1, 2, 3, 4], [0] * 5), ([0, 1, 0, 1, 1, 0], [0] * 6), ([0, 1, 2, 0, 1, 1], [0, 0, 0, 1, 1, 1])],
)
def test_specific_is_what_every_order_says(own, block):
    values = torch.randn(len(own), 4, max(own) + 1, generator=drawn(3)).float()
    values[torch.arange(len(own)), 1, own] += 1.5
    crossed = Crossed(values, torch.tensor(own), torch.tensor(block))
    found = measures.specific(crossed, 4999, drawn())
    statistic, p = survey_twin.specific(values, own, block)
    torch.testing.assert_close(found.statistic, torch.tensor(statistic, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.p, torch.tensor(p, dtype=torch.float64), atol=0.03, rtol=0)
    differ = len(set(map(tuple, survey_twin.orders_of(own, block))))
    assert found.orders == pytest.approx(differ) and len(found.best) == 4999
    alike, permuted = survey_twin.same_sign(values, own, block)
    own_values = values[torch.arange(len(own)), :, own]
    assert measures.same_sign(own_values).tolist() == pytest.approx(alike)
    assert measures.same_sign_permuted(crossed).tolist() == pytest.approx(permuted)


def test_the_null_is_over_the_best_of_all_parts():
    """A part that is loud under permuted answers takes away what a quiet one had alone."""
    own = torch.arange(12)
    quiet = torch.randn(12, 1, 12, generator=drawn(1)) + torch.eye(12)[:, None]
    loud = 10 * torch.randn(12, 1, 12, generator=drawn(2))
    crossed = [Crossed(v, own, torch.zeros(12).long()) for v in (quiet, torch.cat([quiet, loud], 1))]
    alone, both = (measures.specific(c, 499, drawn()) for c in crossed)
    assert float(alone.p[0]) <= 0.01 and float(both.p[0]) > 0.5
    each = [measures.specific(Crossed(v, own, torch.zeros(12).long()), 499, drawn()).best for v in (quiet, loud)]
    assert torch.equal(both.best, torch.maximum(*each)), "the same orders for every part, the largest of each"
    assert float(both.p[1]) == (1 + int((both.best >= both.statistic[1].abs() * (1 - 1e-9)).sum())) / 500
    for level in (0.002, 0.05, 0.5):  # what passes is what lies beyond the threshold
        beyond = torch.linspace(0.5, 1.5, 101, dtype=torch.float64) * both.threshold(level)
        p = measures.held_against(beyond, both.best, both.orders).p
        assert ((p <= level) == (beyond > both.threshold(level) * (1 + 1e-6))).all()
    assert both.threshold(0.001) == float("inf"), "499 permutations know no p of one in a thousand"


def test_between_is_what_every_order_says():
    group, answer = [0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 1]
    values = torch.randn(6, 3, generator=drawn(5)).double()
    values[3:, 0] += 2
    found = measures.between(values, torch.tensor(group), torch.tensor(answer), 4999, drawn())
    statistic, p = survey_twin.between(values, group, answer)
    torch.testing.assert_close(found.statistic, statistic, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.p, p, atol=0.03, rtol=0)


def test_stability_is_spearmans_correlation_of_halves():
    values = torch.randn(9, 6, generator=drawn(7)) + torch.arange(6)
    values[:, 2] = values[:, 1]  # a tie
    means = measures.halves(values, drawn())
    rows = [survey_twin.spearman(a.tolist(), b.tolist()) for a, b in means]
    assert measures.stability(means) == pytest.approx(sum(rows) / len(rows), abs=1e-6)
    for a, b in means[:5]:
        torch.testing.assert_close((4 * a + 5 * b) / 9, values.double().mean(0))  # both halves together are all
    assert measures.halves(values[:3], drawn()) is None


@pytest.mark.parametrize("task", ["capitals", "two names"])
def test_of_twenty_random_models_at_most_three_have_a_specific_part(task):
    demo, pairs = aw.load("demo"), aw.demo.pairs(task, 40)
    config = copy.deepcopy(demo.hf.config)
    config.n_layer = 2
    passed = {None: 0, "rivals": 0}
    for seed in range(20):
        torch.manual_seed(seed)
        model = aw.load(tf.AutoModelForCausalLM.from_config(config).eval(), tokenizer=demo.tokenizer)
        for against in passed:
            rivals = pairs.against if against else None
            s = aw.survey(model, pairs.clean, pairs.target, against=rivals, permutations=199)
            passed[against] += bool(s.passing())
    assert all(count <= 3 for count in passed.values()), passed


@pytest.mark.parametrize("words", [CITIES, [" Paris"]], ids=["all answers", "one answer"])
def test_a_planted_head_passes_and_a_planted_constant_does_not(words):
    """L0H0 copies the city; L0.mlp raises these words by more, whatever it reads."""
    hf = copying.sole()
    with torch.no_grad():
        raised = 12 * centred(copying.VOCAB)[[copying.WORDS.index(w) for w in words]].sum(0)
        hf.transformer.h[0].mlp.c_proj.bias[copying.OUTPUT] = raised
    model = aw.load(hf, tokenizer=copying.tokenizer())
    s = aw.survey(model, [f"Say{city} once more" for city in CITIES], CITIES)
    group, parts = s.group(), [str(p) for p in s.parts]
    head, constant = parts.index("L0H0"), parts.index("L0.mlp")
    assert [str(p) for p in s.passing()] == ["L0H0"] and float(group.p[head]) == 1 / 1000
    # The norm is not quite constant: what is raised counts a little less where the head wrote the same word.
    assert float(group.p[constant]) > 0.5 and abs(float(group.beyond[constant])) < 0.02 * float(group.beyond[head])
    assert float(group.same_sign[head]) == 1.0 and float(group.same_sign_permuted[head]) < 0.2
    if len(words) > 1:
        assert float(group.mean[constant]) > float(group.mean[head]), "the constant has the longer bar"
        assert float(group.same_sign[constant]) == float(group.same_sign_permuted[constant]) == 1.0


def groups(after: int, both: bool):
    """Prompts that name two cities; the head copies the first. The second group asks for the second city, or for the
    first with another one behind it."""
    count = len(CITIES)
    near = [(CITIES[i], CITIES[(i + 1) % count]) for i in range(count)]
    far = [(CITIES[i], CITIES[(i + after) % count]) for i in range(count)]
    return {
        "first": [(f"Say{a}{b} more", a) for a, b in near],
        "second": [(f"Say{a}{b} more", b if both else a) for a, b in far],
    }


def test_groups_with_one_template_and_the_same_answers_are_held_against_each_other():
    model = aw.load(copying.sole(), tokenizer=copying.tokenizer())
    s = aw.survey(model, groups(1, both=True))
    for name, other, sign in (("first", "second", 1), ("second", "first", -1)):
        group = s.groups[name]
        assert group.beside == (other,) and group.between_why == ""
        low = [str(s.parts[i]) for i in range(len(s.parts)) if float(group.between.p[i]) <= 0.05]
        assert low == ["L0H0"] and sign * float(group.between.statistic[s.parts.index(aw.component("L0H0"))]) > 0
    assert "between first and second, labels permuted: L0H0 at p" in s.summary().footer
    alike = aw.survey(model, groups(2, both=False))
    assert float(alike.groups["first"].between.p.min()) > 0.05, "the same head does the same in both"


def test_why_groups_are_not_held_against_each_other():
    model = aw.load(copying.sole(), tokenizer=copying.tokenizer())
    said = {
        "other words": (
            {"a": "Say{} once more", "b": "Say{} more once"},
            CITIES,
            "no other group has the same template",
        ),
        "other answers": (
            {"a": "Say{} once more", "b": "Say{} once more"},
            None,
            "b has the same template, and other answers",
        ),
    }
    for templates, cities, why in said.values():
        half = len(CITIES) // 2
        given = {"a": cities or CITIES[:half], "b": cities or CITIES[half:]}
        s = aw.survey(model, {n: [(templates[n].format(c), c) for c in given[n]] for n in given}, permutations=19)
        assert s.groups["a"].between is None and s.groups["a"].between_why == why
        assert why in s.summary().footer
        assert s.to_dataframe()["p_between"].isna().all()
    mixed = {
        "a": [("Say Paris once more", " Paris"), ("Say Rome once", " Rome")],
        "b": [(f"Say{c}", c) for c in CITIES],
    }
    s = aw.survey(model, mixed, permutations=19)
    assert "3 and 4 tokens, so they share no template" in s.groups["a"].between_why


def test_specific_is_not_asked_of_one_answer():
    model = aw.load(copying.sole(), tokenizer=copying.tokenizer())
    s = aw.survey(model, [f"Say{c} once more" for c in CITIES], " Paris")
    assert s.group().specific is None and s.passing() == [] and s.group().p.isnan().all()
    assert "specific is not asked: all prompts have one answer" in s.summary().footer
    few = aw.survey(model, [(f"Say{c} once more", c) for c in CITIES[:3]])
    assert "6 orders of the answers differ: too few" in few.summary().footer and few.passing() == []


def test_draws_are_fixed_by_the_seed():
    model, pairs = aw.load("demo"), aw.demo.pairs("capitals", 12)
    one, same, other = (aw.survey(model, pairs, seed=seed, permutations=99) for seed in (1, 1, 2))
    assert torch.equal(one.group().specific.best, same.group().specific.best)
    assert not torch.equal(one.group().specific.best, other.group().specific.best)
    assert (one.seed, one.permutations) == (1, 99) and "99 times, seed 1" in one.summary().note


def test_what_no_part_can_pass_is_said():
    prompts = [f"The capital of {country} is" for country in ("France", "Germany", "Italy", "Spain")]
    answers = [" Paris", " Berlin", " Rome", " Madrid"]
    few = aw.survey("demo", prompts, answers, permutations=9).summary().footer
    assert "9 permutations: too few for p \u2264 0.05" in few and "inf" not in few
    halves = {"a": prompts[:2], "b": prompts[2:]}
    both = aw.survey("demo", halves, " Paris")
    foot = both.summary().footer.splitlines()
    assert "6 orders of the labels differ between a and b: too few for p \u2264 0.05" in foot
    assert "specific is not asked in a: all prompts have one answer" in foot
    for table in (both.summary(), both["L3H1"].summary()):
        assert "permuted" not in table.note and "p of being" not in table.note, "p of what was not asked"
