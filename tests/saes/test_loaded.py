"""Objects of other libraries: what is known is read like its files, of the rest what can be asked is asked."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import attrib_widgets as aw
from attrib_widgets.saes.formats.saelens import write_sae
from attrib_widgets.words.errors import AttribError
from attrib_widgets.words.places import Place
from fixtures import families

WIDTH, COUNT = 8, 20


class Plain(nn.Module):
    """A dictionary of no library: a squared relu, which no format here has."""

    def __init__(self, width: int = WIDTH, said: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Linear(width, COUNT), nn.Linear(COUNT, width)
        if said:
            self.d_in = width

    def encode(self, x):
        return self.inner(x).relu().square()

    def decode(self, active):
        return self.outer(active)


class Spread(Plain):
    """Its decoder is no tensor of its own."""

    def decode(self, active):
        return active @ (self.outer.weight.T * 2) - 1


class Bent(Plain):
    def decode(self, active):
        return self.outer(active).tanh()


class Batched(Plain):
    def encode(self, x):
        active = self.inner(x).relu()
        return active * (active >= active.flatten().topk(5 * len(x)).values[-1])


class Undoing(Plain):
    def encode(self, x):
        self.scale = x[0].norm()
        return self.inner(x).relu()

    def decode(self, active):
        return self.outer(active) * self.scale


class Elsewhere(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.outer = nn.Linear(COUNT, 5)


class Pair(Plain):
    def encode(self, x):
        return self.inner(x), None


class Skipping(Plain):
    """With a skip connection in neither half."""

    def forward(self, x):
        return self.decode(self.encode(x)) + x / 2


class Failing(Plain):
    def encode(self, x):
        raise RuntimeError("a shape that is wrong")


class Missing(Plain):
    def encode(self, x):
        raise NotImplementedError


class Called(Plain):
    """Its call is its two halves, with a loss beside them."""

    def forward(self, x):
        out = self.decode(self.encode(x))
        return out, (x - out).square().mean()


@pytest.mark.parametrize("made", [Plain, Spread, Called])
def test_what_encodes_and_decodes_is_taken_as_it_is(made):
    given = made()
    sae, x = aw.read_sae(given, site="L1.mlp"), torch.randn(3, 5, WIDTH)
    assert str(sae.site) == "L1.mlp" and sae.n_features == COUNT and sae.d_in == WIDTH
    acts = given.encode(x).detach()
    assert torch.allclose(sae.encode(x), acts, atol=1e-6)
    assert torch.allclose(sae.decode(acts), given.decode(acts).detach(), atol=1e-5)
    assert torch.allclose(sae.column(x, 3), acts[..., 3], atol=1e-6)
    with pytest.raises(AttribError, match="only the activations are known"):
        sae.pre_activations(x)
    assert not any(p.grad is not None for p in given.parameters())


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (Bent, "not linear in the activations"),
        (Batched, "something else for an activation alone"),
        (Undoing, "depends on what it encoded before"),
        (Elsewhere, r"reads 8 numbers and decodes to \[5\]"),
        (Pair, "returns a tuple, no tensor"),
        (Failing, "ended in RuntimeError: a shape that is wrong"),
        (Skipping, r"more than decode\(encode\(x\)\), as a skip connection"),
        (Missing, r"ended in NotImplementedError\."),
    ],
)
def test_what_does_not_add_up_is_refused_with_the_reason(made, said):
    with pytest.raises(AttribError, match=said):
        aw.read_sae(made(), site="L1.mlp")


def test_the_place_and_the_width_have_to_be_known():
    with pytest.raises(AttribError, match=r"does not say where it reads.*site="):
        aw.read_sae(Plain())
    assert aw.read_sae(Plain(said=False), site="L1").d_in == WIDTH  # its matrices say it
    bare = SimpleNamespace(encode=lambda x: x, decode=lambda x: x)
    with pytest.raises(AttribError, match="does not say how many numbers it reads"):
        aw.read_sae(bare, site="L1")
    with pytest.raises(AttribError, match="Leave out scale"):
        aw.read_sae(Plain(), site="L1", scale=2.0)


def test_it_is_attached_and_opened_like_any_other():
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    given = Plain(model.d_model)
    model.saes["L1.mlp"] = given
    for found in (a.features("L1.mlp"), a.features("L1.mlp", given)):
        assert abs(found.mismatch) <= 1e-6 * (1 + float(found.values.abs().sum())) and found.firing
        assert found.card().arithmetic is not None


class Lens(nn.Module):
    """What a loaded ``sae_lens.SAE`` shows of itself: settings and tensors."""

    def __init__(self, folder) -> None:
        super().__init__()
        self.cfg = SimpleNamespace(to_dict=lambda: json.loads((folder / "cfg.json").read_text()))
        for name, value in load_file(folder / "sae_weights.safetensors").items():
            self.register_parameter(name, nn.Parameter(value))

    encode = decode = forward = lambda self, x: pytest.fail("it is read, not called")


@pytest.mark.parametrize("writes", [None, Place("mlp", 1)])
def test_an_object_of_saelens_is_read_like_its_files(tmp_path, writes):
    torch.manual_seed(0)
    w = [torch.randn(WIDTH, COUNT), torch.randn(COUNT), torch.randn(COUNT, WIDTH), torch.randn(WIDTH)]
    own = aw.SAE("L1.mlp_in", "standard", *w, subtract=False, writes=writes)
    write_sae(own, tmp_path)
    given, x = Lens(tmp_path), torch.randn(9, WIDTH)
    for site in (None, "L1.mlp_in", *(["L1.mlp"] if writes else [])):
        read = aw.read_sae(given, site)
        assert (read.site, read.writes) == (own.site, own.writes)
        assert torch.equal(read.encode(x), own.encode(x)) and torch.allclose(read.rebuild(x), own.rebuild(x))
    assert aw.read_sae(given, "L2").site == Place("post", 2)
    given.cfg = SimpleNamespace(to_dict=lambda: {**json.loads((tmp_path / "cfg.json").read_text()), "input_gain": 2})
    with pytest.raises(AttribError, match="input_gain = 2"):
        aw.read_sae(given)


def test_an_object_of_sparsify_is_read_like_its_files():
    torch.manual_seed(0)

    class SparseCoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            said = {"activation": "topk", "num_latents": COUNT, "k": 4, "transcode": False, "skip_connection": False}
            self.cfg = SimpleNamespace(to_dict=lambda: said)
            self.encoder = nn.Linear(WIDTH, COUNT)
            self.W_dec, self.b_dec = nn.Parameter(torch.randn(COUNT, WIDTH)), nn.Parameter(torch.randn(WIDTH))

        def encode(self, x):
            pytest.fail("it is read, not called")

        decode = encode

    given, x = SparseCoder(), torch.randn(9, WIDTH)
    read = aw.read_sae(given, "L1.mlp")
    pre = given.encoder(x - given.b_dec).relu().detach()
    assert torch.allclose(read.encode(x), pre * (pre >= pre.topk(4).values[:, -1:]), atol=1e-6) and read.k == 4
    with pytest.raises(AttribError, match="does not say where"):
        aw.read_sae(given)
