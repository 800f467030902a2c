"""Features in the Explorer: what travels, what a click selects, and what is said where there is no dictionary."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from weakref import WeakKeyDictionary

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.saes.cards import Card
from attrib_widgets.saes.formats.saelens import write_sae
from attrib_widgets.widgets import explore
from attrib_widgets.widgets.shapes import budget, results
from attrib_widgets.widgets.shapes import opened as shapes
from attrib_widgets.widgets.transport import wire
from fixtures import families
from fixtures.dictionaries import identity
from fixtures.levels import coarser
from fixtures.screens import filled

MIXTURES = ("mixtral", "qwen2_moe")


def leading(a, kind):
    """The largest row of a kind."""
    return str(a.top(1, kind=kind)[0][0])


@pytest.fixture
def opened(dictionaries, demo):
    """An Explorer on a model with dictionaries."""
    explorer = explore(demo)
    yield explorer
    explorer.close()


def summed(data):
    return sum(data["values"]) + data["rest"] + data["bias"] + data["error"]


def ask(talk, op, **args):
    id = talk.fresh(op)
    talk.say(id, op, **args)
    return talk.last(id)


@pytest.mark.parametrize("kind", ["mlp", "head"])
def test_the_features_of_a_row_sum_to_its_bar(opened, browser, kind):
    a = opened.attribution
    row = leading(a, kind)
    data = ask(browser(opened), "features", id=row)["data"]
    found = a.features(row)
    assert data == wire.plain(shapes.features(found))
    assert summed(data) == pytest.approx(a[row], abs=1e-6 * (1 + float(found.values.abs().sum())))
    sizes = [abs(v) for v in data["values"]]
    assert len(sizes) == 6 and sizes == sorted(sizes, reverse=True)
    for number, value, activation in zip(data["numbers"], data["values"], data["activations"], strict=True):
        assert value == pytest.approx(found[f"{found.site}/{number}"])
        assert activation == pytest.approx(float(found.activations[found.numbers.index(number)]), rel=1e-3)


def test_the_page_shows_the_table_of_python(opened, browser):
    """Every row that is a vector, asked or embedded in a page; the others have none."""
    a, talk = opened.attribution, browser(opened)
    header, _ = budget.whole(opened._now)
    largest = sorted((c for c in a.components if c.is_vector), key=lambda c: -abs(a[c]))[: budget.WORKED]
    assert list(header["worked"]) == [str(c) for c in largest]
    for part in largest:
        wanted = wire.plain(results.printed(a.worked(part).summary()))
        assert wire.plain(header["worked"][str(part)]) == wanted
    assert ask(talk, "worked", id=str(largest[0]))["data"] == wire.plain(header["worked"][str(largest[0])])
    assert ask(talk, "worked", id="rounding")["kind"] == "error"


def test_more_features_than_are_drawn_are_summed(opened, monkeypatch):
    monkeypatch.setattr(shapes, "FEATURES", 2)
    row = leading(opened.attribution, "mlp")
    data = shapes.features(opened.attribution.features(row))
    assert len(data["numbers"]) == 2 and data["rest_count"] == 4 and data["rest"]
    assert summed(data) == pytest.approx(opened.attribution[row], abs=1e-5)


def test_a_card_travels_around_its_firings(opened, browser):
    a = opened.attribution
    row = leading(a, "head")
    number = a.features(row).numbers[0]
    data = ask(browser(opened), "feature", id=f"{row}/{number}")["data"]
    card = a.features(row).card(number)
    assert data["label"] == card.label and data["here"] == pytest.approx(card.here, rel=1e-3)
    assert data["here"][a.position] > 0 and len(data["here"]) == opened.run.n_positions
    assert [token for token, _ in data["up"]] == [token for token, _, _ in card.promoted]
    for shown, firing in zip(data["contexts"], card.contexts, strict=True):
        first = max(0, firing.position - shapes.BEFORE)
        assert shown["tokens"] == firing.tokens[first : firing.position + shapes.BEHIND + 1]
        assert shown["values"][firing.position - first] == pytest.approx(firing.activations[firing.position], rel=1e-3)
        assert shown["cut"] == [first > 0, firing.position + shapes.BEHIND + 1 < len(firing.tokens)]


@pytest.mark.parametrize("stored", [True, False])
def test_contexts_read_together_fire_as_each_alone(opened, monkeypatch, stored):
    """The twin of the card, from what is stored or from its one forward pass: every context by itself."""
    from attrib_widgets.model.tracing.hooks import collect

    site = leading(opened.attribution, "mlp")
    sae, cards, text, *_ = opened.model.saes.opened(site)
    if not stored:
        cards = replace(cards, weaker=None, firings=WeakKeyDictionary())
        monkeypatch.setattr(opened.model.saes._find(site), "cards", cards)
    number = int(cards.density.argmax())
    card = opened.attribution.features(site).card(number)
    assert len(card.contexts) > 1 and (stored or len({len(c.tokens) for c in card.contexts}) > 1)
    for rank, firing in enumerate(card.contexts):
        ids = opened.model.encode(text(int(cards.contexts[number, rank])))
        ids = ids[:40] if stored else ids  # the cards of chance are of the first 40 tokens of each text
        alone = sae.encode(collect(opened.model, torch.tensor([ids]), [sae.site])[sae.site][0])
        assert firing.tokens == [opened.model.token(i) for i in ids]
        rounding = max(firing.activations) / 400 if stored else 1e-4
        assert firing.activations[1:] == pytest.approx(alone[1:, number].tolist(), abs=rounding)


def test_a_feature_can_be_selected(opened):
    a = opened.attribution
    mlp, head = leading(a, "mlp"), leading(a, "head")
    for row, site in ((mlp, mlp), (head, head.partition("H")[0] + ".z")):
        number = a.features(row).numbers[0]
        opened.selected = f"{row}/{number}"
        card = opened.selected_result()
        assert isinstance(card, Card) and str(card.feature) == f"{site}/{number}"
    opened.ask("The capital of Japan is")
    assert opened.selected == f"{head}/{number}", "the same feature on another prompt"
    assert opened.selected_result().tokens == opened.run.tokens
    opened.ask("The capital of France is", aw.neuron("L0N3", position=-1))
    assert opened.selected == "", "no row of what is explained now"


@pytest.mark.parametrize(
    ("label", "hint"),
    [
        ("L1.attn/3", "L1H0/3"),
        ("L1.mlp/40", "0 to 39"),
        ("embed/3", r"no dictionary for L0\.pre"),
        ("L99H0/1", "see .labels"),
    ],
)
def test_what_is_no_feature_of_a_row_is_refused(opened, label, hint):
    with pytest.raises(aw.ComponentError, match=hint):
        opened.selected = label
    assert opened.selected == ""


def test_requests_that_name_no_feature_are_answered(opened, browser):
    for op, id in (("features", "embed"), ("features", "L1.mlp/2"), ("feature", "L1.mlp"), ("feature", "L1.mlp/40")):
        last = ask(browser(opened), op, id=id)
        assert last["kind"] == "error" and last["hint"] and "Error:" not in last["message"], (op, id, last)


def test_a_page_brings_the_cards_of_the_leading_rows(opened):
    a = opened.attribution
    live, _ = filled(opened)
    assert len(live["features"]) == budget.LEADING and "cards" not in live
    header, _ = wire.unpack(opened.page_traits()["container"])
    rows = [str(c) for c in a.components if c.kind in ("head", "mlp")]
    assert sorted(header["features"]) == sorted(rows)
    for row in (leading(a, "mlp"), leading(a, "head")):
        part = header["features"][row]
        for number in part["numbers"][: budget.CARDS]:
            card = header["cards"][f"{row}/{number}"]
            assert card == wire.plain(shapes.card(a.features(row).card(number)))
    assert len(json.dumps(header["cards"])) < 200_000


def test_without_dictionaries_the_reason_travels(family_model, browser):
    explorer = explore(family_model("gpt2"), families.PROMPT, " Paris")
    header, _ = filled(explorer)
    assert "features" not in header and "without dictionaries" in header["absent"]["features"]
    assert "read_sae" in header["absent"]["features"]
    last = ask(browser(explorer), "features", id="L1.mlp")
    assert last["kind"] == "error" and "read_sae" in last["hint"]
    with pytest.raises(aw.ComponentError, match="no dictionary"):
        explorer.selected = "L1.mlp/3"
    explorer.close()


def chance(site, width):
    torch.manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(30, width), dim=1)
    return aw.SAE(site, "topk", rows.T.contiguous(), torch.zeros(30), rows, torch.zeros(width), k=5)


def test_own_dictionaries_are_opened_like_those_that_a_model_came_with(browser, tmp_path):
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    own = chance("L1.mlp", model.d_model)
    explorer = explore(model, families.PROMPT, " Paris", saes=own)
    header, _ = filled(explorer)
    assert list(header["features"]) == ["L1.mlp"] and "no dictionary for L0.mlp" in header["absent"]["features L0.mlp"]
    assert summed(header["features"]["L1.mlp"]) == pytest.approx(explorer.attribution["L1.mlp"], abs=1e-5)
    explorer.selected = "m1/12"
    assert explorer.selected == "L1.mlp/12"
    data = ask(browser(explorer), "feature", id="L1.mlp/12")["data"]
    assert data["contexts"] == [] and "model.saes.contexts" in data["missing"]
    assert 'model.saes["L1.mlp"] = sae' in header["python"]["setup"]
    # Given later, and with texts: what is on the screen follows.
    write_sae(chance("L0.z", model.d_model), tmp_path / "z")
    model.saes["L0.attn"] = tmp_path / "z"
    later, _ = filled(explorer)
    assert later["version"] > header["version"] and explorer.selected == "L1.mlp/12"
    heads = [row for row in later["features"] if row != "L1.mlp"]
    assert "L1.mlp" in later["features"] and heads and all(row.startswith("L0H") for row in heads)
    assert f'model.saes["L0.z"] = "{tmp_path / "z"}"' in later["python"]["setup"]
    model.saes.contexts = ["The capital of Italy is Rome", "Mary gave the bag to John"]
    card = explorer.attribution.features("L1.mlp").card()
    data = ask(browser(explorer), "feature", id=str(card.feature))["data"]
    assert len(data["contexts"]) == len(card.contexts) and ("missing" in data) is not bool(card.contexts)
    page, _ = wire.unpack(explorer.page_traits()["container"])
    assert any(one["contexts"] for one in page["cards"].values())
    explorer.selected = "L0H1/3"
    del model.saes["L0.z"]
    assert explorer.selected == "L0H1" and list(filled(explorer)[0]["features"]) == ["L1.mlp"]
    explorer.close()


@pytest.mark.parametrize("granularity", ["heads", "sublayers"])
def test_an_old_answer_of_a_changed_model_stays_as_it_is(granularity):
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    if granularity != "heads":
        coarser(model, granularity)
    old = explore(model, families.PROMPT, " Paris")
    before = old.container
    with torch.no_grad():
        weight = model.hf.get_parameter("transformer.h.1.mlp.c_proj.weight")
        weight.mul_(1.5)
    new = explore(model, families.PROMPT, " Paris", saes=chance("L1.mlp", model.d_model))
    assert old.container == before, "its numbers belong to the model that it showed"
    assert list(filled(new)[0]["features"]) == ["L1.mlp"]
    model.saes["L2.mlp"] = chance("L2.mlp", model.d_model)
    header, _ = filled(new)
    assert set(header["features"]) == {"L1.mlp", "L2.mlp"} and header["version"] == 2
    drawn = new.container, new.screen, new.rest
    old.ask(target=" Rome")
    assert filled(old)[0]["version"] == 2, "a version that was not shown is not counted"
    new.close()
    del model.saes["L2.mlp"]
    assert (new.container, new.screen, new.rest) == drawn, "nobody draws what is closed"
    assert filled(old)[0]["version"] == 3, "what is open is drawn again"
    old.close()


def test_a_result_alone_shows_its_labels(opened):
    found = opened.attribution.features(leading(opened.attribution, "mlp"))
    view = found.view()
    header, arrays = wire.unpack(view.container)
    assert view.kind == "bars" and [row["concept"] for row in header["rows"]] == found.concepts
    assert [row["label"] for row in header["rows"]] == found.labels and any(found.concepts)
    assert float(arrays["values"].sum()) == pytest.approx(header["parent_value"], abs=1e-4)


def test_a_card_alone(opened):
    row = leading(opened.attribution, "mlp")
    found = opened.attribution.features(row)
    card = found.card(found.numbers[0])
    header, _ = wire.unpack(card.view().container)
    assert header["kind"] == "card" and header["name"] == found.labels[0] and header["tokens"] == card.tokens
    assert {key: header[key] for key in ("label", "here", "up")} == {
        key: wire.plain(shapes.card(card))[key] for key in ("label", "here", "up")
    }


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_opens_into_experts(family_model, browser, name):
    model = family_model(name)
    explorer = explore(model, families.PROMPT, " Paris")
    a = explorer.attribution
    header, _ = filled(explorer)
    mixtures = [r["id"] for r in header["rows"] if r.get("mixture")]
    assert mixtures == [f"L{layer}.mlp" for layer in range(model.n_layers) if model.has_experts(layer)] != []
    row = mixtures[-1]
    expected = a.experts(row)
    part = header["neurons"][row]
    assert part == ask(browser(explorer), "neurons", id=row)["data"]
    assert {label for label in part["labels"] if "/E" in label} == {s for s in expected.labels if "/E" in s}
    weights = dict(zip(expected.labels, expected.weights.tolist(), strict=True))
    for label, weight in zip(part["labels"], part["weights"], strict=True):
        assert (
            weight == pytest.approx(weights[label]) if "/E" in label else weight is None and math.isnan(weights[label])
        )
    parts = sum(part["values"]) + part["rest"] + part["bias"] + (part["rounding"] or 0)
    assert parts == pytest.approx(a[row], abs=1e-5)
    explorer.selected = row
    assert explorer.selected_result().labels == expected.labels
    explorer.close()


def test_layers_of_either_kind_stand_side_by_side(family_model, monkeypatch):
    """A model with plain and mixed layers shows both; a mixture that cannot be opened says so beside its own row."""
    from attrib_widgets.analysis.attribution.attribution import Attribution

    model = family_model("deepseek_v2")
    kinds = {model.has_experts(layer) for layer in range(model.n_layers)}
    assert kinds == {True, False}

    def refuse(self, layer):
        raise aw.GranularityError("no router here", "look elsewhere")

    explorer = explore(model, families.PROMPT, " Paris")
    header, _ = filled(explorer)
    assert len(header["neurons"]) == model.n_layers
    monkeypatch.setattr(Attribution, "experts", refuse)
    again = explore(model, families.PROMPT, " Paris")
    header, _ = filled(again)
    mixed = [f"L{layer}.mlp" for layer in range(model.n_layers) if model.has_experts(layer)]
    assert all("no router here" in header["absent"][f"neurons {row}"] for row in mixed)
    assert len(header["neurons"]) == model.n_layers - len(mixed) > 0
    explorer.close()
    again.close()


def test_what_a_transcoder_passes_on_without_a_feature_travels(browser):
    """The MLP's row in the Explorer is opened by its transcoder: features, others, bias, skip connection and error."""
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    torch.manual_seed(0)
    d = model.d_model
    w = [torch.randn(d, 30), torch.randn(30), torch.randn(30, d), torch.randn(d)]
    sae = aw.SAE("L1.mlp_in", "standard", *w, subtract=False, writes="L1.mlp", w_skip=torch.randn(d, d))
    model.saes.add(sae)
    explorer = explore(model, families.PROMPT, " Paris")
    try:
        data = ask(browser(explorer), "features", id="L1.mlp")["data"]
        assert data["site"] == "L1.mlp_in" and [name for name, _ in data["more"]] == ["skip connection"]
        found = explorer.attribution.features("L1.mlp")
        everything = summed(data) + data["more"][0][1]
        assert everything == pytest.approx(
            explorer.attribution["L1.mlp"], abs=1e-6 * (1 + float(found.values.abs().sum()))
        )
        card = ask(browser(explorer), "feature", id=f"L1.mlp/{data['numbers'][0]}")["data"]
        assert len(card["here"]) == explorer.run.n_positions
    finally:
        explorer.close()


@pytest.mark.parametrize("kind", ["mlp", "head"])
def test_a_feature_is_tested_and_turned_from_its_card(opened, browser, kind):
    a, talk = opened.attribution, browser(opened)
    found = a.features(leading(a, kind))
    name = f"{found.site}/{found.numbers[0]}"
    assert ask(talk, "verify", components=[name])["kind"] == "result"
    (finding,) = (f for f in opened.tested["findings"] if f["id"] == name)
    expected = aw.verify(a, opened.corrupted, components=[name], top=0, against=())[name]
    assert finding["damage"] == pytest.approx(expected.necessity) and finding["word"]
    for strength, how in ((2, {"method": "scale", "strength": 2}), (None, {})):
        more = {} if strength is None else {"strength": strength}
        told = ask(talk, "ablate", id=name, **more)["data"]
        alone = aw.ablate(a.model, a.run, a.target, components=[name], **how)
        assert told["told"] == f"{alone.title()}; the model then says {alone.answer_of(name)}"
    assert ask(talk, "ablate", id=name, strength="x")["kind"] == "error"
    assert ask(talk, "verify", components=[f"{found.site}/99999"])["kind"] == "error"


@pytest.mark.parametrize("kind", ["mlp", "head", "stream"])
def test_a_feature_becomes_the_question(opened, browser, kind):
    if kind == "stream":
        opened.model.saes["L2"] = identity(opened.model.d_model, "L2")
    a, talk = opened.attribution, browser(opened)
    found = a.features("L2" if kind == "stream" else leading(a, kind))
    name = f"{found.site}/{found.numbers[0]}"
    fields = ("prompt", "target", "against", "position", "corrupted", "restore")
    assert ask(talk, "explain", **dict.fromkeys(fields), neuron=name)["kind"] == "result"
    header = filled(opened)[0]
    assert (header["target"]["kind"], header["target"]["text"]) == ("feature", name)
    expected = aw.attribute(a.run, aw.feature(name, position=a.position))
    assert opened.attribution.actual == expected.actual and header["exact"]
    assert opened.attribution.total == pytest.approx(expected.total, abs=1e-5)
    assert header["test"]["never"].startswith("A number inside the model")
    row = str(opened.attribution.top(1, kind="head" if kind == "head" else "mlp")[0][0])
    if kind == "mlp":  # one row, which opens into the neurons
        neurons = ask(talk, "neurons", id=row)
        assert neurons["kind"] == "result" and len(opened.attribution.components) < 6
    if kind == "head":
        last = ask(talk, "through", id=row, source=4)
        assert last["kind"] == "result"
        assert ask(talk, "why", id=row, key=4, query=None)["kind"] == "error"
    if kind == "stream":
        assert ask(talk, "neurons", id=row)["kind"] == "result"
    assert ask(talk, "totals")["kind"] == "result"


def test_a_feature_is_asked_by_its_name(opened):
    a = opened.attribution
    name = str(a.features(leading(a, "mlp")).labels[0])
    expected = aw.attribute(a.run, name, position=3).actual
    assert opened.ask(target=name, position=3).actual == expected
    assert explore(opened.model, a.run, name, position=3).attribution.actual == expected
    assert aw.attribute(a.run, aw.component(name), position=3).actual == expected
    with pytest.raises(aw.AttribError):
        opened.ask(target=name, against=" Berlin")
