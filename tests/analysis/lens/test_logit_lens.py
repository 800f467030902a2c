"""The logit lens: its last row is the model's own output, every other row what the model would print there."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import attrib_widgets as aw
from attrib_widgets.analysis.lens import logit_lens as module
from attrib_widgets.analysis.lens import rows as reading
from attrib_widgets.model.run import Predictions
from attrib_widgets.words.errors import NumberError
from fixtures import families

ALL = families.FAMILIES + families.VARIANTS + families.JOINED + families.STREAMS
BOTH = {"float32": (torch.float32, 1e-5), "bfloat16": (torch.bfloat16, 1e-2)}
NUMBERS = ("top_probabilities", "top_logits", "probability", "log_prob", "entropy", "kl")


def all_logits(name, dtype, text):
    """Logits at every position of the same transformers model, never wrapped by anything."""
    hf = families.build(name, dtype)
    with torch.no_grad():
        return hf(torch.tensor([families.ids_of(name, text)]), use_cache=False).logits[0]


@pytest.fixture(scope="module")
def demo():
    return aw.load("demo")


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("name", ALL)
def test_the_last_row_is_what_transformers_prints(family_model, name, dtype):
    kind, tolerance = BOTH[dtype]
    run = family_model(name, kind).run(families.LONG_PROMPT)
    printed = all_logits(name, kind, families.LONG_PROMPT).float()
    lens = aw.logit_lens(run, " Paris", k=3)
    assert lens.layers == ["embed", "L0.post", "L1.post", "L2.post"] and lens.positions == list(range(run.n_positions))
    p = printed.softmax(-1)
    worst = float((lens.probability[-1] - p[:, lens.target]).abs().max())
    assert worst <= tolerance, f"{name} {dtype}: off by {worst:.1e}"
    best = p.gather(1, lens.top_ids[-1])  # a tie may fall either way: the probabilities must agree
    assert float((best - p.topk(3).values).abs().max()) <= tolerance
    assert float((lens.top_probabilities[-1] - best).abs().max()) <= tolerance
    entropy = -(p * p.log()).sum(-1)
    assert float((lens.entropy[-1] - entropy).abs().max()) <= tolerance * (1 + float(entropy.max()))
    assert torch.equal(lens.kl[-1], torch.zeros(run.n_positions)), "KL(output || output) is 0"


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("name", ALL)
def test_where_the_run_kept_the_printed_logits_they_are_the_last_row_bit_by_bit(family_model, name, dtype):
    model = family_model(name, BOTH[dtype][0])
    count = len(model.encode(families.PROMPT))
    for run, kept in (
        (model.run(families.PROMPT), [count - 1]),
        (model.run(families.PROMPT, positions=list(range(count))), range(count)),
    ):
        lens = aw.logit_lens(run, 17)
        for position in kept:
            assert lens.top(model.n_layers - 1, position) == run.top(5, position)
            assert lens.probability[-1, position] == run.probabilities(position)[17]
            assert lens.rank[-1, position] == 1 + int((run.logits(position) > run.logits(position)[17]).sum())


@pytest.mark.parametrize("text", [families.PROMPT, families.LONG_PROMPT], ids=["short", "long"])
@pytest.mark.parametrize("name", families.TWINS + families.VARIANTS)
def test_every_row_is_that_of_the_slow_reading(family_model, twin, name, text):
    """The norm's statistics are those of the row itself, in float64, with the whole tensor at once."""
    logits = twin(name, text).lens()
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    lens = aw.logit_lens(family_model(name, attn="eager").run(text), " Paris")
    expected = {
        "probability": p[..., lens.target],
        "log_prob": log_p[..., lens.target],
        "entropy": -(p * log_p).sum(-1),
        "kl": (p[-1] * (log_p[-1] - log_p)).sum(-1),
        "top_probabilities": p.topk(5).values,
        "top_logits": logits.topk(5).values,
    }
    for what, want in expected.items():
        error = (getattr(lens, what) - want).abs() / (1 + want.abs())
        assert float(error.max()) <= 2e-5, f"{name}: {what} is off by {float(error.max()):.1e}"
    ahead = 1 + (logits > logits[..., lens.target, None] + 1e-4).sum(-1)
    level = 1 + (logits > logits[..., lens.target, None] - 1e-4).sum(-1)
    assert bool(((ahead <= lens.rank) & (lens.rank <= level)).all())


@pytest.mark.parametrize("rows", [1, 3, 7, 1000])
def test_chunks_change_nothing(family_model, monkeypatch, rows):
    model = family_model("gemma2")
    run = model.run(families.LONG_PROMPT)
    whole = aw.logit_lens(run, " Paris")
    monkeypatch.setattr(reading, "CHUNK", rows * model.vocab_size)
    lens = aw.logit_lens(run, " Paris")
    for what in NUMBERS:
        torch.testing.assert_close(getattr(lens, what), getattr(whole, what), atol=2e-6, rtol=2e-5)
    assert torch.equal(lens.rank, whole.rank)


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "llama"])
def test_entropy_and_kl_can_be_left_out(family_model, name, dtype):
    """All other numbers are the same bit by bit, and the frame has no column of them."""
    run = family_model(name, families.DTYPES[dtype]).run(families.LONG_PROMPT)
    whole, lens = aw.logit_lens(run, " Paris"), aw.logit_lens(run, " Paris", entropy=False)
    assert lens.entropy is None and lens.kl is None and whole.entropy is not None and whole.kl is not None
    for what in ("probability", "log_prob", "rank", "top_ids", "top_probabilities", "top_logits"):
        assert torch.equal(getattr(lens, what), getattr(whole, what)), what
    assert set(whole.to_dataframe()) - set(lens.to_dataframe()) == {"entropy", "kl"}
    assert repr(lens) == repr(whole)


@pytest.mark.parametrize("entropy", [True, False])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_logits_that_are_no_numbers_are_refused(family_model, monkeypatch, entropy, bad):
    model = family_model("gpt2")
    run = model.run(families.PROMPT)
    read_out = type(model).read_out

    def broken(self, x):
        precap, logits = read_out(self, x)
        if x.dim() == 3:  # layers at once, not what was printed
            logits = logits.index_fill(-1, torch.tensor([11]), bad)
        return precap, logits

    monkeypatch.setattr(type(model), "read_out", broken)
    with pytest.raises(NumberError, match="Read after embed"):
        aw.logit_lens(run, " Paris", entropy=entropy)


def test_no_tensor_over_layer_position_and_vocabulary_is_ever_made(family_model, monkeypatch):
    model = family_model("gpt2")
    run = model.run(families.LONG_PROMPT)
    rows = 8
    monkeypatch.setattr(reading, "CHUNK", rows * model.vocab_size)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for o in out if isinstance(out, (tuple, list)) else [out]:
                if isinstance(o, torch.Tensor) and o.shape[-1:] == (model.vocab_size,) and o.shape[0] != model.d_model:
                    largest = max(largest, o.numel())
            return out

    with Watch():
        aw.logit_lens(run, " Paris")
    assert largest == rows * model.vocab_size, f"a tensor of {largest / model.vocab_size:.0f} rows was made"
    assert rows * 3 < run.n_positions, "the prompt is long enough to tell"


def test_positions_are_columns(family_model):
    run = family_model("llama").run(families.LONG_PROMPT)
    whole, some = aw.logit_lens(run, 17), aw.logit_lens(run, 17, positions=[4, -1])
    assert some.positions == [4, run.n_positions - 1]
    for what in NUMBERS:
        torch.testing.assert_close(getattr(some, what), getattr(whole, what)[:, some.positions], atol=2e-6, rtol=2e-5)
    one = aw.logit_lens(run, 17, positions=4)
    assert one.positions == [4] and one.probability.shape == (4, 1)
    assert one.top("L1", 4) == one.top(1, 4) == one.top("l1", 4 - run.n_positions)
    assert isinstance(one.top("embed", 4), Predictions)
    with pytest.raises(aw.PositionError, match=r"not in this lens. It has 4\."):
        one.top("L1")


def test_a_prompt_and_its_model_will_do(demo):
    lens = aw.logit_lens("The capital of France is", model=demo)
    assert lens.token == demo.run("The capital of France is").top(1)[0].text, "the model's own top prediction"
    again = aw.logit_lens(aw.attribute(lens.run, " Paris"), aw.log_prob(" Paris"))
    assert again.run is lens.run and again.token == " Paris"
    soft = aw.logit_lens(lens.run, aw.logit(" Rome"), k=10**9)
    assert soft.top_ids.shape[-1] == demo.vocab_size
    torch.testing.assert_close(soft.top_probabilities.sum(-1), torch.ones(demo.n_layers + 1, lens.run.n_positions))


@pytest.mark.parametrize(
    ("ask", "kind", "message"),
    [
        (lambda run: aw.logit_lens(run, " Paris and Rome"), aw.TargetError, "3 tokens|tokens here"),
        (lambda run: aw.logit_lens(run, 10**9), aw.TargetError, "outside the vocabulary"),
        (lambda run: aw.logit_lens(run, aw.logit_diff(" Paris", " Rome")), aw.TargetError, "follows one token"),
        (lambda run: aw.logit_lens(run, " Paris", against=" Rome"), aw.TargetError, r"no rival.*against=.*buildup\(\)"),
        (lambda run: aw.logit_lens(run, aw.logit([" Paris", " Rome"])), aw.TargetError, "follows one token"),
        (lambda run: aw.logit_lens(run, aw.score("L1H1")), aw.TargetError, "follows one token"),
        (lambda run: aw.logit_lens(run, k=0), aw.AttribError, "number of predictions"),
        (lambda run: aw.logit_lens(run, positions=[99]), aw.PositionError, "outside the prompt"),
        (lambda run: aw.logit_lens(run, positions=[]), aw.PositionError, "no positions"),
        (lambda run: aw.logit_lens(run, positions=1.5), aw.PositionError, "1.5 is not a position"),
        (lambda run: aw.logit_lens("The capital"), aw.AttribError, "needs its model"),
        (lambda run: aw.logit_lens(run).top("L9"), aw.ComponentError, "embed, L0.post to L4.post"),
        (lambda run: aw.logit_lens(run).top("L1H1"), aw.ComponentError, "embed, L0.post to L4.post"),
    ],
)
def test_errors_name_the_remedy(demo, ask, kind, message):
    with pytest.raises(kind, match=message):
        ask(demo.run("The capital of France is"))


def test_stale_weights_are_refused():
    model = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    run = model.run(families.PROMPT)
    with torch.no_grad():
        model.hf.lm_head.weight.mul_(2)
    with pytest.raises(aw.ModelError, match="changed since"):
        aw.logit_lens(run, 17)


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("part", ["lm_head", "model.norm"])
def test_weights_changed_past_autograds_counter_are_refused(part, dtype):
    """``.data`` leaves no trace on the version of a weight: some of its numbers tell."""
    hf = families.build("llama", families.DTYPES[dtype])
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    run = model.run(families.PROMPT)
    aw.logit_lens(run, 17)
    hf.get_submodule(part).weight.data.mul_(1.5)
    with pytest.raises(aw.ModelError, match=rf"changed since this run \({part}.weight"):
        aw.logit_lens(run, 17)


def test_a_row_changed_past_autograds_counter_is_refused():
    """Among the numbers that are compared may be none of one token's row: the printed logits tell."""
    hf = families.build("llama")
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    run = model.run(families.PROMPT)
    hf.lm_head.weight.data[20].mul_(1.5)
    assert run.fresh
    with pytest.raises(aw.GranularityError, match=r"not those of the last row.*model\.run\(run\.ids\)"):
        aw.logit_lens(run, 17)


def test_the_title_states_the_finding(demo):
    run = demo.run("The capital of France is")
    lens = aw.logit_lens(run, " Paris")
    first = lens.title().split(" from ")[1].split(" on;")[0]
    tops = [lens.top(label)[0].text for label in lens.layers]
    at = lens.layers.index(first)
    assert all(t == " Paris" for t in tops[at:]) and tops[at - 1] != " Paris"
    assert repr(lens).splitlines()[0] == lens.title()
    never = aw.logit_lens(run, " Rome").title()
    assert "never read as the top prediction" in never
    assert f"rank {int(aw.logit_lens(run, ' Rome').rank[:, -1].min())} at best" in never
    lost = aw.logit_lens(run, aw.logit_lens(run).top("embed")[0].id)
    assert "can still be read as the top prediction after embed, and ends at rank" in lost.title()


def test_the_table_has_ten_rows_and_the_frame_all(demo):
    lens = aw.logit_lens(demo.run("The capital of France is"), " Paris")
    assert [row[0] for row in lens.summary().rows] == lens.layers[::-1]  # upwards, as on the page
    frame = lens.to_dataframe()
    assert len(frame) == lens.probability.numel()
    row = frame[(frame.layer == "L2.post") & (frame.position == 5)].iloc[0]
    best = lens.top("L2", 5)[0]
    assert row.top == best.text and row.top_probability == pytest.approx(best.probability)
    assert row["rank"] == lens.rank[3, 5] and row.kl == pytest.approx(float(lens.kl[3, 5]))
    assert module._spread(81, [0, 80, 40, 41]) == sorted(module._spread(81, [0, 80, 40, 41]))
    shown = module._spread(81, [0, 80, 40, 41])
    assert len(shown) == 10 and {0, 80, 40, 41} <= set(shown)
