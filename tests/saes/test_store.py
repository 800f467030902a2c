"""``model.saes``: which dictionary belongs to which place of a model, where it comes from, and what is refused."""

from __future__ import annotations

import gc
import json
import re
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.saes.cards.making import cards_from
from attrib_widgets.saes.folders import TEXTS
from attrib_widgets.saes.formats.saelens import write_sae
from attrib_widgets.saes.store import Dictionaries
from attrib_widgets.words.errors import AttribError, ComponentError
from attrib_widgets.words.places import Place, place
from fixtures import families

TEXTS_GIVEN = ["The capital of Italy is Rome", "Mary gave the bag to John", "The capital of France is Paris"]


def random_sae(site: str, width: int, seed: int = 0, **metadata) -> aw.SAE:
    torch.manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(20, width), dim=1)
    sae = aw.SAE(site, "topk", rows.T.contiguous(), torch.zeros(20), rows, torch.zeros(width), k=4)
    return replace(sae, metadata=metadata)


@pytest.fixture
def model():
    """A model of its own, whose dictionaries no other test sees."""
    return aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))


@pytest.fixture
def a(model):
    return aw.attribute(model.run(families.PROMPT), " Paris")


def test_a_model_begins_without_and_says_how_to_give_one(model, a):
    assert len(model.saes) == 0 and "L1.mlp" not in model.saes and 'model.saes["L8.mlp"]' in repr(model.saes)
    with pytest.raises(ComponentError, match=r'no dictionary for L1\.mlp.*model\.saes\["L1\.mlp"\]'):
        a.features("L1.mlp")
    for wanted in ("L1.mlp", "L9.mlp", "notes", 3.5):  # one of ours, and what a mapping says
        with pytest.raises(AttribError) as refused:
            model.saes[wanted]
        assert isinstance(refused.value, KeyError) and refused.value.hint
        assert str(refused.value) == f"{refused.value.message} {refused.value.hint}"
    with pytest.raises(ComponentError, match=r'no dictionary for L1\.mlp.*model\.saes\["L1\.mlp"\] = .*there are none'):
        model.saes.cards("L1.mlp")
    assert model.saes.pop("L1.mlp", None) is None
    assert model.saes.get("notes") is None and "notes" not in model.saes and 3.5 not in model.saes


def test_any_spelling_of_a_place_is_one_key(model, a):
    d = model.d_model
    for key, site in (("L1.attn", "L1.z"), ("L1", "L1.post"), ("m1", "L1.mlp")):
        model.saes[key] = random_sae(site, d)
    assert list(model.saes) == [Place("z", 1), Place("mlp", 1), Place("post", 1)]
    assert model.saes["L1"] is model.saes["L1.post"] is model.saes[Place("post", 1)]
    for row, site in (("L1H2", "L1.z"), ("L1.mlp", "L1.mlp"), ("L1", "L1.post"), ("L1.post", "L1.post")):
        own, given = a.features(row), a.features(row, model.saes[site])
        assert own.site == site and own.labels == given.labels and torch.equal(own.values, given.values)
        assert str(own.card().feature).startswith(site + "/")
    assert a.features("L1").card("L1/3").feature == a.features("L1").card("L1.post/3").feature
    del model.saes["L1.attn"]
    assert "L1.z" not in model.saes and len(model.saes) == 2
    lines = repr(model.saes).splitlines()
    assert lines[0].startswith("2 dictionaries of") and lines[1].split() == ["place", "from", "cards", "features"]
    assert lines[2].split() == ["L1.mlp", "memory", "none", "20"]


def test_the_stream_before_a_layer_is_a_key_too(model, a, tmp_path):
    sae = random_sae("L1", model.d_model)
    model.saes["L2.pre"] = sae
    assert list(model.saes) == [Place("post", 1)] and model.saes["L2.pre"] is model.saes["L1"] is sae
    assert "L2.pre" in model.saes and random_sae("L2.pre", model.d_model).site == Place("post", 1)
    found = a.features("L2.pre")
    assert found.site == "L1.post" and torch.equal(found.values, a.features("L1").values)
    assert str(found.card("L2.pre/3").feature) == "L1.post/3"
    write_sae(sae, tmp_path)
    assert aw.read_sae(tmp_path, site="L3.pre").site == Place("post", 2)
    assert aw.read_sae(tmp_path, site="L0.pre").site == Place("pre", 0)
    with pytest.raises(ComponentError, match=r"no dictionary for L0\.pre"):
        a.features("L0.pre")


def test_what_does_not_fit_is_refused_naming_both(model, monkeypatch):
    d = model.d_model
    for key, sae, said in (
        ("L1.mlp", random_sae("L1.mlp", 8), rf"reads 8 numbers, and L1\.mlp of .* has {d}"),
        ("L9.mlp", random_sae("L9.mlp", d), "no layer 9.*0 to 2"),
        ("L0.mlp", random_sae("L1.mlp", d), r"SAE of L1\.mlp.* was given for L0\.mlp"),
        ("L1.mlp", {}, "cannot be a dict"),
        ("L0H1", random_sae("L1.mlp", d), "No dictionary reads L0H1"),
    ):
        with pytest.raises(ComponentError, match=said):
            model.saes[key] = sae
    monkeypatch.setattr(model.hf.config, "_name_or_path", "openai-community/gpt2")
    monkeypatch.setattr(model.hf, "name_or_path", "openai-community/gpt2")
    with pytest.raises(ComponentError, match=r"trained on pythia-70m, and this is .*metadata"):
        model.saes["L1.mlp"] = random_sae("L1.mlp", d, model_name="pythia-70m")
    for name in ("gpt2-small", "gpt2"):
        model.saes["L1.mlp"] = random_sae("L1.mlp", d, model_name=name)
    assert len(model.saes) == 1


@pytest.mark.parametrize(
    ("own", "named", "said"),
    [
        ("openai-community/gpt2", "gpt2-small", ""),
        ("openai-community/gpt2", "gpt2", ""),
        ("meta-llama/Meta-Llama-3-8B", "Llama-3-8B", ""),
        ("EleutherAI/pythia-70m", "pythia-70m-deduped", "trained on pythia-70m-deduped, and this is .*/pythia-70m"),
        ("google/gemma-2-2b-it", "gemma-2-2b", "trained on gemma-2-2b, and this is .*-it"),
        ("somewhere/checkpoints/mine", "gpt2-small", "trained on gpt2-small, and this is .*mine"),
        ("GPT2LMHeadModel", "pythia-70m", "trained on pythia-70m, and this is GPT2LMHeadModel"),
        ("gpt2", 5, ""),
    ],
)
def test_a_dictionary_of_a_model_of_another_name_says_so(own, named, said):
    """What is not known to be another model is read, and told wherever its features are."""
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    model.name = own
    sae = random_sae("L1.mlp", model.d_model, model_name=named)
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    model.saes["L1.mlp"] = sae
    for note in (a.features("L1.mlp").note, a.features("L1.mlp", sae).note):
        assert re.search(said, note) if said else "trained on" not in note


def test_weights_with_another_hash_are_another_model(tmp_path):
    shutil.copytree(aw.demo.path(), tmp_path / "m")
    sae_folder = aw.demo.path() / "saes" / "L2.mlp"
    model = aw.load(str(tmp_path / "m"))
    assert model.saes["L2.mlp"].n_features > 1000
    model.hf.lm_head.weight.data.mul_(1.1)
    model.hf.save_pretrained(tmp_path / "n")
    aw.load("demo").tokenizer.save_pretrained(tmp_path / "n")
    other = aw.load(str(tmp_path / "n"))
    with pytest.raises(ComponentError, match="other weights of demo"):
        other.saes["L2.mlp"] = sae_folder
    with pytest.raises(ComponentError, match="other weights of demo"):  # given for one call, too
        aw.attribute(other.run("The capital of France is"), " Paris").features("L2.mlp", aw.read_sae(sae_folder))
    other.saes["L2.mlp"] = replace(aw.read_sae(sae_folder), metadata={})


def test_folders_beside_the_weights_are_found_and_read_when_asked_for(tmp_path, monkeypatch):
    folder = tmp_path / "m"
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    d = model.d_model
    for name, site in (
        ("L0.attn", "L0.z"),
        ("L1", "L1.post"),
        ("some", "L2.mlp"),
        ("L1.mlp", "L1.mlp"),
        ("x", "L1.mlp"),
    ):
        write_sae(random_sae(site, d), folder / "saes" / name)
    (folder / "saes" / "notes").mkdir()
    write_sae(random_sae("L0.mlp", d), folder / "saes" / "z")
    config = folder / "saes" / "z" / "cfg.json"
    config.write_text(config.read_text().replace("hook_mlp_out", "attn.hook_q"))
    from attrib_widgets.saes import held

    read = []
    monkeypatch.setattr(held, "read_sae", lambda f, site=None: read.append(f.name) or aw.read_sae(f, site))
    model = aw.load(str(folder))
    assert "saes" not in model.__dict__, "loading looks at nothing"
    assert [str(p) for p in model.saes] == ["L0.z", "L1.mlp", "L1.post", "L2.mlp"] and not read
    shown = repr(model.saes)
    assert not read and "L0.attn" in shown and "hook_q" in shown and "notes" not in shown
    assert model.saes["L1.mlp"].n_features == 20 and read == ["L1.mlp"], "named after the place, before what says it"
    assert list(model.saes.passed_over) == ["z"]
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert a.features("L2.mlp").site == "L2.mlp" and a.features("L0H1").site == "L0.z" and len(read) == 3


def test_two_folders_for_one_place_and_a_folder_named_after_another(tmp_path, model):
    for name in ("a", "b", "L0.mlp"):
        write_sae(random_sae("L1.mlp", model.d_model), tmp_path / name)
    model.saes.add(tmp_path)
    with pytest.raises(AttribError, match=r"Several folders are for L1\.mlp.*Choose one"):
        model.saes["L1.mlp"]
    model.saes["L1.mlp"] = tmp_path / "b"
    assert model.saes["L1.mlp"].n_features == 20
    assert model.saes.passed_over == {"L0.mlp": "is for L1.mlp, and its folder is named after L0.mlp"}
    with pytest.raises(ComponentError, match=r"is for L1\.mlp, and was given for L0\.mlp.*site="):
        model.saes["L0.mlp"] = tmp_path / "L0.mlp"


def configured(folder: Path, **changes) -> None:
    """Other settings in the config of a folder."""
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | changes))


def test_of_another_models_folder_nothing_is_taken_in(tmp_path, model):
    d, name = model.d_model, model.name
    model.saes["L1.mlp"] = own = random_sae("L1.mlp", d)
    theirs = tmp_path / "theirs"
    for site, width in (("L1.mlp", 2 * d), ("L1.z", 2 * d), ("L4", d)):
        write_sae(random_sae(site, width), theirs / site)
    version = model.saes.version
    for given in (theirs, [random_sae("L0.mlp", d), theirs]):
        with pytest.raises(
            AttribError, match=rf"theirs can be used: .*reads {2 * d} numbers.*no layer 4 \(they are 0 to 2"
        ):
            model.saes.add(given)
        assert list(model.saes) == [Place("mlp", 1)] and model.saes["L1.mlp"] is own
        assert model.saes.version == version and not model.saes.passed_over
    with pytest.raises(AttribError, match=r"theirs can be used"):
        aw.explore(model, families.PROMPT, saes=theirs)
    # One that fits is taken, and the others are named.
    write_sae(random_sae("L2.mlp", d), theirs / "mine")
    model.saes.add(theirs)
    assert [str(place) for place in model.saes] == ["L1.mlp", "L2.mlp"] and model.saes["L1.mlp"] is own
    shown = repr(model.saes)
    assert f"not read: L1.mlp (reads {2 * d} numbers, and L1.mlp of {name} has {d})" in shown
    assert f"not read: L1.z (reads {2 * d} numbers, and L1.z of {name} has {d})" in shown
    assert f"not read: L4 (is for L4.post, and {name} has no layer 4 (they are 0 to 2))" in shown
    # What has come to fit is no longer named.
    write_sae(random_sae("L1.z", d), theirs / "L1.z")
    model.saes.add(theirs)
    assert "L1.z" in model.saes and list(model.saes.passed_over) == ["L1.mlp", "L4"]


def test_what_lies_beside_the_weights_and_does_not_fit_is_no_key(tmp_path):
    folder = tmp_path / "m"
    built = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    built.hf.save_pretrained(folder)
    built.tokenizer.save_pretrained(folder)
    for site in ("L1.mlp", "L3.mlp"):
        write_sae(random_sae(site, built.d_model), folder / "saes" / site)
    model = aw.load(str(folder))
    assert list(model.saes) == [Place("mlp", 1)] and "no layer 3" in model.saes.passed_over["L3.mlp"]
    own = random_sae("L1.mlp", built.d_model)
    assert model.saes.get("L3.mlp") is None and model.saes.get("L3.mlp", own) is own
    assert model.saes.pop("L3.mlp", None) is None
    with pytest.raises(AttribError, match=r"no dictionary for L3\.mlp"):
        model.saes.pop("L3.mlp")
    assert model.saes.pop("L1.mlp").n_features == 20 and len(model.saes) == 0


def test_what_cannot_be_read_is_no_candidate(tmp_path, model):
    d = model.d_model
    for name in ("a", "b", "c", "L1.mlp"):
        write_sae(random_sae("L1.mlp", d), tmp_path / name)
    configured(tmp_path / "a", architecture="temporal")
    configured(tmp_path / "b", activation_fn="abstopk")
    (tmp_path / "L1.mlp" / "cfg.json").write_text("{")
    model.saes.add(tmp_path)
    assert model.saes["L1.mlp"].n_features == 20 and model.saes.given() == {Place("mlp", 1): tmp_path / "c"}
    passed = model.saes.passed_over
    assert passed["a"] == "has architecture = 'temporal', which is not read here" and "no JSON" in passed["L1.mlp"]
    assert list(passed) == ["L1.mlp", "a", "b"] and "abstopk" in passed["b"]


def test_of_several_folders_the_one_with_readable_weights_is_used(tmp_path, model):
    for name in ("a", "b"):
        write_sae(random_sae("L1.mlp", model.d_model), tmp_path / name)
    (tmp_path / "a" / "sae_weights.safetensors").write_bytes(b"no tensors")
    model.saes.add(tmp_path)
    assert "or 1 more" in repr(model.saes) and not model.saes.passed_over
    assert model.saes["L1.mlp"].n_features == 20 and model.saes.given() == {Place("mlp", 1): tmp_path / "b"}
    assert "or 1 more" not in repr(model.saes) and "cannot be read" in model.saes.passed_over["a"]
    (tmp_path / "b" / "sae_weights.safetensors").write_bytes(b"no tensors")
    model.saes.add(tmp_path)
    with pytest.raises(AttribError, match=r"No dictionary for L1\.mlp can be read: .*/a.*/b"):
        model.saes["L1.mlp"]
    model.saes.clear()
    assert len(model.saes) == 0


def test_everything_that_can_be_added(tmp_path, model):
    one, two = random_sae("L0.mlp", model.d_model), random_sae("L1.z", model.d_model)
    write_sae(one, tmp_path / "one")
    write_sae(two, tmp_path / "two")
    for given, there in (
        (one, ["L0.mlp"]),
        (tmp_path / "two", ["L1.z"]),
        (str(tmp_path), ["L0.mlp", "L1.z"]),
        ({"L0.mlp": tmp_path / "one", "L1.attn": two}, ["L0.mlp", "L1.z"]),
        ([one, tmp_path / "two"], ["L0.mlp", "L1.z"]),
    ):
        model.saes.clear()
        model.saes.add(given)
        assert [str(p) for p in model.saes] == there
        assert all(sae.n_features == 20 for sae in model.saes.values())
    with pytest.raises(AttribError, match=r"cannot|holds no dictionaries"):
        model.saes.add(3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AttribError, match=r"holds nothing.*SAELens"):
        model.saes.add(tmp_path / "empty")


def test_cards_come_from_the_folder_with_their_texts(tmp_path, model, a):
    sae = random_sae("L1.mlp", model.d_model)
    ids = [model.encode(text) for text in TEXTS_GIVEN]
    x = torch.stack([model.run(i).record.mlp_write[1][:5] for i in ids])
    said = [[[f"on {model.token(i)}"] for i in row[:5]] for row in ids]
    write_sae(sae, tmp_path / "L1.mlp")
    cards_from(sae, x, [5] * 3, said).write(tmp_path / "L1.mlp")
    model.saes.add(tmp_path)
    card = a.features("L1.mlp").card()
    assert card.contexts == [] and "model.saes.contexts" in card.missing and card.missing in repr(card)
    assert "labels" in repr(model.saes)
    (tmp_path / TEXTS).write_text(json.dumps(TEXTS_GIVEN))
    model.saes.add(tmp_path)
    feature = int(model.saes.cards("L1.mlp").density.argmax())
    card = a.features("L1.mlp").card(feature)
    read = [[model.token(i) for i in row[:5]] for row in ids]  # what was read for the cards, and no more
    assert card.contexts and all(firing.tokens in read for firing in card.contexts) and not card.missing
    assert a.features("L1.mlp", tmp_path / "L1.mlp").card(feature).contexts == card.contexts
    (tmp_path / TEXTS).write_text("[1]")
    model.saes.add(tmp_path)
    with pytest.raises(AttribError, match="no list of texts"):
        a.features("L1.mlp").card(feature)
    (tmp_path / TEXTS).write_text("[]")
    model.saes.add(tmp_path)
    with pytest.raises(AttribError, match=r"has 0 texts.*belong together"):
        a.features("L1.mlp").card(feature)


def test_texts_given_make_the_cards_of_a_dictionary_without(model, a, tmp_path):
    model.saes["L1.mlp"] = sae = random_sae("L1.mlp", model.d_model)
    bare = a.features("L1.mlp").card(3)
    assert bare.contexts == [] and 'model.saes.contexts = ["..."' in bare.missing and bare.missing in repr(bare)
    model.saes.contexts = TEXTS_GIVEN * 3
    x = {text: sae.encode(model.run(text).record.mlp_write[1].float()) for text in TEXTS_GIVEN}
    for feature in range(sae.n_features):
        card = a.features("L1.mlp").card(feature)
        largest = max(float(active[1:, feature].max()) for active in x.values())
        if largest == 0:
            assert card.contexts == [] and card.missing == "It fires in none of the texts."
            continue
        first = card.contexts[0]
        assert max(first.activations[1:]) == pytest.approx(largest, abs=1e-4)
        assert first.activations[first.position] == pytest.approx(largest, abs=1e-4)
        assert card.density == pytest.approx(
            sum(int((v[1:, feature] > 0).sum()) for v in x.values()) / sum(len(v) - 1 for v in x.values())
        )
    assert any(a.features("L1.mlp").concepts), "labels, once the cards are made"
    model.saes.contexts = None
    assert a.features("L1.mlp").card(3).contexts == []
    (tmp_path / "lines.txt").write_text("\n".join(TEXTS_GIVEN))
    model.saes.contexts = tmp_path / "lines.txt"
    assert model.saes.contexts == TEXTS_GIVEN
    for wrong in ([], [3], 3, "The capital of"):
        with pytest.raises(AttribError, match="list"):
            model.saes.contexts = wrong


def test_the_embedded_model_from_its_own_folder_shows_everything():
    model, demo = aw.load(str(aw.demo.path())), aw.load("demo")
    assert list(model.saes) == list(demo.saes) and len(model.saes) == 15
    assert model.suggestions == demo.suggestions and model.suggestions[0][1:] == aw.demo.tasks["capitals"][0]
    a, b = (aw.attribute(m.run(aw.demo.PROMPT), aw.demo.TARGET) for m in (model, demo))
    for row in ("L2.mlp", "L3H1", "L2"):
        one, other = a.features(row), b.features(row)
        assert one.labels == other.labels and one.concepts == other.concepts and any(one.concepts)
        assert one.card().contexts and one.card().contexts == other.card().contexts
    assert str(place("L3.attn/1444").of) == a.features("L3H1").site


def test_who_listens_hears_of_changes_and_is_not_kept(model):
    class Listener:
        heard = 0

        def hear(self) -> None:
            self.heard += 1

    listener = Listener()
    model.saes.on_change(listener.hear)
    model.saes["L1.mlp"] = random_sae("L1.mlp", model.d_model)
    model.saes.contexts = ["a"]
    del model.saes["L1.mlp"]
    assert listener.heard == 3 == model.saes.version
    gone = weakref.ref(listener)
    del listener
    gc.collect()
    assert gone() is None
    model.saes.contexts = None


def test_one_that_fails_to_hear_keeps_no_other_from_hearing(model):
    class Listener:
        heard = 0

        def fail(self) -> None:
            raise ValueError("mine")

        def hear(self) -> None:
            self.heard += 1

    one, other = Listener(), Listener()
    model.saes.on_change(one.fail)
    model.saes.on_change(other.hear)
    with pytest.raises(ValueError, match="mine"):
        model.saes["L1.mlp"] = random_sae("L1.mlp", model.d_model)
    assert "L1.mlp" in model.saes and other.heard == 1
    model.saes.off_change(one.fail)
    model.saes.off_change(one.fail)
    del model.saes["L1.mlp"]
    assert other.heard == 2


def test_without_a_model_nothing_is_compared(tmp_path: Path):
    write_sae(random_sae("L7.mlp", 5), tmp_path / "L7.mlp")
    found = Dictionaries(tmp_path)
    assert found["L7.mlp"].d_in == 5 and found.cards("L7.mlp") is None
    assert len(Dictionaries(tmp_path / "nowhere")) == 0
