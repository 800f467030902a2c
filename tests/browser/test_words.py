"""More than one word, and asking the reader: by mouse and by keyboard, offline and beside a kernel."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect

import attrib_widgets as aw
from attrib_widgets.demo import PROMPT
from browser import audit
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen, agree, printed

Show = Callable[..., Screen]


def test_a_phrase_in_an_offline_page(demo: Any, offline: Show, watched: Watched) -> None:
    """The words, all of them and one by one; the full Explorer of the one that was open."""
    explorer = aw.explore(demo, PROMPT, aw.phrase(" Paris. The"), corrupted="")
    phrase = explorer.phrase
    screen = offline(explorer)
    spine, detail = screen.part("spine"), screen.part("token")
    assert spine.locator(".aw-tok").all_inner_texts() == [printed(t) for t in phrase.run.tokens]
    assert spine.locator(".aw-new").count() == len(phrase)
    assert screen.headline == phrase.title()
    assert agree(screen.part("sum").locator("b").nth(1).inner_text(), phrase.actual)
    last = phrase.run.n_positions - 1
    screen.token(last, "spine").click()
    expect(detail.locator(".aw-title")).to_contain_text(printed(phrase.tokens[-1]))
    assert agree(screen.part("sum").locator("b").nth(1).inner_text(), phrase[-1].actual)
    screen.token(phrase.start, "spine").press("Enter")
    expect(screen.part("waterfall")).to_be_visible()
    assert agree(screen.total, phrase[0].actual)
    assert audit.accessibility(screen.root)["violations"] == [] and audit.layout(screen.root) == []
    screen.token(phrase.start, "spine").press("Escape")
    expect(detail.locator(".aw-title")).to_contain_text(f"All {len(phrase)} tokens")
    explorer.close()


def test_guesses_by_mouse(demo: Any, offline: Show, watched: Watched) -> None:
    explorer = aw.explore(demo, hidden=["candidates", "values", "detail"])
    order = [str(c) for c, _ in explorer.attribution.top(99) if c.writes]
    answer = explorer.run.top(1)[0].text
    screen = offline(explorer)
    for scheme in ("light", "dark"):
        watched.page.emulate_media(color_scheme=scheme)
        assert audit.accessibility(screen.root)["violations"] == []
        assert audit.layout(screen.root) == []
    wrong = order[3]
    screen.part("hidden-values").locator(f'[data-id="{wrong}"]').click()
    screen.part("hidden-values").get_by_role("button", name="Reveal").click()
    expect(screen.part("compared-part")).to_have_text(f"You said {wrong}; {order[0]} leads, {wrong} is number 4.")
    assert answer.strip() not in watched.page.locator("body").inner_text()
    screen.part("hidden-candidates").get_by_role("textbox").fill(answer.strip())
    screen.part("hidden-candidates").get_by_role("button", name="Reveal").click()
    expect(screen.part("compared-token")).to_have_text(f"You said {answer.strip()}: right.")
    explorer.close()


@lab_only
def test_the_model_goes_on(notebook: Notebook, explored: Screen) -> None:
    screen, before = explored, explored.version
    screen.part("continue").get_by_role("spinbutton").fill("5")
    screen.part("continue").get_by_role("button", name="Continue").click()
    screen.expect_version(before + 1)
    expect(screen.part("spine").locator(".aw-new")).to_have_count(5)
    start = notebook.value("ex.phrase.start")
    later = screen.token(start + 2, "spine")
    later.click()
    screen.expect_version(before + 2)
    notebook.expect("ex.word", start + 2)
    assert agree(screen.total, notebook.value("ex.attribution.actual"))
    keys = screen.root.page.keyboard
    screen.token(start + 2, "spine").focus()
    for _ in range(start):  # to a word of the prompt
        keys.press("ArrowLeft")
    keys.press("Enter")
    screen.expect_version(before + 3)
    notebook.expect("ex.word", 2)
    expect(screen.part("word")).to_contain_text("stands here")
    screen.part("back").click()
    screen.expect_version(before + 4)
    notebook.expect("ex.word", start + 2)
    screen.part("all-words").click()
    notebook.expect("ex.word", None)
    line = notebook.value("ex.state")
    again = Screen(notebook.widget(notebook.cell(f"again = aw.explore(state={line!r})\nagain")))
    expect(again.part("words")).to_be_visible()
    assert again.headline == screen.headline
    screen.part("continue").get_by_role("checkbox").check()
    screen.part("continue").get_by_role("button", name="Continue").click()
    screen.expect_version(before + 5)
    sampled = screen.tokens("spine")
    made = "ex.model.generate(ex.phrase.run.ids[:ex.phrase.start], 5, temperature=1, seed=0).tokens"
    assert [t.replace("\u00b7", " ") for t in sampled] == notebook.value(made)
    screen.part("drop-words").click()
    screen.expect_version(before + 6)
    expect(screen.part("prompt-tokens")).to_be_visible()


@lab_only
def test_a_guess_by_keyboard_reaches_python(notebook: Notebook) -> None:
    screen = Screen(notebook.widget(notebook.cell('ex = aw.explore(model, hidden=["values", "heads"])\nex')))
    blanks = screen.part("hidden-values")
    blanks.locator('[role="gridcell"][tabindex="0"]').focus()
    keys = screen.root.page.keyboard
    keys.press("ArrowDown")
    keys.press("Enter")
    expect(blanks.locator('[aria-selected="true"]')).to_have_attribute("data-id", "L3H0")
    notebook.expect("ex.guess.said", "L3H0")
    assert notebook.value("ex.guess.right") is None
    blanks.get_by_role("button", name="Reveal").press("Enter")
    expect(screen.part("compared-part")).to_contain_text("You said L3H0; ")
    told = notebook.value("ex.guesses[0].told")  # on the page the numbers stand in the bars beside it
    assert re.sub(r" \([^)]*\)", "", told) == screen.part("compared-part").inner_text()
    assert told.count("(") == 2
