"""What the page of the newest releases says: which families differ, which are exact at less, which tests failed."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

import newest
from workbench import pins


def row(family: str, exact_per: str = "head", inside: str = "neurons", reason: str = "") -> dict:
    return {"family": family, "exact_per": exact_per, "inside": inside, "known": False, "reason": reason}


@pytest.mark.parametrize(
    ("old", "new", "less"),
    [
        (row("a"), row("a", "sublayer"), True),
        (row("a"), row("a", reason="attention is not what the heads wrote"), True),
        (row("a"), row("a", inside=""), True),
        (row("a"), row("a", "not tried", ""), True),
        (row("a", "layer", ""), row("a", "refused", ""), True),
        (row("a"), row("a", "mixed"), True),
        (row("a", "mixed"), row("a", "layer", "", "why"), True),
        (row("a", "layer", "", "why"), row("a", "mixed", "", "why"), False),
        (row("a", "layer", "", "why"), row("a", "layer", "", "another reason"), False),
        (row("a", "sublayer", "", "why"), row("a"), False),
        (row("a", "not tried", ""), row("a", "refused", ""), False),
    ],
)
def test_a_family_that_is_exact_at_less(old, new, less):
    assert newest.fell(old, new) is less


def test_what_differs_is_new_changed_or_gone():
    shipped = [row("same"), row("changed"), row("gone")]
    fresh = [row("same"), row("changed", "layer", "", "a|b"), row("new")]
    found = newest.differences(shipped, fresh)
    assert [(old and old["family"], new["family"], new["exact_per"]) for old, new in found] == [
        ("changed", "changed", "layer"),
        (None, "new", "head"),
        ("gone", "gone", "gone"),
    ]
    page = "\n".join(newest._different(found, "5.0"))
    assert "| changed | **less** | head neurons | layer a\\|b |" in page
    assert "| new | new |  | head neurons |" in page and "| gone | **less** | head neurons | gone |" in page
    assert newest._different([], "5.0") == ["No family differs from transformers 5.0."]


def test_the_tests_that_failed_are_named():
    report = ElementTree.fromstring(
        "<testsuites><testsuite><testcase classname='t' name='good'/><testcase classname='t' name='bad[x]'><failure/>"
        "</testcase><testcase classname='t' name='broken'><error/></testcase><testcase classname='t' name='out'>"
        "<skipped/></testcase></testsuite></testsuites>"
    )
    found = newest.told(report)
    assert found.failed == ["t::bad[x]", "t::broken"]
    assert found.lines[0].startswith("1 passed, 2 failed, 1 skipped: ") and "- failed: `t::bad[x]`" in found.lines


def test_of_two_pins_the_first_counts(tmp_path):
    """The second is for an old Python alone."""
    (tmp_path / "pins").write_text('a_b==2; python_version >= "3.11"\na_b==1; python_version < "3.11"\nc==3  # said\n')
    assert pins(tmp_path / "pins") == {"a-b": "2", "c": "3"}
