"""Cost of what a click, a sweep or a table of prompts computes, in forward passes of the same model and process.

    python tests/benchmarks/costs.py [--repeats 7] [--threads 1] [--only lens head features graph patch ...]

A random GPT-2 small (12 layers x 12 heads, width 768, 50,257 tokens) unless said. One *fwd* is the transformers model
called with use_cache=False and full logits on the same tokens; the *floor* is what the matrix products of the same work
cost alone. All three are interleaved, processor time is counted, and the median of the ratios is quoted with its range.
Peak memory (Linux only) is the growth of the resident set in a child process of its own, in MB.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

import torch
from attribution import VOCAB, build, memory, prompt
from patching import pair
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPT2Config

import attrib_widgets as aw

TARGET = 5


class Case(NamedTuple):
    """What is measured: the pass it is held against, the work, and its matrix products; how to begin a repeat."""

    fwd: Callable[[], object]
    ours: Callable[[], object]
    floor: Callable[[], object] | None = None
    fresh: Callable[[], object] = lambda: None


def forward(hf, ids) -> Callable[[], object]:
    batch = torch.tensor(ids if isinstance(ids[0], list) else [ids])

    def call() -> object:
        with torch.no_grad():
            return hf(batch, use_cache=False)

    return call


def lens(tokens: int, **options: object) -> Case:
    hf, model = build()
    run = model.run(prompt(tokens))
    rows, weight = torch.cat(run.record.streams), hf.lm_head.weight.detach().T

    def products() -> None:
        for part in rows.split(2**22 // VOCAB):
            part @ weight

    return Case(forward(hf, run.ids), lambda: aw.logit_lens(run, TARGET, **options), products)


def narrow(tokens: int) -> tuple[object, aw.Attribution]:
    """Six layers of eight heads, width 256."""
    config = GPT2Config(n_layer=6, n_head=8, n_embd=256, n_positions=2048)
    hf, model = build(config)
    return hf, aw.attribute(model.run(prompt(tokens)), TARGET)


def one_head(what: str, tokens: int = 2048) -> Case:
    """One head of layer 3: where it looks, what it carries from every token, and why it looks there."""
    hf, a = narrow(tokens)
    x, d = torch.randn(tokens, 256), 32
    qkv = torch.randn(256, 768)
    rows = tokens if what == "attention" else 1
    score = aw.score("L3H2", query=-1, key=7)
    work = {
        "attention": lambda: aw.attention(a.run, "L3H2"),
        "sources": lambda: a.sources("L3H2"),
        "score": lambda: aw.attribute(a.run, score),
        "choice": lambda: a.choice("L3H2"),
    }

    def products() -> None:
        q, k, v = (x @ qkv).split(256, 1)
        pattern = torch.cat([part @ k[:, :d].T for part in q[-rows:, :d].split(256)])
        pattern @ v[:, :d]

    return Case(forward(hf, a.run.ids), work[what], products)


def dictionary(x: torch.Tensor, features: int, k: int | None, fits: bool) -> aw.SAE:
    """A random dictionary of the MLP of layer 8; one that ``fits`` has the activations ``x`` among its features, and of
    the others few fire."""
    draw = torch.Generator().manual_seed(0)
    w_dec = torch.nn.functional.normalize(torch.randn(features, 768, generator=draw), dim=-1)
    middle = x.mean(0)
    bias = 0.0
    if fits:
        w_dec[: len(x)] = torch.nn.functional.normalize(x - middle, dim=-1)
        bias = 0.0 if k else -0.15 * float((x - middle).norm(dim=-1).mean())
    threshold = torch.full((features,), bias)
    return aw.SAE("L8.mlp", "topk" if k else "standard", w_dec.T.contiguous(), threshold, w_dec, middle, k=k)


def features(count: int, what: str, k: int | None = None, fits: bool = True, tokens: int = 128) -> Case:
    hf, model = build()
    a = aw.attribute(model.run(prompt(tokens)), TARGET)
    x, weight = a.run.record.mlp_write[8], hf.lm_head.weight.detach().T
    model.saes["L8.mlp"] = sae = dictionary(x, count, k, fits)
    made = a.features("L8.mlp")
    given: dict[str, object] = {"bars": a}

    def fresh() -> None:
        # a position is encoded once a run
        given["bars"] = a if what == "features again" else aw.attribute(model.run(a.run.ids), TARGET)
        given["features"] = aw.attribute(model.run(a.run.ids), TARGET).features("L8.mlp") if k else made

    def products() -> None:
        if what != "card":
            x[-1] @ sae.w_enc
            if not fits:
                sae.w_dec[::2] @ x[-1]
        else:
            (x if k else x[-1]) @ sae.w_enc[:, :: 1 if k else count]
            x[-1] @ weight

    if what != "card":
        return Case(forward(hf, a.run.ids), lambda: given["bars"].features("L8.mlp"), products, fresh)
    return Case(forward(hf, a.run.ids), lambda: given["features"].card(7), products, fresh)


def concepts(count: int, k: int, tokens: int = 128) -> Case:
    """Dictionaries of the heads' outputs and of the MLP of all 12 layers; those of one kind share one set of weights,
    in turn with the other's."""
    hf, model = build()
    record = model.run(prompt(tokens)).record
    for site, x in (("z", record.z[8]), ("mlp", record.mlp_write[8])):
        one = dictionary(x, count, k, True)
        for layer in range(model.n_layers):
            model.saes[f"L{layer}.{site}"] = replace(one, site=aw.place(f"L{layer}.{site}"))
    given: dict[str, aw.Attribution] = {}

    def fresh() -> None:
        given["bars"] = aw.attribute(model.run(prompt(tokens)), TARGET)

    def products() -> None:
        for place, sae in model.saes.items():
            found = record.z if place.site == "z" else record.mlp_write
            found[place.layer][-1] @ sae.w_enc

    return Case(forward(hf, prompt(tokens)), lambda: given["bars"].concepts(), products, fresh)


def graph(kind: str) -> Case:
    """A graph of 12 dictionaries, one a layer, of 8 features a position; the run is another one each time."""
    hf, model = build()
    record, ids = model.run(prompt(6)).record, prompt(6)
    one = dictionary(record.mlp_write[8], 4096, 8, True)
    for layer in range(model.n_layers):
        place = aw.place(f"L{layer}.{'post' if kind == 'stream' else kind}")
        model.saes[str(place)] = replace(one, site=place)
    return _graph(hf, lambda: aw.attribute(model.run(ids), TARGET), kind)


def embedded_graph(kind: str) -> Case:
    """The same of the embedded model's own dictionaries."""
    model = aw.load("demo")
    return _graph(model.hf, lambda: aw.attribute(model.run("The capital of France is"), " Paris"), kind)


def _graph(hf: torch.nn.Module, bars: Callable[[], aw.Attribution], kind: str) -> Case:
    given: dict[str, aw.Attribution] = {}

    def fresh() -> None:
        given["bars"] = bars()

    def work() -> object:
        return given["bars"].graph(kind, live=0)

    fresh()
    return Case(forward(hf, given["bars"].run.ids), work, products_of(work, fresh), fresh)


def cards(count: int, k: int | None = None, contexts: int = 32) -> Case:
    """Cards of all features of a dictionary from contexts of 128 tokens, beside plain passes of the same tokens."""
    hf, model = build()
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(1000, 50_000, (contexts, 128), generator=draw)
    x = model.run(ids[0].tolist()).record.mlp_write[8]
    model.saes["L8.mlp"] = sae = dictionary(x, count, k, True)

    def plain() -> None:
        with torch.no_grad():
            for rows in ids.split(8):
                hf(rows, use_cache=False)

    def products() -> None:
        for _ in range(contexts):
            x @ sae.w_enc

    return Case(plain, lambda: aw.make_cards(model, ids.tolist(), "L8.mlp"), products, lambda: None)


def surveyed(model: aw.Model, given: list[list[int]]) -> object:
    """Each prompt is asked for its own first token, and for those of the others."""
    return aw.survey(model, given, [ids[0] for ids in given]).values


def many(work: Callable[[aw.Model, list[list[int]]], object] | None = None, count: int = 300) -> Case:
    model = aw.load("demo")
    hf, size = model.hf, model.vocab_size
    draw = torch.Generator().manual_seed(0)
    lengths = (6, 7, 8)
    given = [torch.randint(2, size, (lengths[i % 3],), generator=draw).tolist() for i in range(count)]
    batches = [torch.tensor([g for g in given if len(g) == n]) for n in lengths]

    def batched() -> None:
        with torch.no_grad():
            for batch in batches:
                hf(batch, use_cache=False)

    def rows() -> object:
        if work is not None:
            return work(model, given)
        if hasattr(aw, "attribute_many"):
            return aw.attribute_many(model, given).values
        return torch.stack([aw.attribute(run).values for run in model.run_many(given)])

    return Case(batched, rows, batched)


class Products(TorchDispatchMode):
    """Keeps the matrix products that are made inside, to be made again by themselves."""

    MADE = tuple(getattr(torch.ops.aten, name).default for name in ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv"))

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Callable[[], object]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in self.MADE:
            self.made.append(functools.partial(func, *args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


def products_of(work: Callable[[], object], fresh: Callable[[], None]) -> Callable[[], None]:
    """The matrix products of ``work`` alone, begun as a repeat is, on the same numbers: found at the first call."""
    found = Products()

    def again() -> None:
        for product in found.made:
            product()

    def call() -> None:
        if not found.made:
            fresh()
            with found, torch.no_grad():
                work()
        with torch.no_grad():
            again()

    return call


def patch(tokens: int, **options: object) -> Case:
    hf, model = build()
    given: dict[str, object] = {}

    def fresh() -> None:
        given["runs"] = pair(model, tokens, 3)

    def sweep() -> object:
        corrupted, clean = given["runs"]
        return aw.patch(model, clean, corrupted, TARGET, sites="z", **options)

    fresh()
    sweep()  # the comparison at first use
    return Case(forward(hf, prompt(tokens)), sweep, products_of(sweep, fresh), fresh)


CASES: dict[str, tuple[str, Callable[[], Case]]] = {
    "logit lens, 128 positions": ("lens", lambda: lens(128)),
    "the same, entropy=False": ("lens", lambda: lens(128, entropy=False)),
    "sources of a head, 2,048 tokens, 6 layers x 8 heads, width 256": ("head", lambda: one_head("sources")),
    "attention of a head, the same": ("head", lambda: one_head("attention")),
    "score of a head, the same": ("head", lambda: one_head("score")),
    "choice of a head, the same": ("head", lambda: one_head("choice")),
    "features of a click, 128 tokens, 16,384 of width 768": ("features", lambda: features(16_384, "features")),
    "the same, 65,536": ("features", lambda: features(65_536, "features")),
    "the same, 65,536, a dictionary that does not fit: first click of a run": (
        "features",
        lambda: features(65_536, "features", fits=False),
    ),
    "the same, the next click": ("features", lambda: features(65_536, "features again", fits=False)),
    "the same, topk, 16,384": ("features", lambda: features(16_384, "features", 8)),
    "the same, topk, 65,536": ("features", lambda: features(65_536, "features", 8)),
    "card of a feature, 16,384": ("features", lambda: features(16_384, "card")),
    "card of a feature, 65,536": ("features", lambda: features(65_536, "card")),
    "first card of a run, topk, 16,384": ("features", lambda: features(16_384, "card", 8)),
    "first card of a run, topk, 65,536": ("features", lambda: features(65_536, "card", 8)),
    "concepts: 24 dictionaries of 16,384, topk": ("concepts", lambda: concepts(16_384, 64)),
    "graph: 12 dictionaries of streams, 576 features, 6 tokens": ("graph", lambda: graph("stream")),
    "the same of MLPs": ("graph", lambda: graph("mlp")),
    "the same of heads": ("graph", lambda: graph("z")),
    "graph of the embedded model: streams": ("graph", lambda: embedded_graph("stream")),
    "the same: MLPs": ("graph", lambda: embedded_graph("mlp")),
    "the same: MLPs and heads": ("graph", lambda: embedded_graph("mlp+z")),
    "cards of 16,384 features from 4,096 tokens": ("cards", lambda: cards(16_384)),
    "the same, topk": ("cards", lambda: cards(16_384, 32)),
    "cards of 65,536 features from 4,096 tokens": ("cards", lambda: cards(65_536)),
    "300 short prompts to rows, embedded model": ("many", many),
    "the same as a survey, answers permuted 999 times": ("many", lambda: many(surveyed)),
    "144 head patches, last position, 16 tokens": ("patch", lambda: patch(16, positions=[-1])),
    "144 head patches, last position, 128 tokens": ("patch", lambda: patch(128, positions=[-1])),
    "144 head patches, last position, 512 tokens": ("patch", lambda: patch(512, positions=[-1])),
    "144 head patches, all positions, 16 tokens, differing at 3": ("patch", lambda: patch(16)),
}


def measured(case: Case, repeats: int) -> dict[str, list[float]]:
    """Processor seconds of every part of a case, interleaved; the first round warms up."""
    works = {"fwd": case.fwd, "ours": case.ours, "floor": case.floor}
    times: dict[str, list[float]] = {name: [] for name, work in works.items() if work is not None}
    for repeat in range(repeats + 1):
        case.fresh()
        for name in times:
            start = time.process_time()
            works[name]()  # type: ignore[misc]
            if repeat:
                times[name].append(time.process_time() - start)
    return times


def peak_megabytes(script: str, name: str) -> float:
    command = [sys.executable, os.path.abspath(script), "--child", name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def child(case: Case) -> None:
    case.fresh()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = memory("VmRSS")
    case.ours()
    print((memory("VmHWM") - before) / 1024)


def main(cases: dict[str, tuple[str, Callable[[], Case]]], script: str, about: str | None) -> None:
    """Print a table of ``cases``, or measure the peak of one for it."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=list(dict.fromkeys(kind for kind, _ in cases.values())))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        torch.set_num_threads(1)
        child(cases[args.child][1]())
        return
    torch.set_num_threads(args.threads)
    print("| work | fwd, s | in fwd (range) | floor, fwd | in floors | peak MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (kind, make) in cases.items():
        if kind not in args.only:
            continue
        times = measured(make(), args.repeats)
        fwd, floor = statistics.median(times["fwd"]), times.get("floor")
        pairs = [a / b for a, b in zip(times["ours"], times["fwd"], strict=True)]
        held = [a / b for a, b in zip(times["ours"], floor, strict=True)] if floor else []
        beside = f"{statistics.median(floor) / fwd:.3f} | {statistics.median(held):.2f}" if floor else " | "
        print(
            f"| {name} | {fwd:.3f} | {statistics.median(pairs):.3f} ({min(pairs):.3f} to {max(pairs):.3f}) "
            f"| {beside} | {peak_megabytes(script, name):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(CASES, __file__, __doc__)
