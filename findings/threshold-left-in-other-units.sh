#!/usr/bin/env bash
# llamascopium 2.0.0b34 (torch 2.13.0): `standardize_parameters_of_dataset_norm()` changes what a JumpReLU
# dictionary computes.
#
# The guess was: as its docstrings say, switching from "dataset-wise" to "inference" mode "doesn't affect the encoding
# and decoding as a whole ... the reconstructed activations keep the same". Seen, for relu and topk: so, to rounding.
# For jumprelu the threshold is left in the units of scaled activations while the biases are taken out of them, so other
# features pass, and the reconstruction is another one. (With s the input's factor, s_out the output's: before, a feature
# passes where s x W + b > t; after, where x W + b / s > t. With the decoder's norm the factor is s_out.) Whoever saves with
# `fold_activation_scale=True` saves that other dictionary. Dividing the threshold by s (with the decoder's norm: by
# s_out) keeps the words true.
# Output seen, of 540 activations each:
#   relu, decoder norm False: the same reconstruction True, features that come or go 0
#   relu, decoder norm True: the same reconstruction True, features that come or go 0
#   topk, decoder norm False: the same reconstruction True, features that come or go 0
#   topk, decoder norm True: the same reconstruction True, features that come or go 0
#   jumprelu, decoder norm False: the same reconstruction False, features that come or go 72
#   jumprelu, decoder norm True: the same reconstruction False, features that come or go 41
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Only the dictionary itself is imported; of transformer-lens two classes that hold hooks are enough, and stand in below.
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 numpy==2.3.5 einops==0.8.2 \
  jaxtyping==0.3.11 pydantic==2.14.4 safetensors==0.8.0 huggingface_hub==2.4.0 requests==2.34.2 tqdm==4.70.1 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
"$folder/env/bin/pip" download -q --no-deps llamascopium==2.0.0b34 -d "$folder" 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
(cd "$folder" && "$folder/env/bin/python" -m zipfile -e llamascopium-*.whl package)
cat > "$folder/look.py" <<'PY'
import sys
import types
from importlib.machinery import ModuleSpec

import torch

package = types.ModuleType("llamascopium")
package.__path__ = ["package/llamascopium"]
models = types.ModuleType("llamascopium.models")
models.__path__ = ["package/llamascopium/models"]


class HookedRootModule(torch.nn.Module):
    def setup(self): ...


class Anything(types.ModuleType):
    """A module of transformer-lens that nothing here calls."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("transformer_lens", "transformers", "datasets", "pandas"):
            return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        found = Anything(spec.name)
        if spec.name == "transformer_lens.hook_points":
            found.HookedRootModule, found.HookPoint = HookedRootModule, torch.nn.Identity
        return found

    def exec_module(self, module): ...


sys.meta_path.insert(0, Finder())
sys.modules |= {"llamascopium": package, "llamascopium.models": models}
from llamascopium.models.sae import SAEConfig, SparseAutoEncoder

HOOK = "blocks.1.hook_resid_post"
for act in ("relu", "topk", "jumprelu"):
    for norm in (False, True):
        cfg = SAEConfig(
            hook_point_in=HOOK, hook_point_out=HOOK, d_model=6, expansion_factor=3, act_fn=act, top_k=4,
            norm_activation="dataset-wise", sparsity_include_decoder_norm=norm,
        )
        torch.manual_seed(0)
        sae = SparseAutoEncoder(cfg)
        for parameter in sae.parameters():
            parameter.data.normal_()
        sae.set_dataset_average_activation_norm({HOOK: 7.5})
        x = 2 * torch.randn(30, 6)

        def run():
            scaled, factor = sae.normalize_activations({HOOK: x}, return_scale_factor=True)
            active = sae.encode(scaled[HOOK])
            return active.detach(), sae.denormalize_activations({HOOK: sae.decode(active)}, factor)[HOOK].detach()

        before, out = run()
        sae.standardize_parameters_of_dataset_norm()
        after, now = run()
        same, flips = torch.allclose(now, out, atol=1e-3), int(((before > 0) != (after > 0)).sum())
        print(f"{act}, decoder norm {norm}: the same reconstruction {same}, features that come or go {flips}")
PY
found=$(cd "$folder" && "$folder/env/bin/python" -W ignore look.py 2> "$folder/errors") || { cat "$folder/errors"; exit 1; }
echo "$found"
expected="relu, decoder norm False: the same reconstruction True, features that come or go 0
relu, decoder norm True: the same reconstruction True, features that come or go 0
topk, decoder norm False: the same reconstruction True, features that come or go 0
topk, decoder norm True: the same reconstruction True, features that come or go 0
jumprelu, decoder norm False: the same reconstruction False, features that come or go 72
jumprelu, decoder norm True: the same reconstruction False, features that come or go 41"
[ "$found" = "$expected" ] || { echo "this has changed"; exit 1; }
