"""Every cell of every lesson on another model built like GPT-2, from a folder: a small one that nobody trained."""

from __future__ import annotations

import warnings
from pathlib import Path

import nbformat
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import attrib_widgets as aw
from attrib_widgets.saes.formats.saelens import write_sae
from attrib_widgets.saes.sae import SAE
from attrib_widgets.teach.exercises import LESSONS
from attrib_widgets.words.places import dictionary_place

READ = sorted((Path(__file__).resolve().parents[2] / "notebooks" / "read").glob("*.ipynb"))
LAYERS, WIDTH, WIDE = 5, 32, 48
lessons = pytest.mark.parametrize("path", READ, ids=lambda p: p.stem)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random weights, and the embedded model's tokenizer; nothing says what it can be asked."""
    torch.manual_seed(0)
    tokenizer = aw.load("demo").tokenizer
    sizes = {"n_layer": LAYERS, "n_head": 8, "n_embd": WIDTH, "n_positions": 64, "initializer_range": 0.3}
    where = tmp_path_factory.mktemp("like") / "gpt2_like"
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes)).save_pretrained(where)
    tokenizer.save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def dictionaries(tmp_path_factory):
    """Random ones of two MLPs and of the heads of a layer."""
    torch.manual_seed(1)
    home = tmp_path_factory.mktemp("dictionaries")
    for site in ("L1.mlp", "L2.mlp", "L2.z"):
        up, down = torch.randn(WIDTH, WIDE), torch.randn(WIDE, WIDTH)
        bias = torch.zeros(WIDE), torch.zeros(WIDTH)
        write_sae(SAE(dictionary_place(site), "standard", up, bias[0], down, bias[1]), home / site)
    return home


def cells_of(path: Path, folder: Path) -> list[str]:
    code = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    return [source.replace('MODEL = "demo"', f"MODEL = {str(folder)!r}") for source in code]


def run(cells: list[str], **known: object) -> dict[str, object]:
    """The cells one after the other, in one place, as a kernel runs them."""
    place: dict[str, object] = dict(known)
    for source in cells:
        exec(compile(source, source, "exec"), place)
    return place


@lessons
def test_every_cell_runs_and_every_check_holds(path, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        lesson = run(cells_of(path, folder))["lesson"]
    said = [str(w.message) for w in warned if "need not hold" in str(w.message)]
    if path.stem.startswith("4"):  # without dictionaries the small model stands in
        assert "gpt2_like has no dictionary of an MLP" in capsys.readouterr().out
        assert lesson.model.name == "demo" and not said
    else:
        assert lesson.model.name.endswith("gpt2_like")
        assert len(said) == 1 and f"and not \u00b7{lesson.example.answer.strip()}" in said[0]
    for name in LESSONS[lesson.number].exercises:
        assert lesson[name].done.right is True
        for wrong in ("L9H9", 1e6, torch.zeros(3)):
            assert not lesson[name].check(wrong)


def test_which_concepts_with_dictionaries_of_its_own(folder, dictionaries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = aw.load(folder)
    for place in dictionaries.iterdir():
        model.saes[place.name] = aw.read_sae(place)
    source = next(path for path in READ if path.stem.startswith("4"))
    cells = [cell.replace("aw.load(MODEL)", "given") for cell in cells_of(source, folder)]
    guess = 'mine = "about France"'
    assert sum(guess in cell for cell in cells) == 1
    with pytest.warns(UserWarning, match="need not hold"):
        place = run([cell.replace(guess, "mine = concept.options[0]") for cell in cells], given=model)
    assert place["model"] is model and place["lesson"]["4.1"].done.right is True


def test_a_model_that_answers_is_not_warned_of(folder):
    lesson = aw.teach.lesson(5, folder)
    assert lesson.astray()
    said = {prompt: answer for prompt, answer, *_ in lesson.examples}
    lesson.model.run = lambda text: type("R", (), {"top": lambda self, k: [type("T", (), {"text": said[text]})]})()
    assert lesson.astray() == ""
