"""A concept taken out of all layers that have it, beside random features of equal activation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import attrib_widgets as aw

COUNTRIES = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo",
    "Greece": "Athens", "Russia": "Moscow", "Austria": "Vienna", "Poland": "Warsaw", "Portugal": "Lisbon",
    "Turkey": "Ankara",
}  # fmt: skip


@pytest.fixture(scope="module")
def asked():
    """Twelve countries: each one's capital over the next one's."""
    model, capitals = aw.load("demo"), list(COUNTRIES.values())
    rivals = [*capitals[1:], capitals[0]]
    runs = [model.run(f"The capital of {country} is") for country in COUNTRIES]
    return [
        aw.attribute(run, aw.logit_diff(f" {capital}", f" {rival}"))
        for run, capital, rival in zip(runs, capitals, rivals, strict=True)
    ]


def test_a_country_matters_more_than_random_features_over_twelve_countries(asked):
    """\u201cabout France\u201d in all layers that have it carries Paris over Berlin, and the model uses it for that."""
    found = aw.ablate_concept(asked, [f"about {country}" for country in COUNTRIES])
    assert found.random.shape == (12, 10) and len(found.base) == 12
    low, high = found.interval
    assert 0 < low < found.difference < high and found.verdict == "more than random"
    assert float(found.values.mean()) > float(found.falls.mean())
    # beside chance on every prompt: the mean of its ten random sets
    assert bool((found.values > found.falls).all())
    assert "more than random" in found.title() and "95 % interval, n = 12" in str(found)
    for a, country, features in zip(asked, COUNTRIES, found.features, strict=True):
        labels = [a.concepts().concepts[a.concepts().row(f)] for f in features]
        assert labels and all(f"about {country}" in label.split(", ") for label in labels)
    verdict = aw.verify(asked[0], "The capital of Germany is", components=found.features[0], top=0)
    assert all(verdict[f].necessity > 0 for f in found.features[0])


def test_numbers_are_those_of_one_ablation_each(asked):
    """The twin: the concept at zero, and each random feature alone, held at the activation of the one it stands for."""
    a = asked[0]
    name = str(a.concepts().like("about France")[0])
    one = aw.ablate_concept(a, name, cosine=0.999, draws=3)
    ((feature,),) = one.features
    site = feature.site
    ablation = {"positions": [a.position]}
    alone = aw.ablate(a.model, a.run, a.target, components=[feature], **ablation)
    assert float(one.values[0]) == pytest.approx(-float(alone.values[0]), abs=1e-4)
    assert float(one.base[0]) == pytest.approx(a.actual, abs=1e-4)
    c = a.concepts()
    silent = [f"{site}/{i}" for i in range(a.model.saes[site].n_features) if f"{site}/{i}" not in c.labels]
    strength = float(c.activations[c.row(feature)])
    draw = torch.Generator().manual_seed(0)
    picked = [silent[int(torch.randint(len(silent), (), generator=draw))] for _ in range(3)]
    held = aw.ablate(a.model, a.run, a.target, components=picked, method="clamp", strength=strength, **ablation)
    assert one.random[0].tolist() == pytest.approx(held.ablated[0, 0].tolist(), abs=1e-4)
    again = aw.ablate_concept(a, name, cosine=0.999, draws=3)
    assert torch.equal(again.random, one.random)
    assert not torch.equal(aw.ablate_concept(a, name, cosine=0.999, draws=3, seed=1).random, one.random)


def test_one_prompt_has_no_interval_and_is_told_by_all_its_sets(asked):
    found = aw.ablate_concept(asked[0], "about France")
    every = found.base[:, None] - found.random
    more, less = bool((found.values[:, None] > every).all()), bool((found.values[:, None] < every).all())
    assert found.interval is None and "interval" not in str(found)
    assert found.verdict == ("more than random" if more else "less than random" if less else "not told from random")
    far = replace(found, random=found.base[:, None].expand(-1, 4))
    assert far.verdict == "more than random"
    assert replace(found, without=found.base, random=found.base[:, None] - 1).verdict == "less than random"
    frame = found.to_dataframe()
    assert frame["fall"][0] == pytest.approx(float(found.base[0] - found.without[0]))


def test_what_cannot_be_taken_out_is_refused(asked):
    a = asked[0]
    with pytest.raises(aw.ComponentError, match="No row is called about nothing"):
        aw.ablate_concept(a, "about nothing")
    with pytest.raises(aw.AttribError, match="2 concepts for 1 prompt"):
        aw.ablate_concept(a, ["about France", "about Italy"])
    with pytest.raises(aw.AttribError, match="one unit"):
        aw.ablate_concept([a, aw.attribute(a.run, aw.log_prob(" Paris"))], "about France")
    with pytest.raises(aw.AttribError, match="at least one draw"):
        aw.ablate_concept(a, "about France", draws=0)
