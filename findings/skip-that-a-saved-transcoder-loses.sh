#!/usr/bin/env bash
# circuit-tracer 0.5.0 (torch 2.13.0): a cross-layer transcoder with a skip connection that is saved and loaded computes
# something else; its skip is not written, and nothing is said.
#
# The guess was: `load_clt` gives back what `CrossLayerTranscoder.to_safetensors` wrote, as the two functions for a
# transcoder of one layer do. Seen: encoders, decoders and biases are written, `W_skip` is not, and what is loaded has
# none. Nor can it be added to the files: `load_clt` builds a skip if it has read a `W_skip`, and reads none. `decode` of
# what is loaded takes the inputs and leaves them unused, so calls written for the first go on without an error. The
# library's cache of converted transcoders uses the same two functions. `state_dict()` holds the skip: torch.save and
# `load_state_dict` lose nothing.
# Output seen:
#   one layer, skip False: written False, loaded False; encodes alike True, decodes alike True
#   one layer, skip True: written True, loaded True; encodes alike True, decodes alike True
#   cross-layer, skip False: written False, loaded False; encodes alike True, decodes alike True
#   cross-layer, skip True: written False, loaded False; encodes alike True, decodes alike False
#   what is missing is the skip: True; with W_skip put into the files, loaded False; by its state_dict, decodes alike True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
# What its transcoders import; the rest of what the package needs, for running models, is left out.
"$folder/env/bin/pip" install -q torch==2.13.0 numpy==2.3.5 transformers==4.57.3 pydantic==2.12.4 2> "$folder/errors" ||
  { cat "$folder/errors"; exit 1; }
"$folder/env/bin/pip" install -q --no-deps circuit-tracer==0.5.0 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
cat > "$folder/look.py" <<'PY'
import pathlib

import torch
from circuit_tracer.transcoder import SingleLayerTranscoder
from circuit_tracer.transcoder.cross_layer_transcoder import CrossLayerTranscoder, load_clt
from circuit_tracer.transcoder.single_layer_transcoder import load_relu_transcoder
from safetensors.torch import load_file, save_file

torch.set_grad_enabled(False)
torch.manual_seed(0)
LAYERS, WIDTH, FEATURES = 3, 16, 48
whole = dict(lazy_encoder=False, lazy_decoder=False, dtype=torch.float32, device=torch.device("cpu"))


def one_layer(skip):
    return SingleLayerTranscoder(WIDTH, FEATURES, torch.relu, 0, skip_connection=skip, **whole)


def cross_layer(skip):
    return CrossLayerTranscoder(LAYERS, FEATURES, WIDTH, skip_connection=skip, **whole)


def run(transcoder, x):
    return transcoder.decode(transcoder.encode(x), x)


def alike(one, other):
    return torch.allclose(one, other, atol=1e-4)


for name, make, x in (
    ("one layer", one_layer, torch.randn(9, WIDTH)),
    ("cross-layer", cross_layer, torch.randn(LAYERS, 9, WIDTH)),
):
    for skip in (False, True):
        made = make(skip)
        for weight in made.parameters():
            weight.normal_(std=0.5)
        place = pathlib.Path(f"{name} {skip}")
        place.mkdir()
        if make is one_layer:
            made.to_safetensors(str(place / "layer_0.safetensors"))
            loaded = load_relu_transcoder(str(place / "layer_0.safetensors"), 0, **whole)
        else:
            made.to_safetensors(str(place))
            loaded = load_clt(str(place), **whole)
        written = any("skip" in key for file in place.iterdir() for key in load_file(file))
        print(
            f"{name}, skip {skip}: written {written}, loaded {loaded.W_skip is not None}; encodes alike "
            f"{alike(made.encode(x), loaded.encode(x))}, decodes alike {alike(run(made, x), run(loaded, x))}"
        )
missing = alike(run(made, x) - run(loaded, x), x @ made.W_skip)
for layer in range(LAYERS):
    file = place / f"W_enc_{layer}.safetensors"
    skip = made.W_skip[layer].clone()
    save_file(load_file(file) | {"W_skip": made.W_skip.data, f"W_skip_{layer}": skip}, file)
added = load_clt(str(place), **whole).W_skip is not None
torch.save(made.state_dict(), "state")
kept = cross_layer(True)
kept.load_state_dict(torch.load("state"))
print(
    f"what is missing is the skip: {missing}; with W_skip put into the files, loaded {added}; "
    f"by its state_dict, decodes alike {alike(run(made, x), run(kept, x))}"
)
PY
cd "$folder"
export HF_HUB_OFFLINE=1
env/bin/python -W ignore look.py > seen 2> errors || { cat errors; exit 1; }
cat seen
diff seen - <<'SEEN'
one layer, skip False: written False, loaded False; encodes alike True, decodes alike True
one layer, skip True: written True, loaded True; encodes alike True, decodes alike True
cross-layer, skip False: written False, loaded False; encodes alike True, decodes alike True
cross-layer, skip True: written False, loaded False; encodes alike True, decodes alike False
what is missing is the skip: True; with W_skip put into the files, loaded False; by its state_dict, decodes alike True
SEEN
