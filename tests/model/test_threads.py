"""One lock around every forward: threads take turns and get what they would have got alone."""

from __future__ import annotations

import threading

import pytest
import torch

import attrib_widgets as aw
from fixtures import families

PROMPTS = [families.PROMPT, families.LONG_PROMPT]


def in_threads(jobs):
    errors, done = [], []

    def work(job):
        try:
            done.append(job())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(t.is_alive() for t in threads), "a thread hangs"
    assert not errors, f"{len(errors)} threads failed, first: {errors[0]!r}"
    return done


@pytest.mark.parametrize("wrappers", [1, 2], ids=["one wrapper", "two wrappers of one model"])
def test_two_threads_sixty_runs(wrappers):
    torch.set_num_threads(1)
    hf = families.build("llama")
    models = [aw.load(hf, tokenizer=families.tokenizer("llama")) for _ in range(wrappers)]
    alone = [aw.attribute(models[0].run(p), " Paris").values for p in PROMPTS]
    start = threading.Barrier(2)

    def job(index):
        def work():
            start.wait(10)
            found = []
            for _ in range(30):
                found.append(aw.attribute(models[index % wrappers].run(PROMPTS[index]), " Paris").values)
            return index, found

        return work

    for index, found in in_threads([job(0), job(1)]):
        assert len(found) == 30
        for values in found:
            assert torch.allclose(values, alone[index], atol=1e-5), f"thread {index} got another run's numbers"


def test_different_models_in_different_threads():
    torch.set_num_threads(1)
    models = {n: aw.load(families.build(n), tokenizer=families.tokenizer(n)) for n in ("gpt2", "gemma2")}
    alone = {n: aw.attribute(m.run(families.PROMPT), " Paris").values for n, m in models.items()}

    def job(name):
        return lambda: (name, [aw.attribute(models[name].run(families.PROMPT), " Paris").values for _ in range(15)])

    for name, found in in_threads([job("gpt2"), job("gemma2")]):
        assert all(torch.allclose(v, alone[name], atol=1e-5) for v in found), name


def test_reading_and_running_at_once():
    """One thread opens rows (which runs the model for neurons, and its modules for attention) while another runs."""
    torch.set_num_threads(1)
    model = aw.load(families.build("gemma3"), tokenizer=families.tokenizer("gemma3"))
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    neurons, sources = a.neurons(1).values, a.sources("L1H1").values

    def read():
        for _ in range(20):
            assert torch.allclose(a.neurons(1).values, neurons, atol=1e-5)
            assert torch.allclose(a.sources("L1H1").values, sources, atol=1e-5)
            a.run.top(2, position=0)
        return True

    def run():
        for _ in range(20):
            assert aw.attribute(model.run(families.LONG_PROMPT), " Rome").exact
        return True

    assert in_threads([read, run]) == [True, True]


def test_the_lock_can_be_held_by_the_caller():
    """A widget holds the lock while it computes: the same thread may enter again."""
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    with model.lock:
        assert aw.attribute(model.run(families.PROMPT), " Paris").exact


def test_the_worker_runs_the_model():
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    expected = aw.attribute(model.run(families.PROMPT), " Paris").values
    job = model.worker.submit(lambda job: aw.attribute(model.run(families.PROMPT), " Paris").values)
    mine = aw.attribute(model.run(families.LONG_PROMPT), " Paris")
    assert job.wait(30), "the worker did not finish"
    assert job.error is None, job.error
    assert torch.allclose(job.result, expected, atol=1e-5)
    assert mine.exact
    assert model.worker is model.worker
