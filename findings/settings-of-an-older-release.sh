#!/usr/bin/env bash
# transformers 5.23.0: a Llama 4 configuration that transformers 4.51.3 wrote, and the one that was published with the
# checkpoints, is refused: `attn_temperature_tuning` is 4 there, and only true or false are read.
#
# The guess was: as of every other family that both releases know, the default configuration that the older one saves is
# read by the newer one. 4.51 had 4 as the default of that switch (it was only ever asked whether it is true), so the
# published config.json of Llama-4-Scout and what was fine-tuned from it say 4; since then the default is True, and the
# type of every entry is checked. Seen: the models of type llama4 and llama4_text alone, of 12 tried here, end in a
# StrictDataclassFieldValidationError, for a config and for a tokenizer alike; with true in place of 4 both are read.
# Output seen:
#   written by 4.51.3, read by 5.23.0: cohere2 deepseek_v3 gemma3_text glm4 granite llama mistral mixtral olmo2 qwen2
#   refused: llama4 (attn_temperature_tuning 4), llama4_text (attn_temperature_tuning 4)
#   with true in its place: read
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 4.51.3 5.23.0; do
  "${PYTHON:-python3}" -m venv "$folder/$version"
  "$folder/$version/bin/pip" install -q "transformers==$version" 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
done
cat > "$folder/write.py" <<'PY'
import sys

from transformers import AutoConfig

for kind in sys.argv[2:]:
    AutoConfig.for_model(kind).save_pretrained(f"{sys.argv[1]}/{kind}")
PY
cat > "$folder/look.py" <<'PY'
import json
import sys
from pathlib import Path

from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import AutoConfig

read, refused = [], []
for folder in sorted(Path(sys.argv[1]).iterdir()):
    try:
        AutoConfig.from_pretrained(folder)
        read.append(folder.name)
    except StrictDataclassFieldValidationError as reason:
        assert "expected bool, got int (value: 4)" in str(reason), reason
        file = folder / "config.json"
        text = file.read_text()
        assert text.count('"attn_temperature_tuning": 4') == 1
        refused.append(f"{folder.name} (attn_temperature_tuning 4)")
        file.write_text(text.replace('"attn_temperature_tuning": 4', '"attn_temperature_tuning": true'))
        config = json.loads(file.read_text())
        again = AutoConfig.from_pretrained(folder)
        assert getattr(again, "text_config", again).attn_temperature_tuning is True, config
print("written by 4.51.3, read by 5.23.0:", *read)
print("refused:", ", ".join(refused))
print("with true in its place: read")
assert [name.split()[0] for name in refused] == ["llama4", "llama4_text"], "it has changed"
PY
cd "$folder"
export HF_HUB_OFFLINE=1
4.51.3/bin/python -W ignore write.py saved cohere2 deepseek_v3 gemma3_text glm4 granite llama llama4 llama4_text \
  mistral mixtral olmo2 qwen2 2> errors || { cat errors; exit 1; }
5.23.0/bin/python -W ignore look.py saved 2> errors || { cat errors; exit 1; }
