"""A stand-in for the browser, as a fixture."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class Browser:
    """Sends requests to ``view`` as the front end does, on the calling thread, and records the answers."""

    numbers = itertools.count()

    def __init__(self, view: Any) -> None:
        self.view = view
        self.sent: list[tuple[dict[str, Any], list[bytes]]] = []
        self._news = threading.Condition()
        view.send = self._record

    def _record(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        with self._news:
            self.sent.append((content, buffers or []))
            self._news.notify_all()

    def raw(self, content: Any) -> None:
        """Deliver one message as it is."""
        self.view._handle_custom_msg(content, [])

    def say(self, id: str | int, op: str, /, **args: Any) -> None:
        """Send a well-formed request."""
        self.raw({"v": 1, "id": id, "op": op, "args": args})

    def fresh(self, op: str) -> str:
        """An id that no other request has, of whatever page: what one did not confirm is sent to the next."""
        return f"{op}-{next(self.numbers)}"

    def answers(self, id: str | int) -> list[dict[str, Any]]:
        return [m for m, _ in list(self.sent) if m["id"] == id]

    def kinds(self, id: str | int) -> list[str]:
        return [m["kind"] for m in self.answers(id)]

    def last(self, id: str | int, timeout: float = 20) -> dict[str, Any]:
        """The final answer to a request."""
        final = ("result", "error", "cancelled")
        with self._news:
            done = self._news.wait_for(lambda: any(k in final for k in self.kinds(id)), timeout)
        assert done, f"no final answer to {id!r} in {timeout} s: {self.kinds(id)}"
        return next(m for m in reversed(self.answers(id)) if m["kind"] in final)

    def buffers(self, id: str | int) -> list[bytes]:
        self.last(id)
        return next(b for m, b in reversed(self.sent) if m["id"] == id and m["kind"] == "result")


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """ipywidgets 7, which Colab has, sends no trait while no kernel runs; in a notebook one does."""
    import ipywidgets
    from traitlets import HasTraits

    if not ipywidgets.__version__.startswith("7."):
        return

    def notify(self: Any, change: Any) -> None:
        name = change["name"]
        sent = self.comm is not None and name in self.keys
        if sent and self._should_send_property(name, getattr(self, name)):
            self.send_state(key=name)
        HasTraits.notify_change(self, change)

    monkeypatch.setattr(ipywidgets.Widget, "notify_change", notify)


@pytest.fixture
def browser() -> type[Browser]:
    """``browser(view)`` talks to a view in place of the page."""
    return Browser


@pytest.fixture(scope="session")
def demo() -> Any:
    """The embedded model, loaded once."""
    from attrib_widgets import load

    return load("demo")


@pytest.fixture
def explorer(demo: Any) -> Iterator[Any]:
    """An Explorer on the embedded model's first task, its comparison included."""
    from attrib_widgets.widgets import explore

    explorer = explore(demo)
    yield explorer
    explorer.close()


@pytest.fixture(scope="session")
def chance_dictionaries(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dictionaries of chance directions for every MLP and attention of the embedded model, with their cards.

    What they find means nothing; that their rows add up, and where they are shown, does not depend on it.
    """
    import torch

    from attrib_widgets.demo.making import concepts
    from attrib_widgets.model.tracing.hooks import collect
    from attrib_widgets.saes.cards.making import cards_from
    from attrib_widgets.saes.formats.saelens import write_sae
    from attrib_widgets.saes.sae import SAE
    from attrib_widgets.words.places import Place

    folder = tmp_path_factory.mktemp("dictionaries")
    torch.manual_seed(0)
    ids = torch.tensor([demo.encode(concepts.context(i))[:40] for i in range(30)])
    properties = [concepts.properties([demo.token(i) for i in row]) for row in ids.tolist()]
    sites = [Place(site, layer) for layer in range(demo.n_layers) for site in ("z", "mlp")]
    for site, x in collect(demo, ids, sites).items():
        rows = torch.nn.functional.normalize(torch.randn(40, x.shape[-1]), dim=1)
        sae = SAE(site, "topk", rows.T.contiguous(), torch.zeros(40), rows, torch.randn(x.shape[-1]) * 0.1, k=6)
        write_sae(sae, folder / str(site))
        cards_from(sae, x.float(), [40] * len(ids), properties).write(folder / str(site))
    texts = [concepts.context(i) for i in range(len(ids))]
    (folder / "contexts.json").write_text(json.dumps(texts), encoding="utf-8")
    return folder


@pytest.fixture
def dictionaries(demo: Any, chance_dictionaries: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The embedded model with the dictionaries of chance in place of its own."""
    from attrib_widgets.saes.store import Dictionaries

    found = Dictionaries(chance_dictionaries, demo)
    monkeypatch.setitem(demo.__dict__, "saes", found)
    return found
