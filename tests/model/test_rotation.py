"""A rotation that was saved by transformers 5 and that an older release does not read is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from transformers import AutoConfig

from attrib_widgets.model.loading import check_rotation
from attrib_widgets.words.errors import AttribError

OLD, NEW = "4.57.3", "5.23.0"
SCALED = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
GEMMA = {
    "full_attention": {"rope_type": "default", "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
}


def as_read(said, theta=10000.0, scaling=None, **more):
    """What 4.57 keeps of a config that 5 wrote: the entry that it does not know, and its own, at their defaults."""
    return SimpleNamespace(rope_parameters=said, rope_theta=theta, rope_scaling=scaling, **more)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (as_read({"rope_type": "default", "rope_theta": 5e5}), "rope_theta is 500000.0 there, .* made with 10000.0"),
        (as_read({**SCALED, "rope_theta": 10000.0}), "rope_type is 'llama3' there, .* made with 'default'"),
        (as_read({**SCALED, "rope_theta": 5e5}, 5e5, SCALED | {"factor": 4.0}), "factor is 8.0 there, .* with 4.0"),
        (
            as_read({"rope_type": "default", "partial_rotary_factor": 1.0}, partial_rotary_factor=0.25),
            "partial_rotary_factor is 1.0 there, .* made with 0.25",
        ),
        (as_read(GEMMA, 1e6, rope_local_base_freq=5000.0), "rope_theta is 10000.0 there, .* made with 5000.0"),
    ],
)
def test_a_rotation_that_is_not_read_is_refused(config, said):
    with pytest.raises(AttribError, match=rf"transformers 4.57.3 does not read rope_parameters.*{said}.*config.json"):
        check_rotation(config, OLD)
    check_rotation(config, NEW)


@pytest.mark.parametrize(
    "config",
    [
        as_read({"rope_type": "default", "rope_theta": 10000.0, "factor": None}),
        as_read({**SCALED, "rope_theta": 5e5}, 5e5, {"type": "llama3", **SCALED}),
        as_read(GEMMA, 1e6, rope_local_base_freq=10000.0),
        # The remedy followed: the old entries beside the new one, which keeps the older name of the kind of scaling.
        as_read({"type": "linear", "rope_type": "linear", "factor": 4.0}, scaling={"type": "linear", "factor": 4.0}),
        # LongRoPE's first length stands above it, and layers with a window are not scaled.
        as_read(
            {"rope_type": "longrope", "original_max_position_embeddings": 4096},
            scaling={"type": "longrope"},
            original_max_position_embeddings=4096,
        ),
        as_read({"full_attention": SCALED, "sliding_attention": {"rope_type": "default"}}, scaling=SCALED),
        as_read({"full_attention": SCALED, "sliding_attention": None}, scaling=SCALED),
        SimpleNamespace(rope_theta=5e5),
        None,
    ],
)
def test_one_that_comes_out_the_same_is_taken(config):
    check_rotation(config, OLD)


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "gpt_neox"])
def test_this_release_reads_what_it_writes(kind):
    config = AutoConfig.for_model(kind)
    assert config.rope_parameters
    check_rotation(config)
