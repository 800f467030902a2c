#!/usr/bin/env bash
# transformer-lens 2.18.0 and 3.9.0 (torch 2.13.0): `ln2.hook_normalized` of a LayerNorm that keeps its gain and bias is
# what the MLP reads in 2.18.0, and what stands before gain and bias in 3.9.0; name, shape and logits are the same.
#
# The guess was: what was trained on a named activation of a HookedTransformer can be run on the activation of that name
# in a later release. Seen, with the MLP's own weights for a transcoder that is exact: on `blocks.1.ln2.hook_normalized`
# of 2.18.0 it gives the MLP's output, on that of 3.9.0 something else, without an error. There gain and bias have to be
# applied first; in 2.18.0 that is wrong. The change was meant: an RMSNorm had its hook before its gain all along, and
# the two were to be alike (issue 747 of the project). Its guide to migrating to 3.x names other changes of hooks, not
# this one. Where gain and bias are folded into the weights behind (`fold_ln`, the default of `from_pretrained`) both
# releases agree, so it meets models loaded with `from_pretrained_no_processing`.
# 2.18.0 asks for a numpy below 2, with which the newest pyarrow does not import; hence its pin.
# Output seen, "applied" being what is cached times gain plus bias:
#   2.18.0 LN: exact as cached True, applied False
#   2.18.0 RMS: exact as cached False, applied True
#   2.18.0 LN, folded: exact as cached True
#   3.9.0 LN: exact as cached False, applied True
#   3.9.0 RMS: exact as cached False, applied True
#   3.9.0 LN, folded: exact as cached True
#   logits of both releases alike: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/look.py" <<'PY'
import sys
from importlib.metadata import version

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

torch.set_grad_enabled(False)
READ, WROTE = "blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"
prompt = torch.arange(5, 12)[None]
every = []
for norm in ("LN", "RMS", "LNPre"):
    model = HookedTransformer(HookedTransformerConfig(
        n_layers=2, d_model=16, n_ctx=32, d_head=4, n_heads=4, d_mlp=32, act_fn="relu", d_vocab=50, seed=0,
        normalization_type=norm,
    ))
    torch.manual_seed(0)
    for _, weight in sorted(model.named_parameters()):
        weight.normal_(std=0.3)
    logits, cache = model.run_with_cache(prompt)
    every.append(logits)
    mlp, ln = model.blocks[1].mlp, model.blocks[1].ln2

    def exact(read):
        written = torch.relu(read @ mlp.W_in + mlp.b_in) @ mlp.W_out + mlp.b_out
        return torch.allclose(written, cache[WROTE], atol=1e-4)

    said = f"{version('transformer-lens')} {norm.replace('Pre', ', folded')}: exact as cached {exact(cache[READ])}"
    if norm != "LNPre":
        said += f", applied {exact(cache[READ] * ln.w + (ln.b if norm == 'LN' else 0))}"
    print(said)
torch.save(every, sys.argv[1])
PY
cd "$folder"
export HF_HUB_OFFLINE=1
look() { # a release of transformer-lens, and what is pinned beside it
  "${PYTHON:-python3}" -m venv env
  env/bin/pip install -q torch==2.13.0 "transformer-lens==$1" "${@:2}" 2> errors || { cat errors; exit 1; }
  env/bin/python -W ignore look.py "logits-$1" >> seen 2> errors || { cat errors; exit 1; }
}
look 2.18.0 transformers==4.57.6 numpy==1.26.4 pyarrow==21.0.0 datasets==5.0.1
rm -rf env
look 3.9.0 transformers==5.24.0 numpy==2.3.5
env/bin/python - >> seen <<'PY'
import torch

pairs = zip(torch.load("logits-2.18.0"), torch.load("logits-3.9.0"))
print("logits of both releases alike:", all(torch.allclose(one, other, atol=1e-4) for one, other in pairs))
PY
cat seen
diff seen - <<'SEEN'
2.18.0 LN: exact as cached True, applied False
2.18.0 RMS: exact as cached False, applied True
2.18.0 LN, folded: exact as cached True
3.9.0 LN: exact as cached False, applied True
3.9.0 RMS: exact as cached False, applied True
3.9.0 LN, folded: exact as cached True
logits of both releases alike: True
SEEN
