"""Nothing is silently wrong: one wrong line in an anatomy, or one module that does a little more, is always noticed.

Every mistake that a person could make in the data of a family is made on families of every kind, and a right
anatomy is tried on models that were changed behind its back. The answer must be a refusal, or a coarser split with
its reason; a model that is still shown whole must still close.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.anatomy.anatomy import LAYOUTS, Anatomy
from attrib_widgets.model.anatomy.lookup import find
from fixtures import families

NAMES = families.FAMILIES + families.VARIANTS
DRAWN = 160


def right(name: str) -> Anatomy:
    """The anatomy that the self-check settled on."""
    return aw.load(families.build(name), tokenizer=families.tokenizer(name)).anatomy


def mistakes(a: Anatomy, hf: Any) -> Iterator[tuple[str, Anatomy]]:
    """(what is wrong, the anatomy that says so), one mistake each."""
    layer = find(hf, a.layers)[0]
    qkv, config = a.qkv, hf.config.get_text_config()

    def other(**changes: Any) -> Anatomy:
        return dataclasses.replace(a, **changes)

    def inner(**changes: Any) -> Anatomy:
        return other(qkv=dataclasses.replace(qkv, **changes))

    plain = hf.config.model_type in ("olmo", "nanochat")  # norms without weights: one is as good as the other
    if a.attn_norm and a.mlp_norm and a.attn_norm != a.mlp_norm and not plain:
        yield "norms swapped", other(attn_norm=a.mlp_norm, mlp_norm=a.attn_norm)
    if a.attn_norm:
        yield "attention reads the raw stream", other(attn_norm=None)
    if a.mlp_norm:
        yield "the MLP reads the raw stream", other(mlp_norm=None)
        if a.attn_post_norm is None:
            yield "a post-norm that is none", other(attn_post_norm=a.mlp_norm)
    if a.attn_post_norm:
        yield "no norm after the attention", other(attn_post_norm=None)
        yield "no norm after the MLP", other(mlp_post_norm=None)
        yield "post-norms swapped", other(attn_post_norm=a.mlp_post_norm, mlp_post_norm=a.attn_post_norm)
    yield "parallel or not", other(parallel=not _parallel(a, hf))
    if find(layer, a.mlp_down) is not None:
        yield "attention and MLP swapped", other(mlp=a.attn_out, attn_out=a.mlp_down, mlp_output=a.attn_out)
    if a.qkv.layout == "split":
        yield "queries and keys swapped", inner(q=qkv.k, k=qkv.q)
        yield "queries and values swapped", inner(q=qkv.v, v=qkv.q)
        yield "keys and values swapped", inner(k=qkv.v, v=qkv.k)
    for layout in sorted(LAYOUTS.keys() - {qkv.layout}):
        if qkv.layout != "split" and not (layout == "grouped" and _kv(a, hf) in (None, 1)):  # no groups
            yield f"layout {layout}", inner(layout=layout)
    for name in ("q_norm", "k_norm"):
        if getattr(qkv, name):
            yield f"no {name}", inner(**{name: None})
    if _turns(hf):
        yield "paired the other way", inner(rotary="halves" if qkv.rotary == "interleaved" else "interleaved")
        if qkv.rotary_table != "embed_positions":
            yield "angles by another name", inner(angles="cos_sin")
    if config.model_type in ("bloom", "mpt"):
        yield "the penalty by another name", inner(penalty="slopes")
    if qkv.mask_true == "hidden":
        yield "the mask the other way round", inner(mask_true="allowed")
    if qkv.rotary_if:
        yield "all layers rotate", inner(rotary_if=None)
    yield "scores scaled wrongly", inner(scaling=0.9)
    if qkv.softcap and getattr(config, qkv.softcap, None):
        yield "no cap of the scores", inner(softcap=None)
    if qkv.sinks and hasattr(find(layer, a.attn), qkv.sinks):
        yield "no sinks", inner(sinks=None)
    if qkv.causal and any("local" in str(t) for t in getattr(config, "attention_layers", [])):
        yield "no window", inner(causal=None)
    if a.multiplier:
        yield "no multiplier", other(multiplier=None)
        yield "another multiplier", other(multiplier="embedding_multiplier")
    else:
        config.wrong = 1.03
        yield "a multiplier that is none", other(multiplier="wrong")
        yield "logits scaled wrongly", other(logit_scale="wrong")
    if a.logit_scale:
        yield "logits not scaled", other(logit_scale=None)
    if a.softcap and getattr(config, a.softcap):
        yield "no cap of the logits", other(softcap=None)
    yield "half as many heads", other(n_heads=config.num_attention_heads // 2, n_kv_heads=1)
    yield "the norm of a layer for the final norm", other(final_norm=f"{a.layers}.0.{a.mlp_norm or a.attn_post_norm}")


def _parallel(a: Anatomy, hf: Any) -> bool:
    return bool(getattr(hf.config, a.parallel)) if isinstance(a.parallel, str) else a.parallel


def _kv(a: Anatomy, hf: Any) -> int | None:
    return getattr(hf.config, a.n_kv_heads) if isinstance(a.n_kv_heads, str) else a.n_kv_heads


def _turns(hf: Any) -> bool:
    """Whether more than one pair of numbers is rotated: a single pair has but one way."""
    config = hf.config.get_text_config()
    still = config.model_type in ("gpt2", "gpt_bigcode", "gpt_neo", "opt", "bloom", "mpt") or getattr(
        config, "alibi", False
    )
    share = (getattr(config, "rope_parameters", None) or {}).get("partial_rotary_factor", 1.0)
    return not still and share * config.hidden_size / config.num_attention_heads > 2


def cases() -> list[tuple[str, str]]:
    """Every (family, mistake)."""
    return [(name, what) for name in NAMES for what, _ in mistakes(right(name), families.build(name))]


@pytest.fixture(scope="module")
def all_cases() -> list[tuple[str, str]]:
    return cases()


def shown_whole(make: Callable[[], Any]) -> Any:
    """The model when it is offered at the finest granularity, with neurons or experts; None when it is not."""
    try:
        model = make()
    except aw.AnatomyError as refusal:
        return None if len(str(refusal)) > 30 else refusal
    if model.check.ok and model.check.mlp_ok:
        return model
    assert model.check.no_scores or model.check.mlp_reason
    return None


def as_if_right(model: Any, name: str) -> bool:
    """Whether a mistake was made good, and not only missed: what it does not say (a multiplier) is found by trying."""
    if not isinstance(model, aw.Model) or not model.joining:
        return False
    own = aw.load(families.build(name), tokenizer=families.tokenizer(name))
    a, b = (aw.attribute(m.run(families.PROMPT), " Paris") for m in (model, own))
    return (
        a.exact and a.labels == b.labels and torch.allclose(a.values, b.values, atol=1e-5 * float(b.values.abs().sum()))
    )


def test_a_mistake_in_an_anatomy_is_noticed(all_cases):
    drawn = random.Random(0).sample(all_cases, min(DRAWN, len(all_cases)))
    missed = []
    for name, what in drawn:
        hf = families.build(name)
        wrong = dict(mistakes(right(name), hf))[what]
        options = dict(tokenizer=families.tokenizer(name), anatomy=wrong)
        model = shown_whole(lambda hf=hf, options=options: aw.load(hf, **options))
        if model is not None and not as_if_right(model, name):
            missed.append((name, what))
    assert len({name for name, _ in drawn}) > 25, "few families were drawn"
    assert len({what for _, what in drawn}) > 20, "few mistakes were drawn"
    assert not missed


def tamper(hf: Any, rng: random.Random) -> str:
    """Makes one module inside one layer do a little more than its weights say; returns what was done."""
    inside = [(n, m) for n, m in hf.named_modules() if ".1." in n and not isinstance(m, torch.nn.ModuleList)]
    name, module = rng.choice(inside)
    factor, shift = rng.choice([(1.07, 0.0), (1.0, 0.2), (0.5, 0.0)])
    true = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        out = true(*args, **kwargs)
        first = out[0] if isinstance(out, tuple) else out
        if not isinstance(first, torch.Tensor) or not first.is_floating_point():
            return out
        first = first * factor + shift
        return (first, *out[1:]) if isinstance(out, tuple) else first

    module.forward = forward
    return f"{name} x {factor} + {shift}"


def test_a_changed_model_closes_or_is_refused():
    """Scaled, shifted or halved outputs anywhere inside a layer: every number that is shown still adds up."""
    rng, shown = random.Random(1), 0
    for _ in range(60):
        name = rng.choice(NAMES)
        hf = families.build(name)
        what = f"{name}: {tamper(hf, rng)}"
        try:
            model = aw.load(hf, tokenizer=families.tokenizer(name))
            a = aw.attribute(model.run(families.PROMPT), " Paris")
        except aw.AttribError:
            continue
        assert a.exact, what
        assert abs(a["rounding"]) <= 1e-4 * (1 + float(a.values.abs().sum())), f"{what}: hidden in the rounding row"
        for open_row in (
            lambda a=a: a.sources("L2H1"),
            lambda a=a: a.through("L2H1"),
            lambda a=a, model=model: a.experts(1) if model.has_experts(1) else a.neurons(1),
            lambda a=a: aw.attribute(a.run, aw.score("L2H1", key=1)),
        ):
            try:
                row = open_row()
            except aw.AttribError:
                continue
            shown += 1
            size = 1 + float(row.values.abs().sum())
            assert abs(row.mismatch) <= 1e-5 * size, f"{what}: {row.summary().title}"
    assert shown > 60, "the changes left too little to look at"
