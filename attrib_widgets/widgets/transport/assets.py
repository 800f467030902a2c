"""The built bundle: its files as text, and script and style in the form that travels with every widget.

anywidget syncs ``_esm`` and ``_css`` with every instance, and a notebook saved with its widgets keeps a copy of each.
So script and style travel compressed, at less than half their size, in one module that unpacks them in the browser. The
files in static/ stay plain, to be read and searched. Beside them lie script and style deflated as small as it goes
(js/build.mjs: it takes a second); where those are older than the plain files, they are deflated here.
"""

from __future__ import annotations

import base64
import json
import os
import re
import string
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

STATIC = Path(__file__).parents[2] / "static"


class Bundle(NamedTuple):
    """The built files of some views: script and style travel with every widget, the page entry draws them offline."""

    script: str
    style: str
    packed: str  # script and style, deflated
    page: str


#: All views but those of a survey and of a graph, which carry their own.
VIEWS = Bundle("attrib_widgets.js", "attrib_widgets.css", "attrib_widgets.z", "page.js")
SURVEY = Bundle("survey.js", "survey.css", "survey.z", "survey_page.js")
GRAPH = Bundle("graph.js", "graph.css", "graph.z", "graph_page.js")

# anywidget 0.11 never speaks again to a module that is not ready within two seconds, and a slow browser needs longer to
# unpack: the module is ready at once, and unpacks when it has to draw. A blob: address is how anywidget imports `_esm`
# itself, so this works wherever that does; every browser new enough for the style sheet has DecompressionStream.
_UNPACK = """const load = async () => {
  BYTES
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const script = new Blob([await new Response(plain).arrayBuffer()], { type: "text/javascript" });
  const url = URL.createObjectURL(script);
  try {
    return await import(url);
  } finally {
    URL.revokeObjectURL(url);
  }
};
const dress = (el, text) => {
  const root = el.getRootNode();
  const home = root instanceof ShadowRoot ? root : el.ownerDocument.head;
  if ([...home.querySelectorAll("style.aw-style")].some((style) => style.textContent === text)) return;
  const style = el.ownerDocument.createElement("style");
  style.className = "aw-style";
  style.textContent = text;
  home.append(style);
};
let once;
export default {
  async render(props) {
    const note = document.createElement("p");
    note.textContent = "Opening the view\\u2026";
    props.el.append(note);
    try {
      const widget = await (once ??= load());
      if (props.signal?.aborted) return undefined;
      dress(props.el, widget.style);
      return widget.default.render(props);
    } catch (error) {
      once = undefined;
      throw error;
    } finally {
      note.remove();
    }
  },
};
"""


def read(name: str) -> str:
    """A file of the built bundle.

    Raises:
        FileNotFoundError: the package was installed without its bundle.
    """
    path = STATIC / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the views were not built. Install a released package, "
            "or run `npm ci && npm run build` in js/ of a checkout."
        )
    return path.read_text(encoding="utf-8")


def script(of: Bundle = VIEWS) -> Any:
    """``_esm``: script and style, packed; while developing (``ANYWIDGET_HMR=1``) the script's path, to be watched."""
    if _watched():
        return STATIC / of.script
    text = f"{read(of.script)}\nexport const style = {json.dumps(read(of.style).rstrip())};\n"
    return packed(text, _deflated(STATIC / of.packed, text))


def style(of: Bundle = VIEWS) -> Any:
    """``_css``: nothing, for the style is in the script; while developing the style sheet's path."""
    # anywidget takes a single line for a file name: the line break says that this is the text itself.
    return STATIC / of.style if _watched() else "\n"


def packed(text: str, deflated: bytes | None = None) -> str:
    """A module that unpacks the module ``text`` in the browser, once, when it is first asked to draw.

    ``text`` exports the widget and, for the page or the shadow root that the view is drawn in, its ``style``.
    ``deflated`` is the same text, where it has been deflated before.
    """
    return _with_bytes(_UNPACK, deflated or zlib.compress(text.encode(), 9))


def _deflated(path: Path, text: str) -> bytes | None:
    """What lies deflated in a file, if it is this text."""
    try:
        data = path.read_bytes()
        return data if zlib.decompress(data) == text.encode() else None
    except (OSError, zlib.error):
        return None


# A page of its own allows inline scripts and no address at all, so what is unpacked becomes one. Behind script and
# style come the page's state as JSON, and its bytes: nothing of them is text in the file, and all is deflated as one.
_UNPACK_INLINE = """BYTES
const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
const plain = await new Response(stream).arrayBuffer();
let from = 0;
const next = (length) => plain.slice(from, from += length);
const [code, style, json, ...rest] = SIZES.map(next);
const fill = (element, part) => {
  element.textContent = new TextDecoder().decode(part);
  return element;
};
const state = fill(document.getElementById("aw-state"), json);
state.bytes = Object.fromEntries(NAMES.map((name, at) => [name, new DataView(rest[at])]));
const script = document.createElement("script");
script.type = "module";
document.head.append(fill(document.createElement("style"), style), fill(script, code));
"""


def packed_inline(of: Bundle, state: str, data: Mapping[str, bytes]) -> str:
    """A module for an inline script that unpacks a bundle's page entry and style, and runs it.

    Before that the element ``#aw-state`` gets ``state`` as its text and ``data`` as its property ``bytes``.
    """
    parts = [*(read(name).encode() for name in (of.page, of.style)), state.encode(), *data.values()]
    code = _UNPACK_INLINE.replace("SIZES", json.dumps([len(part) for part in parts]))
    return _with_bytes(code.replace("NAMES", json.dumps(list(data))), zlib.compress(b"".join(parts), 9))


# Five characters for four bytes, where base64 needs four for three: 6 % less of what travels. Python's base85 but for
# the characters that JSON, HTML or an attribute of it would write as several, so that no host makes it longer.
_BASE85 = (string.digits + string.ascii_uppercase + string.ascii_lowercase + "!#$%&()*+-;<=>?@^_`{|}~").encode()
_PLAIN = bytes.maketrans(b"$&<>`", b",.:[]")

_BYTES = """const text = "TEXT", digits = "DIGITS";
  const view = new DataView(new ArrayBuffer(text.length / 5 * 4));
  for (let at = 0, n = 0; at < text.length; n = 0) {
    const to = at / 5 * 4;
    for (let end = at + 5; at < end; ) n = n * 85 + digits.indexOf(text[at++]);
    view.setUint32(to, n);
  }
  const bytes = new Uint8Array(view.buffer, 0, LENGTH);"""


def _with_bytes(code: str, data: bytes) -> str:
    """``code`` with the lines of script that give ``bytes`` in place of its ``BYTES``."""
    whole = data + bytes(-len(data) % 4)  # the stream ends where its last byte is: anything behind it is refused
    sent = {"TEXT": base64.b85encode(whole).translate(_PLAIN), "DIGITS": _BASE85.translate(_PLAIN)}
    lines = re.sub("TEXT|DIGITS|LENGTH", lambda m: sent[m[0]].decode() if m[0] in sent else str(len(data)), _BYTES)
    return code.replace("BYTES", lines)


def _watched() -> bool:
    return os.environ.get("ANYWIDGET_HMR") == "1"
