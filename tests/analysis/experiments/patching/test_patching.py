"""Every cell of every site is what one plain forward pass with one hook says."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.running.worker import Job
from fixtures import families
from fixtures.patching_twin import SITES, PatchTwin, given_up

ALL = families.TWINS + families.VARIANTS
TARGET = 17


def prompts(name, text=families.PROMPT, differ=3):
    """(clean, corrupted) ids that differ at one position."""
    clean = families.ids_of(name, text)
    corrupted = list(clean)
    corrupted[differ] = (corrupted[differ] + 7) % 300
    return clean, corrupted


@pytest.fixture(scope="module")
def pair(family_model):
    def make(name, text=families.PROMPT, differ=3, attn="sdpa"):
        model = family_model(name, attn=attn)
        return model, *(model.run(ids) for ids in prompts(name, text, differ))

    return make


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", ALL)
def test_cells_agree_with_one_forward_each(pair, name, direction):
    model, clean, corrupted = pair(name, attn="eager")
    base, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    slow = PatchTwin(name, families.build(name, attn="eager"), base.ids, source.ids)
    worst, moved = 0.0, 0.0
    for positions in (None, [-1], "each"):
        p = aw.patch(model, clean, corrupted, TARGET, sites=SITES, positions=positions, direction=direction)
        assert p.complete and not given_up(p.cost), p.cost.notes
        unpatched = slow.logits()[-1, TARGET]
        for i, cell in enumerate(p.cells):
            (part,) = cell.parts
            if positions == "each" and (part.row + cell.positions[0]) % 2:
                continue  # half of the cells, to keep this short
            at = range(base.n_positions) if cell.positions is None else cell.positions
            expected = float(slow.patched(part.grid, part.row, part.head, at)[-1, TARGET])
            got = float(p.patched[0, i])
            assert got == pytest.approx(expected, abs=2e-5), f"{name}: {cell} is {got}, one forward says {expected}"
            worst, moved = max(worst, abs(got - expected)), max(moved, abs(expected - float(unpatched)))
    assert moved > 0.1, "nothing was patched"


@pytest.mark.parametrize("name", ALL)
def test_a_prompt_longer_than_the_window(pair, name):
    model, clean, corrupted = pair(name, families.LONG_PROMPT, differ=9, attn="eager")
    slow = PatchTwin(name, families.build(name, attn="eager"), corrupted.ids, clean.ids)
    for positions in (None, [-1], [12]):
        p = aw.patch(model, clean, corrupted, TARGET, sites=["z", "k"], positions=positions)
        assert not given_up(p.cost), p.cost.notes
        for i, cell in enumerate(p.cells):
            part = cell.parts[0]
            at = range(clean.n_positions) if cell.positions is None else cell.positions
            expected = float(slow.patched(part.grid, part.row, part.head, at)[-1, TARGET])
            assert float(p.patched[0, i]) == pytest.approx(expected, abs=2e-5), f"{name}: {cell}"


@pytest.mark.parametrize("name", ALL)
def test_clean_into_clean_changes_nothing(pair, name):
    model, clean, _ = pair(name)
    p = aw.patch(model, clean, clean, TARGET, sites=SITES, positions="each")
    assert torch.equal(p.patched[0], p.clean.expand(len(p.cells)))
    assert p.values.isnan().all() and "no gap" in p.title()


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", ALL)
def test_nothing_is_zero_and_the_whole_stream_is_one(pair, name, direction):
    model, clean, corrupted = pair(name)
    p = aw.patch(model, clean, corrupted, TARGET, components=[[], "L0H0"], direction=direction)
    assert float(p.values[0]) == 0.0
    moved = int((clean.logits() - corrupted.logits()).abs().argmax())  # rounding is divided by the gap
    whole = aw.patch(model, clean, corrupted, moved, sites="stream", direction=direction)
    assert whole.values.tolist() == pytest.approx([1.0] * (model.n_layers + 1), abs=1e-5)


def test_all_heads_and_the_mlp_together_are_the_layer(pair):
    model, clean, corrupted = pair("llama")
    heads = [f"L1H{h}" for h in range(model.n_heads)]
    p = aw.patch(model, clean, corrupted, TARGET, components=[heads, "L1.attn", "L1", [*heads, "L1.mlp"]])
    assert float(p.values[0]) == pytest.approx(float(p.values[1]), abs=1e-6)
    assert float(p.values[2]) == pytest.approx(float(p.values[3]), abs=1e-6)
    assert abs(float(p.values[0] - p.values[2])) > 1e-3


def test_values_do_not_matter_before_the_difference(pair):
    """Positions before the first token that differs hold the same in both runs, and are not even computed."""
    model, clean, corrupted = pair("gpt2")
    p = aw.patch(model, clean, corrupted, TARGET, positions="each")
    assert p.grid().shape == (model.n_layers, model.n_heads, clean.n_positions)
    assert (p.grid()[..., :3] == 0).all() and (p.grid()[..., 3:] != 0).any()


def test_metrics(pair):
    model, clean, corrupted = pair("gpt2")
    logits = {run: run.logits().double() for run in (clean, corrupted)}

    def ends(target):
        p = aw.patch(model, clean, corrupted, target, positions=[-1])
        return float(p.clean[0]), float(p.corrupted[0])

    expected = [float(logits[r][5] - logits[r][[7, 9]].mean()) for r in (clean, corrupted)]
    assert ends(aw.logit_diff(5, [7, 9])) == pytest.approx(expected, abs=1e-4)
    expected = [float(logits[r].log_softmax(-1)[5]) for r in (clean, corrupted)]
    assert ends(aw.log_prob(5)) == pytest.approx(expected, abs=1e-4)
    assert ends(aw.prob(5)) == pytest.approx([2.718281828459045**e for e in expected], abs=1e-5)
    expected = [float(logits[r][5] - logits[r].mean()) for r in (clean, corrupted)]
    assert ends(aw.logit(5).centered()) == pytest.approx(expected, abs=1e-4)
    p, q = logits[clean].log_softmax(-1), logits[corrupted].log_softmax(-1)
    assert ends(aw.kl()) == pytest.approx([0.0, float((p.exp() * (p - q)).sum())], abs=1e-4)
    assert ends(lambda rows: rows[:, 5] - rows[:, 7]) == pytest.approx(ends(aw.logit_diff(5, 7)), abs=1e-4)
    with pytest.raises(aw.TargetError, match="one number per row"):
        ends(lambda rows: rows.sum())
    with pytest.raises(aw.TargetError, match="score"):
        ends(aw.score("L1H0"))


def test_pairs_of_prompts(pair):
    model, clean, corrupted = pair("gpt2")
    other = list(corrupted.ids)
    other[3] = (other[3] + 11) % 300
    both = aw.patch(model, [clean, clean], [corrupted, model.run(other)], 5)
    singles = [aw.patch(model, clean, c, 5) for c in (corrupted, other)]
    change = sum(s.changes[0] for s in singles)
    gap = sum(float(s.gap[0]) for s in singles)
    assert both.values.tolist() == pytest.approx((change / gap).tolist(), abs=1e-5)
    assert both.interval is None and "no intervals: fewer than 8 pairs" in both.notes
    assert singles[0].notes[0] == "n = 1: one pair of prompts"


def test_cancelled_before_anything(pair):
    model, clean, corrupted = pair("gpt2")
    job = Job(lambda job: (job.cancel(), aw.patch(model, clean, corrupted, 5, job=job))[1])
    job.run()
    assert not job.result.done.any() and "Cancelled" in job.result.title()
    assert "no gap" not in repr(job.result)


def test_positions_need_pairs_of_one_length(pair):
    model, clean, corrupted = pair("gpt2")
    longer = [[*run.ids, 5] for run in (clean, corrupted)]
    for positions in ("each", [-1]):
        for first, last in ((0, 1), (1, 0)):
            sets = [
                [[run.ids, more][first], [run.ids, more][last]]
                for run, more in zip((clean, corrupted), longer, strict=True)
            ]
            with pytest.raises(aw.PositionError, match="positions=None"):
                aw.patch(model, *sets, 5, positions=positions)
    attributions = [aw.attribute(model.run(ids), 5) for ids in (clean.ids, longer[0])]
    with pytest.raises(aw.PositionError, match="positions=None"):
        aw.verify(attributions, [corrupted.ids, longer[1]], positions=[-1])


def test_errors_name_the_remedy(pair):
    model, clean, corrupted = pair("gpt2")
    with pytest.raises(aw.PositionError, match="as many tokens"):
        aw.patch(model, clean, [*clean.ids, 5], 5)
    with pytest.raises(aw.ComponentError, match="sites are"):
        aw.patch(model, clean, corrupted, 5, sites="zz")
    with pytest.raises(aw.ComponentError, match="3 layers of 4 heads"):
        aw.patch(model, clean, corrupted, 5, components=["L9H0"])
    with pytest.raises(aw.PositionError, match="each"):
        aw.patch(model, clean, corrupted, 5, positions="all")
    with pytest.raises(aw.TargetError, match="denoise"):
        aw.patch(model, clean, corrupted, 5, direction="both")
    for empty in (dict(components=[]), dict(sites=[]), dict(layers=[])):
        with pytest.raises(aw.ComponentError, match="nothing to patch"):
            aw.patch(model, clean, corrupted, 5, **empty)
    with pytest.raises(aw.ComponentError, match="each"):
        aw.patch(model, clean, corrupted, 5, heads="every")
    with pytest.raises(aw.TargetError, match="frozen"):
        aw.patch(model, clean, corrupted, 5, final_norm="off")
    with pytest.raises(aw.PositionError, match="not a position"):
        aw.patch(model, clean, corrupted, 5, positions=True)
    for layers in (1, torch.tensor([1]), [1]):
        assert [str(c) for c in aw.patch(model, clean, corrupted, 5, sites="mlp", layers=layers).cells] == ["L1.mlp"]
    p = aw.patch(model, clean, corrupted, 5, sites=["z", "mlp"])
    with pytest.raises(aw.ComponentError, match="Which site"):
        p.grid()
    assert p["L1H2"] == float(p.heads[1, 2])
    assert list(p.to_dataframe().columns[:3]) == ["cell", "site", "layer"]
    assert "recover" in repr(p)


def test_what_has_no_number_has_no_row(family_model):
    model = family_model("gpt2")
    ids = families.ids_of("gpt2")
    alike = aw.patch(model, ids, ids, 17)
    assert "no gap to explain" in alike.title() and alike.summary().rows == [] and "nan" not in repr(alike)
    job = Job(lambda job: None)
    job.cancel()
    other = [*ids[:3], 5, *ids[4:]]
    for cancelled in (aw.patch(model, ids, other, 17, job=job), aw.ablate(model, ids, 17, job=job)):
        assert cancelled.title().startswith("Cancelled before the first") and "nan" not in repr(cancelled)


def test_of_one_cell_nothing_is_most(family_model):
    model = family_model("gpt2")
    clean, corrupted = model.run(families.PROMPT), model.run([*model.run(families.PROMPT).ids[:-2], 5, 6])
    one = aw.patch(model, clean, corrupted, " Paris", sites="z", components=["L1H1"], positions=[-1])
    assert len(one.cells) == 1 and " most" not in one.title()
    several = aw.patch(model, clean, corrupted, " Paris", sites="z", positions=[-1])
    assert " most: " in several.title()
