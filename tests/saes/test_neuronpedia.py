"""Labels and contexts out of Neuronpedia's export files, for the model and the dictionary that they are of."""

from __future__ import annotations

import gzip
import html
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.result.table import render_html
from attrib_widgets.saes.cards.neuronpedia import read_descriptions
from attrib_widgets.saes.sae import SAE
from attrib_widgets.words.errors import AttribError, ComponentError
from attrib_widgets.words.places import dictionary_place

GIVEN = Path(os.environ.get("ATTRIB_WIDGETS_TEST_DICTIONARIES", "")) / "neuronpedia/v1/gpt2-small/1-x-res"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export as Neuronpedia writes it, of made-up content."""
    source = {"modelId": "gpt2-small", "layer": "1-x-res"}
    said = [(str(f), f"words about {f}", "m") for f in (0, 1, 10, 2)] + [("10", "<img src=x onerror=alert(1)>", "m")]
    write(tmp_path / "explanations/batch-0.jsonl.gz", [explained(source, *one) for one in said])
    write(tmp_path / "explanations/batch-10.jsonl.gz", [explained(source, "3", "late", "m")])
    write(tmp_path / "explanations-other/batch-0.jsonl.gz", [explained(source, "1", "other words", "n")])
    write(tmp_path / "features/batch-0.jsonl.gz", [{**source, "index": "1", "frac_nonzero": 0.003}])
    fires = [
        {**source, "index": "1", "tokens": ["The", " <b>cat", "s"], "values": [0, v, 1], "maxValueTokenIndex": 1}
        for v in (2.0, 4.5)
    ]
    write(tmp_path / "activations/batch-0.jsonl.gz", fires)
    (tmp_path / "source.jsonl").write_text("{}")
    return tmp_path


def explained(source: dict[str, str], index: str, text: str, who: str) -> dict[str, object]:
    return {**source, "index": index, "description": text, "typeName": "t", "explanationModelName": who}


def write(file: Path, rows: list[dict[str, object]] | list[str]) -> None:
    file.parent.mkdir(exist_ok=True)
    with gzip.open(file, "wt", encoding="utf-8") as out:
        out.writelines((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def dictionary(width: int, features: int = 20, site: str = "L1", **metadata: str) -> SAE:
    torch.manual_seed(0)
    rows = torch.randn(features, width)
    place = dictionary_place(site)
    empty = torch.zeros(features), torch.zeros(width)
    return SAE(place, "topk", rows.T, empty[0], rows, empty[1], k=min(5, features), metadata=metadata)


@pytest.fixture
def model(family_model) -> Iterator[aw.Model]:
    found = family_model("gpt2", torch.float32)
    found.saes.clear()
    yield found
    found.saes.clear()


def test_descriptions_and_contexts_stand_on_the_card(folder, model):
    model.saes["L1"] = sae = dictionary(model.d_model)
    found = model.saes.describe("L1", folder, model_id="gpt2-small")
    assert found.said[10] == [("words about 10", "m, t"), ("<img src=x onerror=alert(1)>", "m, t")]
    assert found.said[1] == [("words about 1", "m, t"), ("other words", "n, t")] and found.label(3) == "late"
    assert found.density == {1: 0.003} and found.label(19) == "" and "gpt2-small/1-x-res" in repr(found)
    a = aw.attribute(model.run("The capital of Italy is"), " Rome")
    features = a.features("L1")
    assert all(c == found.label(n) for c, n in zip(features.concepts, features.numbers, strict=True) if n >= 0)
    card = features.card(1)
    assert [f.activations[f.position] for f in card.contexts] == [4.5, 2.0]
    assert card.contexts[0].tokens == ["The", " <b>cat", "s"] and card.label == ""
    assert card.described == found.said[1]
    # Its units: what fires at the length of its decoder row there, fires at 1 here.
    assert "decoder rows of length 1" in repr(card) and f"{float(sae.w_dec[1].norm()):.3g}" in repr(card)
    drawn = render_html(features.card(10).summary())
    assert "<img" not in drawn and html.escape("<img src=x onerror=alert(1)>") in drawn
    # Own cards are what is shown first.
    aw.make_cards(model, ["The capital of Italy is Rome"] * 8)
    own = a.features("L1").card(int(model.saes.cards("L1").density.argmax()))
    assert own.contexts[0].tokens[0] == model.token(model.encode("The capital of Italy is Rome")[0])


def test_exports_of_something_else_are_refused_by_name(folder, model):
    model.saes["L1"] = dictionary(model.d_model)
    with pytest.raises(ComponentError, match=r"export in .* is of gpt2-small, and this is .*model_id=\"gpt2-small\""):
        model.saes.describe("L1", folder)
    with pytest.raises(ComponentError, match="is of gpt2-small, not of pythia-70m"):
        model.saes.describe("L1", folder, model_id="pythia-70m")
    model.saes["L1"] = dictionary(model.d_model, neuronpedia_id="gpt2-small/1-res-jb")
    with pytest.raises(ComponentError, match="gpt2-small/1-x-res, and the dictionary of gpt2-small/1-res-jb"):
        model.saes.describe("L1", folder)
    model.saes["L1"] = dictionary(model.d_model, model_name="gpt2")
    assert len(model.saes.describe("L1", folder).said) == 5  # the dictionary itself says whose it is
    with pytest.raises(ComponentError, match=r"layer 1 \(1-x-res\), and the dictionary reads L2"):
        read_descriptions(folder, dictionary(model.d_model, site="L2"))
    with pytest.raises(ComponentError, match=r"feature '10'.*has 4"):
        read_descriptions(folder, dictionary(model.d_model, features=4))
    for index in ("-1", "x", "1.0"):
        write(folder / "explanations/batch-0.jsonl.gz", [
            explained({"modelId": "gpt2-small", "layer": "1-x-res"}, index, "words", "m")
        ])  # fmt: skip
        with pytest.raises(ComponentError, match=f"feature '{index}'"):
            read_descriptions(folder, dictionary(model.d_model))
    write(folder / "explanations/batch-0.jsonl.gz", [explained({"modelId": "gpt2-small", "layer": "2-x"}, "1", "", "")])
    with pytest.raises(AttribError, match=r"layer 2|of gpt2-small/2-x"):
        read_descriptions(folder, dictionary(model.d_model))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("explanations/batch-0.jsonl.gz", b"no gzip", "cannot be read"),
        ("explanations/batch-0.jsonl.gz", gzip.compress(b"{", mtime=0), "cannot be read"),
        ("explanations/batch-0.jsonl.gz", gzip.compress(b"[1]\n", mtime=0), "Line 1 .* no object"),
        ("explanations/batch-0.jsonl.gz", gzip.compress(b'{"a": 1}' * 9, mtime=0)[:-9], "cannot be read"),
        ("activations/batch-0.jsonl.gz", gzip.compress(
            b'{"modelId": "gpt2-small", "layer": "1-x-res", "index": "1", "tokens": ["a"], "values": []}',
            mtime=0), "without a value for every token"),
        *(("activations/batch-0.jsonl.gz", gzip.compress(
            b'{"modelId": "gpt2-small", "layer": "1-x-res", "index": "1", "tokens": ["a"], "values": [%b]}' % odd,
            mtime=0), "whose values are no numbers") for odd in (b"null", b'"x"', b"NaN", b"true", b"[2]")),
    ],
)  # fmt: skip
def test_broken_files_are_named(folder, name, content, said):
    (folder / name).write_bytes(content)
    with pytest.raises(AttribError, match=said) as caught:
        read_descriptions(folder, dictionary(8))
    assert str(folder / name) in str(caught.value)


def test_a_folder_without_an_export_says_what_is_wanted(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(AttribError, match=r"no export of Neuronpedia.*batch-0\.jsonl\.gz"):
            read_descriptions(folder, dictionary(8))


@pytest.mark.skipif(not GIVEN.is_dir(), reason="ATTRIB_WIDGETS_TEST_DICTIONARIES names no folder with neuronpedia")
def test_given_export_files_are_read(tmp_path: Path):
    found = read_descriptions(GIVEN, dictionary(16, 48))
    assert len(found.said) > 30 and ("<img src=x onerror=alert(1)>", "some-model, np_max-act") in found.said[10]
    assert ("a second model's words", "other-model, oai_token-act-pair") in found.said[7]
    assert found.contexts[10][0].activations == [0, 4.5, 1.0] and found.density[0] == 0.003
    for name in ("features", "activations"):  # every row, read a second time
        with gzip.open(GIVEN / name / "batch-0.jsonl.gz", "rt") as lines:
            for row in map(json.loads, lines):
                if name == "features":
                    assert found.density[int(row["index"])] == row["frac_nonzero"]
                else:
                    own = (row["tokens"], row["values"], row["maxValueTokenIndex"])
                    assert own in [tuple(context) for context in found.contexts[int(row["index"])]]
    copied = tmp_path / "1-x-res"
    shutil.copytree(GIVEN, copied)
    assert read_descriptions(copied, dictionary(16, 48)).said == found.said


def test_the_stream_before_a_layer_is_that_behind_the_one_below(folder):
    """What is called 1-... there is read before layer 1: here it is L0.post."""
    with pytest.raises(ComponentError, match="reads L0"):
        read_descriptions(folder, dictionary(8, site="L0"))
    for known in ({"hook_name": "blocks.1.hook_resid_pre"}, {"neuronpedia_id": "gpt2-small/1-x-res"}):
        assert len(read_descriptions(folder, dictionary(8, site="L0", **known)).said) == 5
    with pytest.raises(ComponentError, match="reads L1"):
        read_descriptions(folder, dictionary(8, site="L1", hook_name="blocks.2.hook_resid_pre"))


def test_how_often_a_feature_fires_by_another_count_says_whose(folder, model):
    model.saes["L1"] = dictionary(model.d_model)
    model.saes.describe("L1", folder, model_id="gpt2-small")
    a = aw.attribute(model.run("The capital of Italy is"), " Rome")
    assert "0.3\u00a0% of tokens by the count of gpt2-small/1-x-res" in repr(a.features("L1").card(1))
    assert "by the count" not in repr(a.features("L1").card(2))
