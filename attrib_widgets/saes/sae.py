"""A sparse autoencoder: activations of one place as few features, what they decode to, and what is left over."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..words.components import Component
from ..words.errors import AttribError, ComponentError

#: What becomes of the pre-activations.
ARCHITECTURES = ("standard", "topk", "jumprelu")


@dataclass(frozen=True, eq=False, repr=False)
class SAE:
    """A dictionary of features for the activations at one place of a model, float32.

    ``x = decode(encode(x)) + error(x)``, where ``decode(f) = f @ w_dec + b_dec``.

    Attributes:
        site: the place: ``L2`` is the stream behind layer 2, ``L2.mlp`` what its MLP adds, ``L2.attn`` the outputs
            of its heads side by side (z, before the output projection).
        architecture: ``"standard"`` (relu), ``"topk"`` (the ``k`` largest of relu; Gao et al. 2024) or
            ``"jumprelu"`` (those above their ``threshold``; Rajamanoharan et al. 2024, and how BatchTopK is kept).
        subtract: whether ``b_dec`` is subtracted before encoding.
        metadata: whatever else its file said.
    """

    site: Component
    architecture: str
    w_enc: Float[Tensor, "d_in feature"]
    b_enc: Float[Tensor, "feature"]
    w_dec: Float[Tensor, "feature d_in"]
    b_dec: Float[Tensor, "d_in"]
    k: int | None = None
    threshold: Float[Tensor, "feature"] | None = None
    subtract: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise AttribError(f"{self.architecture!r} is no architecture known here.", f"Use one of {ARCHITECTURES}.")
        d, features = self.w_enc.shape
        shapes = {"w_dec": (features, d), "b_enc": (features,), "b_dec": (d,)}
        for name, shape in shapes.items():
            if tuple(getattr(self, name).shape) != shape:
                raise AttribError(
                    f"{name} of the dictionary for {self.site} is {tuple(getattr(self, name).shape)}, not {shape}.",
                    "W_enc is [d_in, feature] and W_dec [feature, d_in].",
                )
        if self.architecture == "topk" and not 0 < (self.k or 0) <= features:
            raise AttribError(f"A topk dictionary of {features} features needs its k.", "Give k=8, for example.")
        if self.architecture == "jumprelu" and (self.threshold is None or self.threshold.shape != (features,)):
            raise AttribError("A jumprelu dictionary needs one threshold per feature.")

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return int(self.w_enc.shape[0])

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.w_enc.shape[1])

    def only(self, kept: Bool[Tensor, "feature"]) -> SAE:
        """The dictionary of these features alone; left out are such as never fire."""
        threshold = None if self.threshold is None else self.threshold[kept]
        w_enc, b_enc, w_dec = self.w_enc[:, kept].contiguous(), self.b_enc[kept], self.w_dec[kept]
        return replace(self, w_enc=w_enc, b_enc=b_enc, w_dec=w_dec, threshold=threshold)

    def check(self, feature: int) -> None:
        """Raises ComponentError where there is no such feature."""
        if not 0 <= feature < self.n_features:
            raise ComponentError(f"{self!r} has no feature {feature}.", f"Its features are 0 to {self.n_features - 1}.")

    def pre_activations(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape feature"]:
        """What the activation function is applied to."""
        x = x.float()
        return (x - self.b_dec if self.subtract else x) @ self.w_enc + self.b_enc

    def encode(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape feature"]:
        """Feature activations, none negative."""
        pre = self.pre_activations(x)
        if self.architecture == "topk":
            return keep_largest(pre, self.k or 0)
        active = pre.relu()
        return active if self.threshold is None else active * (pre > self.threshold)

    def decode(self, features: Float[Tensor, "*shape feature"]) -> Float[Tensor, "*shape d_in"]:
        """What these activations stand for."""
        return features @ self.w_dec + self.b_dec

    def error(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape d_in"]:
        """What the dictionary misses of ``x``."""
        return x.float() - self.decode(self.encode(x))

    def __repr__(self) -> str:
        few = f", k = {self.k}" if self.architecture == "topk" else ""
        return f"SAE of {self.site}: {self.n_features} features of {self.d_in} numbers ({self.architecture}{few})"


def keep_largest(pre: Float[Tensor, "*shape feature"], k: int) -> Float[Tensor, "*shape feature"]:
    """The ``k`` largest, those that are positive; zero elsewhere."""
    values, where = pre.topk(k, dim=-1)
    return torch.zeros_like(pre).scatter_(-1, where, values.relu())
