"""Stand-ins for hosts that draw the outputs of a cell in frames: their elements, origins, and a widget manager."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrib_widgets.result.still import parts

# What anywidget's model does for a view, without a kernel behind it but one that answers every request.
MANAGER = """<script type="module">
const traits = %s, heard = {};
traits.container = new DataView(Uint8Array.from(atob(traits.container), c => c.charCodeAt(0)).buffer);
const model = {
  get: name => traits[name],
  set: (name, value) => { traits[name] = value; },
  save_changes() {},
  on: (name, hear) => (heard[name] ??= new Set()).add(hear),
  off: (name, hear) => heard[name]?.delete(hear),
  send({ v, id }) {
    const answer = kind => heard["msg:custom"]?.forEach(hear => hear({ v, id, kind, data: {} }, []));
    for (const kind of ["ack", "result"]) setTimeout(answer, 0, kind);
  },
};
const { default: widget } = await import("%s");
window.awEnd = await widget.render({ model, el: document.getElementById("%s") });
</script>"""


class Outputs:
    """The two outputs that one view has in a cell, as HTML for a page: the view's module runs where its element is."""

    def __init__(self, view: Any, name: str, *, module: str = "/module.js") -> None:
        self.name = name
        mark = view.options["still"]
        traits = {trait: getattr(view, trait) for trait in ("kind", "container", "selected", "source", "options")}
        sent = json.dumps(traits, default=lambda data: base64.b64encode(data).decode())
        self.view = f'<div id="{name}"></div>{MANAGER % (sent, module, name)}'
        self.picture = str(parts(view._repr_mimebundle_(), mark)[-1][0]["text/html"])


def page(body: str) -> str:
    """A document."""
    return f"<!doctype html><html><head><meta charset=utf-8><title>Host</title></head><body>{body}</body></html>"


def framed(address: str, more: str = "") -> str:
    """A frame that shows an address."""
    return f'<iframe src="{address}" width=900 height=400 {more}></iframe>'


class Site:
    """Pages under two origins: ``here`` is the notebook's, ``there`` the one that frames are drawn from."""

    def __init__(self, here: int, there: int) -> None:
        self.pages: dict[str, str] = {}
        self.here, self.there = f"http://127.0.0.1:{here}", f"http://localhost:{there}"

    def put(self, path: str, body: str) -> str:
        """Serve a document under both origins; returns its path."""
        self.pages[path] = page(body)
        return path


@contextmanager
def serve(module: str) -> Iterator[Site]:
    """Two servers on the loopback address with the same pages, and the view's module as ``/module.js``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = module if self.path == "/module.js" else site.pages.get(self.path)
            self.send_response(200 if text else 404)
            self.send_header("Content-Type", "text/javascript" if self.path.endswith(".js") else "text/html")
            self.send_header("Access-Control-Allow-Origin", "*")  # a frame without an origin loads the module, too
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, *args: Any) -> None:
            pass

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    site = Site(*(server.server_port for server in servers))
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield site
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


# Each draws a notebook whose cells hold these outputs, and returns its address. What the host wraps around an output
# has data-output, which tests alone read.


def _each(cell: Outputs, wrap: str) -> str:
    """The outputs of a cell, each in a container of its own."""
    both = {"view": cell.view, "picture": cell.picture}
    return "".join(wrap % (f'data-output="{kind} {cell.name}"', html) for kind, html in both.items())


def vscode(site: Site, cells: list[Outputs]) -> str:
    """One frame for a notebook, from another origin."""
    wrap = '<div class="output_container" %s><div class="output" style="padding:8px"><div>%s</div></div></div>'
    body = "".join(f'<div class="cell_container">{_each(cell, wrap)}</div>' for cell in cells)
    return site.here + site.put("/host", framed(site.there + site.put("/webview", f'<div id="container">{body}</div>')))


def colab(site: Site, cells: list[Outputs]) -> str:
    """One frame for a cell, from another origin."""
    wrap = '<div class="display_data output_subarea output_html" style="padding:8px" %s>%s</div>'
    frames = [
        framed(site.there + site.put(f"/{cell.name}", f'<div id="output-body">{_each(cell, wrap)}</div>'))
        for cell in cells
    ]
    return site.here + site.put("/host", "".join(f"<div>{frame}</div>" for frame in frames))


def _apart(site: Site, origin: str, cells: list[Outputs], more: str = "") -> str:
    """One frame for an output."""
    body = ""
    for cell in cells:
        for kind, html in (("view", cell.view), ("picture", cell.picture)):
            path = site.put(f"/{cell.name}-{kind}", f"<div><div>{html}</div></div><script>0</script>")
            body += f'<div data-output="{kind} {cell.name}">{framed(origin + path, more)}</div>'
    return site.here + site.put("/host", body)


def same_origin(site: Site, cells: list[Outputs]) -> str:
    """One frame for an output, from the notebook's origin."""
    return _apart(site, site.here, cells)


def other_origin(site: Site, cells: list[Outputs]) -> str:
    """One frame for an output, all from one origin that is not the notebook's."""
    return _apart(site, site.there, cells)


def sandboxed(site: Site, cells: list[Outputs]) -> str:
    """One frame for an output, without an origin."""
    return _apart(site, site.there, cells, 'sandbox="allow-scripts"')
