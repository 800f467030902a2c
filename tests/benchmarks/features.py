"""Cost of taking features out, one experiment each, against one pass each with a plain hook.

    python tests/benchmarks/features.py [--repeats 5] [--threads 2]

The embedded model and its dictionaries on one prompt; every feature that fires behind the first position is taken out
at its position alone, what its dictionary misses held. One *fwd* is the transformers model called with use_cache=False.
The two ways run in turn in one process, and the median of their ratios is quoted with its range, as is what the whole
sweep takes in fwd. The comparison of the sweep with full recomputation, made once for a model, is not counted; the run,
and so what dictionaries encode of it, is a new one every time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.ablation.donors import zero_donor
from attrib_widgets.analysis.experiments.cells.cells import Cell, cell
from attrib_widgets.analysis.experiments.measuring.metrics import metric_of
from attrib_widgets.analysis.experiments.measuring.pairs import Cost, run_cells
from attrib_widgets.demo import PROMPT, TARGET
from attrib_widgets.saes.reading import activations

#: How many of the features are taken out one by one: the rest would take as long.
ALONE = 40


def firing(model: aw.Model, run: aw.Run) -> list[Cell]:
    """Every feature at every position where it fires, the first position left out."""
    found = []
    for place in model.saes:
        active = model.saes[place].encode(activations(model, run.record, model.saes[place]).x)
        found += [cell(model, f"{place}/{f} @{p}") for p, f in active.nonzero().tolist() if p]
    return found


def swept(model: aw.Model) -> tuple[float, Cost, int]:
    """(seconds, cost, experiments) of all of them in one sweep."""
    run = model.run(PROMPT)
    cells, cost = firing(model, run), Cost()
    metric = metric_of(TARGET, run, run.n_positions - 1)
    start = time.perf_counter()
    run_cells(run, zero_donor(run), cells, metric, -1, cost)
    return time.perf_counter() - start, cost, len(cells)


def one_by_one(model: aw.Model) -> float:
    """Seconds of one of them with a plain hook, the mean over some; its direction is at hand."""
    run = model.run(PROMPT)
    site = next(place for place in model.saes if place.site == "mlp")
    sae = model.saes[site]
    module = model.layer(site.layer or 0).get_submodule(model.anatomy.mlp or "")
    active = sae.encode(activations(model, run.record, sae).x)
    ids, total = torch.tensor([run.ids]), 0.0
    for p, f in active.nonzero().tolist()[:ALONE]:
        written = active[p, f] * sae.w_dec[f]

        def without(_: Any, __: Any, out: Any, p: int = p, written: Any = written) -> Any:
            changed = out.clone()
            changed[0, p] -= written
            return changed

        handle = module.register_forward_hook(without)
        start = time.perf_counter()
        with torch.no_grad():
            model.hf(ids, use_cache=False)
        total += time.perf_counter() - start
        handle.remove()
    return total / min(ALONE, int(active.count_nonzero()))


def forward(model: aw.Model) -> float:
    """Seconds of one plain forward, the mean over some."""
    ids = torch.tensor([model.run(PROMPT).ids])
    start = time.perf_counter()
    with torch.no_grad():
        for _ in range(ALONE):
            model.hf(ids, use_cache=False)
    return (time.perf_counter() - start) / ALONE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = aw.load("demo")
    swept(model), one_by_one(model)  # compared with full recomputation, once
    ratios, costs = [], []
    cost, count = Cost(), 0
    for _ in range(args.repeats):
        together, cost, count = swept(model)
        alone, fwd = one_by_one(model), forward(model)
        ratios.append(alone * count / together)
        costs.append(together / fwd)
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    fwds, each = statistics.median(costs), count / cost.forwards
    print(f"{count} features in {cost.forwards} passes ({each:.0f} a pass): {fwds:.0f} fwd")
    print(f"one by one takes {middle:.1f} times as long ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
