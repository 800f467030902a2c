"""Slow browsers, and hosts that lose what a worker thread sends: the view draws, and every answer reaches it."""

from __future__ import annotations

from playwright.sync_api import expect

from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen, agree
from browser.test_kernel import SLOW

pytestmark = lab_only

# Whatever is unpacked comes out only when the test lets it.
HOLD = """() => {
  const Real = window.DecompressionStream;
  window.awOpen = new Promise(open => { window.awLetGo = () => { window.DecompressionStream = Real; open(); }; });
  window.DecompressionStream = class {
    constructor(kind) {
      const { readable, writable } = new Real(kind);
      const held = new TransformStream({ async transform(chunk, out) { await window.awOpen; out.enqueue(chunk); } });
      return { readable: readable.pipeThrough(held), writable };
    }
  };
}"""
LET_GO = "() => window.awLetGo()"

# Of what the view sends, only what is sent while a cell runs or a message is handled leaves the kernel.
LOSSY = """
lost = 0
def only_handlers(message, buffers=None, send=ex._send):
    global lost
    import threading
    if threading.current_thread().name == model.worker.name:
        lost += 1
    else:
        send(message, buffers=buffers)
ex._send = only_handlers
"""


def test_unpacking_may_take_ten_seconds(notebook: Notebook) -> None:
    """anywidget gives up on a module after two; what Python says meanwhile is on the screen afterwards."""
    page = notebook.page
    page.evaluate(HOLD)
    try:
        i = notebook.cell('ex = aw.explore(model, "The capital of Japan is")\nex')
        expect(notebook.output(i).get_by_text("Opening the view")).to_be_visible()
        notebook.cell('ex.ask(prompt="The capital of Norway is")')
        head = notebook.value('str(ex.attribution.top(1, kind="head")[0][0])')
        notebook.cell(f'ex.selected = "{head}"')
        page.wait_for_timeout(10_000)
        expect(notebook.widget(i)).to_have_count(0)
    finally:
        page.evaluate(LET_GO)
    screen = Screen(notebook.widget(i))
    screen.expect_version(2)
    screen.expect_open(head)
    assert agree(screen.total, notebook.value("ex.attribution.total"))
    expect(screen.root).to_have_attribute("data-live", "live")
    expect(notebook.output(i).get_by_text("Opening the view")).to_have_count(0)
    screen.ask("prompt", "The capital of Italy is")
    screen.expect_version(3)


def test_a_host_that_loses_what_threads_send(notebook: Notebook, explored: Screen) -> None:
    """A new question, features, a test of ten, a cancelled one, and the selection, through handlers alone."""
    notebook.cell(LOSSY)
    explored.ask("prompt", "The capital of Spain is")
    explored.expect_version(2)
    assert agree(explored.total, notebook.value("ex.attribution.total"))
    head = explored.labels("head")[0]
    explored.open(head)
    notebook.expect("ex.selected", head)
    explored.tab("features")
    expect(explored.part("features").locator("button.aw-brow").first).to_be_visible()
    if not notebook.value("ex.corrupted is not None"):
        explored.ask("corrupted", "The capital of France is")
    explored.part("test-top").click()
    expect(explored.root.locator(".aw-verdict").first).to_be_visible(timeout=60_000)
    assert notebook.value("len(ex.verdicts.findings)") >= 10
    before = explored.version
    notebook.cell(SLOW)
    explored.ask("prompt", "The capital of Japan is")
    explored.part("cancel").click()
    notebook.cell("gate.set()")
    expect(explored.part("cancel")).to_have_count(0)
    expect(explored.root.locator(".aw-stale")).to_have_count(0)
    assert (explored.version, notebook.value("ex.run.text")) == (before, "The capital of Spain is")
    notebook.cell("del model.run")
    another = explored.another_head()  # and it still hears and is heard
    explored.open(another)
    notebook.expect("ex.selected", another)
    assert notebook.value("lost") > 3, "nothing was lost, and nothing was tested"


def test_a_slow_browser_hears_everything(notebook: Notebook) -> None:
    """Five times slower than this machine."""
    session = notebook.page.context.new_cdp_session(notebook.page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": 5})
    try:
        screen = Screen(notebook.widget(notebook.cell("ex = aw.explore(model)\nex")))
        expect(screen.root).to_have_attribute("data-live", "live", timeout=60_000)
        screen.ask("prompt", "The capital of Japan is")
        expect(screen.root).to_have_attribute("data-version", "2", timeout=60_000)
    finally:
        session.send("Emulation.setCPUThrottlingRate", {"rate": 1})
        session.detach()


# The same of every widget, openings included: a comm that a worker thread opens never reaches the page.
DEAF = """
lost = []
import threading, ipykernel.comm.comm as comm
def publish(self, kind, *args, said=comm.BaseComm.publish_msg, **more):
    if threading.current_thread().name == model.worker.name:
        lost.append(kind)
    else:
        said(self, kind, *args, **more)
comm.BaseComm.publish_msg = publish
"""


def test_a_prompt_of_a_survey_opens_and_is_tested_there(notebook: Notebook) -> None:
    """The widget under the survey, its numbers, and what a test on all finds, through handlers alone."""
    notebook.cell('s = aw.survey(model, {t: aw.demo.pairs(t, 4) for t in ("capitals", "two names")})\nv = s.view()')
    notebook.cell(DEAF)
    cell = notebook.cell("v")
    screen = Screen(notebook.output(cell).locator(".aw:has(> .aw-alone)"))
    screen.part("maps").locator('[data-id="L3H5"]').nth(1).click()
    notebook.expect("v.selected", "L3H5")
    screen.part("prompts").locator("[data-prompt]").first.click()
    inner = Screen(screen.part("opened").locator(".aw"))
    inner.expect_open("L3H5")
    assert agree(inner.total, notebook.value("float(s.values[v.source].sum())"))
    head = inner.another_head()
    inner.open(head)
    notebook.expect("v.opened.selected", head)
    screen.part("test-all").click()
    expect(screen.part("test-said").locator("li")).to_have_count(2)
    for test in notebook.value("[t.said() for t in s.tests.values()]"):
        expect(screen.part("test-said")).to_contain_text(test)
    screen.part("prompts").locator("[data-prompt]").nth(1).click()
    expect(screen.part("opened").locator(".aw")).to_have_count(1)
    expect(screen.part("opened").locator('[data-part="waterfall"]')).to_be_visible()
    assert notebook.value("v.last_error") == ""
    assert notebook.value("len(lost)") > 3, "nothing was lost, and nothing was tested"
