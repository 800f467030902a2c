#!/usr/bin/env bash
# transformers 5.15.0: a Doge model looks ahead at a prompt without padding. With torch's fused attention, the default,
# another last token changes the logits of every token before it. In 5.24.0 it changes its own alone, and by eager
# attention in both.
#
# The guess was: a class that ends in ForCausalLM is causal whatever attention it is loaded with, or refuses it. Doge
# builds a mask of its own out of its values and the causal mask; for a prompt without padding transformers leaves the
# causal mask out where the kernel can be told to be causal, and the kernel is then given Doge's mask and not told.
# Output seen, the largest change of the logits of the earlier tokens and of the last one:
#   5.15.0: eager 0.00 0.29, sdpa 0.06 0.27
#   5.24.0: eager 0.00 0.29, sdpa 0.00 0.29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
pip() {
  "$folder/env/bin/pip" install -q "$@" 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
}
pip torch==2.13.0 transformers==5.15.0
pip --no-deps --target "$folder/newer" transformers==5.24.0 tokenizers==0.23.1
cat > "$folder/look.py" <<'PY'
import torch
import transformers
from transformers import AutoModelForCausalLM, DogeConfig

size = dict(vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
config = DogeConfig(**size, num_key_value_heads=2, max_position_embeddings=64)
torch.manual_seed(0)
prompt = torch.randint(0, 100, (1, 8))
other = prompt.clone()
other[0, -1] = (other[0, -1] + 1) % 100
earlier, last = {}, {}
for attention in ("eager", "sdpa"):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    with torch.no_grad():
        change = (model(prompt).logits - model(other).logits).abs().amax(-1)[0]
    earlier[attention], last[attention] = float(change[:-1].max()), float(change[-1])
print(f"{transformers.__version__}:", ", ".join(f"{a} {earlier[a]:.2f} {last[a]:.2f}" for a in earlier))
ahead = transformers.__version__ == "5.15.0"
assert earlier["eager"] < 1e-5 and min(last.values()) > 0.1, "the model is not what it was"
assert (earlier["sdpa"] > 1e-2) == ahead, f"it has changed: the earlier move by {earlier['sdpa']:.2f}"
PY
cd "$folder"
env/bin/python -W ignore look.py
PYTHONPATH="$folder/newer" env/bin/python -W ignore look.py
