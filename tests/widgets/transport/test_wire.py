"""The binary container: what goes in comes out, and nothing unreadable goes in."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from attrib_widgets.widgets.transport import wire

FINITE = st.floats(-6e4, 6e4, width=32)
TEXT = st.text(st.characters(exclude_categories=()), max_size=12)  # lone surrogates included


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        TEXT, hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0), elements=FINITE)
    ),
    st.dictionaries(TEXT, TEXT),
    st.integers(0, 7),
)
def test_round_trip_at_any_offset(arrays, texts, shift):
    data = wire.pack({"kind": "test", "texts": texts}, {k: wire.store(v) for k, v in arrays.items()})
    unaligned = memoryview(b"\1" * shift + data)[shift:]
    header, back = wire.unpack(unaligned)
    assert header["texts"] == texts and header["v"] == wire.VERSION
    assert list(back) == list(arrays)
    for name, values in arrays.items():
        assert back[name].dtype == np.float32
        np.testing.assert_array_equal(back[name], values)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3), st.integers(0, 9), st.sampled_from(["f4", "f2", "u1"]))
def test_lower_triangles(heads, n, dtype):
    patterns = np.tril(np.random.default_rng(n).random((heads, n, n), dtype=np.float32))
    header, back = wire.unpack(wire.pack({}, {"p": wire.store(patterns, dtype, tril=True)}))
    entry = header["arrays"]["p"]
    size = {"f4": 4, "f2": 2, "u1": 1}[dtype]
    assert entry["layout"] == "tril" and entry["shape"] == [heads, n, n]
    assert entry["bytes"] == heads * n * (n + 1) // 2 * size
    # The square root is rounded to half a step of 1/255: the error of p is at most 1/255.
    np.testing.assert_allclose(back["p"], patterns, atol={"f4": 0, "f2": 5e-4, "u1": 1 / 255}[dtype])


def test_triangle_is_packed_row_by_row():
    square = np.arange(9, dtype=np.float32).reshape(3, 3)
    assert wire.store(square, tril=True).data.tolist() == [0, 3, 4, 6, 7, 8]


def test_layout_is_the_documented_one():
    arrays = {"a": wire.store([1.0, 2.0, 3.0]), "b": wire.store([7], "i4"), "c": wire.store([0.25], "u1")}
    data = wire.pack({"kind": "test", "word": "ключ"}, arrays)
    assert data[:4] == b"AWC1"
    (length,) = struct.unpack("<I", data[4:8])
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0 and data[8 + length - 1 : 8 + length] in (b" ", b"}")
    assert header["word"] == "ключ"
    assert header["arrays"] == {
        "a": {"dtype": "f4", "shape": [3], "offset": 0, "bytes": 12},
        "b": {"dtype": "i4", "shape": [1], "offset": 16, "bytes": 4},
        "c": {"dtype": "u1", "shape": [1], "offset": 24, "bytes": 1, "scale": "sqrt"},
    }
    body = data[8 + length :]
    assert struct.unpack("<3f", body[:12]) == (1.0, 2.0, 3.0)
    assert body[24] == round(255 * math.sqrt(0.25))
    assert len(data) % 8 == 0


def test_small_probabilities_survive_one_byte():
    _, back = wire.unpack(wire.pack({}, {"p": wire.store([1e-3, 4e-4, 0, 1], "u1")}))
    np.testing.assert_allclose(back["p"], [1e-3, 4e-4, 0, 1], rtol=0.3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_unprintable_numbers(bad):
    with pytest.raises(wire.WireError, match="NaN"):
        wire.store([1.0, bad])
    header, _ = wire.unpack(wire.pack({"a": bad, "b": [{"c": np.float32(bad)}], "d": np.int64(3)}, {}))
    assert header["a"] is None and header["b"] == [{"c": None}] and header["d"] == 3


def test_refusals():
    with pytest.raises(wire.WireError, match="65504"):
        wire.store([1e6], "f2")
    with pytest.raises(wire.WireError, match="probabilities"):
        wire.store([-0.1], "u1")
    with pytest.raises(wire.WireError, match="two equal last axes"):
        wire.store(np.zeros((2, 3)), tril=True)


def test_damaged_containers():
    good = wire.pack({}, {"a": wire.store(np.ones(4))})
    for data, match in [
        (b"", "magic"),
        (b"PNG?" + good[4:], "magic"),
        (good[:10], "cut short"),
        (good[:-8], "outside"),
        (good.replace(b'"v":1', b'"v":9'), "version 9"),
    ]:
        with pytest.raises(wire.WireError, match=match):
            wire.unpack(data)


def test_tensors_are_read():
    torch = pytest.importorskip("torch")
    _, back = wire.unpack(wire.pack({}, {"a": wire.store(torch.arange(3.0))}))
    assert back["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_what_is_missing_travels_as_nan_where_that_is_asked_for(dtype):
    values = np.array([1.0, math.nan, -2.0], dtype=np.float32)
    with pytest.raises(wire.WireError, match="NaN"):
        wire.store(values, dtype)
    _, arrays = wire.unpack(wire.pack({}, {"x": wire.store(values, dtype, missing=True)}))
    assert np.array_equal(arrays["x"], values, equal_nan=True)
    with pytest.raises(wire.WireError, match="infinite"):
        wire.store([math.inf, math.nan], dtype, missing=True)
    with pytest.raises(wire.WireError):
        wire.store([0.5, math.nan], "u1", missing=True)
