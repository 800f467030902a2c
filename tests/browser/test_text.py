"""What the Explorer says of a text: words that the model never saw, a missing space, bytes of a character."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

import attrib_widgets as aw
from browser.audit import accessibility
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen

STRANGE = "My favourite food is pizza because"


@lab_only
def test_words_never_seen_are_underlined_and_a_task_leads_out(notebook: Notebook, explored: Screen) -> None:
    explored.ask("prompt", STRANGE)
    explored.expect_version(2)
    tokens = explored.part("prompt-tokens")
    underlined = "".join(tokens.locator(".aw-strange").all_inner_texts())
    assert underlined.replace("\u00b7", " ") == "My favourite food pizza"
    assert explored.style(tokens.locator(".aw-strange"), "text-decoration-line") == "underline"
    said = explored.part("unseen")
    expect(said).to_contain_text("demo never saw “My”, “favourite”, “food” and 1 other in training")
    expect(said.locator("code")).to_have_text(f'aw.explore("gpt2", "{STRANGE}")')
    muted = explored.style(said.locator(".aw-examples"), "color")
    chip = explored.part("candidate")
    assert explored.style(chip, "color") == muted, "the answer is greyed"
    assert notebook.value("ex.run.unseen_note") in said.inner_text()
    said.get_by_role("button", name="two names").click()
    explored.expect_version(3)
    expect(said).to_have_count(0)
    expect(tokens.locator(".aw-strange")).to_have_count(0)
    assert explored.style(chip, "color") != muted
    assert notebook.value("ex.attribution.target == aw.logit_diff(' Mary', ' John')") is True


@lab_only
def test_a_missing_space_is_mended_in_both_fields(notebook: Notebook, explored: Screen) -> None:
    explored.ask("target", "Paris")
    explored.expect_version(2)
    explored.ask("against", "Berlin")
    explored.expect_version(3)
    better = explored.part("better")
    expect(better).to_have_text(["use \u00b7Paris", "use \u00b7Berlin"])
    better.nth(1).click()
    explored.expect_version(4)
    expect(better).to_have_text(["use \u00b7Paris"])
    better.click()
    explored.expect_version(5)
    expect(better).to_have_count(0)
    assert notebook.value("ex.attribution.target == aw.logit_diff(' Paris', ' Berlin')") is True


@lab_only
def test_a_character_of_several_tokens_is_shown_and_typed_as_bytes(notebook: Notebook, explored: Screen) -> None:
    explored.ask("prompt", "The 🤗")
    explored.expect_version(2)
    assert explored.tokens("prompt-tokens")[-4:] == ["<0xF0>", "<0x9F>", "<0xA4>", "<0x97>"]
    explored.ask("target", "🤗")
    expect(explored.part("error")).to_contain_text("try the first, '<0xF0>'")
    explored.part("target").fill("<0xF0>")
    explored.part("target").press("Enter")
    explored.expect_version(3)
    assert "<0xF0>" in explored.headline
    assert notebook.value("ex.attribution.target == aw.logit_diff('<0xF0>', ' Berlin')") is True


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_offline_it_is_said_and_legible(
    demo: Any, watched: Watched, offline: Callable[..., Screen], scheme: str
) -> None:
    """A page has nobody to ask: no buttons; axe finds nothing."""
    watched.page.emulate_media(color_scheme=scheme)
    screen = offline(aw.explore(demo, STRANGE, "Paris", against="Berlin"))
    expect(screen.root).to_have_attribute("data-aw-theme", scheme)
    expect(screen.part("unseen")).to_contain_text("demo never saw")
    expect(screen.part("unseen").locator("button")).to_have_count(0)
    expect(screen.part("better")).to_have_count(0)
    said = accessibility(watched.page.locator("html"))
    unread = [text for text in said["incomplete"] if text.startswith("color-contrast")]
    assert said["passes"] >= 10 and not [*said["violations"], *unread]
