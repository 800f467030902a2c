"""Flex attention is compiled for plain passes: attribution works with it, and what edits or differentiates says how."""

from __future__ import annotations

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import attrib_widgets as aw
from fixtures import families

OTHER = "The capital of Japan is"


@pytest.fixture(scope="module")
def flex():
    """Known by its name; the function behind it is another one, which needs no minutes of compiling."""
    name = "uncompiled_flex_attention"
    AttentionInterface.register(name, ALL_ATTENTION_FUNCTIONS["sdpa"])
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    hf = families.build("llama")
    hf.set_attn_implementation(name)
    return aw.load(hf, tokenizer=families.tokenizer("llama"))


CALLS = {
    "patch": lambda m, a: aw.patch(m, families.PROMPT, OTHER, " Paris"),
    "ablate": lambda m, a: aw.ablate(m, families.PROMPT, " Paris"),
    "attribution_patch": lambda m, a: aw.attribution_patch(m, families.PROMPT, OTHER, " Paris"),
    "integrated_gradients": lambda m, a: aw.integrated_gradients(m, families.PROMPT, OTHER, " Paris"),
    "edge_patch": lambda m, a: aw.edge_patch(m, families.PROMPT, OTHER, " Paris"),
    "path_patch": lambda m, a: aw.path_patch(m, families.PROMPT, OTHER, " Paris", senders=["L0H1"]),
    "token_effects": lambda m, a: aw.token_effects(m, families.PROMPT, " Paris"),
    "verify": lambda m, a: aw.verify(a, corrupted=OTHER),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_edits_or_differentiates_names_the_remedy(flex, name):
    a = aw.attribute(flex.run(families.PROMPT), " Paris")
    with pytest.raises(aw.AttribError, match=r"set_attn_implementation\('sdpa'\)"):
        CALLS[name](flex, a)


def test_the_rest_works(flex):
    a = aw.attribute(flex.run(families.PROMPT), " Paris")
    assert a.exact and a.sources("L1H1").values.isfinite().all()
    assert len(flex.run_many([families.PROMPT, OTHER])) == 2
    assert aw.explore(flex, families.PROMPT, " Paris", corrupted=OTHER) is not None


def test_the_remedy_is_one():
    hf = families.build("llama")
    model, expected = (aw.load(m, tokenizer=families.tokenizer("llama")) for m in (hf, families.build("llama")))
    hf.config._attn_implementation = "flex_attention"
    hf.set_attn_implementation("sdpa")
    found = [aw.patch(m, families.PROMPT, OTHER, " Paris").values for m in (model, expected)]
    assert torch.equal(*found)
