"""A projection read as what it does: ``y = x @ W + b``, whatever holds W.

Mostly W is a plain tensor, and is read as it is. Packed weights, adapters beside a weight, and whatever else stands in
a projection's place are read through the module itself: rows of the identity go in, a few at a time, and what comes out
beside the output for zero are rows of W. They are met with what was asked for at once, so that no more than one block
of W is ever held. That such a module is linear is not assumed: it is shown on recorded inputs (:mod:`.linearity`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...words.errors import GranularityError
from .linearity import STRAY, gradient, linearity, power, rms
from .rounding import accumulation, half_ulp
from .weights import column_lengths

#: Outputs that are met at a time where all of them are: a second copy of a large unembedding would not fit.
CHUNK = 16384


@dataclass
class Shown:
    """What was found out about a module that is read through itself.

    ``noise``: how far its parts are from adding up, relative to what it gives: its own rounding. ``why``: why it is no
    linear map, or "". ``step``: what the rows of the identity are multiplied by, a power of two, so that a large bias
    does not round them away. ``calls`` and ``rows``: how often it was called, and with how many rows. ``passes``:
    whether gradients pass it.
    """

    noise: float | None = None
    why: str = ""
    step: float | None = None
    calls: int = 0
    rows: int = 0
    passes: bool | None = None
    lengths: Tensor | None = None


@dataclass(frozen=True)
class Projection:
    """A projection, in float32 on the device ``home``: its ``name``, its module and its bias.

    ``weight`` is the tensor itself, in the model's dtype where it lives; None where the module is read through itself:
    ``call`` then maps rows [n, d_in] to its outputs [n, d_out] in ``dtype``, ``block`` at a time, and ``zero`` is what
    it gives for zero. ``index`` picks outputs and puts them in order. ``measured`` gives the lengths of a weight's
    columns, where they are remembered.
    """

    name: str
    module: nn.Module
    d_in: int
    home: torch.device
    weight: Float[Tensor, "d_in d_out"] | None
    bias: Float[Tensor, "d_out"] | None
    call: Callable[[Float[Tensor, "row d_in"]], Float[Tensor, "row d_out"]]
    zero: Float[Tensor, "out"] | None = None
    dtype: torch.dtype = torch.float32
    block: int = 64
    index: Any = None
    measured: Callable[[], Float[Tensor, "d_out"]] | None = None
    shown: Shown = field(default_factory=Shown)

    @property
    def plain(self) -> bool:
        """Whether the weight is a tensor that can be read as it is."""
        return self.weight is not None

    @property
    def noise(self) -> float:
        """Rounding inside of the module, relative to what it gives, as far as it was measured."""
        return self.shown.noise or 0.0

    def select(self, index: Any) -> Projection:
        """The same with the outputs ``index`` alone, in that order."""
        weight = None if self.weight is None else self.weight.to(self.home)[:, index]
        bias = None if self.bias is None else self.bias[index]
        if self.weight is not None or self.zero is None:
            known = self.measured
            some = None if known is None else lambda: known()[index]
            return replace(self, weight=weight, bias=bias, measured=some)
        every = torch.arange(len(self.zero), device=self.home)
        return replace(self, bias=bias, index=(every if self.index is None else every[self.index])[index])

    @property
    def kind(self) -> str:
        """What holds its weight, by package and name."""
        weight = getattr(self.module, "weight", None)
        holder = self.module if type(self.module) is not nn.Linear or weight is None else weight
        return f"{type(holder).__module__.partition('.')[0]}.{type(holder).__name__}"

    @property
    def d_out(self) -> int:
        """Numbers that it gives."""
        if self.weight is not None:
            return int(self.weight.shape[1])
        assert self.zero is not None
        return len(self.zero if self.index is None else self.zero[self.index])

    # -- pieces of W ------------------------------------------------------------------------------------------------
    def rows(self, start: int, stop: int) -> Float[Tensor, "row d_out"]:
        """What single inputs write: rows of W."""
        if self.weight is not None:
            return self.weight[start:stop].to(self.home).float()
        return torch.cat([self._through(a, min(a + self.block, stop)) for a in range(start, stop, self.block)])

    def parts(self) -> Iterator[tuple[slice, Float[Tensor, "row d_out"]]]:
        """All rows of W: in one piece where it is a tensor, else block by block."""
        if self.weight is not None:
            yield slice(0, self.d_in), self.weight.to(self.home).float()
            return
        for start in range(0, self.d_in, self.block):
            stop = min(start + self.block, self.d_in)
            yield slice(start, stop), self._through(start, stop)

    def columns(self) -> Iterator[Float[Tensor, "d_in out"]]:
        """All columns of a W that is a tensor, :data:`CHUNK` at a time: no second copy of all of it is made."""
        assert self.weight is not None
        for start in range(0, self.d_out, CHUNK):
            yield self.weight[:, start : start + CHUNK].to(self.home).float()

    def by_head(self, count: int) -> Iterator[Float[Tensor, "d_head d_out"]]:
        """The rows of ``count`` heads that stand side by side in what it reads."""
        size = self.d_in // count
        if self.weight is not None:
            yield from self.rows(0, self.d_in).view(count, size, -1)
            return
        for head in range(count):
            yield self.rows(head * size, (head + 1) * size)

    def outputs(self, ids: Any) -> Float[Tensor, "*ids d_in"]:
        """The directions that the outputs ``ids`` read: columns of W."""
        if self.weight is not None:
            found: Tensor = self.weight.T[ids].float()
            return found
        return torch.cat([rows.T[ids] for _, rows in self.parts()], -1)

    # -- what meets it ----------------------------------------------------------------------------------------------
    def product(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape d_out"]:
        """``x @ W``: what ``x`` writes, without the bias."""
        if self.weight is not None:
            x = x.float()
            return torch.cat([x @ part for part in self.columns()], -1)
        return self.read(x, None)[0]

    def pull(self, directions: Float[Tensor, "*shape d_out"]) -> Float[Tensor, "*shape d_in"]:
        """Directions of its output as directions of what it reads: ``directions @ W.T``."""
        if self.weight is not None:
            pieces = zip(directions.split(CHUNK, -1), self.columns(), strict=True)
            return torch.stack([some @ part.T for some, part in pieces]).sum(0)
        return torch.cat([directions @ rows.T for _, rows in self.parts()], -1)

    def read(
        self, x: Float[Tensor, "*shape d_in"], directions: Float[Tensor, "k d_out"] | None
    ) -> tuple[Float[Tensor, "*shape d_out"], Float[Tensor, "k d_in"]]:
        """(:meth:`product` of ``x``, :meth:`pull` of ``directions``), for the price of one."""
        x, total, through = x.float(), None, []
        for part, rows in self.parts():
            written = x[..., part] @ rows
            total = written if total is None else total + written
            if directions is not None:
                through.append(directions @ rows.T)
        assert total is not None
        return total, torch.cat(through, -1) if through else total

    def pull_heads(self, directions: Float[Tensor, "head k d_head"]) -> Float[Tensor, "head k d_in"]:
        """:meth:`pull` of directions of single heads that stand side by side in its outputs."""
        heads, _, size = directions.shape
        return torch.cat(
            [torch.einsum("hkd,ihd->hki", directions, rows.view(-1, heads, size)) for _, rows in self.parts()], -1
        )

    def apply(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape d_out"]:
        """``x @ W`` as the module computes it where it is read through itself: in its own precision, in one call."""
        if self.weight is not None:
            return self.product(x)
        found = self._called(x.reshape(-1, self.d_in)).reshape(*x.shape[:-1], -1)
        return found if self.bias is None else found - self.bias

    # -- sizes and bounds -------------------------------------------------------------------------------------------
    def lengths(self) -> Float[Tensor, "d_out"]:
        """Length of every column of W."""
        if self.weight is not None:
            return column_lengths(self.weight).to(self.home) if self.measured is None else self.measured()
        if self.shown.lengths is None:
            total = sum(rows.square().sum(0) for _, rows in replace(self, index=None).parts())
            assert isinstance(total, Tensor)
            self.shown.lengths = total.sqrt()
        return self.shown.lengths if self.index is None else self.shown.lengths[self.index]

    def sizes(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape d_out"]:
        """Root of the summed squares of the terms of :meth:`product`."""
        squares = x.float().square()
        if self.weight is not None:
            return torch.cat([squares @ part.square() for part in self.columns()], -1).sqrt()
        total = sum(squares[..., part] @ rows.square() for part, rows in self.parts())
        assert isinstance(total, Tensor)
        return total.sqrt()

    def missed(
        self,
        x: Float[Tensor, "position d_in"],
        out: Float[Tensor, "position d_out"],
        product: Float[Tensor, "position d_out"] | None = None,
    ) -> tuple[Float[Tensor, "position d_out"], Float[Tensor, "position d_out"]]:
        """(recorded output ``out`` - product with ``x`` - bias, its rounding bound), in float64.

        ``product``, where it is at hand, saves another reading.

        Raises:
            GranularityError: it is read through its module, which is not linear.
        """
        self.show(x)
        x = x.float()
        total = (self.product(x) if product is None else product).double()
        spread = x.abs().amax(-1, keepdim=True).double() * self.lengths().double()
        recorded = out.double()
        bound = half_ulp(recorded, out.dtype) + half_ulp(total, out.dtype)
        bound = bound + accumulation(x.shape[-1]) * spread + 4 * self.noise * (spread + self._constant())
        return recorded - total - (0 if self.bias is None else self.bias.double()), bound

    def called(
        self, x: Float[Tensor, "position d_in"], out: Float[Tensor, "position d_out"]
    ) -> tuple[Float[Tensor, "position d_out"], Float[Tensor, "position d_out"]]:
        """:meth:`missed` where nothing is split: of a module that is read through itself, its own answer will do.

        Raises:
            GranularityError: it is not linear.
        """
        if self.weight is not None:
            return self.missed(x, out)
        self.show(x)
        own, recorded = self._called(x).double(), out.double()
        size = rms(own)
        bound = half_ulp(recorded, out.dtype) + half_ulp(own, out.dtype)
        return recorded - own, bound + (accumulation(self.d_in) + 8 * self.noise) * size

    def slack(self, x: Float[Tensor, "*shape d_in"], direction: Float[Tensor, "d_out"]) -> Float[Tensor, "*shape"]:
        """How far the module's own rounding may move what ``x`` writes along ``direction``; 0 for a plain weight."""
        if self.weight is not None:
            return x.new_zeros(x.shape[:-1], dtype=torch.float64)
        size = x.abs().amax(-1, keepdim=True).double() * self.lengths().double() + self._constant()
        return 4 * self.noise * (direction.double() * size).square().sum(-1).sqrt()

    def _constant(self) -> Float[Tensor, "d_out"] | float:
        """Size of what is added to every product, and of what is added typically, in float64."""
        if self.bias is None:
            return 0.0
        bias = self.bias.double()
        return bias.abs() + rms(bias)

    # -- through the module -----------------------------------------------------------------------------------------
    def show(self, x: Float[Tensor, "position d_in"]) -> None:
        """A module that is read through itself is linear on the recorded inputs ``x``; looked at once.

        Raises:
            GranularityError: it is not.
        """
        if self.weight is not None:
            return
        if self.shown.noise is None:
            eps = torch.finfo(self.dtype).eps
            self.shown.noise, self.shown.why = linearity(x, lambda rows: self._called(rows, whole=True), eps)
        if self.shown.why:
            raise GranularityError(
                f"{self.name} ({self.kind}) is no linear map: {self.shown.why}.",
                "What is written through it cannot be split.",
            )

    def passes(self) -> bool:
        """Whether the gradient that passes it is that of its product with W; looked at once, in a quiet model.

        Kernels for packed weights may register none, and what goes around them (an adapter) passes all the same.
        """
        zero = self.zero
        if self.weight is not None or zero is None:
            return True
        if self.shown.passes is None:

            def of(rows: Tensor) -> Tensor:
                return self._called(rows, whole=True) - zero

            found, expected = gradient(self.module, of, self.d_in, len(zero), self.dtype)
            # What is no linear map has a derivative of its own, which W is near to where the sublayer could be read.
            allowed = 0.5 if self.shown.why else STRAY
            self.shown.passes = float(rms(found - expected)) <= allowed * float(rms(expected))
        return self.shown.passes

    def _called(self, x: Float[Tensor, "row d_in"], whole: bool = False) -> Float[Tensor, "row d_out"]:
        self.shown.calls, self.shown.rows = self.shown.calls + 1, self.shown.rows + len(x)
        found = self.call(x).float()
        return found if whole or self.index is None else found[:, self.index]

    def _through(self, start: int, stop: int) -> Float[Tensor, "row d_out"]:
        """Rows of W, from rows of the identity."""
        assert self.zero is not None
        zero = self.zero if self.index is None else self.zero[self.index]
        rows = torch.zeros(stop - start, self.d_in, device=self.home)
        rows[:, start:stop].fill_diagonal_(1)
        if self.shown.step is None:
            found = self._called(rows, whole=True) - self.zero
            size, offset = float(found.square().mean().sqrt()), float(self.zero.abs().max())
            self.shown.step = power(4 * offset / max(size, 1e-30))
        return (self._called(rows * self.shown.step) - zero) / self.shown.step
