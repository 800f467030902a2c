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

from .result import slots as _slots

__version__ = "0.2.0"

_HOMES = {
    "attribute": "analysis.attribution.attribute",
    "Attribution": "analysis.attribution.attribution",
    "attribute_many": "analysis.attribution.batched",
    "Attributions": "analysis.attribution.batched",
    "compare": "analysis.comparing.compare",
    "Comparison": "analysis.comparing.compare",
    "attention": "analysis.heads.attention",
    "Attention": "analysis.heads.attention",
    "head_table": "analysis.heads.all_heads",
    "head_roles": "analysis.roles.roles",
    "ov_table": "analysis.weights.ov",
    "qk_table": "analysis.weights.qk",
    "neuron_tokens": "analysis.weights.neurons",
    "composition": "analysis.weights.composition",
    "Roles": "analysis.roles.result",
    "Trace": "analysis.opening.trace.trace",
    "Graph": "analysis.graph.result",
    "LiveTwin": "analysis.graph.live",
    "Between": "analysis.graph.between",
    "ablate": "analysis.experiments.ablation.ablate",
    "ConceptAblation": "analysis.experiments.ablation.concepts",
    "ablate_concept": "analysis.experiments.ablation.concepts",
    "Ablation": "analysis.experiments.ablation.ablation",
    "patch": "analysis.experiments.patching.patch",
    "Patching": "analysis.experiments.patching.patching",
    "verify": "analysis.verdicts.verify",
    "Verification": "analysis.verdicts.findings",
    "Verdict": "analysis.verdicts.rules",
    "Thresholds": "analysis.verdicts.rules",
    "attribution_patch": "analysis.experiments.estimates.attribution_patch",
    "Estimate": "analysis.experiments.estimates.estimate",
    "estimated_effects": "analysis.experiments.estimates.effects",
    "edge_patch": "analysis.experiments.estimates.edges",
    "EdgeEstimate": "analysis.experiments.estimates.edges",
    "integrated_gradients": "analysis.experiments.estimates.integrated",
    "Integrated": "analysis.experiments.estimates.integrated",
    "path_patch": "analysis.experiments.patching.paths",
    "Paths": "analysis.experiments.patching.paths",
    "erasure": "analysis.verdicts.erasure",
    "Erasure": "analysis.verdicts.erasure",
    "circuit": "analysis.verdicts.circuits.circuit",
    "Circuit": "analysis.verdicts.circuits.sets",
    "greedy_removal": "analysis.verdicts.circuits.removal",
    "Removal": "analysis.verdicts.circuits.removal",
    "survey": "analysis.survey.survey",
    "Survey": "analysis.survey.result",
    "token_effects": "analysis.experiments.patching.token_effects",
    "Steering": "analysis.experiments.ablation.steering",
    "steer": "analysis.experiments.ablation.steering",
    "TokenEffects": "analysis.experiments.patching.token_effects",
    "prob": "analysis.experiments.measuring.metrics",
    "kl": "analysis.experiments.measuring.metrics",
    "logit_lens": "analysis.lens.logit_lens",
    "LogitLens": "analysis.lens.logit_lens",
    "TunedLens": "analysis.lens.tuned_lens",
    "glossary": "result.glossary",
    "component": "words.components",
    "Component": "words.components",
    "place": "words.places",
    "Place": "words.places",
    "Phrase": "words.targets",
    "PhraseAttribution": "analysis.attribution.phrases",
    "phrase": "words.targets",
    "logit": "words.targets",
    "logit_diff": "words.targets",
    "log_prob": "words.targets",
    "score": "words.targets",
    "neuron": "words.targets",
    "feature": "words.targets",
    "load": "model.model",
    "Model": "model.model",
    "supported": "model.selfcheck.supported",
    "Run": "model.run",
    "SAE": "saes.sae",
    "CrossLayer": "saes.crosslayer",
    "read_cross_layer": "saes.crosslayer",
    "read_sae": "saes.loaded",
    "make_cards": "saes.making",
    "Anatomy": "model.anatomy.anatomy",
    "QKV": "model.anatomy.anatomy",
    "explore": "widgets.explore",
    "Explorer": "widgets.explorer.explorer",
    "AttribError": "words.errors",
    "ComponentError": "words.errors",
    "TargetError": "words.errors",
    "PositionError": "words.errors",
    "TokenizerError": "words.errors",
    "AnatomyError": "words.errors",
    "GranularityError": "words.errors",
    "ModelError": "words.errors",
    "NumberError": "words.errors",
}
#: Modules that are used by name: ``aw.show.bars(...)``.
_MODULES = {"show": "analysis.show"}
_ROOMS = ("analysis", "demo", "model", "plots", "saes", "teach", "widgets")

__all__ = ["__version__", "demo", *sorted(_HOMES), *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f".{_MODULES[name]}", __name__)
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})


def _view() -> Any:
    """What makes the view of a result: importing the widgets registers them."""
    from . import widgets  # noqa: F401
    from .result import view_of

    return view_of


def _figure() -> Any:
    """What draws a result: importing the plots registers them."""
    from .plots import experiments, graphs, results, surveys  # noqa: F401
    from .plots.drawing import figure_of

    return figure_of


def _explorer() -> Any:
    """What opens an Explorer: ``explore`` of the widgets."""
    from .widgets.explore import explore

    return explore


def _dictionaries() -> Any:
    """What makes ``model.saes``: dictionaries know models, and not the other way round."""
    from .saes.store import Dictionaries

    return Dictionaries.of


def _lens() -> Any:
    """What finds ``model.lens``: lenses know models, and not the other way round."""
    from .analysis.lens.tuned_lens import of

    return of


def _circuits() -> Any:
    """The models that were built by hand, by name: loading knows nothing of the embedded models but their names."""
    from .demo import circuits

    return circuits


_slots.view, _slots.figure, _slots.dictionaries, _slots.circuits = _view, _figure, _dictionaries, _circuits
_slots.explorer, _slots.lens = _explorer, _lens


if TYPE_CHECKING:
    from . import demo as demo
    from . import teach as teach
    from .analysis import show as show
    from .analysis.attribution.attribute import attribute as attribute
    from .analysis.attribution.attribution import Attribution as Attribution
    from .analysis.attribution.batched import Attributions as Attributions
    from .analysis.attribution.batched import attribute_many as attribute_many
    from .analysis.attribution.phrases import PhraseAttribution as PhraseAttribution
    from .analysis.comparing.compare import Comparison as Comparison
    from .analysis.comparing.compare import compare as compare
    from .analysis.experiments.ablation.ablate import ablate as ablate
    from .analysis.experiments.ablation.ablation import Ablation as Ablation
    from .analysis.experiments.ablation.concepts import ConceptAblation as ConceptAblation
    from .analysis.experiments.ablation.concepts import ablate_concept as ablate_concept
    from .analysis.experiments.ablation.steering import Steering as Steering
    from .analysis.experiments.ablation.steering import steer as steer
    from .analysis.experiments.estimates.attribution_patch import attribution_patch as attribution_patch
    from .analysis.experiments.estimates.edges import EdgeEstimate as EdgeEstimate
    from .analysis.experiments.estimates.edges import edge_patch as edge_patch
    from .analysis.experiments.estimates.effects import estimated_effects as estimated_effects
    from .analysis.experiments.estimates.estimate import Estimate as Estimate
    from .analysis.experiments.estimates.integrated import Integrated as Integrated
    from .analysis.experiments.estimates.integrated import integrated_gradients as integrated_gradients
    from .analysis.experiments.measuring.metrics import kl as kl
    from .analysis.experiments.measuring.metrics import prob as prob
    from .analysis.experiments.patching.patch import patch as patch
    from .analysis.experiments.patching.patching import Patching as Patching
    from .analysis.experiments.patching.paths import Paths as Paths
    from .analysis.experiments.patching.paths import path_patch as path_patch
    from .analysis.experiments.patching.token_effects import TokenEffects as TokenEffects
    from .analysis.experiments.patching.token_effects import token_effects as token_effects
    from .analysis.graph.between import Between as Between
    from .analysis.graph.live import LiveTwin as LiveTwin
    from .analysis.graph.result import Graph as Graph
    from .analysis.heads.all_heads import head_table as head_table
    from .analysis.heads.attention import Attention as Attention
    from .analysis.heads.attention import attention as attention
    from .analysis.lens.logit_lens import LogitLens as LogitLens
    from .analysis.lens.logit_lens import logit_lens as logit_lens
    from .analysis.lens.tuned_lens import TunedLens as TunedLens
    from .analysis.opening.trace.trace import Trace as Trace
    from .analysis.roles.result import Roles as Roles
    from .analysis.roles.roles import head_roles as head_roles
    from .analysis.survey.result import Survey as Survey
    from .analysis.survey.survey import survey as survey
    from .analysis.verdicts.circuits.circuit import circuit as circuit
    from .analysis.verdicts.circuits.removal import Removal as Removal
    from .analysis.verdicts.circuits.removal import greedy_removal as greedy_removal
    from .analysis.verdicts.circuits.sets import Circuit as Circuit
    from .analysis.verdicts.erasure import Erasure as Erasure
    from .analysis.verdicts.erasure import erasure as erasure
    from .analysis.verdicts.findings import Verification as Verification
    from .analysis.verdicts.rules import Thresholds as Thresholds
    from .analysis.verdicts.rules import Verdict as Verdict
    from .analysis.verdicts.verify import verify as verify
    from .analysis.weights.composition import composition as composition
    from .analysis.weights.neurons import neuron_tokens as neuron_tokens
    from .analysis.weights.ov import ov_table as ov_table
    from .analysis.weights.qk import qk_table as qk_table
    from .model.anatomy.anatomy import QKV as QKV
    from .model.anatomy.anatomy import Anatomy as Anatomy
    from .model.model import Model as Model
    from .model.model import load as load
    from .model.run import Run as Run
    from .model.selfcheck.supported import supported as supported
    from .result.glossary import glossary as glossary
    from .saes.crosslayer import CrossLayer as CrossLayer
    from .saes.crosslayer import read_cross_layer as read_cross_layer
    from .saes.loaded import read_sae as read_sae
    from .saes.making import make_cards as make_cards
    from .saes.sae import SAE as SAE
    from .widgets.explore import explore as explore
    from .widgets.explorer.explorer import Explorer as Explorer
    from .words.components import Component as Component
    from .words.components import component as component
    from .words.errors import AnatomyError as AnatomyError
    from .words.errors import AttribError as AttribError
    from .words.errors import ComponentError as ComponentError
    from .words.errors import GranularityError as GranularityError
    from .words.errors import ModelError as ModelError
    from .words.errors import NumberError as NumberError
    from .words.errors import PositionError as PositionError
    from .words.errors import TargetError as TargetError
    from .words.errors import TokenizerError as TokenizerError
    from .words.places import Place as Place
    from .words.places import place as place
    from .words.targets import Phrase as Phrase
    from .words.targets import feature as feature
    from .words.targets import log_prob as log_prob
    from .words.targets import logit as logit
    from .words.targets import logit_diff as logit_diff
    from .words.targets import neuron as neuron
    from .words.targets import phrase as phrase
    from .words.targets import score as score
