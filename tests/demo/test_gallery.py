"""The gallery: every line opens the screen it says, what is said of it is so, and the pages are small."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

import attrib_widgets as aw
from attrib_widgets import cli
from attrib_widgets.demo.gallery import INDEX, LARGEST, SCREENS

every = pytest.mark.parametrize("screen", SCREENS, ids=lambda s: s.name)
BY_NAME = {screen.name: screen for screen in SCREENS}


def opened(name):
    return aw.explore(state=BY_NAME[name].state)


def test_there_are_eight():
    assert len(BY_NAME) == len(SCREENS) == 8
    assert [s.name for s in SCREENS if s.tested] == ["names-tested"]


@every
def test_every_line_opens_and_is_written_as_the_screen_writes_it(screen):
    explorer = aw.explore(state=screen.state)
    assert explorer.state == screen.state
    assert explorer.attribution.exact, "it adds up"
    if explorer.corrupted is not None:  # a comparison is one token away
        pairs = zip(explorer.run.ids, explorer.corrupted.ids, strict=True)
        assert sum(a != b for a, b in pairs) == 1


def test_the_open_heads_read_what_is_said():
    paris, repeats = opened("paris"), opened("repeats")
    for explorer, read in ((paris, " France"), (repeats, " horse")):
        weights = aw.attention(explorer.run, explorer.selected)[explorer.selected][-1]
        assert explorer.run.tokens[int(weights.argmax())] == read


def test_a_bar_is_no_verdict():
    """Of the names: a head with a larger bar does less than one with a smaller, and the large ones read a name."""
    explorer = opened("names-tested")
    a = explorer.attribution
    heads = [str(part) for part, _ in a.top(40, kind="head")]
    large = sorted(heads, key=lambda h: -abs(float(a[h])))[:3]
    names = {" Mary", "Mary", " John"}
    assert all(a.run.tokens[int(aw.attention(a.run, h)[h][-1].argmax())] in names for h in large)
    found = explorer.verify(components=heads)
    small = [h for h in heads if abs(float(a[h])) < 0.1 * abs(float(a[large[0]])) and found[h].necessity > 0.5]
    assert small and all(abs(found[h].necessity) < 0.2 for h in large)


def test_england_speaks_for_the_pound_and_is_outweighed():
    a = opened("tower-bridge").attribution
    c = a.concepts()
    assert a.run.top(1)[0].text == " dollar" and a.total < 0
    assert sum(c[feature] for feature in c.like("about England")) > 0


def test_the_trace_of_togo_leads_to_the_word():
    assert "\u00b7Togo" in repr(opened("togo").attribution.trace())


def test_most_of_the_open_part_is_erased():
    explorer = opened("kathmandu")
    found = aw.erasure(explorer.attribution, explorer.selected)
    assert found.flagged and float(found.remaining[-1]) < 0.5


class Links(HTMLParser):
    """What a page links to, and what it would fetch."""

    def __init__(self, text):
        super().__init__()
        self.to, self.fetched = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.to += [found["href"]] if tag == "a" else []
        self.fetched += [found[name] for name in ("src", "href") if name in found and tag != "a"]


def test_the_command_writes_them_and_a_page_of_links(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["gallery"]) == 0
    folder = tmp_path / "gallery"
    assert str(folder / INDEX) in capsys.readouterr().out
    links = Links((folder / INDEX).read_text(encoding="utf-8"))
    assert links.to == [f"{screen.name}.html" for screen in SCREENS] and not links.fetched
    assert sorted(p.name for p in folder.iterdir()) == sorted([INDEX, *links.to])
    sizes = {name: (folder / name).stat().st_size for name in links.to}
    assert all(size <= LARGEST for size in sizes.values()), sizes


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    assert cli.main(["gallery", "--dir", str(tmp_path / "no" / "such")]) == 2
    assert "Cannot make the folder" in capsys.readouterr().err
