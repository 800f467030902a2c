"""What is taken away from a view says what the view says: the same rows, order, signs and digits."""

from __future__ import annotations

import csv
import io
import re
import threading
from xml.etree import ElementTree

import pytest

import attrib_widgets as aw
from attrib_widgets.result import Table, render_svg
from attrib_widgets.widgets.transport import saving
from attrib_widgets.words.errors import AttribError
from attrib_widgets.words.glossary import TERMS

SVG = "{http://www.w3.org/2000/svg}"


def drawn(svg: str) -> list[str]:
    """All texts of a drawing, in their order."""
    return ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def results(demo):
    run = demo.run("The capital of France is")
    a = aw.attribute(run, " Paris")
    return {
        "attribution": a,
        "sources": a.sources("L3H1"),
        "through": a.through("L3H1"),
        "buildup": a.buildup(),
        "worked": a.worked("L3H1"),
        "writes": a.writes("L3H1"),
        "ablation": aw.ablate(demo, run, " Paris", components=["L3H1", "L1.mlp"]),
        "erasure": aw.erasure(a, "L1.mlp"),
        "trace": a.trace(),
        "report": demo.report(),
        "top": run.top(5),
        "bars": aw.show.bars(["a", "b"], [1.0, -2.0], total=-1.0),
    }


NAMES = "attribution sources through buildup worked writes ablation erasure trace report top bars".split()


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_has_every_cell_of_the_table(results, name):
    table = results[name].summary()
    texts = drawn(render_svg(table, "the foot"))
    cells = [cell.strip(" ") for row in table.rows for cell in row if cell.strip()]
    at = -1
    for cell in cells:
        at = next(i for i, text in enumerate(texts) if i > at and text.strip(" ") == cell)
    assert texts[-1] == "the foot" and texts[0].split()[0] == table.title.split()[0]
    bars = [b for b in table.row_bars if b]
    marks = re.findall(
        r"<rect x='[^']*' y='[^']*' width='([^']*)' height='12' rx='2' class='([pm])'/>", texts and render_svg(table)
    )
    assert [kind for _, kind in marks] == ["m" if b < 0 else "p" for b in bars]
    if bars:
        longest = max(range(len(bars)), key=lambda i: abs(bars[i]))
        assert float(marks[longest][0]) == max(float(width) for width, _ in marks)


def test_a_picture_holds_any_text():
    hostile = "</svg><script>alert(1)</script>&\x00\x1b\ud800"
    svg = render_svg(Table(hostile, [hostile], [[hostile]], [1.0], hostile, hostile), hostile)
    assert not list(ElementTree.fromstring(svg).iter(f"{SVG}script"))
    assert any("<script>alert(1)</script>&" in text for text in drawn(svg))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_table_is_the_dataframe(results, name):
    view = results[name].view()
    rows = list(csv.reader(io.StringIO(view.saved("csv")["text"])))
    try:
        frame = results[name].to_dataframe()
    except TypeError:  # a result without rows: the cells that it prints
        assert len(rows) - 1 == len(results[name].summary().rows)
        return
    assert rows[0][-len(frame.columns) :] == list(map(str, frame.columns)) and len(rows) == len(frame) + 1


def test_file_names_and_forms(results):
    view = results["buildup"].view()
    assert re.fullmatch(r"l\d-(mlp|attn)-moves-the-logit-of-paris[-0-9a-z]*\.svg", view.saved("svg")["name"])
    assert view.saved("html")["text"].startswith("<!doctype html>")
    with pytest.raises(AttribError, match=r"'pdf'.*svg, csv, txt, html"):
        view.saved("pdf")


def test_the_page_asks_for_it(results, browser):
    talk = browser(results["through"].view())
    talk.say("s", "save", form="csv")
    assert talk.last("s")["data"]["text"] == results["through"].view().saved("csv")["text"]
    talk.say("w", "save", form="exe")
    assert talk.last("w")["kind"] == "error" and "exe" in talk.last("w")["message"]


@pytest.mark.parametrize(("form", "start"), [("html", "<!doctype html>"), ("txt", "After ")])
def test_what_runs_the_model_is_made_by_the_worker_and_the_rest_waits_for_nothing(demo, browser, form, start):
    explorer = aw.explore(demo)
    talk, gate = browser(explorer), threading.Event()
    busy = demo.worker.submit(lambda job: gate.wait(30))
    try:
        talk.say("p", "save", form=form)
        talk.say("c", "save", form="csv")
        assert [m["kind"] for m, _ in talk.sent if m["id"] == "p"] == ["ack"], "the handler computed it"
        assert [m["kind"] for m, _ in talk.sent if m["id"] == "c"] == ["ack", "result"]
    finally:
        gate.set()
    busy.wait()
    assert talk.last("p")["data"]["text"].startswith(start)


def test_an_offline_page_carries_what_is_small_and_nothing_hidden(demo):
    explorer = aw.explore(demo)
    saved = explorer.page_traits()["options"]["saved"]
    assert set(saved) == {"svg", "csv", "txt"} and sum(len(s["text"]) for s in saved.values()) < 20_000
    hidden = aw.explore(demo, hidden=["candidates"])
    assert hidden.page_traits()["options"]["saved"] == {}
    assert "Paris" not in hidden.saved("csv")["text"] + hidden.saved("svg")["text"] + hidden.saved("txt")["text"]


def test_in_words_says_cause_only_after_a_test(demo):
    explorer = aw.explore(demo)
    a = explorer.attribution
    before = explorer.in_words()
    assert "Nothing was tested: these are observations, not causes." in before and "needed" not in before
    leading = str(a.top(1)[0][0])
    assert f"{leading} {'+' if a[leading] > 0 else chr(0x2212)}{abs(a[leading]):.2f}" in before
    assert f"sum to {a.total:.4f}" in before and f"number is {a.actual:.4f}" in before
    found = explorer.verify(top=3)
    after = explorer.in_words()
    assert found.title() in after and "observations, not causes" not in after
    assert saving.versions("torch") in after and demo.name in after


def test_in_words_adds_up(demo):
    """The named rows and the others are all rows."""
    a = aw.attribute(demo.run("The capital of Japan is"), " Tokyo")
    told = a.in_words()
    named, others = (
        re.search(r": together ([+\u2212]\d+\.\d\d) of", told)[1],
        re.search(r"rows add ([+\u2212]\d+\.\d\d)", told)[1],
    )
    total = sum(float(text.replace("\u2212", "-")) for text in (named, others))
    assert abs(total - a.total) < 0.011
    count = len(re.search(r"contributions are (.*?): together", told)[1].replace(" and ", ", ").split(", "))
    assert (
        f"other {len(a) - count} rows" in told
        if hasattr(a, "__len__")
        else f"other {len(a.values) - count} rows" in told
    )


def test_the_page_gets_the_whole_glossary(results, browser):
    view = results["buildup"].view()
    talk = browser(view)
    talk.say("w", "words")
    terms = talk.last("w")["data"]["terms"]
    assert [t["name"] for t in terms] == [t.name for t in TERMS]
    assert view.page_traits()["options"]["words"]["terms"] == terms


def test_a_table_is_saved_with_every_column_that_says_something(demo):
    a = aw.attribute(demo.run("The capital of France is"), " Paris")
    head = a.top(1, "head")[0][0]
    rows = saving.csv(a.worked(head)).splitlines()
    assert rows[0] == "number,written,scaled,direction,product" and rows[94].startswith("93,")
    grid = saving.csv(aw.show.grid([[1, 2], [3, 4]], rows=["7", "8"])).splitlines()
    assert grid == [",0,1", "7,1.0,2.0", "8,3.0,4.0"]
    assert saving.csv(aw.show.bars(["a"], [1])).splitlines()[0] == "name,value"


def test_a_question_ends_as_one(demo):
    assert "?." not in aw.explore(demo, hidden=["values"]).in_words()
