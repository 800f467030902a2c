#!/usr/bin/env bash
# sae-lens 6.54.12 with transformer-lens 3.9.0 (torch 2.13.0): a transcoder with a skip connection that is attached to a
# model writes its features alone into the stream; the skip is left out.
#
# The guess was: `run_with_saes` and `with model.saes(...)` put in the MLP's place what the transcoder gives when it is
# called, W_dec f(x) + b_dec + W_skip x. Seen: what is attached asks for `encode` and `decode`, and the skip stands in
# `forward` alone, so logits and cached outputs are those of a transcoder without it. Nothing is said. With
# `use_error_term=True` the output is the MLP's own, and what the skip writes is counted as error. Without a skip
# connection called and attached agree. A hook on the output that calls the transcoder gives the right numbers.
# Output seen:
#   Transcoder: attached as called True, logits as with a hook that calls it True, cached error the MLP's minus the called True
#   SkipTranscoder: attached as called False, logits as with a hook that calls it False, cached error the MLP's minus the called False
#   JumpReLUTranscoder: attached as called True, logits as with a hook that calls it True, cached error the MLP's minus the called True
#   JumpReLUSkipTranscoder: attached as called False, logits as with a hook that calls it False, cached error the MLP's minus the called False
#   what is missing is the skip: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 sae-lens==6.54.12 transformer-lens==3.9.0 transformers==5.24.0 2> "$folder/errors" ||
  { cat "$folder/errors"; exit 1; }
cat > "$folder/look.py" <<'PY'
import torch
from sae_lens import HookedSAETransformer
from sae_lens.saes import transcoder
from transformer_lens import HookedTransformerConfig

torch.set_grad_enabled(False)
torch.manual_seed(0)
model = HookedSAETransformer(HookedTransformerConfig(
    n_layers=2, d_model=16, n_ctx=32, d_head=4, n_heads=4, d_mlp=32, act_fn="gelu", d_vocab=50, seed=0,
    normalization_type="LN",
))
prompt = torch.arange(5, 12)[None]
BEFORE, BEHIND = "blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"
_, own = model.run_with_cache(prompt)


def alike(one, other):
    return torch.allclose(one, other, atol=1e-4)


missing = []
for name in ("Transcoder", "SkipTranscoder", "JumpReLUTranscoder", "JumpReLUSkipTranscoder"):
    settings = getattr(transcoder, f"{name}Config")(d_in=16, d_sae=24, d_out=16, apply_b_dec_to_input=False)
    settings.metadata.hook_name, settings.metadata.hook_name_out = BEFORE, BEHIND
    given = getattr(transcoder, name)(settings)
    for weight in given.parameters():
        weight.normal_(std=0.3)
    called = given(own[BEFORE])
    right = model.run_with_hooks(prompt, fwd_hooks=[(BEHIND, lambda out, hook: called)])
    with model.saes([given]):
        logits, cache = model.run_with_cache(prompt)
    attached = cache[f"{BEHIND}.hook_sae_output"]
    with model.saes([given], use_error_term=True):
        _, cache = model.run_with_cache(prompt)
    error = cache[f"{BEHIND}.hook_sae_error"]
    print(
        f"{name}: attached as called {alike(attached, called)}, logits as with a hook that calls it {alike(logits, right)}, "
        f"cached error the MLP's minus the called {alike(error, own[BEHIND] - called)}"
    )
    if "Skip" in name:
        missing.append(alike(called - attached, own[BEFORE] @ given.W_skip.T))
print("what is missing is the skip:", all(missing))
PY
cd "$folder"
export HF_HUB_OFFLINE=1
env/bin/python -W ignore look.py > seen 2> errors || { cat errors; exit 1; }
cat seen
diff seen - <<'SEEN'
Transcoder: attached as called True, logits as with a hook that calls it True, cached error the MLP's minus the called True
SkipTranscoder: attached as called False, logits as with a hook that calls it False, cached error the MLP's minus the called False
JumpReLUTranscoder: attached as called True, logits as with a hook that calls it True, cached error the MLP's minus the called True
JumpReLUSkipTranscoder: attached as called False, logits as with a hook that calls it False, cached error the MLP's minus the called False
what is missing is the skip: True
SEEN
