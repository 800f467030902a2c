"""The lines of Python that make the same result again: what "copy as Python" puts on the clipboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ... import demo
from ...analysis.experiments.common import single_logit
from ...words.targets import Target

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...model.model import Model
    from ...model.run import Run


def source(model: Model) -> str:
    """What :func:`attrib_widgets.load` takes for the model; "" for one that came as an object."""
    if model.built is not None:
        return model.built.source
    if model.folder is not None and model.folder == demo.path():
        return "demo"
    name = str(getattr(model.hf, "name_or_path", "") or "")
    if name and Path(name).is_dir() and Path(name).resolve().is_relative_to(Path.cwd()):
        name = str(Path(name).resolve().relative_to(Path.cwd()))
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
    place = "" if a.position == a.run.n_positions - 1 else f", position={a.position}"
    return "\n".join(
        [
            "import attrib_widgets as aw",
            "",
            f"model = {load(a.model)}",
            *(f'model.saes["{site}"] = {_source(folder)}' for site, folder in a.model.saes.given().items()),
            f"run = model.run({_prompt(a.run)})",
            f"a = aw.attribute(run, {a.target.code(lambda t: _token(a.model, t))}{place})",
        ]
    )


def _source(folder: Path | None) -> str:
    return "sae  # the aw.SAE that was made here" if folder is None else quoted(str(folder))


def lens(a: Attribution) -> str:
    """The expression that makes the lens beside ``a``."""
    followed = f", {_token(a.model, a.target.tokens[0])}" if isinstance(a.target, Target) else ""
    return f"aw.logit_lens(a.run{followed})"


def verify(a: Attribution, corrupted: Run) -> str:
    """The beginning of what tests ``a`` against a comparison prompt."""
    alone = ", against=()" if single_logit(a.target) is not None else ""  # the others have no rival to take
    return f"aw.verify(a, {_prompt(corrupted)}{alone}"


def quoted(text: str) -> str:
    """``text`` as a Python literal, in double quotes where that needs no escape."""
    literal = repr(text)
    return literal if '"' in literal else f'"{literal[1:-1]}"'


def _prompt(run: Run) -> str:
    """The text, or the ids where the text alone would be read differently."""
    return quoted(run.text) if run.model.encode(run.text) == run.ids else repr(run.ids)


def _token(model: Model, token: str | int) -> str:
    """Its text where that names the same token again, else its id."""
    found = model.written(model.single_token(token))
    return quoted(found) if isinstance(found, str) else str(found)
