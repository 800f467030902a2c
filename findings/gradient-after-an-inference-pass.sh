#!/usr/bin/env bash
# bitsandbytes 0.50.2 (torch 2.13.0), on a CPU with avx512_bf16: once a 4-bit layer has run without gradients, no gradient
# passes it any more, in train mode neither, and the gradients of what lies in front of it are wrong without an error.
#
# The guess was: a Linear4bit gives the gradient of its dequantised weight (as its docs of QLoRA say, gradients pass
# through the frozen 4-bit weights into the adapters), before an evaluation and after it. Seen: before, so, to rounding.
# The first forward pass in eval mode without gradients lays the weight out anew for a kernel that registers no
# derivative, and nothing lays it back: from then on the gradient that should come through the layer is absent. torch
# says in a UserWarning that this may be silently incorrect. Where there is another way around the layer, a residual
# connection or an adapter beside it, the backward pass runs and gives the rest only: so for an adapter in front
# of two such layers with a residual connection around each. Whoever evaluates before
# training on such a CPU (generate, then fit) trains adapters with these gradients.
# Output seen:
#   one layer: gradient before an inference pass True, after it False
#   adapter in front of two layers, each with a way around: gradient before True, after False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 bitsandbytes==0.50.2 numpy==2.3.5 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
cat > "$folder/look.py" <<'PY'
import sys

import bitsandbytes as bnb
import torch
from torch import nn

if not bnb.functional.has_avx512bf16():
    print("this CPU has no avx512_bf16: nothing to see here")
    sys.exit()
torch.manual_seed(0)
F = torch.nn.functional


def packed():
    """A 4-bit layer in train mode, and its weight as it is dequantised."""
    plain = nn.Linear(64, 64, bias=False)
    layer = bnb.nn.Linear4bit(64, 64, bias=False, quant_type="nf4", compute_dtype=torch.float32)
    layer.load_state_dict(plain.state_dict())
    layer = layer.to("cpu").train()
    return layer, bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).view(64, 64).clone()


def evaluated(*layers):
    for layer in layers:
        layer.eval()
        with torch.no_grad():
            layer(torch.randn(1, 5, 64))
        layer.train()


def alike(found, expected):
    return found is not None and float((found - expected).norm()) < 0.02 * float(expected.norm())


(one, w1), (two, w2) = packed(), packed()
x, weights = torch.randn(1, 5, 64), torch.randn(1, 5, 64)


def of_one():
    given = x.clone().requires_grad_()
    out = one(given)
    return torch.autograd.grad((out * weights).sum(), given, allow_unused=True)[0] if out.requires_grad else None


adapter = nn.Parameter(torch.randn(64, 64) / 8)


def of_adapter(first, second):
    stream = x @ adapter
    stream = stream + first(torch.tanh(stream))
    stream = stream + second(torch.tanh(stream))
    return torch.autograd.grad((stream * weights).sum(), adapter)[0]


right = weights @ w1
should = of_adapter(lambda h: F.linear(h, w1), lambda h: F.linear(h, w2))
before = alike(of_one(), right), alike(of_adapter(one, two), should)
evaluated(one, two)
after = alike(of_one(), right), alike(of_adapter(one, two), should)
print(f"one layer: gradient before an inference pass {before[0]}, after it {after[0]}")
print(f"adapter in front of two layers, each with a way around: gradient before {before[1]}, after {after[1]}")
PY
found=$("$folder/env/bin/python" -W ignore "$folder/look.py" 2> "$folder/errors") || { cat "$folder/errors"; exit 1; }
echo "$found"
[ "$found" = "this CPU has no avx512_bf16: nothing to see here" ] && exit 0
expected="one layer: gradient before an inference pass True, after it False
adapter in front of two layers, each with a way around: gradient before True, after False"
[ "$found" = "$expected" ] || { echo "this has changed"; exit 1; }
