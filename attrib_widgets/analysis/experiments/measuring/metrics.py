"""What an experiment measures: a number of the logits at one position, read from the stream that the final norm reads.

Logits and logit differences read only their own columns of the unembedding; probabilities, divergences and the user's
own functions read all of them, a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.identity.belonging import refuse_reread
from ....words.errors import TargetError
from ....words.targets import Target, TokenLike, as_target
from ...reading.resolve import remarks, resolve

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run

FULL_ROWS = 32  # rows of logits that are held at a time
Function: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Measure:
    """A metric that is no target of attribution: made by :func:`prob` and :func:`kl`."""

    kind: str
    token: TokenLike | None = None


MetricLike: TypeAlias = "Measure | Target | str | int | Function"


def prob(token: TokenLike) -> Measure:
    """The probability of a token (0 to 1)."""
    return Measure("prob", token)


def kl() -> Measure:
    """How far the answer is from the clean run's: KL(clean || patched) over the whole vocabulary, in nats."""
    return Measure("kl")


@dataclass
class Metric:
    """A metric on one model and one pair of runs, at one position.

    ``columns`` are the token ids it reads (None: all of them); ``function`` maps logits [row, column] to [row];
    ``notes`` are remarks about the tokens that were given.
    """

    model: Model
    name: str
    unit: str
    columns: Tensor | None
    function: Callable[[Float[Tensor, "row column"]], Float[Tensor, "row"]]
    notes: list[str] = field(default_factory=list)

    def of(self, streams: Float[Tensor, "row d_model"]) -> Float[Tensor, "row"]:
        """The metric, in float64, where the final norm reads ``streams``.

        Raises:
            TargetError: the user's function did not return one number per row.
        """
        if self.columns is not None:
            with self.model.quiet():
                return self.function(self._columns(streams).double()).cpu()
        parts = []
        for part in streams.split(FULL_ROWS):
            logits = self.model.read_out(part)[1].float()
            found = self.function(logits)
            if not isinstance(found, Tensor) or found.shape != (len(part),):
                shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise TargetError(
                    f"The metric returned {shape} for logits of shape {tuple(logits.shape)}.",
                    "Return one number per row, for example lambda logits: logits[:, 5] - logits[:, 7].",
                )
            parts.append(found.double())
        return torch.cat(parts).cpu()

    def _columns(self, streams: Tensor) -> Tensor:
        return columns_of(self.model, streams, self.columns)

    def differentiable(self, stream: Float[Tensor, "row d_model"]) -> Float[Tensor, "row"]:
        """The same from a stream that carries gradients, in float32."""
        return self.of_normed(self.model.call(self.model.module(self.model.anatomy.final_norm), stream))

    def of_normed(self, normed: Float[Tensor, "row d_model"]) -> Float[Tensor, "row"]:
        """The same from what the final norm gives."""
        if self.columns is None:
            return self.function(_all_of(self.model, normed).float())
        return self.function(_columns_of(self.model, normed, self.columns).float())

    def held_gradient(self, stream: Float[Tensor, "d_model"]) -> Float[Tensor, "d_model"]:
        """The gradient at what the final norm reads, the norm's scale held as it is there."""
        norm = self.model.norm(self.model.anatomy.final_norm)
        with self.model.quiet(), torch.no_grad():
            normed = self.model.call(self.model.module(self.model.anatomy.final_norm), stream[None])
        with self.model.quiet(), torch.enable_grad():
            given = normed.detach().clone().requires_grad_(True)
            (found,) = torch.autograd.grad(self.of_normed(given).sum(), given)
        return norm.pull(found[0].float()) * norm.scale(stream)


def columns_of(model: Model, streams: Float[Tensor, "row d_model"], columns: Any) -> Float[Tensor, "row column"]:
    """Printed logits of a few tokens."""
    return _columns_of(model, model.call(model.module(model.anatomy.final_norm), streams), columns)


def _columns_of(model: Model, y: Float[Tensor, "row d_model"], columns: Any) -> Float[Tensor, "row column"]:
    y = model.between.applied(y)
    unembed = model.unembedding
    if unembed.weight is None:  # one call gives all of them
        logits: Tensor = model.call(unembed.module, y)[:, columns].float()
    else:
        logits = y.float() @ unembed.weight[:, columns].float()
        logits = logits if unembed.bias is None else logits + unembed.bias[columns]
    logits = model.scaled(logits)
    cap = model.softcap
    return logits if cap is None else torch.tanh(logits / cap) * cap


def _all_of(model: Model, normed: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
    """Printed logits of the whole vocabulary, gradients included."""
    precap = model.scaled(model.call(model.module(model.anatomy.unembed), model.between.applied(normed)))
    cap = model.softcap
    return precap if cap is None else torch.tanh(precap / cap) * cap


@torch.no_grad()
def metric_of(given: MetricLike | None, clean: Run, position: int) -> Metric:
    """``given`` as a metric of ``clean`` at ``position``; None is the logit of the clean run's top prediction.

    Raises:
        TargetError: a text that is several tokens here, or an attention score.
        ModelError: the norm or the unembedding is no longer that of the run.
    """
    metric = _metric(given, clean, position)
    row = clean.record.kept.index(position) if position in clean.record.kept else 0
    x = clean.record.streams[-1][clean.record.kept[row]][None]
    if metric.columns is None:
        refuse_reread(clean, clean.model.read_out(x)[1][0], row)
    else:
        with clean.model.quiet():
            refuse_reread(clean, columns_of(clean.model, x, metric.columns)[0], row, metric.columns)
    return metric


def _metric(given: MetricLike | None, clean: Run, position: int) -> Metric:
    model = clean.model
    if given is None:
        given = clean.top(1, position)[0].id
    if isinstance(given, Measure):
        return _measure(given, clean, position)
    if callable(given):
        return Metric(model, getattr(given, "__name__", "metric"), "", None, given)
    target = as_target(given)
    if not isinstance(target, Target):
        raise TargetError(
            f"The {target.words(model, clean)} is not a number of the logits.",
            "Patch towards a logit or a difference.",
        )
    name = target.words(model, clean)
    if target.kind == "log_prob":
        token = model.single_token(target.tokens[0])
        said = remarks(target, clean, position)
        return Metric(model, name, "nats", None, lambda logits: logits.log_softmax(-1)[:, token], said)
    found = resolve(target, clean, position)
    if found.dense is not None:
        return Metric(
            model, name, target.unit, None, lambda logits: found.of_rows(logits).to(logits.dtype), found.notes
        )
    weights = found.weights
    metric = Metric(model, name, target.unit, found.ids, lambda logits: logits @ weights.to(logits.dtype), found.notes)
    return metric if _columns_agree(metric, clean, position) else _from_all(metric, found.ids, weights)


@torch.no_grad()
def frozen_metric(given: MetricLike | None, base: Run, position: int) -> Metric:
    """A logit or a logit difference with the scale of the final norm kept as it is in ``base``: linear in the stream.

    Raises:
        TargetError: any other metric, or a soft cap, which no frozen norm makes linear.
    """
    model = base.model
    target = (
        None
        if callable(given) or isinstance(given, Measure)
        else as_target(given if given is not None else base.top(1, position)[0].id)
    )
    if not isinstance(target, Target) or target.kind == "log_prob" or model.softcap is not None:
        raise TargetError("Only an uncapped logit is linear once the final norm is frozen.", "Give a token.")
    found = resolve(target, base, position)
    norm, direction = model.norm(model.anatomy.final_norm), found.direction(model.unembedding)
    u = (norm.pull(direction) * norm.scale(base.record.streams[-1][position])).double() * model.logit_scale
    bias = model.unembed_bias
    constant = model.logit_scale * (float(norm.bias @ direction) + (0.0 if bias is None else found.of(bias)))
    name = target.words(model, base)
    return Frozen(model, name, target.unit, None, lambda x: x.double() @ u + constant, found.notes)


class Frozen(Metric):
    """A metric whose function reads the stream itself."""

    def of(self, streams: Float[Tensor, "row d_model"]) -> Float[Tensor, "row"]:
        """The metric, in float64."""
        return self.function(streams).cpu()

    def differentiable(self, stream: Float[Tensor, "row d_model"]) -> Float[Tensor, "row"]:
        """The same with gradients."""
        return self.function(stream)

    def held_gradient(self, stream: Float[Tensor, "d_model"]) -> Float[Tensor, "d_model"]:
        """The same everywhere."""
        with torch.enable_grad():
            given = stream.detach().clone().requires_grad_(True)
            (found,) = torch.autograd.grad(self.function(given[None]).sum(), given)
        return found.float()


def _columns_agree(metric: Metric, clean: Run, position: int) -> bool:
    """Whether the columns alone give the printed logits (a family may scale what it prints)."""
    printed = clean.logits(position)[metric.columns].float()
    with clean.model.quiet():  # a module that is called while another thread traces would count as that trace's own
        found = metric._columns(clean.record.streams[-1][position][None])[0].float()
    size = 1 + float(printed.abs().max())
    return float((found - printed).abs().max()) <= 16 * torch.finfo(clean.model.precision).eps * size + 1e-4 * size


def _from_all(metric: Metric, ids: Tensor, weights: Tensor) -> Metric:
    return replace(metric, columns=None, function=lambda logits: logits[:, ids] @ weights.to(logits))


def _measure(given: Measure, clean: Run, position: int) -> Metric:
    model = clean.model
    if given.kind == "prob":
        assert given.token is not None
        token = model.single_token(given.token)
        name = f"probability of “{model.token(token)}”"
        said = remarks(Target("logit", (given.token,)), clean, position)
        return Metric(model, name, "probability", None, lambda logits: logits.softmax(-1)[:, token], said)
    reference = clean.logits(position).float().log_softmax(-1)

    def divergence(logits: Tensor) -> Tensor:
        return (reference.exp() * (reference - logits.log_softmax(-1))).sum(-1)

    return Metric(model, "divergence from the clean answer", "nats", None, divergence)
