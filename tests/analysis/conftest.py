"""What several rooms ask about: two prompts of one family, and the token that they differ in most."""

from __future__ import annotations

import pytest

from fixtures import families


@pytest.fixture(scope="module")
def pair(family_model):
    """``pair(name)``: the model, runs of two prompts that differ in one token, and whose logit that moves most."""

    def make(name):
        model, ids = family_model(name), families.ids_of(name)
        clean, corrupted = model.run(ids), model.run([*ids[:3], (ids[3] + 7) % 300, *ids[4:]])
        return model, clean, corrupted, int((clean.logits() - corrupted.logits()).abs().argmax())

    return make
