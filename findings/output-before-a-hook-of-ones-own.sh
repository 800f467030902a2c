#!/usr/bin/env bash
# nnsight 0.8.1 with torch 2.13.0: in a trace `module.output` is what the module gave before a forward hook of one's own
# changed it, also where the hook was there before the model was wrapped.
#
# The guess was: hooks that were registered first run first, so that a steering hook put on a model before nnsight wraps
# it is in every `.output` that is read. Seen: the hook's change is in what the next module is given (`.input`), and in
# what a plain call of the model returns, but not in the `.output` of the module that it stands on, registered before or
# after the wrapping. On the whole model nothing stands behind it: the trace's `model.output` is then another answer
# than the call's, without a word. Whoever reads logits or activations by `.output` from a model with steering or
# ablation hooks reads those of the model without them at that place; reading the next module's input sees them.
# Output seen:
#   hook before wrapping: output 1.0, next input 11.0, answer in the trace 11.0, of a call 111.0
#   hook after wrapping:  output 1.0, next input 11.0, answer in the trace 11.0, of a call 111.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 nnsight==0.8.1 numpy 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
cat > "$folder/look.py" <<'PY'
import nnsight
import torch
from torch import nn


def hooked(net):
    net[0].register_forward_hook(lambda module, given, out: out + 10)
    net.register_forward_hook(lambda module, given, out: out + 100)


def look(first):
    """(output of part 0, input of part 1, output of the whole in a trace, the same of a call) for an input of ones."""
    net, x = nn.Sequential(nn.Identity(), nn.Identity()), torch.ones(1, 1)
    if first:
        hooked(net)
    traced = nnsight.NNsight(net)
    if not first:
        hooked(net)
    with traced.trace(x):
        out = traced[0].output.save()
        given = traced[1].input.save()
        answer = traced.output.save()
    return [float(t) for t in (out, given, answer, net(x))]


for first, name in ((True, "before wrapping:"), (False, "after wrapping: ")):
    out, given, answer, called = look(first)
    print(f"hook {name} output {out}, next input {given}, answer in the trace {answer}, of a call {called}")
PY
found=$("$folder/env/bin/python" "$folder/look.py" 2> "$folder/errors") || { cat "$folder/errors"; exit 1; }
echo "$found"
expected='hook before wrapping: output 1.0, next input 11.0, answer in the trace 11.0, of a call 111.0
hook after wrapping:  output 1.0, next input 11.0, answer in the trace 11.0, of a call 111.0'
[ "$found" = "$expected" ] || { echo "this has changed"; exit 1; }
