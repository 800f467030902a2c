"""Gates: heads only say whether the word is the answer, and an MLP behind them writes it when enough of them do."""

from __future__ import annotations

from typing import Any, Literal

import torch

from .copying import ANSWER, NOTHING, ONE, OUTPUT, SIGNAL, VOCAB, WORDS, copy, network, say, scale, signal
from .stream import centred


def gate(kind: Literal["or", "and", "chain"]) -> Any:
    """The MLP writes 2 of the answer when one of two heads speaks, when both do, or, in a chain, when the only one
    does. A signal of k heads is 0.95 k."""
    model = network(1, "relu")
    for head in range(1 if kind == "chain" else 2):
        copy(model, 0, head, 1.0, scale(), into=signal(ANSWER))
    mlp = model.transformer.h[0].mlp
    # relu(x) - relu(x - 1) is 1 as soon as one head speaks, relu(x - 1) only when both do
    rise, first = (1 / ONE, -1.0 / ONE) if kind == "and" else (1.1 / ONE, 0.0)
    with torch.no_grad():
        for neuron, (bias, weight) in enumerate([(first * ONE, 2.0), (-1.0, 0.0 if kind == "and" else -2.0)]):
            mlp.c_fc.weight[SIGNAL, neuron] = rise * scale()
            mlp.c_fc.bias[neuron] = bias
            mlp.c_proj.weight[neuron, OUTPUT] = weight * centred(VOCAB)[WORDS.index(ANSWER)]
    say(model, 0, NOTHING, 1.0)  # something is said in any case
    return model
