#!/usr/bin/env bash
# transformers 4.57.3 (torch 2.13.0), the newest that circuit-tracer 0.5.0 allows: a model that transformers 5.24.0 saved
# is loaded without a word and turns its queries and keys by other angles than the one that was saved.
#
# The guess was: 5.x writes the old entries beside the new one, or 4.x refuses a configuration that it cannot read. Seen:
# 5.x writes `rope_parameters` alone, in which stand the base, the kind of scaling and, for GPT-NeoX, the share of each
# head that is rotated; 4.57 keeps that entry as it keeps any that it does not know, reads `rope_theta`, `rope_scaling`
# and `rotary_pct`, finds none, and takes its defaults: base 10,000, no scaling, a quarter. The weights are equal to the
# last bit and the model answers, so a model that was tuned in one environment and explained in the other, which an older
# pin asks for, is another model. Only what was saved with those defaults comes back as it was. Writing the old entries
# into config.json beside the new one is an answer. (The other way, saved by 4.57 and read by 5.24, the logits are equal.)
# Output seen:
#   gpt_neox: share of a head 1.0 -> 0.25, the weights equal, the same logits False; with the old entries True
#   llama: base 500000.0 -> 10000.0, the weights equal, the same logits False; with the old entries True
#   llama_default: base 10000.0 -> 10000.0, the weights equal, the same logits True; with the old entries True
#   llama_scaled: base 500000.0 -> 10000.0, scaling llama3 -> None, the weights equal, the same logits False; with the old entries True
#   mistral: base 1000000.0 -> 10000.0, the weights equal, the same logits False; with the old entries True
#   olmo2: base 500000.0 -> 10000.0, the weights equal, the same logits False; with the old entries True
#   qwen3: base 1000000.0 -> 10000.0, the weights equal, the same logits False; with the old entries True
#   lines on the error stream: 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 numpy==2.3.5 transformers==4.57.3 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
"$folder/env/bin/pip" install -q --target "$folder/newer" numpy==2.3.5 transformers==5.24.0 2> "$folder/errors" ||
  { cat "$folder/errors"; exit 1; }
cat > "$folder/write.py" <<'PY'
import torch
from transformers import AutoConfig, AutoModelForCausalLM

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
SIZES |= dict(num_key_value_heads=4)
SCALED = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
SCALED |= dict(original_max_position_embeddings=32)
SAVED = {
    "gpt_neox": ("gpt_neox", dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=1.0)),
    "llama": ("llama", dict(rope_type="default", rope_theta=500000.0)),
    "llama_scaled": ("llama", dict(rope_theta=500000.0, **SCALED)),
    "llama_default": ("llama", dict(rope_type="default", rope_theta=10000.0)),
    "mistral": ("mistral", dict(rope_type="default", rope_theta=1000000.0)),
    "olmo2": ("olmo2", dict(rope_type="default", rope_theta=500000.0)),
    "qwen3": ("qwen3", dict(rope_type="default", rope_theta=1000000.0)),
}
for name, (kind, rotation) in SAVED.items():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES, rope_parameters=rotation)).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(f"saved/{name}")
    logits = model(torch.arange(3, 43)[None]).logits.detach()
    torch.save((logits, list(model.parameters()), rotation), f"saved/{name}/seen.pt")
PY
cat > "$folder/read.py" <<'PY'
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM


def read(folder):
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    return model, model(torch.arange(3, 43)[None]).logits.detach()


for folder in sorted(Path("saved").iterdir()):
    expected, weights, rotation = torch.load(folder / "seen.pt")
    model, logits = read(folder)
    equal = all(torch.equal(*pair) for pair in zip(model.parameters(), weights, strict=True))
    if "partial_rotary_factor" in rotation:
        told = f"share of a head {rotation['partial_rotary_factor']} -> {model.config.rotary_pct}"
    else:
        told = f"base {rotation['rope_theta']} -> {model.config.rope_theta}"
    if rotation["rope_type"] != "default":
        told += f", scaling {rotation['rope_type']} -> {model.config.rope_scaling}"
    file = folder / "config.json"
    old = {"rope_theta": rotation["rope_theta"]}
    if "partial_rotary_factor" in rotation:
        old["rotary_pct"] = rotation["partial_rotary_factor"]
    if rotation["rope_type"] != "default":
        old["rope_scaling"] = {name: value for name, value in rotation.items() if name != "rope_theta"}
    file.write_text(json.dumps(json.loads(file.read_text()) | old))
    mended = torch.allclose(read(folder)[1], expected, atol=1e-4)
    same = torch.allclose(logits, expected, atol=1e-4)
    words = "the weights equal" if equal else "the weights differ"
    print(f"{folder.name}: {told}, {words}, the same logits {same}; with the old entries {mended}")
PY
cd "$folder"
export HF_HUB_OFFLINE=1
PYTHONPATH="$folder/newer" env/bin/python -W ignore write.py > errors 2>&1 || { cat errors; exit 1; }
env/bin/python read.py > seen 2> errors || { cat errors; exit 1; }
echo "lines on the error stream: $(wc -l < errors | tr -d ' ')" >> seen
cat seen
diff seen - <<'SEEN'
gpt_neox: share of a head 1.0 -> 0.25, the weights equal, the same logits False; with the old entries True
llama: base 500000.0 -> 10000.0, the weights equal, the same logits False; with the old entries True
llama_default: base 10000.0 -> 10000.0, the weights equal, the same logits True; with the old entries True
llama_scaled: base 500000.0 -> 10000.0, scaling llama3 -> None, the weights equal, the same logits False; with the old entries True
mistral: base 1000000.0 -> 10000.0, the weights equal, the same logits False; with the old entries True
olmo2: base 500000.0 -> 10000.0, the weights equal, the same logits False; with the old entries True
qwen3: base 1000000.0 -> 10000.0, the weights equal, the same logits False; with the old entries True
lines on the error stream: 0
SEEN
