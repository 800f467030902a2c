"""No sentence is said outside its inequality, nothing that was not measured is named, and no sentence is missing.

The inequalities are written here once more, each by itself. Whoever changes one of the table fails these tests.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace

import numpy as np
import pytest

from attrib_widgets.analysis.verdicts import table
from attrib_widgets.analysis.verdicts.reach import over_intervals, over_tau
from attrib_widgets.analysis.verdicts.rules import QUANTITIES, Bound, Measured, Thresholds, Verdict
from attrib_widgets.analysis.verdicts.table import (
    CHOSEN,
    GAPS,
    REMARKS,
    TITLES,
    VERDICTS,
    chosen,
    remarks,
    titles,
    verdict,
)
from attrib_widgets.words.errors import AttribError

TUPLES = 10_000
USUAL = Thresholds()
UNUSUAL = tuple(Thresholds(*each) for each in ((0.1, 0.7, 0.4), (0.6, 0.8, 0.3), (0.6, 0.4, 0.3)))
SETS = (USUAL, *UNUSUAL)
FOUR = ("n", "d_n", "s", "d_s")
CHIPS = {
    "needed",
    "partly replaced",
    "can be spared alone",
    "redundant",
    "works through later parts",
    "suppresses",
    "not tested here",
    "little alone",
    "carries the changed word",
}
NAMES = {
    "joint": ("backups", ("L1H0", "L2H1")),
    "unerased": ("erasers", ("L3H3",)),
    "set_n": ("set", ("L5H0", "L5H1")),
    "risen": ("risers", ("L6H2",)),
    "other words": ("words", ("“needed”",)),
}


def tuples(count, seed):
    """Measurements near and far from every border, with some of what may be measured beside the four missing."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        scale = rng.choice([0.02, 0.06, 0.3, 1.0])
        near = [0, 0.05, -0.05, 0.3, 0.8, 1.0]
        values = dict.fromkeys(FOUR, 0.0)
        for d, total in (("d_n", "n"), ("d_s", "s")):
            values[d] = float(rng.choice([rng.normal() * scale, rng.choice(near) + rng.normal() * 0.02]))
            values[total] = float(
                rng.choice(
                    [
                        rng.normal() * scale,
                        rng.choice(near) + rng.normal() * 0.02,
                        values[d] * (rng.choice([0.3, 0.8, 1]) + rng.normal() * 0.1),
                        values[d] + rng.choice([-0.05, 0.05]) + rng.normal() * 0.02,
                    ]
                )
            )
        if rng.random() < 0.1:
            values = dict.fromkeys(FOUR, 0.0)
        values["differs"] = float(rng.choice([0.0, 8e-6, 1.2e-5, 0.5]))
        values["intervals"] = float(rng.choice([0, 1]))
        names = {}
        for what in ("joint", "unerased", "mean", "risen"):
            if rng.random() < 0.5:
                values[what] = float(rng.choice([values["d_n"] * 0.8, 0.05, -0.05]) + rng.normal() * 0.05)
        if rng.random() < 0.5:
            values |= {k: float(1 + rng.normal() * 0.05) for k in ("changed_n", "changed_s")}
        if rng.random() < 0.5:
            most, least = (float(x) for x in (0.3 + rng.normal() * 0.1, 0.8 + rng.normal() * 0.1))
            values |= {"set_n": 0.8 + rng.normal() * 0.1, "set_s": 0.8 + rng.normal() * 0.1}
            both = rng.random() < 0.5  # all are needed, or any one will do
            low, high = {"most": most, "least": most - 0.1}, {"most": least + 0.1, "least": least}
            for name, found in (("n", high if both else low), ("s", low if both else high)):
                values |= {f"most_{name}": found["most"], f"least_{name}": found["least"]}
            values["largest"] = float(rng.choice([0.0, 0.02, 0.1, 0.2, 0.7, 0.9]))
            if rng.random() < 0.3:
                values |= {"set_n": 0.06 + rng.normal() * 0.1}
        if rng.random() < 0.5:
            values["common"] = float(rng.normal() * 0.1)
        if rng.random() < 0.5:
            values["other words"] = float(rng.integers(0, 3))
        for what, (name, listed) in NAMES.items():
            if what in values:
                names[name] = listed
        yield Measured(values, names)


def allowed(m, at):
    """Which rows may be said, each written out by itself; None of those that rest on what was not measured."""
    v = dict(m.values)
    n, d, s, e = (v[name] for name in FOUR)
    tau, ok, low = at.tau, at.needed, at.spared
    later = max(abs(n - d), abs(s - e))
    most = max(map(abs, (n, d, s, e)))
    has = {k: k in v for k in ("joint", "unerased", "changed_n", "set_n", "mean", "risen", "other words")}
    through = abs(d) < tau and later >= tau and most >= tau
    directly = abs(d) < tau and later < tau
    up, down = d >= tau, d <= -tau
    wide = max(abs(1 - v.get("changed_n", 9)), abs(1 - v.get("changed_s", 9)))
    g = v.get
    return {
        "same": v["differs"] <= 1e-5 and most < tau,
        "carries": has["changed_n"] and abs(d) < tau and abs(e) < tau and wide < tau,
        "either": has["set_n"]
        and through
        and n > -tau
        and g("most_n") < low
        and g("least_s") >= ok
        and g("set_n") >= ok,
        "all": has["set_n"] and through and g("least_n") >= ok and g("most_s") < low and g("set_s") >= ok,
        "needed and enough": through and n >= ok and s >= ok,
        "needed through": through and n >= ok and s < ok,
        "enough": through and -tau < n < ok and s >= ok,
        "enough there": through and n <= -tau and s >= ok,
        "through": through and -tau < n < ok and s < ok,
        "holds back through": through and n <= -tau and s < ok,
        "turned against": up and n <= -tau,
        "redundant": has["joint"] and up and -tau < n < low * d and g("joint") >= ok * d,
        "needed": up and n >= ok * d,
        "partly replaced": up and low * d <= n < ok * d,
        "erased": has["unerased"] and up and -tau < n < low * d and g("unerased") >= ok * d,
        "spared": up and -tau < n < low * d,
        "turned for": down and n >= tau,
        "suppresses": down and n <= low * d,
        "suppresses, made up": down and low * d < n < tau,
        "needed a little": directly and n >= tau,
        "suppresses a little": directly and n <= -tau,
        "counts there": directly and abs(n) < tau and max(s, e) >= max(tau, low),
        "little here": directly and abs(n) < tau and tau <= max(s, e) < low,
        "against there": directly and abs(n) < tau and min(s, e) <= -tau,
        "below": most < tau and v["differs"] > 1e-5,
        "more through later": up and n - d >= tau,
        "more against through later": down and d - n >= tau,
        "made up": up and d - n >= tau,
        "later there": abs(d) >= tau and abs(s - e) >= tau,
        "direct there": through and abs(e) >= tau,
        "still missed": up and tau <= n < low * d,
        "mean matters": has["mean"] and most < tau and abs(g("mean")) >= tau,
        "mean is little": has["mean"] and most < tau and abs(g("mean")) < tau,
        "rises": has["risen"] and g("risen") >= tau,
        "not confirmed": has["joint"] and up and n < low * d and g("joint") < ok * d,
        "borderline for tau": has["other words"] and g("other words") >= 1 and v["intervals"] <= 0,
        "borderline over pairs": has["other words"] and g("other words") >= 1 and v["intervals"] > 0,
        "not together": has["set_n"] and g("set_n") >= tau > g("largest"),
        "more together": has["set_n"] and g("set_n") > g("largest") >= tau,
        "no part alone": has["set_n"] and g("set_n") >= tau and g("largest") <= 0,
        "outweighed": has["set_n"] and g("set_n") >= tau and g("largest") > 0 and g("set_n") > g("largest"),
        "together": has["set_n"],
        "common": "common" in v and v["common"] >= tau,
        "common, turned": "common" in v and v["common"] <= -tau,
    }


@functools.cache
def cases(count, seed, at):
    """Measurements, and which rows may be said of them."""
    return [(m, allowed(m, at)) for m in tuples(count, seed)]


def disagrees(row, count, seed, at):
    """Where a row is said though it may not be, or is not though it may."""
    return next(
        (m for m, expected in cases(count, seed, at) if bool(row.may_be_said(m, at)) != expected[row.key]), None
    )


def check(count, seed, at):
    """Fails where the table says what it may not, or does not say what it may."""
    seen = set()
    for row in (*VERDICTS, *REMARKS, *TITLES, *GAPS):
        assert disagrees(row, count, seed, at) is None, row.key
    for m, expected in cases(count, seed, at):
        for row in (*VERDICTS, *REMARKS, *TITLES, *GAPS):
            if expected[row.key]:
                seen.add(row.key)
                text = row.said(m)
                known = [x for names in m.names.values() for x in names]
                for part in re.findall(r"L\d+H\d+|“.*?”", text):
                    assert part in known, (part, m)
                assert "{" not in text and text
        word = verdict(m, at)
        strongest = next(row.key for row in VERDICTS if expected[row.key])
        assert word.key == strongest
        assert [r.key for r in remarks(m, at)] == [r.key for r in REMARKS if expected[r.key]]
        four = Measured({k: m.values[k] for k in (*FOUR, "differs")})
        assert sum(allowed(four, at)[row.key] if row.needs <= set(four.values) else 0 for row in VERDICTS) == 1
    return seen


def test_nothing_is_said_outside_its_inequality_and_nothing_is_missing():
    assert check(TUPLES, 0, USUAL) == {row.key for row in (*VERDICTS, *REMARKS, *TITLES, *GAPS)}, "every row comes up"
    for at in UNUSUAL:
        check(TUPLES, 0, at)


def mutants(row):
    """The row with one of its inequalities turned round, moved, or gone."""
    other = {">=": "<", "<": ">=", ">": "<=", "<=": ">"}
    moved = {"tau": "spared", "-tau": 0, "needed": "spared", "spared": "needed"}
    for i, bound in enumerate(row.when):
        factor = moved[bound.factor] if isinstance(bound.factor, str) else bound.factor + 1
        for change in (replace(bound, sign=other[bound.sign]), replace(bound, factor=factor), None):
            kept = [b for j, b in enumerate(row.when) if j != i]
            yield replace(row, when=tuple(kept if change is None else [*kept, change]))


@pytest.mark.parametrize("row", [*VERDICTS, *REMARKS, *TITLES, *GAPS], ids=lambda row: row.key)
def test_a_changed_inequality_is_noticed(row):
    if row.key == "together":
        pytest.skip("of any size: its one bound says that both effects were measured")
    for mutant in mutants(row):
        assert any(disagrees(mutant, TUPLES, 0, at) is not None for at in SETS), mutant.when


def test_there_are_few_words_and_each_row_answers_to_the_book():
    assert {row.word for row in VERDICTS} == CHIPS
    assert all(row.book for row in VERDICTS) and {row.word for row in VERDICTS if row.parts} == set(table.ORDER)
    keys = [row.key for row in (*VERDICTS, *REMARKS, *TITLES, *GAPS)]
    assert len(keys) == len(set(keys))


def test_of_chosen_parts_is_said_what_was_measured():
    names = {"set": ("L1H0", "L2H1"), "answer": ("·Berlin 71\u00a0%, ·Paris 13\u00a0%",)}
    without = "without these 2 parts, as in the other prompt: ·Berlin 71\u00a0%, ·Paris 13\u00a0%"
    assert chosen(Measured({"set_n": 0.93}, names)) == f"{without}; 93\u00a0% of the gap goes"
    assert chosen(Measured({"set_n": -0.07}, names)).endswith("; \u22127\u00a0% of the gap goes")
    assert chosen(Measured({}, names)) == without, "there is no gap to have a share of"
    assert chosen(Measured({}, {**names, "set": ("L1H0",)})).startswith("without this part, as in the other prompt: ")
    zero = {**names, "reason": ("why",), "change": ("it goes from 2 to 1",)}
    said = "with these 2 parts set to zero (why): ·Berlin 71\u00a0%, ·Paris 13\u00a0%; it goes from 2 to 1"
    assert chosen(Measured({}, zero)) == said
    assert [row.key for row in CHOSEN if row.may_be_said(Measured({}, names), USUAL)] == ["chosen, no gap"]


def test_what_a_sentence_names_must_have_been_measured():
    four = Measured(dict.fromkeys(FOUR, 0.5) | {"n": 0.1, "differs": 1.0})
    assert verdict(four).key == "spared"
    joint = Measured({**four.values, "joint": 0.5})
    assert verdict(joint).key == "spared", "no backup is named"
    assert verdict(Measured(joint.values, {"backups": ("L1H0",)})).key == "redundant"
    with pytest.raises(ValueError, match="four experiments"):
        verdict(Measured({"n": 0.1, "s": 1.0, "d_s": 1.0}))


def test_the_rule_is_told_with_its_numbers():
    m = Measured(dict.fromkeys(FOUR, 0.5) | {"n": 0.2, "differs": 1.0})
    assert verdict(m).decided(m, Thresholds()) == (
        "“partly replaced”: direct damage (0.50) is at least 0.05; damage (0.20) is at least 0.15 (0.3 times the "
        "direct damage); damage (0.20) is below 0.40 (0.8 times the direct damage)."
    )
    assert all(q.words for q in QUANTITIES.values())
    assert isinstance(VERDICTS[0], Verdict) and isinstance(VERDICTS[0].when[0], Bound)


@pytest.mark.parametrize("wrong", [{"tau": float("nan")}, {"tau": 0}, {"needed": 0.2}, {"spared": -1}, {"tau": "0.05"}])
def test_thresholds_that_decide_nothing_are_refused(wrong):
    with pytest.raises(AttribError, match="are no thresholds") as caught:
        Thresholds(**wrong)
    assert caught.value.hint


def test_numbers_that_speak_against_the_word_are_told():
    def told(**values):
        m = Measured({"n": 0.0, "d_n": 0.0, "s": 0.0, "d_s": 0.0, "differs": 1.0, **values})
        return verdict(m).key, verdict(m).said(m), [r.said(m) for r in remarks(m)]

    key, said, _ = told(n=-1.49, s=0.9)
    assert key == "enough there" and said.endswith("without it the gap grows by 149\u00a0% (0\u00a0% directly)")
    key, _, more = told(s=0.6, d_s=0.5)
    assert key == "through" and more == [
        "put into the other prompt not through later parts alone: 50\u00a0% of the gap directly"
    ]
    key, _, more = told(n=0.25, d_n=0.9)
    assert (
        key == "spared" and "spared is meant beside what it writes: 25\u00a0% of the gap is missed all the same" in more
    )


def test_what_is_missed_alone_is_not_said_not_to_be():
    def told(largest):
        return titles(Measured({"set_n": 0.9, "set_s": 0.0, "largest": largest}, {"set": ("L1H0", "L2H1")}))

    assert told(0.04)["not together"] == "2 parts only together (90\u00a0% of the gap)"
    assert "not together" not in told(0.25)
    assert told(0.25)["more together"] == ("2 parts more together than each (90\u00a0% of the gap)")


# -- what is within reach ------------------------------------------------------------------------------------------
def test_every_word_inside_the_intervals_is_reached():
    rng = np.random.default_rng(3)
    for m in tuples(150, 4):
        four = {**{k: m.values[k] for k in FOUR}, "differs": 1.0}
        limits = {k: sorted((four[k], four[k] + rng.normal() * 0.3)) for k in FOUR}
        reached = over_intervals(Measured(four), limits, Thresholds())
        for _ in range(40):
            point = {k: float(rng.uniform(*limits[k])) for k in FOUR}
            assert verdict(Measured({**point, "differs": 1.0})).word in reached


def test_every_word_for_a_tau_around_is_reached():
    rng, at = np.random.default_rng(5), Thresholds()
    assert at.around == pytest.approx((0.03, 0.08))
    for m in tuples(300, 6):
        reached = over_tau(m, at)
        for tau in rng.uniform(*at.around, size=20):
            assert verdict(m, replace(at, tau=float(tau))).word in reached
