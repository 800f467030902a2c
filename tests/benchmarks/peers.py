"""What beside_peers.py measures inside the environment of each: ``python peers.py NAME FOLDER``, which prints JSON."""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

FAMILIES = ("gpt2", "llama", "qwen3", "gemma2", "gemma3_text")
IDS = [5, 17, 3, 29, 41, 8]
#: The model that times are measured on.
LAYERS, WIDTH, HEADS, VOCABULARY, TOKENS, REPEATS = 6, 256, 8, 8000, 128, 9


def loaded(path: str, **how: Any) -> Any:
    """The model as transformers loads it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager", **how).eval()


def tokenizer(path: str) -> Any:
    """One token a word; read from its file, which every release of transformers can."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=f"{path}/tokenizer.json", unk_token="<unk>", eos_token="<eos>")


def bridge(path: str) -> Any:
    """TransformerLens 4, weights processed as its documentation asks for before logits are attributed."""
    import torch
    from transformer_lens import TransformerBridge

    made = TransformerBridge.boot_transformers(
        path, hf_model=loaded(path), tokenizer=tokenizer(path), dtype=torch.float32
    )
    made.enable_compatibility_mode()
    made.set_use_attn_result(True)
    return made


def hooked(path: str) -> Any:
    """TransformerLens 2: a folder is not loaded by its name; GPT-2's converter is called by hand."""
    import transformer_lens
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    hf = loaded(path)
    c = hf.config
    if c.model_type != "gpt2":
        transformer_lens.HookedTransformer.from_pretrained(path, hf_model=hf, tokenizer=tokenizer(path))
    config = transformer_lens.HookedTransformerConfig(
        n_layers=c.n_layer, d_model=c.n_embd, n_ctx=c.n_positions, d_head=c.n_embd // c.n_head, n_heads=c.n_head,
        d_mlp=c.n_inner or 4 * c.n_embd, d_vocab=c.vocab_size, act_fn="gelu_new", normalization_type="LN",
        eps=c.layer_norm_epsilon, device="cpu", use_attn_result=True,
    )  # fmt: skip
    made = transformer_lens.HookedTransformer(config)
    made.load_and_process_state_dict(
        convert_gpt2_weights(hf, config), fold_ln=True, center_writing_weights=True, center_unembed=True
    )
    return made.eval()


def heads_by_lens(model: Any, ids: Any, token: int) -> Any:
    """Every head's, MLP's and embedding's contribution to a logit, as TransformerLens splits it."""
    import torch

    _, cache = model.run_with_cache(ids)
    heads = cache.stack_head_results(layer=-1, pos_slice=-1)
    rest = cache.decompose_resid(layer=-1, mode="mlp", pos_slice=-1)
    return cache.logit_attrs(torch.cat([heads, rest]), tokens=torch.tensor([token]), pos_slice=-1)


def by_lens(make: Callable[[str], Any]) -> Callable[[str, Any, int], dict[str, float]]:
    def tried(path: str, ids: Any, token: int) -> dict[str, float]:
        model = make(path)
        rows, biases = heads_by_lens(model, ids, token), attention_biases(model, ids, token)
        return {"logit": float(model(ids)[0, -1, token]), "sum": float(rows.sum() + biases + model.b_U[token])}

    return tried


def attention_biases(model: Any, ids: Any, token: int) -> Any:
    """What the output biases of the attention layers add, read as the heads are: no head's and no MLP's."""
    import torch

    try:
        biases = model.b_O
    except AttributeError:  # TransformerLens 4 says so of a model that has none
        return 0.0
    _, cache = model.run_with_cache(ids)
    return cache.logit_attrs(biases[:, None], tokens=torch.tensor([token]), pos_slice=-1).sum()


def nnterp(path: str, ids: Any, token: int) -> dict[str, float]:
    """No contributions: the logit lens of the last layer, which should be the model's own logit."""
    from nnterp import StandardizedTransformer

    model = StandardizedTransformer(path)
    with model.trace(ids):
        seen = model.project_on_vocab(model.layers_output[model.num_layers - 1]).save()
        logits = model.logits.save()
    return {"logit": float(logits[0, -1, token]), "lens": float(seen[0, -1, token])}


def tuned(path: str, ids: Any, token: int) -> dict[str, float]:
    """The same of the tuned-lens package."""
    from tuned_lens.nn.lenses import LogitLens

    model = loaded(path)
    out = model(ids, output_hidden_states=True)
    # what it is given for the last layer has passed the final norm in transformers: the stream is caught before it
    held: list[Any] = []
    last = model.get_decoder().layers[-1] if hasattr(model.get_decoder(), "layers") else model.get_decoder().h[-1]
    last.register_forward_hook(lambda m, a, o: held.append(o[0] if isinstance(o, tuple) else o))
    model(ids)
    stream = held[0] if held[0].dim() == 3 else held[0][None]
    seen = LogitLens.from_model(model)(stream, idx=0)
    return {"logit": float(out.logits[0, -1, token]), "lens": float(seen[0, -1, token])}


def bertviz(path: str, ids: Any, token: int) -> dict[str, float]:
    """Patterns alone, which transformers returns."""
    from bertviz import head_view

    out = loaded(path)(ids, output_attentions=True)
    shown = head_view(out.attentions, [f"t{i}" for i in ids[0].tolist()], html_action="return").data
    return {"logit": float(out.logits[0, -1, token]), "bytes": len(shown), "asks": len(fetched(shown))}


def circuitsvis(path: str, ids: Any, token: int) -> dict[str, float]:
    """Arrays of one's own: nothing of a model."""
    import numpy
    from circuitsvis.attention import attention_heads

    shown = attention_heads(attention=numpy.tri(6)[None].repeat(4, 0), tokens=[f"t{i}" for i in IDS])
    return {"bytes": len(str(shown.local_src)), "asks": len(fetched(str(shown.cdn_src)))}


def captum(path: str, ids: Any, token: int) -> dict[str, float]:
    """Integrated gradients of the input words: a sum over words, of what differs from a baseline of zeros."""
    import torch
    from captum.attr import LayerIntegratedGradients

    model = loaded(path)
    with torch.enable_grad():
        way = LayerIntegratedGradients(lambda x: model(x).logits[:, -1, token], model.get_input_embeddings())
        base = torch.zeros_like(ids)
        rows = way.attribute(ids, baselines=base, n_steps=50)
    out, at = model(ids).logits[0, -1, token], model(base).logits[0, -1, token]
    return {"logit": float(out), "difference": float(out - at), "sum of words": float(rows.sum())}


def inseq(path: str, ids: Any, token: int) -> dict[str, float]:
    """The same by inseq, of the word that the model itself would say."""
    import inseq as package

    model = package.load_model(loaded(path), "integrated_gradients", tokenizer=tokenizer(path))
    words = " ".join(f"t{i}" for i in ids[0].tolist())
    asked = dict(n_steps=50, return_convergence_delta=True, attributed_fn="logit", show_progress=False)
    out = model.attribute(words, f"{words} t{token}", **asked)
    rows = out.sequence_attributions[0]
    return {"delta": float(rows.step_scores["deltas"][0]), "words": float(len(rows.source))}


def circuit_tracer(path: str, ids: Any, token: int) -> dict[str, float]:
    """Loaded by name alone."""
    import torch
    from circuit_tracer.replacement_model.replacement_model_transformerlens import TransformerLensReplacementModel
    from circuit_tracer.transcoder.single_layer_transcoder import SingleLayerTranscoder, TranscoderSet

    hf = loaded(path)
    width, layers = hf.config.hidden_size, hf.config.num_hidden_layers
    each = {i: SingleLayerTranscoder(width, 16, torch.nn.functional.relu, i) for i in range(layers)}
    made = TranscoderSet(each, feature_input_hook="hook_resid_mid", feature_output_hook="hook_mlp_out", scan="none")
    TransformerLensReplacementModel.from_pretrained_and_transcoders(
        path, made, hf_model=hf, tokenizer=tokenizer(path), device=torch.device("cpu")
    )
    return {}


def ours(path: str, ids: Any, token: int) -> dict[str, float]:
    """This package."""
    import attrib_widgets as aw

    model = aw.load(path)
    a = aw.attribute(model.run(ids[0].tolist()), token, against=())
    return {"logit": a.actual, "sum": a.total, "parts": len(a.labels)}


PROBES: dict[str, Callable[[str, Any, int], dict[str, float]]] = {
    "attrib_widgets": ours,
    "transformer-lens": by_lens(bridge),
    "transformer-lens-2": by_lens(hooked),
    "circuitsvis": circuitsvis,
    "bertviz": bertviz,
    "tuned-lens": tuned,
    "circuit-tracer": circuit_tracer,
    "nnterp": nnterp,
    "inseq": inseq,
    "captum": captum,
}


def fetched(html: str) -> list[str]:
    """What a page asks other hosts for: scripts, and what a loader is told to fetch."""
    return re.findall(r"https?://[^\s\"'<>]+\.(?:m?js|css|min)", html)


def timed(who: str, path: str) -> float | None:
    """All heads' contributions to one logit, recording included, in plain forward passes."""
    import torch

    ids = torch.randint(0, VOCABULARY, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    hf = loaded(path)
    if who == "attrib_widgets":
        import attrib_widgets as aw

        mine, listed = aw.load(path), ids[0].tolist()
        work: Callable[[], Any] = lambda: aw.attribute(mine.run(listed), 7, against=()).heads  # noqa: E731
    elif who.startswith("transformer-lens"):
        theirs = (bridge if who == "transformer-lens" else hooked)(path)
        work = lambda: heads_by_lens(theirs, ids, 7)  # noqa: E731
    else:
        return None
    plain: Callable[[], Any] = lambda: hf(ids, use_cache=False).logits  # noqa: E731
    ratios = []
    for _ in range(REPEATS + 2):
        spent = []
        for one in (plain, work):
            started = time.perf_counter()
            one()
            spent.append(time.perf_counter() - started)
        ratios.append(spent[1] / spent[0])
    return statistics.median(ratios[2:])


def probe(who: str, folder: Path) -> dict[str, Any]:
    """Everything that is measured inside one environment."""
    import torch

    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    told: dict[str, Any] = {"families": {}}
    name = "transformer-lens" if who == "transformer-lens-2" else who
    told["version"] = metadata.version(name)
    told["transformers"] = metadata.version("transformers") if who != "circuitsvis" else ""
    ids = torch.tensor([IDS])
    for family in FAMILIES if who != "circuitsvis" else FAMILIES[:1]:
        path = str(folder / family)
        try:
            logits = loaded(path)(ids).logits[0, -1] if who != "circuitsvis" else torch.zeros(1)
            token = int(logits.argmax())
            seen = PROBES[who](path, ids, token)
            if "logit" in seen:
                seen["off from transformers"] = seen["logit"] - float(logits[token])
            for key in ("sum", "lens"):
                if key in seen:
                    seen[f"{key} - logit"] = seen[key] - seen["logit"]
        except Exception as error:  # what a package says of a model is the result
            seen = {"failed": f"{type(error).__name__}: {str(error).strip()[:160]}"}
        told["families"][family] = seen
    try:
        told["passes"] = timed(who, str(folder / "timed"))
    except Exception as error:
        told["passes"] = f"{type(error).__name__}: {error}"[:120]
    found = [d for d in metadata.distributions() if (d.metadata["Name"] or "").lower() not in ("pip", "setuptools")]
    told["packages"] = len({d.metadata["Name"].lower() for d in found})
    site = Path(torch.__file__).parents[1]
    inside = [p for p in site.rglob("*") if p.is_file() and p.relative_to(site).parts[0] not in ("torch", "functorch")]
    told["MB beside torch"] = round(sum(p.stat().st_size for p in inside) / 1e6)
    return told


if __name__ == "__main__":
    print("\n" + json.dumps(probe(sys.argv[1], Path(sys.argv[2]))))
