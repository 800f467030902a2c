"""Train the tuned lens of the embedded model.

`python -m attrib_widgets.demo.making.lens [--folder DIR] [--steps N]`

Writes `tuned_lens.safetensors` beside the weights, in half precision, with its KL as it was written, on contexts that
it was not trained on. It takes two or three minutes of two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ... import load
from ...analysis.lens.tuned_lens import TunedLens
from .. import path
from . import concepts
from .dictionaries import training_text

#: Contexts that train it, and others, of the cards of the dictionaries, on which it is measured.
TRAINED_ON, MEASURED_ON = 2000, 200
STEPS = 400


def main(arguments: list[str] | None = None) -> None:
    """Train and write it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=path(), help="folder of the model (default: the embedded one)")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(arguments)
    model = load(str(options.folder), dtype="float32")
    lens = TunedLens.train(model, [training_text(i) for i in range(TRAINED_ON)], steps=options.steps, mid=True)
    file = lens.save(options.folder, torch.float16)
    written = TunedLens.load(file, model).measured(model, [concepts.context(i) for i in range(MEASURED_ON)])
    written.metadata["model_name"] = "demo"
    written.save(options.folder, torch.float16)
    print(written)


if __name__ == "__main__":
    main()
