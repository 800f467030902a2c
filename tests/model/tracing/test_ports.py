"""One table says where everything is: what is read and written through it is what plain torch hooks see and do."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.anatomy.anatomy import Anatomy
from attrib_widgets.model.anatomy.lookup import find
from attrib_widgets.model.tracing.edits import Edit, flattened
from attrib_widgets.model.tracing.gradient import differentiate
from attrib_widgets.model.tracing.hooks import collect, replaced
from attrib_widgets.model.tracing.ports import ports, require, table
from attrib_widgets.model.tracing.record import record
from attrib_widgets.model.tracing.sweep import sweep
from attrib_widgets.words.components import component
from attrib_widgets.words.places import SITES, Place
from fixtures import families

ALL = families.FAMILIES + families.VARIANTS + families.CARRIED + families.JOINED + families.BLIND
READ = ("pre", "attn_in", "z", "attn", "mid", "mlp_in", "mlp")
LAYER = 1
PARALLEL = {"gpt_neox", "stablelm_parallel", "cohere", "cohere2", "phi", "gptj", "falcon", "falcon_grouped", "codegen"}


def hooked(model, ids, sites, change=None):
    """({site: what passes there in layer 1}, the last stream), by plain hooks that may write one site.

    Spelt out by the layer's own arithmetic: the stream between is what the MLP's norm is given, and a change of it
    is added to what leaves the layer as well.
    """
    a, layer, kept = model.anatomy, model.layer(LAYER), {}
    norm = find(layer, a.mlp_norm) if a.mlp_norm else None
    first = find(layer, "fc1") if a.mlp == "fc2" else find(layer, a.mlp)
    spots = {
        "pre": (layer, True),
        "attn_in": (find(layer, a.attn), True),
        "z": (find(layer, a.attn_out), True),
        "attn": (find(layer, a.attn_out), False),
        "mid": (norm or first, True),
        "mlp_in": (first, True),
        "neuron": (find(layer, a.mlp_down), True),
        "mlp": (find(layer, a.mlp_output or a.mlp), False),
        "beside": (find(layer, a.beside.path) if a.beside else None, False),
    }
    moved = []

    def passing(site, x):
        x = x[0] if isinstance(x, tuple) else x
        kept[site] = x.detach().reshape(-1, x.shape[-1]).clone()
        if change is None or change[0] != site:
            return None
        new = x.clone().reshape(-1, x.shape[-1])
        moved.append(change[1] - new[-1])
        new[-1] = change[1]
        return new.reshape(x.shape)

    def before(site):
        def hook(_, args, named):
            name = None if args else next(iter(named))
            new = passing(site, args[0] if args else named[name])
            if new is None:
                return None
            return ((new, *args[1:]), named) if args else (args, {**named, name: new})

        return hook

    def after(site):
        def hook(_, __, out):
            new = passing(site, out)
            return new if new is None or not isinstance(out, tuple) else (new, *out[1:])

        return hook

    def on(_, __, out):  # the residual of the layer has the change of the stream between as well
        x = (out[0] if isinstance(out, tuple) else out).clone()
        x[:, -1] += moved[0] * families.BEHIND.get(type(layer).__name__, lambda _: 1.0)(layer)
        return (x, *out[1:]) if isinstance(out, tuple) else x

    handles = []
    for site in sites:
        module, reads = spots[site]
        if reads:
            handles.append(module.register_forward_pre_hook(before(site), with_kwargs=True))
        else:
            handles.append(module.register_forward_hook(after(site)))
    if change is not None and change[0] == "mid":
        # Where more follows the MLP, the change joins the stream with what the MLP adds.
        joins = find(layer, a.mlp_post_norm) if a.carry else layer
        handles.append(joins.register_forward_hook(on))
    last = find(model.hf, a.final_norm)
    handles.append(last.register_forward_pre_hook(lambda _, args: kept.update(last=args[0].detach()[0].clone())))
    with torch.no_grad(), model.quiet():
        model.hf(torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return kept, kept["last"]


def close(got, expected, tolerance=2e-5):
    return float((got - expected).abs().max()) <= tolerance * float(expected.abs().max())


def sites_of(model):
    return [row.site for row in ports(model)]


@pytest.mark.parametrize("name", ALL)
def test_reads_and_writes_are_those_of_plain_hooks(family_model, name):
    model = family_model(name)
    base = model.run(families.PROMPT)
    there = [site for site in (*READ, "neuron") if site in sites_of(model)]
    there = [s for s in there if s != "neuron" or find(model.layer(LAYER), model.anatomy.mlp_down) is not None]
    assert ("mid" in there) == (name not in PARALLEL) and "mlp_in" in there
    plain = {site: hooked(model, base.ids, [site])[0][site] for site in there}
    at, noise = (base.n_positions - 1,), torch.Generator().manual_seed(3)
    values = {s: plain[s][-1] + 0.5 * torch.randn(plain[s].shape[1], generator=noise) for s in there}
    d = model.geometry[0].d_head
    cells = []
    for site in there:
        heads = range(model.n_heads) if site == "z" else [None]
        parts = [values[site] if h is None else values[site][h * d : (h + 1) * d] for h in heads]
        cells.append([Edit(site, LAYER, at, v[None], h) for h, v in zip(heads, parts, strict=True)])
    reads = [(site, LAYER) for site in there if site != "neuron"]
    swept = sweep(base, cells, reads=reads)
    for i, site in enumerate(there):
        expected = hooked(model, base.ids, [site], (site, values[site]))[1]
        assert not close(expected[-1], base.record.streams[-1][-1]), f"{site} changed nothing"
        assert close(swept.streams[i], expected[-1]), site
        if site != "mid":
            assert close(record(model, base.ids, edits=_flat(cells[i])).streams[-1], expected), site
        if site != "neuron":  # before its own write
            assert close(swept.reads[site, LAYER][i], plain[site]), site
    for site in ("mid", "attn", "mlp"):
        if site in there:
            assert close(base.record.at(site, LAYER), plain[site])


def _flat(writes):
    return flattened([writes], 0, torch.device("cpu"))


@pytest.mark.parametrize("name", [name for name in ALL if name not in PARALLEL])
def test_a_plain_hook_between_sublayers_changes_the_stream_itself(family_model, name):
    """What stands there is read by the MLP, and goes on beside it: both are changed, as in a sweep."""
    model = family_model(name)
    base = model.run(families.PROMPT)
    value = base.record.mid(LAYER)[-1] + 0.5 * torch.randn(model.d_model, generator=torch.Generator().manual_seed(3))
    last, site = Place("post", model.n_layers - 1), Place("mid", LAYER)

    def change(x):
        new = x.clone()
        new.reshape(-1, x.shape[-1])[-1] = value
        return new

    with replaced(model, site, change):
        found = collect(model, torch.tensor([base.ids]), [last])[last]
    expected = hooked(model, base.ids, ["mid"], ("mid", value))[1]
    assert close(found.reshape(-1, model.d_model)[-1], expected[-1])
    assert not close(expected[-1], base.record.streams[-1][-1]), "nothing was changed"


@pytest.mark.parametrize("name", ["llama", "gemma2", "olmo2", "gpt_neox", "opt", "bloom", "mixtral"])
def test_what_a_sublayer_reads_in_the_last_layer_too(family_model, name):
    """Keys see what attention reads at every position; the MLP of the last layer is given the target alone."""
    model = family_model(name)
    base, other = model.run(families.PROMPT), model.run(families.PROMPT.replace("France", "Japan"))
    last, n = model.n_layers - 1, base.n_positions
    assert other.n_positions == n
    held = sweep(other, [], reads=[("attn_in", last), ("mlp_in", last)]).reads
    assert all(len(v) == 0 for v in held.values())
    sites, everywhere = ("attn_in", "mlp_in", "mlp"), tuple(range(n))
    values = {"mlp": other.record.mlp_out[last]}
    values |= {s: sweep(other, [[]], reads=[(s, last)]).reads[s, last][0] for s in ("attn_in", "mlp_in")}
    cells = [[Edit(site, last, everywhere, values[site])] for site in sites]
    found = sweep(base, cells).streams
    for i, cell in enumerate(cells):
        assert close(found[i], record(model, base.ids, edits=_flat(cell)).streams[-1][-1]), sites[i]
    only_target = [[Edit("attn_in", last, (n - 1,), values["attn_in"][-1:])]]
    assert not close(sweep(base, only_target).streams[0], found[0])


@pytest.mark.parametrize("name", ["llama", "olmo2", "gptj", "opt", "bloom"])
def test_the_gradient_of_what_a_sublayer_reads(family_model, name):
    """A small step at a place moves the metric by its gradient there."""
    model = family_model(name)
    base = model.run(families.PROMPT)
    there = [s for s in ("attn_in", "mid", "mlp_in", "neuron", "mlp") if s in sites_of(model)]
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(1))
    found = differentiate(base, lambda x: x.float() @ direction, [(s, LAYER) for s in there])
    for site in there:
        held = hooked(model, base.ids, [site])[0][site][-1]
        step = 1e-2 * torch.randn(len(held), generator=torch.Generator().manual_seed(2))
        ends = [hooked(model, base.ids, [site], (site, held + sign * step))[1][-1] @ direction for sign in (1, -1)]
        slope = found.at[site, LAYER][0, -1] @ step
        assert float((ends[0] - ends[1]) / 2) == pytest.approx(float(slope), rel=2e-2, abs=2e-4), site


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_one_place_has_several_names(family_model, name):
    model = family_model(name)
    base = model.run(families.PROMPT)
    value = base.record.streams[2] + 1.0
    at = tuple(range(base.n_positions))
    same = [Edit("pre", 2, at, value), Edit("stream", 2, at, value), Edit("post", 1, at, value)]
    assert {(e.site, e.layer) for e in same} == {("pre", 2)}
    swept = sweep(base, [[e] for e in same], reads=[("stream", 3), ("post", 2)])
    assert torch.equal(swept.reads["stream", 3], swept.reads["post", 2])
    ids = torch.tensor([base.ids])
    behind = collect(model, ids, [component("L1"), component("L2")])
    assert close(behind[component("L1")][0], base.record.streams[2])
    assert close(behind[component("L2")][0], base.record.streams[3])


@pytest.mark.parametrize("name", ALL)
def test_rows_stand_in_the_order_of_the_vocabulary(family_model, name):
    model = family_model(name)
    own = [row.site for row in ports(model) if row.site in SITES]
    assert own == [s for s in SITES if s in own] and {"pre", "z", "attn", "mlp_in", "mlp", "post"} <= set(own)


def test_what_cannot_be_read_or_written_is_refused(family_model):
    model, parallel = family_model("llama"), family_model("gptj")
    base = model.run(families.PROMPT)
    value = base.record.z[0][:1]
    for site, layer, word in (("q", 0, "replaced"), ("pattern", 0, "pattern"), ("mlp", 7, "layer 7")):
        with pytest.raises(aw.AttribError, match=word):
            sweep(base, [[Edit(site, layer, (0,), value)]])
    with pytest.raises(aw.AttribError, match="cannot return 'q'"):
        sweep(base, [], reads=[("q", 1)])
    with pytest.raises(aw.AttribError, match="no 'mid'"):
        sweep(parallel.run(families.PROMPT), [], reads=[("mid", 1)])
    with pytest.raises(aw.AttribError, match="no part that wrote"):
        record(model, base.ids, edits=_flat([Edit("mid", 0, (0,), base.record.streams[0][:1])]))
    with pytest.raises(aw.AttribError, match="no 'experts'"):
        require(model, [("experts", 0)])


def test_a_layer_that_keeps_a_copy_of_its_stream_is_noticed():
    hf = families.build("llama")
    norm = hf.model.layers[LAYER].post_attention_layernorm
    plain = norm.forward
    norm.forward = lambda x: plain(x)  # as before: the residual is the norm's own input
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    base = model.run(families.PROMPT)
    at = (base.n_positions - 1,)
    cell = [Edit("mid", LAYER, at, base.record.mid(LAYER)[-1:] + 1.0)]
    assert sweep(base, [cell]).complete
    norm.register_forward_pre_hook(lambda _, args: (args[0].clone(),))
    with pytest.raises(aw.GranularityError, match="keeps a copy of the stream inside layer 1"):
        sweep(model.run(families.PROMPT), [cell])


def test_whole_layers_have_two_ports():
    assert [row.site for row in table(Anatomy("layers", "norm", "head", "embed"), False)] == ["pre", "post"]
