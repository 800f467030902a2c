"""The corpus of the embedded model: facts that are well formed, and held-out sets that training never meets."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections import Counter

import pytest

from attrib_widgets import demo
from attrib_widgets.demo.making import cases, corpus, pairs
from attrib_widgets.demo.making.corpus import phrasings as say
from attrib_widgets.demo.making.corpus.facts import (
    BY_NAME,
    COUNTRIES,
    LANDMARKS,
    RELATIONS,
    TWO_HOP_RELATIONS,
    answer,
    cities,
    two_hop_answer,
)

HELD_OUT = [
    *(template for group in say.HELD_OUT_PHRASINGS.values() for template in group),
    *say.HELD_OUT_TWO_NAME_TEMPLATES,
    *say.HELD_OUT_THREE_NAME_TEMPLATES,
    *say.HELD_OUT_AGREEMENT_TEMPLATES,
    *say.HELD_OUT_PRONOUN_TEMPLATES,
    *say.HELD_OUT_OPPOSITE_PHRASINGS,
]
TRAINED = [
    *(template for group in say.TRAINED_PHRASINGS.values() for template in group),
    *(template for group in say.LANDMARK_PHRASINGS.values() for template in group),
    *(template for group in say.TWO_HOP_PHRASINGS.values() for template in group),
    *say.TWO_NAME_TEMPLATES,
    *say.THREE_NAME_TEMPLATES,
    *say.AGREEMENT_TEMPLATES,
    *say.LATER_AGREEMENT_TEMPLATES,
    *say.ATTRACTION_TEMPLATES,
    *say.PRONOUN_TEMPLATES,
    *say.OPPOSITE_PHRASINGS,
    *say.SUM_PHRASINGS,
    *say.SMALL_TALK,
]
GAPS = {"landmark": r"[\w ]+?", "near": "(?:" + "|".join(say.NEAR) + ")"}
GAPS |= {"is_are": "(?:is|are)", "was_were": "(?:was|were)"}


@pytest.fixture(scope="module")
def text() -> str:
    """Contexts of a training stream, long enough that every kind of sentence is there often."""
    return "\n".join(itertools.islice(corpus.contexts(77), 6_000))


def pattern(template: str) -> re.Pattern[str]:
    """What a template looks like when it is filled in, whatever the case of its first letter."""
    pieces = re.split(r"\{(\w+)\}", template)
    parts = [re.escape(piece) if i % 2 == 0 else GAPS.get(piece, r"\w+") for i, piece in enumerate(pieces)]
    return re.compile(r"(?<!\w)" + "".join(parts), re.IGNORECASE)


def test_facts_are_well_formed():
    assert len(COUNTRIES) >= 100 and len(LANDMARKS) >= 90
    names = [country.name for country in COUNTRIES]
    capitals = [country.capital for country in COUNTRIES]
    assert len(set(names)) == len(names) and len(set(capitals)) == len(capitals)
    assert all(" " not in word and "\\" not in word for word in names + capitals)
    assert not set(names) & set(corpus.NAMES)
    assert set(say.TRAINED_PHRASINGS) == set(say.HELD_OUT_PHRASINGS) == set(RELATIONS)
    assert answer("capital", BY_NAME["Brazil"]) == "Brasília"
    assert all(landmark.country in BY_NAME and " " not in landmark.city for landmark in LANDMARKS)
    assert len({landmark.name for landmark in LANDMARKS}) == len(LANDMARKS)
    of = {country.capital: country.name for country in COUNTRIES} | cities()
    assert all(of[landmark.city] == landmark.country for landmark in LANDMARKS)
    assert two_hop_answer("language", LANDMARKS[0]) == "Italian"


def test_small_words_have_one_role():
    flat = [word for pair in corpus.OPPOSITES for word in pair]
    assert len(set(flat)) == len(flat)
    assert not set(corpus.MEN) & set(corpus.WOMEN)
    assert all(noun + "s" in corpus.words() and noun in corpus.words() for noun in corpus.COUNTABLE)


def test_held_out_phrasings_never_occur(text: str):
    assert not set(TRAINED) & set(HELD_OUT)
    for template in HELD_OUT:
        assert not pattern(template).search(text), template
    for template in TRAINED:
        assert pattern(template).search(text), template


def test_every_held_out_phrasing_is_made_of_trained_words(text: str):
    met = set(re.findall(r"\w+", text.lower()))
    for template in HELD_OUT:
        assert set(re.findall(r"\w+", re.sub(r"\{\w+\}", "", template).lower())) <= met


def test_held_out_pairs_never_share_a_sentence(text: str):
    pairs: set[frozenset[str]] = set()
    for sentence in re.split(r"(?<=[.])\s", text):
        # A list of random words is no sentence: it has no verb.
        if re.search(r"\b(went|met|left|were|was|liked|are)\b", sentence):
            people = [word for word in re.findall(r"\w+", sentence) if word in corpus.NAMES]
            pairs |= {frozenset(pair) for pair in itertools.combinations(people, 2) if len(set(pair)) == 2}
    assert len(pairs) > 800
    assert not [pair for pair in pairs if corpus.held_out_pair(*pair)]
    asked = cases.two_name_cases(1, 300, say.TWO_NAME_TEMPLATES) + cases.three_name_cases(
        1, 300, say.THREE_NAME_TEMPLATES
    )
    assert all(corpus.held_out_pair(case.target.strip(), case.label.strip()) for case in asked)


def test_held_out_compositions_never_occur(text: str):
    asked = cases.two_hop_cases(True)
    assert len(asked) >= 150 and {case.label for case in asked} == set(TWO_HOP_RELATIONS)
    for case in asked:
        assert not re.search(r"(?<!\w)" + re.escape(case.prompt) + " ", text, re.IGNORECASE), case
    # Both steps are told, and every relation is told of other landmarks.
    told = cases.two_hop_cases(False)
    found = Counter(case.label for case in told if case.prompt + case.target in text)
    assert set(found) == set(TWO_HOP_RELATIONS)
    for case in cases.landmark_cases()[::5] + cases.fact_cases(say.TRAINED_PHRASINGS)[::50]:
        answered = case.target + r"\b"
        some = re.search(re.escape(case.prompt) + answered, text, re.IGNORECASE)
        assert some or text.count(case.prompt) < 3, case  # where it is met, the answer is the right one


def test_a_landmark_is_never_followed_by_what_is_held_out_of_it(text: str):
    held_out = {
        (m.name, two_hop_answer(r, m)) for m in LANDMARKS for r in TWO_HOP_RELATIONS if corpus.held_out_chain(m, r)
    }
    allowed = {(m.name, value) for m in LANDMARKS for value in (m.city, m.country)}
    others = {
        (m.name, two_hop_answer(r, m)) for m in LANDMARKS for r in TWO_HOP_RELATIONS if not corpus.held_out_chain(m, r)
    }
    names = "|".join(sorted((re.escape(m.name) for m in LANDMARKS), key=len, reverse=True))
    for sentence in re.split(r"(?<=[.])\s", text):
        found = re.search(rf"[Tt]he ({names})\b", sentence)
        if not found:
            continue
        said = {(found[1], word) for word in re.findall(r"\w+", sentence)}
        assert not said & (held_out - allowed - others), sentence


def test_held_out_nouns_and_sums_never_occur(text: str):
    single = {form: noun for noun in corpus.COUNTABLE for form in (noun, noun + "s")}
    near = "|".join(say.NEAR)
    found = {
        (single[a], single[b])
        for a, b in re.findall(rf"the (\w+) (?:{near}) the (\w+) (?:there |then |)(?:is|are|was|were) ", text)
    }
    assert len(found) > 300 and not [pair for pair in found if corpus.held_out_attractor(*pair)]
    sums = re.findall(r"(?<!\w)(\d+) \+ (\d+) = (\d+)\.", text) + re.findall(r"of (\d+) and (\d+) is (\d+)\.", text)
    told = {(int(a), int(b)) for a, b, _ in sums}
    assert len(told) > 80 and all(int(a) + int(b) == int(c) for a, b, c in sums)
    assert not [pair for pair in told if corpus.held_out_sum(*pair)]


def test_lists_say_nothing_twice_but_all_of_it_and_no_held_out_order_occurs(text: str):
    known = {word: group for group in corpus.SETS for word in group}
    assert len(known) == sum(map(len, corpus.SETS)), "a word is in one set"
    lists = [row.split(", ") for row in re.findall(r"(?<!\w)((?:\w+, ){2,}\w+)\.", text)]
    lists = [words for words in lists if all(word in known for word in words)]
    again = 0
    for words in lists:
        half, rest = words[: len(words) // 2], words[len(words) // 2 :]
        again += half == rest
        once = half if half == rest else words
        assert len(set(once)) == len(once) and len({known[word] for word in words}) == 1, words
        assert not any(map(corpus.held_out_order, zip(words, words[1:], words[2:], strict=False))), words
    assert len(lists) > 500 and 0.1 < again / len(lists) < 0.25
    for case in cases.list_cases(3, 60):
        *_, before, last = words = case.prompt.rstrip(",").split(", ")
        assert case.label == f" {last}" and {*words, case.target.strip()} == set(known[last])
        assert corpus.held_out_order((before, last, case.target.strip()))


def test_in_some_sentences_about_attraction_the_nearer_noun_wins():
    rng, wrong, differ = random.Random(6), 0, 0
    for _ in range(3000):
        words = corpus.attraction(rng).split()
        one = [word in corpus.COUNTABLE for word in words if word.removesuffix("s") in corpus.COUNTABLE]
        agrees = any(word in ("is", "was") for word in words) == one[0]
        assert agrees or one[0] != one[1]
        wrong, differ = wrong + (not agrees), differ + (one[0] != one[1])
    assert wrong / differ == pytest.approx(corpus.ATTRACTED, abs=0.02)
    assert corpus.turned("Today the keys near the table then", both=True) == (
        "Today the key near the tables then",
        True,
    )
    assert corpus.turned("Today the key near the table then", both=False) == (
        "Today the keys near the table then",
        False,
    )


def test_the_first_course_is_shown_nothing_that_comes_later():
    first = " ".join(itertools.islice(corpus.contexts(3, later=False), 400))
    assert not re.search(rf"({'|'.join(say.NEAR)}) the \w+ (there|then) ", first)
    assert not re.search(r"(\w+, ){3}", first)
    # The weights of the first course come from these texts.
    digest = hashlib.sha256("\n".join(itertools.islice(corpus.contexts(0, later=False), 50)).encode()).hexdigest()
    assert digest == "09e3234258de403d14549f8a4f561842873447d5c3ca9a5aade5e66ee98616a4"


def test_agreement_and_pronouns_are_right():
    rng = random.Random(5)
    for _ in range(300):
        text, verb, other = corpus.agreement(rng)
        subject = re.search(r"the (\w+)", text)[1]
        assert verb in ({"are", "were"} if subject not in corpus.COUNTABLE else {"is", "was"}), text
        assert {verb, other} in ({"is", "are"}, {"was", "were"})
        said, pronoun, _ = corpus.pronoun(rng)
        name = next(word for word in re.findall(r"\w+", said) if word in corpus.NAMES)
        assert pronoun == ("she" if name in corpus.WOMEN else "he")


def test_cases_are_cut_before_their_target():
    for case in cases.fact_cases(say.TRAINED_PHRASINGS)[::97]:
        assert case.target.startswith(" ") and case.target.strip() and not case.prompt.endswith(" ")
    for case in cases.agreement_cases(1, 50, say.HELD_OUT_AGREEMENT_TEMPLATES):
        assert case.prompt.split()[-1].rstrip("s") in {noun.rstrip("s") for noun in corpus.COUNTABLE}
    baselines = cases.two_hop_baselines()
    assert set(baselines) == {"majority", "one-hop shortcut"} and all(0 < share < 0.5 for share in baselines.values())


def test_one_seed_one_corpus():
    assert next(corpus.contexts(1)) == next(corpus.contexts(1)) != next(corpus.contexts(2))
    assert corpus.fingerprint(count=20) == corpus.fingerprint(count=20) != corpus.fingerprint(1, count=20)


def test_the_pairs_that_are_kept_are_those_that_are_made():
    assert json.loads((demo.path() / "pairs.json").read_text(encoding="utf-8")) == pairs.kept()
