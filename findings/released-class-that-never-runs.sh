#!/usr/bin/env bash
# transformers 5.24.0: the class that Llama-4-Scout and Llama-4-Maverick are published for, Llama4ForConditionalGeneration,
# ends every forward pass in an AttributeError, with an image and without one; in 5.23.0 both run.
#
# The guess was: a checkpoint that loads without a warning answers a prompt of plain text. The class reads an entry
# `image_outputs` of what its language model returned; a language model has no images and returns none. The text half by
# itself, Llama4ForCausalLM, runs in both releases.
# Output seen:
#   5.23.0: text runs, text and image run, generate runs, the text half runs
#   5.24.0: text 'image_outputs', text and image 'image_outputs', generate 'image_outputs', the text half runs
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 transformers==5.23.0 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
"$folder/env/bin/pip" install -q --no-deps --target "$folder/newer" transformers==5.24.0 2> "$folder/errors" ||
  { cat "$folder/errors"; exit 1; }
cat > "$folder/look.py" <<'PY'
import torch
import transformers
from transformers import Llama4Config, Llama4ForCausalLM, Llama4ForConditionalGeneration

IMAGE, END = 63, 2
text = dict(vocab_size=64, hidden_size=32, intermediate_size=48, intermediate_size_mlp=48, num_hidden_layers=2)
text |= dict(num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_local_experts=2, num_experts_per_tok=1)
text |= dict(pad_token_id=0, bos_token_id=1, eos_token_id=END)
vision = dict(hidden_size=32, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4, image_size=28)
vision |= dict(patch_size=14, pixel_shuffle_ratio=0.5, vision_output_dim=32)
vision |= dict(projector_input_dim=32, projector_output_dim=32)
torch.manual_seed(0)
whole = Llama4ForConditionalGeneration(Llama4Config(text_config=text, vision_config=vision, image_token_index=IMAGE)).eval()
half = Llama4ForCausalLM(whole.config.text_config).eval()
plain = torch.arange(3, 13)[None]
one = torch.tensor([[3, 4, IMAGE, 5, 6]])
asked = {
    "text": lambda: whole(input_ids=plain),
    "text and image": lambda: whole(input_ids=one, pixel_values=torch.randn(1, 3, 28, 28)),
    "generate": lambda: whole.generate(plain, max_new_tokens=2, do_sample=False),
    "the text half": lambda: half(input_ids=plain),
}
came = {}
for name, run in asked.items():
    try:
        run()
        came[name] = "runs"
    except AttributeError as reason:
        came[name] = str(reason).rpartition("attribute ")[2]
print(f"{transformers.__version__}:", ", ".join(f"{name} {what}" for name, what in came.items()))
broken = transformers.__version__ == "5.24.0"
expected = {name: "'image_outputs'" if broken and name != "the text half" else "runs" for name in asked}
assert came == expected, f"it has changed: {came}"
PY
cd "$folder"
env/bin/python -W ignore look.py
PYTHONPATH="$folder/newer" env/bin/python -W ignore look.py
