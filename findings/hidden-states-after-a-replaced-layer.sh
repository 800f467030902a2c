#!/usr/bin/env bash
# transformers 5.24.0 with torch 2.13.0: a layer that is put in place after hidden states were asked for once is missing
# from `hidden_states`, without a word, and every later entry moves up by one.
#
# The guess was: `output_hidden_states=True` always gives one entry per layer and one more, whatever the layers are now.
# Seen: the first request installs hooks on the modules that are there (attribute `_output_capturing_hooks_installed`),
# and no later one looks again. After `model.model.layers[1] = another_layer` a model of 4 layers returns 4 entries
# instead of 5, and the entry with index 2 is what layer 3 read, not layer 2. The same weights in a fresh model give 5.
# Whoever swaps, transplants or appends layers and reads streams by index reads the wrong layer. (Hooks of one's own on
# the layers see all of them; so does a model that was never asked before the change.)
# Output seen:
#   before 5 entries, read by layers [0, 1, 2, 3]
#   after  4 entries, read by layers [0, 1, 3]
#   fresh  5 entries, read by layers [0, 1, 2, 3]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 transformers==5.24.0 numpy 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
cat > "$folder/look.py" <<'PY'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
sizes = dict(hidden_size=32, intermediate_size=48, num_attention_heads=4, vocab_size=99)
config = LlamaConfig(num_hidden_layers=4, **sizes)
tokens = torch.arange(8)[None]


def look(model):
    """Entries of `hidden_states`, and the layers that read one of them, as plain hooks on the layers see it."""
    read = []
    hooks = [x.register_forward_pre_hook(lambda module, given: read.append(given[0])) for x in model.model.layers]
    with torch.no_grad():
        entries = model(tokens, output_hidden_states=True).hidden_states
    for hook in hooks:
        hook.remove()
    return len(entries), [i for entry in entries for i, x in enumerate(read) if torch.equal(x, entry)]


model = LlamaForCausalLM(config).eval()
before = look(model)
model.model.layers[1] = type(model.model.layers[1])(config, 1).eval()
after = look(model)
fresh = LlamaForCausalLM(config).eval()
fresh.load_state_dict(model.state_dict())
for name, (count, layers) in zip(("before", "after ", "fresh "), (before, after, look(fresh))):
    print(f"{name} {count} entries, read by layers {layers}")
PY
found=$("$folder/env/bin/python" "$folder/look.py" 2> "$folder/errors") || { cat "$folder/errors"; exit 1; }
echo "$found"
expected='before 5 entries, read by layers [0, 1, 2, 3]
after  4 entries, read by layers [0, 1, 3]
fresh  5 entries, read by layers [0, 1, 2, 3]'
[ "$found" = "$expected" ] || { echo "this has changed"; exit 1; }
