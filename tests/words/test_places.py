"""Every place prints one label, and every label parses back to the place that printed it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attrib_widgets.words.components import Component, component
from attrib_widgets.words.errors import ComponentError
from attrib_widgets.words.places import OF_HEADS, SITES, Place, dictionary_place, place, place_of, stream_place

NUMBERS = st.integers(0, 200)
PLAIN = st.builds(Place, st.sampled_from([s for s in SITES if s not in ("neuron", "expert")]), NUMBERS)
HEADED = st.builds(Place, st.sampled_from(OF_HEADS), NUMBERS, NUMBERS)
GROUPED = st.builds(Place, st.sampled_from(["k", "v"]), NUMBERS, NUMBERS, st.just(True))
UNITS = st.builds(lambda s, n, i: Place(s, n, index=i), st.sampled_from(["neuron", "expert"]), NUMBERS, NUMBERS)
READ = PLAIN.filter(lambda place: place.site != "attn")  # "L3.attn/12" is the old spelling of "L3.z/12"
FEATURES = st.builds(lambda i, of: Place("feature", index=i, of=of), NUMBERS, st.one_of(READ, HEADED, GROUPED))
LEFT = st.builds(lambda s, of: Place(s, of=of), st.sampled_from(["error", "bias"]), READ)  # what no feature is
PLACES = st.one_of(PLAIN, HEADED, GROUPED, UNITS, FEATURES, LEFT, st.just(Place("logits")))


@given(PLACES)
def test_every_label_parses_back(which):
    assert place(str(which)) == which == place(str(which).upper().replace("LOGITS", "logits")) == place(which)


@given(PLACES)
def test_what_writes_is_the_same_part_in_both_vocabularies(which):
    if (part := which.component) is not None:
        assert place_of(part) == which and place(part) == which


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("L2.stream", Place("pre", 2)),
        ("7.4", Place("z", 7, 4)),
        ((7, 4), Place("z", 7, 4)),
        ("a7.h4", Place("z", 7, 4)),
        ("m8", Place("mlp", 8)),
        ("L8 MLP", Place("mlp", 8)),
        ("embed", Place("pre", 0)),
        ("L11N611", Place("neuron", 11, index=611)),
        ("L2/12", Place("feature", index=12, of=Place("post", 2))),
        ("L3.attn/12", Place("feature", index=12, of=Place("z", 3))),
        (" l1kv0.K ", Place("k", 1, 0, True)),
    ],
)
def test_the_usual_spellings(typed, meant):
    assert place(typed) == meant


@given(FEATURES)
def test_the_place_of_a_feature_is_read_alike_in_both_vocabularies(which):
    for typed in (str(which), str(which).lower()):
        assert component(typed) == place(typed).component == which.component


@pytest.mark.parametrize("site", ["L2.stream", "L02.q", "L2.H1.q", "l1.kv0.V", "logits", "L2", "m2", "2.1", "embed"])
def test_other_spellings_of_the_place_of_a_feature_too(site):
    assert component(f"{site}/5") == place(f"{site}/5").component


def test_a_bare_layer_is_refused_with_both_readings():
    for typed in ("L2", Component("layer", 2)):
        with pytest.raises(ComponentError) as caught:
            place(typed)
        assert '"L2.pre"' in str(caught.value) and '"L2.post"' in str(caught.value)
    assert place("L2", layer_means="post") == place(2, layer_means="post") == Place("post", 2)


@pytest.mark.parametrize(
    "typed", ["L1KV0", "L1KV0.q", "L1KV0.pattern", "L2.side", "rounding", "L2.mlp/other", "", 2.5, None]
)
def test_what_is_no_place_is_refused(typed):
    with pytest.raises(ComponentError):
        place(typed)


def test_streams_are_numbered_by_what_was_recorded():
    assert place("L2.pre").stream == place("L1.post").stream == 2
    assert [str(stream_place(i, 2)) for i in range(3)] == ["L0.pre", "L1.pre", "L1.post"]
    with pytest.raises(ComponentError, match="not a stream"):
        _ = place("L2.mid").stream


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("L2", "L2.post"),
        (2, "L2.post"),
        ("L3.attn", "L3.z"),
        ("l3.Z", "L3.z"),
        ("m8", "L8.mlp"),
        ("L2.post", "L2.post"),
        ("L0.pre", "L0.pre"),
        ("L3.attn_out", "L3.attn_out"),
        ("l2.mid", "L2.mid"),
        ("L2.mlp_in", "L2.mlp_in"),
    ],
)
def test_the_place_of_a_dictionary(typed, meant):
    assert str(dictionary_place(typed)) == meant == str(dictionary_place(meant))
    for spelt in (typed, meant):
        if isinstance(spelt, str):  # one feature, by both spellings and in both vocabularies
            assert str(component(f"{spelt}/12")) == str(place(f"{spelt}/12")) == f"{meant}/12"
            assert component(f"{spelt}/12") == place(f"{meant}/12").component


@pytest.mark.parametrize("typed", ["L3.pre", "l3.stream", Place("pre", 3)])
def test_the_stream_before_a_layer_is_the_one_behind_the_layer_before(typed):
    assert dictionary_place(typed) == Place("post", 2)
    assert dictionary_place("L0.pre") == Place("pre", 0)  # which is behind none


@pytest.mark.parametrize(
    "typed", ["L0H1", (1, 2), "L2.attn_in", "L2.q", "L1KV0.k", "L3N4", "logits", "L2.mlp/3", "notes"]
)
def test_where_no_dictionary_reads(typed):
    with pytest.raises(ComponentError):
        dictionary_place(typed)
