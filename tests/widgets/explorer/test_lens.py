"""The lens as the page reads it: standing alone, embedded in the Explorer's state, and asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import attrib_widgets as aw
from attrib_widgets.demo import PROMPT, TARGET
from attrib_widgets.result import view_of
from attrib_widgets.widgets.questions.question import Encoded
from attrib_widgets.widgets.shapes import budget, results
from attrib_widgets.widgets.shapes.budget import Rest
from attrib_widgets.widgets.transport import wire
from fixtures import families
from fixtures.screens import filled


def check(container, lens, position=None, mid=True):
    """A container says what the result says, and what the other lens reads there; ``mid``: so does its title."""
    header, arrays = wire.unpack(container)
    assert header["kind"] == "lens" and header["layers"] == lens.layers and header["positions"] == lens.positions
    assert header["title"] == lens.title(position, mid) and header["tuned"] == (lens.lens is not None)
    assert header["target"] == {"text": lens.token, "id": lens.target}
    other, ids = lens.beside(), set(arrays["ids"].flatten().tolist())
    same(arrays, "", lens)
    if other is None:
        assert "other" not in header and not [name for name in arrays if name.startswith("other")]
    else:
        assert header["other"] == other.title(position, mid)
        same(arrays, "other_", other)
        ids |= set(arrays["other_ids"].flatten().tolist())
    assert {int(i) for i in header["words"]} == ids
    assert all(lens.model.token(int(i)) == text for i, text in header["words"].items())
    return header


def same(arrays, prefix, lens):
    np.testing.assert_array_equal(arrays[f"{prefix}ids"], lens.top_ids.numpy())
    np.testing.assert_array_equal(arrays[f"{prefix}probabilities"], lens.top_probabilities.numpy())
    told = ("probability", "rank", "entropy", "kl") if lens.entropy is not None else ("probability", "rank")
    for number, what in zip(arrays[f"{prefix}numbers"], told, strict=True):
        np.testing.assert_array_equal(number, getattr(lens, what).numpy())


def embedded(explorer, complete=False):
    explorer._now.parts = Encoded()  # afresh: answers are kept
    _, arrays = budget.Rest(explorer._now, complete).all()
    return arrays["lens"].data.tobytes() if "lens" in arrays else None


def test_a_result_shows_itself(demo):
    lens = aw.logit_lens(demo.run(PROMPT), TARGET, positions=[2, 5], k=3)
    view = lens.view()
    assert view.kind == "lens" and repr(view) == repr(lens)
    header = check(view.container, lens)
    assert header["tokens"] == [lens.run.tokens[2], lens.run.tokens[5]]
    assert view_of(lens) is not view and lens.view() is view
    view.close()


def test_what_was_left_out_is_not_sent(demo):
    lens = aw.logit_lens(demo.run(PROMPT), TARGET, entropy=False)
    check(results.lens(lens), lens)


def test_it_is_embedded_and_answered_with_the_same_bytes(explorer, browser):
    talk = browser(explorer)
    talk.say("1", "lens")
    answer = talk.buffers("1")[0]
    check(answer, aw.logit_lens(explorer.run, TARGET, mid=True), mid=False)
    assert embedded(explorer) == embedded(explorer, complete=True) == answer


def test_where_it_takes_long_a_live_view_asks_and_a_page_holds_it(explorer, monkeypatch):
    monkeypatch.setattr(budget, "LIVE_WORK", 1)
    assert embedded(explorer) is None
    check(embedded(explorer, complete=True), aw.logit_lens(explorer.run, TARGET, mid=True), mid=False)


def test_where_all_does_not_fit_the_streams_after_attention_stay_away(explorer, monkeypatch):
    cells = 2 * (1 + 5) * explorer.run.n_positions  # both lenses, the rows behind the layers alone
    monkeypatch.setattr(budget, "BUDGET", 10**9)
    fits, estimate = results.lens_bytes(cells * 5, cells), results.lens_bytes
    monkeypatch.setattr(
        results, "lens_bytes", lambda *counts: 10**10 if estimate(*counts) > fits else estimate(*counts)
    )
    check(embedded(explorer), aw.logit_lens(explorer.run, TARGET), mid=False)


def test_a_lens_that_does_not_fit_leaves_the_rest_in_place(explorer, monkeypatch):
    monkeypatch.setattr(results, "lens_bytes", lambda *counts: budget.BUDGET)
    header, arrays = filled(explorer)
    assert "lens" not in arrays and "patterns" in arrays and header["writes"]


def test_the_estimate_of_its_size_is_an_upper_bound(demo):
    lens = aw.logit_lens(demo.run("The capital of France is " * 20))
    estimate = 2 * results.lens_bytes(lens.top_ids.numel(), lens.probability.numel())  # beside it stands the tuned one
    assert estimate / 3 < len(results.lens(lens)) <= estimate


def test_too_much_to_draw_is_refused_with_a_remedy(demo, monkeypatch):
    monkeypatch.setattr(results, "LARGEST", 1000)
    with pytest.raises(aw.AttribError, match="positions="):
        results.lens(aw.logit_lens(demo.run(PROMPT)))


def test_its_title_is_about_the_position_that_is_explained(demo):
    explorer = aw.explore(demo, PROMPT, position=2)
    lens = aw.logit_lens(explorer.run, explorer.attribution.target, mid=True)
    assert lens.title(2) != lens.title()
    check(embedded(explorer), lens, 2, mid=False)
    explorer.close()


@pytest.mark.parametrize(
    ("target", "follows"),
    [
        (aw.logit_diff([" Rome", " Paris"], " Berlin"), " Rome"),
        (aw.log_prob(" Rome"), " Rome"),
        (aw.score("L2H1", key=2), None),
    ],
    ids=["difference", "log-probability", "score"],
)
def test_what_it_follows_and_the_python_that_makes_it(demo, target, follows):
    explorer = aw.explore(demo, PROMPT, target)
    header, arrays = filled(explorer)
    lens = eval(header["python"]["lens"], {"aw": aw, "a": explorer.attribution})
    assert lens.token == (follows or explorer.run.top(1)[0].text)
    check(arrays["lens"].tobytes(), lens, lens.positions[-1], mid=False)
    explorer.close()


def test_a_tuned_lens_shows_the_logit_lens_beside_it(demo):
    lens = aw.logit_lens(demo.run(PROMPT), TARGET, lens=demo.lens, mid=True)
    header = check(results.lens(lens), lens)
    assert header["tuned"] and header["title"].startswith("Tuned lens: ") and not header["other"].startswith("Tuned")
    held = header["held_out"]
    assert len(held) == len(lens.layers) and held[-1] is None, "the model's own output is read through nothing"
    assert [tuple(row) for row in held[:-1]] == [demo.lens.kl_of(name) for name in lens.layers[:-1]]


def test_a_lens_of_other_weights_is_said_and_left_out(tmp_path, demo):
    hf = families.build("llama")
    hf.save_pretrained(tmp_path)
    model = aw.load(str(tmp_path), tokenizer=families.tokenizer("llama"))
    aw.TunedLens.identity(model).save(tmp_path)
    assert aw.load(str(tmp_path), tokenizer=families.tokenizer("llama")).lens is not None
    lens = replace(aw.TunedLens.identity(model), metadata={"weights_sha256": "0", "model_name": "another"})
    lens.save(tmp_path)
    wrong = aw.load(str(tmp_path), tokenizer=families.tokenizer("llama"))
    header, arrays = wire.unpack(results.lens(aw.logit_lens(wrong.run(PROMPT))))
    assert "other" not in header and "other weights of another" in header["notes"][-1]
    assert "ids" in arrays


def test_another_tuned_lens_of_the_model_is_shown_from_the_next_look_on():
    model = aw.load("demo")
    explorer = aw.explore(model, PROMPT, TARGET)
    before = budget.Rest(explorer._now).all()[1]["lens"].data.tobytes()
    model.lens = aw.TunedLens.identity(model, mid=True)
    after = budget.Rest(explorer._now).all()[1]["lens"].data.tobytes()
    check(after, aw.logit_lens(explorer.run, TARGET, mid=True), mid=False)
    assert before != after and "held_out" not in wire.unpack(after)[0]
    model.lens = None
    assert "other" not in wire.unpack(budget.Rest(explorer._now).all()[1]["lens"].data.tobytes())[0]
    explorer.close()


def test_the_stream_is_patched_beside_it(explorer, browser):
    talk = browser(explorer)
    talk.say("1", "streams")
    header, arrays = wire.unpack(talk.buffers("1")[0])
    a, other = explorer.attribution, explorer._now.corrupted.run
    patched = aw.patch(a.model, a.run, other, a.target, sites="stream", positions="each")
    [grid] = header["grids"]
    assert grid["rows"][0] == "L0.pre" and len(grid["columns"]) == a.run.n_positions
    found = arrays["values"].reshape(len(grid["rows"]), -1)
    by_cell = dict(zip(map(str, patched.cells), patched.values.tolist(), strict=True))
    for cell, value in zip(grid["cells"], found.flatten().tolist(), strict=True):
        assert value == pytest.approx(by_cell[cell], abs=1e-5), cell


def test_without_a_prompt_to_compare_with_it_asks_for_one(demo, browser):
    explorer = aw.explore(demo, PROMPT, TARGET, corrupted="")
    talk = browser(explorer)
    talk.say("1", "streams")
    answer = talk.last("1")
    assert answer["kind"] == "error" and answer["field"] == "corrupted" and "ex.ask(corrupted=" in answer["hint"]
    explorer.close()


def test_a_lens_that_is_gone_is_never_taken_for_a_later_one(demo):
    """What was made with a lens is kept under the lens itself: a number of it in memory may come again."""
    explorer = aw.explore(demo, PROMPT, TARGET)
    before = demo.__dict__.get("lens")
    try:
        demo.lens = aw.TunedLens.identity(demo)
        one = Rest(explorer._now)
        demo.lens = aw.TunedLens.identity(demo)
        assert one._key != Rest(explorer._now)._key
        assert one._key[1][1] is not demo.lens and Rest(explorer._now)._key[1][1] is demo.lens
    finally:
        demo.__dict__.pop("lens", None)
        if before is not None:
            demo.lens = before
