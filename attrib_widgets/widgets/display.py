"""Which view shows which result. Importing this module fills the registry of :func:`attrib_widgets.result.view_of`."""

from __future__ import annotations

from ..analysis.attribution.attribution import Attribution
from ..analysis.attribution.phrases import PhraseAttribution
from ..analysis.comparing.compare import Comparison
from ..analysis.experiments.patching.patching import Patching
from ..analysis.experiments.patching.token_effects import TokenEffects
from ..analysis.graph.result import Graph
from ..analysis.heads.attention import Attention
from ..analysis.lens.logit_lens import LogitLens
from ..analysis.opening.results import Contributions
from ..analysis.opening.trace.trace import Trace
from ..analysis.show import ShownAttention, ShownBars, ShownGrid, ShownTokens
from ..analysis.survey.result import Survey
from ..analysis.verdicts.findings import Verification
from ..result import Result, tabled, view_of
from ..saes.cards import Card
from .explorer.explorer import Explorer
from .graphs import GraphView
from .phrase import PhraseView
from .questions.question import Explanation, Question
from .shapes import experiments, opened, own, results
from .surveys import SurveyView
from .transport.view import View


@view_of.register
def _result(result: Result) -> View:
    """What has no view of its own: its table, to be sorted."""
    return View("table", results.table(tabled(result)), result)


@view_of.register
def _attribution(result: Attribution) -> Explorer:
    question = Question(result.run, result.target, result.position)
    return Explorer(Explanation(question, result), kind="attribution")


@view_of.register
def _attention(result: Attention) -> View:
    return View("attention", results.attention(result), result)


@view_of.register
def _trace(result: Trace) -> View:
    return View("trace", opened.traced(result), result)


@view_of.register
def _lens(result: LogitLens) -> View:
    return View("lens", results.lens(result), result)


@view_of.register
def _phrase(result: PhraseAttribution) -> PhraseView:
    return PhraseView(result)


@view_of.register
def _survey(result: Survey) -> SurveyView:
    return SurveyView(result)


@view_of.register
def _graph(result: Graph) -> GraphView:
    return GraphView(result)


@view_of.register
def _card(result: Card) -> View:
    return View("card", opened.carded(result), result)


@view_of.register
def _comparison(result: Comparison) -> View:
    return View("comparison", results.comparison(result), result)


@view_of.register
def _bars(result: Contributions) -> View:
    return View("bars", results.bars(result), result)


@view_of.register
def _patching(result: Patching) -> View:
    return View("patching", experiments.patching(result), result)


@view_of.register
def _verdicts(result: Verification) -> View:
    return View("verdicts", experiments.scatter(result), result)


@view_of.register
def _effects(result: TokenEffects) -> View:
    return View("effects", experiments.token_effects(result), result)


@view_of.register
def _own_bars(result: ShownBars) -> View:
    return View("bars", own.bars(result), result)


@view_of.register
def _own_tokens(result: ShownTokens) -> View:
    return View("tokens", own.tokens(result), result)


@view_of.register
def _own_attention(result: ShownAttention) -> View:
    return View("attention", own.attention(result), result)


@view_of.register
def _own_grid(result: ShownGrid) -> View:
    return View("grid", own.grid(result), result)
