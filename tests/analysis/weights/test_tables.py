"""Tables of heads and neurons from weights: the model's own numbers on its own streams, and those of dense twins."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.heads.attention import unit_writes
from attrib_widgets.analysis.opening.heads import attention_direction
from attrib_widgets.analysis.roles.effective import effective, in_place
from attrib_widgets.analysis.weights import composition as composed
from attrib_widgets.analysis.weights import ov, qk
from attrib_widgets.model.parts.attention import scored, value_direction
from fixtures import families

#: Learned, rotary and penalised positions; grouped, fused, biased and normed projections; norms before and behind.
NAMES = (
    "gpt2 llama gemma2 gemma3 olmo2 qwen3 qwen2 gpt_neox bloom mpt falcon falcon_alibi phi3 gptj gpt_oss opt mixtral"
)


def loud(name: str, family_model):
    model = family_model(name, attn="eager" if name in families.EAGER_ONLY else "sdpa")
    return model, model.run(families.PROMPT)


# -- QK -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES.split())
def test_scores_from_the_models_own_streams_are_the_models_scores(name, family_model):
    model, run = loud(name, family_model)
    for layer in range(model.n_layers):
        if not model.level(layer).scores:
            continue
        for query in (run.n_positions - 1, 2):
            found, shown = qk.pair_scores(run, layer, run.record.streams[layer].float(), query)
            slow = scored(model, run.record, layer)
            assert torch.allclose(found, slow.scores[:, query].cpu(), atol=1e-4, rtol=1e-4), (layer, query)
            assert bool((slow.pattern[:, query].cpu()[~shown] == 0).all())


@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom", "qwen3", "gpt_neox", "falcon_alibi"])
def test_what_is_tried_at_a_key_scores_as_the_key_itself(name, family_model):
    run = loud(name, family_model)[1]
    for head, key in (("L1H1", 1), ("L2H3", 2)):
        found = aw.qk_table(run, head, key=key, tokens=[run.ids[key], run.ids[key] + 1])
        own = next(value for _, token, value in found.wanted if token == run.ids[key])
        assert own == pytest.approx(float(found.scores[key]), abs=1e-3, rel=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom"])
def test_first_layer_heads_read_nothing_but_tokens(name, family_model):
    _, run = loud(name, family_model)
    found = aw.qk_table(run, "L0H2", tokens=[5, 6])
    assert found.kind == "embedding" and list(found.by_kind) == ["embedding"]
    assert found.explained == pytest.approx(1, abs=1e-4)


def test_the_kind_that_explains_more_is_chosen_and_printed():
    run = aw.load("demo").run("The capital of France is")
    for head in ("L1H3", "L2H4", "L3H1"):
        found = aw.qk_table(run, head, tokens=[" Paris", " Berlin"])
        assert found.explained == max(found.by_kind.values()) and found.kind in repr(found)
        a = found.actual[found.visible].double()
        for kind, share in found.by_kind.items():
            left = (
                a
                - qk.pair_scores(run, int(head[1]), ov.kinds(in_place(run), int(head[1]))[kind], run.n_positions - 1)[
                    0
                ][int(head[3])][found.visible].double()
            )
            assert share == pytest.approx(1 - float((left - left.mean()).pow(2).sum() / (a - a.mean()).pow(2).sum()))


# -- OV -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES.split())
def test_what_is_carried_from_the_models_own_streams_is_what_was_carried(name, family_model):
    model, run = loud(name, family_model)
    a = aw.attribute(run)
    for layer in range(model.n_layers):
        if not model.level(layer).sources:
            continue
        stream = run.record.streams[layer]
        unit, x = unit_writes(a, layer), ov.as_read(model, layer, stream, ov.input_norm(model, layer).scale(stream))
        for head in range(model.heads_of(layer)):
            direction = value_direction(model, layer, head, attention_direction(a, layer))[0]
            assert torch.allclose((x @ direction).cpu(), unit.carry[head], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["llama", *families.GATED, *families.CARRIED, "deepseek_v2"])
def test_of_the_first_layer_the_table_is_all_that_was_carried(name, family_model):
    """Its heads read nothing but tokens: gates, norms of the values and what multiplies the stream are in the table."""
    model, run = loud(name, family_model)
    token = run.top(1)[0].id
    a = aw.attribute(run, token)
    if not model.level(0).values:
        with pytest.raises(aw.GranularityError, match="no projection of what its layers read"):
            aw.ov_table(a, "L0H0")
        return
    for head in range(model.heads_of(0)):
        found = aw.ov_table(a, f"L0H{head}", k=model.vocab_size)
        assert found.predicted == pytest.approx(found.actual, abs=1e-5) and abs(found.actual) > 1e-4
        assert found.gated == (name in families.GATED) == ("norms and the gate as they were" in repr(found))
        row = aw.attention(run, f"L0H{head}").patterns[0, -1]
        written = [next(v for _, i, v in up if i == token) for up in found.promoted]
        own = sum(float(p) * written[found.tokens.index(i)] for p, i in zip(row, run.ids, strict=True))
        biased = ov.input_norm(model, 0).bias
        assert bool(biased.any()) or own == pytest.approx(found.actual, abs=1e-5)


def scale(model, layer: int) -> float:
    """By what the norm before a layer divides on the prompt, inverted, in the mean over all positions but the first."""
    streams = model.run(families.PROMPT).record.streams[layer][1:].float()
    if hasattr(model.hf, "transformer"):
        return float((1 / (streams.var(-1, unbiased=False) + model.hf.transformer.ln_f.eps).sqrt()).mean())
    return float((1 / (streams.pow(2).mean(-1) + model.hf.model.norm.variance_epsilon).sqrt()).mean())


def dense(name: str, model, x: torch.Tensor, layer: int, head: int, final: torch.Tensor) -> torch.Tensor:
    """Logits of the whole vocabulary that one head writes where it reads each row of ``x``, from a family's modules."""
    with torch.no_grad():
        hf = model.hf
        if name == "gpt2":
            block, d = hf.transformer.h[layer], families.WIDTH // families.HEADS
            v = block.attn.c_attn.weight[:, 2 * families.WIDTH :][:, head * d : (head + 1) * d]
            frozen = block.ln_1.weight * (x - x.mean(-1, keepdim=True)) * scale(model, layer) + block.ln_1.bias
            written = frozen @ v @ block.attn.c_proj.weight[head * d : (head + 1) * d]
            norm = hf.transformer.ln_f
            last = 1 / (final.var(unbiased=False) + norm.eps).sqrt()
            return (written - written.mean(-1, keepdim=True)) * norm.weight * last @ hf.lm_head.weight.T
        block, d = hf.model.layers[layer], hf.model.layers[layer].self_attn.head_dim
        key = head // (families.HEADS // families.KV_HEADS)
        v = block.self_attn.v_proj.weight[key * d : (key + 1) * d].T
        frozen = block.input_layernorm.weight * x * scale(model, layer)
        written = frozen @ v @ block.self_attn.o_proj.weight[:, head * d : (head + 1) * d].T
        norm = hf.model.norm
        return written * norm.weight / (final.pow(2).mean() + norm.variance_epsilon).sqrt() @ hf.lm_head.weight.T


@pytest.mark.parametrize("chunk", [16384, 37])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_row_is_that_of_the_dense_circuit(name, chunk, family_model, monkeypatch):
    monkeypatch.setattr(ov, "CHUNK", chunk)  # the vocabulary in one piece, and in many
    model, run = loud(name, family_model)
    found = aw.ov_table(aw.attribute(run), "L1H3", [30, 41, 52], k=6)
    x = ov.kinds(effective(model, [30, 41, 52]), 1)[found.kind]
    slow = dense(name, model, x, 1, 3, run.record.streams[-1][-1].float())
    for row in range(3):
        for told, order in ((found.promoted[row], slow[row].topk(6)), (found.suppressed[row], (-slow[row]).topk(6))):
            assert [token for _, token, _ in told] == order.indices.tolist()
            values = slow[row][order.indices]
            assert torch.allclose(torch.tensor([v for _, _, v in told]), values, atol=1e-4, rtol=1e-3)


def test_a_copying_head_writes_for_what_it_reads_and_that_is_all_it_carried():
    model = aw.load("demo:induction")
    story = model.built
    a = aw.attribute(model.run(story.prompt), story.target)
    found = aw.ov_table(a, "L1H0")
    assert found.explained > 0.98 and "explains" in repr(found)
    for token, up in zip(found.tokens, found.promoted, strict=True):
        assert up[0][1] == token
    against = aw.ov_table(a, "L1H2", [story.target])
    assert against.suppressed[0][0][0] == story.target == aw.ov_table(a, "L1H0")[story.target][0][0]


def test_the_table_predicts_what_was_carried_by_the_kind_that_is_nearer():
    a = aw.attribute(aw.load("demo").run("The capital of France is"), " Paris")
    found = aw.ov_table(a, "L3H1")
    nearest = min(found.by_kind.values(), key=lambda value: abs(value - found.actual))
    assert found.predicted == nearest
    unit = unit_writes(a, 3)
    assert found.actual == pytest.approx(float((unit.row[1] * unit.carry[1]).sum()), abs=1e-4)
    row = found.attribution.run.ids
    weights = aw.attention(a.run, "L3H1").patterns[0, -1]
    at = [found.tokens.index(i) for i in row]
    assert float((weights * found.toward[at]).sum()) == pytest.approx(found.predicted, abs=1e-4)


# -- neurons --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_neuron_writes_its_row_of_the_weights(name, family_model):
    model, _ = loud(name, family_model)
    found = aw.neuron_tokens(model, "L1N5", k=7)
    with torch.no_grad():
        if name == "gpt2":
            row, gain = model.hf.transformer.h[1].mlp.c_proj.weight[5], model.hf.transformer.ln_f.weight
            row = row - row.mean()
        else:
            row, gain = model.hf.model.layers[1].mlp.down_proj.weight[:, 5], model.hf.model.norm.weight
        logits = model.hf.lm_head.weight @ (row * gain)
    logits = logits - logits.mean()
    assert [i for _, i, _ in found.promoted] == logits.topk(7).indices.tolist()
    assert [i for _, i, _ in found.suppressed] == (-logits).topk(7).indices.tolist()
    assert torch.allclose(torch.tensor([v for *_, v in found.promoted]), logits.topk(7).values, atol=1e-5)


# -- composition ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom", "gpt_neox", "phi3"])
def test_composition_is_that_of_dense_matrices(name, family_model):
    model, _ = loud(name, family_model)
    found = aw.composition(model, "L2H1", rotations=3)
    eye = torch.eye(model.d_model)

    def full(part: str, layer: int, head: int) -> torch.Tensor:
        """What one head's projection makes of every direction of the stream that its norm reads."""
        norm = composed.input_norm(model, layer)
        own = head if part == "q" else head // model.geometry[layer].group
        return composed.qkv_projection(model, layer, part, own).product(norm.push(eye))

    def out(layer: int, head: int) -> torch.Tensor:
        d = model.geometry[layer].d_head
        return model.out_weight(layer)[0][head * d : (head + 1) * d]

    readers = {
        "q": full("q", 2, 1) @ full("k", 2, 1).T,
        "k": full("k", 2, 1) @ full("q", 2, 1).T,
        "v": full("v", 2, 1) @ out(2, 1),
    }
    for layer, head in ((0, 0), (1, 3)):
        writer = full("v", layer, head) @ out(layer, head)
        for s, side in enumerate(composed.SIDES):
            reader = readers[side]
            slow = float((writer @ reader).norm() / (writer.norm() * reader.norm()))
            assert float(found.scores[s, layer, head]) == pytest.approx(slow, rel=1e-3)


def test_random_heads_compose_as_random_rotations_do(family_model):
    model, _ = loud("llama", family_model)
    for reader in ("L1H0", "L2H2"):
        found = aw.composition(model, reader, rotations=60)
        away = (found.values / found.deviation)[~found.values.isnan()]
        assert len(away) > 10 and float(away.mean().abs()) < 1 and float(away.abs().median()) < 2


def test_an_induction_head_reads_the_previous_token_head_through_its_keys_alone():
    found = aw.composition("demo:induction", "L1H0")
    at = found.scores[:, 0, 0]
    assert at[1] == pytest.approx(1 / 20**0.5, rel=0.1)  # one map of the identity into another, over a vocabulary of 20
    assert float(at[0]) < at[1] / 20 and float(at[2]) < at[1] / 20
    assert str(found.top("k", 1)[0][0]) == "L0H0" and found.top("k", 1)[0][1] > 10 * float(found.deviation[1, 0, 0])


@pytest.mark.parametrize(("name", "sides"), [("qwen3", "qk"), ("gemma2", "qkv"), ("olmo2", "qkv")])
def test_a_norm_between_is_a_reason(name, sides, family_model):
    model, _ = loud(name, family_model)
    found = aw.composition(model, "L2H1", rotations=3)
    for s, side in enumerate(composed.SIDES):
        assert (side in found.missing) == (side in sides) == bool(found.scores[s].isnan().all())
    assert "stands between" in repr(found)


@pytest.mark.parametrize(("name", "gated"), [("llama", False), *((name, True) for name in families.GATED)])
def test_weights_alone_say_that_gates_are_taken_as_open(name, gated, family_model):
    model, _ = loud(name, family_model)
    said = "gates of what heads gather taken as open"
    assert (said in repr(aw.composition(model, "L2H1", rotations=2))) == gated
    found = aw.head_roles(model, roles=["copying", "previous token"], draws=100)
    assert (said in repr(found)) == gated and found.letters() == {}


# -- refusals -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("k", [0, -1, 1.5, "5", True, None])
def test_how_many_is_a_number_above_zero(family_model, k):
    model = family_model("gpt2")
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    for ask in (
        lambda: aw.ov_table(a, "L1H0", k=k),
        lambda: aw.qk_table(a.run, "L1H0", k=k),
        lambda: aw.neuron_tokens(model, "L0N0", k),
        lambda: aw.composition(model, "L2H0").top("q", k),
    ):
        with pytest.raises(aw.AttribError, match="is not a number of"):
            ask()


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_a_prompt_of_one_token_has_its_tables(name, family_model):
    model = family_model(name)
    a = aw.attribute(model.run(model.token_ids(" Paris")))
    table = aw.ov_table(a, "L1H0", [" Rome", " Rome", " Paris"])
    assert len(table.tokens) == 2 and bool(table.toward.isfinite().all()) and "nan" not in repr(table)
    # Read where it stands, a token of the prompt is what it is without being named.
    for found, alone in zip(table[" Paris"], aw.ov_table(a, "L1H0")[" Paris"], strict=True):
        assert found[:2] == alone[:2] and found[2] == pytest.approx(alone[2], abs=1e-5)
    assert "explains nothing, since there is one key" in repr(aw.qk_table(a, "L1H0", 0))  # a result stands for its run


@pytest.mark.parametrize("name", ["gpt2", "olmo2", "gemma2"])
def test_a_table_that_explains_nothing_says_none(name, family_model):
    a = aw.attribute(family_model(name).run(families.PROMPT), " Paris")
    seen = set()
    for layer in range(3):
        for table in (aw.ov_table(a, (layer, 1)), aw.qk_table(a.run, (layer, 1))):
            seen.add(table.explained > 0)
            assert ("explains none of" in repr(table)) == (table.explained <= 0)
            assert "explains \u2212" not in repr(table)
    assert False in seen


def test_what_cannot_be_a_question_is_refused(family_model):
    model = family_model("gpt2")
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    for wrong in (a.run, model):
        with pytest.raises(aw.AttribError, match="is no attribution"):
            aw.ov_table(wrong, "L1H0")
    with pytest.raises(aw.AttribError, match="no tokens to read"):
        aw.ov_table(a, "L1H0", [])
    with pytest.raises(aw.AttribError, match="no tokens to try"):
        aw.qk_table(a.run, "L1H0", tokens=[])
    with pytest.raises(aw.PositionError, match=r"cannot see position 3 from 1.* sees 0 to 1"):
        aw.qk_table(a.run, "L1H0", 1, 3)
    with pytest.raises(aw.AttribError, match="no whole number"):
        aw.composition(model, "L2H0", seed="a")
    with pytest.raises(aw.AttribError, match="no side of a head"):
        aw.composition(model, "L2H0").top("z")


def test_what_is_not_there_is_refused(family_model):
    model, run = loud("gpt2", family_model)
    a = aw.attribute(run)
    with pytest.raises(aw.ComponentError, match="is not a head below"):
        aw.ov_table(a, "L9H0")
    with pytest.raises(aw.ComponentError, match="no row of this table"):
        aw.ov_table(a, "L1H0", [30])[31]
    with pytest.raises(aw.ComponentError, match="is not a head of"):
        aw.qk_table(run, "L0.mlp")
    with pytest.raises(aw.ComponentError, match="has 48, from 0"):
        aw.neuron_tokens(model, "L1N480")
    with pytest.raises(aw.ComponentError, match="No head comes before"):
        aw.composition(model, "L0H1")
    with pytest.raises(aw.AttribError, match="number of rotations"):
        aw.composition(model, "L1H1", rotations=0)
