"""From the prompt to a feature in three clicks: with no kernel what was embedded, with one everything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import expect

import attrib_widgets as aw
from attrib_widgets.widgets.shapes.opened import CONTEXTS
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen, agree, number
from fixtures import families

Show = Callable[..., Screen]


@pytest.fixture(scope="module")
def explorer(demo: Any) -> Any:
    """The Explorer on its first task."""
    return aw.explore(demo)


def strongest(explorer: Any, kind: str) -> str:
    """The largest head or MLP; without its dictionary there is nothing to click."""
    row = str(explorer.attribution.top(1, kind=kind)[0][0])
    try:
        explorer.attribution.features(row)
    except aw.ComponentError as reason:
        pytest.skip(str(reason))
    return row


@pytest.mark.parametrize("kind", ["mlp", "head"])
def test_three_clicks_without_a_kernel(explorer: Any, offline: Show, watched: Watched, kind: str) -> None:
    row, a = strongest(explorer, kind), explorer.attribution
    found = a.features(row)
    first = int(found.values[:-2].abs().argmax())
    screen = offline(explorer)
    screen.row(row).click()  # 1
    screen.detail.locator('[role="tab"][data-tab="features"]').click()  # 2
    panel = screen.part("features")
    names = panel.locator(".aw-below").all_inner_texts()
    values = panel.locator(".aw-val").all_inner_texts()
    assert len(names) == min(12, len(found.numbers) - 2) and len(values) >= len(names) + 2
    for name, value in zip(names, values, strict=False):
        assert agree(value, found[name.split()[0]])
    assert names[0].split()[0] == found.labels[first]
    assert panel.locator(".aw-concept").first.inner_text() == found.concepts[first]
    summed, bar, _ = panel.locator('[data-part="sum"] > span').all_inner_texts()
    assert agree(summed.split()[-1], a[row]) and agree(bar.split()[-1], a[row])
    expect(panel).to_contain_text("Labels are computed")
    panel.locator("button.aw-brow").first.click()  # 3

    card, shown = found.card(found.numbers[first]), screen.part("feature")
    expect(shown.locator(".aw-subtitle")).to_have_text(f"{card.label}{found.labels[first]}")
    expect(shown).to_contain_text("Computed label; fires on")
    said = screen.part("arithmetic").inner_text()
    fires, unit, value = screen.part("arithmetic").locator("b").all_inner_texts()
    assert f"{number(fires) * number(unit):.2f}" == f"{number(value):.2f}" and agree(value, found.values[first])
    assert " ".join(said.split()) == " ".join(card.arithmetic.line().split())
    expect(shown.locator(".aw-context")).to_have_count(len(card.contexts))
    for i, firing in enumerate(card.contexts):
        strong = firing.tokens[firing.position].strip()
        marks = (
            shown.locator(".aw-context").nth(i).locator("mark").evaluate_all("all => all.map(m => m.firstChild.data)")
        )
        assert strong in marks
        assert "\u00b7" not in shown.locator(".aw-context").nth(i).inner_text()  # prose
    numbers = shown.locator(".aw-carried .aw-num").all_inner_texts()
    assert len(numbers) == len(card.here)
    for text, activation in zip(numbers, card.here, strict=True):
        assert text == "\u2013" if activation == 0 else agree(text, activation)
    expect(shown).to_contain_text(f"directly, through {row}, for" if "H" in row else "directly, for")
    promoted = shown.locator(".aw-sides > div").first.locator(".aw-name").all_inner_texts()
    assert promoted == [text.replace(" ", "\u00b7") for text, _, _ in card.promoted]
    crumbs = screen.part("crumbs").locator(".aw-crumb").all_inner_texts()
    assert crumbs == ["\u00b7Paris over \u00b7Berlin", row, found.labels[first]]
    expect(shown.locator("button").first).to_be_focused()
    screen.part("crumbs").get_by_role("button", name=row).click()
    expect(screen.part("features")).to_be_visible()
    screen.part("back").click()
    expect(screen.part("feature")).to_be_visible()
    assert set(watched.requests) <= {watched.page.url}


@lab_only
def test_the_kernel_opens_what_was_not_embedded(explorer: Any, notebook: Notebook, explored: Screen) -> None:
    row = strongest(explorer, "head")
    number = explorer.attribution.features(row).numbers[-3]  # of a live view no card is embedded
    explored.open(row)
    explored.tab("features")
    name = f"{row.partition('H')[0]}.z/{number}"
    explored.part("features").locator("button.aw-brow", has_text=name).click()
    card = explored.part("feature")
    expect(card.locator(".aw-bars").first).to_be_visible()
    expect(card).to_contain_text(name)
    notebook.expect("ex.selected", f"{row}/{number}")
    assert notebook.value("str(ex.selected_result().feature)") == name
    notebook.cell(f'ex.selected = "{row}"')
    expect(explored.part("features")).to_be_visible()
    notebook.cell(f'ex.selected = "{row}/{number}"')
    expect(card).to_contain_text(name)


def dictionary(site: str, width: int) -> aw.SAE:
    """Chance directions: what they find means nothing, and where they are shown does not depend on it."""
    torch.manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(30, width), dim=1)
    return aw.SAE(site, "topk", rows.T.contiguous(), torch.zeros(30), rows, torch.zeros(width), k=5)


@pytest.fixture
def other() -> Any:
    """Another small model than the embedded one, with nothing beside its weights."""
    return aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))


def test_a_dictionary_of_ones_own_is_clicked(other: Any, offline: Show) -> None:
    """Given to the model, it opens rows and cards like those that came with one; without texts the card says so."""
    width = other.n_heads * other.geometry[0].d_head
    sizes = {"mlp": other.d_model, "z": width}
    own = [dictionary(f"L{n}.{site}", sizes[site]) for n in range(other.n_layers) for site in sizes]
    ex = aw.explore(other, families.PROMPT, " Paris", saes=own)
    for kind in ("mlp", "head"):
        row = str(ex.attribution.top(1, kind=kind)[0][0])
        found = ex.attribution.features(row)
        assert found.site == (row if kind == "mlp" else row.partition("H")[0] + ".z")
        number = found.numbers[int(found.values[:-2].abs().argmax())]
        for texts in (None, ["The capital of Italy is Rome", "Mary gave the bag to John"] * 3):
            other.saes.contexts = texts
            screen = offline(ex)
            screen.row(row).click()
            screen.detail.locator('[role="tab"][data-tab="features"]').click()
            shown = screen.part("features").locator("button.aw-brow")
            expect(shown).to_have_count(len(found.numbers) - 2)
            first = shown.first
            expect(first).to_contain_text(f"{found.site}/{number}")
            assert agree(first.locator(".aw-val").inner_text(), found[f"{found.site}/{number}"])
            first.click()
            card, opened = ex.attribution.features(row).card(number), screen.part("feature")
            expect(opened).to_contain_text(f"{found.site}/{number}")
            expect(opened.locator(".aw-context")).to_have_count(min(len(card.contexts), CONTEXTS) + len(card.bands))
            if texts is None:
                expect(opened).to_contain_text('model.saes.contexts = ["')
    ex.close()


@lab_only
def test_a_dictionary_given_later_is_clicked_at_once(other: Any, notebook: Notebook, tmp_path: Path) -> None:
    """The Explorer that is open has the tab as soon as the model has the dictionary."""
    from attrib_widgets.saes.formats.saelens import write_sae

    other.hf.save_pretrained(tmp_path / "model")
    other.tokenizer.save_pretrained(tmp_path / "model")
    write_sae(dictionary("L1.mlp", other.d_model), tmp_path / "mine")
    screen = Screen(
        notebook.widget(
            notebook.cell(
                f"own = aw.load({str(tmp_path / 'model')!r})\nex = aw.explore(own, {families.PROMPT!r}, ' Paris')\nex"
            )
        )
    )
    screen.open("L1.mlp")
    tab = screen.detail.locator('[role="tab"][data-tab="features"]')
    expect(tab).to_have_attribute("aria-disabled", "true")
    notebook.cell(f"own.saes['L1.mlp'] = {str(tmp_path / 'mine')!r}")
    expect(tab).not_to_have_attribute("aria-disabled", "true")
    screen.tab("features")
    screen.part("features").locator("button.aw-brow").first.click()
    card = screen.part("feature")
    expect(card.locator(".aw-bars").first).to_be_visible()
    name = notebook.value("str(ex.selected_result().feature)")
    assert name.startswith("L1.mlp/")
    expect(card).to_contain_text(name)
    notebook.cell("own.saes.contexts = ['The capital of Italy is Rome', 'Mary gave the bag to John']")
    notebook.cell('ex.selected = "L1.mlp/12"')
    expect(card).to_contain_text("L1.mlp/12")
