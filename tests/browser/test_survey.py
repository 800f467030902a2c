"""A survey on its page and in a notebook: maps, keys, prompts, and the way back to one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

import attrib_widgets as aw
from attrib_widgets.words.text import digits_of, number, share, signed
from browser.audit import accessibility, layout
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen, agree

Show = Callable[..., Screen]
TASKS = ("capitals", "two names", "agreement")


@pytest.fixture(scope="module")
def survey(demo: Any) -> Any:
    """Three tasks of the embedded model."""
    return aw.survey(demo, {task: aw.demo.pairs(task, 24) for task in TASKS})


@pytest.fixture(scope="module")
def tested(demo: Any) -> Any:
    """Two tasks, one of them without comparison prompts; every part was tested in the first, a head in both."""
    plain = aw.demo.pairs("capitals", 12)
    rows = list(zip(plain.clean, plain.target, plain.against, strict=True))
    made = aw.survey(demo, {"two names": aw.demo.pairs("two names", 12), "capitals": rows})
    made.test(group="two names")
    made.test("L3H5", "capitals")
    return made


# Every prompt of a pair is a run of its own: the fifth is the first of the third pair.
WAITS = """
import threading
gate, runs = threading.Event(), []
def run(*args, own=model.run, **more):
    runs.append(args)
    if len(runs) == 5:
        gate.wait(60)
    return own(*args, **more)
model.run = run
"""


def told(survey: Any, name: str, part: str) -> str:
    """What the page says of a part in a group, from Python's numbers."""
    group = survey.groups[name]
    row = [str(p) for p in survey.parts].index(part)
    digits = digits_of(float(v) for g in survey.groups.values() for v in g.mean)
    mean = f"{part} in {name}: mean {signed(float(group.mean[row]), digits)} logits"
    alike = f"same sign in {share(float(group.same_sign[row]))} of {len(group)} prompts"
    permuted = f"(answers permuted: {share(float(group.same_sign_permuted[row]))})"
    p = f"p {float(group.p[row]):.3f}{', specific' if row in group.passing() else ''}"
    return f"{mean}, spread {number(float(group.spread[row]), digits)}; {alike} {permuted}; {p}."


def prompts(screen: Screen) -> list[int]:
    """The numbers of the prompts that are listed."""
    found = screen.part("prompts").locator("[data-prompt]").evaluate_all("rows => rows.map(r => r.dataset.prompt)")
    return [int(n) for n in found]


def test_maps_keys_parts_and_prompts(survey: Any, offline: Show, watched: Watched) -> None:
    screen = offline(survey.view())
    assert screen.headline == survey.title()
    maps = screen.part("maps").get_by_role("grid")
    expect(maps).to_have_count(len(TASKS))
    for i, (name, group) in enumerate(survey.groups.items()):
        ringed = maps.nth(i).locator(".aw-ringed").evaluate_all("cells => cells.map(c => c.dataset.id)")
        assert sorted(ringed) == sorted(str(p) for p in survey.passing(name))
        spoken = maps.nth(i).locator("[data-id]").evaluate_all("cells => cells.map(c => [c.dataset.id, c.ariaLabel])")
        assert len(spoken) == len(survey.parts)
        assert [s for part, s in spoken if f"{s}." != told(survey, name, part)] == []
        area = (
            maps.nth(i)
            .locator("[data-id] > i")
            .evaluate_all("marks => marks.map(m => [m.parentElement.dataset.id, m.offsetWidth ** 2, m.className])")
        )
        largest = max(area, key=lambda a: a[1])[0]
        assert largest == str(survey.parts[int(group.mean.abs().argmax())])
        means = dict(zip(map(str, survey.parts), group.mean.tolist(), strict=True))
        assert all((kind == "aw-neg") == (means[part] < 0) for part, _, kind in area)
    # layers upwards: from the top left one step down and two to the right is the third head below the last layer
    last = max(p.layer for p in survey.parts)
    maps.nth(1).locator('[tabindex="0"]').focus()
    keys = watched.page.keyboard
    for key in ("Control+Home", "ArrowDown", "ArrowRight", "ArrowRight"):
        keys.press(key)
    part = f"L{last - 1}H2"
    expect(maps.nth(1).locator(f'[data-id="{part}"]')).to_be_focused()
    expect(screen.root.locator(".aw-readout")).to_have_text(told(survey, "two names", part))
    keys.press("Enter")
    expect(screen.part("survey")).to_have_attribute("data-open", part)
    expect(screen.part("part-title")).to_have_text(survey[part].title())
    head = str(survey.passing("capitals")[0])
    maps.nth(0).locator(f'[data-id="{head}"]').click()
    expect(screen.part("part-title")).to_have_text(survey[head].title())
    expect(screen.part("maps").locator(f'[data-id="{head}"][aria-selected="true"]')).to_have_count(len(TASKS))
    assert screen.part("strip").locator("path[data-prompt]").count() == len(survey)
    for name in TASKS:
        screen.root.locator(f'[data-chip="{name}"]').click()
        for which in ("deciles", "smallest", "largest"):
            screen.root.locator(f'[data-form="{which}"]').click()
            wanted = survey[head].examples(name, which)
            assert prompts(screen) == wanted
            values = screen.part("prompts").locator(".aw-val").all_inner_texts()
            assert all(agree(v, float(survey[head].values[n])) for v, n in zip(values, wanted, strict=True))
    row = screen.part("prompts").locator("[data-prompt]").first
    row.click()
    expect(row).to_have_attribute("aria-current", "true")
    opened = screen.part("opened")
    expect(opened).to_contain_text("Needs a running kernel")
    expect(opened).to_contain_text(f"s.open({prompts(screen)[0]})")
    opened.locator('[data-part="close-open"]').click()
    expect(opened).to_have_count(0)
    assert set(watched.requests) <= {watched.page.url}


def test_two_measures_as_axes(survey: Any, offline: Show, watched: Watched) -> None:
    screen = offline(survey.view())
    screen.root.locator('[data-form="measures"]').click()
    plane = screen.part("measures").get_by_role("listbox")
    screen.root.locator('[data-axis="Across"]').select_option("spread")
    screen.root.locator('[data-axis="Up"]').select_option("specific")
    group = survey.groups[TASKS[0]]
    found = plane.locator("[data-id]").evaluate_all(
        "dots => dots.map(d => [d.dataset.id, parseFloat(d.style.left), parseFloat(d.style.bottom)])"
    )
    assert len(found) == len(survey.parts)
    names = [str(p) for p in survey.parts]
    for column, values in ((1, group.spread), (2, group.beyond)):
        drawn = sorted(found, key=lambda dot: dot[column])
        numbers = [float(values[names.index(dot[0])]) for dot in drawn]
        assert numbers == pytest.approx(sorted(numbers), abs=1e-5)
    dot = plane.locator("[data-id]").nth(3)
    name = dot.get_attribute("data-id")
    dot.focus()
    expect(screen.root.locator(".aw-readout")).to_have_text(told(survey, TASKS[0], str(name)))
    watched.page.keyboard.press("Enter")
    expect(screen.part("survey")).to_have_attribute("data-open", str(name))


def test_effects_stand_beside_contributions(tested: Any, offline: Show) -> None:
    view = tested.view()
    view.selected = "L3H5"
    screen = offline(view)
    lines = screen.part("test-said").locator("li")
    for i, name in enumerate(tested.groups):
        expect(lines.nth(i)).to_contain_text(tested.tests["L3H5", name].said())
    expect(lines.nth(0)).to_contain_text("from the comparison prompt")
    expect(lines.nth(1)).to_contain_text("at its mean over the other prompts")
    for name in tested.groups:
        screen.root.locator(f'[data-chip="{name}"]').click()
        found = tested.tests["L3H5", name]
        effects = dict(zip(found.numbers, found.effects.tolist(), strict=True))
        printed = screen.part("prompts").locator(".aw-effect").all_inner_texts()
        shown = [text.split()[-1] for text in printed]
        assert all(agree(v, effects[n]) for v, n in zip(shown, prompts(screen), strict=True))
        assert screen.part("strip").locator(f'g.aw-tested[data-group="{name}"] path').count() == len(found)
    expect(screen.part("test-all")).to_be_disabled()
    screen.root.locator('[data-form="measures"]').click()
    screen.root.locator('[data-chip="two names"]').click()
    screen.root.locator('[data-axis="Up"]').select_option("effect")
    dots = (
        screen.part("measures")
        .locator("[data-id]")
        .evaluate_all("dots => dots.map(d => [d.dataset.id, parseFloat(d.style.bottom)])")
    )
    assert len(dots) == len(tested.parts)
    numbers = [tested.tests[str(name), "two names"].mean for name, _ in sorted(dots, key=lambda dot: dot[1])]
    assert numbers == pytest.approx(sorted(numbers), abs=1e-5)


@pytest.mark.usefixtures("every_window")
def test_nothing_overlaps_and_axe_finds_nothing(survey: Any, offline: Show) -> None:
    screen = offline(survey.view())
    faults: dict[str, list[str]] = {}

    def look(state: str) -> None:
        said = accessibility(screen.root)
        unread = [text for text in said["incomplete"] if text.startswith("color-contrast")]
        faults[state] = [*layout(screen.root), *said["violations"], *unread]

    look("maps")
    screen.part("maps").locator(f'[data-id="{survey.passing("two names")[-1]}"]').nth(1).click()
    screen.root.locator('[data-form="deciles"]').click()
    screen.part("prompts").locator("[data-prompt]").nth(1).click()
    look("a prompt")
    screen.root.locator('[data-form="measures"]').click()
    look("two measures")
    screen.root.locator('[data-help="survey"]').click()
    expect(screen.part("help")).to_contain_text("Does not say")
    look("help")
    assert {state: found for state, found in faults.items() if found} == {}


@pytest.mark.usefixtures("every_window")
def test_nothing_overlaps_once_it_was_tested(tested: Any, offline: Show) -> None:
    view = tested.view()
    view.selected = "L3H5"
    screen = offline(view)
    faults = {}
    for form in ("maps", "measures"):
        screen.root.locator(f'[data-form="{form}"]').click()
        if form == "measures":
            screen.root.locator('[data-axis="Up"]').select_option("effect")
        said = accessibility(screen.root)
        unread = [text for text in said["incomplete"] if text.startswith("color-contrast")]
        faults[form] = [*layout(screen.root), *said["violations"], *unread]
    assert {state: found for state, found in faults.items() if found} == {}


@lab_only
def test_a_click_on_a_prompt_opens_it_below(notebook: Notebook) -> None:
    made = 's = aw.survey(model, {t: aw.demo.pairs(t, 6) for t in ("capitals", "two names")})\nv = s.view()\nv'
    cell = notebook.cell(made)
    root = notebook.output(cell).locator(".aw:has(> .aw-alone)")
    screen = Screen(root)
    screen.root.locator('[data-chip="two names"]').click()
    screen.part("maps").locator('[data-id="L3H5"]').nth(1).click()
    notebook.expect("v.selected", "L3H5")
    marked = screen.part("prompts").locator("mark")
    screen.part("mark-read").click()
    expect(marked).to_have_count(6)
    first = screen.part("prompts").locator("[data-prompt]").first
    first.click()
    inner = Screen(screen.part("opened").locator(".aw"))
    inner.expect_open("L3H5")
    notebook.expect("v.source", int(str(first.get_attribute("data-prompt"))))
    assert agree(inner.total, notebook.value("float(s.values[v.source].sum())"))
    inner.open(inner.another_head())
    # another prompt takes its place
    before = notebook.value("v.opened.model_id")
    screen.part("prompts").locator("[data-prompt]").nth(1).click()
    notebook.expect(f"v.opened.model_id != {before!r}", True)
    expect(screen.part("opened").locator(".aw")).to_have_count(1)
    expect(screen.part("opened").locator('[data-part="waterfall"]')).to_be_visible()
    screen.part("test-group").click()
    expect(screen.part("test-said").locator("li")).to_have_count(1)
    expect(screen.part("test-said")).to_contain_text(notebook.value("s.tests['L3H5', 'two names'].said()"))
    # of one that is cancelled, what is done stays: the worker waits at the third prompt until it was told to stop
    notebook.cell(WAITS)
    screen.part("test-all").click()
    expect(screen.part("testing")).to_contain_text("2 of 12 prompts")
    screen.part("cancel-test").click()
    notebook.cell("gate.set()")
    expect(screen.part("testing")).to_have_count(0)
    expect(screen.part("test-said").locator("li")).to_have_count(2)
    notebook.cell("del model.run")
    assert notebook.value("len(s.tests['L3H5', 'capitals'])") == 3, "the prompt that it was at, too"
    assert notebook.value("v.last_error") == ""
