"""What the tests of the browser half draw is what the package sends: its states are made again and compared."""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any, get_args

import numpy as np
import pytest

import states
from attrib_widgets.widgets.shapes import contract

NUMBER = re.compile(r"[+\u2212-]?\d+(?:\.\d+)?(?:e[+\u2212-]?\d+)?")
ANEW = "python tests/states.py writes states.json anew"


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(states.STATES.read_text(encoding="utf-8"))
    return found


def alike(one: Any, other: Any, at: str) -> None:
    """The same keys and texts; numbers, in texts too, up to what processors round differently."""
    assert type(one) is type(other) or {type(one), type(other)} == {int, float}, f"{at}: {ANEW}"
    if isinstance(one, dict):
        assert list(one) == list(other), f"{at}: {ANEW}"
        for name in one:
            alike(one[name], other[name], f"{at}.{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), f"{at}: {ANEW}"
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            alike(a, b, f"{at}[{i}]")
    elif isinstance(one, str):
        assert NUMBER.sub("#", one) == NUMBER.sub("#", other), f"{at}: {ANEW}"
        for a, b in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True):
            assert printed_alike(a, b), f"{at}: {a} is now {b}. {ANEW}"
    elif isinstance(one, float):
        assert close(one, other), f"{at}: {one} is now {other}. {ANEW}"
    else:
        assert one == other, f"{at}: {ANEW}"


def close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-3 * max(1.0, abs(a))


def printed_alike(a: str, b: str) -> bool:
    """Up to one unit of the last digit; of what is nothing but rounding, only that it is small."""
    x, y = (float(text.replace("\u2212", "-")) for text in (a, b))
    if "e" in a or "e" in b:
        larger = max(abs(x), abs(y))
        return larger < 1e-3 or abs(x - y) < 1.01 * 10 ** math.floor(math.log10(larger))
    digits = len(a.partition(".")[2])
    return digits == len(b.partition(".")[2]) and abs(x - y) < 1.01 * 10**-digits


def array(entry: dict[str, Any]) -> Any:
    return np.frombuffer(base64.b64decode(entry["data"]), dtype="<" + entry["dtype"]).astype(np.float64)


def test_the_states_of_the_browser_tests_are_what_the_package_sends(committed: dict[str, Any]):
    now = json.loads(states.written(states.states()))
    missing = set(get_args(contract.Kind)) - {*now, "attribution"}
    assert not missing, f"add a result of kind {', '.join(missing)} to results() in tests/states.py"
    assert list(now) == list(committed), ANEW
    for kind, state in now.items():
        alike(committed[kind]["header"], state["header"], kind)
        old, new = committed[kind]["arrays"], state["arrays"]
        assert list(old) == list(new), f"{kind}: {ANEW}"
        for name in old:
            described = [{k: v for k, v in part[name].items() if k != "data"} for part in (old, new)]
            assert described[0] == described[1], f"{kind}.{name}: {ANEW}"
            if (kind, name) != ("explorer", "lens"):  # a container inside: its own state stands beside it
                np.testing.assert_allclose(array(old[name]), array(new[name]), rtol=2e-3, atol=2e-3, err_msg=ANEW)


def test_they_are_small(committed: dict[str, Any]):
    assert states.STATES.stat().st_size < 300_000
    assert committed["explorer"]["header"]["cards"].keys() and committed["explorer"]["header"]["features"].keys()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"b": 1}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([1.0], [1.1]),
        (["+7.10 of 19.45"], ["+7.20 of 19.45"]),
        (["a"], ["b"]),
        ([None], [0.0]),
        ([True], [1]),
    ],
)
def test_a_change_is_seen(one: Any, other: Any):
    with pytest.raises(AssertionError):
        alike(one, other, "")


def test_rounding_is_no_change():
    alike({"a": [1.0, "+7.10, gap 1e-06"]}, {"a": [1.00001, "+7.11, gap 9e-07"]}, "")
