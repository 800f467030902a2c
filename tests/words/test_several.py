"""One or several, read alike wherever several may be given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.verdicts.circuits import removal
from attrib_widgets.words.components import Component
from attrib_widgets.words.places import Place
from attrib_widgets.words.several import listed, named, prompts
from attrib_widgets.words.targets import rather_than
from fixtures import families

HEAD = Component("head", 1, 2)
ONE = {
    "a name": "L1H2",
    "a name in a list": ["L1H2"],
    "a pair in a tuple": (1, 2),
    "a pair in a list": [1, 2],
    "a pair in a list of one": [(1, 2)],
    "lists within a list": [[1, 2]],
    "an array": np.array([1, 2]),
    "a tensor": torch.tensor([1, 2]),
    "rows of an array": np.array([[1, 2]]),
    "rows of a tensor": torch.tensor([[1, 2]]),
    "numpy's integers": (np.int64(1), np.int32(2)),
    "a component": HEAD,
    "a place": Place("z", 1, 2),
    "a set": {"L1H2"},
    "keys": {"L1H2": 0.5}.keys(),
    "a dict": {"L1H2": 0.5},
    "an array of names": np.array(["L1H2"]),
}
TWO = {
    "a list": ["L0H0", "L1H2"],
    "a tuple": ("L0H0", "L1H2"),
    "a set": {"L1H2", "L0H0"},
    "pairs": [(0, 0), (1, 2)],
    "lists": ([0, 0], [1, 2]),
    "an array": np.array([[0, 0], [1, 2]]),
    "a tensor": torch.tensor([[0, 0], [1, 2]]),
    "components": (Component("head", 0, 0), HEAD),
    "keys": {"L0H0": 1, "L1H2": 2}.keys(),
}
WRONG = {
    "a word": "nonsense",
    "a word in a list": ["nonsense"],
    "a number": 7,
    "half": 2.5,
    "true": [True, False],
    "negative": (1, -2),
    "three numbers": (1, 2, 3),
    "bytes": b"L1H2",
    "None in a list": [None],
}


class Sides:
    """What several calls say of the same spelling."""

    def __init__(self, model):
        ids = families.ids_of("gpt2")
        self.clean, self.corrupted = model.run(ids), model.run([*ids[:3], (ids[3] + 7) % 300, *ids[4:]])
        self.model, self.token = model, self.clean.top(1)[0].id
        self.a = aw.attribute(self.clean, self.token)
        pair = (model, self.clean, self.corrupted, self.token)
        self.calls = {
            "attention": lambda given: [str(h) for h in aw.attention(self.clean, given).heads],
            "patch": lambda given: aw.patch(*pair, components=given).labels,
            "ablate": lambda given: aw.ablate(model, self.clean, self.token, components=given).labels,
            "verify": lambda given: sorted(
                aw.verify(self.a, self.corrupted, top=0, components=given, backups=False).labels
            ),
            "senders": lambda given: aw.path_patch(*pair, senders=given).labels,
            "candidates": lambda given: self.removable(given),
        }

    def removable(self, given):
        """Removed first, of those that were named."""
        return sorted(map(str, aw.greedy_removal(self.a, candidates=given, limit=2).removed))

    def said(self, call, given):
        try:
            return call(given)
        except aw.AttribError as error:
            return type(error).__name__, error.message


@pytest.fixture(scope="module")
def sides(family_model):
    return Sides(family_model("gpt2"))


CALLS = ["attention", "patch", "ablate", "verify", "senders"]


@pytest.mark.parametrize("how", ONE)
@pytest.mark.parametrize("call", CALLS)
def test_one_head_however_it_is_written(sides, call, how):
    assert sides.said(sides.calls[call], ONE[how]) == ["L1H2"]


@pytest.mark.parametrize("how", TWO)
@pytest.mark.parametrize("call", CALLS)
def test_two_heads_however_they_are_written(sides, call, how):
    assert sides.said(sides.calls[call], TWO[how]) == ["L0H0", "L1H2"]


@pytest.mark.parametrize("call", CALLS)
def test_a_generator_and_an_index_of_pandas(sides, call):
    pd = pytest.importorskip("pandas")
    assert sides.said(sides.calls[call], (name for name in ("L0H0", "L1H2"))) == ["L0H0", "L1H2"]
    for given in (pd.Index(["L0H0", "L1H2"]), pd.Series(["L0H0", "L1H2"])):
        assert sides.said(sides.calls[call], given) == ["L0H0", "L1H2"]


@pytest.mark.parametrize("how", WRONG)
def test_what_is_no_component_is_refused_alike(sides, how):
    asked = [sides.calls[name] for name in (*CALLS, "candidates") if (how, name) != ("a number", "candidates")]
    said = [sides.said(call, WRONG[how]) for call in asked]
    assert len(set(said)) == 1 and said[0][0] == "ComponentError", said
    if "word" in how:
        assert "'nonsense'" in said[0][1]


@pytest.mark.parametrize("how", ["a name", "a pair in a list", "a tensor", "a place", "keys"])
def test_candidates_of_a_removal(sides, how, monkeypatch):
    tried = []
    plain = removal._tested
    monkeypatch.setattr(removal, "_tested", lambda a, d, sets, *more: tried.append(sets) or plain(a, d, sets, *more))
    sides.removable(ONE[how])
    assert tried[0] == [[HEAD]]
    tried.clear()
    sides.removable(np.int64(3))
    assert [c for (c,) in tried[0]] == [c for c, _ in sides.a.top(9) if c.kind in ("head", "mlp")][:3]
    for none in (0, -2, []):
        with pytest.raises(aw.ComponentError, match="nothing to remove"):
            sides.removable(none)


@pytest.mark.parametrize("how", ["a name", "a pair in a tuple", "a pair in a list", "an array", "a tensor", "a place"])
def test_where_one_is_wanted_one_is_read_alike(sides, how):
    a, given = sides.a, ONE[how]
    assert a[given] == a["L1H2"] and a.sources(given).total == a.sources("L1H2").total
    p = aw.patch(sides.model, sides.clean, sides.corrupted, sides.token, components=["L1H2", "L0H0"])
    assert p[given] == p["L1H2"]
    assert aw.attention(sides.clean)[given].equal(aw.attention(sides.clean)["L1H2"])
    assert aw.erasure(a, given).writer == HEAD


def test_receivers_sites_layers_positions(sides):
    pair = (sides.model, sides.clean, sides.corrupted, sides.token)
    for given in ("L1H2.q", ["L1H2.q"], Place("q", 1, 2), {"L1H2.q"}, np.array(["L1H2.q"])):
        assert aw.path_patch(*pair, receivers=given, senders="L0H1").receivers == ("L1H2.q",)
    for given in ("L1H2", (1, 2), "L2", "nonsense", [5]):
        with pytest.raises(aw.ComponentError, match="is no receiver"):
            aw.path_patch(*pair, receivers=given)
    for given in ("mlp", ("mlp",), {"mlp"}, np.array(["mlp"])):
        for layers in (1, "L1", [1], np.int64(1), torch.tensor([1]), {1}):
            assert aw.patch(*pair, sites=given, layers=layers).labels == ["L1.mlp"]
    with pytest.raises(aw.ComponentError, match="'nonsense' cannot be patched"):
        aw.patch(*pair, sites="nonsense")
    with pytest.raises(aw.ComponentError, match="'nonsense' is not a layer"):
        aw.patch(*pair, layers="nonsense")
    for given in ([1, 2], (2, 1), {1, 2}, np.array([1, 2]), torch.tensor([1, 2]), range(1, 3)):
        assert aw.patch(*pair, sites="mlp", layers=0, positions=given).labels == ["L0.mlp @1,2"]
        assert sorted(aw.logit_lens(sides.clean, positions=given).positions) == [1, 2]
        cells = aw.verify(sides.a, sides.corrupted, top=0, components="L1H2", positions=given).effects["noise"].cells
        assert {c.positions for c in cells} == {(1, 2)}
    for given in (3, np.int64(3), torch.tensor(3), [3]):
        assert aw.logit_lens(sides.clean, positions=given).positions == [3]
        assert aw.patch(*pair, sites="mlp", layers=0, positions=given).labels == ["L0.mlp @3"]
        assert aw.verify(sides.a, sides.corrupted, top=0, components="L1H2", positions=given).labels == ["L1H2"]
    for call in (
        lambda given: aw.patch(*pair, positions=given),
        lambda given: aw.logit_lens(sides.clean, positions=given),
        lambda given: aw.verify(sides.a, sides.corrupted, positions=given),
    ):
        with pytest.raises(aw.PositionError, match="There are no positions"):
            call([])


def test_prompts():
    ids, chat = [1, 2, 3], [{"role": "user", "content": "a"}]
    for one in ("text", ids, np.array(ids), torch.tensor(ids), chat, {"input_ids": ids}):
        assert len(prompts(one)) == 1
    assert prompts(i for i in ids) == [ids]
    for two in (["a", "b"], ("a", "b"), [ids, ids], torch.tensor([ids, ids]), [chat, "b"], (t for t in ("a", "b"))):
        assert len(prompts(two)) == 2
    assert prompts([]) == prompts(()) == []


def test_readers_alone():
    assert listed([1, 2]) == [1, 2] and named([1, 2]) == [[1, 2]]
    assert listed("L1H2") == ["L1H2"] and listed(None) == [None] and listed(3) == [3]
    assert listed({"L10H2", "L2H0"}) == ["L2H0", "L10H2"]


# -- against= ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def rivals(sides):
    found = sides.clean.top(9)
    return found[0].id, found[5].id


def explained(sides, target, **more):
    """Every call that explains or tests a token, reduced to numbers."""
    model, clean, other = sides.model, sides.clean, sides.corrupted
    pair, first = (model, clean, other, target), dict(components="L1H2", **more)
    return {
        "attribute": lambda: aw.attribute(clean, target, **more).values,
        "patch": lambda: aw.patch(*pair, **first).patched,
        "ablate": lambda: aw.ablate(model, clean, target, **first).ablated,
        "path_patch": lambda: aw.path_patch(*pair, senders="L0H1", **more).patched,
        "attribution_patch": lambda: aw.attribution_patch(*pair, sites="mlp", **more).patched,
        "edge_patch": lambda: aw.edge_patch(*pair, **more).values,
        "integrated_gradients": lambda: aw.integrated_gradients(*pair, steps=1, **more).values,
        "token_effects": lambda: aw.token_effects(model, clean, target, draws=1, **more).changed,
    }


TESTED = [
    "attribute", "patch", "ablate", "path_patch", "attribution_patch", "edge_patch", "integrated_gradients",
    "token_effects",
]  # fmt: skip


@pytest.mark.parametrize("call", TESTED)
def test_against_is_the_difference_of_two_logits(sides, rivals, call):
    answer, rival = rivals
    expected = explained(sides, aw.logit_diff(answer, rival))[call]()
    for target in (answer, aw.logit(answer), aw.logit_diff(answer, rival), sides.model.token(answer)):
        if isinstance(target, str) and sides.model.token_ids(target) != [answer]:
            continue
        assert torch.equal(explained(sides, target, against=rival)[call](), expected)
    said = []
    for target in (None, aw.log_prob(answer), aw.logit_diff(answer, rival + 1)):
        with pytest.raises(aw.TargetError) as caught:
            explained(sides, target, against=rival)[call]()
        said.append(str(caught.value))
    assert "nothing to hold against it" in said[0] and "goes with a token" in said[1] and "already" in said[2]


@pytest.mark.parametrize("call", TESTED)
def test_a_rival_is_one_token_by_its_text_and_by_its_id(sides, rivals, call):
    answer, rival = rivals[0], sides.model.single_token(" Rome")
    difference = aw.logit_diff(answer, " Rome")
    expected = explained(sides, difference)[call]()
    for given in (rival, " Rome", [rival]):
        assert torch.equal(explained(sides, difference, against=given)[call](), expected)
    with pytest.raises(aw.TargetError, match=r"difference from ' Rome' already, and against=\d+ is another"):
        explained(sides, difference, against=rival + 1)[call]()


def test_a_rival_of_an_attribution_is_one_token_by_its_text_and_by_its_id(sides, rivals):
    a = aw.attribute(sides.clean, rivals[0], against=[" Rome", " Paris"])
    ids = [sides.model.single_token(text) for text in (" Paris", " Rome")]
    assert aw.verify(a, sides.corrupted, against=ids, top=0, components="L1H2", backups=False).findings
    assert aw.erasure(a, "L1H2", against=ids).contribution == a["L1H2"]
    assert rather_than(a.target, [" Rome", " Paris"]) is a.target
    with pytest.raises(aw.TargetError, match="is written otherwise"):  # without a model nobody knows
        rather_than(a.target, ids)


def test_against_on_an_attribution(sides, rivals):
    answer, rival = rivals
    plain, other = aw.attribute(sides.clean, answer), aw.attribute(sides.clean, answer, against=rival)
    assert aw.erasure(plain, "L1H2", against=rival).contribution == other["L1H2"]
    for a, more in ((plain, {"against": rival}), (other, {}), (other, {"against": rival})):
        v = aw.verify(a, sides.corrupted, top=0, components="L1H2", backups=False, **more)
        assert v.gap == pytest.approx(
            other.actual - aw.attribute(sides.corrupted, answer, against=rival).actual, abs=1e-5
        )
        assert v.attributions[0].target == other.target
