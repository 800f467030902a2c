"""The offline page: one HTML file that draws a view with no kernel, no server and no request.

The bundle's page entry mounts the view from its state, which travels packed with the script, so that untrusted text
(prompts, tokens) stands in the file only in the title, escaped. The browser enforces the promise: the page's own policy
forbids every request.
"""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...words.errors import AttribError
from . import assets

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
FRAME_HEIGHT = 760

_GROUND = (
    ":root{color-scheme:light dark}"
    "body{margin:0;background:#fff;color:#1b1f24}"
    "@media(prefers-color-scheme:dark){body{background:#111418;color:#e6e9ed}}"
)
# Read aloud, not seen: the view shows its own title.
_TITLE = ".aw-page-title{position:absolute;width:1px;height:1px;margin:0;overflow:hidden;clip-path:inset(50%)}"
_MARGINS = "main{max-width:1200px;margin:0 auto;padding:16px}"

# Runs in the notebook's page: gives each frozen frame the height that its own page reports.
_FIT = (
    "if(!window.awFit){window.awFit=true;addEventListener('message',function(e){"
    "if(!e.data||typeof e.data.awHeight!=='number')return;"
    "document.querySelectorAll('iframe.aw-frozen').forEach(function(f){"
    "if(f.contentWindow===e.source)f.style.height=Math.ceil(Math.min(e.data.awHeight,20000))+'px'})})}"
)
# Runs in the frame.
_REPORT = (
    "new ResizeObserver(function(){"
    "parent.postMessage({awHeight:document.documentElement.getBoundingClientRect().height},'*')"
    "}).observe(document.documentElement)"
)


def page(title: str, traits: Mapping[str, Any], bundle: assets.Bundle = assets.VIEWS, *, framed: bool = False) -> str:
    """The page of a view with these traits. ``framed``: it reports its height."""
    data = {name: value for name, value in traits.items() if isinstance(value, bytes)}
    # A browser that saves the page writes the unpacked state into a script element: no "<" may close that.
    state = json.dumps({name: value for name, value in traits.items() if name not in data}).replace("<", "\\u003c")
    report = f"<script>{_REPORT}</script>" if framed else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title>"
        f"<style>{_GROUND}{_TITLE}{'' if framed else _MARGINS}\n{assets.read(bundle.style)}</style></head>\n"
        f'<body><main><h1 class="aw-page-title">{html.escape(title)}</h1><div id="aw-root"></div></main>\n'
        '<script type="application/json" id="aw-state"></script>\n'
        f'<script type="module">{assets.packed_inline(assets.read(bundle.page), state, data)}</script>\n'
        f"{report}</body></html>\n"
    )


def write(text: str, path: str | os.PathLike[str]) -> Path:
    """Write a page as UTF-8 and return where it is."""
    target = Path(path).expanduser()
    if not target.parent.is_dir():
        raise AttribError(
            f"There is no folder {str(target.parent)!r} to write to.", "Make it first, or choose another."
        )
    # Bytes, so that no platform changes the line ends or refuses a character; a lone surrogate becomes "?".
    target.write_bytes(text.encode("utf-8", "replace"))
    return target.resolve()


class Frozen:
    """A page shown in a sandboxed frame: it draws in a saved notebook, with no kernel and no widget manager.

    Without scripts in the notebook's page the frame keeps a fixed height and can be pulled taller.
    """

    def __init__(self, text: str, plain: str) -> None:
        self.text = text
        self._plain = plain

    def __repr__(self) -> str:
        return self._plain

    def _repr_html_(self) -> str:
        style = f"width:100%;height:{FRAME_HEIGHT}px;border:0;resize:vertical;overflow:auto"
        return (
            f'<iframe class="aw-frozen" title="Attribution explorer" sandbox="allow-scripts" style="{style}" '
            f'srcdoc="{html.escape(self.text)}"></iframe><script>{_FIT}</script>'
        )
