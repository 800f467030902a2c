"""Concepts: every part with a dictionary split into features, and all rows sum to the number."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.opening.dictionaries.concepts import UNSAID
from attrib_widgets.saes.sae import SAE
from attrib_widgets.words.places import Place, place
from fixtures import families

ALL = families.FAMILIES + families.VARIANTS + families.JOINED + families.BLIND


def random_sae(site: str, width: int, features: int = 40, seed: int = 0, **changes) -> SAE:
    torch.manual_seed(seed)
    given = {"architecture": "topk", "k": 5, **changes}
    return SAE(
        place(site) if "." in site else Place("post", int(site[1:])), w_enc=torch.randn(width, features),
        b_enc=torch.randn(features) * 0.1, w_dec=torch.randn(features, width) * 0.3, b_dec=torch.randn(width) * 0.1,
        **given,
    )  # fmt: skip


def dressed(model, layers=(0, 1)):
    """The dictionaries of the MLPs and heads of some layers, as far as the model splits so far."""
    found = {}
    for layer in layers:
        level = model.check.levels[layer]
        if level.heads and model.heads_of(layer):
            found[f"L{layer}.z"] = random_sae(f"L{layer}.z", model.out(layer).d_in, seed=layer)
        if level.sublayers:
            found[f"L{layer}.mlp"] = random_sae(f"L{layer}.mlp", model.d_model, seed=10 + layer)
    return found


@pytest.fixture
def with_saes():
    """Gives a model dictionaries, and takes them away again: others use the same model."""
    given = []

    def give(model, saes):
        given.append(model)
        model.saes.add(saes)
        return model

    yield give
    for model in given:
        model.saes.clear()


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_rows_sum_to_the_number(family_model, with_saes, name, dtype):
    model = family_model(name, families.DTYPES[dtype])
    if not (saes := dressed(model)):
        pytest.skip("this model is exact by whole layers only")
    with_saes(model, saes)
    run = model.run(families.PROMPT)
    for target in (aw.logit(" Paris"), aw.logit_diff(" Paris", " Rome")):
        a = aw.attribute(run, target)
        c = a.concepts()
        size = 1 + float(c.values.abs().sum())
        assert c.parent_value == a.actual
        # what the attribution itself misses of the number is not the split's
        assert abs(c.mismatch - a.mismatch) <= 1e-6 * size, f"{name} {dtype}: {c.total} for {a.total}"
        assert set(c.used.values()) == set(saes) and c.labels[-1] == UNSAID and not c.unused


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", families.JOINED + families.BLIND)
def test_what_a_layer_adds_by_itself_is_a_constant_of_its_place(family_model, with_saes, name, dtype):
    """A join's constant is in the row of its sublayer, and in nothing that a dictionary of it reads."""
    model = family_model(name, families.DTYPES[dtype])
    places = [f"L2.{site}" for site in ("attn_out", "mlp")]
    with_saes(model, {site: random_sae(site, model.d_model) for site in places})
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    c = a.concepts()
    assert set(c.used.values()) == set(places)
    assert abs(c.mismatch - a.mismatch) <= 1e-6 * (1 + float(c.values.abs().sum()))
    u = a.reading.norm.pull(a.reading.direction) * a.reading.norm.scale(a.run.record.streams[-1][a.position])
    told = dict(zip(c.unsaid().labels, c.unsaid().values.tolist(), strict=True))
    for site, join, way in zip(places, model.joins()[2], ("attn", "mlp"), strict=True):
        constant = told.get(f"{site} constant of the layer")
        assert (constant is None) == (join.shift is None)
        if constant is not None:
            arriving = u * model.carried(2, model.n_layers, way)
            assert constant == pytest.approx(float(join.shift.double() @ arriving.double()), rel=1e-5, abs=1e-6)


def test_each_row_is_that_of_its_part(family_model, with_saes):
    """The twin: every head and every MLP opened alone, and the same feature added up over the heads of its layer."""
    model = with_saes(family_model("llama", torch.float32), dressed(family_model("llama", torch.float32)))
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    c, sums, unsaid = a.concepts(), {}, 0.0
    for part in a.components:
        if str(part) not in c.used:
            assert c[str(part)] == a[part]
            continue
        opened = a.features(part)
        for label, kind, value in zip(opened.labels, opened.kinds, opened.values.tolist(), strict=True):
            if kind == "feature":
                sums.setdefault(label, {})[str(part)] = value
            else:
                unsaid += value
    assert c.labels[: c.firing] == list(sums) and c.firing > 10
    for label, by_part in sums.items():
        assert c[label] == pytest.approx(math.fsum(by_part.values()), abs=1e-6)
        parts = c.parts(label)
        assert dict(zip(parts.labels, parts.values.tolist(), strict=True)) == pytest.approx(by_part, abs=1e-6)
        assert abs(parts.mismatch) < 1e-9 and abs(by_part[c.through(label)]) == pytest.approx(
            max(map(abs, by_part.values())), abs=1e-6
        )
    assert c[UNSAID] == pytest.approx(unsaid, abs=1e-5)
    opened = c.unsaid()
    assert opened.total == pytest.approx(c[UNSAID], abs=1e-9) and len(opened) == 2 * len(c.written)
    assert c.parts(UNSAID).labels == opened.labels and c.parts("embed").labels == ["embed"]
    frame = c.to_dataframe()
    assert frame["value"].sum() == pytest.approx(a.actual, abs=1e-5)
    assert frame["parts"][0].split(", ")[0] == c.through(0) and frame["parts"].iloc[-1] == ""


@pytest.mark.parametrize(
    "target",
    [
        aw.log_prob(" Paris"), aw.logit(" Paris").centered(),
        aw.neuron("L2N3", position=-1), aw.score("L2H1", query=-1, key=1),
    ],
)  # fmt: skip
def test_other_numbers_are_split_as_well(family_model, with_saes, target):
    model = with_saes(family_model("gpt2", torch.float32), dressed(family_model("gpt2", torch.float32)))
    a = aw.attribute(model.run(families.PROMPT), target)
    c = a.concepts()
    assert abs(c.mismatch - a.mismatch) <= 1e-6 * (1 + float(c.values.abs().sum()))
    assert c.unit == a.unit and c.firing


def test_a_feature_of_a_stream_is_split_by_the_features_before_it():
    model = aw.load("demo")
    run = model.run("The capital of France is")
    opened = aw.attribute(run, " Paris").features("L3")
    a = aw.attribute(run, opened.labels[int(opened.values[: opened.firing].abs().argmax())])
    c = a.concepts()
    assert c.parent_value == a.actual and abs(c.mismatch) <= 1e-6 * (1 + float(c.values.abs().sum()))
    assert set(c.used.values()) == {str(p) for p in model.saes if p.site in ("z", "mlp") and p.layer <= 3}
    constants = [str(part) for part in a.components if not part.writes]
    assert not any(f"{name}, which has no dictionary" in c.title for name in constants)


def test_what_is_taken_where_a_part_has_several(family_model, with_saes):
    """The heads' outputs before what the attention adds, the MLP's output before a transcoder; no stream writes."""
    model = family_model("gpt2", torch.float32)
    d = model.d_model
    skip = {"w_skip": torch.randn(d, d) * 0.1}
    transcoder = replace(random_sae("L1.mlp_in", d, subtract=False, writes=place("L1.mlp"), **skip))
    saes = {**dressed(model, [1]), "L1.attn_out": random_sae("L1.attn_out", d), "L1.mlp_in": transcoder}
    with_saes(model, {**saes, "L1": random_sae("L1", d)})
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    c = a.concepts()
    assert set(c.used.values()) == {"L1.z", "L1.mlp"}
    assert [said.split(" is not used")[0] for said in c.unused] == ["L1.attn_out", "L1.mlp_in"]
    assert all(said in c.note for said in c.unused)
    other = a.concepts(use=["L1.attn_out", "L1.mlp_in"])
    assert set(other.used.values()) == {"L1.attn_out", "L1.mlp_in"} and not other.unused
    assert "L1.attn.bias" in other.used and "L1.attn.bias" not in other.labels and "L1.attn.bias" in c.labels
    assert abs(other.mismatch) < 1e-5 and "skip" in other.unsaid().kinds
    whole = a.features("L1.attn_out")
    for label, value in zip(whole.labels, whole.values.tolist(), strict=True):
        if "/" in label and not label.endswith("error"):
            assert other[label] == pytest.approx(value, abs=1e-6) and other.parts(label).labels == ["L1.attn_out"]
    assert a.concepts("L1.attn_out").labels == a.concepts(["L1.attn_out"]).labels
    with pytest.raises(aw.ComponentError, match=r"no dictionary for L2\.mlp.*model\.saes\["):
        a.concepts(use=["L1.mlp", "L2.mlp"])
    for use in ("L1", ["L1.mlp", "L1.post"]):  # of a stream: nobody wrote what it splits
        with pytest.raises(aw.ComponentError, match=r"L1\.post splits no part.*a\.features\(\"L1\.post\"\)"):
            a.concepts(use)
    with pytest.raises(aw.ComponentError, match="No place is named"):
        a.concepts(use=[])


def test_a_dictionary_that_cannot_be_read_leaves_its_part_whole(family_model, with_saes, tmp_path):
    from attrib_widgets.saes.formats.saelens import write_sae

    model = with_saes(family_model("gpt2", torch.float32), dressed(family_model("gpt2", torch.float32), [1]))
    for name in ("one", "other"):  # which of the two is meant, nobody says
        write_sae(random_sae("L0.mlp", model.d_model), tmp_path / name)
    model.saes.add(tmp_path)
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    c = a.concepts()
    assert c["L0.mlp"] == a["L0.mlp"] and c.unused[0].startswith(
        "L0.mlp cannot be used: Several folders are for L0.mlp"
    )


def test_without_dictionaries_it_says_how_to_give_one(family_model):
    a = aw.attribute(family_model("gpt2", torch.float32).run(families.PROMPT), " Paris")
    with pytest.raises(aw.ComponentError, match=r"read_sae"):
        a.concepts()


def test_a_dictionary_encodes_a_position_once_a_run(family_model, with_saes, monkeypatch):
    """Whatever is asked: all concepts, of two targets, then one head after the other."""
    model = with_saes(family_model("gpt2", torch.float32), dressed(family_model("gpt2", torch.float32)))
    run, encoded, encode = model.run(families.PROMPT), [], SAE.encode
    monkeypatch.setattr(SAE, "encode", lambda self, x: (encoded.append(x.shape[:-1].numel()), encode(self, x))[1])
    a = aw.attribute(run, " Paris")
    a.concepts()
    aw.attribute(run, " Rome").concepts()
    assert encoded == [1] * len(model.saes)
    model.saes["L1.mlp"] = random_sae("L1.mlp", model.d_model, seed=5)
    a.concepts()
    assert encoded == [1] * (len(model.saes) + 1), "another dictionary is read anew"


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_activations_are_those_of_the_dictionary(family_model, with_saes, norm):
    """As a.features has them: what a norm divides by is in the rows alone."""
    model = family_model("gpt2", torch.float32)
    with_saes(model, {"L1.mlp": random_sae("L1.mlp", model.d_model, norm=norm)})
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    c, alone = a.concepts(), a.features("L1.mlp")
    assert c.activations[: c.firing].tolist() == alone.activations[: alone.firing].tolist() and c.firing == alone.firing
    assert c.values[: c.firing].tolist() == pytest.approx(alone.values[: alone.firing].tolist(), rel=1e-6)


def test_names_open_rows(family_model, with_saes):
    model = with_saes(family_model("gpt2", torch.float32), dressed(family_model("gpt2", torch.float32)))
    c = aw.attribute(model.run(families.PROMPT), " Paris").concepts()
    name = next(label for label in c.labels if label.startswith("L1.z/"))
    number = name.partition("/")[2]
    assert c.row(name) == c.row(f"L1.attn/{number}") == c.row(f"L1H2/{number}") == c.row(aw.component(name))
    assert c.card(name).feature == aw.component(name) and c.card(name).through == c.through(name)
    silent = next(i for i in range(40) if f"L1.z/{i}" not in c.labels)
    for wrong in (f"L1.z/{silent}", "L9.mlp/1", "nothing"):
        with pytest.raises(aw.ComponentError):
            c.row(wrong)
    for wrong in (len(c.labels), -len(c.labels) - 1, True):
        with pytest.raises(aw.ComponentError, match="row"):
            c.row(wrong)
    assert c.row(-1) == len(c.labels) - 1
    for wrong in (2, "0.7", True):
        with pytest.raises(aw.ComponentError, match="is no cosine"):
            c.like(name, cosine=wrong)
    for nothing in ("embed", UNSAID):
        with pytest.raises(aw.ComponentError, match="is no feature"):
            c.card(nothing)


def test_the_title_names_what_outweighs_the_leader():
    """The leader, unless a part without a dictionary or what no feature says is more."""
    model = aw.load("demo")
    kept, seen = dict(model.saes), set()
    a = aw.attribute(model.run("The capital of France is"), " Paris")
    weak = {site: replace(sae, w_dec=sae.w_dec * 0.1, metadata={}) for site, sae in kept.items()}
    for given in (kept, weak, {site: sae for site, sae in kept.items() if site.site == "mlp" and site.layer == 0}):
        model.saes.clear()
        model.saes.add(given)
        c = a.concepts()
        features, whole, unsaid = (
            c.values[: c.firing].abs().max(),
            c.values[c.firing : -1].abs().max(),
            abs(c.values[-1]),
        )
        leads = features > max(whole, unsaid)
        assert ("leads" in c.title) is bool(leads) and ("outweighs" in c.title) is not bool(leads)
        assert ("no feature says" in c.title) is bool(unsaid >= max(whole, features))
        assert c.called(int(c.values[: c.firing].abs().argmax())) in c.title
        seen.add(c.title.split(",")[0] if not leads else "leads")
    assert len(seen) == 3


def test_a_concept_is_found_in_other_layers_by_label_or_by_direction():
    model = aw.load("demo")
    c = aw.attribute(model.run("The capital of France is"), " Paris").concepts()
    best = max((r for r in range(c.firing) if "about France" in c.concepts[r]), key=lambda r: abs(float(c.values[r])))
    label = c.concepts[best]
    found = list(map(str, c.like(label)))
    wanted = [r for r in range(c.firing) if c.concepts[r] == label]
    assert set(found) == {c.labels[r] for r in wanted} and found[0] == c.labels[best]
    assert list(map(str, c.like(c.labels[best]))) == found
    assert [abs(c[name]) for name in found] == sorted((abs(c[name]) for name in found), reverse=True)
    # by direction: what a feature adds to the stream is what its own row adds to every logit
    near = list(map(str, c.like(c.labels[best], cosine=0.5)))
    one = _added(model, c, c.labels[best])
    for row in range(c.firing):
        close = float(torch.cosine_similarity(one, _added(model, c, c.labels[row]), dim=0))
        assert (c.labels[row] in near) is (close >= 0.5) or abs(close - 0.5) < 1e-5


def _added(model, c, name):
    """What a feature adds to the stream, by hand: its row, for heads through W_O."""
    site, _, number = name.partition("/")
    at, sae = place(site), model.saes[site]
    row = sae.w_dec[int(number)] * float(c.activations[c.row(name)])
    if at.site == "z":
        row = sum(
            row[h * d : (h + 1) * d] @ model.out_weight(at.layer)[0][h * d : (h + 1) * d]
            for d in [model.geometry[at.layer].d_head]
            for h in range(model.n_heads)
        )
    return row
