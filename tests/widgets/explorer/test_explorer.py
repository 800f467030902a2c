"""The Explorer from Python: questions, selection, and what it embeds."""

from __future__ import annotations

import gc
import json
import shutil
import sys
import weakref

import numpy as np
import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.attribution.attribute import attribute
from attrib_widgets.analysis.attribution.attribution import Attribution
from attrib_widgets.analysis.opening.results import Contributions, Writes
from attrib_widgets.demo import CORRUPTED, PROMPT, TARGET, tasks
from attrib_widgets.model.running.worker import Job
from attrib_widgets.model.tracing.edits import Edit
from attrib_widgets.widgets import explore
from attrib_widgets.widgets.explorer import explorer as module
from attrib_widgets.widgets.questions import memory
from attrib_widgets.widgets.transport import wire
from attrib_widgets.words.errors import AttribError, ComponentError, PositionError, TargetError
from attrib_widgets.words.targets import log_prob, logit, logit_diff, score
from fixtures import tokenizers
from fixtures.levels import coarser
from fixtures.packing import embedded
from fixtures.screens import filled

JAPAN = "The capital of Japan is"


def header(explorer):
    return filled(explorer)[0]


# what it starts from


def test_the_first_screen(explorer, demo):
    assert explorer.model is demo
    assert explorer.run.text == PROMPT and explorer.corrupted.text == CORRUPTED
    assert explorer.attribution.target == logit_diff(TARGET, " Berlin")
    assert (explorer.selected, explorer.source, explorer.hidden) == ("", -1, ())
    assert [q.prompt for q in explorer.history] == [PROMPT]


def test_a_prompt_without_a_target_is_its_top_prediction(demo):
    explorer = explore(demo, JAPAN)
    assert explorer.corrupted is None, "the comparison belongs to the first task"
    assert header(explorer)["target"]["text"] == demo.run(JAPAN).top(1)[0].text
    explorer.close()


def test_targets_of_every_kind(demo):
    for target, against, kind, rival in [
        (TARGET, None, "logit_diff", " Berlin"),
        (TARGET, (), "logit", None),
        (TARGET, "", "logit", None),
        (TARGET, " Rome", "logit_diff", " Rome"),
        (log_prob(TARGET), None, "log_prob", None),
        (logit(TARGET).centered(), None, "logit", None),
        (demo.single_token(TARGET), None, "logit_diff", " Berlin"),
    ]:
        explorer = explore(demo, PROMPT, target, against=against)
        shown = header(explorer)["target"]
        assert (shown["kind"], shown["text"]) == (kind, TARGET)
        assert shown["unit"] == explorer.attribution.unit
        assert (shown["against"] or {}).get("text") == rival
        explorer.close()


def test_refusals_name_the_part(demo):
    for arguments, error, part in [
        ({"prompt": " the" * 5000}, PositionError, "prompt"),
        ({"prompt": PROMPT, "position": 99}, PositionError, "prompt"),
        ({"prompt": PROMPT, "target": " Paris and more"}, TargetError, "target"),
        ({"prompt": PROMPT, "target": TARGET, "corrupted": ""}, None, ""),
        ({"prompt": PROMPT, "target": TARGET, "hidden": ["everything"]}, AttribError, None),
    ]:
        if error is None:
            explore(demo, **arguments).close()
            continue
        with pytest.raises(error) as caught:
            explore(demo, **arguments)
        assert caught.value.hint
        assert getattr(caught.value, "field", None) == part


# what it embeds


def test_the_header(explorer, demo):
    h, arrays = filled(explorer)
    a, run = explorer.attribution, explorer.run
    assert (h["kind"], h["version"]) == ("explorer", 1)
    assert (
        h["model"]["name"] == "demo" and h["model"]["layers"] == demo.n_layers and h["model"]["heads"] == demo.n_heads
    )
    assert h["prompt"] == {"text": PROMPT, "tokens": run.tokens, "special": run.special, "position": a.position}
    assert [c["text"] for c in h["candidates"]] == [p.text for p in run.top(6)]
    assert h["target"]["phrase"] == a.target.words(demo) and h["target"]["id"] == demo.single_token(TARGET)
    assert [r["id"] for r in h["rows"]] == a.labels
    assert (h["total"], h["actual"], h["gap"], h["exact"]) == (a.total, a.actual, a.mismatch, True)
    assert [e["prompt"] for e in h["examples"]] == [group[0].prompt for group in tasks.values()]
    np.testing.assert_array_equal(arrays["values"], a.values.numpy())
    assert "patterns" in h["arrays"] and h["writes"] and h["neurons"]
    assert h["absent"] == {}, "the embedded model can show everything"
    assert h["finding"]["names"] and h["finding"]["text"] in a.title()


def test_the_comparison(explorer, demo):
    c = header(explorer)["corrupted"]
    other = attribute(demo.run(CORRUPTED), TARGET, against=" Berlin")
    here = [i for i, (x, y) in enumerate(zip(explorer.run.ids, demo.encode(CORRUPTED), strict=True)) if x != y]
    assert c["aligned"] and c["differs"] == here and len(here) == 1
    assert c["gap"] == pytest.approx(explorer.attribution.actual - other.actual)


def test_comparison_of_another_length_reads_from_the_end(demo):
    longer = "When Mary and John went to the shop, John gave the bag to"
    explorer = explore(demo, PROMPT, TARGET, corrupted=longer)
    c = header(explorer)["corrupted"]
    assert not c["aligned"] and c["differs"] == []
    there = attribute(demo.run(longer), TARGET, against=demo.run(longer).top(1)[0].text).actual
    assert c["gap"] == pytest.approx(explorer.attribution.actual - there)
    explorer.close()


def test_every_head_bar_is_the_sum_of_what_is_embedded(explorer):
    h, x = filled(explorer)
    t = h["prompt"]["position"]
    pattern = x["patterns"][:, :, t]
    bars = (pattern * x["carry"]).sum(-1) * x["dest"][:, t][:, None] + x["value_bias"]
    heads = explorer.attribution.heads.numpy()
    # Patterns travel as float16: half a unit in the last place of each weight.
    slack = 5e-4 * (np.abs(x["carry"]) * pattern).sum(-1) * np.abs(x["dest"][:, t][:, None]) + 1e-5
    assert (np.abs(bars - heads) <= slack).all()


def test_the_offline_page_embeds_the_rest(explorer):
    explorer.frozen_page()
    h, x = wire.unpack(explorer.page_traits()["container"])
    a, rows = explorer.attribution, [r["id"] for r in h["rows"]]
    assert {"patterns", "through", "why"} <= set(x) and h["writes"] and h["neurons"]
    assert len(explorer.page_traits()["container"]) <= 2_000_000
    t = h["prompt"]["position"]
    for label in (str(c) for c, _ in a.top(6) if c.kind == "head"):
        layer, head = a.components[rows.index(label)].layer, a.components[rows.index(label)].index
        through = a.through(label)
        for i, part in enumerate(through.components):
            if str(part) in rows:
                got = x["through"][layer, head, :, rows.index(str(part))]
                np.testing.assert_allclose(got, through.values[:, i].numpy(), atol=1e-6)
        key = h["why_key"][layer][head]
        assert key == int(np.argmax(x["patterns"][layer, head, t]))
        for side in (0, 1):
            total = x["why"][layer, head, side].sum() + x["why_bias"][layer, head, side]
            assert total == pytest.approx(x["why_score"][layer, head], abs=1e-3)
        choice = a.choice(label)
        assert int(x["why_rival"][layer, head]) == choice.against
        total = x["why_choice"][layer, head].sum() + x["why_choice_bias"][layer, head]
        assert total == pytest.approx(x["why_score"][layer, head] - x["why_rival_score"][layer, head], abs=1e-3)
        assert total == pytest.approx(choice.total, abs=1e-3)


def test_a_long_prompt_leaves_patterns_out(demo):
    words = " ".join(["apple river lamp garden horse"] * 30)
    explorer = explore(demo, words)
    n = explorer.run.n_positions
    h, _ = filled(explorer)
    assert len(explorer.container) + len(explorer.screen) + len(explorer.rest) <= 2_000_000
    weights = demo.n_layers * demo.n_heads * n * (n + 1) // 2
    assert ("patterns" in h["arrays"]) == (n <= 300 and weights <= 1_400_000)
    assert len(explorer.page_traits()["container"]) <= 2_000_000
    explorer.close()


# selection


def test_selection_is_read_in_any_spelling_and_checked(explorer):
    explorer.selected = (1, 2)
    assert explorer.selected == "L1H2"
    explorer.selected = "0.3"
    assert explorer.selected == "L0H3"
    explorer.selected = "l2 mlp"
    assert explorer.selected == "L2.mlp"
    with pytest.raises(ComponentError, match="L99H0 is not a row"):
        explorer.selected = "L99H0"
    with pytest.raises(ComponentError, match="does not name a component"):
        explorer.selected = "the third head"
    with pytest.raises(ComponentError, match=r'^L2\.post/3 is a feature of a stream.*features\("L2\.post"\)'):
        explorer.selected = "L2.post/3"
    assert explorer.selected == "L2.mlp"
    explorer.selected = None
    assert explorer.selected == ""


@pytest.mark.parametrize(
    "name", ["prompt", "target", "against", "position", "corrupted", "run", "attribution", "model"]
)
def test_what_is_asked_for_cannot_be_set(explorer, name):
    instead = r"aw\.explore\(model" if name == "model" else r"\.ask\("
    with pytest.raises(AttribError, match=f"^{name} is not set but asked for.*{instead}"):
        setattr(explorer, name, "The capital of Italy is")
    assert explorer.run.text == "The capital of France is"


def test_source(explorer):
    explorer.selected = "L1H2"
    explorer.source = 3
    explorer.selected = "L1H3"
    assert explorer.source == -1, "a source belongs to its head"
    with pytest.raises(PositionError, match="Source 99"):
        explorer.source = 99


def test_on_select_hears_clicks_and_python(explorer):
    heard = []
    stop = explorer.on_select(heard.append)
    explorer.selected = "L1H2"
    explorer.set_state({"selected": "L1H3", "source": 2})
    assert heard == ["L1H2", "L1H3"]
    assert (explorer.selected, explorer.source) == ("L1H3", 2), "one click brings both"
    explorer.selected = "L1H3"
    stop()
    stop()
    explorer.selected = ""
    assert heard == ["L1H2", "L1H3"]


def test_an_impossible_click_is_answered_with_the_selection(explorer):
    explorer.selected = "L1H2"
    sent = []
    explorer.send_state = lambda key=None: sent.append(key)
    explorer.set_state({"selected": "L99H0", "source": 2})
    assert explorer.selected == "L1H2" and sent[-1] == list(explorer.checked)


def test_a_listener_that_fails_on_a_click_is_kept(explorer):
    def bad(label):
        raise KeyError("mine")

    explorer.on_select(bad)
    explorer.set_state({"selected": "L1H3"})
    assert explorer.selected == "L1H3" and "KeyError: 'mine'" in explorer.last_error
    with pytest.raises(KeyError):
        explorer.selected = "L1H2"


def test_selected_result(explorer):
    a = explorer.attribution
    assert explorer.selected_result() is a
    explorer.selected = "L1H2"
    result = explorer.selected_result()
    assert isinstance(result, Contributions) and result.parent == "L1H2"
    assert torch.equal(result.values, a.sources("L1H2").values)
    explorer.source = 1
    assert torch.equal(explorer.selected_result().values, a.through("L1H2").at(1).values)
    explorer.selected = "L2.mlp"
    assert explorer.selected_result().labels[0] == "L2N0"
    explorer.selected = "embed"
    assert isinstance(explorer.selected_result(), Writes)
    explorer.selected = "rounding"
    assert explorer.selected_result() == a["rounding"]


# questions


def test_ask_changes_one_thing_at_a_time(explorer):
    explorer.ask(target=" Rome")
    assert explorer.attribution.target == logit_diff(" Rome", " Berlin") and explorer.corrupted.text == CORRUPTED
    explorer.ask(against=TARGET)
    assert explorer.attribution.target == logit_diff(" Rome", TARGET)
    explorer.ask(against="")
    assert explorer.attribution.target == logit(" Rome")
    explorer.ask(corrupted="")
    assert explorer.corrupted is None
    explorer.ask(position=2)
    there = logit(explorer.run.top(1, position=2)[0].id)
    assert explorer.attribution.position == 2 and explorer.attribution.target == there
    explorer.ask(position=3, target=" Rome")
    assert explorer.attribution.position == 3 and explorer.attribution.target == logit(" Rome")
    explorer.ask(position=-3)
    assert explorer.attribution.position == 3 and explorer.attribution.target == logit(" Rome"), "nothing moved"
    explorer.ask(JAPAN)
    assert explorer.run.text == JAPAN and explorer.attribution.position == explorer.run.n_positions - 1
    assert explorer.attribution.target == logit(explorer.run.top(1)[0].id), "a new prompt asks for what comes next"
    assert header(explorer)["version"] == 9
    assert isinstance(explorer.ask(PROMPT, TARGET), Attribution)


def test_a_log_probability_stays_one(demo):
    explorer = explore(demo, PROMPT, log_prob(TARGET))
    explorer.ask(target=" Rome")
    assert explorer.attribution.target == log_prob(" Rome")
    explorer.close()


def test_a_failed_question_changes_nothing(explorer):
    before = explorer.container, explorer.attribution, explorer.run, list(explorer.history)
    explorer.selected = "L1H2"
    for question, part in [
        ({"target": " Paris and more"}, "target"),
        ({"against": " Rome and more"}, "against"),
        ({"prompt": " the" * 5000}, "prompt"),
        ({"prompt": JAPAN, "position": 77}, "prompt"),
        ({"position": "last"}, "prompt"),
        ({"corrupted": PROMPT}, "corrupted"),
        ({"prompt": 3.5}, None),
    ]:
        with pytest.raises(AttribError) as caught:
            explorer.ask(**question)
        assert caught.value.hint
        assert getattr(caught.value, "field", None) == part, question
        assert (explorer.container, explorer.attribution, explorer.run, explorer.history) == before
        assert explorer.selected == "L1H2"


def test_going_back_asks_the_very_same_question(demo):
    """By number: texts cannot name ids with their own beginning, sets of tokens, or what kind of target it was."""
    ids = demo.encode(PROMPT)
    explorer = explore(demo, ids, log_prob(TARGET))
    first = explorer.attribution
    number = header(explorer)["question"]
    explorer.ask(JAPAN, logit_diff([" Tokyo", " Oslo"], " Rome"))
    assert header(explorer)["question"] != number
    explorer._memory.recent.clear()
    explorer._ask(Job(lambda job: None), {"restore": number})
    assert explorer.run.ids == ids and explorer.attribution.target == first.target
    assert explorer.attribution.actual == first.actual and header(explorer)["question"] == number
    with pytest.raises(AttribError, match="number 99"):
        explorer._ask(Job(lambda job: None), {"restore": 99})
    explorer.close()


def open_neuron(explorer, neuron):
    explorer._ask(Job(lambda job: None), {"neuron": neuron})


def crumbs(explorer):
    return [(crumb["question"], crumb["target"]["text"]) for crumb in header(explorer)["origin"]]


def test_a_neuron_leads_back_to_the_target_it_was_opened_from(explorer):
    first = header(explorer)["question"]
    open_neuron(explorer, "L1N3")
    inner = header(explorer)["question"]
    assert crumbs(explorer) == [(first, TARGET)]
    open_neuron(explorer, "L1N3")
    assert crumbs(explorer) == [(first, TARGET)], "opened twice, by a double click"
    explorer.ask(target=" Rome")
    rome = header(explorer)["question"]
    assert crumbs(explorer) == []
    open_neuron(explorer, "L1N3")
    assert header(explorer)["question"] == inner and crumbs(explorer) == [(rome, " Rome")]
    open_neuron(explorer, "L0N3")
    assert [number for number, _ in crumbs(explorer)] == [rome, inner]


def test_a_neuron_that_could_not_be_opened_leaves_no_trace(explorer, monkeypatch):
    first = header(explorer)["question"]
    job = Job(lambda job: None)
    with monkeypatch.context() as patch:
        patch.setattr(module, "explain", refuse)
        with pytest.raises(AttribError):
            explorer._ask(job, {"neuron": "L1N3"})
    explorer.ask(target=aw.neuron("L1N3", position=explorer.attribution.position))
    assert crumbs(explorer) == [], "asked for from Python, not opened from anything"
    explorer._ask(job, {"restore": first})
    assert crumbs(explorer) == []


def refuse(*args):
    raise AttribError("Not now.", "Later.")


def test_only_recent_answers_hold_the_runs_that_were_given(demo, monkeypatch):
    monkeypatch.setattr(memory, "KEPT_BYTES", 0)
    explorer = explore(demo, demo.run(PROMPT), TARGET, corrupted=demo.run(CORRUPTED))
    first, ids = header(explorer)["question"], demo.encode(PROMPT)
    actual, other = explorer.attribution.actual, explorer.corrupted.ids
    given = weakref.ref(explorer.run), weakref.ref(explorer.corrupted)
    explorer.ask(JAPAN, corrupted="")
    gc.collect()
    assert [ref() for ref in given] == [None, None]
    assert explorer.history[0].prompt == tuple(ids) and explorer.history[0].corrupted == tuple(other)
    explorer._ask(Job(lambda job: None), {"restore": first})
    assert explorer.run.ids == ids and explorer.corrupted.ids == other
    assert header(explorer)["question"] == first and explorer.attribution.actual == pytest.approx(actual)
    assert [q.prompt for q in explorer.history] == [tuple(ids), JAPAN, tuple(ids)]
    explorer.close()


def test_an_edited_run_that_is_gone_is_not_replaced_by_its_tokens(demo, monkeypatch):
    monkeypatch.setattr(memory, "KEPT_BYTES", 0)
    run = demo.run(PROMPT)
    edit = Edit("mlp", 1, (run.n_positions - 1,), torch.zeros(1, demo.d_model))
    explorer = explore(demo, run.edited([edit]), TARGET)
    before = explorer.attribution.actual
    explorer.ask(JAPAN)
    with pytest.raises(AttribError, match=rf"instead of {before:.3f}.*\.ask\(prompt=run\)"):
        explorer._ask(Job(lambda job: None), {"restore": 0})
    assert explorer.run.text == JAPAN
    explorer.close()


def test_an_id_that_has_a_text_is_kept_as_its_text(explorer):
    model = explorer.model
    explorer.ask(target=model.single_token(" Rome"))
    assert explorer.attribution.target == logit_diff(" Rome", " Berlin")
    explorer.ask(against=model.single_token(" Oslo"))
    assert explorer.attribution.target == logit_diff(" Rome", " Oslo")
    explorer.ask(against="")
    byte = model.token_ids("🤗")[0]  # a part of a longer character
    explorer.ask(target=byte)
    assert explorer.attribution.target == logit("<0xF0>")


def test_an_id_without_a_text_of_its_own_is_kept_as_an_id():
    tokenizer = tokenizers.byte_level(added=[" Paris"])
    model = tokenizers.model(tokenizer)
    piece, added = (tokenizer.convert_tokens_to_ids(t) for t in ("ĠParis", " Paris"))
    other = ({piece, added} - {model.single_token(" Paris")}).pop()
    explorer = explore(model, "The", " Paris")
    explorer.ask(target=other)
    assert explorer.attribution.target == logit(other) and f"aw.logit({other})" in header(explorer)["python"]["setup"]
    explorer.close()


def test_another_model_in_a_folder_called_demo_is_not_the_embedded_one(tmp_path):
    from attrib_widgets import demo as embedded

    shutil.copytree(embedded.path(), tmp_path / "demo", ignore=shutil.ignore_patterns("saes", "suggestions.json"))
    model = aw.load(str(tmp_path / "demo"), dtype="float32")
    shown = explore(model, PROMPT)
    assert shown.corrupted is None and header(shown)["examples"] == [] and "features" not in header(shown)
    assert 'aw.load("demo")' not in header(shown)["python"]["setup"]
    with pytest.raises(AttribError, match="no prompt"):
        explore(model)
    shown.close()


def test_loaded_from_its_own_folder_the_embedded_model_shows_everything(demo):
    """What it suggests and its dictionaries travel with the folder: the name it was loaded by gives nothing more."""
    from attrib_widgets import demo as embedded

    one, other = explore(aw.load(str(embedded.path()))), explore(demo)
    here, there = header(one), header(other)
    assert one.run.text == embedded.PROMPT and one.corrupted.text == embedded.CORRUPTED
    for part in ("examples", "target", "corrupted", "python", "features", "rows", "test"):
        assert here[part] == there[part] and here[part], part
    assert (
        len(here["examples"]) == len({s.ability for s in demo.suggestions})
        and 'aw.load("demo")' in here["python"]["setup"]
    )
    assert here["test"]["suggested"] == embedded.CORRUPTED
    one.close()
    other.close()


def test_a_file_of_suggestions_that_is_broken_is_named(tmp_path):
    from attrib_widgets.model.suggestions import Suggestion, read_suggestions

    assert read_suggestions(None) == read_suggestions(tmp_path) == []
    row = {"ability": "a", "prompt": "b", "target": "c", "corrupted": "d"}
    (tmp_path / "suggestions.json").write_text(json.dumps([row]))
    assert read_suggestions(tmp_path) == [Suggestion("a", "b", "c", "d")]
    for broken in ("{", "[1]", json.dumps([{**row, "more": "e"}]), json.dumps([{**row, "prompt": 3}])):
        (tmp_path / "suggestions.json").write_text(broken)
        with pytest.raises(AttribError, match=r"suggestions\.json cannot be read.*ability, prompt"):
            read_suggestions(tmp_path)


def test_a_score_opens_like_a_logit(demo):
    run = demo.run(PROMPT)
    h, x = filled(aw.attribute(run, score("L2H0", query=-1, key=2)).view())
    assert h["target"]["kind"] == "score" and "before the softmax" in h["target"]["phrase"]
    assert x["carry"].shape[0] == 2 and {"through", "why"} <= set(x)


def test_going_back_computes_nothing(explorer, monkeypatch):
    first = explorer.attribution
    explorer.ask(JAPAN)
    monkeypatch.setattr(type(explorer.model), "run", None)
    explorer.ask(PROMPT, TARGET)
    assert explorer.attribution is first
    explorer.ask(target=" Rome")  # the recorded run serves another target


def test_selection_follows_the_rows(explorer):
    explorer.selected = "L1H2"
    explorer.source = explorer.run.n_positions - 1
    heard = []
    explorer.on_select(heard.append)
    explorer.ask("The capital")
    assert explorer.selected == "L1H2" and explorer.source == -1 and heard == []


def test_a_source_is_a_token_that_was_read_for_what_is_explained(explorer, monkeypatch):
    explorer.selected = "L1H2"

    def source_after(**question):
        explorer.source = 2
        explorer.ask(**question)
        return explorer.source

    assert source_after(target=" Rome") == 2 and source_after(corrupted="") == 2, "the same tokens, the same place"
    assert source_after(position=3) == 2 and source_after(position=2) == 2
    assert source_after(position=1) == -1, "nothing was read from behind it"
    assert source_after(position=4) == 2
    assert source_after(prompt=JAPAN) == -1, "another token stands there"
    explorer.ask(PROMPT)
    monkeypatch.setattr(type(explorer.model.check), "causal", False)
    assert source_after(position=1) == 2, "a model that looks ahead"


def test_a_constructor_that_fails_says_one_thing(demo, monkeypatch):
    """Nothing more is printed when what it left is collected."""
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    def fail(*args, **options):
        raise RuntimeError("no container")

    with pytest.raises(aw.AttribError, match="no part called"):
        aw.explore(demo, PROMPT, TARGET, hidden=["nonsense"])
    monkeypatch.setattr(module.Explorer, "_container", fail)
    with pytest.raises(RuntimeError, match="no container"):
        aw.explore(demo, PROMPT, TARGET)
    gc.collect()
    assert not unraisable


def test_hidden_and_reveal(demo):
    explorer = explore(demo, hidden=["candidates", "values"])
    assert explorer.options["hidden"] == ["candidates", "values"]
    explorer.reveal()
    assert explorer.hidden == ()
    explorer.close()


# models that split less


@pytest.mark.parametrize("granularity", ["sublayers", "layers"])
def test_a_coarse_model_says_why(browser, granularity):
    model = aw.load("demo")
    coarser(model, granularity, "its heads miss their sum")
    explorer = explore(model, PROMPT, TARGET)
    h, x = filled(explorer)
    assert (h["model"]["granularity"], h["model"]["reason"]) == (granularity, "its heads miss their sum")
    assert set(x) == {"values", "rival", "lens", "effects"} and "why_key" not in h
    assert not h["test"]["never"] and h["test"]["kinds"] == (["layer"] if granularity == "layers" else ["attn", "mlp"])
    assert bool(h.get("neurons")) == (granularity == "sublayers")
    assert h["rows"][2]["id"] == ("L0.attn" if granularity == "sublayers" else "L0")
    talk = browser(explorer)
    talk.say("a", "head", id=h["rows"][2]["id"])
    assert talk.last("a")["kind"] == "error"
    explorer.selected = h["rows"][2]["id"]
    assert isinstance(explorer.selected_result(), Writes)
    shown = wire.unpack(embedded(explorer.frozen_page())["container"])[0]
    assert shown["model"]["reason"] == "its heads miss their sum", "a page says why, too"
    explorer.close()


def test_a_model_whose_layers_differ_says_which_and_why(browser):
    """One layer as a whole, one whose heads carried what is not known: each row by its own level."""
    model = coarser(aw.load("demo"), "layers", "a hook is there", [1])
    coarser(model, "heads", "its attention is not understood", [3])
    explorer = explore(model, PROMPT, TARGET, corrupted=CORRUPTED)
    h, x = filled(explorer)
    about = h["model"]
    assert about["granularity"] == "mixed"
    assert about["words"] == "per head in 4 of 5 layers, L1 as a whole layer, without sources in L3"
    assert about["reason"] == "L1: a hook is there; L3: its attention is not understood"
    assert [(v["granularity"], v["reason"]) for v in about["levels"]] == [
        ("heads", ""),
        ("layers", "a hook is there"),
        ("heads", ""),
        ("heads", "its attention is not understood"),
        ("heads", ""),
    ]
    assert "L1" in [row["id"] for row in h["rows"]] and "L1H0" not in [row["id"] for row in h["rows"]]
    assert set(h["test"]["kinds"]) == {"head", "mlp", "layer"} and not h["test"]["never"]
    assert all(bool(np.isfinite(stored).all()) for stored in x.values())
    assert not x["patterns"][1].any() and not x["carry"][3].any()
    own = aw.attention(explorer.run, "L3H2").patterns[0].numpy()
    assert np.allclose(x["patterns"][3, 2], own, atol=1e-2), "patterns are there where sources are not"
    assert x["effects"][[row["id"] for row in h["rows"]].index("L1")] != 0
    explorer.selected = "L1"
    assert isinstance(explorer.selected_result(), Writes)
    explorer.selected = "L3H2"
    assert explorer.selected_result().returned == "its attention is not understood"
    assert explorer.verify(["L1"]).findings[0].component.label == "L1"
    talk = browser(explorer)
    talk.say("a", "through", id="L3H2", source=1)
    assert "its attention is not understood" in talk.last("a")["message"]
    explorer.close()


def test_heads_without_exact_attention(browser):
    model = aw.load("demo")
    coarser(model, "heads", "its attention is not understood")
    explorer = explore(model, PROMPT, TARGET)
    h, x = filled(explorer)
    assert h["rows"][2]["id"] == "L0H0" and "carry" not in x and "patterns" in x
    talk = browser(explorer)
    talk.say("a", "head", id="L0H0")
    assert talk.last("a")["kind"] == "result", "its pattern is known"
    talk.say("b", "through", id="L0H0", source=1)
    assert "its attention is not understood" in talk.last("b")["message"]
    explorer.close()


def test_half_precision_adds_up_with_its_rounding():
    model = aw.load("demo", dtype="bfloat16")
    explorer = explore(model, PROMPT, TARGET)
    h, x = filled(explorer)
    assert h["model"]["dtype"] == "bfloat16" and h["exact"] and h["rows"][-1]["id"] == "rounding"
    assert 'model = aw.load("demo", dtype="bfloat16")' in h["python"]["setup"]
    t = h["prompt"]["position"]
    bars = (x["patterns"][:, :, t] * x["carry"]).sum(-1) * x["dest"][:, t][:, None] + x["value_bias"]
    slack = 1e-3 * (np.abs(x["carry"]) * x["patterns"][:, :, t]).sum(-1) + 1e-4
    assert (np.abs(bars + x["head_rounding"] - explorer.attribution.heads.numpy()) <= slack).all()
    explorer.close()


# what is said of texts and tokens


def test_words_that_were_never_seen_travel_with_the_prompt(demo):
    explorer = explore(demo, "Mary had a little")
    said = header(explorer)
    strange = said["prompt"]["unseen"]
    assert [said["prompt"]["tokens"][i] for i in strange["at"]] == [" h", "ad", " l", "it", "tle"]
    assert strange["said"] == explorer.run.unseen_note and strange["said"] not in " ".join(said["notes"])
    assert strange["code"] == 'aw.explore("gpt2", "Mary had a little")'
    explorer.ask(prompt=PROMPT, corrupted="The capital of Narnia is")
    assert "unseen" not in header(explorer)["prompt"]
    other = header(explorer)["corrupted"]
    assert "".join(other["tokens"][i] for i in other["unseen"]["at"]) == " Narnia"
    assert other["unseen"]["said"] == explorer.corrupted.unseen_note
    explorer.close()


def test_the_better_token_is_one_click_away(demo):
    """Both fields: what the button sends is the token with its space, and then nothing is left to say."""
    explorer = explore(demo, PROMPT, "Paris", against="Berlin")
    better = header(explorer)["better"]
    assert [(b["field"], b["text"]) for b in better] == [("target", " Paris"), ("against", " Berlin")]
    assert [b["note"] for b in better] == [n for n in header(explorer)["notes"] if "with its space" in n]
    for b in better:
        explorer._op_explain(Job(lambda job: None), {b["field"]: b["text"]})
    assert explorer.attribution.target == logit_diff(" Paris", " Berlin") and "better" not in header(explorer)
    explorer.ask(target=logit(["Paris", "Rome"]))
    assert "better" not in header(explorer) and len(header(explorer)["notes"]) == 2, "of a set it is only said"
    explorer.close()


def test_a_byte_that_is_shown_can_be_typed(demo):
    explorer = explore(demo, PROMPT)
    explorer._op_explain(Job(lambda job: None), {"target": "<0xF0>", "against": "<0x9F>"})
    said = header(explorer)["target"]
    assert (said["text"], said["against"]["text"]) == ("<0xF0>", "<0x9F>")
    assert said["id"] == demo.tokenizer.convert_tokens_to_ids("\u00f0")
    assert 'aw.logit_diff("<0xF0>", "<0x9F>")' in header(explorer)["python"]["setup"]
    explorer.close()
