#!/usr/bin/env bash
# eai-sparsify 1.3.3 (torch 2.13.0): a dictionary or transcoder with `multi_topk` that is called gives the
# reconstruction of 4k latents, and without the skip connection; the error that it names belongs to another one.
#
# The guess was: `multi_topk` is a term of the loss in training, and what a call returns is what `encode` and `decode`
# give, the k latents of its config, "activations of the top-k latents" in its words. Seen: with the switch on, `sae_out`,
# `latent_acts` and `latent_indices` are overwritten by those of the second decoding, of 4k latents, in eval mode and
# without gradients too, since the switch is read from cfg.json with the checkpoint. Of a transcoder's the skip is not
# added again. `fvu` is that of the k latents, so it is not the error of the `sae_out` beside it. Whoever puts `sae_out`
# in the place of an activation measures another dictionary; `decode(*encode(x)[:2])`, plus the skip, is the one meant.
# Output seen, for k = 8:
#   dictionary, multi_topk False: latents encoded 8, returned 8; the same reconstruction True; fvu is that of sae_out True
#   dictionary, multi_topk True: latents encoded 8, returned 32; the same reconstruction False; fvu is that of sae_out False
#   transcoder, multi_topk False: latents encoded 8, returned 8; the same reconstruction True; fvu is that of sae_out True
#   transcoder, multi_topk True: latents encoded 8, returned 32; the same reconstruction False; fvu is that of sae_out False
#   what the last returned is 32 latents without the skip: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 numpy==2.3.5 eai-sparsify==1.3.3 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
cat > "$folder/look.py" <<'PY'
import torch
from sparsify import SparseCoder, SparseCoderConfig

torch.set_grad_enabled(False)
for name, transcodes in (("dictionary", False), ("transcoder", True)):
    for multi in (False, True):
        torch.manual_seed(0)
        settings = dict(num_latents=256, k=8, multi_topk=multi, transcode=transcodes, skip_connection=transcodes)
        saved = SparseCoder(16, SparseCoderConfig(**settings))
        for weight in saved.parameters():
            weight.normal_(std=0.3)
        saved.save_to_disk("saved")
        coder = SparseCoder.load_from_disk("saved").eval()
        x, y = torch.randn(2, 10, 16)
        y = y if transcodes else x
        acts, indices, before = coder.encode(x)
        skip = x @ coder.W_skip.mT if transcodes else torch.zeros_like(x)
        out = coder(x, y)
        same = torch.allclose(out.sae_out, coder.decode(acts, indices) + skip, atol=1e-4)
        error = (y - out.sae_out).pow(2).sum() / (y - y.mean(0)).pow(2).sum()
        print(
            f"{name}, multi_topk {multi}: latents encoded {acts.shape[-1]}, returned {out.latent_acts.shape[-1]}; "
            f"the same reconstruction {same}; fvu is that of sae_out {torch.allclose(out.fvu, error, rtol=1e-3)}"
        )
without = coder.decode(*before.topk(32))
print("what the last returned is 32 latents without the skip:", torch.allclose(out.sae_out, without, atol=1e-4))
PY
cd "$folder"
env/bin/python -W ignore look.py > seen 2> errors || { cat errors; exit 1; }
sed -i '/^Triton not installed/d' seen # it prints where no Triton is
cat seen
diff seen - <<'SEEN'
dictionary, multi_topk False: latents encoded 8, returned 8; the same reconstruction True; fvu is that of sae_out True
dictionary, multi_topk True: latents encoded 8, returned 32; the same reconstruction False; fvu is that of sae_out False
transcoder, multi_topk False: latents encoded 8, returned 8; the same reconstruction True; fvu is that of sae_out True
transcoder, multi_topk True: latents encoded 8, returned 32; the same reconstruction False; fvu is that of sae_out False
what the last returned is 32 latents without the skip: True
SEEN
