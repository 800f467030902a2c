"""The Explorer in JupyterLab and Notebook 7: what a click does to Python, and Python to the page."""

from __future__ import annotations

import inspect
from typing import Any

import nbformat
import pytest
from playwright.sync_api import expect

from browser import hostile
from browser.chromium import watch
from browser.conftest import lab_only, save
from browser.notebook import Notebook
from browser.screen import Screen, agree, printed
from browser.server import Server

# drawing and selection ----------------------------------------------------------------------------------------------


def test_the_first_screen_agrees_with_python(notebook: Notebook, explored: Screen) -> None:
    """Prompt, bars, sum and open detail are those of the attribution."""
    expect(explored.root).to_have_attribute("data-live", "live")
    assert explored.tokens() == [printed(t) for t in notebook.value("ex.run.tokens")]
    values = dict(notebook.value("list(zip(ex.attribution.labels, ex.attribution.values.tolist()))"))
    labels = explored.labels()
    assert len(labels) >= 10
    for label in labels:
        assert agree(explored.value(label), values[label])
    assert agree(explored.total, notebook.value("ex.attribution.total"))
    largest = max((name for name in values if "H" in name), key=lambda name: abs(values[name]))
    expect(explored.detail).to_have_attribute("data-open", largest)
    expect(explored.part("pattern")).to_be_visible()


def test_a_later_cell_reads_what_was_clicked(notebook: Notebook, explored: Screen) -> None:
    later = notebook.append("print(ex.selected, ex.attribution[ex.selected])")
    head = explored.another_head()
    explored.open(head)
    notebook.expect("ex.selected", head)
    label, value = notebook.run(later).split()
    assert label == head
    assert agree(explored.value(head), float(value))


def test_python_moves_the_page(notebook: Notebook, explored: Screen) -> None:
    """Setting the selection opens it; on_select hears Python and clicks, once each."""
    head = explored.another_head()
    notebook.cell('seen = []\nex.on_select(seen.append)\nex.selected = "L2.mlp"')
    explored.expect_open("L2.mlp")
    expect(explored.part("neurons")).to_be_visible()
    explored.open(head)
    notebook.expect("seen", ["L2.mlp", head])
    refused = notebook.cell("try:\n    ex.selected = 'L99H0'\nexcept aw.ComponentError as e:\n    print('refused', e)")
    assert notebook.printed(refused).startswith("refused")
    expect(explored.detail).to_have_attribute("data-open", head)


def test_a_token_opens_who_wrote_it(notebook: Notebook, explored: Screen) -> None:
    head = explored.another_head()
    explored.open(head)
    explored.token(1).click()
    notebook.expect("(ex.selected, ex.source)", (head, 1))
    through = explored.part("through")
    expect(through.locator(".aw-bars li").first).to_be_visible()
    # The parts that the page lists are those of the result behind the click.
    parts = dict(notebook.value("(lambda r: list(zip(r.labels, r.values.tolist())))(ex.selected_result())"))
    shown = through.locator(".aw-bars .aw-name").all_inner_texts()
    numbers = through.locator(".aw-bars .aw-val").all_inner_texts()
    named = {name: number for name, number in zip(shown, numbers, strict=True) if name in parts}
    assert named
    assert all(agree(text, parts[name]) for name, text in named.items())
    explored.token(1).click()  # a second click puts it back
    notebook.expect("(ex.selected, ex.source)", (head, -1))
    assert notebook.value("ex.selected_result().parent") == head


# questions ----------------------------------------------------------------------------------------------------------


def test_a_new_prompt(notebook: Notebook, explored: Screen) -> None:
    """Typed, run with Enter: the page and Python have the same new answer."""
    before = explored.headline
    explored.ask("prompt", "The capital of Japan is")
    explored.expect_version(2)
    assert notebook.value("ex.run.text") == "The capital of Japan is"
    assert explored.tokens() == [printed(t) for t in notebook.value("ex.run.tokens")]
    assert explored.headline != before
    top = notebook.value("ex.run.top(1)[0].text")
    assert f"for {printed(top)}" in explored.headline
    assert agree(explored.total, notebook.value("ex.attribution.total"))
    assert notebook.value("ex.attribution.exact") is True
    expect(explored.part("edit-prompt")).to_be_focused()  # the keyboard stays where it was


def test_a_wrong_target_says_what_to_type(notebook: Notebook, explored: Screen) -> None:
    """The error stands beside the field and names the remedy; the old numbers stay, in the page and in Python."""
    total, headline = explored.total, explored.headline
    explored.ask("target", "\u00b7Paris Tokyo")
    error = explored.part("error")
    expect(error).to_be_visible()
    assert error.evaluate("e => !!e.closest('.aw-form')")
    message = error.inner_text()
    assert "token" in message
    assert "\u00b7Paris" in message or "Paris" in message
    expect(explored.part("target")).to_have_attribute("aria-invalid", "true")
    assert (explored.version, explored.total, explored.headline) == (1, total, headline)
    expect(explored.root.locator(".aw-stale")).to_have_count(0)
    assert agree(total, notebook.value("ex.attribution.total"))
    # The way out works from there: correct it and press Enter.
    explored.part("target").fill("\u00b7Tokyo")
    explored.part("target").press("Enter")
    explored.expect_version(2)
    expect(error).to_have_count(0)
    assert notebook.value("ex.model.token(ex.model.single_token(ex.attribution.target.tokens[0]))") == " Tokyo"


def test_escape_puts_the_prompt_back(notebook: Notebook, explored: Screen) -> None:
    tokens = explored.tokens()
    box = explored.edit("prompt")
    box.fill("something else")
    box.press("Escape")
    expect(box).to_have_count(0)
    assert explored.tokens() == tokens
    expect(explored.part("edit-prompt")).to_be_focused()


def test_another_prediction(notebook: Notebook, explored: Screen) -> None:
    chip = explored.root.locator('[data-part="candidate"][aria-pressed="false"]').last
    name = chip.locator(".aw-token").inner_text()
    chip.click()
    explored.expect_version(2)
    expect(explored.root.locator('[data-part="candidate"][aria-pressed="true"]')).to_contain_text(name)
    assert f"for {name}" in explored.headline
    assert printed(notebook.value("ex.model.token(ex.model.single_token(ex.attribution.target.tokens[0]))")) == name
    assert agree(explored.total, notebook.value("ex.attribution.total"))


def test_rather_than(notebook: Notebook, explored: Screen) -> None:
    explored.ask("against", "\u00b7Rome")
    explored.expect_version(2)
    assert notebook.value("ex.attribution.target.kind") == "logit_diff"
    assert explored.headline.endswith("over \u00b7Rome")
    explored.ask("against", "")
    explored.expect_version(3)
    assert notebook.value("ex.attribution.target.kind") == "logit"


def test_another_position(notebook: Notebook, explored: Screen) -> None:
    explored.token(3, "prompt-tokens").click()
    explored.expect_version(2)
    assert notebook.value("ex.attribution.position") == 3
    expect(explored.token(3, "prompt-tokens")).to_have_attribute("aria-selected", "true")
    top = notebook.value("ex.run.top(1, position=3)[0].text")
    assert f"for {printed(top)}" in explored.headline
    assert agree(explored.total, notebook.value("ex.attribution.total"))


def test_a_comparison_prompt(notebook: Notebook, explored: Screen) -> None:
    explored.part("remove-corrupted").click()
    explored.expect_version(2)
    assert notebook.value("ex.corrupted") is None
    explored.ask("corrupted", "The capital of Japan is")
    explored.expect_version(3)
    line = explored.part("corrupted-line")
    expect(line).to_contain_text("1 token differs")
    gap = notebook.value("ex.attribution.actual - aw.attribute(ex.corrupted, ex.attribution.target).actual")
    assert gap > 0 and "logits lower there" in line.inner_text()
    assert agree(line.inner_text().split(" is ")[-1].split()[0], gap)
    explored.ask("corrupted", "The capital of France is")  # the prompt itself
    expect(explored.part("error")).to_contain_text("Change one word")
    explored.part("corrupted").press("Escape")
    expect(line).to_contain_text("1 token differs")


def test_back_and_forward(notebook: Notebook, explored: Screen) -> None:
    """Selections and prompts in the order they were made; Python follows."""
    first = explored.headline
    head = explored.another_head()
    explored.open(head)
    explored.ask("prompt", "The capital of Japan is")
    explored.expect_version(2)
    second = explored.headline
    explored.part("back").click()
    explored.expect_version(3)
    assert explored.headline == first
    explored.expect_open(head)
    notebook.expect("(ex.run.text, ex.selected)", ("The capital of France is", head))
    explored.part("back").click()
    notebook.expect("ex.selected", "")
    expect(explored.part("back")).to_be_disabled()
    explored.part("forward").click()
    notebook.expect("ex.selected", head)
    explored.part("forward").click()
    explored.expect_version(4)
    assert explored.headline == second
    expect(explored.part("forward")).to_be_disabled()


def test_copy_as_python(notebook: Notebook, explored: Screen) -> None:
    """The text on the clipboard runs in a cell and gives the number on the screen."""
    head = explored.another_head()
    explored.open(head)
    explored.ask("prompt", "The capital of Japan is")
    explored.expect_version(2)
    explored.part("copy").click()
    code = explored.part("code").inner_text()
    expect(explored.part("copy")).to_contain_text("Copied")
    assert notebook.page.evaluate("() => navigator.clipboard.readText()").strip() == code.strip()
    done = notebook.cell(f"del model\n{code}\nprint(repr(a.total), a[{head!r}])")
    total, value = notebook.printed(done).split()[-2:]
    assert agree(explored.total, float(total))
    assert agree(explored.value(head), float(value))


def test_an_example_is_one_click(notebook: Notebook, explored: Screen) -> None:
    explored.edit("prompt")
    explored.root.locator(".aw-examples .aw-link", has_text="two names").first.click()
    explored.expect_version(2)
    assert notebook.value("ex.run.text").startswith("When Mary and John")
    assert notebook.value("ex.corrupted.text").startswith("When Mary and John")
    expect(explored.part("corrupted-line")).to_contain_text("1 token differs")


# views --------------------------------------------------------------------------------------------------------------


def test_two_views_stay_in_step(notebook: Notebook, explored: Screen) -> None:
    other = Screen(notebook.widget(notebook.cell("ex")))
    head = explored.another_head()
    other.open(head)
    explored.expect_open(head)
    explored.ask("prompt", "The capital of Japan is")
    for screen in (explored, other):
        screen.expect_version(2)
    assert other.headline == explored.headline
    assert other.total == explored.total


def test_a_cell_that_is_run_again(notebook: Notebook, explored: Screen) -> None:
    """The view of the second run works, and so does one whose explorer was replaced."""
    kept = Screen(notebook.widget(notebook.cell("kept = ex\nkept")))
    notebook.run(1)
    again = Screen(notebook.widget(1))
    expect(notebook.page.locator(".aw")).to_have_count(2)
    head = again.another_head()
    again.open(head)
    notebook.expect("(ex.selected, kept.selected)", (head, ""))
    kept.open(head)
    notebook.expect("kept.selected", head)
    notebook.run(2)
    Screen(notebook.widget(2)).expect_open(head)


def test_hidden_until_revealed(notebook: Notebook) -> None:
    i = notebook.cell('ex = aw.explore(model, hidden=["candidates", "values", "detail", "sum"])\nex')
    screen = Screen(notebook.widget(i))
    answer = printed(notebook.value("ex.model.token(ex.model.single_token(ex.attribution.target.tokens[0]))"))
    for part in ("candidates", "values", "detail"):
        expect(screen.part(f"hidden-{part}")).to_contain_text("make your prediction first")
    expect(screen.root.get_by_role("button", name="Show")).to_have_count(0)  # that is for Python to decide
    visible = screen.root.inner_text()
    assert answer not in visible
    assert f"{notebook.value('ex.attribution.total'):.2f}" not in visible
    notebook.cell("ex.reveal()")
    expect(screen.part("waterfall")).to_be_visible()
    expect(screen.root.locator(".aw-hidden")).to_have_count(0)
    assert f"for {answer}" in screen.headline


def test_dark_theme(notebook: Notebook, explored: Screen) -> None:
    """The views repaint when the application changes its theme, canvas and cells included."""
    explored.tab("pattern")
    cell = explored.part("pattern").locator(".aw-cell").first

    def colours() -> list[Any]:
        return [explored.style(explored.root, "--aw-plus"), explored.style(cell, "background-color")]

    light = colours()
    expect(explored.root).to_have_attribute("data-aw-theme", "light")
    notebook.theme(dark=True)
    expect(explored.root).to_have_attribute("data-aw-theme", "dark")
    dark = colours()
    assert all(a != b for a, b in zip(light, dark, strict=True))
    # No light island in a dark page.
    assert _luminance(explored.style(explored.root, "background-color")) < 0.1
    assert _luminance(explored.style(explored.root, "color")) > 0.5
    notebook.theme(dark=False)
    expect(explored.root).to_have_attribute("data-aw-theme", "light")
    assert colours() == light


def test_every_view_has_its_colours(notebook: Notebook) -> None:
    """Also the second one, whose style sheet is in the page before it is; also where the page was dark before."""
    notebook.cell("ex = aw.explore(model)")
    for dark in (False, True):
        notebook.theme(dark)
        for _ in range(3):
            i = notebook.cell("import ipywidgets\nipywidgets.Widget.close_all()\nex = aw.explore(model)\nex")
            screen = Screen(notebook.widget(i))
            expect(screen.root).to_have_attribute("data-aw-theme", "dark" if dark else "light")
            cell = screen.tab("pattern").locator(".aw-cell").first  # the first token reads itself: the strongest
            red, green, blue = _channels(screen.style(cell, "background-color"))
            # Blues on a light page, cividis (its yellow end) on a dark one; never grey.
            assert (red > green > blue + 0.3) if dark else (blue > green > red)


def _channels(colour: str) -> list[float]:
    """Red, green and blue of a computed colour, 0 to 1."""
    return [float(n) / 255 for n in colour[colour.index("(") + 1 : -1].replace(",", " ").split()[:3]]


def _luminance(colour: str) -> float:
    """Of a computed colour, about."""
    return sum(w * n for w, n in zip((0.2126, 0.7152, 0.0722), _channels(colour), strict=True))


# results ------------------------------------------------------------------------------------------------------------


RESULTS = {
    "attribution": 'a = aw.attribute(model.run("The capital of France is"), " Paris")\na',
    "attention": 'aw.attention(model.run("The capital of France is"), "L3H5")',
    "every head": 'aw.attention(model.run("The capital of France is"))',
    "sources": 'aw.attribute(model.run("The capital of France is"), " Paris").sources("L3H5")',
    "neurons": 'aw.attribute(model.run("The capital of France is"), " Paris").neurons(2)',
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_draws_itself(notebook: Notebook, name: str) -> None:
    """As the last line of a cell: a view on the page, a table in text and in HTML for places without one."""
    i = notebook.cell(RESULTS[name])
    screen = Screen(notebook.widget(i))
    expect(screen.root.locator("h2")).not_to_be_empty()
    live, still = (output["data"] for output in notebook.outputs(i))
    assert set(live) == {"application/vnd.jupyter.widget-view+json"} and set(still) == {"text/plain", "text/html"}
    expect(notebook.output(i).locator(".aw-static")).to_be_hidden()
    data = still
    html = "".join(data["text/html"])
    assert "<script" not in html
    assert len(html) <= 20_000
    if name == "attribution":
        head = screen.another_head()
        screen.open(head)
        notebook.expect("a.view().selected", head)
        expect(screen.part("edit-prompt")).to_have_count(0)
    if name == "every head":
        screen.root.locator('[data-id="L1H2"]').click()
        expect(screen.root.locator(".aw-title")).to_have_text("L1H2")
    if name == "sources":
        total = notebook.value("aw.attribute(model.run('The capital of France is'), ' Paris')['L3H5']")
        assert agree(screen.part("sum").locator("b").first.inner_text(), total)


def test_frozen_in_a_notebook(notebook: Notebook) -> None:
    """freeze() draws without a widget, in a sandboxed frame as tall as what it holds."""
    i = notebook.cell("aw.explore(model).freeze()")
    frame = notebook.output(i).locator("iframe")
    screen = Screen.on(frame.content_frame)
    expect(screen.root).to_have_attribute("data-live", "static")
    screen.open(screen.another_head())
    assert "allow-same-origin" not in (frame.get_attribute("sandbox") or "")
    room = "f => { const s = getComputedStyle(f.parentElement); return f.parentElement.clientWidth - parseFloat("
    room += "s.paddingLeft) - parseFloat(s.paddingRight) - f.clientWidth; }"
    assert abs(frame.evaluate(room)) < 1
    tall = screen.root.evaluate("e => document.documentElement.getBoundingClientRect().height")
    notebook.page.wait_for_function("([f, h]) => Math.abs(f.clientHeight - h) < 4", arg=[frame.element_handle(), tall])


@lab_only
@pytest.mark.parametrize("trusted", [False, True])
def test_a_saved_notebook_still_tells(
    notebook: Notebook, explored: Screen, browser: Any, jupyter: Server, trusted: bool
) -> None:
    """Opened again, without the kernel that made it and without widget state: the picture stands in for the view."""
    explored.ask("prompt", "The capital of Norway is")
    explored.expect_version(2)
    labels = explored.labels()[:3]
    outputs = [nbformat.from_dict(output) for output in notebook.outputs(1)]
    cell = nbformat.v4.new_code_cell("ex", outputs=outputs, execution_count=1)
    if trusted:
        cell.metadata["trusted"] = True
    name = f"saved-{trusted}.ipynb"
    save(jupyter, name, cell)
    if trusted:
        jupyter.trust(name)
    with watch(browser) as watched:
        again = Notebook(watched.page, jupyter.lab(name), name)
        picture = again.output(0).locator(".aw-static")
        expect(picture).to_be_visible()
        for label in labels:
            expect(picture).to_contain_text(label)
        expect(picture).to_contain_text("Norway")
        bar = picture.locator("td i").first.bounding_box()
        assert bar and bar["width"] > 20 and bar["height"] == 10
        again.shutdown()
        watched.check()


def test_hostile_text_stays_text(notebook: Notebook) -> None:
    """A token, a prediction and a model name that are HTML: nothing of them becomes an element."""
    notebook.cell(f"{inspect.getsource(hostile)}\nbad = hostile_model(aw)")
    i = notebook.cell("ex = aw.explore(bad, PROMPT, ATTACK)\nex")
    screen = Screen(notebook.widget(i))
    attack = printed(hostile.ATTACK)
    assert attack in screen.tokens()
    assert screen.headline.endswith(attack)
    explored_everywhere(screen)
    screen.ask("prompt", hostile.PROMPT.replace("capital", "city"))
    screen.expect_version(2)
    screen.ask("target", hostile.ATTACK + hostile.ATTACK)
    expect(screen.part("error")).to_contain_text("<img")
    screen.part("target").press("Escape")
    notebook.cell("ex.attribution")
    notebook.cell('ex.attribution.sources("L3H5")')
    notebook.cell("aw.attention(ex.run)")
    notebook.cell("from IPython.display import HTML, display\ndisplay(HTML(ex._repr_mimebundle_()[0]['text/html']))")
    assert notebook.page.locator(".jp-Notebook img").count() == 0
    assert "PWNED" not in notebook.page.title()
    assert notebook.page.evaluate("document.title") == notebook.page.title()


def explored_everywhere(screen: Screen) -> None:
    """Open whatever shows a token."""
    screen.open(screen.another_head())
    screen.token(1).click()
    expect(screen.part("through").locator(".aw-bars li").first).to_be_visible()
    for tab in ("pattern", "why", "writes"):
        screen.tab(tab)
    screen.tab("pattern").locator('[role="gridcell"]').first.hover()
    screen.part("copy").click()
    expect(screen.part("code")).to_be_visible()
