"""Opening a row with a dictionary: the features, the decoder's bias and the error sum to the bar."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.opening.heads import stream_direction
from attrib_widgets.saes.cards import written_logits
from attrib_widgets.saes.formats.saelens import write_sae
from attrib_widgets.saes.sae import SAE
from attrib_widgets.widgets.shapes import results
from attrib_widgets.widgets.transport import wire
from attrib_widgets.words.components import component
from attrib_widgets.words.text import read_number, share, signed
from fixtures import families
from fixtures.made import Made

ALL = families.FAMILIES + families.VARIANTS + families.JOINED + families.BLIND


def random_sae(site: str, width: int, features: int = 50, seed: int = 0) -> SAE:
    """A dictionary that knows nothing: its error row has to make up for everything."""
    torch.manual_seed(seed)
    return SAE(
        component(site), "topk", torch.randn(width, features), torch.randn(features) * 0.1,
        torch.randn(features, width), torch.randn(width) * 0.3, k=6,
    )  # fmt: skip


def identity(site: str, width: int) -> SAE:
    """Every number and its negative is a feature."""
    both = torch.cat([torch.eye(width), -torch.eye(width)])
    return SAE(component(site), "standard", both.T.contiguous(), torch.zeros(2 * width), both, torch.zeros(width))


def widths(model) -> dict[str, int]:
    return {"L1": model.d_model, "L1.mlp": model.d_model, "L1.attn": model.n_heads * model.geometry[0].d_head}


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_rows_sum_to_the_bar(family_model, name, dtype):
    model = family_model(name, families.DTYPES[dtype])
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    for row, site in (("L1.mlp", "L1.mlp"), ("L1H2", "L1.attn"), ("L1H0", "L1.attn")):
        for sae in (random_sae(site, widths(model)[site]), identity(site, widths(model)[site])):
            found = a.features(row, sae)
            assert found.parent_value == a[row]
            size = 1 + float(found.values.abs().sum())
            assert abs(found.mismatch) <= 1e-6 * size, f"{name} {dtype} {row}: {found.total} for {a[row]}"
    stream = a.features("L1", random_sae("L1", model.d_model))
    written = [c for c in a.components if c.kind in ("embed", "pos") or (c.layer is not None and c.layer <= 1)]
    # The stream is what was written below it, up to the rounding of its own additions.
    slack = 1e-5 if dtype == "float32" else 0.05
    assert abs(stream.total - sum(a[c] for c in written)) <= slack * (1 + sum(abs(a[c]) for c in written))
    assert abs(stream.mismatch) <= 1e-6 * (1 + float(stream.values.abs().sum()))
    assert stream.site == "L1.post" and stream.labels[-1] == "L1.post/error"


TARGETS = {
    "logit": aw.logit(" Paris"),
    "difference": aw.logit_diff(" Paris", " Rome"),
    "log-probability": aw.log_prob(" Paris"),
    "centred": aw.logit(" Paris").centered(),
}


MADE_UP = ["gpt2", "llama", "gemma2", "gemma3", "olmo2", "granite", "gpt_neox"]
#: Capped logits have no log-probability that is a sum.
ASKED = [(name, target) for name in MADE_UP for target in TARGETS if (name, target) != ("gemma2", "log-probability")]


@pytest.mark.parametrize(("name", "target"), ASKED)
def test_the_printed_arithmetic_of_a_card_resolves(family_model, name, target):
    """Of every feature of a list: heads, MLPs and streams, in dictionaries of several kinds, whatever norms follow."""
    model = family_model(name)
    a = aw.attribute(model.run(families.PROMPT), TARGETS[target])
    for row, site in (("L1.mlp", "L1.mlp"), ("L1H2", "L1.attn"), ("L1", "L1")):
        for sae in (random_sae(site, widths(model)[site]), identity(site, widths(model)[site])):
            found = a.features(row, sae)
            for number, value, fires in zip(found.numbers[:-2], found.values, found.activations, strict=False):
                said = found.card(number).arithmetic
                digits = len(said.value.partition(".")[2])
                assert said.value == signed(float(value), digits) and (
                    digits > 2 or abs(float(value)) >= 0.02 or value == 0
                )
                assert signed(read_number(said.fires) * read_number(said.unit), digits) == said.value
                if said.norm:
                    undivided = read_number(said.before) / read_number(said.norm)
                    assert signed(read_number(said.fires) * undivided, digits) == said.value
                assert read_number(said.fires) == pytest.approx(float(fires), rel=0.006)
                line = said.line()
                assert all(part in line for part in (said.fires, said.unit, said.before, said.norm, said.value))
                assert ("through L1H2 alone" in line) == (row == "L1H2") and ("stream, L1.post" in line) == (
                    row == "L1"
                )


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "granite"])
def test_a_unit_is_what_the_card_says_it_promotes(family_model, name):
    """Before the norms divide it, the factor is the logit that the card lists; of a difference, that of both tokens."""
    model = family_model(name)
    run = model.run(families.PROMPT)
    for against in ((), (" Rome",)):
        target = aw.logit_diff(" Paris", *against) if against else aw.logit(" Paris")
        a = aw.attribute(run, target)
        for row, site, head in (("L1.mlp", "L1.mlp", None), ("L1H2", "L1.attn", 2), ("L1", "L1", None)):
            sae = random_sae(site, widths(model)[site])
            found = a.features(row, sae)
            for number in found.numbers[:-2]:
                logits = written_logits(model, sae, number, head)
                wanted = float(logits[model.single_token(" Paris")])
                wanted -= sum(float(logits[model.single_token(t)]) for t in against)
                assert read_number(found.card(number).arithmetic.before) == pytest.approx(wanted, rel=6e-3, abs=1e-6)


def test_a_feature_that_does_not_fire_adds_nothing(family_model):
    model = family_model("gpt2")
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    found = a.features("L1.mlp", random_sae("L1.mlp", model.d_model))
    silent = next(i for i in range(50) if i not in found.numbers)
    assert found.card(silent).arithmetic is None and "fires at" not in repr(found.card(silent)).split("in this")[0]


def test_the_identity_dictionary_has_no_error_and_its_features_are_neurons_of_the_stream(family_model):
    model = family_model("gpt2", torch.float32)
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    found = a.features("L1.mlp", identity("L1.mlp", model.d_model))
    assert found["L1.mlp/error"] == pytest.approx(0, abs=1e-9) and found["decoder bias"] == 0
    written, u = a.run.record.mlp_write[1][-1], a.worked("L1H0").direction
    for number, value in zip(found.numbers[:-2], found.values[:-2].tolist(), strict=True):
        i = number % model.d_model
        assert value == pytest.approx(float(written[i] * u[i]), abs=1e-6)


def test_a_planted_feature_is_found(family_model):
    """A dictionary whose one feature is what the MLP wrote carries the whole bar."""
    model = family_model("gpt2", torch.float32)
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    row = torch.nn.functional.normalize(a.run.record.mlp_write[1][-1], dim=0)
    rows = torch.cat([row[None], torch.zeros(3, model.d_model)])
    sae = SAE(component("L1.mlp"), "topk", rows.T.contiguous(), torch.zeros(4), rows, torch.zeros(model.d_model), k=1)
    found = a.features("L1.mlp", sae)
    assert found.labels == ["L1.mlp/0", "decoder bias", "L1.mlp/error"] and found.kinds == ["feature", "bias", "error"]
    assert found["L1.mlp/0"] == pytest.approx(a["L1.mlp"], abs=1e-5)
    assert float(found.activations[0]) == pytest.approx(float(a.run.record.mlp_write[1][-1].norm()), abs=1e-5)


def test_ablating_a_feature_changes_the_head_by_its_row(family_model):
    """Row by row: z without a feature, through the output projection of the head, in the frozen direction."""
    model = family_model("llama", torch.float32)
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    sae = random_sae("L1.attn", widths(model)["L1.attn"])
    found, d = a.features("L1H2", sae), model.geometry[0].d_head
    u, weight = a.worked("L1H2").direction, model.out_weight(1)[0]
    for number, activation, value in zip(found.numbers[:-2], found.activations, found.values, strict=False):
        written = (activation * sae.w_dec[number])[2 * d : 3 * d] @ weight[2 * d : 3 * d]
        assert float(value) == pytest.approx(float(written @ u), abs=1e-5)
    assert found.site == "L1.z" and all(label.startswith("L1.z/") for label in found.labels[:-2])


def test_what_cannot_be_opened_is_refused(family_model):
    model = family_model("gpt2", torch.float32)
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    with pytest.raises(aw.ComponentError, match="read_sae"):
        a.features("L1.mlp")
    for row in ("embed", "L9.mlp", "L1N3"):
        with pytest.raises(aw.ComponentError):
            a.features(row, identity("L1.mlp", model.d_model))
    sae = identity("L1.mlp", model.d_model)
    for row, message in {
        "L9": "has no layer 9.*0 to 2",
        "L1.attn": r"^L1\.attn is opened through one of its heads.*L1H0",
        "L1.z": r"^L1\.z is opened through one of its heads.*L1H0",
        "L1H0.q": "L1H0.q has no dictionary",
        "embed": "no dictionary",
    }.items():
        with pytest.raises(aw.ComponentError, match=message):
            a.features(row, sae)
    below = aw.attribute(a.run, aw.score("L1H0", query=-1, key=1))
    with pytest.raises(aw.ComponentError, match=r"L1\.post lies behind"):
        below.features("L1", sae)
    with pytest.raises(aw.ComponentError, match="cannot be a dict"):
        a.features("L1.mlp", {})
    with pytest.raises(aw.AttribError, match=r"no folder 'nowhere'.*SAELens.*sparsify"):
        a.features("L1.mlp", "nowhere")
    with pytest.raises(aw.ComponentError, match=r"for L1\.mlp"):
        a.features("L0.mlp", identity("L1.mlp", model.d_model))
    with pytest.raises(aw.ComponentError, match="trained on this model"):
        a.features("L1.mlp", identity("L1.mlp", 8))
    found = a.features("L1.mlp", identity("L1.mlp", model.d_model))
    with pytest.raises(aw.ComponentError, match="no feature"):
        found.card("L2.mlp/3")
    with pytest.raises(aw.ComponentError, match="True does not name"):
        found.card(True)


def test_a_folder_will_do_for_a_dictionary(family_model, tmp_path):
    model = family_model("gpt2", torch.float32)
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    sae = random_sae("L1.attn", widths(model)["L1.attn"])
    write_sae(sae, tmp_path)
    for folder in (tmp_path, str(tmp_path)):
        found = a.features("L1H0", folder)
        assert torch.equal(found.values, a.features("L1H0", sae).values)
    assert "of L1.z, the outputs of all heads of the layer" in found.note
    assert found.card().through == "L1H0"


def own_model(**changes):
    """A model whose dictionaries and weights no other test sees."""
    return aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"), **changes)


def test_a_click_reads_no_folder_again(tmp_path, monkeypatch):
    model = own_model()
    write_sae(random_sae("L1.mlp", model.d_model), tmp_path / "mine")
    found = aw.attribute(model.run(families.PROMPT), " Paris").features("L1.mlp", tmp_path / "mine")
    before = found.card().here
    shutil.rmtree(tmp_path / "mine")
    assert found.card().here == before


def test_cards_are_of_the_dictionary_that_was_opened():
    """Another one for the place, or none: what was opened keeps its own encoder and its own texts."""
    model = own_model()
    site, texts = "L1.mlp", [families.PROMPT, "The capital of Germany is Berlin"]
    model.saes[site] = random_sae(site, model.d_model)
    model.saes.contexts = texts
    found = aw.attribute(model.run(families.PROMPT), " Paris").features(site)
    own = found.card()
    assert own.contexts and own.density == own.density and own.missing == ""
    model.saes[site] = random_sae(site, model.d_model, seed=1)
    other = found.card()
    assert other.here == own.here
    assert not other.contexts and other.density != other.density, "the new one's cards count another encoder's firings"
    del model.saes[site]
    assert found.card().here == own.here


def test_a_card_of_a_model_that_changed_is_refused():
    model = own_model()
    found = aw.attribute(model.run(families.PROMPT), " Paris").features("L1.mlp", random_sae("L1.mlp", model.d_model))
    with torch.no_grad():
        model.hf.get_output_embeddings().weight.mul_(1.5)
    with pytest.raises(aw.ModelError, match="changed"):
        found.card()


def test_the_first_position_was_not_trained_on():
    model = aw.load("demo")
    run = model.run("The capital of France is")
    notes = [aw.attribute(run, " Paris", position=position).features("L1.mlp").note for position in (0, -1)]
    assert ["left out" in note for note in notes] == [True, False]
    sae = model.saes["L1.mlp"]
    silent = replace(sae, metadata={**sae.metadata, "seqpos_slice": [None]})
    for given, said in ((sae, True), (silent, False)):
        assert ("left out" in aw.attribute(run, " Paris", position=0).features("L1.mlp", given).note) is said


def scaled(sae: SAE, by: float) -> SAE:
    """A dictionary that misses all but a part of what it explained, or more."""
    return replace(sae, w_dec=sae.w_dec * by, metadata={})


def test_a_title_names_no_leader_that_the_error_outweighs():
    model = aw.load("demo")
    seen = set()
    for prompt, target in ((families.PROMPT, " Paris"), ("The capital of Italy is", " Rome")):
        a = aw.attribute(model.run(prompt), target)
        for row in [str(c) for c in a.components if c.kind in ("mlp", "head")] + [f"L{i}" for i in range(5)]:
            found = a.features(row)
            best = max(range(len(found) - 2), key=lambda i: abs(float(found.values[i])))
            outweighs = abs(float(found.values[-1])) >= abs(float(found.values[best]))
            assert ("leads" in found.title) is not outweighs and ("outweighs" in found.title) is outweighs
            assert found.labels[best] in found.title and (not outweighs or "the error" in found.title)
            seen.add(outweighs)
            # The same in numbers: what the features add and what they miss, along what is explained.
            added, missed = signed(float(found.values[:-2].sum())), signed(float(found.values[-1]))
            part = share(float(found.values[:-2].sum()) / found.parent_value)
            said = f"Of the {signed(found.parent_value)} logits of {found.parent} they add {added}"
            said += f" ({part})" if abs(float(found.values[:-2].sum()) / found.parent_value) < 10 else ""
            assert f"{said}, the error (what they miss) {missed}" in found.note
            view = contract_of(found)
            assert view["title"] == found.title and view["note"] == found.note
            # The table names both of what no feature says.
            printed = str(found)
            assert "decoder bias" in printed and f"{found.site}/error" in printed
    assert seen == {True, False}


def contract_of(found) -> dict:
    """What the browser is told above the bars."""
    header, _ = wire.unpack(results.bars(found))
    return header


def test_a_dictionary_that_does_not_fit_alarms_with_likely_reasons():
    """A negative or very low share, here and at the other positions: another layer, model, or other coordinates."""
    model = aw.load("demo")
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    sae = model.saes["L3.mlp"]
    torch.manual_seed(0)
    shuffled = replace(sae, w_enc=torch.randn_like(sae.w_enc), metadata={})
    other = replace(model.saes["L0.mlp"], site=sae.site, metadata={})
    weak = scaled(sae, 0.1)
    for given, how in ((shuffled, "they miss"), (other, "they miss"), (weak, "they explain only")):
        note = a.features("L3.mlp", given).note
        assert "does not fit here" in note and how in note and "−" not in note.split(" of L3.mlp")[0]
        assert all(reason in note for reason in ("another layer", "another model than demo", "processed"))
    held, at = a.run.record.mlp_write[3], a.reading.position
    error = sae.error(held)[at].double()
    share = 1 - error.square().sum() / (held[at].double() - sae.b_dec.double()).square().sum()
    note = a.features("L3.mlp").note
    assert "does not fit" not in note and f"they explain {100 * float(share):.1f}\u00a0% of L3.mlp" in note
    times = (shuffled.error(held)[at].double().square().sum() / (held[at].double() - sae.b_dec).square().sum()).sqrt()
    assert f"they miss {float(times):.1f} times the size of L3.mlp" in a.features("L3.mlp", shuffled).note


def test_the_other_positions_are_asked_once_a_run(family_model, monkeypatch):
    """Of a dictionary that does not fit, and the explained position as well: the next click encodes nothing."""
    model = family_model("gpt2", torch.float32)
    run = model.run(families.LONG_PROMPT)
    sae = replace(random_sae("L1.mlp", model.d_model, features=3000), architecture="standard", k=None)
    rows, encode = [], SAE.encode
    monkeypatch.setattr(SAE, "encode", lambda self, x: (rows.append(x[..., 0].numel()), encode(self, x))[1])
    first = aw.attribute(run, " Paris").features("L1.mlp", sae)
    again = aw.attribute(run, " Rome").features("L1.mlp", sae)
    assert "does not fit" in first.note and len(first) > 1000 + 2
    assert len(rows) == 2 and rows[0] == 1 < rows[1]
    said = [found.note.split(" Of the ")[0] for found in (first, again)]
    assert said[0] == said[1]
    aw.attribute(run, " Paris").features("L1.mlp", replace(sae))
    assert len(rows) == 4, "another dictionary is asked by itself"


def test_a_position_unlike_the_others_is_no_misfit():
    model = aw.load("demo")
    run = model.run(families.PROMPT)
    for row, position in (("L3", 0), ("L4", 0)):
        note = aw.attribute(run, " Paris", position=position).features(row).note
        assert "does not fit" not in note and ("unlike them" in note or "they explain" in note)


def test_of_a_large_dictionary_only_what_fires_is_copied(family_model, monkeypatch):
    """A click turns no whole decoder into float64."""
    model = family_model("gpt2", torch.float32)
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    sae = random_sae("L1.mlp", model.d_model, features=4000)
    sizes, double = [], torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, "double", lambda self: (sizes.append(self.numel()), double(self))[1])
    found = a.features("L1.mlp", sae)
    assert len(found) == 6 + 2 and max(sizes) < sae.w_dec.numel() // 10


def test_the_table_and_the_frame(family_model):
    model = family_model("gpt2", torch.float32)
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    found = a.features("L1.mlp", random_sae("L1.mlp", model.d_model))
    assert "L1.mlp/error" in repr(found) and "mismatch" in repr(found) and "of 50 features fire" in repr(found)
    frame = found.to_dataframe()
    assert list(frame.columns) == ["row", "label", "kind", "value", "feature", "activation", "concept"]
    assert frame.value.sum() == pytest.approx(a["L1.mlp"], abs=1e-5)
    card = found.card(found.labels[0])
    largest = max(zip(found.values[:-2].abs().tolist(), found.numbers, strict=False))[1]
    assert found.card().feature.index == largest
    assert card.label == "" and card.contexts == [] and card.here[-1] == pytest.approx(float(found.activations[0]))


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "granite"])
def test_features_are_those_of_the_slow_reading(family_model, name, dtype, monkeypatch):
    """Few that fire or many, also where they are met in pieces: a_f (d_f . u), all of the dictionary in float64."""
    monkeypatch.setattr("attrib_widgets.analysis.opening.dictionaries.splitting.PIECE", 5)
    model = family_model(name, families.DTYPES[dtype])
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    for sae in (random_sae("L1.mlp", model.d_model), identity("L1.mlp", model.d_model)):
        found = a.features("L1.mlp", sae)
        x = a.run.record.mlp_write[1][-1].float() / model.multiplier
        active = sae.encode(x).double()
        u = stream_direction(a).double() * model.multiplier
        values = {int(f): float(active[f] * (sae.w_dec[f].double() @ u)) for f in active.nonzero()[:, 0]}
        assert found.numbers == [*values, -1, -1]
        for number in (found.numbers[0], found.numbers[-3]):  # of the first piece and of the last
            fires = read_number(found.card(number).arithmetic.fires)
            assert fires == pytest.approx(float(active[number]), rel=0.006)
        expected = torch.tensor([*values.values()], dtype=torch.float64)
        torch.testing.assert_close(found.values[:-2], expected, atol=1e-6, rtol=1e-6)
        error = x.double() - (active @ sae.w_dec.double() + sae.b_dec.double())
        assert float(found.values[-1]) == pytest.approx(float(error @ u), abs=1e-6)


@pytest.mark.parametrize("dtype", families.DTYPES)
def test_a_click_encodes_one_position_and_copies_no_dictionary(family_model, dtype):
    model, count = family_model("gpt2", families.DTYPES[dtype]), 4000
    run = model.run(families.LONG_PROMPT)
    a, x = aw.attribute(run, " Paris"), run.record.mlp_write[1].float()
    w_dec, bias, own = torch.randn(count, model.d_model), torch.full((count,), -1e3), 7
    w_dec[own], bias[own] = x[-1] / x[-1].norm(), 0.0  # it fits here: what it says elsewhere is not asked
    for k in (None, 3):
        sae = SAE(
            component("L1.mlp"), "topk" if k else "standard", w_dec.T.contiguous(), bias, w_dec,
            torch.zeros(model.d_model), k,
        )  # fmt: skip
        with Made() as made:
            found = a.features("L1.mlp", sae)
        assert "does not fit" not in found.note
        assert made.largest < model.d_model * count, "a copy of the dictionary"
        rows = [torch.Size(s).numel() // count for s, _ in made.tensors if s[-1:] == (count,)]
        assert rows and max(rows) == 1, "one position"
        first = found.card(own)
        with Made() as made:
            again = found.card(own)
        assert all(s[-1:] != (count,) for s, _ in made.tensors), "what fires here is known"
        assert again.here == first.here and again.here == pytest.approx(sae.encode(x)[:, own].tolist(), abs=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3", "granite"])
def test_what_a_feature_contributed_is_read_once_for_all_heads(family_model, name, monkeypatch):
    """As in the rows of the heads, one by one; and where it reads, it writes, or does not fire."""
    from attrib_widgets.analysis.opening.dictionaries import features as opening

    model = family_model(name)
    model.saes.clear()
    draw = torch.Generator().manual_seed(2)
    sites = {"L1.z": model.out(1).d_in, "L1.mlp": model.d_model, "L1.post": model.d_model, "L1.attn_out": model.d_model}
    for site, d in sites.items():
        rows = torch.randn(24, d, generator=draw)
        model.saes[site] = aw.SAE(site, "topk", rows.T.contiguous(), torch.zeros(24), rows, torch.zeros(d), k=6)
    a = aw.attribute(model.run(families.PROMPT), 5)
    for site in sites:
        rows = [c for c in a.components if c.kind == "head" and c.layer == 1] if site == "L1.z" else [site]
        found = [a.features(row) for row in rows]
        for number in range(24):
            each = [float(f.values[f.numbers.index(number)]) for f in found if number in f.numbers]
            got = opening.contribution(a, aw.component(f"{site}/{number}"))
            assert got == pytest.approx(sum(each), abs=1e-9) and bool(got) == bool(each)
    with pytest.raises(aw.ComponentError, match="has no feature 24"):
        opening.contribution(a, aw.component("L1.z/24"))
    with pytest.raises(aw.ComponentError, match=r"no dictionary for L0\.mlp"):
        opening.contribution(a, aw.component("L0.mlp/3"))
    monkeypatch.setattr(opening, "features", lambda *_: pytest.fail("every head was opened"))
    opening.contribution(a, aw.component("L1.z/3"))
    model.saes.clear()


def test_a_dictionary_of_what_an_mlp_reads_splits_no_row(family_model):
    """Nobody adds what it rebuilds: its features are targets and parts, and no contributions."""
    model = family_model("gpt2")
    model.saes.clear()
    rows = torch.randn(24, model.d_model, generator=torch.Generator().manual_seed(2))
    empty = torch.zeros(24), torch.zeros(model.d_model)
    model.saes["L1.mlp_in"] = aw.SAE("L1.mlp_in", "topk", rows.T.contiguous(), empty[0], rows, empty[1], k=6)
    run = model.run(families.PROMPT)
    a = aw.attribute(run, 5)
    with pytest.raises(aw.ComponentError, match=r"which nobody adds to the stream: it splits no row.*L1\.mlp_in/12"):
        a.features("L1.mlp_in")
    with pytest.raises(aw.ComponentError, match=r"no dictionary for L1\.mlp "):
        a.features("L1.mlp")
    assert aw.attribute(run, "L1.mlp_in/3").exact
    assert aw.ablate(model, run, 5, components=["L1.mlp_in/3"]).values.numel() == 1
    model.saes.clear()
