"""The rows of the table that ``tests/run.py --quantised`` writes: collected here, saved where it asks for them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

for package in ("bitsandbytes", "peft", "torchao"):
    pytest.importorskip(package, reason="python3 tests/run.py --quantised installs it", exc_type=ImportError)


@pytest.fixture(scope="session")
def table():
    rows: list[dict[str, object]] = []
    yield rows
    if out := os.environ.get("ATTRIB_WIDGETS_QUANTISED"):
        Path(out).write_text(json.dumps(rows))
