#!/usr/bin/env bash
# transformers 5.23.0 (torch 2.13.0), and bertviz 1.4.1 behind it: `output_attentions=True` on a hybrid model gives one
# pattern for each layer that attends, not one for each layer, so entry i is another layer's.
#
# The guess was: as the docstrings say of `attentions`, "one for each layer", with None where a layer is a convolution,
# a linear attention or a state space; `attentions[3]` of a model whose layer 3 attends would be that layer's. Seen, for
# LFM2, Qwen3-Next, Jamba and RecurrentGemma, of whose four layers 1 and 3 attend (RecurrentGemma: 1 alone): the tuple
# has as many entries as there are attention layers, in order, and nothing in the output says which layers they are;
# `hidden_states` beside it still has an entry for every layer. bertviz numbers what it is given from 0: its view of
# LFM2's patterns offers layers 0 and 1, which are 1 and 3. Whoever pairs `attentions[i]` with layer i, with its heads or
# with `hidden_states[i]`, gets an IndexError at best. The entry that belongs to a layer is found by the config's list of
# layer kinds, or by a hook on that layer's attention module.
# Output seen:
#   lfm2: 2 patterns, 5 hidden states; entry 0 is layer 1's, entry 1 is layer 3's
#   qwen3_next: 2 patterns, 5 hidden states; entry 0 is layer 1's, entry 1 is layer 3's
#   jamba: 2 patterns, 5 hidden states; entry 0 is layer 1's, entry 1 is layer 3's
#   recurrent_gemma: 1 patterns, 5 hidden states; entry 0 is layer 1's
#   bertviz offers layers [0, 1] of lfm2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 transformers==5.23.0 bertviz==1.4.1 ipython numpy 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
cat > "$folder/look.py" <<'PY'
import json
import re

import torch
from bertviz import head_view
from transformers import AutoConfig, AutoModelForCausalLM

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4)
SIZES |= dict(num_key_value_heads=2)
KINDS = {
    "lfm2": dict(layer_types=["conv", "full_attention"] * 2),
    "qwen3_next": dict(
        layer_types=["linear_attention", "full_attention"] * 2, head_dim=8, num_experts=4, num_experts_per_tok=2,
        moe_intermediate_size=16, shared_expert_intermediate_size=16, linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8,
    ),
    "jamba": dict(attn_layer_period=2, attn_layer_offset=1, num_experts=2, mamba_d_state=8, mamba_dt_rank=4),
    "recurrent_gemma": dict(block_types=["recurrent", "attention", "recurrent"], lru_width=32, head_dim=8),
}
torch.manual_seed(0)
for kind, more in KINDS.items():
    config = AutoConfig.for_model(kind, **SIZES, **more)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    seen = {}  # what each layer's own attention module returned

    def keep(layer):
        return lambda module, given, out: seen.update({layer: out[1]})

    for name, module in model.named_modules():
        if re.search(r"layers\.\d+\.(self_attn|temporal_block)$", name) and "Attention" in type(module).__name__:
            module.register_forward_hook(keep(int(re.search(r"\d+", name)[0])))
    out = model(torch.arange(1, 11)[None], output_attentions=True, output_hidden_states=True)
    whose = [[layer for layer, held in seen.items() if held is not None and torch.equal(held, a)] for a in out.attentions]
    told = ", ".join(f"entry {i} is layer {layer}'s" for i, (layer,) in enumerate(whose))
    print(f"{kind}: {len(out.attentions)} patterns, {len(out.hidden_states)} hidden states; {told}")
    if kind == "lfm2":
        shown = head_view(out.attentions, list("abcdefghij"), html_action="return").data
        offered = json.loads(re.search(r'"include_layers": (\[[^\]]*\])', shown)[1])
        last = f"bertviz offers layers {offered} of lfm2"
print(last)
PY
found=$("$folder/env/bin/python" "$folder/look.py" 2> "$folder/errors") || { cat "$folder/errors"; exit 1; }
echo "$found"
expected="lfm2: 2 patterns, 5 hidden states; entry 0 is layer 1's, entry 1 is layer 3's
qwen3_next: 2 patterns, 5 hidden states; entry 0 is layer 1's, entry 1 is layer 3's
jamba: 2 patterns, 5 hidden states; entry 0 is layer 1's, entry 1 is layer 3's
recurrent_gemma: 1 patterns, 5 hidden states; entry 0 is layer 1's"
expected="$expected
bertviz offers layers [0, 1] of lfm2"
[ "$found" = "$expected" ] || { echo "this has changed"; exit 1; }
