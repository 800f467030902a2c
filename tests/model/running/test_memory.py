"""Repeated runs leave nothing behind."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest
import torch

import attrib_widgets as aw
from fixtures import families


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096


def tensors():
    gc.collect()
    return sum(1 for o in gc.get_objects() if type(o) is torch.Tensor)


def ask(model):
    a = aw.attribute(model.run(families.LONG_PROMPT), " Paris")
    a.sources("L1H1"), a.neurons(1), a.through("L1H1")
    aw.attention(a.run, "L1H1")
    return a


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_two_hundred_runs_in_flat_memory(name):
    model = aw.load(families.build(name), tokenizer=families.tokenizer(name))
    for _ in range(25):
        ask(model)
    count, size = tensors(), resident()
    for _ in range(200):
        ask(model)
    grown = tensors() - count
    assert grown <= 2, f"{grown} tensors stay behind after 200 runs"
    gc.collect()
    share = resident() / size - 1
    assert share <= 0.02, f"memory grew by {100 * share:.1f} % over 200 runs"


def test_a_run_is_freed_with_its_last_reference():
    model = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    a = ask(model)
    run, first = weakref.ref(a.run), weakref.ref(a)
    del a
    gc.collect()
    assert first() is None and run() is None, "something keeps the run alive"


def test_a_model_is_freed_with_its_last_reference():
    hf = families.build("llama")
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    ask(model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None, "a global keeps the model alive"
    held = weakref.ref(hf.model.layers[0].mlp.down_proj.weight)
    del hf
    gc.collect()
    assert held() is None, "the weights stay in memory after the last reference"


def test_no_component_by_width_tensor_is_ever_made(monkeypatch):
    """Memory may not grow with components x width x positions: the largest tensor made on the way stays small."""
    from torch.utils._python_dispatch import TorchDispatchMode

    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    run = model.run(families.LONG_PROMPT)
    largest = 0
    # Some numbers of every weight are looked at as well: of a fixed size, whatever is explained.
    monkeypatch.setattr(type(model), "stamp", lambda self: self.stamped)

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for o in out if isinstance(out, (tuple, list)) else [out]:
                if isinstance(o, torch.Tensor):
                    largest = max(largest, o.numel())
            return out

    with Watch():
        aw.attribute(run, " Paris").by_position()
    n, components = run.n_positions, len(aw.attribute(run, " Paris").labels)
    allowed = max(n * components * 2, model.d_model * model.vocab_size, n * model.vocab_size)
    assert largest <= allowed, (
        f"a tensor of {largest} numbers was made; components x positions x width is {components * n * model.d_model}"
    )
