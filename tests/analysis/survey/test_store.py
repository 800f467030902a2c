"""One file for a survey: what is read is what was written, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import attrib_widgets as aw
from fixtures import families


@pytest.fixture(scope="module")
def s():
    groups = {task: aw.demo.pairs(task, 6) for task in ("capitals", "agreement")}
    groups["others"] = list(zip(*(column[6:12] for column in aw.demo.pairs("agreement", 12)[:3]), strict=True))
    return aw.survey(aw.load("demo"), groups, permutations=49, seed=5)


def same(a, b):
    """Equal all the way down; NaN is NaN."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(7e9), b.nan_to_num(7e9))
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def test_what_is_read_is_what_was_written(s, tmp_path):
    assert s.groups["others"].between is not None and s.groups["capitals"].between is None
    path = s.save(tmp_path / "survey.safetensors")
    read = aw.Survey.load(path, "demo")
    for field in fields(s):
        if field.name != "model":
            assert same(getattr(s, field.name), getattr(read, field.name)), field.name
    assert repr(read) == repr(s) and read.to_dataframe().equals(s.to_dataframe())
    assert repr(read["L3H1"]) == repr(s["L3H1"]) and repr(read.by_group()) == repr(s.by_group())
    torch.testing.assert_close(read.open(7).attribution.values, s.values[7], atol=1e-5, rtol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["survey.safetensors"], "nothing is left beside it"


def test_it_is_read_without_the_model_and_says_what_needs_it(s, tmp_path):
    read = aw.Survey.load(s.save(tmp_path / "s"))
    assert read.model is None and read.name == "demo" and str(read) == str(s)
    with pytest.raises(aw.AttribError, match=r"without its model.*aw.Survey.load\(path, model\)"):
        read.open(0)


def test_numbers_of_other_libraries_are_kept(tmp_path):
    prompts = ["The capital of France is", "The capital of Germany is"]
    for one in (np.int64, torch.tensor):
        s = aw.survey("demo", prompts, [one(700), one(701)], position=one(-1), permutations=one(9), seed=one(1))
        assert aw.Survey.load(s.save(tmp_path / "s")).position == -1


def test_another_model_is_refused(s, tmp_path):
    path = s.save(tmp_path / "s")
    other = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    with pytest.raises(aw.ModelError, match=r"made with demo, and .* has other weights"):
        aw.Survey.load(path, other)


def test_files_that_are_none(s, tmp_path):
    path = s.save(tmp_path / "s")
    tensors = load_file(path)
    with pytest.raises(aw.AttribError, match="is not there"):
        aw.Survey.load(tmp_path / "none")
    (tmp_path / "text").write_text("no survey")
    save_file({"values": torch.zeros(3)}, tmp_path / "other")
    save_file(tensors, tmp_path / "bare")
    for name in ("text", "other", "bare"):
        with pytest.raises(aw.AttribError, match=f"{name} is no survey.*survey.save"):
            aw.Survey.load(tmp_path / name)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as content:
        header = content.metadata()
    for name, text in (("version", '{"version": 99}'), ("list", "[]"), ("json", "{")):
        save_file(tensors, tmp_path / name, metadata=dict.fromkeys(header, text))
        with pytest.raises(aw.AttribError, match="version" if name != "json" else "is no survey"):
            aw.Survey.load(tmp_path / name)
    for cut in ("values", "actual", "0.mean", "1.crossed.values", "0.specific.best"):
        few = {key: value for key, value in tensors.items() if key != cut}
        short = {**tensors, cut: tensors[cut][:-1] if tensors[cut].dim() == 1 else tensors[cut][..., :-1, :]}
        for i, content in enumerate((few, short) if cut != "0.specific.best" else (few,)):
            save_file({k: v.contiguous() for k, v in content.items()}, tmp_path / f"cut{i}", metadata=header)
            with pytest.raises(aw.AttribError, match="is no survey"):
                aw.Survey.load(tmp_path / f"cut{i}")


def test_what_does_not_fit_is_refused_when_it_is_read(s, tmp_path):
    """In one sentence, and not later, when it is printed or shown."""
    path = s.save(tmp_path / "s")
    tensors = load_file(path)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as content:
        [(key, text)] = content.metadata().items()

    def refused(why, tensors=tensors, **changed):
        header = json.loads(text)
        for name, value in changed.items():
            (header if name in header else header["groups"][0])[name] = value
        save_file(tensors, tmp_path / "odd", metadata={key: json.dumps(header)})
        with pytest.raises(aw.AttribError, match=f"is no survey: {why}"):
            aw.Survey.load(tmp_path / "odd")

    for name in ("values", "actual", "0.mean", "0.rank_range", "0.specific.p", "0.specific.best", "0.crossed.values"):
        refused(f"{name} is int32", {**tensors, name: tensors[name].nan_to_num(0).int()})
        refused(f"{name} is float", {**tensors, name: tensors[name][None].clone()})
        refused(f"it has no '{name}'", {k: v for k, v in tensors.items() if k != name})
    refused("0.crossed.own is float64", {**tensors, "0.crossed.own": tensors["0.crossed.own"].double()})
    refused("it has numbers that are none", {**tensors, "values": tensors["values"] * torch.nan})
    refused("a group has numbers that are none", {**tensors, "0.same_sign": tensors["0.same_sign"] * torch.nan})
    refused("'None' is no text", name=None)
    refused("'7' is no text", notes=[7])
    refused("'inf' is no number", numbers=[0, 1, float("inf")])
    refused("its header is damaged", stability=10**400)
    refused("its header is damaged", notes=None)


def test_where_it_cannot_be_written(s, tmp_path):
    with pytest.raises(aw.AttribError, match=r"cannot be written.*Give another path"):
        s.save(tmp_path / "no such folder" / "s")
