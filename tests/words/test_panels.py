"""What panels say of themselves: one entry for every name of the contract, and no placeholder that nobody fills."""

from __future__ import annotations

import re
from typing import get_args

import pytest

import attrib_widgets as aw
from attrib_widgets.widgets.shapes import contract
from attrib_widgets.widgets.transport import saving
from attrib_widgets.words.panels import PANELS, panel


def test_every_panel_of_the_page_has_one_entry() -> None:
    assert set(PANELS) == set(get_args(contract.PanelName))
    assert saving.meanings()["panels"] == {name: p._asdict() for name, p in PANELS.items()}


@pytest.mark.parametrize("name", PANELS)
def test_an_entry_has_its_four_parts(name: str) -> None:
    for part in panel(name):
        assert part.lstrip("\u201c+{")[0].isalnum() and part.endswith((".", "?")), part
        assert set(re.findall(r"\{(\w+)\}", part)) <= {"part", "value", "total"}
        assert 20 <= len(part) <= 260
    assert len(set(panel(name))) == 4


def test_no_such_panel() -> None:
    with pytest.raises(aw.AttribError, match="contributions"):
        panel("nonsense")
