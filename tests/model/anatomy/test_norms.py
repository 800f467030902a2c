"""Norms are read by probing: whatever their formula, the reading must reproduce them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from attrib_widgets.model.anatomy.norms import read_norm
from attrib_widgets.words.errors import AnatomyError
from fixtures import families

WIDTHS = [32, 6]


def gains(width, kind):
    generator = torch.Generator().manual_seed(3)
    weight = 1 + 0.3 * torch.randn(width, generator=generator)
    if kind == "negative":
        weight = -weight
    if kind == "some zero":
        weight[::4] = 0.0
    if kind == "very uneven":  # trained norms have gains over several orders of magnitude
        weight = torch.logspace(-3, 2, width)
    return weight


def layer_norm(width, weight, eps=1e-5):
    norm = nn.LayerNorm(width, eps=eps)
    norm.weight.data.copy_(weight)
    norm.bias.data.copy_(0.2 * torch.randn(width, generator=torch.Generator().manual_seed(4)))
    return norm


def rms_norm(width, weight, eps=1e-6):
    norm = LlamaRMSNorm(width, eps=eps)
    norm.weight.data.copy_(weight)
    return norm


def gemma_norm(width, weight, eps=1e-6):
    norm = Gemma2RMSNorm(width, eps=eps)
    norm.weight.data.copy_(weight - 1)
    return norm


def bare_layer_norm(width, weight, eps=1e-5):
    return nn.LayerNorm(width, eps=eps, elementwise_affine=False)


MAKERS = [layer_norm, rms_norm, gemma_norm, bare_layer_norm]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("kind", ["usual", "negative", "some zero", "very uneven"])
def test_reading_reproduces_the_module(make, kind, width):
    norm = make(width, gains(width, kind))
    reading = read_norm(norm, width)
    assert reading.centred == isinstance(norm, nn.LayerNorm), f"{make.__name__} read as centred={reading.centred}"
    generator = torch.Generator().manual_seed(5)
    for size in (1e-3, 1.0, 300.0):  # around, above and far above epsilon
        x = size * (torch.randn(6, width, generator=generator) + 0.5)
        w = torch.randn(width, generator=generator)
        expected = (norm(x) @ w).detach()
        frozen = reading.scale(x) * (x @ reading.pull(w)) + reading.bias @ w
        error = float((frozen - expected).abs().max() / (norm(x).abs().detach() @ w.abs()).max())
        assert error <= 2e-6, f"{make.__name__} {kind} width {width} size {size}: relative error {error:.1e}"


@pytest.mark.parametrize("make", MAKERS)
def test_an_odd_width_is_read_right_or_refused(make):
    norm = make(33, gains(33, "usual"))
    try:
        reading = read_norm(norm, 33)
    except AnatomyError:
        return
    x = torch.randn(4, 33, generator=torch.Generator().manual_seed(8))
    got = (
        reading.gain * (x - x.mean(-1, keepdim=True) if reading.centred else x) * reading.scale(x)[:, None]
        + reading.bias
    )
    assert torch.allclose(got, norm(x).detach(), atol=5e-6)


@pytest.mark.parametrize("make", MAKERS)
def test_a_zero_vector_has_no_infinite_scale(make):
    norm = make(32, gains(32, "usual"))
    scale = read_norm(norm, 32).scale(torch.zeros(2, 32))
    assert torch.isfinite(scale).all(), "a padding row of zeros must not give NaN"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("make", MAKERS)
def test_half_precision_norms_are_read_in_float32(make, dtype):
    norm = make(32, gains(32, "usual")).to(dtype)
    reading = read_norm(norm, 32)
    assert reading.gain.dtype == torch.float32
    assert reading.centred == isinstance(norm, nn.LayerNorm)
    exact = make(32, gains(32, "usual")).to(dtype).float()
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(6))
    frozen = (
        reading.gain * (x - x.mean(-1, keepdim=True) if reading.centred else x) * reading.scale(x)[:, None]
        + reading.bias
    )
    assert torch.allclose(frozen, exact(x).detach(), atol=3e-6)
    assert next(iter(norm.parameters()), torch.zeros((), dtype=dtype)).dtype == dtype, (
        "the model's own norm was converted"
    )


@pytest.mark.parametrize(
    "module",
    [nn.GELU(), nn.Softmax(-1), nn.Linear(32, 16), nn.Sequential(nn.LayerNorm(32), nn.GELU()), nn.Tanh(), nn.Sigmoid()],
    ids=lambda m: type(m).__name__,
)
def test_what_is_no_norm_is_refused(module):
    with pytest.raises(AnatomyError) as caught:
        read_norm(module, 32, "model.norm")
    assert "model.norm" in str(caught.value), "the message does not say which module"


@pytest.mark.parametrize("seed", range(20))
def test_a_projection_is_no_norm(seed):
    module = nn.Linear(32, 32)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 32**0.5)
    with pytest.raises(AnatomyError):
        read_norm(module, 32, "model.norm")


def test_identity_and_pure_scaling_are_not_read_as_norms_of_the_wrong_kind():
    """A module without a scale per position may be refused or read right, never read wrong."""
    try:
        reading = read_norm(nn.Identity(), 32)
    except AnatomyError:
        return
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    got = reading.gain * x * reading.scale(x)[:, None] + reading.bias
    assert torch.allclose(got, x, atol=1e-4)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_final_norm_of_every_family(family_model, name):
    model = family_model(name)
    reading = model.norm(model.anatomy.final_norm)
    module = model.module(model.anatomy.final_norm)
    x = torch.randn(5, model.d_model, generator=torch.Generator().manual_seed(1))
    w = torch.randn(model.d_model, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = module(x) @ w
    got = reading.scale(x) * (x @ reading.pull(w)) + reading.bias @ w
    assert torch.allclose(got, expected, atol=2e-5), f"{name}: {float((got - expected).abs().max()):.1e}"
