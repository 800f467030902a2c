"""Why a neuron fired: its pre-activation, split exactly among the parts that wrote what its MLP reads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attrib_widgets as aw
from attrib_widgets.analysis.reading.point import ReadPoint
from fixtures import families

ALL = families.FAMILIES + families.VARIANTS + families.CARRIED + families.JOINED + families.STREAMS
TWINS = families.TWINS + families.VARIANTS


def sides(model):
    return ("gate", "up") if model.anatomy.mlp_mul else ("gate",)


@pytest.mark.parametrize("name", TWINS)
def test_neuron_twin(family_model, twin, name):
    model, slow = family_model(name), twin(name, families.LONG_PROMPT)
    run = model.run(families.LONG_PROMPT)
    for side in sides(model):
        for layer, index, position in ((0, 3, -1), (1, 47, 5), (2, 11, -2)):
            a = aw.attribute(run, aw.neuron(f"L{layer}N{index}", position=position, side=side))
            where = f"{name} L{layer}N{index} {side}"
            expected, parts = slow.neuron(layer, index, position % run.n_positions, side)
            assert a.actual == pytest.approx(expected, abs=5e-6 * (1 + abs(expected))), where
            assert a.exact, f"{where}: gap {a.mismatch:.1e}"
            got = dict(zip(a.labels, a.values.tolist(), strict=True))
            size = max(abs(v) for v in parts.values())
            for label, value in parts.items():
                assert got.pop(label, 0.0) == pytest.approx(value, abs=5e-6 * (1 + size)), f"{where}: row {label}"
            hidden = got.pop("rounding")
            assert abs(hidden) <= 5e-6 * (1 + size), f"{where}: {hidden:.1e} hides in the rounding row"
            assert not got, f"rows that the reference does not have: {got}"


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_it_is_the_models_own_number_and_closes(family_model, name, dtype):
    kind = families.DTYPES[dtype]
    model = family_model(name, kind)
    run = model.run(families.PROMPT)
    if model.has_experts(2):
        with pytest.raises(aw.GranularityError, match="a mixture of experts"):
            aw.attribute(run, aw.neuron("L2N7", position=1))
        return
    path = f"{model.anatomy.layers}.2.{model.anatomy.mlp_in}"
    kept = []
    hook = model.hf.get_submodule(path).register_forward_hook(lambda module, args, out: kept.append(out.detach()))
    with torch.no_grad():
        model.hf(torch.tensor([run.ids]), use_cache=False)
    hook.remove()
    a = aw.attribute(run, aw.neuron("L2N7", position=1))
    assert a.actual == float(kept[0].reshape(-1, kept[0].shape[-1])[1, 7])
    assert (a.position, a.unit) == (1, "pre-activation")
    assert a.exact, f"{name} {dtype}: gap {a.mismatch:.1e}"
    size = 1 + float(a.values.abs().sum())
    assert abs(a["rounding"]) <= 4 * torch.finfo(kind).eps * size


def test_heads_of_the_same_layer_are_upstream_between_attention_and_mlp(family_model):
    sequential = aw.attribute(family_model("llama").run(families.PROMPT), aw.neuron("L1N3"))
    assert sequential.reading.point == ReadPoint(1, mid=True)
    assert "L1H2" in sequential.labels and "L1.mlp" not in sequential.labels
    assert sequential.labels[-2] == "L1H3"
    parallel = aw.attribute(family_model("gpt_neox").run(families.PROMPT), aw.neuron("L1N3"))
    assert parallel.reading.point == ReadPoint(1)
    assert "L1H2" not in parallel.labels and "L0.mlp" in parallel.labels


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "olmo2", "gpt_neox"])
def test_its_rows_open_like_any_others(family_model, name):
    model = family_model(name)
    run = model.run(families.PROMPT)
    a = aw.attribute(run, aw.neuron("L2N5", position=3))
    top = model.n_layers - 1 if a.reading.point.mid else model.n_layers - 2
    for label in ("L0H1", f"L{top}H2"):
        c = a.sources(label)
        assert c.total == pytest.approx(a[label], abs=1e-5 * (1 + float(c.values.abs().sum())))
        assert abs(a.through(label).mismatch) <= 1e-5 * (1 + float(a.through(label).values.abs().sum()))
    assert a.neurons(1).total == pytest.approx(a["L1.mlp"], abs=1e-5 * (1 + float(a.neurons(1).values.abs().sum())))
    with pytest.raises(aw.ComponentError):
        a.neurons(2)
    t = aw.head_table(a)
    assert len(t.rows) == a.reading.point.attentions
    bars = (t.rows * t.carry).sum(-1) + t.value_bias + t.rounding
    torch.testing.assert_close(bars, a.heads[: len(bars)], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_at_every_position(family_model, name, dtype):
    run = family_model(name, families.DTYPES[dtype]).run(families.PROMPT)
    every = aw.attribute(run, aw.neuron("L1N3")).by_position()
    for position in range(run.n_positions):
        a = aw.attribute(run, aw.neuron("L1N3", position=position))
        assert a.labels == every.labels
        torch.testing.assert_close(every.values[position], a.values, rtol=1e-5, atol=1e-5)
        assert float(every.actual[position]) == pytest.approx(a.actual, abs=1e-6)


def test_one_module_for_both_sides(family_model):
    """The gate is the first half of a fused projection, what multiplies it the second."""
    plain = family_model("llama")
    hf = families.build("llama")
    for block in hf.model.layers:
        block.mlp = Fused(block.mlp)
    names = {"mlp_in": "mlp.gate_up_proj", "mlp_mul": "mlp.gate_up_proj"}
    model = aw.load(hf, tokenizer=families.tokenizer("llama"), anatomy=names)
    for side in ("gate", "up"):
        expected = aw.attribute(plain.run(families.PROMPT), aw.neuron("L1N40", side=side))
        a = aw.attribute(model.run(families.PROMPT), aw.neuron("L1N40", side=side))
        torch.testing.assert_close(a.values, expected.values, rtol=1e-5, atol=1e-5)
        assert a.exact
    with pytest.raises(aw.ComponentError):
        aw.attribute(model.run(families.PROMPT), aw.neuron("L1N48"))
    t, same = (aw.attribute(m.run(families.PROMPT), " Paris").trace(mlps="frozen") for m in (model, plain))
    assert [n.value for n in t.leaves()] == pytest.approx([n.value for n in same.leaves()], abs=1e-5)


class Fused(nn.Module):
    """A gated MLP whose two input projections are one module."""

    def __init__(self, mlp):
        super().__init__()
        width = mlp.gate_proj.in_features
        self.gate_up_proj = nn.Linear(width, 2 * mlp.gate_proj.out_features, bias=False)
        self.gate_up_proj.weight.data = torch.cat([mlp.gate_proj.weight.data, mlp.up_proj.weight.data])
        self.down_proj, self.act_fn = mlp.down_proj, mlp.act_fn

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(up * self.act_fn(gate))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: aw.neuron("L9N0"), aw.ComponentError),
        (lambda: aw.neuron("L0N48"), aw.ComponentError),
        (lambda: aw.neuron("L1H0"), aw.ComponentError),
        (lambda: aw.neuron("L0N0", position=50), aw.PositionError),
        (lambda: aw.neuron("L0N0", position=1.5), aw.PositionError),
        (lambda: aw.neuron("L0N0", side="down"), aw.TargetError),
    ],
)
def test_neurons_that_do_not_exist(family_model, make, error):
    run = family_model("llama").run(families.PROMPT)
    with pytest.raises(error) as caught:
        aw.attribute(run, make())
    assert caught.value.hint


def test_what_has_no_plain_neurons_is_refused_by_name(family_model):
    with pytest.raises(aw.GranularityError, match="not gated"):
        aw.attribute(family_model("gpt2").run(families.PROMPT), aw.neuron("L0N0", side="up"))
    mixture = family_model("mixtral")
    with pytest.raises(aw.GranularityError, match="a mixture of experts"):
        aw.attribute(mixture.run(families.PROMPT), aw.neuron("L0N0"))


@pytest.mark.parametrize("size", [0.5, 0.1])
def test_an_adapter_in_front_of_the_neurons_is_read(size):
    """What the projection does is read, not what its weight says; a bend in it is refused."""
    hf, merged = families.build("llama"), families.build("llama")
    inner = hf.model.layers[1].mlp.gate_proj
    plain = inner.forward
    extra = size * torch.randn(inner.weight.shape, generator=torch.Generator().manual_seed(3)) / 6
    inner.forward = lambda x: plain(x) + x @ extra.T
    with torch.no_grad():
        merged.model.layers[1].mlp.gate_proj.weight += extra
    a, b = (
        aw.attribute(aw.load(m, tokenizer=families.tokenizer("llama")).run(families.PROMPT), aw.neuron("L1N0"))
        for m in (hf, merged)
    )
    assert a.exact and a.labels == b.labels and torch.allclose(a.values, b.values, atol=1e-5)
    bent = families.build("llama")
    true = bent.model.layers[1].mlp.gate_proj.forward
    bent.model.layers[1].mlp.gate_proj.forward = lambda x: true(x) + size * torch.tanh(true(x))
    model = aw.load(bent, tokenizer=families.tokenizer("llama"))
    with pytest.raises(aw.GranularityError, match="no linear map"):
        aw.attribute(model.run(families.PROMPT), aw.neuron("L1N0"))


def test_the_wrong_norm_is_refused():
    """Also where the person insists: neurons are only as true as the norm that their MLP is said to read."""
    model = aw.load(
        families.build("llama"), tokenizer=families.tokenizer("llama"), anatomy={"mlp_norm": "input_layernorm"}
    )
    with pytest.raises(aw.GranularityError):
        aw.attribute(model.run(families.PROMPT), aw.neuron("L1N0"))


def test_in_words(family_model):
    run = family_model("llama").run(families.PROMPT)
    a = aw.attribute(run, aw.neuron("L1N3", position=2))
    assert a.target.words(run.model, run).startswith("pre-activation of L1N3 at \u201c")
    assert "read at" in repr(a) and "pre-activation" in a.title()
