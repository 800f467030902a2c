"""A concept taken out of all layers that have it, beside random features of equal activation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.saes.reading import activations

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
    assert frame["change"][0] == pytest.approx(float(found.without[0] - found.base[0]))


def test_what_cannot_be_taken_out_is_refused(asked):
    a = asked[0]
    with pytest.raises(aw.ComponentError, match="No row is called about nothing"):
        aw.ablate_concept(a, "about nothing")
    with pytest.raises(aw.AttribError, match="2 concepts for 1 prompt"):
        aw.ablate_concept(a, ["about France", "about Italy"])
    with pytest.raises(aw.AttribError, match="one unit"):
        aw.ablate_concept([a, aw.attribute(a.run, aw.log_prob(" Paris"))], "about France")
    for draws in (0, 1.5, "3"):
        with pytest.raises(aw.AttribError, match="at least one draw"):
            aw.ablate_concept(a, "about France", draws=draws)


@pytest.mark.parametrize("more", [{}, {"norm": "layer_norm"}, {"norm": "rms_norm"}], ids=str)
def test_each_random_set_is_held_at_its_own_strengths(family_model, more):
    """Of 12 features 3 are random ones again and again: every set has each once, at the strength that it stands for."""
    model, n = family_model("gpt2"), 12
    generator = torch.Generator().manual_seed(3)
    d = model.d_model
    w_enc, w_dec = (torch.randn(*shape, generator=generator) for shape in ((d, n), (n, d)))
    b_enc = torch.tensor([40.0] * 2 + [-60.0] * (n - 2))
    sae = aw.SAE("L1.mlp", "standard", w_enc, b_enc, w_dec, torch.zeros(d), **more)
    model.saes["L1.mlp"] = sae
    a = aw.attribute(model.run("The capital of France is"), 5)
    c = a.concepts()
    own = [c.labels[i] for i in range(c.firing)]
    assert own == ["L1.mlp/0", "L1.mlp/1"] and c.activations[0] != c.activations[1]
    found = aw.ablate_concept(a, own[0], cosine=-1, draws=6)
    order = [str(f) for f in found.features[0]]
    assert sorted(order) == own
    x = activations(model, a.run.record, sae).x
    active = sae.encode(x)[a.position]
    unit, draw = float(sae.undone_by(x)[a.position]), torch.Generator().manual_seed(0)
    for value in found.random[0].tolist():
        left, change = list(range(2, n)), torch.zeros(d)
        for name in order:
            picked = left.pop(int(torch.randint(len(left), (), generator=draw)))
            change = change + active[int(name.rpartition("/")[2])] * w_dec[picked]

        def hook(_, __, out, change=change * unit):
            moved = out.clone()
            moved[0, -1] += change
            return moved

        handle = model.layer(1).mlp.register_forward_hook(hook)
        with torch.no_grad():
            logits = model.hf(torch.tensor([a.run.ids]), use_cache=False).logits
        handle.remove()
        assert value == pytest.approx(float(logits[0, -1, 5]), abs=1e-4)
    model.saes.clear()


def test_a_cancelled_ablation_says_so(asked):
    class Stopping:
        cancelled = False

        def progress(self, *_):
            pass

    job = Stopping()
    original = type(asked[0]).concepts
    seen = []

    def concepts(self, *args, **named):
        seen.append(self)
        job.cancelled = len(seen) > 2
        return original(self, *args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(asked[0]), "concepts", concepts)
        found = aw.ablate_concept(asked[:4], [f"about {c}" for c in list(COUNTRIES)[:4]], draws=1, job=job)
    assert len(found.base) == 2 and "cancelled after 2 of 4 prompts" in str(found)


def test_what_is_given_is_told_by_name_and_what_is_none_refused(asked):
    a = asked[0]
    concepts = a.concepts()
    row = int(concepts.values[: concepts.firing].abs().argmax())
    found = aw.ablate_concept(a, row, draws=2)
    assert f"\u201c{concepts.concepts[row]}\u201d" in found.title() and concepts.labels[row] in repr(found)
    assert f"\u201c{row}\u201d" not in found.title()
    with pytest.raises(aw.AttribError, match="A Run is no attribution"):
        aw.ablate_concept(a.run, concepts.labels[row])
    for seed in ("x", 1.5, None, True):
        with pytest.raises(aw.AttribError, match="is no whole number"):
            aw.ablate_concept(a, concepts.labels[row], seed=seed)
    inside = aw.attribute(a.run, "L3.mlp/251")
    for asking in (lambda: inside.concepts(), lambda: aw.ablate_concept(inside, "L2.mlp/3")):
        with pytest.raises(aw.TargetError, match="read inside a sublayer"):
            asking()


def test_a_feature_that_writes_nothing_is_like_itself():
    """Its direction is none, and no cosine is 1."""
    model = aw.load("demo")
    run = model.run("The capital of France is")
    sae = model.saes["L3.mlp"]
    model.saes["L3.mlp"] = replace(sae, w_dec=torch.zeros_like(sae.w_dec), metadata={})
    a = aw.attribute(run, " Paris")
    name = a.concepts("L3.mlp").labels[0]
    assert list(map(str, a.concepts("L3.mlp").like(name, cosine=0.9))) == [name]
    assert "not told from random" in repr(aw.ablate_concept(a, name, cosine=0.9, draws=2))
