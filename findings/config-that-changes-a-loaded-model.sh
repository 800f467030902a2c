#!/usr/bin/env bash
# transformers 5.23.0: a configuration of a vision-language model that is made of a loaded text model's configuration,
# LlavaConfig(text_config=model.config), turns that text model into one that looks ahead.
#
# The guess was: a configuration is made of a copy. It holds the very object, and making it sets the attention
# implementation in that object to None. The model in memory reads it at every pass, and without one no causal mask is
# made: the same call gives other logits than before, and what stands at a position depends on the words after it. There
# is no error; one line of the log says that something may have gone wrong with the dispatch. An answer is to give
# copy.deepcopy(model.config). Seen for every composite configuration that was tried, whether sdpa or eager was chosen:
#   gemma3, llava, paligemma, mistral3: the same object, sdpa -> None, other logits, looks ahead; with a copy: as it was
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 transformers==5.23.0 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
cat > "$folder/look.py" <<'PY'
import copy

import torch
import transformers
from transformers import AutoModelForCausalLM

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
SIZES |= dict(num_key_value_heads=2, head_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2)
PAIRS = {"gemma3": ("Gemma3Text", "Gemma3"), "llava": ("Llama", "Llava"), "paligemma": ("Gemma", "PaliGemma")}
PAIRS |= {"mistral3": ("Mistral", "Mistral3")}
prompt = torch.arange(3, 13)[None]
longer = prompt.clone()
longer[0, -1] = 40  # another last word


@torch.no_grad()
def asked(model):
    """(the logits, how far those before the last word follow the last word)."""
    logits = model(prompt).logits
    return logits, float((logits - model(longer).logits)[:, :-1].abs().max())


for name, (text, whole) in PAIRS.items():
    for wanted in ("sdpa", "eager"):
        torch.manual_seed(0)
        config = getattr(transformers, f"{text}Config")(**SIZES)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=wanted).eval()
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.3)
        before, ahead = asked(model)
        assert ahead < 1e-4, f"{name} looks ahead by itself"
        composite = getattr(transformers, f"{whole}Config")
        composite(text_config=copy.deepcopy(model.config))
        assert torch.equal(asked(model)[0], before) and model.config._attn_implementation == wanted
        made = composite(text_config=model.config)
        after, ahead = asked(model)
        assert made.text_config is model.config, "it has changed: a copy is made"
        assert model.config._attn_implementation is None, "it has changed: the choice is kept"
        assert float((after - before).abs().max()) > 0.1 and ahead > 0.1, "it has changed: the logits are those before"
        print(f"{name}, {wanted}: the same object, {wanted} -> None, other logits, looks ahead; with a copy: as it was")
PY
cd "$folder"
env/bin/python -W ignore look.py 2> errors || { cat errors; exit 1; }
