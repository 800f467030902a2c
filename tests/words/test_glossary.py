"""The glossary: every word once, short, with an example; and every word that the tables print has an entry."""

from __future__ import annotations

import re

import pytest

import attrib_widgets as aw
from attrib_widgets.analysis.verdicts.table import SHORT, VERDICTS
from attrib_widgets.words.errors import AttribError
from attrib_widgets.words.glossary import TERMS, term

#: Columns that say what they are without a glossary: names, places, texts, and what the sentence above explains.
PLAIN = (
    "component token position source number id part written at after added question what is compared row column name "
    "before eraser ablated promotes suppresses word head value sender receiver layer pair site product written "
    "direction says reads most from without the writer removed model then it group prompts p spread median"
).split()


def test_terms_are_few_short_and_apart():
    names = [name.lower() for t in TERMS for name in (t.name, *t.also)]
    assert 30 <= len(TERMS) <= 70 and len(names) == len(set(names))
    for t in TERMS:
        assert 30 <= len(t.means) <= 125 and t.means.endswith(".") and t.read.rstrip("\u201d").endswith("."), t.name
        assert 20 <= len(t.read) <= 130, t.name
    assert sum(any(c.isdigit() for c in t.read) for t in TERMS) >= 25, "how to read it is shown with a number"


def test_other_words_lead_to_the_entry():
    assert term("Necessity ").name == "damage" and term("SAE").name == "feature"
    assert aw.glossary("damage", "backup").to_dataframe()["word"].tolist() == ["damage", "redundant"]
    assert "share of the gap that comes back" in repr(aw.glossary())
    with pytest.raises(AttribError, match=r"no 'saliency'.*logit"):
        aw.glossary("saliency")


@pytest.fixture(scope="module")
def printed():
    """Headings of every kind of result, and the words of verdicts."""
    model = aw.load("demo")
    run = model.run("The capital of France is")
    a = aw.attribute(run, " Paris")
    v = aw.verify(a, "The capital of Germany is", top=3)
    s = aw.survey(model, {task: aw.demo.pairs(task, 4) for task in ("capitals", "agreement")})
    return [
        *(a, a.sources("L3H1"), a.through("L3H1"), a.neurons(1), a.features("L3H1"), a.buildup(), a.worked("L3H1")),
        *(a.trace(), a.token_totals(), aw.erasure(a, "L1.mlp"), v, aw.logit_lens(run), run.top(3), aw.attention(run)),
        aw.ablate(model, run, " Paris", components=["L1.mlp"]),
        aw.patch(model, run, "The capital of Germany is", sites="mlp"),
        *(s, s["L3H1"]),
    ]


def test_what_tables_are_headed_with_is_plain_or_explained(printed):
    known = {name.lower() for t in TERMS for name in (t.name, *t.also)}
    for result in printed:
        for heading in result.summary().columns:
            words = re.sub(r",.*|of ·.*", "", heading).strip().lower()
            if not words or words in known or all(w in PLAIN for w in words.split()):
                continue
            parts = re.findall("|".join(sorted(map(re.escape, known), key=len, reverse=True)), words)
            assert parts, f"{type(result).__name__}: the heading {heading!r} is in no entry of words/glossary.py"


def test_every_word_on_a_badge_has_an_entry():
    """Found as the page finds them (``termsIn`` in words.tsx): as whole words in the text."""
    names = [name.lower() for t in TERMS for name in (t.name, *t.also)]
    for word in {*(row.word for row in VERDICTS), *SHORT.values(), "borderline"}:
        assert any(re.search(rf"(^|[^a-z]){re.escape(n)}($|[^a-z])", word) for n in names), f"{word!r} is in no entry"
