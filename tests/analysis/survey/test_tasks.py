"""The embedded model over its own tasks: which heads are of which task, and what is specific. No number is pinned."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw

TASKS = ("capitals", "two names", "agreement")


@pytest.fixture(scope="module")
def model():
    return aw.load("demo")


@pytest.fixture(scope="module")
def s(model):
    return aw.survey(model, {task: aw.demo.pairs(task, 40) for task in TASKS})


def test_copying_heads_are_specific_to_capitals_and_what_raises_every_capital_is_not(model):
    pairs = aw.demo.pairs("capitals", 63)
    s = aw.survey(model, pairs.clean, pairs.target)
    group = s.group()
    heads = [str(c) for c in s.by_group(3).top["all"]]
    for head in heads:  # they copy: nearly all that they carry comes from the country
        for i in (0, 20, 40):
            a = aw.attribute(model.run(s.ids[i]), aw.logit(pairs.target[i]).centered())
            carried = a.sources(head).values[: len(s.ids[i])].abs()
            assert float(carried[-2]) > 0.8 * float(carried.sum()), (head, pairs.clean[i])
    assert set(heads) <= {str(p) for p in s.passing()}
    # What raises every capital: of the MLPs the one that writes most toward all of them alike.
    mlps = [i for i, p in enumerate(s.parts) if p.kind == "mlp"]
    common = group.crossed.values.double().mean((0, 2))
    raises = max(mlps, key=lambda i: float(common[i]))
    assert float((group.crossed.values[:, raises] > 0).double().mean()) > 0.9
    assert float(group.mean[raises]) > max(float(group.mean[s.parts.index(aw.component(h))]) for h in heads)
    assert float(group.p[raises]) > 0.05 and s.parts[raises] not in s.passing()


def test_three_nearly_disjoint_sets_of_heads_are_seen_by_group(s):
    found = s.by_group(3)
    for task, top in found.top.items():
        means = {p: abs(float(v)) for p, v in zip(s.parts, s.groups[task].mean, strict=True) if p.kind == "head"}
        assert top == sorted(means, key=means.__getitem__, reverse=True)[:3]
    for i, a in enumerate(TASKS):
        for j, b in enumerate(TASKS):
            common = set(found.top[a]) & set(found.top[b])
            assert float(found.overlap[i, j]) == pytest.approx(len(common) / (6 - len(common)))
            assert i == j or len(common) <= 1, (a, b, common)
    frame = found.to_dataframe()
    assert frame["leads"].sum() == 9 and set(frame["component"]) == {str(c) for c in found.components}
    assert torch.equal(found.values[:, 1], s.groups["two names"].mean[[s.parts.index(c) for c in found.components]])


def test_the_leading_head_of_each_task_is_selective_and_specific(s):
    for task in TASKS:
        group, lead = s.groups[task], s.by_group(1).top[task][0]
        i = s.parts.index(lead)
        assert float(group.selectivity[i]) > 0.5 * float(group.mean[i]) > 0 and lead in s.passing(task)
        assert all(float(s.groups[other].p[i]) > 0.05 for other in TASKS if other != task), (task, lead)


def test_what_is_printed_and_drawn_is_what_was_found(s):
    table = s.summary()
    for task in TASKS:
        assert f"{len(s.passing(task))} in {task}" in table.title
    maps = s.plot().axes
    assert [axes.get_title().partition(",")[0] for axes in maps] == list(TASKS)
    most = max(float(g.mean.abs().max()) for g in s.groups.values())
    for axes, group in zip(maps, s.groups.values(), strict=True):
        marks, rings = axes.collections
        size = torch.from_numpy(marks.get_sizes()) / marks.get_sizes().max() * float(group.mean.abs().max())
        torch.testing.assert_close(size.double(), group.mean.abs(), atol=1e-6, rtol=0)
        assert len(rings.get_offsets()) == len(group.passing())
    largest = [axes.collections[0].get_sizes().max() for axes in maps]
    shares = [float(g.mean.abs().max()) / most for g in s.groups.values()]
    assert [size / max(largest) for size in largest] == pytest.approx(shares), "one scale for all groups"
    part = s["L3H5"].plot().axes[0]
    dots = [c.get_offsets() for c in part.collections]
    assert [len(d) for d in dots] == [40, 40, 40]
    assert sorted(dots[1][:, 0].tolist()) == pytest.approx(sorted(s["L3H5"].of("two names").tolist()))
    assert s.by_group().plot().axes[0].images[0].get_array().shape == tuple(s.by_group().values.shape)
