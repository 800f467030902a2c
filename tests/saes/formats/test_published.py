"""Files of every public format with the values of its own package: each is exact, from the files alone.

They are in the folder ``formats`` under ATTRIB_WIDGETS_TEST_DICTIONARIES. Without it the tests beside this make files
of the same kinds and hold them against the same formulas.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import attrib_widgets as aw
from attrib_widgets.words.errors import AttribError

ROOT = Path(os.environ.get("ATTRIB_WIDGETS_TEST_DICTIONARIES") or "nowhere") / "formats"
#: Where each is to be read, as the folder's own description says.
PLACES = {
    "gemma-scope-2b-pt-res": "L1.post",
    "gemma-scope-2b-pt-att": "L1.z",
    "gemma-scope-2b-pt-mlp": "L1.mlp",
    "gemma-scope-2b-pt-transcoders": "L1.mlp_in to L1.mlp",
    "gemma-scope-2-1b-pt/resid_post": "L1.post",
    "gemma-scope-2-1b-pt/attn_out": "L1.z",
    "gemma-scope-2-1b-pt/mlp_out": "L1.mlp",
    "gemma-scope-2-1b-pt/transcoder": "L1.mlp_in to L1.mlp",
    "dictionary_learning": "L1.post",
    "circuit_tracer/plt-relu": "L{}.mlp_in to L{}.mlp",
    "circuit_tracer/clt-relu": "",
    "llama_scope_r1": "L1.post",
    "llamascopium": "L1.post",
    "openai": "L6.post",
    "qwen": "L1.post",
    "goodfire": "L19.post",
    "hook_z_kk": "L1.z",
    "sparsify/layers.0.attention": "L0.attn_out",
    "sparsify/layers.1.mlp": "L1.mlp_in to L1.mlp",
    "sparsify/layers.1": "L1.post",
}
FOLDERS = sorted(str(file.parent.relative_to(ROOT)) for file in ROOT.rglob("expected.safetensors"))
pytestmark = pytest.mark.skipif(
    not FOLDERS, reason="set ATTRIB_WIDGETS_TEST_DICTIONARIES to a folder that holds formats (dictionaries with values)"
)


@pytest.mark.parametrize("name", FOLDERS or ["none"])
def test_every_published_format_is_exact(name):
    expected = load_file(ROOT / name / "expected.safetensors")
    if name.startswith("circuit_tracer"):
        check_layers(name, expected)
        return
    site = "L6.post" if name.startswith("openai") else None  # its folder is not that of the release
    sae, x = aw.read_sae(ROOT / name, site=site), expected["x"]
    acts = sae.encode(x)
    assert bool(acts.any())
    for value, found in (("acts", acts), ("out", sae.decode(acts, x))):
        assert torch.allclose(found, expected[value], atol=1e-4), (
            f"{value} off by {(found - expected[value]).abs().max()}"
        )
    place = next(place for folder, place in PLACES.items() if name.startswith(folder))
    assert " to ".join(map(str, (sae.site, sae.writes) if sae.writes else (sae.site,))) == place


def check_layers(name: str, expected: dict[str, torch.Tensor]) -> None:
    """Values of every layer: [layer, position, ...]."""
    x, acts, out = expected["x"], expected["acts"], expected["out"]
    if name.endswith("clt-relu"):
        with pytest.raises(AttribError, match=r"write to several layers.*read_cross_layer"):
            aw.read_sae(ROOT / name)
        read = aw.read_cross_layer(ROOT / name)
        found = [read.encode(layer, x[layer]) for layer in range(len(x))]
        rebuilt = [read.decode(layer, found, x[layer]) for layer in range(len(x))]
    else:
        saes = [aw.read_sae(ROOT / name, site=f"L{layer}.mlp") for layer in range(len(x))]
        assert [str(sae.site) for sae in saes] == [f"L{layer}.mlp_in" for layer in range(len(x))]
        assert {str(sae.writes) for sae in saes} == {f"L{layer}.mlp" for layer in range(len(x))}
        found = [sae.encode(x[layer]) for layer, sae in enumerate(saes)]
        rebuilt = [sae.rebuild(x[layer]) for layer, sae in enumerate(saes)]
    assert torch.allclose(torch.stack(found), acts, atol=1e-4) and bool(acts.any())
    assert torch.allclose(torch.stack(rebuilt), out, atol=1e-4)
