"""A projection read through its module is its weight; what is not linear is told from what merely rounds."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

import attrib_widgets as aw
from attrib_widgets.model.anatomy.linear import Projection
from attrib_widgets.model.anatomy.linearity import linearity
from attrib_widgets.model.anatomy.weights import exact_weight, shown_weight, widths
from fixtures import families, packed

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def linear(d_in, d_out, bias=0.0, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    made = nn.Linear(d_in, d_out, bias=bool(bias)).requires_grad_(False)
    with torch.no_grad():
        made.weight.normal_(0, d_in**-0.5)
        if bias:
            made.bias.normal_(0, bias)
    return made.to(dtype).eval()


def inputs(d_in, dtype, seed=1):
    torch.manual_seed(seed)
    return (torch.randn(9, d_in) * torch.linspace(0.5, 3, 9)[:, None]).to(dtype)


def through(module, dtype, block=8):
    """The module as a projection that is read through it."""

    def call(rows):
        return module(rows.to(dtype))

    d_in = widths(module)[0]
    zero = call(torch.zeros(1, d_in))[0].float()
    bias = zero if bool(zero.any()) else None
    return Projection("it", module, d_in, torch.device("cpu"), None, bias, call, zero, dtype, block)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [0.0, 0.1, 30.0])
@pytest.mark.parametrize("d_in", [8, 24, 100])
def test_rows_of_the_identity_are_rows_of_the_weight(d_in, bias, dtype):
    module = linear(d_in, 40, bias, dtype)
    found, weight = through(module, dtype), module.weight.T.float()
    limit = float(torch.finfo(dtype).eps) * float(weight.abs().max())  # a large bias does not round them away
    assert float((found.rows(0, d_in) - weight).abs().max()) <= limit
    assert float((torch.cat([rows for _, rows in found.parts()]) - weight).abs().max()) <= limit
    x, u = inputs(d_in, torch.float32), torch.randn(3, 40)
    product, pulled = found.read(x, u)
    size = 4 * d_in * limit
    assert torch.allclose(product, x @ weight, atol=3 * size) and torch.allclose(pulled, u @ weight.T, atol=40 * limit)
    assert torch.allclose(found.lengths(), weight.norm(dim=0), atol=size)
    assert torch.allclose(found.outputs(torch.tensor([3, 7])), weight.T[[3, 7]], atol=size)
    picked = found.select(torch.tensor([5, 2]))
    assert picked.d_out == 2 and torch.allclose(picked.pull(u[:, :2]), u[:, :2] @ weight[:, [5, 2]].T, atol=size)
    assert torch.allclose(picked.lengths(), weight.norm(dim=0)[[5, 2]], atol=size)
    assert bias == 0 or torch.allclose(picked.bias, module.bias.float()[[5, 2]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d_in", [8, 16, 32, 64, 256, 1024])
@pytest.mark.parametrize("make", [lambda m: m, packed.Lora, packed.Rounded, lambda m: packed.Lora(m, 8)])
def test_rounding_is_no_bend(make, d_in, dtype):
    eps = torch.finfo(dtype).eps
    for seed in range(3):
        module = make(linear(d_in, max(d_in, 32), 0.5 * (seed % 2), dtype, seed))
        noise, why = linearity(inputs(d_in, dtype, seed), lambda rows, m=module: m(rows.to(dtype)).float(), eps)
        assert not why, f"{noise}: {why}"
        inside = torch.bfloat16 if isinstance(module, packed.Rounded) else dtype
        assert noise <= {torch.float32: 4e-6, torch.float16: 1e-3, torch.bfloat16: 6e-3}[inside]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d_in", [8, 16, 32, 64, 256, 1024])
@pytest.mark.parametrize(
    "make",
    [packed.Steps, lambda m: packed.Steps(m, 4.0), lambda m: packed.Steps(m, 12.0), packed.Bent],
)
def test_a_bend_is_no_rounding(make, d_in, dtype):
    eps = torch.finfo(dtype).eps
    for seed in range(3):
        module = make(linear(d_in, max(d_in, 32), 0.0, dtype, seed))
        _, why = linearity(inputs(d_in, dtype, seed), lambda rows, m=module: m(rows.to(dtype)).float(), eps)
        assert why


def test_what_a_plain_weight_is():
    """torch's Linear and Conv1D as long as they run their own forward; others when they do what their weight says."""
    plain, conv = linear(6, 4), Conv1D(4, 6)
    assert torch.equal(exact_weight(plain), plain.weight.T) and torch.equal(exact_weight(conv), conv.weight)
    changed = copy.deepcopy(plain)
    changed.forward = lambda x: 2 * nn.functional.linear(x, changed.weight)
    assert exact_weight(changed) is None and shown_weight(changed, torch.float32) is None

    class Same(nn.Linear):
        def forward(self, x):
            return x @ self.weight.T + self.bias

    same = Same(6, 4)
    assert exact_weight(same) is None and torch.equal(shown_weight(same, torch.float32), same.weight.T)
    for made in (packed.Int8(plain), packed.Packed(plain), packed.Lora(plain), packed.Shifted(plain)):
        assert exact_weight(made) is None and shown_weight(made, torch.float32) is None
    off = packed.Lora(plain)
    off.scaling = 0.0
    assert torch.equal(shown_weight(off, torch.float32), plain.weight.T)  # an adapter that is switched off
    bits = plain.weight.detach().clone().to(torch.uint8)
    stored = copy.deepcopy(plain)
    stored.weight = nn.Parameter(bits, requires_grad=False)
    assert exact_weight(stored) is None and widths(stored) == (6, 4)
    stored.weight = nn.Parameter(torch.zeros(12, 1))  # whole rows of bytes, stored as numbers of another kind
    assert exact_weight(stored) is None and widths(stored) == (6, 4)


def test_lengths_are_those_of_the_weight_as_it_is_now():
    """Also where a few numbers of a large weight were changed in a way that nothing tells of."""
    size = transformers.GPT2Config(vocab_size=families.vocab_size(), n_embd=256, n_layer=1, n_head=4, n_positions=16)
    hf = transformers.GPT2LMHeadModel(size).eval()
    model = aw.load(hf, tokenizer=families.byte_tokenizer())
    weight = hf.transformer.h[0].mlp.c_proj.weight
    assert torch.allclose(model.down(0).lengths(), weight.norm(dim=0))
    weight.data[5, 3] += 1e4
    assert torch.allclose(model.down(0).lengths(), weight.norm(dim=0))
