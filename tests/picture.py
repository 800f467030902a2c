"""Draw the picture that README opens with, in light and in dark: the example after *Test the top ten*.

    python tests/picture.py [FOLDER]

Run it again after a change of the view or of the embedded model. Without a folder the two files beside CHANGELOG.md are
written.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import attrib_widgets as aw
from browser.chromium import FLAGS, program

ROOT = Path(__file__).resolve().parent.parent
WIDTH, SCALE = 1060, 2
COLOURS = 255  # few hues and flat areas: a palette is a third of the bytes and looks the same


def draw(folder: Path) -> None:
    """Write ``picture-light.png`` and ``picture-dark.png``."""
    explorer = aw.explore()
    explorer.verify()
    with tempfile.TemporaryDirectory() as there, sync_playwright() as browsers:
        page = explorer.to_html(Path(there) / "page.html")
        browser = browsers.chromium.launch(executable_path=program(), args=FLAGS.split())
        for theme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": WIDTH, "height": 1400}, device_scale_factor=SCALE, color_scheme=theme
            )
            view = context.new_page()
            view.goto(page.as_uri())
            shown = view.locator('.aw[data-ready="1"][data-coming=""]')
            shown.locator(".aw-verdict").first.wait_for()
            view.locator('[data-part="fixed"]').evaluate("line => line.remove()")  # a notebook does not say it
            image = Image.open(io.BytesIO(shown.screenshot(animations="disabled"))).convert("RGB")
            image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
                folder / f"picture-{theme}.png", optimize=True
            )
            context.close()
        browser.close()


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".github")
