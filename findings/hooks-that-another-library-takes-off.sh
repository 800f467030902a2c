#!/usr/bin/env bash
# pyvene 0.1.8 with transformers 5.23.0 (torch 2.13.0): the first call of an IntervenableModel takes every forward hook
# off the model that it was given, those of the person and those by which transformers collects hidden states.
#
# The guess was: it takes off its own. Seen: before and after each call all hooks of all modules are removed, whoever put
# them there. A steering hook acts up to that call, and neither in it nor in any call of the plain model afterwards, so
# the "unintervened" answer that is compared with is that of another model. transformers puts its hooks on once, when
# hidden states or attentions are asked for the first time, and notes that it has: from then on
# `output_hidden_states=True` gives an empty tuple, and so does `output_attentions=True`. No error and no warning in either
# place. A hook that is put on again after the last call acts; `hidden_states` come back in a model that is made anew.
# Output seen:
#   before: the steering acts True, 4 hidden states, 3 attentions
#   made, not called: the steering acts True, 4 hidden states, 3 attentions
#   the answer without an intervention: steered False, that of the bare model True
#   called: the steering acts False, 0 hidden states, 0 attentions
#   put on again: the steering acts True, 0 hidden states, 0 attentions
#   the same weights in a fresh model: the steering acts True, 4 hidden states, 3 attentions
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 transformers==5.23.0 numpy==2.3.5 pyvene==0.1.8 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
cat > "$folder/look.py" <<'PY'
import pyvene
import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.set_grad_enabled(False)
torch.manual_seed(0)
SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4)
prompt, direction = torch.arange(3, 13)[None], torch.randn(32)


def fresh(weights=None):
    made = LlamaForCausalLM(LlamaConfig(**SIZES, attn_implementation="eager")).eval()
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    if weights:
        made.load_state_dict(weights)
    return made


def steer(model):
    model.model.layers[1].register_forward_hook(lambda module, given, out: out + direction)


def look(name, model):
    acts = torch.allclose(model(prompt).logits, steered, atol=1e-4)
    out = model(prompt, output_hidden_states=True, output_attentions=True)
    print(f"{name}: the steering acts {acts}, {len(out.hidden_states)} hidden states, {len(out.attentions)} attentions")


model = fresh()
bare = model(prompt).logits
steer(model)
steered = model(prompt).logits
look("before", model)
place = dict(layer=0, component="block_output", unit="pos", intervention_type=pyvene.CollectIntervention)
intervened = pyvene.IntervenableModel(pyvene.IntervenableConfig([place]), model=model)
look("made, not called", model)
(answer, _), _ = intervened({"input_ids": prompt}, None, {"base": 4}, output_original_output=True)
same = [torch.allclose(answer.logits, logits, atol=1e-4) for logits in (steered, bare)]
print(f"the answer without an intervention: steered {same[0]}, that of the bare model {same[1]}")
look("called", model)
steer(model)
look("put on again", model)
other = fresh(model.state_dict())
steer(other)
look("the same weights in a fresh model", other)
PY
cd "$folder"
export HF_HUB_OFFLINE=1
env/bin/python -W ignore look.py > seen 2> errors || { cat errors; exit 1; }
sed -i '/^nnsight is not detected/d' seen # it prints where no nnsight is
cat seen
diff seen - <<'SEEN'
before: the steering acts True, 4 hidden states, 3 attentions
made, not called: the steering acts True, 4 hidden states, 3 attentions
the answer without an intervention: steered False, that of the bare model True
called: the steering acts False, 0 hidden states, 0 attentions
put on again: the steering acts True, 0 hidden states, 0 attentions
the same weights in a fresh model: the steering acts True, 4 hidden states, 3 attentions
SEEN
