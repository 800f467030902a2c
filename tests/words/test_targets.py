"""Targets: text becomes token ids with clear errors, and each kind of target is the number that it says it is."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.reading.resolve import missing_spaces
from attrib_widgets.words.targets import rather_than
from fixtures import families


@pytest.fixture(scope="module")
def model(family_model):
    return family_model("llama")


@pytest.fixture(scope="module")
def run(model):
    return model.run(families.PROMPT)


def logits_of(model, run):
    with torch.no_grad():
        return model.hf(torch.tensor([run.ids]), use_cache=False).logits[0, -1].double()


def test_text_id_and_target_are_the_same_question(model, run):
    token = model.tokenizer.convert_tokens_to_ids("ĠParis")
    by_text, by_id, by_target = (aw.attribute(run, t) for t in (" Paris", token, aw.logit(" Paris")))
    assert torch.equal(by_text.values, by_id.values)
    assert torch.equal(by_text.values, by_target.values)
    assert by_text.actual == pytest.approx(float(logits_of(model, run)[token]), abs=1e-6)
    assert by_text.unit == "logits"


@pytest.mark.parametrize("token", [" Paris", "Paris", ".", " is"])
def test_text_is_used_as_typed(model, run, token):
    """A token without its usual space is a different token, and the one that was asked for."""
    (expected,) = model.tokenizer(token, add_special_tokens=False).input_ids
    assert aw.attribute(run, token).actual == pytest.approx(float(logits_of(model, run)[expected]), abs=1e-6)


def test_several_tokens_are_refused_by_name_with_single_choices(model, run):
    with pytest.raises(aw.TargetError) as caught:
        aw.attribute(run, " paris")
    message = str(caught.value)
    pieces = [model.token(i) for i in model.tokenizer(" paris", add_special_tokens=False).input_ids]
    assert len(pieces) > 1, "this test needs a text that is several tokens"
    for piece in pieces:
        assert repr(piece) in message or piece in message, f"the message does not name the token {piece!r}: {message}"
    assert "' Paris'" in caught.value.hint or '" Paris"' in caught.value.hint, (
        f"no single-token choice in {caught.value.hint!r}"
    )


@pytest.mark.parametrize("choice_for", [" Pariss", "Parisian", " the shop", "ParisRome"])
def test_the_choices_offered_are_single_tokens(model, run, choice_for):
    import re

    with pytest.raises(aw.TargetError) as caught:
        aw.attribute(run, choice_for)
    offered = re.findall(r"'([^']*)'", caught.value.hint) + re.findall(r'"([^"]*)"', caught.value.hint)
    assert offered, f"nothing offered for {choice_for!r}: {caught.value.hint!r}"
    for text in offered:
        assert len(model.tokenizer(text, add_special_tokens=False).input_ids) == 1, f"{text!r} is not one token"


@pytest.mark.parametrize("wrong", ["", -1, 10**6, True, 3.5, b"Paris"])
def test_what_is_no_token_is_refused(run, wrong):
    with pytest.raises(aw.TargetError) as caught:
        aw.attribute(run, wrong)
    assert str(caught.value)


def test_difference(model, run):
    z = logits_of(model, run)
    a = aw.attribute(run, aw.logit_diff(" Paris", " Rome"))
    expected = float(z[model.single_token(" Paris")] - z[model.single_token(" Rome")])
    assert a.actual == pytest.approx(expected, abs=1e-5)
    one, other = aw.attribute(run, " Paris"), aw.attribute(run, " Rome")
    for label, value in zip(a.labels, a.values.tolist(), strict=True):
        if label != "rounding":
            assert value == pytest.approx(one[label] - other[label], abs=2e-5), f"row {label}"


def test_sets_count_as_their_means(model, run):
    z = logits_of(model, run)
    a = aw.attribute(run, aw.logit_diff([" Paris", " Berlin"], [" Rome", " Madrid", " Tokyo"]))
    ids = [model.single_token(t) for t in (" Paris", " Berlin", " Rome", " Madrid", " Tokyo")]
    assert a.actual == pytest.approx(float(z[ids[:2]].mean() - z[ids[2:]].mean()), abs=1e-5)
    assert aw.attribute(run, aw.logit([" Paris", " Rome"])).actual == pytest.approx(
        float(z[[ids[0], ids[2]]].mean()), abs=1e-5
    )


def test_an_empty_set_and_equal_sides_are_refused(run):
    with pytest.raises(aw.TargetError):
        aw.logit([])
    with pytest.raises(aw.TargetError):
        aw.attribute(run, aw.logit_diff(" Paris", " Paris"))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_centred_is_minus_the_mean_logit(family_model, name):
    model = family_model(name)
    run = model.run(families.PROMPT)
    z = logits_of(model, run)
    a = aw.attribute(run, aw.logit(" Paris").centered())
    assert a.actual == pytest.approx(float(z[model.single_token(" Paris")] - z.mean()), abs=2e-5)
    assert a.exact, f"gap {a.mismatch:.2e}"
    with pytest.raises(aw.TargetError):
        aw.log_prob(" Paris").centered()
    with pytest.raises(aw.TargetError):
        aw.logit_diff(" Paris", " Rome").centered()


@pytest.mark.parametrize("name", ["gpt2", "llama", "olmo2"])
def test_log_probability_with_its_entropy_row(family_model, name):
    model = family_model(name)
    run = model.run(families.PROMPT)
    log_p = logits_of(model, run).log_softmax(-1)
    a = aw.attribute(run, aw.log_prob(" Paris"))
    assert a.actual == pytest.approx(float(log_p[model.single_token(" Paris")]), abs=2e-5)
    assert a["entropy"] == pytest.approx(float((log_p.exp() * log_p).sum()), abs=2e-5), "the row is -H(p)"
    assert a.unit == "nats"
    assert a.exact, f"rows sum to {a.total}, the log-probability is {a.actual}"


def test_log_probability_under_a_soft_cap_is_refused(family_model):
    with pytest.raises(aw.TargetError) as caught:
        aw.attribute(family_model("gemma2").run(families.PROMPT), aw.log_prob(" Paris"))
    assert "cap" in str(caught.value)
    assert "logit" in caught.value.hint


@pytest.mark.parametrize("kind", ["logit", "difference", "centred"])
def test_soft_cap_row_closes_to_what_was_printed(family_model, kind):
    model = family_model("gemma2")
    run = model.run(families.PROMPT)
    printed = logits_of(model, run)
    cap = model.config.final_logit_softcapping
    pre = cap * torch.atanh(printed / cap)
    best, other = run.top(1)[0].id, model.single_token(" Rome")
    target = {
        "logit": aw.logit(best),
        "difference": aw.logit_diff(best, other),
        "centred": aw.logit(best).centered(),
    }[kind]

    def value(z):
        return float(z[best] - {"logit": 0.0, "difference": z[other], "centred": z.mean()}[kind])

    a = aw.attribute(run, target)
    assert a.actual == pytest.approx(value(printed), abs=1e-5)
    assert a.precap == pytest.approx(value(pre), abs=1e-4)
    assert a["softcap"] == pytest.approx(a.actual - a.precap, abs=1e-4)
    assert abs(a["softcap"]) > 0.1, "the cap of this model must bend something, or the test shows nothing"
    assert a.exact


def test_no_target_means_the_top_prediction(run):
    a = aw.attribute(run)
    assert a.actual == pytest.approx(run.top(1)[0].logit, abs=1e-6)


def test_precap_is_none_without_a_cap(run):
    a = aw.attribute(run, " Paris")
    assert a.precap is None
    assert "softcap" not in a.labels


class Likely:
    """Raises the logit of one token of a model by writing into its unembedding, and puts it back."""

    def __init__(self, model, token, run):
        self.weight, self.token = model.hf.get_output_embeddings().weight, token
        self.kept = self.weight.detach().clone()
        with torch.no_grad():
            inputs = []
            handle = model.hf.get_output_embeddings().register_forward_pre_hook(lambda m, x: inputs.append(x[0]))
            model.hf(torch.tensor([run.ids]), use_cache=False)
            handle.remove()
            x = inputs[0][0, -1]
            self.weight[token] = 9.0 * x / (x @ x)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        with torch.no_grad():
            self.weight.copy_(self.kept)


def test_one_note_when_the_spaced_word_is_ten_times_likelier(family_model):
    model = family_model("llama")
    run = model.run(families.PROMPT)
    spaced, bare = model.single_token(" Paris"), model.single_token("Paris")
    with Likely(model, spaced, run):
        loud = model.run(families.PROMPT)
        assert float(loud.probabilities()[spaced]) > 10 * float(loud.probabilities()[bare])
        a = aw.attribute(loud, "Paris")
        said = [n for n in a.notes if "space" in n]
        assert len(said) == 1, f"expected one note about the space, got {a.notes}"
        assert "times likelier" in said[0]
        assert a.actual == pytest.approx(float(loud.logits()[bare]), abs=1e-6), "the token as typed is explained"
        assert not [n for n in aw.attribute(loud, " Paris").notes if "space" in n]


@pytest.fixture(scope="module")
def demo():
    return aw.load("demo")


def test_a_missing_space_is_said_on_both_sides(demo):
    """“Paris” and “Berlin” as typed are other tokens than those that follow a word."""
    run = demo.run("The capital of France is")
    for target, against, sides in (
        ("Paris", None, ["target"]),
        (" Paris", "Berlin", ["against"]),
        ("Paris", "Berlin", ["target", "against"]),
        (["Paris", "Rome"], [" Madrid", "Berlin"], ["target", "target", "against"]),
        (" Paris", " Berlin", []),
        (demo.single_token("Paris"), demo.single_token("Berlin"), []),  # an id is what was meant
    ):
        aim = aw.logit(target) if against is None else aw.logit_diff(target, against)
        found = missing_spaces(aim, run, run.position(-1))
        assert [b.side for b in found] == sides
        a = aw.attribute(run, aim)
        assert [b.note for b in found] == [n for n in a.notes if "with its space" in n], "said once each"
        assert a.actual == pytest.approx(
            float(run.logits()[[demo.single_token(t) for t in aim.tokens]].mean())
            - (float(run.logits()[[demo.single_token(t) for t in aim.against]].mean()) if against else 0.0),
            abs=1e-5,
        ), "the tokens as typed are explained"


TOLD = {
    "attribute": lambda m, c, k: aw.attribute(m.run(c), " Paris", against="Berlin"),
    "phrase": lambda m, c, k: aw.attribute(m.run(c), aw.phrase("Berlin, the")),
    "log_prob": lambda m, c, k: aw.attribute(m.run(c), aw.log_prob("Berlin")),
    "explore": lambda m, c, k: aw.explore(m, c, " Paris", against="Berlin").attribution,
    "lens": lambda m, c, k: aw.logit_lens(m.run(c), "Berlin"),
    "patch": lambda m, c, k: aw.patch(m, c, k, " Paris", against="Berlin", sites="z", positions=[-1]),
    "patch, frozen": lambda m, c, k: aw.patch(
        m, c, k, " Paris", against="Berlin", sites="z", positions=[-1], final_norm="frozen"
    ),
    "patch, log_prob": lambda m, c, k: aw.patch(m, c, k, aw.log_prob("Berlin"), sites="z", positions=[-1]),
    "patch, prob": lambda m, c, k: aw.patch(m, c, k, aw.prob("Berlin"), sites="z", positions=[-1]),
    "patch, centred": lambda m, c, k: aw.patch(m, c, k, aw.logit("Berlin").centered(), sites="z", positions=[-1]),
    "path_patch": lambda m, c, k: aw.path_patch(m, c, k, " Paris", against="Berlin", receivers="logits"),
    "ablate": lambda m, c, k: aw.ablate(m, c, " Paris", against="Berlin", method="zero"),
    "attribution_patch": lambda m, c, k: aw.attribution_patch(m, c, k, " Paris", against="Berlin"),
    "edge_patch": lambda m, c, k: aw.edge_patch(m, c, k, " Paris", against="Berlin"),
    "integrated_gradients": lambda m, c, k: aw.integrated_gradients(m, c, k, " Paris", against="Berlin"),
    "token_effects": lambda m, c, k: aw.token_effects(m, c, " Paris", against="Berlin", draws=1),
    "verify": lambda m, c, k: aw.verify(aw.attribute(m.run(c), " Paris", against="Berlin"), corrupted=k, top=2),
}


@pytest.mark.parametrize("call", TOLD)
def test_whatever_takes_a_token_says_that_its_space_is_missing(demo, call):
    result = TOLD[call](demo, "The capital of France is", "The capital of Germany is")
    assert repr(result).count("“·Berlin”, with its space, is") == 1, repr(result)


def test_targets_are_values(model):
    assert aw.logit(" Paris") == aw.logit(" Paris")
    assert hash(aw.logit_diff(" Paris", " Rome")) == hash(aw.logit_diff(" Paris", " Rome"))
    assert aw.logit(" Paris") != aw.logit(" Paris").centered()


def test_score_targets_are_checked_when_written():
    with pytest.raises(aw.ComponentError):
        aw.score("L2.mlp")
    with pytest.raises(aw.TargetError):
        aw.score("L2H1", side="value")
    assert aw.score((2, 1), query=-1, key=0) == aw.score("L2H1", query=-1, key=0, side="query")


@pytest.mark.weights
def test_sentencepiece_text_is_used_as_typed(trained_folder):
    """A tokenizer that puts a space before everything must not turn "Once" into " Once" in silence."""
    model = aw.load(str(trained_folder))
    run = model.run("Once upon a")
    for text in (" time", "time", " Lily", "."):
        try:
            token = model.single_token(text)
        except aw.TargetError:
            continue
        assert model.token(token) == text, f"{text!r} was replaced by {model.token(token)!r}"
    assert run.top(1)[0].text == " time"


def test_an_empty_tuple_of_rivals_is_none():
    """As in ``aw.explore``; an empty list is a slip."""
    assert rather_than(" Paris", ()) == rather_than(" Paris", None) == " Paris"
    with pytest.raises(aw.TargetError, match="empty set"):
        rather_than(aw.logit(" Paris"), [])
