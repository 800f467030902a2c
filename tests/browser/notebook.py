"""Drives one notebook in JupyterLab or Notebook 7 through the application's own commands: no sleeps, no guesses."""

from __future__ import annotations

import ast
import time
from collections.abc import Sequence
from typing import Any

from playwright.sync_api import Locator, Page

# What every other script builds on. `window.jupyterapp` is there because the server exposes it.
TOOLS = """
window.aw = {
  async until(what, seconds = 60) {
    const end = Date.now() + 1000 * seconds;
    for (;;) {
      const found = await what();
      if (found) return found;
      if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
      await new Promise(r => setTimeout(r, 30));
    }
  },
  panel: name => [...jupyterapp.shell.widgets('main')].find(w => w.context?.path === name),
  kernel: name => aw.panel(name).sessionContext.session.kernel,
  outputs: (name, i) => aw.panel(name).model.cells.get(i).outputs.toJSON(),
  run(name, i) {
    const panel = aw.panel(name);
    panel.content.deselectAll();
    panel.content.activeCellIndex = i;
    panel.content.mode = 'command';
    panel.activate();
    return jupyterapp.commands.execute('notebook:run-cell');
  },
};
"""
OPEN = """async name => {
  await jupyterapp.restored;
  const panel = await aw.until(() => aw.panel(name));
  await panel.context.ready; await panel.revealed; await panel.sessionContext.ready;
  await aw.until(() => panel.sessionContext.session?.kernel);
  await aw.kernel(name).info;
}"""
WRITE = """([name, sources]) => {
  const shared = aw.panel(name).model.sharedModel;
  shared.transact(() => {
    shared.deleteCellRange(0, shared.cells.length);
    shared.insertCells(0, sources.map(source => ({cell_type: 'code', source, metadata: {trusted: true}})));
  });
}"""
APPEND = """([name, source]) => {
  const shared = aw.panel(name).model.sharedModel;
  shared.insertCell(shared.cells.length, {cell_type: 'code', source, metadata: {trusted: true}});
  return shared.cells.length - 1;
}"""
START = "([name, i]) => { (window.awRuns ??= {})[i] = aw.run(name, i); }"
FINISH = "i => awRuns[i]"
RUN = "async ([name, i]) => { await aw.run(name, i); }"
SOURCES = "name => [...aw.panel(name).model.cells].map(c => c.sharedModel.getSource())"
ASK = """async ([name, code]) => {
  const future = aw.kernel(name).requestExecute(
    {code: '', silent: true, store_history: false, user_expressions: {answer: code}});
  const found = (await future.done).content.user_expressions?.answer;
  if (found?.status !== 'ok') throw new Error(`${code}: ${found?.ename} ${found?.evalue}`);
  return found.data['text/plain'];
}"""
RESTART = "async name => { await aw.kernel(name).restart(); await aw.kernel(name).info; }"
SHUTDOWN = "async name => { await aw.panel(name).sessionContext.shutdown(); }"
THEME = "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})"


class Notebook:
    """A notebook that is open in a browser. Cells count from 0."""

    def __init__(self, page: Page, url: str, name: str) -> None:
        self.page = page
        self.name = name
        page.add_init_script(TOOLS)
        page.goto(url)
        page.wait_for_function("() => window.jupyterapp", timeout=60_000)
        page.evaluate(OPEN, name)

    # cells ------------------------------------------------------------------------------------------------------

    def write(self, *sources: str) -> None:
        """Replace all cells; nothing is run."""
        self.page.evaluate(WRITE, [self.name, list(sources)])

    def cell(self, source: str) -> int:
        """Append a cell, run it to its end, and return its number. An error in it is an error of the test."""
        i = self.append(source)
        self.run(i)
        return i

    def append(self, source: str) -> int:
        """Append a cell that is not run, and return its number."""
        return int(self.page.evaluate(APPEND, [self.name, source]))

    def run(self, i: int) -> str:
        """Run a cell to its end and return what it printed."""
        self.page.evaluate(RUN, [self.name, i])
        return self.printed(i)

    def start(self, i: int) -> None:
        """Start a cell and return at once."""
        self.page.evaluate(START, [self.name, i])

    def finish(self, i: int) -> str:
        """Wait for a started cell and return what it printed."""
        self.page.evaluate(FINISH, i)
        return self.printed(i)

    def outputs(self, i: int) -> list[dict[str, Any]]:
        """The outputs of a cell as they are saved."""
        return list(self.page.evaluate("([name, i]) => aw.outputs(name, i)", [self.name, i]))

    def printed(self, i: int) -> str:
        """What a cell wrote to its output as text."""
        texts: list[str] = []
        for output in self.outputs(i):
            if output["output_type"] == "error":
                raise AssertionError(f"cell {i} raised {output['ename']}: {output['evalue']}")
            texts += _lines(output.get("text", output.get("data", {}).get("text/plain", "")))
        return "".join(texts)

    def sources(self) -> list[str]:
        """The text of every cell."""
        return list(self.page.evaluate(SOURCES, self.name))

    def output(self, i: int) -> Locator:
        """Where the outputs of a cell are drawn."""
        return self.page.locator(f'.jp-Cell[data-windowed-list-index="{i}"] .jp-OutputArea-output')

    def widget(self, i: int) -> Locator:
        """The view that a cell drew."""
        return self.output(i).locator(".aw")

    # kernel -----------------------------------------------------------------------------------------------------

    def python(self, expression: str) -> str:
        """The repr of an expression, asked from the kernel without a cell."""
        return str(self.page.evaluate(ASK, [self.name, expression]))

    def value(self, expression: str) -> Any:
        """The value of an expression whose repr is a literal."""
        return ast.literal_eval(self.python(expression))

    def expect(self, expression: str, wanted: object, seconds: float = 10) -> None:
        """Wait until an expression has this value in the kernel. A click reaches Python some time after it."""
        end = time.monotonic() + seconds
        while (found := self.python(expression)) != repr(wanted):
            assert time.monotonic() < end, f"{expression} is {found}, not {wanted!r}"
            self.page.wait_for_timeout(30)

    def restart(self) -> None:
        """Restart the kernel and wait until the new one answers."""
        self.page.evaluate(RESTART, self.name)

    def theme(self, dark: bool) -> None:
        """Change the theme of the application."""
        self.page.evaluate(THEME, f"JupyterLab {'Dark' if dark else 'Light'}")
        self.page.wait_for_function(
            "light => document.body.dataset.jpThemeLight === light", arg="false" if dark else "true"
        )

    def shutdown(self) -> None:
        """End the kernel."""
        self.page.evaluate(SHUTDOWN, self.name)


def _lines(text: str | Sequence[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)
