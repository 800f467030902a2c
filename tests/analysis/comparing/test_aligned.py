"""Word under word: what is aligned, and what all heads carried from each word, beside the same asked head by head."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.comparing.aligned import align, carried
from attrib_widgets.widgets.transport import wire
from fixtures import families
from fixtures.levels import coarser


@pytest.fixture(scope="module")
def demo():
    return aw.load("demo")


@pytest.mark.parametrize(
    ("one", "other", "pairs"),
    [
        ("a b c", "a b c", "00 11 22"),
        ("a b c", "a x c", "00 11 22"),  # changed words under each other
        ("a b c", "a x b c", "00 -1 12 23"),  # an insertion is a gap
        ("a x b c", "a b c", "00 1- 21 32"),
        ("a b c", "a x y c", "00 11 -2 23"),  # a word for two
        ("w m and j", "w j and m", "00 11 22 33"),  # two names exchanged: place by place
        ("a b c d", "b c d e", "0- 10 21 32 -3"),  # of one length, and moved
        ("", "a", "-0"),
        ("", "", ""),
    ],
)
def test_words_meet(one, other, pairs):
    found = align(one.split(), other.split())
    assert found == [tuple(None if c == "-" else int(c) for c in pair) for pair in pairs.split()]


def test_every_word_stands_once_and_in_order(demo):
    texts = ["The capital of France is", "In the end the capital of France is", "When Mary and John", "is", "The is of"]
    tokens = [[demo.token(i) for i in demo.encode(text)] for text in texts]
    for one in tokens:
        for other in tokens:
            pairs = align(one, other)
            for side, words in enumerate((one, other)):
                assert [p[side] for p in pairs if p[side] is not None] == list(range(len(words)))
            assert all(pair != (None, None) for pair in pairs)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "mistral", "gpt_neox", "qwen2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_all_heads_carried_is_the_sum_over_heads(family_model, name, dtype):
    model = family_model(name, dtype)
    a = aw.attribute(model.run([1, 2, 3, 4, 5]), 7)
    found = carried(a)
    assert found is not None
    tokens, rest = found
    slow = torch.zeros(5, dtype=torch.float64)
    for c in (c for c in a.components if c.kind == "head"):
        s = a.sources(c)
        for label, kind, value in zip(range(len(s.labels)), s.kinds, s.values.tolist(), strict=True):
            if kind == "token":
                slow[label] += value
    scale = float(a.values.abs().sum())
    assert torch.allclose(tokens.double(), slow, atol=1e-5 * (1 + scale))
    heads = sum(v for c, v in zip(a.components, a.values.tolist(), strict=True) if c.kind == "head")
    assert float(tokens.double().sum()) + rest == pytest.approx(heads, abs=1e-5 * (1 + scale))


def test_columns_and_their_sums(demo):
    a = aw.attribute(demo.run("The capital of France is"), " Paris", against=" Berlin")
    b = aw.attribute(demo.run("In the end the capital of Germany is"), " Paris", against=" Berlin")
    words = aw.compare(a, b).tokens()
    heads = [sum(v for c, v in zip(x.components, x.values.tolist(), strict=True) if c.kind == "head") for x in (a, b)]
    assert words.totals == pytest.approx(heads, abs=1e-5)
    frame = words.to_dataframe()
    assert frame["a"].isna().equals(frame["token_a"].isna()) and frame["b"].isna().equals(frame["token_b"].isna())
    assert frame["difference"].tolist()[:-1] == words.difference.tolist()
    assert frame["a"].sum() == pytest.approx(words.totals[0]) and frame["token_b"].iloc[-1] == "biases"
    table = words.summary()
    assert table.last == 2 and [row[0] for row in table.rows[-2:]] == ["biases", "all heads"]
    marks = dict(zip(words.texts[1], (row[2] for row in table.rows), strict=False))
    assert marks["\u0020Germany"] == "changed" and "only in B" in marks.values() and marks["\u0020of"] == ""
    header, arrays = wire.unpack(aw.compare(a, b).view().container)
    assert (header["words"]["a"], header["words"]["b"]) == words.texts
    assert torch.allclose(torch.tensor(arrays["carried"][2]), words.difference)
    assert header["words"]["rest"][:2] == pytest.approx(words.rest.tolist())


def test_one_is_alike_word_by_word(demo):
    a = aw.attribute(demo.run("The capital of France is"), " Paris")
    words = aw.compare(a, a).tokens()
    assert all(words.same) and not words.difference.any()
    assert words.title() == "All heads together carried the same from every word"


@pytest.mark.parametrize("granularity", ["layers", "sublayers", "heads"])
def test_where_heads_are_not_exact_words_stand_without_numbers(granularity):
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    coarser(model, granularity, layers=[1])
    a, b = (aw.attribute(model.run(ids), 5) for ids in ([1, 2, 3], [1, 4, 3]))
    words = aw.compare(a, b).tokens()
    assert words.values is None and words.totals is None and words.same == [True, False, True]
    assert "1 word differs" in repr(words)
    header, arrays = wire.unpack(aw.compare(a, b).view().container)
    assert "rest" not in header["words"] and "carried" not in arrays
