"""The lines of Python that make the same result again: what "copy as Python" puts on the clipboard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ... import demo
from ...analysis.experiments.measuring.common import single_logit
from ...words.targets import Target

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...model.model import Model
    from ...model.run import Run
    from ..questions.passage import Passage


def source(model: Model) -> str:
    """What :func:`attrib_widgets.load` takes for the model; "" for one that came as an object. A folder under the
    working folder, or beside it, is named from there, one elsewhere by its whole path."""
    if model.built is not None:
        return model.built.source
    if model.folder is not None and model.folder == demo.path():
        return "demo"
    name = str(getattr(model.hf, "name_or_path", "") or "")
    if not name or not Path(name).is_dir():
        return name
    folder, here = Path(name).resolve(), Path.cwd()
    for near in (here, here.parent):  # a path that holds on another machine, too
        if near != near.parent and folder.is_relative_to(near):
            return os.path.relpath(folder, here)
    return name


def load(model: Model) -> str:
    """The expression that loads the model. Every text is quoted as a literal."""
    dtype, name = str(model.dtype).removeprefix("torch."), source(model)
    if not name:
        return "aw.load(hf_model, tokenizer=tokenizer)"
    own = dtype == "float32" and (name == "demo" or model.built is not None)
    return f"aw.load({quoted(name)})" if own else f'aw.load({quoted(name)}, dtype="{dtype}")'


def lines(a: Attribution) -> str:
    """From the import to ``a = aw.attribute(...)``."""
    return "\n".join([*_begin(a.model), f"run = model.run({_prompt(a.run)})", _attribute(a, "run")])


def passage(p: Passage) -> str:
    """From the import to ``p = aw.attribute(...)``, the words that follow a prompt."""
    model, start = p.phrase.run.model, p.phrase.start
    given = _typed(model, p.prompt, p.phrase.run.ids[:start])
    unit = "" if p.phrase.unit == "nats" else 'unit="logits"'
    if p.n is not None:
        sampled = "" if p.seed is None else f", temperature=1, seed={p.seed}"
        run, named = f"model.generate({given}, {p.n}{sampled})", unit
    else:
        ids, text = p.phrase.ids, p.phrase.run.continuation
        said = quoted(text) if model.token_ids(text) == ids and model.reads(ids, text) else repr(ids)
        run, named = f"model.run({given})", ", ".join(part for part in (said, unit) if part)
    return "\n".join([*_begin(model), f"run = {run}", f"p = aw.attribute(run, aw.phrase({named}))"])


def of_passage(p: Passage, a: Attribution) -> str:
    """The line that makes ``a`` from the words ``p``."""
    i = a.position + 1 - p.phrase.start
    return f"a = p[{i}]" if 0 <= i < len(p.phrase) and a.target == p.target(a.position + 1) else _attribute(a, "p.run")


def _begin(model: Model) -> list[str]:
    given = model.saes.given().items()
    return [
        "import attrib_widgets as aw",
        "",
        f"model = {load(model)}",
        *(f'model.saes["{site}"] = {_source(folder)}' for site, folder in given),
    ]


def _attribute(a: Attribution, run: str) -> str:
    place = "" if a.position == a.run.n_positions - 1 else f", position={a.position}"
    return f"a = aw.attribute({run}, {a.target.code(lambda t: _token(a.model, t))}{place})"


def _source(folder: Path | None) -> str:
    return "sae  # the aw.SAE that was made here" if folder is None else quoted(str(folder))


def lens(a: Attribution, mid: bool) -> str:
    """The expression that makes the lens beside ``a``; with ``mid`` of the streams after attention too."""
    followed = f", {_token(a.model, a.target.tokens[0])}" if isinstance(a.target, Target) else ""
    return f"aw.logit_lens(a.run{followed}{', mid=True' if mid else ''})"


def verify(a: Attribution, corrupted: Run) -> str:
    """The beginning of what tests ``a`` against a comparison prompt."""
    alone = ", against=()" if single_logit(a.target) is not None else ""  # the others have no rival to take
    return f"aw.verify(a, {_prompt(corrupted)}{alone}"


def quoted(text: str) -> str:
    """``text`` as a Python literal, in double quotes where that needs no escape."""
    literal = repr(text)
    return literal if '"' in literal else f'"{literal[1:-1]}"'


def _prompt(run: Run) -> str:
    return _typed(run.model, run.text, run.ids)


def _typed(model: Model, text: str, ids: list[int]) -> str:
    """The text, or the ids where the text alone would be read differently."""
    return quoted(text) if model.encode(text) == ids else repr(ids)


def _token(model: Model, token: str | int) -> str:
    """Its text where that names the same token again, else its id."""
    found = model.written(model.single_token(token))
    return quoted(found) if isinstance(found, str) else str(found)
