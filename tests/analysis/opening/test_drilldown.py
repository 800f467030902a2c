"""Opening a row: by source token, by who wrote that token, by neuron, as a dot product, and what it writes."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.opening import mlps
from attrib_widgets.model.parts import neurons
from attrib_widgets.model.parts.outlet import outlet_of
from fixtures import families

ALL = families.FAMILIES + families.VARIANTS + families.CARRIED + families.JOINED + families.STREAMS
TWINS = families.TWINS + families.VARIANTS
HEADS = ["L0H1", "L1H3", "L2H2"]


@pytest.fixture(scope="module")
def attribution(family_model):
    kept = {}

    def make(name, dtype="float32", text=families.PROMPT, position=-1):
        key = (name, dtype, text, position)
        if key not in kept:
            kept[key] = aw.attribute(family_model(name, families.DTYPES[dtype]).run(text), " Paris", position=position)
        return kept[key]

    return make


def parts(label):
    layer, head = label[1:].split("H")
    return int(layer), int(head)


def close_enough(c, parent):
    size = 1 + float(c.values.abs().sum())
    assert c.parent_value == pytest.approx(parent, abs=1e-7)
    assert c.mismatch == pytest.approx(c.parent_value - c.total, abs=1e-7)
    assert abs(c.mismatch) <= 1e-5 * size, f"{c.title}: rows sum to {c.total:.6f}, the parent is {parent:.6f}"


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_sums_to_the_parent(attribution, name, dtype):
    a = attribution(name, dtype)
    for label in HEADS:
        close_enough(a.sources(label), a[label])
        t = a.through(label)
        size = 1 + float(t.values.abs().sum())
        assert abs(t.mismatch) <= 1e-5 * size, f"{name} {dtype} through {label}: {t.total:.6f} for {a[label]:.6f}"
        w = a.worked(label)
        assert w.total == pytest.approx(a[label], abs=1e-5 * size)
    for layer in range(a.model.n_layers):
        opened = a.experts(layer) if a.model.has_experts(layer) else a.neurons(layer)
        close_enough(opened, a[f"L{layer}.mlp"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ALL)
def test_rounding_rows_are_of_the_size_of_rounding(attribution, name, dtype):
    a = attribution(name, dtype)
    eps = torch.finfo(families.DTYPES[dtype]).eps
    for label in HEADS:
        c, t = a.sources(label), a.through(label)
        assert c.labels[-1] == "rounding" and c.kinds[-1] == "rounding", "half precision shows its rounding"
        size = float(c.values.abs().sum()) + float(t.values.abs().sum())
        assert abs(float(c.values[-1])) <= 2 * eps * size, (
            f"{name} {dtype} {label}: sources hide {float(c.values[-1]):+.4f} of {size:.2f}"
        )
        column = t.values[:, [str(x) for x in t.components].index("rounding")]
        assert float(column.abs().sum()) <= 2 * eps * size, (
            f"{name} {dtype} {label}: through hides {float(column.abs().sum()):.4f} of {size:.2f}"
        )
        bias = dict(zip(c.labels, c.values.tolist(), strict=True)).get("value bias", 0.0)
        assert t.value_bias == pytest.approx(bias, abs=1e-5 * (1 + abs(bias))), "the value bias is a bias, not rounding"
    for layer in range(a.model.n_layers):
        c = a.experts(layer) if a.model.has_experts(layer) else a.neurons(layer)
        hidden = float(c.values[c.labels.index("rounding")])
        assert abs(hidden) <= eps * (1 + float(c.values.abs().sum())), f"{name} {dtype}: the MLP hides {hidden:+.4f}"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "path", ["self_attn.v_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.down_proj", "input_layernorm"]
)
def test_opening_an_old_record_on_changed_weights(path, dtype):
    """Rows are opened with the weights of that moment: a record of other weights must be refused, not closed."""
    kind = families.DTYPES[dtype]
    hf = families.build("llama", kind)
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    with torch.no_grad():
        weight = hf.get_submodule(f"model.layers.1.{path}").weight
        weight.copy_(weight + 0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(9)))
    for ask in (lambda: a.sources("L1H1"), lambda: a.neurons(1)):
        try:
            c = ask()
        except aw.AttribError:
            continue
        size = 1 + float(c.values.abs().sum())
        assert abs(c.mismatch) <= 1e-5 * size, f"{path}: {c.title} misses {c.mismatch:.3f} without saying so"
        hidden = float(c.values[c.labels.index("rounding")]) if "rounding" in c.labels else 0.0
        assert abs(hidden) <= 4 * torch.finfo(kind).eps * size, (
            f"{path}: {hidden:+.3f} of {size:.1f} is booked as rounding"
        )


@pytest.mark.parametrize("text", [families.PROMPT, families.LONG_PROMPT], ids=["short", "long"])
@pytest.mark.parametrize("name", TWINS)
def test_sources_twin(attribution, twin, name, text):
    a, slow = attribution(name, text=text), twin(name, text)
    w = slow.token(a.model.single_token(" Paris"))
    for label in HEADS:
        shares, bias = slow.sources(*parts(label), w)
        c = a.sources(label)
        n = a.run.n_positions
        assert c.labels[:n] == a.run.tokens and c.kinds[:n] == ["token"] * n
        scale = max(map(abs, shares))
        error = float((c.values[:n].double() - torch.tensor(shares)).abs().max()) / scale
        assert error <= 1e-5, f"{name} {label}: sources differ by {error:.1e}"
        got = dict(zip(c.labels[n:], c.values[n:].tolist(), strict=True))
        assert got.get("value bias", 0.0) == pytest.approx(bias, abs=1e-5 * (scale + abs(bias)))
        assert "rounding" not in c.labels, "no rounding row in float32"
        assert ("bias" in c.kinds) == ("value bias" in c.labels)


def test_sources_at_an_earlier_position_read_nothing_later(attribution, twin):
    a, slow = attribution("gemma3", position=2), twin("gemma3")
    c = a.sources("L1H3")
    shares, _ = slow.sources(1, 3, slow.token(a.model.single_token(" Paris")), position=2)
    assert torch.allclose(c.values[: a.run.n_positions].double(), torch.tensor(shares, dtype=torch.float64), atol=1e-5)
    assert torch.equal(c.values[3 : a.run.n_positions], torch.zeros(a.run.n_positions - 3)), "attention looked ahead"


@pytest.mark.parametrize("name", TWINS)
def test_through_twin(attribution, twin, name):
    a, slow = attribution(name), twin(name)
    w = slow.token(a.model.single_token(" Paris"))
    for label in ("L1H3", "L2H2"):
        t = a.through(label)
        names = [str(c) for c in t.components]
        assert t.values.shape == (a.run.n_positions, len(names))
        expected = slow.through(*parts(label), w)
        scale = max(map(abs, expected.values()))
        for (source, part), value in expected.items():
            got = float(t.values[source, names.index(part)]) if part in names else 0.0
            assert got == pytest.approx(value, abs=1e-5 * scale), f"{name} {label}: {part} at source {source}"
        assert "L1H0" not in names or label != "L1H3", "a head reads nothing of its own layer"
        column = t.values[:, names.index("rounding")].abs().max() if "rounding" in names else torch.zeros(())
        assert float(column) <= 1e-5 * scale, f"{name} {label}: {float(column):.1e} hides in the rounding column"


def test_through_one_source(attribution):
    a = attribution("llama")
    t, by_token = a.through("L2H1"), a.sources("L2H1")
    for source in range(a.run.n_positions):
        c = t.at(source)
        assert c.labels == [str(x) for x in t.components]
        assert c.total == pytest.approx(float(by_token.values[source]), abs=1e-5), f"source {source}"
        assert c.parent_value == pytest.approx(float(by_token.values[source]), abs=1e-6)
    assert torch.equal(t.at(-1).values, t.at(a.run.n_positions - 1).values)
    with pytest.raises(aw.PositionError):
        t.at(a.run.n_positions)


@pytest.mark.parametrize("name", TWINS)
def test_neurons_twin(attribution, twin, name):
    a, slow = attribution(name), twin(name)
    w = slow.token(a.model.single_token(" Paris"))
    for layer in range(a.model.n_layers):
        shares, bias = slow.neurons(layer, w)
        c = a.neurons(layer)
        count = len(shares)
        assert c.labels[:count] == [f"L{layer}N{i}" for i in range(count)]
        assert c.kinds[:count] == ["neuron"] * count
        scale = max(map(abs, shares))
        error = float((c.values[:count].double() - torch.tensor(shares)).abs().max()) / scale
        assert error <= 1e-5, f"{name} layer {layer}: neurons differ by {error:.1e}"
        rest = dict(zip(c.labels[count:], c.values[count:].tolist(), strict=True))
        assert rest.get(f"L{layer}.mlp.bias", 0.0) == pytest.approx(bias, abs=1e-5 * (scale + abs(bias)))
        assert abs(rest.get("rounding", 0.0)) <= 2e-6 * (1 + float(c.values.abs().sum())), (
            "float32 rounds nothing visible"
        )
    assert torch.equal(a.neurons("L1.mlp").values, a.neurons(1).values)


def test_one_mlp_costs_that_mlp(attribution, monkeypatch):
    """In full precision its module is called on what it read; what a forward pass of the whole gives is the same."""
    passes = []

    def counted(model, ids, layers, positions):
        passes.append(model.name)
        return record_neurons(model, ids, layers, positions)

    record_neurons = neurons.record_neurons
    monkeypatch.setattr(neurons, "record_neurons", counted)
    asked = 0
    for name in ALL:
        run = attribution(name).run
        dense = [layer for layer in range(run.model.n_layers) if not run.model.has_experts(layer)]
        asked += bool(dense)
        for position in (1, run.n_positions - 1):
            own = neurons.neurons_at(run, dense, position)
            recorded = record_neurons(run.model, run.ids, dense, [position]) if dense else {}
            for layer, rows in recorded.items():
                size = float(rows.abs().max())
                assert float((own[layer] - rows[0]).abs().max()) <= 1e-5 * size, f"{name} layer {layer}"
    assert asked > 20 and len(set(passes)) <= 0.2 * asked, f"a whole pass for {sorted(set(passes))}"


def test_the_neurons_of_a_run_are_recorded_once(family_model, monkeypatch):
    model = family_model("llama")
    run = model.run(families.PROMPT)
    passes = []

    def counted(run, layers, position):
        passes.append((list(layers), position))
        return neurons_at(run, layers, position)

    neurons_at = mlps.neurons_at
    monkeypatch.setattr(mlps, "neurons_at", counted)
    every, end = range(model.n_layers), run.n_positions - 1
    aw.attribute(run, " Paris").neurons(1)
    first = mlps.neurons_of(aw.attribute(run, " Paris"), every)
    other = mlps.neurons_of(aw.attribute(run, " Rome"), every)
    assert passes == [([1], end), ([n for n in every if n != 1], end)]
    monkeypatch.undo()
    fresh = mlps.neurons_of(aw.attribute(model.run(families.PROMPT), " Rome"), every)
    assert all(torch.equal(other[n].values, fresh[n].values) for n in every)
    assert not torch.equal(other[1].values, first[1].values)
    monkeypatch.setattr(mlps, "neurons_at", counted)
    aw.attribute(run, " Paris", position=2).neurons(1)
    aw.attribute(run, " Paris").neurons(1)
    assert passes[2:] == [([1], 2), ([1], end)], "one position of a run is kept"


def test_neurons_that_do_not_add_up_are_not_kept(family_model):
    model = family_model("llama")
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    expected = aw.attribute(model.run(families.PROMPT), " Paris").neurons(1)
    inner = model.hf.get_submodule("model.layers.1.mlp.act_fn")
    hook = inner.register_forward_hook(lambda module, args, out: out * 2)
    try:
        with pytest.raises(aw.AttribError):
            a.neurons(1)
    finally:
        hook.remove()
    assert torch.equal(a.neurons(1).values, expected.values)


@pytest.mark.parametrize("wrong", [3, -1, 99, "L9.mlp", "embed"])
def test_neurons_of_no_layer(attribution, wrong):
    with pytest.raises(aw.ComponentError):
        attribution("llama").neurons(wrong)


@pytest.mark.parametrize("name", TWINS)
def test_worked_step_by_step(attribution, twin, name):
    a, slow = attribution(name), twin(name)
    w = a.worked("L1H3")
    write = outlet_of(a.model, "attn", 1)
    behind = write.push(w.z @ w.weight) * write.scale(a.run.record.attn_out[1][-1:])
    assert w.plain == write.plain and torch.allclose(behind, w.written, atol=1e-6)
    assert torch.allclose(w.written * w.direction, w.products, atol=1e-7)
    assert torch.allclose(w.written / w.divisor * w.unembedding, w.products, atol=1e-7)
    assert w.total == pytest.approx(w.value, abs=1e-5)
    assert w.value == a["L1H3"]
    z = slow.kept["z", 1][-1, 3 * slow.head_size : 4 * slow.head_size]
    assert torch.allclose(w.z.double(), z, atol=1e-6)
    assert "L1H3" in repr(w) or "1" in repr(w)


ROWS = {
    "gpt2": ["embed", "pos", "L1H3", "L2.mlp", "L0.attn.bias", "norm.bias"],
    "bloom": ["embed", "L1H3", "L2.mlp", "L0.attn.bias", "norm.bias"],
    "gemma3": ["embed", "L1H3", "L2.mlp"],
    "olmo2": ["embed", "L1H3", "L2.mlp"],
}


@pytest.mark.parametrize(("name", "which"), [(name, row) for name, rows in ROWS.items() for row in rows])
def test_writes_are_contributions_to_every_token(attribution, name, which):
    a = attribution(name)
    made = a.writes(which, k=5)
    assert len(made.promoted) == len(made.suppressed) == 5
    assert made.promoted[0][2] >= made.promoted[-1][2] > made.suppressed[-1][2] >= made.suppressed[0][2]
    for text, token, value in made.promoted + made.suppressed:
        assert text == a.model.token(token)
        assert value == pytest.approx(aw.attribute(a.run, token)[which], abs=2e-5), f"{which} on {text!r}"


def test_writes_of_a_correction_row(attribution):
    with pytest.raises(aw.AttribError):
        attribution("gpt2").writes("rounding")


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_every_row_that_is_a_vector_is_worked_out(attribution, name, dtype):
    a = attribution(name, dtype)
    told = 0
    for part, value in zip(a.components, a.values.tolist(), strict=True):
        if not part.is_vector:
            with pytest.raises(aw.ComponentError):
                a.worked(part)
            continue
        w, told = a.worked(part), told + 1
        assert w.total == pytest.approx(value, abs=1e-5 * (1 + float(w.products.abs().sum()))), f"{name} {dtype} {part}"
        x = a.run.record.streams[-1][-1].float()
        if part.kind != "norm.bias":
            normed = a.model.norm(a.model.anatomy.final_norm)(x) - a.reading.norm.bias
            assert torch.allclose(a.reading.norm.push(x) / w.divisor, normed, atol=1e-4)
    assert told >= 2 + 2 * a.model.n_layers


def test_the_printed_factors_of_a_row_multiply(attribution):
    w = attribution("llama").worked("L1H3")
    table = w.summary()
    for row in table.rows[:-1]:
        _, written, scaled, direction, product = (text.replace("\u2212", "-") for text in row)
        assert float(scaled) == pytest.approx(float(written) / w.divisor, abs=1e-4)
        assert float(scaled) * float(direction) == pytest.approx(float(product), abs=3e-4)
    assert sum(b for b in table.row_bars if b is not None) == pytest.approx(w.value, abs=1e-5)


@pytest.mark.parametrize("name", ["mixtral", "qwen2_moe"])
def test_an_expert_is_worked_out(attribution, name):
    a = attribution(name)
    found = a.experts(1)
    chosen = [label for label in found.labels if "/E" in label]
    assert chosen
    for label in chosen:
        assert a.worked(label).total == pytest.approx(found[label], abs=1e-5)
    absent = next(i for i in range(99) if f"L1.mlp/E{i}" not in found.labels)
    with pytest.raises(aw.ComponentError):
        a.worked(f"L1.mlp/E{absent}")


def test_what_is_asked_inside_is_worked_out_through_its_own_norm(family_model):
    run = family_model("gpt2").run(families.PROMPT)
    for target in (aw.score("L2H1", query=4, key=2, side="key"), aw.neuron("L1N3", position=3)):
        a = aw.attribute(run, target)
        for part in ("embed", "L0H1", "L0.mlp", "norm.bias"):
            w = a.worked(part)
            assert w.total == pytest.approx(a[part], abs=1e-5)
            assert "final" not in str(w)


@pytest.mark.parametrize("call", ["sources", "through"])
@pytest.mark.parametrize("wrong", ["L1.mlp", "embed", "L9H9", "nonsense"])
def test_only_heads_have_sources(attribution, call, wrong):
    with pytest.raises(aw.ComponentError):
        getattr(attribution("llama"), call)(wrong)


@pytest.mark.parametrize(
    "target", [aw.logit_diff(" Paris", " Rome"), aw.log_prob(" Paris"), aw.logit(" Paris").centered()], ids=str
)
def test_other_targets_open_too(family_model, target):
    a = aw.attribute(family_model("gpt2").run(families.PROMPT), target)
    close_enough(a.sources("L1H3"), a["L1H3"])
    close_enough(a.neurons(1), a["L1.mlp"])
    assert abs(a.through("L1H3").mismatch) <= 1e-4
    assert a.sources("L1H3").unit == a.unit


def test_rows_as_tables(attribution):
    a = attribution("llama")
    c = a.sources("L1H3")
    assert c.top(2)[0][1] == c.values[int(c.values.abs().argmax())]
    assert list(c.to_dataframe()["value"]) == pytest.approx(c.values.tolist())
    assert "L1H3" in repr(c) and "mismatch" in repr(c)
    assert len(a.through("L1H3").to_dataframe()) == a.through("L1H3").values.numel()
    assert len(repr(a.neurons(1)).splitlines()) <= 16
    assert (
        "<script"
        not in (c._repr_mimebundle_()[0] if isinstance(c._repr_mimebundle_(), tuple) else c._repr_mimebundle_())[
            "text/html"
        ]
    )


def hide(hf, path, size=0.5):
    """An adapter: the module's weight and bias no longer tell what it computes."""
    parent, _, name = path.rpartition(".")
    owner = hf.get_submodule(parent)
    inner = getattr(owner, name)
    plain = inner.forward
    extra = (
        torch.randn(inner.weight.shape, generator=torch.Generator().manual_seed(3))
        * size
        / inner.weight.shape[-1] ** 0.5
    )
    extra = extra.to(inner.weight.dtype)
    inner.forward = lambda x: plain(x) + x @ extra.T
    return hf


def every_score(side):
    return lambda a: [
        aw.attribute(a.run, aw.score((1, h), key=k, side=side))
        for h in range(families.HEADS)
        for k in range(a.run.n_positions)
    ]


@pytest.mark.parametrize("size", [0.5, 0.1])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("self_attn.v_proj", lambda a: [a.through((1, h)) for h in range(families.HEADS)]),
        ("self_attn.q_proj", every_score("query")),
        ("self_attn.k_proj", every_score("key")),
        ("mlp.down_proj", lambda a: [a.neurons(1)]),
    ],
    ids=["values", "queries", "keys", "neurons"],
)
def test_an_adapter_is_never_called_rounding(path, ask, dtype, size):
    """Adapters leave `.weight` as it was. A split that uses it must be refused, not closed with a rounding row."""
    kind = families.DTYPES[dtype]
    hf = hide(families.build("llama", kind), f"model.layers.1.{path}", size)
    try:
        model = aw.load(hf, tokenizer=families.tokenizer("llama"))
        a = aw.attribute(model.run(families.PROMPT), " Paris")
        opened = ask(a)
    except aw.AttribError:
        return
    for result in opened:
        names = [str(c) for c in result.components] if hasattr(result, "components") else result.labels
        values = result.values if result.values.dim() == 2 else result.values[None]
        hidden = float(values[:, names.index("rounding")].abs().max())
        total = 1 + float(values.abs().sum(-1).max())
        assert hidden <= 4 * torch.finfo(kind).eps * total, (
            f"{path} {dtype}: {hidden:.3f} of {total:.1f} is booked as rounding"
        )
