"""Dictionaries: encoding and decoding, the folder format, training on a planted dictionary, judging."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attrib_widgets.saes import judge
from attrib_widgets.saes.formats import read_sae
from attrib_widgets.saes.formats.hooks import known_spot
from attrib_widgets.saes.formats.saelens import hook_name, write_sae
from attrib_widgets.saes.sae import SAE, keep_largest
from attrib_widgets.saes.train import SAESettings, train_sae
from attrib_widgets.words.components import component
from attrib_widgets.words.errors import AttribError
from fixtures.dictionaries import identity


def planted(samples: int, width: int = 48, features: int = 40, active: int = 3):
    """(samples, their codes, the dictionary) of sparse sums of random directions, off centre."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.nn.functional.normalize(torch.randn(features, width, generator=generator), dim=1)
    codes = torch.zeros(samples, features)
    picked = torch.rand(samples, features, generator=generator).topk(active).indices
    codes.scatter_(1, picked, 1 + torch.rand(samples, active, generator=generator))
    return codes @ rows + 0.5, codes, rows


def test_identity_dictionary_has_no_error():
    x = torch.randn(5, 7, 12)
    sae = identity(12)
    assert torch.equal(sae.decode(sae.encode(x)), x) and not sae.error(x).any()
    assert (sae.encode(x) >= 0).all() and int((sae.encode(x) > 0).sum()) == x.numel()


@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu"])
@pytest.mark.parametrize("subtract", [True, False])
def test_encoding_is_its_formula(architecture, subtract):
    torch.manual_seed(0)
    w_enc, w_dec, b_enc, b_dec = torch.randn(6, 20), torch.randn(20, 6), torch.randn(20), torch.randn(6)
    threshold = torch.rand(20) if architecture == "jumprelu" else None
    sae = SAE(component("L0"), architecture, w_enc, b_enc, w_dec, b_dec, 4, threshold, subtract)
    for x in torch.randn(30, 6):
        pre = [float((x - b_dec if subtract else x) @ w_enc[:, f] + b_enc[f]) for f in range(20)]
        expected = [max(v, 0.0) for v in pre]
        if architecture == "topk":
            least = sorted(pre)[-4]
            expected = [v if p >= least else 0.0 for v, p in zip(expected, pre, strict=True)]
        if architecture == "jumprelu":
            expected = [v if p > t else 0.0 for v, p, t in zip(expected, pre, threshold.tolist(), strict=True)]
        assert sae.encode(x).tolist() == pytest.approx(expected, abs=1e-5)
        assert torch.allclose(sae.decode(sae.encode(x)) + sae.error(x), x, atol=1e-5)


def test_the_shape_of_a_dictionary_is_checked():
    good = identity(4)
    for change, said in [
        ({"w_dec": good.w_enc}, r"w_dec of the dictionary for L1\.mlp is \[4, 8\], not \[8, 4\]"),
        ({"w_enc": good.w_enc[0]}, r"w_enc of .* is \[8\]"),
        ({"w_enc": good.w_enc[None]}, r"w_enc of .* is \[1, 4, 8\]"),
        ({"w_enc": good.w_enc[:, :0]}, r"w_enc of .* is \[4, 0\]"),
        ({"b_enc": torch.zeros(())}, r"b_enc of .* is \[\]"),
        ({"b_dec": [0.0] * 4}, "b_dec of .* is list"),
        ({"b_dec": None}, "b_dec of .* is NoneType"),
        ({"w_enc": good.w_enc.long()}, r"w_enc of .* is torch\.int64"),
        ({"architecture": "gated"}, "gated"),
        ({"architecture": "topk"}, "needs its k"),
        ({"architecture": "topk", "k": 0}, "cannot have k = 0"),
        ({"architecture": "topk", "k": 9}, "of 8 features cannot have k = 9"),
        ({"architecture": "topk", "k": "8"}, "cannot have k = '8'"),
        ({"architecture": "topk", "k": True}, "cannot have k = True"),
        ({"architecture": "jumprelu"}, "needs a threshold"),
        ({"threshold": torch.ones(8)}, "standard dictionary has no use for a threshold"),
        ({"architecture": "jumprelu", "threshold": torch.ones(7)}, r"threshold of .* is \[7\], not \[8\]"),
    ]:
        with pytest.raises(AttribError, match=said):
            replace(good, **change)
    for name in ("w_enc", "b_enc", "w_dec", "b_dec"):
        for value in (torch.nan, torch.inf, -torch.inf):
            with pytest.raises(AttribError, match=f"{name} of .* not finite"):
                replace(good, **{name: torch.full_like(getattr(good, name), value)})
        half, x = replace(good, **{name: getattr(good, name).half()}), torch.randn(5, 4)
        assert getattr(half, name).dtype == torch.float32 and torch.equal(half.encode(x), good.encode(x))


@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu"])
@pytest.mark.parametrize("subtract", [True, False])
def test_one_feature_alone_is_the_column_of_all(architecture, subtract):
    torch.manual_seed(5)
    sae = SAE(
        "L0", architecture, torch.randn(6, 20), torch.randn(20), torch.randn(20, 6), torch.randn(6), 4,
        torch.rand(20) if architecture == "jumprelu" else None, subtract,
    )  # fmt: skip
    x = torch.randn(3, 7, 6)
    for feature in range(20):
        assert torch.allclose(sae.column(x, feature), sae.encode(x)[..., feature], atol=1e-6)


def test_storage_that_would_overflow_is_refused(tmp_path: Path):
    """Whatever it is to be written in: the type is named, and nothing is left behind."""
    for dtype, limit in ((torch.float16, 65504.0), (torch.float8_e4m3fn, 448.0), (torch.float8_e5m2, 57344.0)):
        good = replace(identity(4), w_dec=identity(4).w_dec * limit)
        write_sae(good, tmp_path / str(dtype), dtype)
        assert torch.equal(read_sae(tmp_path / str(dtype)).w_dec, good.w_dec)
        with pytest.raises(AttribError, match=f"W_dec .*L1.mlp has numbers beyond what {dtype} holds"):
            write_sae(replace(good, w_dec=good.w_dec * 2), tmp_path / "over", dtype)
        assert not (tmp_path / "over").exists()


@pytest.mark.parametrize("site", ["L0.post", "L3.mlp", "L11.z", "L0.pre", "L3.mid", "L2.attn_out", "L5.mlp_in"])
def test_sites_and_hook_names(site):
    assert str(known_spot(hook_name(site)).place) == site
    with pytest.raises(AttribError, match="hook_q"):
        known_spot("blocks.1.attn.hook_q")


def test_the_stream_before_a_layer_is_the_one_behind_the_layer_before():
    assert str(known_spot("blocks.4.hook_resid_pre").place) == "L3.post"
    assert str(known_spot("blocks.0.hook_resid_pre").place) == "L0.pre"


@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu"])
def test_a_folder_is_read_as_it_was_written(tmp_path: Path, architecture):
    torch.manual_seed(1)
    threshold = torch.rand(9) if architecture == "jumprelu" else None
    sae = SAE(
        component("L2.attn"), architecture, torch.randn(5, 9), torch.randn(9), torch.randn(9, 5), torch.randn(5),
        k=3 if architecture == "topk" else None, threshold=threshold, metadata={"model_name": "m"},
    )  # fmt: skip
    write_sae(sae, tmp_path / "L2.attn")
    config = json.loads((tmp_path / "L2.attn" / "cfg.json").read_text())
    assert config["d_in"] == 5 and config["d_sae"] == 9 and config["reshape_activations"] == "hook_z"
    assert config["metadata"] == {"model_name": "m", "hook_name": "blocks.2.attn.hook_z"}
    again = read_sae(tmp_path / "L2.attn")
    x = torch.randn(8, 5)
    assert torch.equal(again.encode(x), sae.encode(x)) and torch.equal(again.error(x), sae.error(x))
    assert str(again.site) == "L2.z" == str(sae.site)


def test_eight_bits_are_storage_only(tmp_path: Path):
    """Matrices are rounded to three bits behind the point; whoever reads the file is told to compute in float32."""
    torch.manual_seed(2)
    rows = torch.nn.functional.normalize(torch.randn(40, 24), dim=1)
    sae = SAE(component("L1"), "topk", rows.T * 2, torch.randn(40), rows, torch.randn(24) * 300, k=4)
    write_sae(sae, tmp_path, torch.float8_e4m3fn)
    assert json.loads((tmp_path / "cfg.json").read_text())["dtype"] == "float32"
    again = read_sae(tmp_path)
    assert torch.equal(again.b_dec, sae.b_dec) and torch.equal(again.b_enc, sae.b_enc)
    assert again.w_dec.dtype == torch.float32 and 0 < float((again.w_dec - rows).abs().max()) <= 2**-5
    big = rows.abs() > 2**-6  # what is smaller is rounded to a fixed grid
    assert float(((again.w_dec - rows) / rows)[big].abs().max()) <= 2**-4
    assert (tmp_path / "sae_weights.safetensors").stat().st_size < 2 * 40 * 24 + 4 * (40 + 24) + 600


def test_a_head_has_no_dictionary_of_its_own(tmp_path: Path):
    with pytest.raises(AttribError, match="No dictionary reads L0H1"):
        write_sae(identity(4, "L0H1"), tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_training_finds_a_planted_dictionary():
    x, codes, rows = planted(6000)
    settings = SAESettings(features=60, k=3, steps=700, batch=512, learning_rate=5e-3)
    sae = train_sae(x[:5000], component("L0"), settings)
    held, told = x[5000:], codes[5000:]
    explained = judge.explained(held, sae.decode(sae.encode(held)))
    assert explained > 0.97 and judge.curve(sae, held, [1, 3])[3] == pytest.approx(explained, abs=1e-9)
    assert torch.allclose(sae.w_dec.norm(dim=1), torch.ones(60), atol=1e-5)
    nearest = (rows @ sae.w_dec.T).max(1).values
    assert float((nearest > 0.95).float().mean()) > 0.9
    # Its features tell the planted ones, held-out samples included; single coordinates do not.
    truth = {str(f): told[:, f] > 0 for f in range(40)}
    judged = torch.arange(len(held)) % 2 == 1
    features = judge.detectors(sae.encode(held), truth, judged)
    numbers = judge.detectors(torch.cat([held, -held], 1), truth, judged)
    assert len(features) == 40 and sum(d.clean for d in features) > 30 > 5 > sum(d.clean for d in numbers)
    again = train_sae(x[:5000], component("L0"), settings)
    assert torch.equal(again.w_enc, sae.w_enc)


def test_training_goes_on_from_a_dictionary_of_nearby_activations():
    """Activations that were turned and shifted a little: what was learned is kept, and found again in few steps."""
    x, _, _ = planted(6000)
    settings = SAESettings(features=60, k=3, steps=700, batch=512, learning_rate=5e-3)
    before = train_sae(x[:5000], component("L0"), settings)
    some = torch.randn(48, 48, generator=torch.Generator().manual_seed(1))
    moved = x @ torch.linalg.matrix_exp(0.02 * (some - some.T)) * 1.1 + 0.3
    train, held = moved[:5000], moved[5000:]
    few = replace(settings, steps=120, learning_rate=2.5e-3)
    found = {on: judge.curve(train_sae(train, component("L0"), few, on), held, [3])[3] for on in (None, before)}
    assert 1 - found[before] < (1 - found[None]) / 2
    with pytest.raises(AttribError, match=f"reads {x.shape[1]} numbers, the activations have {x.shape[1] - 1}"):
        train_sae(x[:100, 1:], component("L0"), few, before)
    # As many steps as none: it is the same dictionary, on this scale too, as far as the features go.
    none = replace(few, steps=0)
    same = train_sae(train, component("L0"), none, before)
    assert torch.allclose(same.decode(same.encode(held)), before.decode(before.encode(held)), atol=1e-4)
    # Also one that encodes without its decoder bias, and whose rows have another length.
    other = replace(
        before, w_enc=before.w_enc / 2, b_enc=(before.b_enc - before.b_dec @ before.w_enc) / 2, w_dec=2 * before.w_dec
    )
    other = train_sae(train, component("L0"), none, replace(other, subtract=False))
    assert torch.allclose(other.decode(other.encode(held)), before.decode(before.encode(held)), atol=1e-4)
    # Fewer: those with the largest squares. More: new ones, that fire on nothing yet what the old ones explain.
    energy = before.encode(train).square().sum(0)
    fewer = train_sae(train, component("L0"), replace(none, features=20), before)
    strongest = before.w_dec[energy.topk(20).indices]
    assert torch.allclose(fewer.w_dec, strongest, atol=1e-6)
    more = train_sae(train, component("L0"), replace(none, features=90), before)
    assert more.n_features == 90 and torch.allclose(more.w_dec.norm(dim=1), torch.ones(90), atol=1e-5)
    left = {on: judge.curve(on, held, [3])[3] for on in (same, more)}
    assert left[more] == pytest.approx(left[same], abs=0.02)


def test_variance_explained_and_its_rivals():
    x, _, _ = planted(3000)
    train, held = x[:2000], x[2000:]
    mean = train.mean(0)
    assert judge.explained(held, held) == 1 and abs(judge.explained(held, held.mean(0).expand_as(held))) < 1e-6
    found = judge.pca(train, held, [1, 8, 48])
    assert found[1] < found[8] < found[48] == pytest.approx(1, abs=1e-5)
    some = judge.random_dictionary(train, held[:200], 64, [1, 4, 48])
    assert 0 < some[1] < some[4] < some[48] == pytest.approx(1, abs=1e-4)
    # One random direction at a time, by hand.
    rows = torch.nn.functional.normalize(torch.randn(64, 48, generator=torch.Generator().manual_seed(0)), dim=1)
    y = held[:200] - mean
    along = (y @ rows.T).abs().max(1)
    rebuilt = rows[along.indices] * (y * rows[along.indices]).sum(1, keepdim=True) + mean
    assert some[1] == pytest.approx(judge.explained(held[:200], rebuilt), abs=1e-6)


def test_dead_features_are_counted():
    sae = identity(6)
    assert judge.dead_share(sae, torch.ones(10, 6)) == 0.5
    assert judge.dead_share(sae, torch.tensor([[1.0, -1.0] * 3, [-1.0, 1.0] * 3])) == 0


def test_keep_largest():
    pre = torch.tensor([[3.0, -1.0, 2.0, 0.5], [-3.0, -1.0, -2.0, 4.0]])
    assert keep_largest(pre, 2).tolist() == [[3, 0, 2, 0], [0, 0, 0, 4]]


def test_a_detector_is_judged_on_other_samples():
    torch.manual_seed(0)
    truth = torch.rand(4000) < 0.3
    noise = torch.rand(4000, 20)
    perfect = truth.float() * (1 + torch.rand(4000))
    judged = torch.rand(4000) < 0.5
    (found,) = judge.detectors(torch.cat([noise, perfect[:, None]], 1), {"it": truth}, judged)
    # The threshold comes from the other half, so a sample just below it is missed.
    assert found.column == 20 and found.precision == 1 and found.recall > 0.99
    (nothing,) = judge.detectors(noise, {"it": truth}, judged)
    assert not nothing.clean and nothing.precision < 0.4
    # What holds where it is chosen and not where it is judged is no detector.
    (undone,) = judge.detectors((perfect * ~judged)[:, None], {"it": truth}, judged)
    assert undone.recall == 0 and undone.f1 == 0 and found.f1 == pytest.approx(2 * found.recall / (1 + found.recall))
    assert judge.detectors(noise, {"it": truth & judged}, judged) == [], "nothing to choose by"


@pytest.mark.parametrize("k", [1, 5, 40])
def test_what_a_topk_dictionary_keeps_is_the_same_however_it_is_looked_at(k, monkeypatch):
    """Some positions and some features at a time, or all of them: every feature's activation, and no other."""
    torch.manual_seed(0)
    w_enc, x = torch.randn(8, 43), torch.randn(3, 7, 8)
    sae = SAE(component("L0.mlp"), "topk", w_enc, torch.randn(43), w_enc.T.contiguous(), torch.randn(8), k)
    expected = sae.encode(x)
    monkeypatch.setattr("attrib_widgets.saes.sae.PIECE", 40)
    monkeypatch.setattr("attrib_widgets.saes.sae.ROWS", 4)
    values, where = sae.largest(x)
    assert values.shape == where.shape == (3, 7, k) and all(len(set(row)) == k for row in where.flatten(0, 1).tolist())
    torch.testing.assert_close(torch.zeros_like(expected).scatter_(-1, where, values), expected, rtol=1e-6, atol=1e-6)


def test_weights_without_numbers_are_refused():
    rows = torch.randn(6, 4)
    given = {"w_enc": rows.T, "b_enc": torch.zeros(6), "w_dec": rows, "b_dec": torch.zeros(4)}
    with pytest.raises(AttribError, match=r"w_enc of the dictionary for L1\.mlp is on the meta device"):
        SAE("L1.mlp", "standard", **{name: t.to("meta") for name, t in given.items()})


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        (lambda x: x[..., :3], r"gave \[2, 3\]\. Activations are \[2, 6\]"),
        (lambda x: torch.full((*x.shape[:-1], 6), math.nan), "numbers that are not finite"),
        (lambda x: x.tolist(), "gave a list"),
    ],
)
def test_an_encoder_that_gives_no_activations_is_refused(encoder, said):
    rows = torch.randn(6, 4)
    sae = SAE("L1.mlp", "given", rows.T, torch.zeros(6), rows, torch.zeros(4), encoder=encoder)
    for asked in (sae.encode, sae.rebuild):
        with pytest.raises(AttribError, match=said):
            asked(torch.randn(2, 4))
