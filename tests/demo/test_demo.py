"""The embedded model: its splits, its tokenizer, its example prompts, and what the shipped weights can do."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from attrib_widgets import demo
from attrib_widgets.demo import corpus, evaluate, train
from attrib_widgets.demo.facts import COUNTRIES, RELATIONS, answer

CONTEXTS = 3000


@pytest.fixture(scope="module")
def record() -> dict:
    return json.loads((demo.path() / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def loaded():
    return evaluate.load(demo.path())


@pytest.fixture(scope="module")
def tokenizer(loaded) -> PreTrainedTokenizerBase:
    return loaded[1]


@pytest.fixture(scope="module")
def text(record: dict) -> list[str]:
    """The first contexts of one of the streams that the shipped model was trained on."""
    seed = record["settings"]["seed"] * 1000 + 64
    return list(itertools.islice(corpus.contexts(seed, 64), CONTEXTS))


def pattern(template: str) -> re.Pattern[str]:
    """What a template looks like when it is filled in, whatever the case of its first letter."""
    return re.compile(re.sub(r"\\\{\w+\\\}", r"\\w+", re.escape(template)), re.IGNORECASE)


def test_the_package_imports_nothing_heavy():
    code = (
        "import sys, attrib_widgets.demo as d; d.path(); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_facts_are_well_formed():
    assert len(COUNTRIES) >= 60
    names = [country.name for country in COUNTRIES]
    capitals = [country.capital for country in COUNTRIES]
    assert len(set(names)) == len(names) and len(set(capitals)) == len(capitals)
    assert all(" " not in word and "\\" not in word for word in names + capitals)
    assert not set(names) & set(corpus.NAMES)
    assert set(corpus.TRAINED_PHRASINGS) == set(corpus.HELD_OUT_PHRASINGS) == set(RELATIONS)
    by_name = {country.name: country for country in COUNTRIES}
    assert answer("capital", by_name["Brazil"]) == "Brasília"


def test_held_out_phrasings_never_occur(text: list[str]):
    trained = {t for group in corpus.TRAINED_PHRASINGS.values() for t in group}
    held_out = {t for group in corpus.HELD_OUT_PHRASINGS.values() for t in group}
    assert not trained & held_out
    for template in held_out:
        assert not any(pattern(template).search(context) for context in text), template
    assert all(any(pattern(template).search(context) for context in text) for template in trained)


def test_held_out_pairs_and_templates_never_occur(text: list[str]):
    assert not set(corpus.TWO_NAME_TEMPLATES) & set(corpus.HELD_OUT_TWO_NAME_TEMPLATES)
    pairs = {
        frozenset(pair)
        for context in text
        for pair in re.findall(r"\b([A-Z]\w+) and ([A-Z]\w+) (?:went|met|left|were|liked)", context)
    }
    assert len(pairs) > 500
    assert not [pair for pair in pairs if corpus.held_out_pair(*pair)]
    for template in corpus.HELD_OUT_TWO_NAME_TEMPLATES:
        assert not any(pattern(template).search(context) for context in text), template
    assert all(any(pattern(t).search(context) for context in text) for t in corpus.TWO_NAME_TEMPLATES)
    tested = corpus.two_name_cases(1, 300, corpus.TWO_NAME_TEMPLATES)
    assert all(corpus.held_out_pair(case.target.strip(), case.label.strip()) for case in tested)


def test_the_corpus_is_the_one_that_the_weights_were_trained_on(record: dict):
    assert corpus.fingerprint() == record["corpus_sha256"]
    assert next(corpus.contexts(1)) == next(corpus.contexts(1)) != next(corpus.contexts(2))


def test_words_are_whole_tokens(tokenizer: PreTrainedTokenizerBase):
    for word in corpus.words():
        assert tokenizer.decode([evaluate.token_id(tokenizer, " " + word)]) == " " + word
    for word in ("The", "In", "People", "When", *corpus.NAMES, *(country.name for country in COUNTRIES)):
        evaluate.token_id(tokenizer, word)


def test_any_text_can_be_typed(tokenizer: PreTrainedTokenizerBase):
    ids = tokenizer.encode("The")
    assert ids == [tokenizer.bos_token_id, evaluate.token_id(tokenizer, "The")]
    typed = "Ångström 東京 🙂 </script>\n\t{x} 3.14"
    assert tokenizer.decode(tokenizer.encode(typed), skip_special_tokens=True) == typed
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3


def test_example_pairs_differ_in_one_token(loaded):
    model, tokenizer = loaded
    assert demo.tasks["capitals"][0] == (demo.PROMPT, demo.TARGET, demo.CORRUPTED)
    for task in itertools.chain(*demo.tasks.values()):
        clean, corrupted = tokenizer.encode(task.prompt), tokenizer.encode(task.corrupted)
        assert len(clean) == len(corrupted), task
        assert sum(a != b for a, b in zip(clean, corrupted, strict=True)) == 1, task
        target = evaluate.token_id(tokenizer, task.target)
        with torch.no_grad():
            logits = model(torch.tensor([clean, corrupted])).logits[:, -1]
        assert logits[0].argmax() == target != logits[1].argmax(), task


def test_the_shipped_weights_do_what_the_table_says(loaded, record: dict):
    settings = record["settings"]
    abilities = evaluate.evaluate(*loaded, cases=settings["evaluation_cases"])
    for name, line in record["abilities"].items():
        # Another processor may round a tie differently; anything more is a stale table.
        assert abilities[name]["cases"] == line["cases"]
        assert abs(abilities[name]["accuracy"] - line["accuracy"]) <= 0.002, name
    assert abilities["trained facts"]["accuracy"] >= 0.98
    assert abilities["two names, held-out pairs"]["accuracy"] >= 0.95
    assert abilities["copying in repeats"]["accuracy"] >= 0.90
    case = corpus.Case(demo.PROMPT, demo.TARGET, "capital")
    assert evaluate.answers(*loaded, [case])[1].item() >= 0.8


def test_size_and_precision():
    files = list(demo.path().iterdir())
    assert sum(file.stat().st_size for file in files) <= 5_000_000
    config = json.loads((demo.path() / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert (demo.path() / "model.safetensors").stat().st_size < 2.2 * json.loads(
        (demo.path() / "evaluation.json").read_text()
    )["parameters"]


def test_a_quick_run_writes_loadable_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        train.main(["--quick"])
    train.main(["--quick", "--steps", "3", "--out", str(tmp_path)])
    assert "trained facts" in capsys.readouterr().out
    model, tokenizer = evaluate.load(tmp_path)
    assert model.dtype == torch.float32
    assert model(torch.tensor([tokenizer.encode(demo.PROMPT)])).logits.isfinite().all()
    again = train.Settings(**json.loads((tmp_path / "evaluation.json").read_text())["settings"])
    weights = train.train(again, train.train_tokenizer(again))[0].to(torch.float16).state_dict()
    assert all(torch.equal(weights[name].float(), value) for name, value in model.state_dict().items())
