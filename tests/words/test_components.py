"""Labels: every usual spelling reads as the same part, prints one way, and errors say what to type."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attrib_widgets.words.components import SINGLE_KINDS, Component, component
from attrib_widgets.words.errors import AttribError, ComponentError


@pytest.mark.parametrize(
    "spelling", ["L7H4", "l7h4", "L7.H4", "7.4", "a7.h4", "A7.H4", " L7H4 ", (7, 4), Component("head", 7, 4)]
)
def test_head_spellings(spelling):
    read = component(spelling)
    assert read == Component("head", 7, 4), f"{spelling!r} read as {read!r}"
    assert str(read) == read.label == "L7H4"


@pytest.mark.parametrize(
    ("spelling", "kind", "layer", "index", "printed"),
    [
        ("L8.mlp", "mlp", 8, None, "L8.mlp"),
        ("L8 MLP", "mlp", 8, None, "L8.mlp"),
        ("m8", "mlp", 8, None, "L8.mlp"),
        ("L3.attn", "attn", 3, None, "L3.attn"),
        ("L3.attn.bias", "attn.bias", 3, None, "L3.attn.bias"),
        ("L3.mlp.bias", "mlp.bias", 3, None, "L3.mlp.bias"),
        ("L3", "layer", 3, None, "L3"),
        ("L11N611", "neuron", 11, 611, "L11N611"),
        ("l11.n611", "neuron", 11, 611, "L11N611"),
        ("L5.mlp/E3", "expert", 5, 3, "L5.mlp/E3"),
    ],
)
def test_other_spellings(spelling, kind, layer, index, printed):
    read = component(spelling)
    assert (read.kind, read.layer, read.index) == (kind, layer, index), f"{spelling!r} read as {read!r}"
    assert str(read) == printed


@pytest.mark.parametrize("spelling", ["L8.mlp/1234", "l8.MLP/1234", "m8/1234"])
def test_feature(spelling):
    read = component(spelling)
    assert (read.kind, read.index, read.site) == ("feature", 1234, "L8.mlp")
    assert str(read) == "L8.mlp/1234"


def test_feature_error_row():
    assert str(component("L8.mlp/error")) == "L8.mlp/error"
    assert component("L8.mlp/error").kind == "error"


@pytest.mark.parametrize("kind", SINGLE_KINDS)
def test_rows_that_occur_once(kind):
    assert component(kind) == Component(kind)
    assert str(component(kind.upper())) == kind


def test_the_contract_names_all_correction_rows():
    expected = {"embed", "pos", "norm.bias", "unembed.bias", "rounding", "softcap", "entropy"}
    expected |= {"alibi", "query.bias", "key.bias"}
    assert expected <= set(SINGLE_KINDS), f"missing: {expected - set(SINGLE_KINDS)}"


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "head",
        "L7H",
        "7",
        "7.4.2",
        "L-1H2",
        "LxHy",
        "L7H4x",
        "7,4",
        "/3",
        "L8.mlp/",
        "layer 3 head 4",
        (7,),
        (7, 4, 1),
        (-1, 2),
        (1.0, 2),
        None,
        7,
        3.4,
    ],
)
def test_unreadable_names_say_what_to_type(wrong):
    with pytest.raises(ComponentError) as caught:
        component(wrong)
    assert isinstance(caught.value, AttribError) and isinstance(caught.value, ValueError)
    assert "L7H4" in caught.value.hint or "(7, 4)" in caught.value.hint, f"no example in the hint {caught.value.hint!r}"
    assert repr(wrong) in str(caught.value), "the message does not repeat what was typed"
    assert caught.value.hint in str(caught.value)


def test_booleans_are_no_head_numbers():
    with pytest.raises(ComponentError):
        component((True, False))


@pytest.mark.parametrize("digits", ["L٣H٤", "L7H４"])
def test_only_ascii_digits_are_numbers(digits):
    """Python's ``\\d`` and ``int`` accept other scripts' digits; two spellings of one label must not look different."""
    try:
        read = component(digits)
    except ComponentError:
        return
    assert str(read).isascii(), f"{digits!r} printed as {str(read)!r}"


numbers = st.integers(0, 10_000)
places = st.one_of(
    st.builds(Component, st.sampled_from(["head", "neuron", "expert"]), numbers, numbers),
    st.builds(Component, st.sampled_from(["mlp", "attn", "layer", "attn.bias", "mlp.bias"]), numbers),
    st.builds(Component, st.sampled_from(SINGLE_KINDS)),
)
sites = st.builds(lambda n, of: f"L{n}{of}", numbers, st.sampled_from([".mlp", ".z", ".post", "H0"]))
dictionary = st.one_of(
    st.builds(lambda site, n: Component("feature", index=n, site=site), sites, numbers),
    st.builds(lambda site: Component("error", site=site), sites),
)


@given(st.one_of(places, dictionary))
@settings(max_examples=200, deadline=None)
def test_round_trip(part):
    assert component(str(part)) == part, f"{part!r} prints as {str(part)!r} and reads back differently"
    assert component(str(part).lower()) == part
    assert component(part) is part
    assert hash(component(str(part))) == hash(part)


@given(st.text(max_size=12))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused_politely(text):
    try:
        part = component(text)
    except ComponentError:
        return
    assert component(str(part)) == part


def test_what_a_component_is_it_says_itself():
    """The kinds of the rows that write, and what an experiment can take out."""
    names = ["embed", "pos", "L1H2", "L1.attn", "L1.attn.bias", "L1.mlp", "L1", "norm.bias", "entropy", "rounding"]
    found = [component(name) for name in names]
    assert [str(c) for c in found if c.writes] == names[:7]
    assert [str(c) for c in found if c.is_embedding] == ["embed", "pos"]
    assert [str(c) for c in found if c.is_attention] == ["L1H2", "L1.attn", "L1.attn.bias"]
    assert [str(c) for c in found if c.is_replaceable] == ["L1H2", "L1.attn", "L1.mlp", "L1"]
