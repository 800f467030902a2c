"""The embedded model: its tokenizer, its example prompts, and what the shipped weights can do."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

import attrib_widgets as aw
from attrib_widgets import demo
from attrib_widgets.demo.making import card, cases, corpus, evaluate, train
from attrib_widgets.demo.making.corpus.facts import COUNTRIES
from attrib_widgets.model import loading


@pytest.fixture(scope="module")
def record() -> dict:
    return json.loads((demo.path() / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def loaded():
    return evaluate.load(demo.path())


@pytest.fixture(scope="module")
def tokenizer(loaded) -> PreTrainedTokenizerBase:
    return loaded[1]


def test_the_package_imports_nothing_heavy():
    code = (
        "import sys, attrib_widgets.demo as d; d.path(); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_name_demo_is_this_folder():
    assert demo.path() == loading.DEMO


def test_the_corpus_is_the_one_that_the_weights_were_trained_on(record: dict):
    assert corpus.fingerprint(record["settings"]["seed"]) == record["corpus_sha256"]


def test_the_tables_are_of_the_shipped_weights(record: dict):
    phenomena = json.loads((demo.path() / "phenomena.json").read_text())
    assert record["weights_sha256"] == phenomena["weights_sha256"] == demo.weights_sha256()


def test_words_are_whole_tokens(tokenizer: PreTrainedTokenizerBase):
    for word in corpus.words():
        assert tokenizer.decode([evaluate.token_id(tokenizer, " " + word)]) == " " + word
    for word in ("The", "In", "People", "When", *corpus.NAMES, *(country.name for country in COUNTRIES)):
        evaluate.token_id(tokenizer, word)
    for total in range(2, 2 * corpus.LARGEST_ADDEND + 1):
        evaluate.token_id(tokenizer, f" {total}")


def test_any_text_can_be_typed(tokenizer: PreTrainedTokenizerBase):
    ids = tokenizer.encode("The")
    assert ids == [tokenizer.bos_token_id, evaluate.token_id(tokenizer, "The")]
    typed = "Ångström 東京 🙂 </script>\n\t{x} 3.14"
    assert tokenizer.decode(tokenizer.encode(typed), skip_special_tokens=True) == typed
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3


def test_example_pairs_differ_in_one_token_or_in_both_nouns(loaded):
    model, tokenizer = loaded
    assert list(demo.tasks) == [
        "capitals", "two names", "induction", "agreement", "two-hop", "attraction", "lists"
    ]  # fmt: skip
    assert demo.tasks["capitals"][0] == (demo.PROMPT, demo.TARGET, demo.CORRUPTED)
    for ability, task in ((ability, task) for ability, tasks in demo.tasks.items() for task in tasks):
        clean, corrupted = tokenizer.encode(task.prompt), tokenizer.encode(task.corrupted)
        assert len(clean) == len(corrupted), task
        assert sum(a != b for a, b in zip(clean, corrupted, strict=True)) == (2 if ability == "attraction" else 1), task
        target = evaluate.token_id(tokenizer, task.target)
        with torch.no_grad():
            logits = model(torch.tensor([clean, corrupted])).logits[:, -1]
        assert logits[0].argmax() == target != logits[1].argmax(), task


def test_the_shipped_weights_do_what_the_table_says(loaded, record: dict):
    settings = record["settings"]
    abilities = evaluate.evaluate(*loaded, cases=settings["evaluation_cases"])
    assert abilities.keys() == record["abilities"].keys()
    for name, line in record["abilities"].items():
        # Another processor may round a tie differently; anything more is a stale table.
        assert abilities[name]["cases"] == line["cases"]
        assert abs(abilities[name]["accuracy"] - line["accuracy"]) <= 0.002, name
    for name, least in card.GATES.items():
        assert abilities[name]["accuracy"] >= least, name
    assert abilities["next token of new contexts"]["calibration_error"] <= 0.05
    # No gate for composing two facts, but it is reported beside what needs no composing.
    assert record["baselines"]["landmarks, two steps, held out"] == cases.two_hop_baselines()
    case = cases.Case(demo.PROMPT, demo.TARGET, "capital")
    assert evaluate.answers(*loaded, [case])[1].item() >= 0.8


def test_the_card_is_written_from_the_tables(record: dict):
    text = (demo.path() / "README.md").read_text(encoding="utf-8")
    assert text == card.text(demo.path())
    assert record["corpus_sha256"] in text and "held-out phrasings" in text and "Dispensable" in text
    shown = aw.load("demo").card
    assert shown == text and shown._repr_markdown_() == text


def test_the_card_says_who_makes_up_for_a_head():
    def line(head: str, ratio: float, rise: float) -> dict:
        risers = {"L1H0": rise, "L2.mlp": -0.1}
        return {"head": head, "direct": 1.0, "ratio": ratio, "norm": 0.8, "made up": rise - 0.1, "risers": risers}

    assert card._redundant([line("L0H0", 0.5, 0.0)]).startswith("None of these 1")
    text = card._redundant([line("L0H0", 0.1, 0.6), line("L0H1", 0.2, 0.0), line("L0H2", 0.5, 0.0)])
    assert "is lost): L0H0, L0H1. Other heads or MLPs back up L0H0. No other head or MLP backs up L0H1:" in text
    other = card._redundant([line("L0H0", 0.1, 0.6), {**line("L0H3", 0.1, 0.4), "made up": -0.5}])
    assert "back up L0H0. For L0H3 the three that rise most give back" in other and "other parts fall" in other
    assert "at least 80.0 %" in text


def test_a_model_without_a_card_says_so(tmp_path: Path, family_model):
    with pytest.raises(aw.AttribError, match="README"):
        _ = family_model("gpt2").card


def test_size_and_precision(record: dict, tmp_path: Path):
    # A wheel is a zip file: what counts is what it adds there.
    with zipfile.ZipFile(tmp_path / "embedded.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in demo.path().rglob("*"):
            archive.write(file, file.relative_to(demo.path()))
    assert (tmp_path / "embedded.zip").stat().st_size <= 12_000_000
    sizes = {file.name: file.stat().st_size for file in demo.path().iterdir() if file.is_file()}
    sizes["saes"] = sum(file.stat().st_size for file in (demo.path() / "saes").rglob("*") if file.is_file())
    assert sizes.pop("tuned_lens.safetensors") <= 350_000 and sum(sizes.values()) <= 14_000_000
    config = json.loads((demo.path() / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert (demo.path() / "model.safetensors").stat().st_size < 2.2 * record["parameters"]


def small(**fields) -> train.Settings:
    """A few steps of a tiny model."""
    return train.Settings(
        **(
            asdict(train.Settings.quick(0))
            | {"steps": 6, "layers": 1, "heads": 2, "width": 16, "tokens_per_step": 128, "tokenizer_contexts": 100}
            | {"stages": (2, 4), "attention_dropout": 0.1, "evaluation_cases": 4}
            | fields
        )
    )


def test_training_goes_on_where_it_stopped(tmp_path: Path):
    settings = small(seed=1)
    tokenizer = train.train_tokenizer(settings)
    whole = train.train(settings, tokenizer)[0].state_dict()
    begun = train.Training(settings, tokenizer)
    for _ in range(3):
        begun.step()
    begun.save(tmp_path / train.CHECKPOINT)
    assert torch.load(tmp_path / train.CHECKPOINT)["corpus"] == corpus.fingerprint(1)
    resumed = train.train(settings, tokenizer, tmp_path)[0].state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    # Fewer steps may be asked for later, nothing else may change.
    train.Training(small(seed=1, steps=5), tokenizer).resume(tmp_path / train.CHECKPOINT)
    with pytest.raises(ValueError, match="other settings"):
        train.Training(small(seed=1, learning_rate=1e-3), tokenizer).resume(tmp_path / train.CHECKPOINT)


@pytest.mark.parametrize("low_precision", [True, False])
def test_training_lowers_the_loss_in_either_precision(low_precision: bool):
    settings = small(steps=60, stages=(60, 60), low_precision=low_precision, width=32)
    training = train.Training(settings, train.train_tokenizer(settings))
    for _ in range(60):
        training.step()
    assert sum(training.losses[-10:]) < sum(training.losses[:10]) - 10
    assert all(parameter.dtype == torch.float32 for parameter in training.model.parameters())


def test_rows_grow_longer():
    settings = small()
    tokenizer = train.train_tokenizer(settings)
    widths = [train.batch(settings, tokenizer, step).shape[1] for step in range(40)]
    assert set(widths[:2]) == {16} and set(widths[2:4]) <= {16, 32} and max(widths) >= 64
    assert torch.equal(train.batch(settings, tokenizer, 7), train.batch(settings, tokenizer, 7))


def test_a_quick_run_writes_loadable_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        train.main(["--quick"])
    train.main(["--quick", "--steps", "3", "--seed", "1", "--out", str(tmp_path)])
    assert "trained facts" in capsys.readouterr().out
    assert not (tmp_path / train.CHECKPOINT).exists()
    model, tokenizer = evaluate.load(tmp_path)
    assert model.dtype == torch.float32
    assert model(torch.tensor([tokenizer.encode(demo.PROMPT)])).logits.isfinite().all()
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["corpus_sha256"] == corpus.fingerprint(1)
    assert written["weights_sha256"] == demo.weights_sha256(tmp_path) != demo.weights_sha256()
    again = train.Settings(**written["settings"])
    weights = train.train(again, train.train_tokenizer(again))[0].to(torch.float16).state_dict()
    assert all(torch.equal(weights[name].float(), value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("count", [0, 64, 2.5, "3", None, True])
def test_so_many_pairs_as_there_are_not_are_refused(count):
    with pytest.raises(aw.AttribError, match=r"has 63 pairs.*Ask for 1 to 63"):
        demo.pairs("capitals", count)
    with pytest.raises(aw.AttribError, match="is no task"):
        demo.pairs([count])
