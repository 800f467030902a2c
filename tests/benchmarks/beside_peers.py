"""This package beside others that look into models: what loads, what adds up, what it costs, what it moves.

    python tests/benchmarks/beside_peers.py FOLDER [NAME ...] [--make] [--colab PYTHON]

FOLDER holds an environment for each of the others (``FOLDER/NAME/bin/python``; see PEERS). ``--make`` makes those that
are missing, which takes a gigabyte and some minutes each; without it they are taken as they are, and one that is not
there is left out. ``--colab PYTHON`` asks the pip of a Python 3.13 instead which of Colab's versions (tests/colab.txt)
installing a package there would move; nothing is installed for that. The tables of README and .github/docs/beside.md
were made with it; it is no part of the tests. What is measured in each environment is in peers.py beside it.

Everything runs on small random models, which this package writes into a temporary folder, so that no network is asked
for weights. Sums are compared with the logit that transformers prints in the same environment. Times are ratios to the
plain forward pass of the same model, prompt and process, interleaved; medians.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from peers import FAMILIES, HEADS, LAYERS, PROBES, TOKENS, VOCABULARY, WIDTH

ROOT = Path(__file__).resolve().parents[2]
#: What is installed for each, beside torch.
PEERS: dict[str, list[str]] = {
    "attrib_widgets": [str(ROOT)],
    "transformer-lens": ["transformer-lens==4.3.0"],
    "transformer-lens-2": ["transformer-lens==2.18.0", "pyarrow<21"],
    "circuitsvis": ["circuitsvis==1.43.3"],
    "bertviz": ["bertviz==1.4.1", "transformers"],
    "tuned-lens": ["tuned-lens==0.2.0"],
    "circuit-tracer": ["circuit-tracer==0.5.0"],
    "nnterp": ["nnterp==1.3.0", "nnsight<0.8"],
    "inseq": ["inseq==0.7.1"],
    "captum": ["captum==0.9.0", "transformers"],
}


def models(folder: Path) -> None:
    """The small random models, with a tokenizer of a word a token."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from attrib_widgets.model.selfcheck.specimen import small_tokenizer, specimen

    for family in FAMILIES:
        specimen(family).save_pretrained(folder / family)
        small_tokenizer().save_pretrained(folder / family)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=TOKENS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS)
    GPT2LMHeadModel(config).save_pretrained(folder / "timed")
    small_tokenizer().save_pretrained(folder / "timed")


def made(folder: Path, name: str) -> None:
    """An environment of its own."""
    subprocess.check_call([sys.executable, "-m", "venv", folder / name])
    pip = [folder / name / "bin" / "python", "-m", "pip", "install", "-q"]
    subprocess.check_call([*map(str, pip), "torch==2.13.0", *PEERS[name]])


def moved(python: str, wanted: list[str], folder: Path) -> list[str]:
    """Colab's versions that installing would move: pins that forbid it are dropped, one by one, until it resolves."""
    lines = (ROOT / "tests" / "colab.txt").read_text(encoding="utf-8").splitlines()
    held = dict(line.split("==") for line in lines if "==" in line)
    kept = dict(held)
    report = folder / "report.json"
    line = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--report", str(report)]
    while True:
        (folder / "pins.txt").write_text("".join(f"{n}=={v}\n" for n, v in kept.items()))
        done = subprocess.run([*line, "-c", str(folder / "pins.txt"), *wanted], capture_output=True, text=True)
        if not done.returncode:
            break
        text = done.stdout + done.stderr
        said = re.findall(r"\(constraint\) ([\w.-]+)[=<>!~]", text)
        said = said or re.findall(r"^ +([\w.-]+) [\d.]+ depends", text, re.MULTILINE)
        named = [n for n in kept if n.replace("_", "-") in {s.replace("_", "-") for s in said}]
        if not named:
            return [f"does not resolve for Python 3.13: {done.stderr.strip().splitlines()[-1][:160]}"]
        for name in named:
            del kept[name]
    found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    items = {item["name"].lower().replace("-", "_"): item["version"] for item in found}
    chosen = {n: items.get(n.lower().replace("-", "_"), v).split("+")[0] for n, v in held.items()}
    return [f"{n} {held[n]} -> {v}" for n, v in chosen.items() if v != held[n]]


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", type=Path)
    ask.add_argument("names", nargs="*", help=f"of {', '.join(PROBES)}; all where none is named")
    ask.add_argument("--make", action="store_true", help="make the environments that are missing")
    ask.add_argument("--colab", metavar="PYTHON", help="a Python 3.13: which of Colab's versions installing would move")
    args = ask.parse_args()
    with tempfile.TemporaryDirectory() as place:
        there = Path(place)
        if not args.colab:
            models(there)
        for name in args.names or PROBES:
            python = args.folder / name / "bin" / "python"
            if args.colab:
                told: Any = moved(args.colab, PEERS[name], there)
                print(f"{name}: {'; '.join(told) or 'nothing moves'}", flush=True)
                continue
            if not python.is_file() and args.make:
                made(args.folder, name)
            if not python.is_file():
                print(f"{name}: not in {args.folder}")
                continue
            env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
            env.pop("PYTHONPATH", None)
            line = [str(python), "-W", "ignore", str(Path(__file__).with_name("peers.py")), name, str(there)]
            done = subprocess.run(line, capture_output=True, text=True, env=env)
            if done.returncode:
                print(f"{name}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", flush=True)
                continue
            told = json.loads(done.stdout.strip().splitlines()[-1])
            families = told.pop("families")
            print(f"{name}: {told}", flush=True)
            for family, seen in families.items():
                told = [f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in seen.items()]
                print(f"    {family:12} {', '.join(told)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
