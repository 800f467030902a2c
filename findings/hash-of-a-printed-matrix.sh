#!/usr/bin/env bash
# tuned-lens 0.2.0 (torch 2.13.0, transformers 5.23.0, numpy 2.3.5): the hash by which a lens knows the model that it was
# trained for covers nine numbers of the unembedding.
#
# The guess was: `unembed_hash` in a lens's config.json is taken over the unembedding's bytes, so that the warning "does
# not match the lens' hash" comes for every other model. Seen: it is taken over the matrix as numpy prints it, and of
# more than 1,000 numbers numpy prints the corners, three rows by three columns each. Two models whose unembeddings
# differ in 4,994 of 5,000 rows have one hash, and the lens of the one loads for the other without a word; with one
# number of a corner changed the warning comes. As printed numbers are rounded, so are hashed ones: a corner that moves
# by less than the last printed digit is not noticed either. A hash that matches says that the nine corners look alike,
# no more; whoever checks that a lens is for this model compares weights, or the KL of the last layer.
# Output seen:
#   4,994 rows of 5,000 differ: same hash True, warnings 0
#   one number of a corner differs: same hash False, warnings 1
#   a corner differs by 1e-06: same hash True, warnings 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q tuned-lens==0.2.0 torch==2.13.0 transformers==5.23.0 numpy==2.3.5 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
cat > "$folder/look.py" <<'PY'
import copy
import logging
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from tuned_lens.nn.lenses import TunedLens

torch.manual_seed(0)
sizes = dict(vocab_size=5000, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4)
first = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
TunedLens.from_model(first).save(sys.argv[1])
own = TunedLens.from_model(first).unembed.unembedding_hash()
said = []
logging.getLogger().addFilter(lambda record: said.append(record.getMessage()))


def look(name, change):
    other = copy.deepcopy(first)
    with torch.no_grad():
        change(other.lm_head.weight)
    said.clear()
    lens = TunedLens.from_model_and_pretrained(other, sys.argv[1])
    about = [text for text in said if "hash" in text]
    print(f"{name}: same hash {lens.unembed.unembedding_hash() == own}, warnings {len(about)}")


look("4,994 rows of 5,000 differ", lambda w: w[3:-3].normal_())
look("one number of a corner differs", lambda w: w[0, 0].add_(1))
look("a corner differs by 1e-06", lambda w: w[:3, :3].add_(1e-6))
PY
found=$("$folder/env/bin/python" "$folder/look.py" "$folder/lens" 2> "$folder/errors") || { cat "$folder/errors"; exit 1; }
echo "$found"
expected="4,994 rows of 5,000 differ: same hash True, warnings 0
one number of a corner differs: same hash False, warnings 1
a corner differs by 1e-06: same hash True, warnings 0"
[ "$found" = "$expected" ] || { echo "this has changed"; exit 1; }
