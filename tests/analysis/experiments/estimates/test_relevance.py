"""Relevance patching: its rules against autograd through modules that detach, and nothing lost on the way."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.estimates.relevance import relevances
from attrib_widgets.analysis.experiments.measuring.metrics import metric_of
from fixtures import families
from fixtures.gradient_twin import FAMILIES, GradientTwin

ALL = families.FAMILIES + families.VARIANTS


@pytest.fixture(scope="module")
def asked(family_model):
    def make(name):
        model = family_model(name)
        run = model.run(families.ids_of(name))
        return model, run, run.top(1)[0].id

    return make


def _mixture(model):
    return any(map(model.has_experts, range(model.n_layers)))


def _coefficients(run, token, sites=("pre", "z", "mlp")):
    metric = metric_of(token, run, run.n_positions - 1)
    places = [(site, layer) for layer in range(run.model.n_layers) for site in sites]
    return relevances(run, metric, [*places, ("pre", run.model.n_layers)])


@pytest.mark.parametrize("name", FAMILIES)
def test_coefficients_are_those_of_modules_that_detach(asked, name):
    model, run, token = asked(name)
    found = _coefficients(run, token)
    twin = GradientTwin(name, families.build(name, attn="eager"), run.ids)
    slow = twin.gradients(token, held=True)
    assert float(found.values[0]) == pytest.approx(float(slow["value"]), abs=1e-5)
    for layer in range(model.n_layers):
        for here, there in (("pre", "stream"), ("z", "z"), ("mlp", "mlp_out")):
            expected = slow[there, layer]
            close = torch.allclose(found.at[here, layer][0].double(), expected, rtol=1e-4, atol=1e-5)
            assert close, (here, layer, float((found.at[here, layer][0] - expected).abs().max()))
    if model.softcap is None:  # what is behind a cap is no multiple of what is before it
        inputs = (twin.kept["stream", 0] * slow["stream", 0]).sum()
        assert float(inputs.detach() + slow["biases"]) == pytest.approx(float(slow["value"]), abs=2e-5), (
            "nothing is lost"
        )


@pytest.mark.parametrize("name", ALL)
def test_every_cut_holds_the_number(asked, name):
    """Without biases, what the stream holds times its coefficients is the logit before every layer. With biases, the
    parts that the inputs reach take what is missing: see the twin."""
    model, run, token = asked(name)
    if _mixture(model):
        with pytest.raises(aw.GranularityError, match=r"no rule for .*mixture of experts.*eap-ig"):
            _coefficients(run, token)
        return
    found = _coefficients(run, token)
    cuts = [
        float((run.record.streams[layer].double() * found.at["pre", layer][0].double()).sum())
        for layer in range(model.n_layers + 1)
    ]
    biased = any(n.endswith("bias") and bool(p.any()) for n, p in model.hf.named_parameters())
    if not biased and model.softcap is None:
        assert cuts == pytest.approx([float(run.logits()[token])] * len(cuts), rel=1e-4, abs=1e-4)


def test_exact_where_nothing_behind_is_held(asked):
    """The last MLP meets the final norm alone: with its scale held, the estimate is the experiment; AtP's is not."""
    model, clean, _ = asked("gpt2")
    other = list(clean.ids)
    other[3] = (other[3] + 7) % 300
    last = f"L{model.n_layers - 1}.mlp"
    for direction in ("denoise", "noise"):
        options = dict(sites="mlp", direction=direction)
        exact = aw.patch(model, clean, other, 5, final_norm="frozen", **options)
        held = aw.attribution_patch(model, clean, other, 5, method="relp", final_norm="frozen", **options)
        assert held[last] == pytest.approx(exact[last], rel=1e-4, abs=1e-5)
        # The rule holds the norm in any case: the same change of the logit, over another gap.
        live = aw.attribution_patch(model, clean, other, 5, method="relp", **options)
        at = live.labels.index(last)
        assert float(live.changes[0, at]) == pytest.approx(float(held.changes[0, at]), rel=1e-4, abs=1e-5)


def test_patterns_are_held(asked):
    model, clean, token = asked("gpt2")
    other = [*clean.ids[:3], (clean.ids[3] + 7) % 300, *clean.ids[4:]]
    with pytest.raises(aw.ComponentError, match=r"holds attention patterns: q and k.*eap-ig"):
        aw.attribution_patch(model, clean, other, token, sites=["q", "k", "v"], method="relp")
    edges = aw.edge_patch(model, clean, other, token, method="relp")
    looks = torch.tensor([r.site in ("q", "k") for r in edges.readers])
    assert not bool(edges.values[:, looks].any()) and bool(edges.values[:, ~looks].any())
    # Values pass the held pattern as what the heads write does.
    values = aw.attribution_patch(model, clean, other, token, sites=["v", "z"], method="relp")
    assert torch.allclose(values.grid("v"), _through_values(model, clean, other, token), atol=1e-5)


def _through_values(model, clean, other, token):
    """[layer, head]: what the difference of values gives through the pattern of the corrupted run, patched."""
    base, source = model.run(other), clean
    found = _coefficients(base, token, sites=("z",))
    gap = float(clean.logits()[token] - base.logits()[token])
    from attrib_widgets.model.parts.attention import attend

    rows = []
    for layer in range(model.n_layers):
        own, theirs = attend(model, base.record, layer), attend(model, source.record, layer)
        z = (own.pattern @ (theirs.v - own.v)).transpose(0, 1)  # [position, head, d_head]
        along = found.at["z", layer][0].view_as(z)
        rows.append((z * along).sum((0, 2)) / gap)
    return torch.stack(rows)
