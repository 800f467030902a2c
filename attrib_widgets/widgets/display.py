"""Which view shows which result. Importing this module fills the registry of :func:`attrib_widgets.result.view_of`."""

from __future__ import annotations

from ..analysis.attribution.attribution import Attribution
from ..analysis.attribution.phrases import PhraseAttribution
from ..analysis.experiments.patching import Patching
from ..analysis.experiments.token_effects import TokenEffects
from ..analysis.heads.attention import Attention
from ..analysis.lens.logit_lens import LogitLens
from ..analysis.opening.results import Contributions
from ..analysis.opening.trace import Trace
from ..analysis.verdicts.findings import Verification
from ..result import view_of
from ..saes.cards import Card
from . import details, experiments
from .explanation import Explanation, Question
from .explorer import Explorer
from .phrases import PhraseView
from .view import View


@view_of.register
def _attribution(result: Attribution) -> Explorer:
    question = Question(result.run, result.target, result.position)
    return Explorer(Explanation(question, result), kind="attribution")


@view_of.register
def _attention(result: Attention) -> View:
    return View("attention", details.attention(result), result.summary())


@view_of.register
def _trace(result: Trace) -> View:
    return View("trace", details.traced(result), result.summary())


@view_of.register
def _lens(result: LogitLens) -> View:
    return View("lens", details.lens(result), result.summary())


@view_of.register
def _phrase(result: PhraseAttribution) -> PhraseView:
    return PhraseView(result)


@view_of.register
def _card(result: Card) -> View:
    return View("card", details.carded(result), result.summary())


@view_of.register
def _bars(result: Contributions) -> View:
    return View("bars", details.bars(result), result.summary())


@view_of.register
def _patching(result: Patching) -> View:
    return View("patching", experiments.patching(result), result.summary())


@view_of.register
def _verdicts(result: Verification) -> View:
    return View("verdicts", experiments.scatter(result), result.summary())


@view_of.register
def _effects(result: TokenEffects) -> View:
    return View("effects", experiments.token_effects(result), result.summary())
