"""How sublayers join the stream, found by trying: against the weights themselves, also once these have changed."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.selfcheck.specimen import families as specimens
from attrib_widgets.model.selfcheck.specimen import small_tokenizer, specimen
from attrib_widgets.saes.cards import written_direction
from attrib_widgets.saes.reading import activations
from fixtures import families

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def parameters(name, layer, number):
    """(keep, gain) of attention and MLP, written down a second time; None where the model multiplies by nothing."""
    if name == "doge":
        return (layer.input_residual, None), (layer.post_attention_residual, None)
    if name == "beam":
        return tuple(
            (torch.tensor(((s - 1) / s) ** 0.5), torch.tensor(s**-0.5)) for s in (2 * number + 2, 2 * number + 3)
        )
    if name == "zaya":
        both = layer.post_attention_residual_scale, layer.post_mlp_residual_scale
        return tuple((s.residual_scale, s.hidden_states_scale) for s in both)
    return (None, None), (None, None)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", families.JOINED + families.BLIND)
def test_what_is_found_is_what_the_weights_say(family_model, name, dtype):
    model = family_model(name, dtype)
    layers = [2] if name == "gpt_neox_japanese" else [0, 1, 2]
    assert sorted(model.joining) == layers, "its last layer alone has a bias of its own"
    # In half precision the stream rounds what is no weight of it, and constants stand beside numbers that end at 65504.
    coarse = dtype != torch.float32 and (name == "beam" or dtype == torch.float16)
    limit = 2e-3 if coarse else 1e-6
    for number in layers:
        layer = model.layer(number)
        for join, (keep, gain) in zip(model.joins()[number], parameters(name, layer, number), strict=True):
            for found, expected in ((join.keep, keep), (join.gain, gain)):
                assert (found is None) == (expected is None)
                if expected is not None:
                    expected = expected.float().expand(families.WIDTH)
                    assert torch.allclose(found, expected, atol=limit, rtol=limit)
            assert join.shift is None or name in ("zaya", "gpt_neox_japanese")


@pytest.mark.parametrize("name", families.JOINED + families.BLIND)
def test_constants_are_told_apart_from_what_is_written(family_model, name):
    """Both constants of a layer together: what stands behind it when nothing is read and nothing given."""
    model = family_model(name)
    nothing = torch.zeros(1, families.WIDTH, dtype=torch.float64)
    for number in sorted(model.joining):
        first, second = model.joins()[number]
        shifts = [0.0 if join.shift is None else join.shift.double() for join in (first, second)]
        total = shifts[1] + second.kept(nothing + shifts[0])
        with torch.no_grad():
            expected = families.JOINS[name](model.layer(number), number, nothing, nothing, nothing)
        assert torch.allclose(total, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["doge", "zaya"])
def test_it_follows_the_weights(name):
    """A step of training moves the residual's gains: the next run is split by the new ones, and still adds up."""
    hf = families.build(name)
    model = aw.load(hf, tokenizer=families.tokenizer(name))
    before = aw.attribute(model.run(families.PROMPT), " Paris")
    layer = model.layer(1)
    moved = layer.input_residual if name == "doge" else layer.post_attention_residual_scale.residual_scale
    with torch.no_grad():
        moved.add_(0.25 * torch.randn(moved.shape, generator=torch.Generator().manual_seed(1)))
    with pytest.raises(aw.ModelError):
        before.sources("L2H0")
    after = aw.attribute(model.run(families.PROMPT), " Paris")
    assert after.exact and abs(after.mismatch) <= 1e-5 * (1 + float(after.values.abs().sum()))
    assert torch.allclose(model.joins()[1][0].keep, moved, atol=1e-6)
    assert abs(after["embed"] - before["embed"]) > 1e-3, "what the embedding wrote arrives otherwise"


def test_one_number_for_all_and_no_number_are_the_same_model():
    """Gains that are all 1 are no gains: the layer is a plain sum, and nothing is tried on it."""
    hf = families.build("doge")
    with torch.no_grad():
        for layer in hf.model.layers:
            layer.input_residual.fill_(1.0)
            layer.post_attention_residual.fill_(1.0)
    model = aw.load(hf, tokenizer=families.tokenizer("doge"))
    assert model.joining == frozenset() and model.granularity == "heads"


def test_a_residual_that_is_no_such_map_leaves_whole_layers():
    """A gate of the stream on the stream itself: no number for every channel says what it does."""
    hf = families.build("doge")
    layer = hf.model.layers[1]

    class Gated(type(layer)):
        def forward(self, hidden_states, *args, **more):
            return super().forward(hidden_states * torch.sigmoid(hidden_states), *args, **more)

    layer.__class__ = Gated
    model = aw.load(hf, tokenizer=families.tokenizer("doge"))
    assert sorted(model.joining) == [0, 2]
    assert not model.level(1).sublayers and "do not add up" in model.level(1).reason
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert "L1" in a.labels and "L0H0" in a.labels and a.exact


@pytest.mark.parametrize("name", families.JOINED)
def test_what_arrives_is_what_a_small_change_moves(family_model, name):
    """The way to the end with every sublayer behind held: the Jacobian of the joins, a layer at a time."""
    model = family_model(name)
    run = model.run(families.PROMPT)
    rec, at = run.record, run.n_positions - 1
    generator = torch.Generator().manual_seed(5)
    for start, part in ((0, "pre"), (0, "attn"), (1, "mlp"), (2, "attn")):
        change = torch.randn(families.WIDTH, generator=generator).double()
        moved = change
        for number in range(start, model.n_layers):
            layer = model.layer(number)
            stream, attn, mlp = (t[number][at : at + 1].double() for t in (rec.streams, rec.attn_out, rec.mlp_out))
            twin = families.JOINS[name]
            with torch.no_grad():
                if number == start and part == "mlp":
                    continue  # it joins behind everything of its layer
                if number == start and part == "attn":  # in front of what the attention is multiplied by
                    gain = model.join("attn", number)
                    if (gain is not None and gain.gain is not None) or model.anatomy.attn_post_norm:
                        pytest.skip("the attention is normed or multiplied before it joins")
                    moved = twin(layer, number, stream, attn + moved, mlp) - twin(layer, number, stream, attn, mlp)
                else:
                    moved = twin(layer, number, stream + moved, attn, mlp) - twin(layer, number, stream, attn, mlp)
                moved = moved[0]
        expected = change * model.carried(start, model.n_layers, part)
        assert torch.allclose(moved, expected.double(), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in ("deepseek_v4", "hy_v4") if name in specimens()])
def test_several_streams_beside_each_other_are_refused(name):
    """One row of such a tensor is no position's stream: whole layers read off it would telescope, and mean nothing."""
    hf, seen = specimen(name), []
    layers = next(m for n, m in hf.named_modules() if n.endswith("layers") and isinstance(m, torch.nn.ModuleList))
    handle = layers[1].register_forward_pre_hook(lambda m, given: seen.append(given[0].shape))
    with torch.no_grad():
        hf(torch.arange(5)[None], use_cache=False)
    handle.remove()
    count = seen[0].numel() // (5 * hf.config.hidden_size)
    assert count > 1
    with pytest.raises(aw.AttribError, match=f"give {count} streams beside each other"):
        aw.load(hf, tokenizer=small_tokenizer())


def multiplied() -> aw.Model:
    """A Granite whose layers leave a part of the stream: what its sublayers give is multiplied by 0.22, too."""
    hf = families.build("granite")

    class Leaving(type(hf.model.layers[0])):
        def forward(self, hidden_states, **more):
            inside = more["attention_mask"], more["position_embeddings"]
            normed = self.input_layernorm(hidden_states)
            attn, _ = self.self_attn(normed, attention_mask=inside[0], position_embeddings=inside[1])
            middle = 0.75 * hidden_states + attn * self.residual_multiplier
            return 1.25 * middle + self.mlp(self.post_attention_layernorm(middle)) * self.residual_multiplier

    for layer in hf.model.layers:
        layer.__class__ = Leaving
    return aw.load(hf, tokenizer=families.tokenizer("granite"))


def test_a_gain_holds_the_multiplier_of_the_model():
    """It is found in front of the multiplier: what was multiplied once is not multiplied again."""
    model = multiplied()
    factor = model.config.residual_multiplier
    assert factor != 1 and sorted(model.joining) == [0, 1, 2] and model.granularity == "heads"
    for join, keep in zip(model.joins()[1], (0.75, 1.25), strict=True):
        assert torch.allclose(join.keep, torch.tensor(keep)) and torch.allclose(join.gain, torch.tensor(factor))
    run = model.run(families.LONG_PROMPT)
    a = aw.attribute(run, " Paris")
    assert a.exact and abs(a.mismatch) <= 1e-6 * float(a.values.abs().sum())
    assert torch.allclose(run.record.mlp_write[1], run.record.mlp_out[1] * factor, atol=1e-6)
    for place in ("L1.mlp", "L1.attn_out", "L1.mid", "L1.z"):
        d, seed = (model.out(1).d_in if place == "L1.z" else model.d_model), torch.Generator().manual_seed(3)
        rows = torch.randn(6, d, generator=seed)
        model.saes[place] = sae = aw.SAE(place, "standard", rows.T.contiguous(), torch.zeros(6), rows, torch.zeros(d))
        x = activations(model, run.record, sae).x
        recorded = {"L1.mlp": run.record.mlp_out, "L1.attn_out": run.record.attn_out, "L1.z": run.record.z}
        if place in recorded:
            assert torch.allclose(x, recorded[place][1], atol=1e-5)
        found = a.features("L1H0" if place == "L1.z" else place)
        assert found.total == pytest.approx(found.parent_value, abs=1e-5 * float(found.values.abs().sum()))
    # Everything that stands at a place, taken out together: the same as taking the place out.
    for place, part in (("L1.mlp", "L1.mlp"), ("L1.attn_out", "L1.attn")):
        every = [f"{place}/{i}" for i in range(6)] + [f"{place}/bias", f"{place}/error"]
        together, whole = (aw.ablate(model, run, " Paris", components=[one]).values for one in (every, part))
        assert torch.allclose(together, whole, atol=1e-4) and float(whole.abs().max()) > 1e-3


@pytest.mark.parametrize("name", [name for name in families.JOINED if name != "gpt_neox_japanese"])
def test_what_stands_between_sublayers_passes_the_join_of_the_mlp_alone(family_model, name):
    """A stream between attention and MLP along what is explained: all that was written up to there, and no more."""
    model = family_model(name)
    run = model.run(families.LONG_PROMPT)
    a = aw.attribute(run, " Paris")
    rows = torch.randn(6, model.d_model, generator=torch.Generator().manual_seed(3))
    empty = torch.zeros(6), torch.zeros(model.d_model)
    model.saes["L1.mid"] = sae = aw.SAE("L1.mid", "standard", rows.T.contiguous(), empty[0], rows, empty[1])
    found = a.features("L1.mid")
    before = [
        c for c in a.components if c.writes and (c.layer is None or c.layer < 1 or (c.layer == 1 and c.kind != "mlp"))
    ]
    assert found.parent_value == pytest.approx(sum(a[c] for c in before), abs=1e-5 * float(a.values.abs().sum()))
    assert found.total == pytest.approx(found.parent_value, abs=1e-5 * float(found.values.abs().sum()))
    # One unit of a feature, as it arrives before the final norm: past the joins of the MLP and of what follows.
    way = model.joins()[1][1].keep * model.carried(2, model.n_layers)
    assert torch.allclose(written_direction(model, sae, 4), rows[4] * way, atol=1e-5)
    model.saes.clear()


def test_a_gain_of_zero_hides_nothing_from_a_dictionary():
    """Of some numbers nothing is added: a dictionary of what the MLP gives reads them all the same, and rows sum."""
    hf = families.build("granite")
    gain = torch.linspace(0, 1, families.WIDTH)

    class Gained(type(hf.model.layers[0])):
        def forward(self, hidden_states, **more):
            inside = more["attention_mask"], more["position_embeddings"]
            normed = self.input_layernorm(hidden_states)
            attn, _ = self.self_attn(normed, attention_mask=inside[0], position_embeddings=inside[1])
            middle = 0.75 * hidden_states + gain * attn
            return middle + gain * self.mlp(self.post_attention_layernorm(middle))

    for layer in hf.model.layers:
        layer.__class__ = Gained
    model = aw.load(hf, tokenizer=families.tokenizer("granite"))
    assert sorted(model.joining) == [0, 1, 2] and float(model.joins()[1][1].gain[0]) == 0
    run, rows = model.run(families.PROMPT), torch.randn(6, model.d_model, generator=torch.Generator().manual_seed(3))
    a = aw.attribute(run, " Paris")
    for place, given in (("L1.mlp", run.record.mlp_out), ("L1.attn_out", run.record.attn_out)):
        empty = torch.zeros(6), torch.zeros(model.d_model)
        model.saes[place] = sae = aw.SAE(place, "standard", rows.T.contiguous(), empty[0], rows, empty[1])
        assert torch.allclose(activations(model, run.record, sae).x, given[1], atol=1e-5)
        found = a.features(place)
        assert found.total == pytest.approx(found.parent_value, abs=1e-5 * float(found.values.abs().sum()))
