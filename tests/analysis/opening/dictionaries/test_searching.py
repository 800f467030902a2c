"""Features of all dictionaries by a word: found as each dictionary's cards find them, those that fire here first."""

from __future__ import annotations

import pytest

import attrib_widgets as aw
from attrib_widgets.demo import PROMPT, TARGET


@pytest.fixture(scope="module")
def concepts():
    model = aw.load("demo")
    return aw.attribute(model.run(PROMPT), TARGET).concepts()


@pytest.fixture(scope="module")
def found(concepts):
    return concepts.search("France")


def test_everything_that_the_cards_of_each_dictionary_find_is_there_once(concepts, found):
    saes = concepts.attribution.model.saes
    wanted = {}
    for one in concepts.written:
        wanted |= {f"{one.site}/{hit.feature}": hit for hit in saes.cards(one.site).search("France").hits}
    assert len(wanted) > 100 and sorted(one.feature for one in found.found) == sorted(wanted)
    for one in found.found:
        hit = wanted[one.feature]
        assert (one.label, one.named, one.on, one.before, one.of) == hit[1:]


def test_what_each_does_here_is_what_concepts_and_cards_say(concepts, found):
    here = dict(zip(concepts.labels[: concepts.firing], range(concepts.firing), strict=True))
    for one in found.found:
        row = here.get(one.feature)
        assert (one.fires > 0) == (row is not None)
        if row is not None:
            assert one.value == float(concepts.values[row]) and one.through == concepts.through(one.feature)
            assert one.fires == pytest.approx(float(concepts.activations[row]))
    elsewhere = [one for one in found.found if one.at >= 0]
    assert len(elsewhere) > 2
    for one in elsewhere[:4]:
        place, _, number = one.feature.partition("/")
        row = f"{one.through}/{number}" if place.endswith(".z") else one.feature
        card = concepts.attribution.features(row.partition("/")[0]).card(int(number))
        assert card.here[-1] == 0 and card.here[one.at] == pytest.approx(one.peak, rel=1e-5)
        assert one.peak == pytest.approx(max(card.here[1:]), rel=1e-5)
        assert one.value == 0


def test_those_that_fire_here_come_first_and_of_them_those_called_so(found):
    tiers = [0 if one.fires > 0 else 1 if one.at >= 0 else 2 for one in found.found]
    assert tiers == sorted(tiers) and set(tiers) == {0, 1, 2}
    first = [one for one in found.found if one.fires > 0]
    assert [one.label for one in first[:2]] == ["about France"] * 2
    assert [one.named for one in first] == sorted((one.named for one in first), reverse=True)
    assert (
        found.title()
        == f"{len(found)} features for “France”: {len(first)} of them fire here, {tiers.count(1)} at other tokens"
    )
    assert "fires at" in repr(found) and "about France" in repr(found)
    assert len(found.to_dataframe()) == len(found)


def test_nothing_found_and_nothing_to_look_for(concepts):
    assert repr(concepts.search("no such word")).startswith("No feature for “no such word”")
    with pytest.raises(aw.AttribError, match="nothing to look for"):
        concepts.search("  ")


def test_dictionaries_without_cards_are_named_or_refused():
    model = aw.load("demo")
    own = {place: model.saes[place] for place in ("L2.mlp", "L3.mlp")}
    cards = model.saes.cards("L3.mlp")
    model.saes.clear()
    model.saes.add(own)
    c = aw.attribute(model.run(PROMPT), TARGET).concepts()
    with pytest.raises(aw.ComponentError, match="No dictionary in use of demo has cards"):
        c.search("France")
    model.saes.take_cards("L3.mlp", cards)
    some = aw.attribute(model.run(PROMPT), TARGET).concepts().search("France")
    assert some.without == ["L2.mlp"] and "not looked through: L2.mlp" in repr(some)
    assert {one.feature.partition("/")[0] for one in some.found} == {"L3.mlp"}
