"""Many interventions in few passes are the same interventions one by one, recomputed in full."""

from __future__ import annotations

import itertools

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.running.worker import Job
from attrib_widgets.model.tracing import schedule as plan
from attrib_widgets.model.tracing.edits import Edit
from attrib_widgets.model.tracing.sweep import sweep
from attrib_widgets.model.tracing.sweep_pass import Pass
from fixtures import families

ALL = families.FAMILIES + families.VARIANTS + families.CARRIED + families.JOINED + families.BLIND + families.STREAMS
# Their attention counts positions itself, for a buffer or a temperature, or looks one back.
UNPACKED = {"gpt_neo", "llama4_text", "zaya"}


def runs(model, name, text=families.PROMPT, differ=3):
    ids = families.ids_of(name, text)
    other = list(ids)
    for p in range(1, len(ids)) if differ is None else [differ]:
        other[p] = (other[p] + 7) % 300
    return model.run(ids), model.run(other)


def everything(base, source, positions):
    """One intervention per head, sublayer and stream, at ``positions``; and two at once."""
    model, d, rec = base.model, base.model.geometry[0].d_head, source.record
    at = tuple(positions)

    def head(layer, h):
        return Edit("z", layer, at, rec.z[layer][list(at), h * d : (h + 1) * d], h)

    found = [[head(layer, h)] for layer in range(model.n_layers) for h in range(model.n_heads)]
    for layer in range(model.n_layers):
        found.append([Edit("attn", layer, at, rec.attn_out[layer][list(at)])])
        found.append([Edit("mlp", layer, at, rec.mlp_out[layer][list(at)])])
    found += [[Edit("stream", layer, at, rec.at("pre", layer)[list(at)])] for layer in range(model.n_layers + 1)]
    for site in model.anatomy.besides if model.n_streams > 1 else ():
        found += [[Edit(site, layer, at, rec.at(site, layer)[list(at)])] for layer in range(model.n_layers)]
    return [*found, [head(0, 1), head(2, 0)], []]


def one_by_one(base, interventions, target=-1):
    target = base.position(target)
    rows = []
    for writes in interventions:
        kept = [
            Edit(
                w.site,
                w.layer,
                tuple(p for p in w.positions if p <= target),
                w.value[: sum(p <= target for p in w.positions)],
                w.head,
            )
            for w in writes
        ]
        slow = Pass(base, [kept], 0, target, plain=True) if writes else None
        rows.append(slow.run()[0][1] if slow else base.record.streams[-1][target])
    return torch.stack(rows)


def distance(got, expected):
    return float((got.float() - expected.float()).abs().max() / expected.float().abs().max())


def places(n):
    return {"last": [n - 1], "all": range(n), "middle": [n // 2 + 2 * (n > 10)], "two": [1, n - 2]}


@pytest.mark.parametrize("where", ["last", "all", "middle", "two"])
@pytest.mark.parametrize("text", [families.PROMPT, families.LONG_PROMPT], ids=["short", "long"])
@pytest.mark.parametrize("name", ALL)
def test_rows_agree_with_single_runs(family_model, name, text, where):
    model = family_model(name)
    base, source = runs(model, name, text, differ=None)
    interventions = everything(base, source, places(base.n_positions)[where])
    if name in UNPACKED:
        sweep(base, interventions[:2])  # the first of a model finds out what it allows
    swept = sweep(base, interventions)
    expected = one_by_one(base, interventions)
    assert swept.complete and (not swept.notes or name in UNPACKED)
    assert distance(swept.streams, expected) <= 1e-5
    moved = (expected - expected[-1]).abs().amax(-1)
    assert int((moved > 100 * distance(swept.streams, expected)).sum()) > len(interventions) / 4, (
        "hardly anything was changed"
    )
    assert swept.forwards < len(interventions) / 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ALL)
def test_half_precision(family_model, name, dtype):
    model = family_model(name, dtype)
    base, source = runs(model, name, differ=1)
    interventions = everything(base, source, [base.n_positions - 1])
    swept = sweep(base, interventions)
    assert not swept.notes or name in UNPACKED
    assert distance(swept.streams, one_by_one(base, interventions)) <= 16 * torch.finfo(dtype).eps


@pytest.mark.parametrize("name", families.OTHERS)
def test_other_families_are_exact_whatever_way_they_take(name):
    try:
        model = aw.load(families.build(name), tokenizer=families.tokenizer(name))
    except aw.AttribError as refused:
        pytest.skip(f"refused: {refused}")
    base, source = runs(model, name, families.LONG_PROMPT, differ=1)
    for where in ("last", "all"):
        interventions = everything(base, source, places(base.n_positions)[where])
        assert distance(sweep(base, interventions).streams, one_by_one(base, interventions)) <= 1e-5


def test_a_target_before_the_end(family_model):
    model = family_model("llama")
    base, source = runs(model, "llama", families.LONG_PROMPT)
    interventions = everything(base, source, range(base.n_positions))
    swept = sweep(base, interventions, 10)
    assert distance(swept.streams, one_by_one(base, interventions, 10)) <= 1e-5


def test_what_was_read_on_the_way(family_model):
    model = family_model("gpt2")
    base, source = runs(model, "gpt2")
    interventions = everything(base, source, range(base.n_positions))[:12]
    asked = [("stream", 2), ("mlp", 1)]
    swept = sweep(base, interventions, reads=asked)
    for i, writes in enumerate(interventions):
        slow = Pass(base, [list(writes)], 0, base.n_positions - 1, plain=True, reads=tuple(asked))
        _, read = slow.run()
        for place in asked:
            numbers, rows = read[place]
            assert numbers.tolist() == [0] and distance(swept.reads[place][i], rows[0]) <= 1e-5, (i, place)
    later = [i for i, w in enumerate(interventions) if w[0].layer == 2]
    assert torch.equal(swept.reads["stream", 2][later[0]], base.record.streams[2])


def test_small_budgets_give_the_same(family_model):
    model = family_model("llama")
    base, source = runs(model, "llama", families.LONG_PROMPT)
    interventions = everything(base, source, range(base.n_positions))
    sweep(base, interventions)  # a comparison with full recomputation comes with the first use
    whole, chunked = sweep(base, interventions), sweep(base, interventions, budget=400_000)
    assert chunked.forwards > 2 * whole.forwards
    assert distance(chunked.streams, whole.streams) <= 1e-5


def test_memory_that_runs_out_halves_the_rows(family_model, monkeypatch):
    model = family_model("llama")
    base, source = runs(model, "llama")
    interventions = everything(base, source, range(base.n_positions))
    expected = sweep(base, interventions).streams
    plain, sizes = Pass.run, []

    def run(self):
        sizes.append(self.count)
        if self.count > 5:
            raise torch.OutOfMemoryError("out of memory")
        return plain(self)

    monkeypatch.setattr(Pass, "run", run)
    swept = sweep(base, interventions)
    assert swept.complete and distance(swept.streams, expected) <= 1e-5
    tried = [(a, b) for a, b in itertools.pairwise(sizes) if a > 5]
    assert tried and all(b == a // 2 for a, b in tried)


def test_progress_cancel_and_what_is_done_so_far(family_model):
    model = family_model("llama")
    base, source = runs(model, "llama", families.LONG_PROMPT)
    interventions = everything(base, source, range(base.n_positions))
    seen = []

    def listen(done, total, note):
        seen.append((done, total))
        if len(seen) == 2:
            job.cancel()

    def work(job):
        return sweep(base, interventions, job=job, budget=400_000)

    job = Job(work, listen)
    job.run()
    swept = job.result
    assert not swept.complete and 0 < int(swept.done.sum()) < len(interventions)
    assert len(seen) == 2 and seen[1][1] == len(interventions), "cancelled at the next pass"
    expected = sweep(base, interventions).streams
    assert distance(swept.streams[swept.done], expected[swept.done]) <= 1e-5
    assert torch.equal(swept.streams[~swept.done][0], base.record.streams[-1][-1])


def test_a_family_that_does_not_allow_it_is_recomputed_in_full(monkeypatch):
    """The comparison at first use finds a wrong mask, and the sweep is right all the same and says so."""
    model = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    base, source = runs(model, "llama")
    interventions = everything(base, source, [base.n_positions - 1])
    plain = Pass._attention

    def blind(self, layer, device):
        given = plain(self, layer, device)
        given["attention_mask"] = given["attention_mask"].clone()
        given["attention_mask"][..., 1] = torch.finfo(torch.float32).min
        return given

    monkeypatch.setattr(Pass, "_attention", blind)
    swept = sweep(base, interventions)
    assert "not used" in swept.notes[0] and swept.notes[-1] == "Recomputed in full."
    assert distance(swept.streams, one_by_one(base, interventions)) <= 1e-5


def test_a_pass_that_goes_wrong_later_is_noticed_by_its_untouched_row(monkeypatch):
    model = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    base, source = runs(model, "llama")
    interventions = everything(base, source, [base.n_positions - 1])
    assert not sweep(base, interventions).notes
    plain = Pass._attention
    monkeypatch.setattr(
        Pass,
        "_attention",
        lambda self, layer, device: {
            k: v * 0 if k == "attention_mask" else v for k, v in plain(self, layer, device).items()
        },
    )
    swept = sweep(base, interventions)
    assert "came out changed" in swept.notes[0]
    assert distance(swept.streams, one_by_one(base, interventions)) <= 1e-5


def test_the_model_is_left_as_it_was(family_model):
    model = family_model("gemma2")
    base, source = runs(model, "gemma2")
    before = {k: v.clone() for k, v in model.hf.state_dict().items()}
    ids = torch.tensor([base.ids])
    with torch.no_grad():
        logits = model.hf(ids).logits
        sweep(base, everything(base, source, range(base.n_positions)))
        assert torch.equal(model.hf(ids).logits, logits)
    assert all(torch.equal(before[k], v) for k, v in model.hf.state_dict().items())


def test_passes_are_merged_when_that_is_cheaper():
    def extents(table):
        return [plan.Extent(0, p) for p, count in table for _ in range(count)]

    apart = plan.grouped(extents([(0, 100), (15, 100)]), 15)
    assert [p.start for p in apart] == [0, 15]
    together = plan.grouped(extents([(14, 2), (15, 2)]), 15)
    assert [p.start for p in together] == [14] and len(together[0].rows) == 4
    rows = [r for p in plan.grouped(extents([(3, 5), (0, 4), (9, 40)]), 30) for r in p.rows]
    assert sorted(rows) == list(range(49))


def test_out_of_memory_by_any_name():
    assert plan.out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate"))
    assert plan.out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert not plan.out_of_memory(RuntimeError("shape mismatch"))


def test_what_was_found_out_lives_with_the_model_and_can_be_forgotten():
    model = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    base, source = runs(model, "llama")
    rows = everything(base, source, [5])[4:7]
    first, again = sweep(base, rows), sweep(base, rows)
    assert again.forwards < first.forwards, "the comparison with full recomputation is for the first use"
    assert model.keeps("layers wrap") and model.keeps(("prefix", False), base)
    assert not model.keeps(("prefix", False), source), "keys and values are kept beside their own run"
    model.forget()
    assert not model.keeps("layers wrap") and not model.keeps(("prefix", False), base)
    assert sweep(base, rows).forwards == first.forwards


def test_another_attention_code_is_tried_anew():
    model = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    base, source = runs(model, "llama")
    rows = everything(base, source, [5])[4:7]
    first = sweep(base, rows).forwards
    before = model.config._attn_implementation
    other = "eager" if before != "eager" else "sdpa"
    model.hf.set_attn_implementation(other)
    there, there_source = runs(model, "llama")
    assert sweep(there, everything(there, there_source, [5])[4:7]).forwards == first
    model.hf.set_attn_implementation(before)
    assert sweep(base, rows).forwards == first, "a setting changed in between: nothing known is taken over"
    assert sweep(base, rows).forwards < first


@pytest.mark.parametrize("name", ["gemma4_text", *families.STREAMS])
def test_what_is_written_behind_the_last_mlp_stands_at_its_position(family_model, name):
    """The last MLP is given the target position alone; what is added behind it is not."""
    model = family_model(name)
    base, source = runs(model, name, families.LONG_PROMPT)
    at, rec = (base.n_positions - 2, base.n_positions - 1), source.record
    own = [Edit("beside", 2, at, rec.beside_out[2][list(at)])]
    heads = [[Edit("z", 2, at, rec.z[2][list(at), h * 16 : (h + 1) * 16], h)] for h in range(3)]
    interventions = [[Edit("mlp", 0, at, rec.mlp_out[0][list(at)])], own, *heads]
    swept, expected = sweep(base, interventions), one_by_one(base, interventions)
    assert distance(swept.streams, expected) <= 1e-5
    assert not swept.notes and distance(expected[1], base.record.streams[-1][-1]) > 1e-3


@pytest.mark.parametrize("name", ["llama", "gptj"])
def test_a_cache_by_its_newer_name(name):
    """Where the model calls its cache ``cache``, it is given by that name: the older one warns, and will go."""
    hf = families.build(name)
    given: list[bool] = []

    class Newer(type(hf)):
        def forward(self, input_ids=None, cache=None, position_ids=None, use_cache=None, logits_to_keep=0, **more):
            assert "past_key_values" not in more
            given.append(cache is not None)
            more |= {"position_ids": position_ids, "use_cache": use_cache, "logits_to_keep": logits_to_keep}
            return super().forward(input_ids, past_key_values=cache, **more)

    hf.__class__ = Newer
    base, source = runs(aw.load(hf, tokenizer=families.tokenizer(name)), name, families.LONG_PROMPT)
    interventions = everything(base, source, [base.n_positions - 1])
    swept = sweep(base, interventions)
    assert not swept.notes and any(given)
    assert distance(swept.streams, one_by_one(base, interventions)) <= 1e-5
