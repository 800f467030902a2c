"""A model whose vocabulary, name and prediction are an attack on the page. Its source also runs in a notebook cell."""

from __future__ import annotations

from typing import Any

#: One token. Where it is read as HTML it closes the script, adds an image, and its handler changes the title.
ATTACK = " </script><img src=x onerror=document.title='PWNED'>"
#: What may come between.
PROMPT = f"The capital of{ATTACK} is"


def hostile_model(aw: Any) -> Any:
    """The embedded model with one more token, which it predicts above all others."""
    from pathlib import Path

    import torch
    import transformers

    folder = Path(aw.__file__).parent / "demo" / "files"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer.add_tokens([ATTACK], special_tokens=False)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.name_or_path = ATTACK
    with torch.no_grad():
        # Four times the embedding of the best token is four times its logit.
        best = model(**tokenizer("The capital of France is", return_tensors="pt")).logits[0, -1].argmax()
        rows = model.get_output_embeddings().weight
        rows[len(tokenizer) - 1] = 4 * rows[best]
    return aw.load(model, tokenizer=tokenizer)
