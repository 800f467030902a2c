"""Chromium, and pages that may talk to nobody but the loopback address."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --force-color-profile=srgb"
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOCAL = ("http://127.0.0.1:", "http://localhost:", "data:", "blob:", "file:", "about:")
# Kept by the page itself, because the browser reports a refused request only there.
VIOLATIONS = """
window.awViolations = [];
document.addEventListener('securitypolicyviolation', e => awViolations.push(`${e.violatedDirective} ${e.blockedURI}`));
"""


def program() -> str | None:
    """The Chromium of this machine: $CHROMIUM, or the first of the usual names; None without one."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class Watched:
    """A page, and everything it asked for or complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Nothing went to the network, and no error came from our code."""
        outside, errors = list(self.outside), list(self.errors)
        self.outside.clear()
        self.errors.clear()
        assert outside == [], f"the page asked the network: {outside}"
        assert errors == [], f"the page threw: {errors}"


@contextmanager
def watch(browser: Browser, **options: Any) -> Iterator[Watched]:
    """A page in a context of its own. Requests that leave the machine are refused and written down."""
    options = {"viewport": {"width": 1280, "height": 1000}, "reduced_motion": "reduce", **options}
    context: BrowserContext = browser.new_context(**options)
    context.set_default_timeout(20_000)
    context.add_init_script(VIOLATIONS)
    page = context.new_page()
    watched = Watched(page)

    def guard(route: Any) -> None:
        url = route.request.url
        if url.startswith(LOCAL):
            route.continue_()
        else:
            watched.outside.append(url)
            route.abort()

    def failed(error: Any) -> None:
        # Notebook 7 throws errors of its own. Ours come from a module (blob), a file or anywidget.
        if any(sign in (error.stack or "") for sign in ("blob:", "file:", "anywidget", "about:srcdoc")):
            watched.errors.append(f"{error} {error.stack}")

    context.route("**/*", guard)
    context.on("request", lambda request: watched.requests.append(request.url))
    page.on("pageerror", failed)
    try:
        yield watched
    finally:
        context.close()
