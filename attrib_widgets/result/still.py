"""A live view and its static picture as two outputs of a cell.

A front end that can draw widgets takes the widget of an output and, when the notebook is opened again without its
kernel, says that it is not there, whatever else the output holds. So the picture is an output of its own, which the
view hides while it lives: in the view's own document (JupyterLab, Notebook 7; one frame for a notebook in VS Code, one
for a cell in Colab), and in every frame of the view's origin. The picture carries no script that could hide it, so it
is seen beside the view where a host draws each output in a frame of an origin of its own, or of none
(``sandbox`` without ``allow-same-origin``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WIDGET = "application/vnd.jupyter.widget-view+json"


def marked(html: str, still: str) -> str:
    """The static HTML with the class by which its view finds it."""
    return html.replace("class='aw-static'", f"class='aw-static aw-still-{still}'", 1)


def parts(bundle: Any, still: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """A MIME bundle as the outputs of a cell, each with its metadata: the widget alone, then everything else."""
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
    rest: dict[str, Any] = {kind: text for kind, text in data.items() if kind != WIDGET}
    if "text/html" in rest:
        rest["text/html"] = marked(rest["text/html"], still)
    outputs = [({WIDGET: data[WIDGET]}, dict(metadata))] if WIDGET in data else []
    return [*outputs, (rest, {})]


def show(bundle: Any, still: str) -> Any:
    """Display a bundle as two outputs; returns the handle of the second, by which it is drawn again."""
    from IPython import display as ipython

    handle: Any = None
    for data, metadata in parts(bundle, still):
        show_raw: Any = ipython.display
        handle = show_raw(data, metadata=metadata, raw=True, display_id=WIDGET not in data)
    return handle


def renew(handle: Any, data: Mapping[str, str], still: str) -> None:
    """Draw a picture again as the screen now stands."""
    shown = {kind: marked(text, still) if kind == "text/html" else text for kind, text in data.items()}
    handle.update(shown, raw=True)
