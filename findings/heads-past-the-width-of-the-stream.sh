#!/usr/bin/env bash
# pyvene 0.1.8 (transformers 5.23.0, torch 2.13.0): where the heads together are wider than the stream, as in Gemma 7B (16
# heads of 256, a stream of 3,072), an exchange of attention outputs leaves the last heads as they were.
#
# The guess was: `attention_value_output`, which is what the output projection reads, is exchanged whole. Seen: its width
# is written down as `hidden_size`, and an intervention swaps as many numbers as that and no more. Of four heads of 16 in
# a stream of 48 the first three are exchanged and the fourth is not, and what is collected has 48 of the 64 numbers; the
# logits are not those that a hook gives which exchanges the input of `o_proj`. By heads (`head_attention_value_output`)
# it is right for Gemma, whose entry asks for `head_dim`; for Llama and Mistral with a `head_dim` of their own a head counts
# as hidden_size / heads = 12 numbers, so of every head a quarter stays. No error and no warning. An effect that the last
# heads carry is not found, and an exchange of everything does not move everything.
# Output seen:
#   Gemma by default: a stream of 3072, heads of 4096 together
#   gemma: collected 48 of 64; numbers exchanged by head [16, 16, 16, 0], logits as by a hook False; head by head [16, 16, 16, 16], True
#   gemma2: collected 48 of 64; numbers exchanged by head [16, 16, 16, 0], logits as by a hook False; head by head [16, 16, 16, 16], True
#   llama: collected 48 of 64; numbers exchanged by head [16, 16, 16, 0], logits as by a hook False; head by head [12, 12, 12, 12], False
#   mistral: collected 48 of 64; numbers exchanged by head [16, 16, 16, 0], logits as by a hook False; head by head [12, 12, 12, 12], False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 transformers==5.23.0 numpy==2.3.5 pyvene==0.1.8 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
cat > "$folder/look.py" <<'PY'
import pyvene
import torch
from torch.nn.modules.module import register_module_forward_hook
from transformers import AutoConfig, AutoModelForCausalLM, GemmaConfig

torch.set_grad_enabled(False)
SIZES = dict(vocab_size=64, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
SIZES |= dict(num_key_value_heads=2, head_dim=16)
POSITION = 4
base, source = torch.arange(3, 13)[None], torch.arange(23, 33)[None]
WHOLE = dict(component="attention_value_output", unit="pos"), {"sources->base": POSITION}
EACH = [[[[0, 1, 2, 3]], [[POSITION]]]]
EACH = dict(component="head_attention_value_output", unit="h.pos"), {"sources->base": (EACH, EACH)}


def intervene(model, settings, kind):
    config = pyvene.IntervenableConfig([dict(layer=0, intervention_type=kind, **settings)])
    return pyvene.IntervenableModel(config, model=model)


def read(model, run):
    """(what `run` returns, what the output projection of layer 0 reads meanwhile at the position, by head)."""
    seen, o_proj = [], model.model.layers[0].self_attn.o_proj
    hook = register_module_forward_hook(lambda module, given, out: seen.append(given[0]) if module is o_proj else None)
    answer = run()
    hook.remove()
    return answer, seen[-1][0, POSITION].view(4, 16).clone()


def exchanged(model, settings, where, other, right):
    """The numbers of each head that are then the source's, and whether the logits are those of the hook."""
    intervened = intervene(model, settings, pyvene.VanillaIntervention)
    (_, out), now = read(model, lambda: intervened({"input_ids": base}, [{"input_ids": source}], where))
    count = (now - other).abs().lt(1e-6).sum(-1).tolist()
    return count, torch.allclose(out.logits, right, atol=1e-4)


default = GemmaConfig()
together = default.num_attention_heads * default.head_dim
print(f"Gemma by default: a stream of {default.hidden_size}, heads of {together} together")
for kind in ("gemma", "gemma2", "llama", "mistral"):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES), attn_implementation="eager").eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    _, other = read(model, lambda: model(source))

    def put(module, given):
        changed = given[0].clone()
        changed[0, POSITION] = other.reshape(-1)
        return (changed,)

    hook = model.model.layers[0].self_attn.o_proj.register_forward_pre_hook(put)
    right = model(base).logits
    hook.remove()
    (_, collected), _ = intervene(model, WHOLE[0], pyvene.CollectIntervention)({"input_ids": base}, None, {"base": POSITION})
    whole, whole_right = exchanged(model, *WHOLE, other, right)
    each, each_right = exchanged(model, *EACH, other, right)
    print(
        f"{kind}: collected {collected[0].numel()} of 64; numbers exchanged by head {whole}, "
        f"logits as by a hook {whole_right}; head by head {each}, {each_right}"
    )
PY
cd "$folder"
export HF_HUB_OFFLINE=1
env/bin/python -W ignore look.py > seen 2> errors || { cat errors; exit 1; }
sed -i '/^nnsight is not detected/d' seen # it prints where no nnsight is
cat seen
diff seen - <<'SEEN'
Gemma by default: a stream of 3072, heads of 4096 together
gemma: collected 48 of 64; numbers exchanged by head [16, 16, 16, 0], logits as by a hook False; head by head [16, 16, 16, 16], True
gemma2: collected 48 of 64; numbers exchanged by head [16, 16, 16, 0], logits as by a hook False; head by head [16, 16, 16, 16], True
llama: collected 48 of 64; numbers exchanged by head [16, 16, 16, 0], logits as by a hook False; head by head [12, 12, 12, 12], False
mistral: collected 48 of 64; numbers exchanged by head [16, 16, 16, 0], logits as by a hook False; head by head [12, 12, 12, 12], False
SEEN
