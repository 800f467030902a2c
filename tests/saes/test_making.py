"""Cards for own texts: every number as computed in memory, bounded, resumable, and what is said of a feature."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.running.worker import Cancelled
from attrib_widgets.saes.cards import making, tally
from attrib_widgets.saes.cards.kept import BINS, Cards, bounds
from attrib_widgets.saes.cards.labels import label_of, neighbours
from attrib_widgets.saes.cards.leaders import Leaders
from attrib_widgets.saes.cards.related import closest, source_tokens, together
from attrib_widgets.saes.formats.saelens import write_sae
from attrib_widgets.saes.reading import collected
from attrib_widgets.saes.sae import SAE
from attrib_widgets.words.errors import AttribError, ComponentError
from attrib_widgets.words.places import dictionary_place
from attrib_widgets.words.text import signed, visible
from fixtures.cards_twin import everything

WORDS = "The capital of Italy is Rome . Mary gave the bag to John and cat dog is Paris France Spain Madrid".split()


def texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 3 to 20 words."""
    draw = random.Random(seed)
    return [" ".join(draw.choice(WORDS) for _ in range(draw.randint(3, 20))) for _ in range(count)]


def dictionary(site: str, width: int, features: int = 30, k: int | None = 4, seed: int = 0) -> SAE:
    torch.manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(features, width), dim=1) * torch.rand(features, 1).add(0.5)
    bias = torch.zeros(features) if k else torch.full((features,), -0.3)
    return SAE(
        dictionary_place(site), "topk" if k else "standard", rows.T.contiguous(), bias, rows, torch.zeros(width), k=k
    )


@pytest.fixture
def model(family_model):
    found = family_model("gpt2", torch.float32)
    found.saes.clear()
    yield found
    found.saes.clear()


def same(one: Cards, other: Cards) -> None:
    """The same cards, bit for bit."""
    assert one.labels == other.labels and one.tokens == other.tokens and one.finished == other.finished
    for name in ("density", "contexts", "positions", "activations", "peaks", "others", "histogram"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert torch.equal(one.texts.ids, other.texts.ids) and torch.equal(one.texts.ends, other.texts.ends)
    for name in ("counts", "positions", "shares"):
        assert torch.equal(getattr(one.weaker, name), getattr(other.weaker, name)), name


def encoded(model, sae: SAE, rows: list[list[int]]) -> list[torch.Tensor]:
    """All activations, in the batches in which cards are made: what ties there ties here."""
    found = []
    for start in range(0, len(rows), making.AT_ONCE):
        some = [torch.tensor(row) for row in rows[start : start + making.AT_ONCE]]
        x = collected(model, torch.nn.utils.rnn.pad_sequence(some, batch_first=True), sae)
        found += [active[: len(row)] for active, row in zip(sae.encode(x), some, strict=True)]
    return found


@pytest.mark.parametrize("k", [4, None])
def test_every_number_is_that_of_everything_in_memory(model, k):
    """Against a twin that keeps all activations: counts, contexts, firings drawn, what fires together, labels."""
    model.saes["L1.mlp"] = sae = dictionary("L1.mlp", model.d_model, k=k)
    given = texts(90)
    cards = aw.make_cards(model, given)
    rows = [model.encode(text) for text in given]
    active = encoded(model, sae, rows)
    for row, one in zip(rows[:5], active, strict=False):
        assert torch.allclose(one, sae.encode(model.run(row).record.mlp_write[1]), atol=1e-5)
    twin = everything([a.tolist() for a in active], sae.w_dec.norm(dim=1).tolist(), tally.TOP, tally.DRAWN, 8)
    said = [neighbours([visible(model.token(i)) for i in row]) for row in rows]
    base = Counter(what for one in said for row in one[1:] for what in set(row))
    assert cards.tokens == sum(map(len, rows)) - len(rows) and cards.finished
    for f, told in enumerate(twin):
        assert float(cards.density[f]) == pytest.approx(told["density"], rel=1e-6)
        for ranks, expected in ((slice(0, cards.top), told["contexts"]), (slice(cards.top, None), told["drawn"])):
            kept = [(v, c, p) for v, c, p in zip(*(getattr(cards, n)[f, ranks].tolist() for n in (
                "activations", "contexts", "positions")), strict=True) if v > 0]  # fmt: skip
            assert [(cards.texts[c], p) for _, c, p in kept] == [(rows[c], p) for _, c, p in expected], f
            assert [v for v, _, _ in kept] == [v for v, _, _ in expected]
        assert cards.histogram[f].tolist() == [told["bins"].get(b, 0) for b in range(BINS)]
        assert int(cards.histogram[f].sum()) == round(told["density"] * cards.tokens)
        counted = {other: times for other, times, _ in together(cards, f, 99)}
        assert counted == dict(told["beside"])
        strongest = [said[c][p] for _, c, p in told["strongest"]]
        assert cards.labels[f] == label_of(strongest, base, cards.tokens)
    # What stands around each firing, on the card.
    most = int(cards.density.argmax())
    card = aw.attribute(model.run(given[0]), " is").features("L1.mlp").card(most)
    for firing, (_, c, p) in zip(card.contexts, twin[most]["contexts"], strict=True):
        assert firing.tokens == [model.token(i) for i in rows[c]] and firing.position == p
        own = active[c][:, most].clone()
        own[0] = 0
        assert firing.activations == pytest.approx(own.tolist(), abs=float(own.max()) / 400)
    bands = [value for band in card.bands for value in (band.high, band.low)]
    assert bands == sorted(bands, reverse=True)
    assert sorted(f.activations[f.position] for band in card.bands for f in band.firings) == pytest.approx(
        sorted(v for v, _, _ in twin[most]["drawn"]), abs=1e-5
    )
    assert sum(bar.firings for bar in card.histogram) == round(twin[most]["density"] * cards.tokens)
    assert "firings by strength" in repr(card) and "Counted on" in repr(card)


def test_bins_hold_what_they_say():
    values = torch.tensor([1e-9, 0.5, 1.0, 1.1, 3.7, 65504.0, 1e9])
    for value, number in zip(values.tolist(), tally.bin_of(values).tolist(), strict=True):
        low, high = bounds(number)
        assert low <= value < high or number in (0, BINS - 1)


def test_leaders_are_those_of_a_sort_however_the_rows_are_cut():
    draw = torch.Generator().manual_seed(1)
    feature, key = torch.randint(5, (300,), generator=draw), torch.randint(20, (300,), generator=draw).float()
    for cut in (300, 7, 1):
        leaders = Leaders(6, 4, {"row": (torch.int64, ())})
        for rows in torch.arange(300).split(cut):
            leaders.add(feature[rows], key[rows], lambda some, rows=rows: {"row": rows[some]})
        for f in range(6):
            mine = sorted((-float(key[r]), r) for r in range(300) if feature[r] == f)[:4]
            kept = leaders.column("row")[f][leaders.filled[f]].tolist()
            assert kept == [r for _, r in mine]


def test_the_same_cards_whether_interrupted_or_in_one_go(model, tmp_path: Path, monkeypatch):
    """Stopped by its job, by an interrupt in the middle of a pass, and gone on with from the folder."""
    sae = dictionary("L1.mlp", model.d_model)
    write_sae(sae, tmp_path / "L1.mlp")
    model.saes["L1.mlp"] = tmp_path / "L1.mlp"
    given = texts(200)
    whole = aw.make_cards(model, given)

    class Stops:
        def __init__(self, after):
            self.left = after

        def progress(self, done, total, note=""):
            assert 0 <= done <= total == 200
            self.left -= 1
            if self.left < 0:
                raise Cancelled("stop")

    part = aw.make_cards(model, given, save=True, job=Stops(2))
    assert not part.finished and part.tokens < whole.tokens and (tmp_path / "L1.mlp" / making.STATE).is_file()
    assert Cards.read(tmp_path / "L1.mlp", 30).tokens == part.tokens  # another process can open them
    run = aw.attribute(model.run(given[0]), " is").features("L1.mlp")
    assert "so far" in repr(run.card()) and run.card().contexts
    passes = []

    def interrupted(*args):
        passes.append(1)
        if len(passes) == 3:
            raise KeyboardInterrupt
        return collected(*args)

    monkeypatch.setattr(making, "collected", interrupted)
    further = aw.make_cards(model, given, save=True)
    assert part.tokens < further.tokens < whole.tokens
    monkeypatch.setattr(making, "collected", collected)
    same(aw.make_cards(model, iter(given), save=True), whole)
    assert not (tmp_path / "L1.mlp" / making.STATE).exists()
    # Found on reading, and as they were up to the half precision of what is stored.
    again = Cards.read(tmp_path / "L1.mlp", 30)
    assert again.labels == whole.labels and torch.equal(again.histogram, whole.histogram.long())
    assert torch.equal(again.contexts, whole.contexts) and torch.allclose(again.peaks, whole.peaks, rtol=1e-3)
    model.saes["L1.mlp"] = tmp_path / "L1.mlp"
    assert "labels" in repr(model.saes)
    most = int(whole.density.argmax())
    card, fresh = (aw.attribute(model.run(given[0]), " is").features("L1.mlp").card(most) for _ in range(2))
    assert card.contexts == fresh.contexts and card.bands == fresh.bands and len(card.contexts) > 5


def test_another_threshold_is_another_dictionary(model, tmp_path: Path):
    class Once:
        calls = 0

        def progress(self, *_):
            self.calls += 1
            if self.calls > 1:
                raise Cancelled("stop")

    own = dictionary("L1.mlp", model.d_model)
    jump = replace(own, architecture="jumprelu", k=None, threshold=torch.full((own.n_features,), 0.1))
    model.saes["L1.mlp"] = jump
    given = texts(100)
    aw.make_cards(model, given, save=tmp_path, job=Once())
    model.saes["L1.mlp"] = replace(jump, threshold=jump.threshold * 3)
    with pytest.raises(AttribError, match="begun with another dictionary"):
        aw.make_cards(model, given, save=tmp_path)


def test_what_was_begun_with_something_else_is_not_gone_on_with(model, tmp_path: Path):
    model.saes["L1.mlp"] = dictionary("L1.mlp", model.d_model)
    given = texts(100)

    class Once:
        calls = 0

        def progress(self, *_):
            self.calls += 1
            if self.calls > 1:
                raise Cancelled("stop")

    aw.make_cards(model, given, save=tmp_path, job=Once())
    with pytest.raises(AttribError, match="begun with other texts"):
        aw.make_cards(model, texts(100, seed=3), save=tmp_path)
    with pytest.raises(AttribError, match="begun with another context: 64, not 32"):
        aw.make_cards(model, given, save=tmp_path, context=32)
    model.saes["L1.mlp"] = dictionary("L1.mlp", model.d_model, seed=1)
    with pytest.raises(AttribError, match="begun with another dictionary"):
        aw.make_cards(model, given, save=tmp_path)
    own = dictionary("L1.mlp", model.d_model)
    model.saes["L1.mlp"] = replace(own, w_dec=own.w_dec * 2)
    with pytest.raises(AttribError, match="begun with another dictionary"):
        aw.make_cards(model, given, save=tmp_path)
    (tmp_path / making.STATE).write_bytes(b"no tensors")
    with pytest.raises(AttribError, match=r"cannot be read.*begin anew"):
        aw.make_cards(model, given, save=tmp_path)
    with pytest.raises(AttribError, match="has no folder"):
        aw.make_cards(model, given, save=True)
    for nothing in ([], iter(())):
        with pytest.raises(AttribError, match="no texts"):
            aw.make_cards(model, nothing)
    with pytest.raises(AttribError, match="no list of texts"):
        aw.make_cards(model, "one text")
    with pytest.raises(AttribError, match=r"Text 1: .*token"):
        aw.make_cards(model, ["is", ["is"]])
    model.saes["L0.mlp"] = dictionary("L0.mlp", model.d_model)
    with pytest.raises(AttribError, match=r"2 dictionaries.*Name the place"):
        aw.make_cards(model, given)


def test_the_first_cards_come_after_a_hundredth_and_later_ones_each_time_there_are_twice_as_many(model, monkeypatch):
    model.saes["L1.mlp"] = dictionary("L1.mlp", model.d_model)
    monkeypatch.setattr(making, "AT_ONCE", 2)
    shown = []
    model.saes.take_cards, take = (
        (lambda place, cards: (shown.append(cards), take(place, cards))),
        model.saes.take_cards,
    )
    aw.make_cards(model, [[1, 2, 3, number] for number in range(4, 304)])
    del model.saes.take_cards
    shares = [cards.tokens / shown[-1].tokens for cards in shown]
    expected = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1]
    assert shares == pytest.approx(expected, abs=3 / 300)  # a batch of two texts, and the one that is being read
    assert [cards.finished for cards in shown] == [False] * 7 + [True]


def test_memory_holds_only_the_texts_that_a_card_needs(model, monkeypatch):
    """Of many texts few stay, however many there are: the store is pruned while they pass."""
    sae = dictionary("L1.mlp", model.d_model, features=2, k=1)
    counted = tally.Tally(sae)
    draw = torch.Generator().manual_seed(0)
    most = 0
    for _ in range(400):
        x = torch.randn(32, 4, model.d_model, generator=draw)
        counted.add(x, [[1, 2, 3, 4]] * 32, [[["on a"]] * 4] * 32)
        most = max(most, len(counted.ids))
    assert counted.contexts == 12800 and most < 4200
    counted._forget()
    assert len(counted.ids) <= 2 * (24 + 20 + 25)


def test_long_texts_are_cut_and_nothing_is_lost(model):
    ids = [i for text in texts(20) for i in model.encode(text)][:60]
    pieces = model.cut(ids, 16)
    assert [i for piece in pieces for i in piece] == ids and {len(p) for p in pieces[:-1]} == {16}
    long = " ".join(texts(200))
    assert sum(map(len, model.cut(long, 64))) > 1000
    model.saes["L1.mlp"] = dictionary("L1.mlp", model.d_model)
    assert aw.make_cards(model, [long, ids]).tokens > 900


def test_the_pass_ends_where_the_dictionary_reads(model):
    model.saes["L0.mlp"] = dictionary("L0.mlp", model.d_model)
    later = []
    handle = model.layer(1).register_forward_hook(lambda *_: later.append(1))
    try:
        aw.make_cards(model, texts(40))  # a model with another hook is checked anew
        later.clear()
        aw.make_cards(model, texts(40))
    finally:
        handle.remove()
    assert not later


@pytest.mark.parametrize("context", [0, 1, -3, 2.5, True, None, "128", [8]])
def test_what_is_no_length_of_a_context_is_refused(model, context):
    model.saes["L1.mlp"] = dictionary("L1.mlp", model.d_model)
    with pytest.raises(AttribError, match=r"context=.* is no number of tokens"):
        aw.make_cards(model, texts(4), context=context)


def test_what_says_nothing_and_where_nothing_can_be_written_is_refused(model, tmp_path: Path):
    model.saes["L1.mlp"] = dictionary("L1.mlp", model.d_model)
    for say, said in ((5, "An int says nothing"), (lambda _: [], "0 entries for"), (lambda _: None, "NoneType for")):
        with pytest.raises(AttribError, match=said):
            aw.make_cards(model, texts(4), say=say)
    with pytest.raises(AttribError, match="An int is no folder"):
        aw.make_cards(model, texts(4), save=5)
    (tmp_path / "file").write_text("")
    with pytest.raises(AttribError, match="cannot be written"):
        aw.make_cards(model, texts(4), save=tmp_path / "file")


def test_features_that_write_alike_are_named(model):
    sae = dictionary("L1.mlp", model.d_model)
    rows = torch.nn.functional.normalize(sae.w_dec.double(), dim=1)
    cosines = rows @ rows.T
    for feature in (0, 7):
        expected = [f for f in cosines[feature].argsort(descending=True).tolist() if f != feature][:5]
        found = closest(sae, feature)
        assert [f for f, _ in found] == expected
        assert [c for _, c in found] == pytest.approx([float(cosines[feature, f]) for f in expected], abs=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_the_tokens_that_made_a_feature_of_heads_fire_add_up_to_it(family_model, family):
    """Source tokens and the bias are the pre-activation; each is what leaving out its values would take away."""
    model = family_model(family, torch.float32)
    model.saes.clear()
    width = model.n_heads * model.geometry[1].d_head
    model.saes["L1.z"] = sae = dictionary("L1.z", width, k=None)
    run = model.run("The capital of Italy is Rome")
    pre = sae.pre_activations(run.record.z[1])
    for position in (2, 5):
        for feature in (0, 11):
            parts = source_tokens(model, run.record, sae, feature, position)
            constant = float(sae.b_enc[feature] - sae.b_dec @ sae.w_enc[:, feature])
            assert float(parts.sum()) + constant == pytest.approx(float(pre[position, feature]), abs=1e-5)
            assert parts[position + 1 :].abs().max() < 1e-6 if position + 1 < len(parts) else True
    features = aw.attribute(run, run.ids[1]).features("L1H0")
    card = features.card()
    at, parts = card.sources
    assert at == run.n - 1 if hasattr(run, "n") else True
    assert sum(parts) == pytest.approx(card.here[at] - constant_of(sae, card.feature.index), abs=1e-4)
    assert "comes from" in repr(card) and f"its biases {signed(constant_of(sae, card.feature.index))}" in repr(card)
    with pytest.raises(ComponentError, match="outputs of heads"):
        source_tokens(model, run.record, dictionary("L1.mlp", model.d_model), 0, 1)
    model.saes.clear()


def constant_of(sae: SAE, feature: int) -> float:
    return float(sae.b_enc[feature] - sae.b_dec @ sae.w_enc[:, feature])


def test_features_are_found_by_a_word(model):
    """In labels, on the tokens that they fire on, and in what stands before: against a loop over every context."""
    model.saes["L1.mlp"] = sae = dictionary("L1.mlp", model.d_model)
    rows = [model.encode(text) for text in texts(90)]
    cards = aw.make_cards(model, rows)
    active = encoded(model, sae, rows)
    for word in ("france", " Spain", "cat and", "o"):
        found = {hit.feature: hit for hit in cards.search(word).hits}
        for f in range(sae.n_features):
            on = before = 0
            for number, position, value in zip(*(t[f, : cards.top].tolist() for t in (
                cards.contexts, cards.positions, cards.activations)), strict=True):  # fmt: skip
                if not value:
                    continue
                ids = cards.texts[number]
                tokens = [model.token(i).lower() for i in ids]
                ends = [len("".join(tokens[: i + 1])) for i in range(len(tokens))]
                text = "".join(tokens)
                starts = [s for s in range(len(text)) if text.startswith(word.lower(), s)]
                begins = [e - len(token) for e, token in zip(ends, tokens, strict=True)]
                touched = {i for s in starts for i in range(len(ids)) if ends[i] > s and begins[i] < s + len(word)}
                fires = {p for p, v in enumerate(active[rows.index(ids)][:, f].tolist()) if v > 0 and p}
                on += bool(touched & fires)
                before += bool(touched and not touched & fires and min(touched) <= position)
            named = word.strip().lower() in cards.labels[f].replace("·", " ").lower()
            assert (f in found) == bool(named or on or before), (word, f)
            if f in found:
                assert found[f][2:5] == (named, on, before), (word, f)
        order = [(-hit.named, -hit.on, -hit.before, hit.feature) for hit in cards.search(word).hits]
        assert order == sorted(order) and len(order) == len(cards.search(word))
    assert "fires on it" in repr(cards.search("france")) and len(cards.search("france").to_dataframe()) > 0
    assert repr(cards.search("xyzzy")) == "No features of L1.mlp for “xyzzy”"
    with pytest.raises(AttribError, match="nothing to look for"):
        cards.search(" ")


def test_labels_can_name_more_than_neighbours(model):
    model.saes["L1.mlp"] = dictionary("L1.mlp", model.d_model)
    cards = aw.make_cards(model, texts(60), say=lambda tokens: [["in a text"] for _ in tokens])
    assert set(cards.labels) <= {"", "mostly in a text"}  # what all positions have names none of them
    plain = aw.make_cards(model, [model.encode(text) for text in texts(60)])
    assert any(label.startswith(("on", "after", "before", "mostly", "mixed")) for label in plain.labels)
    assert json.dumps(plain.labels)
