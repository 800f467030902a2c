"""Hybrids clicked through in JupyterLab: a head, a mixer, its test, all heads, the trace, the lens, the survey."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from browser import audit
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen, agree

TESTS = Path(__file__).parents[1]
#: Families by the row of their first mixer, what it is called beside its name, and how it is explained.
MIXERS = {
    "qwen3_5_text": ("L0.attn", "delta net", "a gated delta net in place of attention"),
    "lfm2": ("L0.attn", "conv", "a short convolution in place of attention"),
    "jamba": ("L0.attn", "Mamba", "a Mamba mixer in place of attention"),
    "granitemoehybrid": ("L0.attn", "Mamba", "a Mamba mixer in place of attention"),
    "falcon_h1": ("L0.beside", "Mamba", "a Mamba mixer beside attention and MLP"),
}
BUILD = """
import sys
sys.path.insert(0, {tests!r})
from fixtures import families
hybrid = aw.load(families.build({name!r}), tokenizer=families.tokenizer({name!r}))
run = hybrid.run("The capital of France is")
other = list(run.ids)
other[2] = (other[2] + 7) % 300
"""
#: A folder for pictures of what was clicked through, to be looked at.
PICTURES = os.environ.get("HYBRID_PICTURES", "")


class Walk:
    """The screen of one hybrid, audited and pictured at every step."""

    def __init__(self, notebook: Notebook, screen: Screen, name: str) -> None:
        self.notebook, self.screen, self.name = notebook, screen, name

    def sound(self, step: str) -> None:
        """Accessible, nothing cut or overlapping, in both themes."""
        self.notebook.page.mouse.move(0, 0)  # no tooltip over anything
        for dark in (False, True):
            self.notebook.theme(dark)
            if PICTURES:
                shot = Path(PICTURES) / f"{self.name}-{step}-{'dark' if dark else 'light'}.png"
                self.screen.root.screenshot(path=shot)
            found = audit.accessibility(self.screen.root)
            assert found["violations"] == [], (step, dark, found["violations"])
        assert audit.layout(self.screen.root) == [], step
        self.notebook.theme(dark=False)


@lab_only
@pytest.mark.parametrize("name", MIXERS)
def test_a_hybrid_is_clicked_through(notebook: Notebook, name: str) -> None:
    label, short, words = MIXERS[name]
    notebook.cell(BUILD.format(tests=str(TESTS), name=name))
    screen = Screen(notebook.widget(notebook.cell('ex = aw.explore(hybrid, run, " Paris", corrupted=other)\nex')))
    walk = Walk(notebook, screen, name)
    expect(screen.part("coarse")).to_contain_text(words.removesuffix(" and MLP"))

    screen.show("order")
    expect(screen.row(label).locator(".aw-name")).to_have_text(f"{label} {short}")
    assert (screen.row(label).get_attribute("title") or "").startswith(f"{label}: {words}")
    head = screen.another_head()
    screen.open(head)
    expect(screen.tab("tokens").locator(".aw-tok").first).to_be_visible()
    screen.open(label)
    expect(screen.detail.locator(".aw-sentence").first).to_contain_text(f"{label} is {words}")
    assert screen.part("tabs").locator('[role="tab"]').all_inner_texts() == ["Writes", "Lens"]
    expect(screen.tab("writes").locator(".aw-bars").first).to_be_visible()
    walk.sound("mixer")

    screen.part("test").click()
    expect(screen.row(label).locator(".aw-verdict")).to_be_visible()
    numbers = notebook.value(
        f'(lambda f: (f.necessity, f.direct, f.sufficiency, f.direct_back))(ex.verdicts["{label}"])'
    )
    shown = screen.part("verdict").locator(".aw-val").all_inner_texts()
    assert all(agree(text, value) for text, value in zip(shown, numbers, strict=True))
    expect(screen.part("mark")).to_contain_text("Tested:")
    walk.sound("tested")

    screen.show("heads")
    cell = screen.part("heads").locator(f'[role="gridcell"][data-id="{label}"]')
    expect(cell).to_have_attribute("aria-selected", "true")
    place = "Mamba" if label.endswith("beside") else short
    expect(screen.part("heads").get_by_text(place, exact=True).first).to_be_visible()
    cell.click(modifiers=["Shift"])
    expect(screen.part("chosen")).to_contain_text(label)
    notebook.expect("ex.chosen", [label])
    cell.click(modifiers=["Shift"])
    notebook.expect("ex.chosen", [])
    walk.sound("heads")

    screen.show("trace")
    flow = screen.part("flow")
    expect(flow).to_be_visible()
    node = flow.locator(f'[role="option"][aria-label^="{label} ({short})"]').first
    expect(node).to_contain_text(f"{label} ({short})")
    box = node.evaluate("n => [n.scrollWidth, n.clientWidth]")
    assert box[0] <= box[1], "its word is cut off"
    node.hover()
    expect(flow.locator(".aw-sentence")).to_contain_text(f"{label} ({short})")
    walk.sound("trace")

    screen.show("size")
    lens = screen.tab("lens")
    expect(lens.get_by_role("grid")).to_be_visible()
    walk.sound("lens")


@lab_only
def test_what_stands_alone_says_it_as_well(notebook: Notebook) -> None:
    """Results of a hybrid outside the Explorer: bars, comparison, patching, verdicts, trace, lens, survey."""
    notebook.cell(BUILD.format(tests=str(TESTS), name="qwen3_5_text"))
    notebook.cell('a = aw.attribute(run, " Paris")\nfar = hybrid.run(other)')
    views: dict[str, Any] = {
        "bars": 'a.through("L1H1").at(3)',
        "comparison": 'aw.compare(a, aw.attribute(far, " Paris"))',
        "table": "aw.ablate(hybrid, run, aw.logit(5))",
        "trace": "a.trace()",
        "survey": 'aw.survey(hybrid, [f"The capital of {x} is" for x in ("France", "Spain", "Peru")], [" Paris"] * 3)',
    }
    for name, code in views.items():
        screen = Screen(notebook.widget(notebook.cell(code)))
        walk = Walk(notebook, screen, f"alone-{name}")
        if name == "trace":
            node = screen.root.locator('[aria-label*="L0.attn (delta net)"]').first
            expect(node).to_be_visible()
        elif name == "survey":
            spot = screen.root.locator('[data-id="L0.attn"]').first
            assert (spot.get_attribute("title") or "").startswith("L0.attn: a gated delta net")
            spot.click()
            expect(screen.root.locator('[data-part="part-title"]')).to_contain_text("delta net")
            spot.hover()
            expect(screen.root.locator(".aw-told")).to_contain_text("L0.attn (delta net)")
        else:
            expect(screen.root.get_by_text("delta net").first).to_be_visible()
        walk.sound("shown")
