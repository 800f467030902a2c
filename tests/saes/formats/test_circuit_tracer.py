"""Sets of circuit-tracer, a file a layer; and cross-layer transcoders, by their formula a layer at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import attrib_widgets as aw
from attrib_widgets.words.errors import AttribError, ComponentError
from fixtures import families

WIDTH, COUNT, LAYERS = 6, 18, 3
THRESHOLD = "activation_function.threshold"
SET = {
    "model_kind": "transcoder_set", "feature_input_hook": "mlp.hook_in", "feature_output_hook": "hook_mlp_out",
    "model_name": "Qwen/Qwen3-0.6B", "scan": "someone/x",
}  # fmt: skip


def written(folder: Path, config: dict, width: int = WIDTH, **others) -> list[dict[str, torch.Tensor]]:
    """A set, with a tensor more of each name in ``others`` (a function of nothing)."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in config.items()))
    found = []
    for layer in range(LAYERS):
        t = {
            "W_enc": torch.randn(COUNT, width), "b_enc": torch.randn(COUNT), "W_dec": torch.randn(COUNT, width),
            "b_dec": torch.randn(width), **{key.replace("__", "."): make() for key, make in others.items()},
        }  # fmt: skip
        save_file(t, folder / f"layer_{layer}.safetensors")
        found.append(t)
    return found


def formula(t: dict, x: torch.Tensor, k: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    pre = x @ t["W_enc"].T + t["b_enc"]
    if THRESHOLD in t:
        acts = pre * (pre > t[THRESHOLD])
    elif k is not None:
        acts = pre * (pre >= pre.topk(k).values[:, -1:])
    else:
        acts = pre.relu()
    return acts, acts @ t["W_dec"] + t["b_dec"] + (x @ t["W_skip"].T if "W_skip" in t else 0)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("activation", ["relu", None, "jump_relu", "topk", "k in the file"])
def test_a_layer_of_a_set_is_its_formula(tmp_path, activation, skip):
    others: dict = {"W_skip": lambda: torch.randn(WIDTH, WIDTH)} if skip else {}
    if activation == "jump_relu":  # below zero too: what passes is kept as it is
        others[THRESHOLD.replace(".", "__")] = lambda: torch.randn(COUNT)
    if activation == "k in the file":
        others["k"] = lambda: torch.tensor(17)
    said = {"activation": activation, "k": 17} if activation == "topk" else {"activation": activation}
    k = 17 if activation in ("topk", "k in the file") else None
    tensors = written(tmp_path, SET | ({} if activation == "k in the file" else said), **others)
    x = torch.randn(40, WIDTH)
    for layer, t in enumerate(tensors):
        for sae in (aw.read_sae(tmp_path, site=f"L{layer}.mlp"), aw.read_sae(tmp_path / f"layer_{layer}.safetensors")):
            acts, out = formula(t, x, k)
            assert torch.allclose(sae.encode(x), acts, atol=1e-5) and torch.allclose(sae.rebuild(x), out, atol=1e-4)
            assert (str(sae.site), str(sae.writes)) == (f"L{layer}.mlp_in", f"L{layer}.mlp")
            for feature in (0, 9):
                assert torch.allclose(sae.column(x, feature), acts[:, feature], atol=1e-5)
    if k or activation == "jump_relu":
        assert bool((acts < 0).any())
    assert sae.metadata == {"model_name": "Qwen/Qwen3-0.6B"}


@pytest.mark.parametrize(
    ("hook", "site", "coordinates"),
    [
        ("hook_resid_mid", "mid", "raw"),
        ("ln2.hook_normalized", "mlp_in", "hook_normalized"),
        ("mlp.hook_in", "mlp_in", "raw"),
    ],
)
def test_where_a_set_reads(tmp_path, hook, site, coordinates):
    written(tmp_path, SET | {"feature_input_hook": hook})
    sae = aw.read_sae(tmp_path, site="L1.mlp")
    assert str(sae.site) == f"L1.{site}" and sae.coordinates == coordinates
    assert str(aw.read_sae(tmp_path, site=f"L1.{site}").writes) == "L1.mlp"
    with pytest.raises(AttribError, match="holds 3 dictionaries: layer_0"):
        aw.read_sae(tmp_path)


@pytest.mark.parametrize(
    ("change", "others", "said"),
    [
        ({"model_kind": "cross_layer_transcoder"}, {}, "model_kind = 'cross_layer_transcoder'"),
        ({"model_kind": None}, {}, "model_kind = None"),
        ({"activation": "gelu"}, {}, "activation = 'gelu'"),
        ({"activation": "topk"}, {}, "activation = 'topk' and k = None"),
        ({"k": 4}, {}, "activation = None and k = 4"),
        ({"activation": "relu", "k": 4}, {}, "activation = 'relu' and k = 4"),
        ({"activation": "topk", "k": "4"}, {}, "k = '4', which is no whole number"),
        ({"activation": "topk", "k": 4}, {"k": lambda: torch.tensor(5)}, r"k = 4, and layer_1\.safetensors 5"),
        ({"activation": "topk"}, {"k": lambda: torch.tensor([5, 6])}, r"k in .* is \[5, 6\], no whole number"),
        ({"activation": "topk"}, {"k": lambda: torch.tensor(4.5)}, r"k in .* is 4\.5, no whole number"),
        ({"activation": "relu"}, {"activation_function__threshold": lambda: torch.rand(COUNT)}, "has thresholds"),
        ({"feature_input_hook": "attn.hook_q"}, {}, "hook_q.*cannot be read"),
        ({"feature_output_hook": None}, {}, "feature_output_hook = None"),
        ({"rescale": 2}, {}, "rescale = 2"),
        ({}, {"bias": lambda: torch.zeros(2)}, "holds bias"),
        ({}, {"W_skip": lambda: torch.zeros(2, 2, dtype=torch.int32)}, "W_skip in .* is int32"),
        ({}, {"W_skip": lambda: torch.zeros(2, 2)}, r"w_skip of the dictionary for L1\.mlp_in is \[2, 2\]"),
    ],
)
def test_what_a_set_says_and_is_not_read_is_refused(tmp_path, change, others, said):
    written(tmp_path, SET | change, **others)
    file = tmp_path / "layer_1.safetensors"
    with pytest.raises(AttribError, match=said):
        aw.read_sae(file)


@pytest.mark.parametrize("text", ["model_kind: [", "!!python/object/apply:os.getcwd []", "- a\n- b", "a: &a [*a]"])
def test_yaml_is_text(tmp_path, text):
    written(tmp_path, SET)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(AttribError):
        aw.read_sae(tmp_path / "layer_1.safetensors")


def test_a_set_whose_files_lie_elsewhere_names_them(tmp_path):
    names = [f"hf://google/gemma-scope-2b-pt-transcoders/layer_{i}/width_16k/average_l0_76/params.npz" for i in (0, 1)]
    (tmp_path / "config.yaml").write_text(json.dumps({**SET, "transcoders": names}))
    with pytest.raises(AttribError, match=r"the address of each of 2: hf://google.*layer_0.*download=True"):
        aw.read_sae(tmp_path)


def test_a_set_is_taken_in_a_layer_at_a_time(tmp_path):
    model = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    written(
        tmp_path, {**SET, "model_name": ""}, model.d_model, W_skip=lambda: torch.randn(model.d_model, model.d_model)
    )
    model.saes.add(tmp_path)
    assert [str(place) for place in model.saes] == ["L0.mlp_in", "L1.mlp_in", "L2.mlp_in"][: model.n_layers]
    found = aw.attribute(model.run(families.PROMPT), " Paris").features("L1.mlp")
    assert found.site == "L1.mlp_in" and abs(found.mismatch) <= 1e-6 * (1 + float(found.values.abs().sum()))


def cross_layer(folder: Path, kind: str, thresholds: bool, skip: bool = False) -> list[dict[str, torch.Tensor]]:
    """The tensors of a cross-layer transcoder by their names without a layer, of circuit-tracer or Gemma Scope 2."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for i in range(LAYERS):
        t = {
            "W_enc": torch.randn(COUNT, WIDTH), "b_enc": torch.randn(COUNT), "b_dec": torch.randn(WIDTH),
            "W_dec": torch.randn(COUNT, LAYERS, WIDTH), **({"threshold": torch.rand(COUNT)} if thresholds else {}),
        }  # fmt: skip
        t["W_dec"][:, :i] = 0
        if skip:
            t["skip"] = torch.randn(WIDTH, WIDTH)
        found.append(t)
        if kind == "tracer":
            first = {f"{key}_{i}": t[key] for key in ("W_enc", "b_enc", "b_dec", "threshold") if key in t}
            save_file(first, folder / f"W_enc_{i}.safetensors")
            save_file({f"W_dec_{i}": t["W_dec"][:, i:].contiguous()}, folder / f"W_dec_{i}.safetensors")
        else:
            names = {"w_enc": t["W_enc"].T.contiguous(), "w_dec": t["W_dec"], "affine_skip_connection": t.get("skip")}
            names |= {key: t[key] for key in ("b_enc", "b_dec", "threshold")}
            save_file({k: v for k, v in names.items() if v is not None}, folder / f"params_layer_{i}.safetensors")
    config = {**SET, "model_kind": "cross_layer_transcoder", "feature_input_hook": "hook_resid_mid"}
    if kind == "tracer":
        (folder / "config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in config.items()))
    else:
        (folder / "config.json").write_text(json.dumps({"type": "clt", "model_name": "google/gemma-3-1b-pt"}))
    return found


@pytest.mark.parametrize(
    ("kind", "thresholds", "skip"),
    [("tracer", False, False), ("tracer", True, False), ("gemma", True, False), ("gemma", True, True)],
)
def test_a_cross_layer_transcoder_is_its_formula(tmp_path, kind, thresholds, skip):
    tensors = cross_layer(tmp_path, kind, thresholds, skip)
    x = [torch.randn(20, WIDTH) for _ in range(LAYERS)]
    read = aw.read_cross_layer(tmp_path)
    active = []
    for i, t in enumerate(tensors):
        pre = x[i] @ t["W_enc"].T + t["b_enc"]
        active.append(pre * (pre > t["threshold"]) if thresholds else pre.relu())
        assert torch.allclose(read.encode(i, x[i]), active[i], atol=1e-5)
    for j, t in enumerate(tensors):
        out = sum(active[i] @ tensors[i]["W_dec"][:, j] for i in range(j + 1)) + t["b_dec"]
        out = out + x[j] @ t["skip"] if skip else out
        assert torch.allclose(read.decode(j, active, x[j]), out, atol=1e-4)
    assert [str(sae.site) for sae in read.layers] == [
        f"L{i}.{'mid' if kind == 'tracer' else 'mlp_in'}" for i in range(3)
    ]
    assert "3 layers: 18 features of 6 numbers" in repr(read)
    with pytest.raises(ComponentError, match="has no layer 3"):
        read.encode(3, x[0])
    for call in (aw.read_sae, aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2")).saes.add):
        with pytest.raises(AttribError, match=r"write to several layers.*aw\.read_cross_layer"):
            call(tmp_path)


def test_cross_layer_files_that_cannot_be_are_refused(tmp_path):
    tensors = cross_layer(tmp_path / "a", "tracer", False)
    (tmp_path / "a" / "W_enc_1.safetensors").unlink()
    with pytest.raises(AttribError, match=r"lacks W_enc_1\.safetensors"):
        aw.read_cross_layer(tmp_path / "a")
    cross_layer(tmp_path / "a", "tracer", False)
    save_file({"W_dec_1": tensors[1]["W_dec"]}, tmp_path / "a" / "W_dec_1.safetensors")
    with pytest.raises(AttribError, match=r"is \[18, 3, 6\], not \[18, 2, d_out\]"):
        aw.read_cross_layer(tmp_path / "a")
    cross_layer(tmp_path / "b", "gemma", True)
    (tmp_path / "b" / "config.json").write_text(json.dumps({"type": "crosscoder"}))
    with pytest.raises(AttribError, match="type = 'crosscoder'"):
        aw.read_cross_layer(tmp_path / "b")
    with pytest.raises(AttribError, match="holds no cross-layer transcoder"):
        aw.read_cross_layer(tmp_path)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "cc_weights.pt").touch()
    with pytest.raises(AttribError, match="crosscoder of two models"):
        aw.read_sae(tmp_path / "c")
