"""What a notebook, a saved notebook and a page with no kernel get to see."""

from __future__ import annotations

import gc
import json
import linecache
import re
import weakref
import zlib
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest

import attrib_widgets as aw
from attrib_widgets.analysis.attribution.attribute import attribute
from attrib_widgets.analysis.heads.attention import attention
from attrib_widgets.demo import PROMPT, TARGET
from attrib_widgets.result import view_of
from attrib_widgets.widgets import explore
from attrib_widgets.widgets.shapes import python
from attrib_widgets.widgets.transport import assets, page, view, wire
from attrib_widgets.words.targets import log_prob, logit, logit_diff
from fixtures import packing
from fixtures.packing import embedded

HOSTILE = "</script><img src=x onerror=document.title='PWNED'>"
WIDGET = "application/vnd.jupyter.widget-view+json"


class Tags(HTMLParser):
    """Every element of a page, its attributes, and the text inside scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self._inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.scripts[-1] += data

    def named(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


# mime bundles


def test_mime_bundle(explorer):
    data, metadata = explorer._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html", WIDGET} and metadata == {}
    assert data[WIDGET]["model_id"] == explorer.model_id
    question = "Rather than ·Berlin, the answer to the other prompt; against=() asks the logit by itself\n"
    assert question in data["text/plain"] and data["text/plain"].replace(question, "") == repr(explorer.attribution)
    html = data["text/html"]
    assert len(html.encode()) <= 20_000 and "<script" not in html and "onerror" not in html
    assert str(explorer.attribution.top(1)[0][0]) in html


@pytest.fixture
def published(monkeypatch):
    """What a cell displays, and what is drawn again in its place, in order."""
    ipython = pytest.importorskip("IPython.display")
    found = []

    class Handle:
        def update(self, data, raw):
            assert raw
            found.append(("again", data))

    def display(data, metadata, raw, display_id):
        assert raw
        found.append((display_id, data))
        return Handle() if display_id else None

    monkeypatch.setattr(ipython, "display", display)
    return found


def test_a_cell_has_the_view_and_its_picture_apart(explorer, published):
    """Also under ipywidgets 7, which would display the widget alone."""
    formatters = pytest.importorskip("IPython.core.formatters")
    assert formatters.DisplayFormatter().ipython_display_formatter(explorer)
    (live, widget), (kept, picture) = published
    assert (live, kept) == (False, True) and set(widget) == {WIDGET} and set(picture) == {"text/plain", "text/html"}
    mark = f"aw-still-{explorer.options['still']}"
    assert mark in picture["text/html"] and len(picture["text/html"]) <= 60_000
    assert "still" not in explorer.page_traits()["options"]


def test_the_picture_follows_the_screen(explorer, published):
    explorer._ipython_display_()
    explorer.ask("The capital of Japan is")
    explorer.ask(corrupted="The capital of Italy is")
    explorer.verify(["L3.mlp"])
    again = [data for kind, data in published if kind == "again"]
    assert "\u00b7Tokyo" in again[0]["text/html"] and "Tested (n = 1)" in again[-1]["text/html"]
    assert explorer.last_error == ""


def test_a_result_is_displayed_as_its_view(demo, published):
    shown = attribute(demo.run(PROMPT), TARGET).buildup()
    shown._ipython_display_()
    shown._ipython_display_()
    assert [kind for kind, _ in published] == [False, True] * 2
    assert published[0][1][WIDGET]["model_id"] == shown.view().model_id


def test_metadata_of_anywidget_passes_through(explorer, monkeypatch):
    import anywidget

    bundle = {"text/plain": "x", WIDGET: {"model_id": "1"}}, {WIDGET: {"colab": {"url": "u"}}}
    monkeypatch.setattr(anywidget.AnyWidget, "_repr_mimebundle_", lambda self, **kwargs: bundle)
    data, metadata = explorer._repr_mimebundle_(include=None, exclude=None)
    assert metadata == bundle[1] and data[WIDGET] == {"model_id": "1"} and "text/html" in data


def test_failures_fall_back_and_say_why(explorer, monkeypatch):
    import anywidget

    def fail(*args, **kwargs):
        raise RuntimeError("no comm")

    with monkeypatch.context() as patch:
        patch.setattr(anywidget.AnyWidget, "_repr_mimebundle_", fail)
        data, _ = explorer._repr_mimebundle_()
        assert WIDGET not in data and "<table" in data["text/html"]
        assert "no interactive view: RuntimeError: no comm" in data["text/plain"]
    monkeypatch.setattr(view, "render_html", fail)
    data, _ = explorer._repr_mimebundle_()
    assert WIDGET in data and "text/html" not in data and "no table: RuntimeError" in data["text/plain"]


def test_results_show_themselves(demo):
    run = demo.run(PROMPT)
    a = attribute(run, TARGET)
    for result, kind in [
        (a, "attribution"),
        (attention(run, "L1H2"), "attention"),
        (attention(run), "attention"),
        (attention(run).weighted("contribution", TARGET), "attention"),
        (attention(run, "L1H2").weighted("value"), "attention"),
        (a.sources("L1H2"), "bars"),
        (a.through("L1H2").at(4), "bars"),
        (a.neurons(1), "bars"),
        (a.trace(), "trace"),
    ]:
        data, _ = result._repr_mimebundle_()
        shown = result.view()
        assert shown is result.view(), "made once, shown again"
        assert data[WIDGET]["model_id"] == shown.model_id and shown.kind == kind
        header, arrays = wire.unpack(shown.container)
        assert header["kind"] == kind and len(data["text/html"]) <= 20_000
        if kind == "bars":
            np.testing.assert_array_equal(arrays["values"], result.values.numpy())
            assert header["parent_value"] == result.parent_value and header["gap"] == result.mismatch
            assert [r["label"] for r in header["rows"]] == result.labels
        if kind == "attention":
            assert header["heads"] == [str(h) for h in result.heads] and header["weighting"] == result.weighting
            np.testing.assert_allclose(arrays["patterns"], result.patterns.numpy(), atol=5e-4)
        shown.close()


def test_a_score_shows_itself(demo):
    a = attribute(demo.run(PROMPT), aw.score("L2H1", query=-1, key=3))
    header, arrays = wire.unpack(view_of(a).container)
    assert header["target"]["unit"] == "score" and "L2H1" in header["target"]["phrase"]
    np.testing.assert_array_equal(arrays["values"], a.values.numpy())


def test_an_attribution_answers_requests(demo, browser):
    shown = view_of(attribute(demo.run(PROMPT), TARGET))
    talk = browser(shown)
    talk.say("a", "head", id="L1H2")
    assert talk.last("a")["kind"] == "result"
    shown.close()


def test_a_closed_explorer_is_freed(demo):
    explorer = explore(demo)
    gone = weakref.ref(explorer)
    explorer.close()
    del explorer
    gc.collect()
    assert gone() is None


def test_what_every_instance_syncs(explorer):
    state = explorer.get_state()
    names = {n for n in state if not n.startswith("_")} - {"layout", "tabbable", "tooltip"}
    assert names == {
        "kind",
        "container",
        "screen",
        "rest",
        "selected",
        "source",
        "options",
        "tested",
        "chosen",
        "without",
        "showing",
        "guessed",
        "pinned",
    }
    assert state["_anywidget_id"] == "attrib_widgets.View"
    assert len(state["_esm"]) + len(state["_css"]) <= 100_000 and state["_css"] == "\n", "the style is in the script"


def test_the_script_travels_packed_and_whole(explorer):
    """What the browser unpacks is the committed bundle; test_package searches that for addresses and text as code."""
    sent = explorer.get_state()["_esm"]
    plain, style = (assets.read(name) for name in (assets.VIEWS.script, assets.VIEWS.style))
    module = packing.unpacked(sent)
    assert module.startswith(plain)
    name, told = module[len(plain) :].split("=", 1)
    assert name == "\nexport const style " and json.loads(told.rstrip(";\n")) + "\n" == style
    assert len(sent) < (len(plain) + len(style)) * 0.6
    text = packing.payload(sent)
    assert escape(text) == text and json.dumps(text) == f'"{text}"', "no host lengthens it"
    loader = sent.replace(text, "")
    assert "\n" in loader and "//" not in loader and loader.isascii()
    assert re.findall(r"import\((\w+)\)", loader) == ["url"]


@pytest.mark.parametrize("of", [assets.VIEWS, assets.SURVEY, assets.GRAPH], ids=lambda of: of.script)
def test_what_lies_deflated_travels_while_it_is_the_plain_files(of, monkeypatch, tmp_path):
    sent, text = assets.script(of), packing.unpacked(assets.script(of))
    assert zlib.decompress((assets.STATIC / of.packed).read_bytes()).decode() == text
    assert len(sent) < len(assets.packed(text)), "it is smaller than zlib makes it"
    for name in of:
        (tmp_path / name).write_bytes((assets.STATIC / name).read_bytes())
    monkeypatch.setattr(assets, "STATIC", tmp_path)
    (tmp_path / of.style).write_text(".changed {}\n")
    assert ".changed {}" in packing.unpacked(assets.script(of)), "older than the style sheet: deflated here"
    (tmp_path / of.packed).unlink()
    assert ".changed {}" in packing.unpacked(assets.script(of))


def test_while_developing_the_files_are_watched(monkeypatch):
    """Plain files, that anywidget loads again when they change."""
    monkeypatch.setenv("ANYWIDGET_HMR", "1")
    assert assets.script() == assets.STATIC / "attrib_widgets.js"
    assert assets.style() == assets.STATIC / "attrib_widgets.css"


def test_an_unbuilt_bundle_says_how_to_build_it():
    with pytest.raises(FileNotFoundError, match="npm run build"):
        assets.read("missing.js")


# pages


def test_page_is_complete_and_offline(explorer, tmp_path):
    explorer.selected = "L1H2"
    path = explorer.to_html(tmp_path / "explorer.html")
    assert path.is_absolute() and path.is_file()
    text = path.read_text(encoding="utf-8")
    tags = Tags(text)
    assert not [t for t in tags.tags if {"src", "href"} & set(t[1])] and "@import" not in text
    ours = text.replace("http://www.w3.org/", "")
    assert not re.findall(r"""["'(](?:https?:)?//[\w.-]+\.\w""", ours), "no address outside the page"
    policy = tags.named("meta")[1]["content"]
    assert policy == page.POLICY and "default-src 'none'" in policy
    assert "<title>" in text and "background:#fff" in text and "prefers-color-scheme:dark" in text
    traits = embedded(text)
    options = traits["options"]
    assert traits["selected"] == "L1H2" and (options["hidden"], options["static"]) == ([], True)
    assert set(options) == {"hidden", "static", "saved", "words"}
    state = traits["container"]
    header, _ = wire.unpack(state)
    assert len(text) <= 2_000_000 and {"patterns", "through", "why"} <= set(header["arrays"])
    assert header["writes"] and header["neurons"]
    assert header["prompt"]["text"] == PROMPT


def test_small_views_have_pages_too(demo, tmp_path):
    shown = view_of(attention(demo.run(PROMPT), "L1H2"))
    traits = embedded(shown.to_html(str(tmp_path / "a.html")).read_text(encoding="utf-8"))
    assert traits["kind"] == "attention"
    shown.close()


def test_hostile_tokens_stay_text(demo, tmp_path):
    hostile = explore(demo, f"The {HOSTILE} of <!-- France & \u202e\u2028 \x00 is", corrupted=f"a {HOSTILE}")
    data, _ = hostile._repr_mimebundle_()
    assert {tag for tag, _ in Tags(data["text/html"]).tags} <= {
        "div", "style", "p", "b", "table", "thead", "tbody", "tr", "td", "th", "i",
    }  # fmt: skip
    text = hostile.to_html(tmp_path / "hostile.html").read_text(encoding="utf-8")
    tags = Tags(text)
    assert not tags.named("img")
    assert len(tags.named("script")) == 2
    # Nothing of the prompt is text in the file, but for the title, which is escaped.
    assert tags.scripts[0] == "" and not re.search("onerror|PWNED", text.replace(escape(hostile.summary().title), ""))
    assert wire.unpack(embedded(text)["container"])[0]["prompt"]["text"] == hostile.run.text
    frame = Tags(hostile.freeze()._repr_html_())
    assert [tag for tag, _ in frame.tags] == ["iframe", "script"]
    assert frame.named("iframe")[0]["srcdoc"] == hostile.frozen_page(framed=True)
    hostile.close()


def test_bars_with_hostile_labels(demo):
    result = attribute(demo.run(HOSTILE), TARGET).sources("L1H2")
    text = result.view().frozen_page()
    assert not Tags(text).named("img")
    result.view().close()


def test_freeze_is_sandboxed(explorer):
    frozen = explorer.freeze()
    frame = Tags(frozen._repr_html_()).named("iframe")[0]
    assert frame["sandbox"] == "allow-scripts" and "height:" in frame["style"] and frame["title"]
    assert repr(frozen) == repr(explorer)


def test_lone_surrogates_reach_the_file(tmp_path):
    text = page.page("a \ud800 title", {"kind": "bars", "container": b"", "selected": "\ud800"})
    back = page.write(text, tmp_path / "page.html").read_text(encoding="utf-8")
    assert embedded(back)["selected"] == "\ud800" and "a ? title" in back


# copy as Python


def execute(source, name, **names):
    """Run source lines as a file would be run; tracing reads them back."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), names)
    return names


def test_setup_makes_the_same_number(explorer):
    text = wire.unpack(explorer.container)[0]["python"]["setup"]
    assert text.splitlines()[2:] == [
        'model = aw.load("demo")',
        'run = model.run("The capital of France is")',
        'a = aw.attribute(run, aw.logit_diff(" Paris", " Berlin"))',
    ]
    names = execute(text, "<setup>")
    assert names["a"].total == explorer.attribution.total and names["a"].labels == explorer.attribution.labels


@pytest.mark.parametrize(
    ("prompt", "target", "position"),
    [
        ("He said \"no\"\n\tand 'left' \\ it", None, -1),
        (f"The {HOSTILE} is", None, 3),
        ("\u202eyes \u4e2d\U0001f600 \x00", None, -1),
        (PROMPT, logit_diff(TARGET, " Rome"), -1),
        (PROMPT, logit_diff([TARGET, " Oslo"], " Rome"), 2),
        (PROMPT, log_prob(TARGET), -1),
        (PROMPT, logit(TARGET).centered(), -1),
        ([5, 6, 7], 9, -1),
    ],
)
def test_setup_quotes_everything(demo, monkeypatch, prompt, target, position):
    monkeypatch.setattr(aw, "load", lambda *args, **options: demo, raising=False)
    explorer = explore(demo, prompt, target, position=position)
    text = python.lines(explorer.attribution)
    assert text.isprintable() or text.replace("\n", "").isprintable(), "no control or reordering character"
    names = execute(text, f"<setup {prompt!r} {target!r}>")
    assert names["a"].total == explorer.attribution.total
    assert names["a"].run.ids == explorer.run.ids
    explorer.close()
