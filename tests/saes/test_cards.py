"""Cards of features: labels counted from contexts, the strongest firings, what a feature writes."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.demo.making import concepts
from attrib_widgets.model.parts.outlet import outlet_of
from attrib_widgets.model.tracing.hooks import collect
from attrib_widgets.saes.cards import Cards, card_of, label_of, written_logits
from attrib_widgets.saes.cards import card as saes_card
from attrib_widgets.saes.cards import written as saes_written
from attrib_widgets.saes.cards.making import cards_from
from attrib_widgets.saes.cards.weaker import Weaker
from attrib_widgets.saes.sae import SAE, Fired
from attrib_widgets.words.components import component
from attrib_widgets.words.errors import AttribError, ComponentError

SENTENCES = ["The capital of France is Paris", "The capital of Italy is Rome", "The capital of Spain is Madrid"]


def one_hot(words: list[str]) -> torch.Tensor:
    """A vector per word of a tiny vocabulary."""
    known = sorted({word for text in SENTENCES for word in text.split()})
    return torch.eye(len(known))[[known.index(word) for word in words]]


@pytest.fixture(scope="module")
def toy():
    """(dictionary with a feature per word, activations, properties, the word of each feature)."""
    known = sorted({word for text in SENTENCES for word in text.split()})
    width = len(known)
    sae = SAE(component("L0"), "standard", torch.eye(width), torch.zeros(width), torch.eye(width), torch.zeros(width))
    rows = [["<s>", *text.split()] for text in SENTENCES * 5]
    x = torch.stack([torch.cat([torch.zeros(1, width), one_hot(row[1:]) * (1 + c / 10)]) for c, row in enumerate(rows)])
    return sae, x, [concepts.properties([" " + w for w in row]) for row in rows], known


def test_labels_come_from_the_strongest_contexts(toy, tmp_path: Path):
    sae, x, properties, known = toy
    cards = cards_from(sae, x, [7] * 15, properties)
    france = known.index("France")
    assert "France" in cards.labels[france] and "Italy" not in cards.labels[france]
    assert cards.labels[known.index("capital")].startswith(("on ·capital", "after ·The", "before ·of"))
    # Strongest first, one firing per context, at the right place.
    assert cards.contexts[france].tolist() == [12, 9, 6, 3, 0] and cards.positions[france].tolist() == [4] * 5
    assert cards.activations[france].tolist() == pytest.approx([2.2, 1.9, 1.6, 1.3, 1.0])
    assert float(cards.density[france]) == pytest.approx(5 / (15 * 6))
    assert float(cards.density[known.index("is")]) == pytest.approx(1 / 6)
    cards.write(tmp_path)
    again = Cards.read(tmp_path)
    assert again is not None and again.labels == cards.labels and torch.equal(again.contexts, cards.contexts)
    assert torch.allclose(again.activations, cards.activations, atol=1e-3)
    assert Cards.read(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("contexts", [0, 32767, 32768, 40000, 2**31 + 5]),
        ("positions", [0, 255, 256, 300, 70000]),
        ("activations", [0.0, 1.0, 65504.0, 1e5, 1e-9]),
        ("density", [0.0, 0.5, 1e-3, 3e-9, 1.0]),
    ],
)
def test_no_number_of_a_card_overflows_where_it_is_kept(tmp_path: Path, name, values):
    """A context number, a position, a strong or a weak activation: what is read is what was written."""
    for largest in range(2, len(values) + 1):
        row = torch.tensor([*values[:largest], *[0] * (5 - largest)])
        fields = {
            "contexts": torch.arange(5)[None],
            "positions": torch.arange(5)[None],
            "activations": torch.ones(1, 5),
        }
        if name == "density":
            cards = Cards([""] * 5, row.float(), *(value.expand(5, 5) for value in fields.values()))
        else:
            cards = Cards([""], torch.ones(1), *{**fields, name: row[None]}.values())
        cards.write(tmp_path)
        again = Cards.read(tmp_path)
        for field in ("contexts", "positions"):
            assert torch.equal(getattr(again, field), getattr(cards, field)), (field, largest)
        for field in ("activations", "density"):
            assert torch.allclose(getattr(again, field), getattr(cards, field), rtol=1e-3, atol=0), (field, largest)
    # What fits is kept in as few bytes as before.
    from safetensors.torch import load_file

    small = Cards([""], torch.ones(1), torch.arange(5)[None], torch.arange(5)[None], torch.ones(1, 5))
    small.write(tmp_path)
    kept = {key: value.dtype for key, value in load_file(tmp_path / "cards.safetensors").items()}
    assert kept["contexts"] == torch.int16 and kept["positions"] == torch.uint8
    assert kept["activations"] == kept["density"] == torch.float16


def test_a_card_is_opened_from_what_is_stored_as_from_a_forward_pass(family_model, tmp_path: Path, monkeypatch):
    """Cards carry the activations of a feature in their texts, to a 255th of the strongest; nothing is run for them."""
    model = family_model("gpt2", torch.float32)
    torch.manual_seed(0)
    rows = torch.randn(12, model.d_model)
    sae = SAE(component("L1.mlp"), "topk", rows.T.contiguous(), torch.zeros(12), rows, torch.zeros(model.d_model), k=5)
    texts = [
        "The capital of Italy is Rome",
        "Mary gave the bag to John",
        "The capital of Spain is Madrid",
        "is is is is",
    ]
    ids = [model.encode(text) for text in texts]
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
    x = collect(model, padded, [sae.site])[sae.site]
    said = [[[f"on {i}"] for i in row] for row in padded.tolist()]
    cards_from(sae, x, [len(row) for row in ids], said).write(tmp_path)
    stored = Cards.read(tmp_path, 12)
    older = Cards(stored.labels, stored.density, stored.contexts, stored.positions, stored.activations)
    run = model.run(texts[0])
    prompt = (run.tokens, Fired(sae, x[0, : len(ids[0])]))
    ran = [card_of(model, sae, older, feature, prompt, texts.__getitem__).contexts for feature in range(12)]
    monkeypatch.setattr(saes_card, "collected", None)
    opened = [card_of(model, sae, stored, feature, prompt, texts.__getitem__).contexts for feature in range(12)]
    assert int(stored.weaker.counts.sum()) > 30, "features fire on several tokens of a text"
    for one, other in zip(opened, ran, strict=True):
        assert [(f.tokens, f.position) for f in one] == [(f.tokens, f.position) for f in other]
        for firing, again in zip(one, other, strict=True):
            assert firing.activations == pytest.approx(again.activations, abs=max(again.activations) / 400)
            assert [value > 0 for value in firing.activations] == [value > 0 for value in again.activations]
    with pytest.raises(AttribError, match=r"fired on token .* do not belong together"):
        card_of(model, sae, Cards.read(tmp_path, 12), 0, prompt, lambda number: "is")
    # Of an older folder, without these numbers, the same card is had by running the model.
    older.write(tmp_path)
    assert Cards.read(tmp_path, 12).weaker is None


def test_weaker_firings_that_do_not_belong_together_are_refused(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    rows, weaker = (
        torch.arange(2)[None],
        Weaker(torch.tensor([[2, 0]]), torch.tensor([300, 2]), torch.tensor([255, 1]), 400),
    )
    Cards([""], torch.ones(1), rows, rows, torch.ones(1, 2), weaker).write(tmp_path)
    again = Cards.read(tmp_path, 1).weaker
    assert all(map(torch.equal, again[:3], weaker[:3])) and again.read == 400 and again.row(0, 0)[0] == [300, 2]
    assert again.row(0, 0)[1] == pytest.approx([1.0, 1 / 255])
    assert again.row(0, 1) == ([], [])
    kept = load_file(tmp_path / "cards.safetensors")
    assert kept["weaker_shares"].dtype == kept["weaker_counts"].dtype == torch.uint8
    save_file(kept | {"weaker_shares": kept["weaker_shares"][:1]}, tmp_path / "cards.safetensors")
    with pytest.raises(AttribError, match="cannot be read: they count 2 weaker firings"):
        Cards.read(tmp_path)


def test_cards_that_are_no_numbers_or_of_another_dictionary_are_refused(tmp_path: Path):
    rows = torch.zeros(3, 5, dtype=torch.long)
    cards = Cards([""] * 3, torch.ones(3), rows, rows, torch.ones(3, 5))
    with pytest.raises(AttribError, match="not finite"):
        Cards([""] * 3, torch.ones(3), rows, rows, torch.full((3, 5), math.nan)).write(tmp_path)
    cards.write(tmp_path)
    assert Cards.read(tmp_path, 3) is not None
    with pytest.raises(AttribError, match=r"another dictionary: they count 3 features.*it has 4"):
        Cards.read(tmp_path, 4)
    (tmp_path / "labels.json").write_text('["", ""]')
    with pytest.raises(AttribError, match="3 features, with 2 labels"):
        Cards.read(tmp_path)
    for broken in ("{", None):
        (tmp_path / "labels.json").unlink() if broken is None else (tmp_path / "labels.json").write_text(broken)
        with pytest.raises(AttribError, match=r"cards in .* cannot be read.*labels\.json"):
            Cards.read(tmp_path)
    (tmp_path / "cards.safetensors").write_bytes(b"no tensors")
    with pytest.raises(AttribError, match="cannot be read"):
        Cards.read(tmp_path)


def test_what_lies_behind_the_end_does_not_count(toy):
    sae, x, properties, known = toy
    cards = cards_from(sae, x, [5] * 15, properties)
    assert cards.labels[known.index("Paris")] == "" and float(cards.density[known.index("Paris")]) == 0


def test_labels_name_what_is_rare_elsewhere():
    base = Counter({"on ·is": 50, "about France": 5, "after ·of": 40, "before ·Paris": 4})
    shared = [["on ·is", "about France", "before ·Paris"]] * 8 + [["on ·is", "about France"]] * 2
    assert label_of(shared, base, 100) == "about France, before ·Paris"
    assert label_of([["on ·is"]] * 5, base, 100) == "on ·is"
    assert label_of([["on ·is"]] * 4, base, 100) == "" == label_of([], base, 100), "too few to tell"


def test_labels_without_a_common_property_say_how_common_their_tokens_are():
    """A token is what comes first, with a space before it or without; kinds of words are no tokens."""

    def label(*tokens: str) -> str:
        said = [[f"on {token}", "on a name"] if token == "·a" else [f"on {token}"] for token in tokens]
        return label_of(said, Counter(p for properties in said for p in properties), 100)

    assert label(*["·a"] * 4, *["."] * 2, *["·c"] * 2, "·d", "·e") == "mostly on ·a, on ., on ·c"
    assert label(*["·a"] * 6, *["."] * 3, "·c") == "mostly on ·a, on ."
    assert label(*["·a"] * 3, "·b", "·c", "·d", "·e", "·f", "·g", "·h") == "mixed: on ·a in 3 of 10"


def test_properties_of_tokens():
    tokens = ["<s>", "The", " capital", " of", " France", " is", " Paris", ".", " Its", " currency", " is", " the"]
    tokens += [" euro", ".", " Tom", " and", " Tom", " slept", "."]
    about = concepts.about(tokens)
    assert about[:4] == [""] * 4 and about[4:8] == ["France"] * 4
    assert about[9:13] == ["France"] * 4 and about[15] == ""
    rows = concepts.properties(tokens)
    assert {"on ·France", "on a country", "after ·of", "before ·is", "about France", "seen first"} <= set(rows[4])
    assert "on a name, again" in rows[16] and "on a name, first" in rows[14]
    told = concepts.truths(tokens)
    assert told[4] == ["means France", "names France", "names a country of Europe", "first mention"]
    assert told[6] == ["means France", "first mention"]
    assert "on a word for France" in rows[6] and "on a capital" in rows[6]
    # "There," goes on about the country before; "There was" begins something else.
    tokens = ["<s>", " Paris", ".", " There", ",", " people", ".", " There", " was", " a", " cat", "."]
    assert concepts.about(tokens)[4:6] == ["France"] * 2 and concepts.about([*tokens[:3], *tokens[7:]])[3:] == [""] * 5
    # A landmark means its country once its last word is there.
    assert concepts.meant(["<s>", "The", " Eiffel", " Tower"]) == ["", "", "", "France"]
    assert "asks about France" in told[5] and "asks about France" in told[11] and "asks about France" not in told[4]
    assert concepts.context(3) == concepts.context(3) != concepts.context(4)


@pytest.mark.parametrize("site", ["L1", "L1.mlp", "L1.attn"])
def test_a_card_shows_firings_and_what_is_written(family_model, site):
    model = family_model("gpt2", torch.float32)
    width = model.d_model if site != "L1.attn" else model.n_heads * model.geometry[0].d_head
    torch.manual_seed(0)
    rows = torch.randn(20, width)
    sae = SAE(component(site), "topk", rows.T.contiguous(), torch.zeros(20), rows, torch.zeros(width), k=4)
    run = model.run("The capital of France is")
    x = collect(model, torch.tensor([run.ids]), [sae.site])[sae.site][0]
    layer = 1
    record = {
        "L1": run.record.streams[layer + 1],
        "L1.mlp": run.record.mlp_write[layer],
        "L1.attn": run.record.z[layer],
    }
    assert torch.allclose(x, record[site], atol=1e-5)  # two ways of reading the same place
    texts = ["The capital of Italy is Rome", "Mary gave the bag to John"]
    cards = Cards(
        ["a"] * 20, torch.full((20,), 0.1), torch.tensor([[1, 0]] * 20), torch.full((20, 2), 3), torch.ones(20, 2)
    )
    card = card_of(model, sae, cards, 7, (run.tokens, Fired(sae, x)), texts.__getitem__)
    assert card.here == pytest.approx(sae.encode(x)[:, 7].tolist()) and card.tokens == run.tokens
    assert ["".join(firing.tokens) for firing in card.contexts] == [texts[1], texts[0]]
    again = collect(model, torch.tensor([model.encode(texts[0])]), [sae.site])[sae.site][0]
    assert card.contexts[1].activations[1:] == pytest.approx(sae.encode(again)[1:, 7].tolist(), abs=1e-4)
    assert card.through == ("all heads of L1" if site == "L1.attn" else "")
    bare = card_of(model, sae, None, 7, (run.tokens, Fired(sae, x)), None)
    assert math.isnan(bare.density) and bare.contexts == [] and "%" not in repr(bare)
    # Adding one unit of the feature to the stream moves the logits by what is written, up to the norm's scale.
    row = rows[7] if site != "L1.attn" else rows[7] @ model.out_weight(layer)[0]
    norm = model.norm(model.anatomy.final_norm)
    stream = run.record.streams[-1][-1]
    with torch.no_grad():
        direct = (norm.push(row) @ model.unembed_weight) * norm.scale(stream)
    assert torch.allclose(written_logits(model, sae, 7) * norm.scale(stream), direct, atol=1e-4)
    assert card.promoted[0][2] == pytest.approx(float(written_logits(model, sae, 7).max()), abs=1e-5)
    if site == "L1.attn":  # all heads together write what each writes alone
        alone = [written_logits(model, sae, 7, head) for head in range(model.n_heads)]
        assert torch.allclose(torch.stack(alone).sum(0), written_logits(model, sae, 7), atol=1e-4)
        one = card_of(model, sae, cards, 7, (run.tokens, Fired(sae, x)), None, head=1)
        assert one.through == "L1H1" and one.promoted[0][2] == pytest.approx(float(alone[1].max()), abs=1e-5)
        assert "promotes through L1H1" in repr(one)
    assert "promotes" in repr(card) and len(card.to_dataframe()) == sum(len(f.tokens) for f in card.contexts)
    with pytest.raises(ComponentError, match="20"):
        card_of(model, sae, cards, 20, (run.tokens, Fired(sae, x)), None)


def test_one_vector_does_not_copy_the_whole_unembedding(family_model, monkeypatch):
    model = family_model("gpt2", torch.bfloat16)
    sae = SAE(
        component("L1"), "standard", torch.randn(32, 4), torch.zeros(4), torch.randn(4, 32), torch.zeros(32)
    )  # fmt: skip
    expected, widths, whole = written_logits(model, sae, 2), [], model.unembed_weight

    class Watched:
        shape, dtype, device = whole.shape, whole.dtype, whole.device

        def __getitem__(self, at):
            widths.append(len(range(*at[1].indices(whole.shape[1]))))
            return whole[at]

    monkeypatch.setattr(type(model), "unembed_weight", Watched())
    monkeypatch.setattr(saes_written, "PIECE", 128)
    assert torch.allclose(written_logits(model, sae, 2), expected, atol=1e-5)
    assert len(expected) == sum(widths) == whole.shape[1]
    assert max(widths) == 128 < whole.shape[1]


@pytest.mark.parametrize("family", ["gemma2", "granite"])
@pytest.mark.parametrize("site", ["L1", "L1.mlp", "L1.attn"])
def test_what_is_written_passes_norms_and_multipliers(family_model, family, site):
    """A unit of a feature, added where the dictionary reads, through everything that follows, scales frozen."""
    model = family_model(family, torch.float32)
    run, at = model.run("The capital of France is"), -1
    width = model.d_model if site != "L1.attn" else model.out_weight(1)[0].shape[0]
    torch.manual_seed(1)
    rows = torch.randn(6, width)
    sae = SAE(component(site), "standard", rows.T.contiguous(), torch.zeros(6), rows, torch.zeros(width))
    a = aw.attribute(run, run.ids[0])
    through = 1 if site == "L1.attn" else None
    found = a.features("L1H1" if through else site, sae)
    write = outlet_of(model, "attn", 1).scale(run.record.attn_out[1][[at]]) if through else 1.0
    final = model.norm(model.anatomy.final_norm).scale(run.record.streams[-1][at])
    for number, activation, value in zip(found.numbers[:-2], found.activations, found.values, strict=False):
        logit = float(written_logits(model, sae, number, through)[run.ids[0]]) * float(final) * float(write)
        assert value == pytest.approx(logit * float(activation), rel=1e-4, abs=1e-5), (family, site)
