"""More than one word: the model goes on, every word is a question, and the screen comes back from its line."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.attribution.phrases import chance, in_place, odds
from attrib_widgets.demo import CORRUPTED, PROMPT
from attrib_widgets.widgets.transport import wire

N = 6


def chain(model, ids, n, seed=None):
    """The slow loop: one forward a token, the likeliest or a draw from the printed logits."""
    ids = list(ids)
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        for _ in range(n):
            with torch.no_grad():
                logits = model.hf(torch.tensor([ids])).logits[0, -1]
            ids.append(int(logits.argmax() if seed is None else torch.multinomial(logits.softmax(-1), 1)))
    return ids


@pytest.mark.parametrize("seed", [None, 0, 3])
def test_what_is_written_is_what_a_slow_loop_writes(demo, explorer, seed):
    before = explorer.run.ids
    found = explorer.generate(N, seed=seed)
    assert found.run.ids == chain(demo, before, N, seed)
    assert explorer.generate(N, seed=seed).ids == found.ids, "the same seed gives the same text"
    assert found.ids == demo.generate(PROMPT, N, temperature=0 if seed is None else 1, seed=seed).ids[found.start :]


def test_the_words_sum_to_all_of_them(explorer):
    """Asked one by one in the Explorer, the bars sum to those of all words together."""
    explorer.ask(corrupted="", against="")
    phrase = explorer.generate(N)
    sums = torch.zeros(len(phrase.labels), dtype=torch.float64)
    for word in range(phrase.start, phrase.run.n_positions):
        explorer.word = word
        assert explorer.word == word and explorer.attribution.target.tokens == (phrase.run.tokens[word],)
        torch.testing.assert_close(explorer.attribution.values, phrase[word - phrase.start].values)
        sums += explorer.attribution.values.double()
    torch.testing.assert_close(sums.float(), phrase.sums, atol=1e-5, rtol=1e-5)
    explorer.word = None
    assert explorer.selected_result() is phrase and repr(explorer) == repr(phrase)


def test_odds_are_those_of_the_printed_logits(demo):
    run = demo.generate(PROMPT, N, temperature=1, seed=3)
    found = odds(run, 1, run.n_positions)
    with torch.no_grad():
        logits = demo.hf(torch.tensor([run.ids])).logits[0].double()
    for i, token in enumerate(run.ids[1:]):
        p = logits[i].softmax(-1)
        rank = 1 + int((logits[i] > logits[i, token]).sum())
        assert float(found.log_probs[i].exp()) == pytest.approx(float(p[token]), abs=1e-6)
        assert found.ranks[i] == rank and chance(run, i, token) == (pytest.approx(float(p[token]), abs=1e-6), rank)
        assert float(found.entropies[i]) == pytest.approx(float(-(p * p.log()).sum()), abs=1e-4)
        assert (f"rank {rank:,} of" in in_place(run, i + 1)) == (rank > 1)


def test_what_is_explained_stays_while_the_model_writes(explorer):
    """With its comparison, which goes on with the same words, and its rival."""
    before = explorer.attribution
    explorer.generate(N)
    assert explorer.attribution.target == before.target and explorer.word == explorer.phrase.start
    torch.testing.assert_close(explorer.attribution.values, before.values, atol=1e-4, rtol=1e-4)
    assert explorer.corrupted.ids == [*explorer.model.encode(CORRUPTED), *explorer.phrase.ids]


def test_a_comparison_is_kept_where_it_says_something_and_else_left_out_with_a_reason(demo, explorer):
    def notes():
        return " ".join(wire.unpack(explorer.container)[0]["notes"])

    explorer.word = 3  # of the plain prompt: both begin alike
    assert explorer.corrupted is None and "begins alike" in notes()
    explorer.ask(prompt=PROMPT + ",", corrupted=CORRUPTED + ",")
    explorer.ask(prompt=PROMPT, corrupted=CORRUPTED)
    explorer.generate(N)
    explorer.word = 2
    assert explorer.corrupted is None and "begins alike" in notes()
    explorer.word = explorer.phrase.start + 1
    assert explorer.corrupted is not None and "go on with the same words" in notes()
    explorer.ask(corrupted="The capital is")
    assert explorer.corrupted is None and "another length" in notes()
    explorer.ask(corrupted="The capital of Spain is")
    assert explorer.corrupted.ids[: explorer.phrase.start] == demo.encode("The capital of Spain is")
    explorer.ask(corrupted="")
    explorer.word = explorer.phrase.start
    assert explorer.corrupted is None and "comparison" not in notes()
    explorer.ask(against=" Rome")
    explorer.word = explorer.phrase.start + 1
    assert "rival belonged to another word" in notes()


def test_the_page_asks_and_goes_back(explorer, browser):
    page = browser(explorer)
    first = explorer.attribution.target
    page.say("a", "explain", write={"n": N, "seed": None})
    assert page.last("a")["kind"] == "result" and "progress" in page.kinds("a")
    header, arrays = wire.unpack(explorer.container)
    inner, sums = wire.unpack(arrays["phrase"].tobytes())
    assert [t["text"] for t in [*inner["given"], *inner["tokens"]]] == explorer.run.tokens
    assert inner["given"][0]["prob"] is None and sums["sums"].shape == (len(explorer.phrase.labels),)
    asked = header["question"]
    page.say("b", "explain", word=3)
    page.last("b")
    assert explorer.word == 3 and explorer.phrase is not None
    page.say("c", "explain", restore=asked)
    page.last("c")
    assert explorer.word == explorer.phrase.start
    page.say("d", "explain", restore=0)
    page.last("d")
    assert explorer.phrase is None and explorer.attribution.target == first
    page.say("e", "explain", restore=asked)
    page.last("e")
    assert explorer.phrase is not None, "the words come back with the question"
    page.say("f", "explain", write={"n": 0, "seed": None})
    page.last("f")
    assert explorer.phrase is None and explorer.run.text == PROMPT
    for wrong in ({"write": {"n": -1, "seed": None}}, {"write": {"n": 2, "seed": -1}}, {"word": 0}, {"word": 99}):
        page.say(str(wrong), "explain", **wrong)
        assert page.last(str(wrong))["kind"] == "error" and explorer.run.text == PROMPT


def test_a_cancelled_continuation_leaves_what_was_there(explorer, browser, monkeypatch):
    page, model = browser(explorer), explorer.model
    written = type(model).generate

    def slowly(self, *args, **options):
        page.raw({"v": 1, "id": "a", "op": "cancel"})
        return written(self, *args, **options)

    monkeypatch.setattr(type(model), "generate", slowly)
    page.say("a", "explain", write={"n": N, "seed": None})
    assert page.last("a")["kind"] == "cancelled" and explorer.phrase is None


def opened(demo):
    def at(n, seed, word):
        explorer = aw.explore(demo)
        explorer.generate(n, seed=seed)
        explorer.word = word
        return explorer

    def rival(explorer):
        explorer.ask(against=" Rome")
        return explorer

    def alone(explorer):
        explorer.ask(against=())
        return explorer

    return {
        "greedy, the first word": at(N, None, 6),
        "sampled, a later word": at(N, 5, 8),
        "a given word": at(N, None, 3),
        "all words": at(N, None, None),
        "another rival": rival(at(N, None, 6)),
        "by itself": alone(at(N, None, 6)),
        "a phrase": aw.explore(demo, PROMPT, aw.phrase(" Paris.")),
        "a phrase in logits": aw.explore(demo, PROMPT, aw.phrase(" Paris.", unit="logits"), corrupted=""),
        "ids": aw.explore(demo, demo.encode(PROMPT)[1:], aw.phrase([5, 6, 7])),
        "a word of the prompt": _word(aw.explore(demo), 3),
    }


def _word(explorer, at):
    explorer.word = at
    return explorer


def test_every_screen_opens_again_from_its_line(demo):
    for name, first in opened(demo).items():
        again = aw.explore(demo, state=first.state)
        assert again.state == first.state, name
        assert again.word == first.word and again.run.ids == first.run.ids, name
        assert again.attribution.actual == pytest.approx(first.attribution.actual, abs=1e-4), name
        assert repr(again) == repr(first), name
        other = aw.explore(demo, "The capital of Japan is")
        other.state = first.state
        assert other.state == first.state and other.word == first.word, name
        for one in (first, again, other):
            one.close()


def test_a_phrase_opens_in_an_explorer(demo):
    explorer = aw.explore(demo, PROMPT, aw.phrase(" Paris. The"), corrupted="")
    alone = aw.attribute(demo.run(PROMPT), aw.phrase(" Paris. The"))
    assert explorer.word is None and repr(explorer) == repr(alone)
    explorer.word = -1
    torch.testing.assert_close(explorer.attribution.values, alone[-1].values)
    assert explorer.attribution.unit == "nats"
    with pytest.raises(aw.AttribError, match="held against nothing"):
        aw.explore(demo, PROMPT, aw.phrase(" Paris"), against=" Rome")
    with pytest.raises(aw.AttribError, match="on the screen"):
        aw.explore(demo, PROMPT, aw.phrase(" Paris"), hidden=["candidates"])
    explorer.close()


def test_copied_lines_make_the_same_numbers(demo):
    for name, explorer in opened(demo).items():
        header = wire.unpack(explorer.container)[0]
        made: dict = {}
        exec(header["python"]["setup"], made)
        torch.testing.assert_close(made["a"].values, explorer.attribution.values, atol=1e-4, rtol=1e-4, msg=name)
        if explorer.phrase is not None:
            torch.testing.assert_close(made["p"].sums, explorer.phrase.sums, atol=1e-4, rtol=1e-4)
        explorer.close()


def test_what_python_is_told(explorer):
    for wrong in (0, 99, "x", 1.5):
        with pytest.raises(aw.PositionError, match="no word that this text leads to"):
            explorer.word = wrong
    with pytest.raises(aw.AttribError, match="Nothing follows the prompt"):
        explorer.word = None
    with pytest.raises(aw.AttribError, match="not a seed"):
        explorer.generate(3, seed=-1)
    for n in (0, -1, 1.5):  # 0 takes the words away on the page; here it writes nothing, whether words are there or not
        with pytest.raises(aw.AttribError, match="not a number of tokens"):
            explorer.generate(n)
    there = explorer.generate(2)
    with pytest.raises(aw.AttribError, match="not a number of tokens"):
        explorer.generate(0)
    assert explorer.phrase is there
    explorer.ask(prompt="The capital of Spain is")
    for line, said in (("prompt=The&word=all", "words that follow"), ("prompt=The&word=x", "no whole number")):
        with pytest.raises(aw.AttribError, match=said):
            explorer.state = line
    explorer.hidden = ["candidates"]
    with pytest.raises(aw.AttribError, match="hidden still"):
        explorer.generate(3)
