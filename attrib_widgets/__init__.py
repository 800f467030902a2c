"""Why did the language model say that? Exact logit attribution you can click, in a notebook.

::

    import attrib_widgets as aw
    aw.explore()                                   # the embedded model on its first task
    model = aw.load("demo")                        # or "gpt2", a folder, a transformers or nnsight model
    run = model.run("The capital of France is")
    a = aw.attribute(run, " Paris")                # rows that add up to the model's own logit

Names are imported on first use (PEP 562), so ``import attrib_widgets`` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOMES = {
    "attribute": "analysis.attribution",
    "Attribution": "analysis.attribution",
    "attention": "analysis.attention",
    "Attention": "analysis.attention",
    "head_table": "analysis.tables",
    "Trace": "analysis.trace",
    "ablate": "analysis.ablation",
    "Ablation": "analysis.ablation",
    "patch": "analysis.patching",
    "Patching": "analysis.patching",
    "verify": "analysis.verdicts",
    "Verification": "analysis.findings",
    "Verdict": "analysis.regions",
    "Thresholds": "analysis.regions",
    "attribution_patch": "analysis.gradients",
    "Estimate": "analysis.gradients",
    "estimated_effects": "analysis.gradients",
    "edge_patch": "analysis.edges",
    "EdgeEstimate": "analysis.edges",
    "integrated_gradients": "analysis.integrated",
    "Integrated": "analysis.integrated",
    "path_patch": "analysis.paths",
    "Paths": "analysis.paths",
    "erasure": "analysis.erasure",
    "Erasure": "analysis.erasure",
    "greedy_removal": "analysis.removal",
    "Removal": "analysis.removal",
    "token_effects": "analysis.tokens",
    "TokenEffects": "analysis.tokens",
    "prob": "analysis.metrics",
    "kl": "analysis.metrics",
    "logit_lens": "analysis.logit_lens",
    "LogitLens": "analysis.logit_lens",
    "component": "components",
    "Component": "components",
    "Phrase": "targets",
    "PhraseAttribution": "analysis.phrases",
    "phrase": "targets",
    "logit": "targets",
    "logit_diff": "targets",
    "log_prob": "targets",
    "score": "targets",
    "neuron": "targets",
    "load": "model.loading",
    "Model": "model.model",
    "supported": "model.supported",
    "Run": "model.run",
    "SAE": "saes.sae",
    "read_sae": "saes.readers",
    "Anatomy": "model.anatomy",
    "QKV": "model.anatomy",
    "explore": "widgets.explorer",
    "Explorer": "widgets.explorer",
    "AttribError": "errors",
    "ComponentError": "errors",
    "TargetError": "errors",
    "PositionError": "errors",
    "TokenizerError": "errors",
    "AnatomyError": "errors",
    "GranularityError": "errors",
    "NumberError": "errors",
}
_ROOMS = ("analysis", "demo", "model", "plots", "saes", "widgets")

__all__ = ["__version__", "demo", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})


if TYPE_CHECKING:
    from . import demo as demo
    from .analysis.ablation import Ablation as Ablation
    from .analysis.ablation import ablate as ablate
    from .analysis.attention import Attention as Attention
    from .analysis.attention import attention as attention
    from .analysis.attribution import Attribution as Attribution
    from .analysis.attribution import attribute as attribute
    from .analysis.edges import EdgeEstimate as EdgeEstimate
    from .analysis.edges import edge_patch as edge_patch
    from .analysis.erasure import Erasure as Erasure
    from .analysis.erasure import erasure as erasure
    from .analysis.findings import Verification as Verification
    from .analysis.gradients import Estimate as Estimate
    from .analysis.gradients import attribution_patch as attribution_patch
    from .analysis.gradients import estimated_effects as estimated_effects
    from .analysis.integrated import Integrated as Integrated
    from .analysis.integrated import integrated_gradients as integrated_gradients
    from .analysis.logit_lens import LogitLens as LogitLens
    from .analysis.logit_lens import logit_lens as logit_lens
    from .analysis.metrics import kl as kl
    from .analysis.metrics import prob as prob
    from .analysis.patching import Patching as Patching
    from .analysis.patching import patch as patch
    from .analysis.paths import Paths as Paths
    from .analysis.paths import path_patch as path_patch
    from .analysis.phrases import PhraseAttribution as PhraseAttribution
    from .analysis.regions import Thresholds as Thresholds
    from .analysis.regions import Verdict as Verdict
    from .analysis.removal import Removal as Removal
    from .analysis.removal import greedy_removal as greedy_removal
    from .analysis.tables import head_table as head_table
    from .analysis.tokens import TokenEffects as TokenEffects
    from .analysis.tokens import token_effects as token_effects
    from .analysis.trace import Trace as Trace
    from .analysis.verdicts import verify as verify
    from .components import Component as Component
    from .components import component as component
    from .errors import AnatomyError as AnatomyError
    from .errors import AttribError as AttribError
    from .errors import ComponentError as ComponentError
    from .errors import GranularityError as GranularityError
    from .errors import NumberError as NumberError
    from .errors import PositionError as PositionError
    from .errors import TargetError as TargetError
    from .errors import TokenizerError as TokenizerError
    from .model.anatomy import QKV as QKV
    from .model.anatomy import Anatomy as Anatomy
    from .model.loading import load as load
    from .model.model import Model as Model
    from .model.run import Run as Run
    from .model.supported import supported as supported
    from .saes.readers import read_sae as read_sae
    from .saes.sae import SAE as SAE
    from .targets import Phrase as Phrase
    from .targets import log_prob as log_prob
    from .targets import logit as logit
    from .targets import logit_diff as logit_diff
    from .targets import neuron as neuron
    from .targets import phrase as phrase
    from .targets import score as score
    from .widgets.explorer import Explorer as Explorer
    from .widgets.explorer import explore as explore
