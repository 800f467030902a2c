"""Shared fixtures. Models are tiny and random; one thread makes their arithmetic reproducible bit by bit."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
sys.path.insert(0, str(Path(__file__).parent))  # makes `fixtures` importable under every import mode

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def family_models() -> dict[tuple[Any, ...], Any]:
    """The models that :func:`family_model` keeps, for all tests of a worker."""
    return {}


@pytest.fixture(scope="module", autouse=True)
def _no_dictionary_of_another_file(family_models: dict[tuple[Any, ...], Any]) -> Iterator[None]:
    """A dictionary that a test gave to a model that is kept is not there in the next file: which one that is is
    left to chance where several workers run."""
    yield
    for model in family_models.values():
        if list(model.saes):
            model.saes.clear()


@pytest.fixture(scope="session")
def family_model(family_models: dict[tuple[Any, ...], Any]) -> Callable[..., Any]:
    """``family_model(name, dtype=torch.float32, attn="sdpa")``: a loaded ``aw.Model`` of a tiny random model, kept."""
    import attrib_widgets as aw
    from fixtures import families

    kept = family_models

    def make(name: str, dtype: torch.dtype = torch.float32, attn: str = "sdpa") -> Any:
        key = (name, dtype, attn)
        if key not in kept:
            kept[key] = aw.load(families.build(name, dtype, attn), tokenizer=families.tokenizer(name))
        return kept[key]

    return make


@pytest.fixture(scope="session")
def twin() -> Callable[..., Any]:
    """``twin(name, text)``: the slow reference reading of the same tiny model, kept."""
    from fixtures import families, twins

    kept: dict[tuple[str, str], Any] = {}

    def make(name: str, text: str = families.PROMPT) -> Any:
        if (name, text) not in kept:
            kept[name, text] = twins.Twin(name, families.build(name, attn="eager"), families.ids_of(name, text))
        return kept[name, text]

    return make


@pytest.fixture(scope="session")
def trained_folder() -> Path:
    """The folder of the trained checkpoint stories260K, under ATTRIB_WIDGETS_TEST_MODELS; skips without it."""
    root = os.environ.get("ATTRIB_WIDGETS_TEST_MODELS", "")
    folder = Path(root) / "stories260K"
    if not root or not (folder / "config.json").exists():
        pytest.skip("set ATTRIB_WIDGETS_TEST_MODELS to a folder that holds stories260K (a trained Llama)")
    return folder
