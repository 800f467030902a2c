"""Files that SAELens itself has written, with what it computes from them: each is exact, or refused by name.

They are in the folder ``saelens`` under ATTRIB_WIDGETS_TEST_DICTIONARIES. Without it ``test_saelens.py`` has files of
the same kinds, made there and held against the same formulas.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from attrib_widgets.saes.formats import read_sae
from attrib_widgets.words.errors import AttribError
from fixtures.dictionaries import formula

ROOT = Path(os.environ.get("ATTRIB_WIDGETS_TEST_DICTIONARIES") or "nowhere") / "saelens"
FOLDERS = sorted(folder.name for folder in ROOT.iterdir()) if ROOT.is_dir() else []
pytestmark = pytest.mark.skipif(
    not FOLDERS, reason="set ATTRIB_WIDGETS_TEST_DICTIONARIES to a folder that holds saelens (dictionaries with values)"
)

#: What a refusal has to name: settings whose value is not read here.
REFUSED = {
    "architecture": r"temporal",
    "hook_name": r".*\.hook_([qkv]|post)|.*\.ln1\.hook_normalized|ln_final.*",
    "normalize_activations": r"True|(covariance|expected)_.*",
    "activation_fn_str": r"tanh-relu",
    "hook_head_index": r"\d+",
}


def said(config: dict) -> dict[str, str]:
    """Every setting of a config, the nested ones too, by its name."""
    found: dict[str, str] = {}
    for key, value in config.items():
        found |= said(value) if isinstance(value, dict) else {key: str(value)}
    return found


@pytest.mark.parametrize("name", FOLDERS or ["none"])
def test_a_file_is_exact_or_refused_by_name(name):
    folder = ROOT / name
    config = json.loads((folder / "cfg.json").read_text())
    wrong = {key: value for key, value in said(config).items() if key in REFUSED and re.fullmatch(REFUSED[key], value)}
    if wrong:
        with pytest.raises(AttribError) as caught:
            read_sae(folder)
        assert any(value in str(caught.value) for value in wrong.values()), str(caught.value)
        return
    sae = read_sae(folder)
    if not (folder / "expected.safetensors").is_file():
        assert config["architecture"].endswith("batchtopk")  # SAELens computes with what it saves for inference alone
        return
    expected = load_file(folder / "expected.safetensors")
    tensors = load_file(folder / "sae_weights.safetensors")
    x, dtype = expected["x"], tensors["W_dec"].dtype
    acts = sae.encode(x)
    found = {"acts": acts, "out": sae.decode(acts, x)}
    if dtype.itemsize < 4:
        # SAELens computes in the type of the file: its values are the formula's there. Ours are the formula's own.
        for theirs, value in zip(formula(config, tensors, x, dtype), ("acts", "out"), strict=True):
            step = float(torch.finfo(dtype).eps) * float(expected[value].float().abs().max())
            assert float((theirs.float() - expected[value].float()).abs().max()) <= 2 * step
        expected = dict(zip(("acts", "out"), formula(config, tensors, x), strict=True))
    for value in ("acts", "out"):
        miss = float((found[value].double() - expected[value].double()).abs().max())
        assert miss <= 1e-5, f"{value} off by {miss}"
    assert bool((acts > 0).any())


def test_as_many_are_read_as_can_be():
    readable = []
    for name in FOLDERS:
        try:
            read_sae(ROOT / name)
            readable.append(name)
        except AttribError:
            continue
    print(f"{len(readable)} of {len(FOLDERS)} are read")
    assert len(readable) > 60
    assert {"arch-gated", "arch-skip_transcoder", "norm-layer_norm-standard", "meta-center"} <= set(readable)
    assert {"old3-noarch", "old5-topk-arch", "trainraw-topk", "bfloat16-topk", "hook-z-noreshape"} <= set(readable)
