"""The network of a model: its modules, their weights in float32, its norms, and the lock that every pass takes.

It knows where its parts are (its anatomy) and no tokens; what helpers below :class:`.model.Model` take is a network.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..words.errors import AnatomyError, GranularityError, ModelError
from .anatomy.anatomy import Anatomy, bias_of, find, parallel, text_config, weight_in_out
from .anatomy.geometry import Geometry
from .anatomy.norms import FrozenNorm, read_norm
from .identity.stamp import Key, Stamp, changes, is_of, named, stamp_of, weight_keys, writable

if TYPE_CHECKING:
    from .run import Run

T = TypeVar("T")

# nnsight's engine is not thread-safe, also across wrappers of one module: every forward takes this lock.
FORWARD_LOCK = threading.RLock()


class Network:
    """The modules of a causal language model, and access to its parts.

    Attributes:
        hf: the transformers model, untouched; traced: the same one as nnsight runs it.
        anatomy: where its parts are; geometry: their numbers and widths; unread: the layers that can be read as a whole
            only, because parts of the anatomy are missing there or run otherwise, with the reasons.
        lock: the lock that every forward pass takes.
    """

    traced: Any
    anatomy: Anatomy
    geometry: Geometry
    unread: Mapping[int, str]

    def __init__(self, hf: nn.Module, name: str | None = None) -> None:
        self.hf = hf
        self.name = name or str(getattr(hf, "name_or_path", "") or type(hf).__name__)
        self.lock = FORWARD_LOCK
        self.unread = {}
        self._cache: dict[Any, tuple[Any, Any]] = {}
        self._stamp: Stamp = {}
        self._settled: Stamp | None = None  # what the model was when it was last checked
        self._moving: set[Key] = set()  # what the model itself writes to while it runs, a rotary table say
        self._facts: dict[Any, Any] = {}
        self._of_runs: WeakKeyDictionary[Run, dict[Any, Any]] = WeakKeyDictionary()

    # -- what it is ----------------------------------------------------------------------------------------
    @property
    def config(self) -> Any:
        """The language model's own config."""
        return text_config(self.hf)

    @property
    def family(self) -> str:
        """Class of the transformers model."""
        return type(self.hf).__name__

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return self.geometry.n_layers

    @property
    def n_heads(self) -> int:
        """Number of query heads per layer; of the layer that has most, where they differ."""
        return self.geometry.n_heads

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.geometry.d_model

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights; where the layers and the unembedding differ, the coarser of the two."""
        both = (self.unembed_weight.dtype, next(self.layer(0).parameters()).dtype)
        return max(both, key=lambda dtype: torch.finfo(dtype).eps)

    @property
    def device(self) -> torch.device:
        """Where the embedding lives: prompts are sent there."""
        return next(self.hf.parameters()).device

    @property
    def home(self) -> torch.device:
        """Where the unembedding lives: a recording is brought there, and so are weights that meet it."""
        return self.unembed_weight.device

    def call(self, module: nn.Module, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape d_out"]:
        """A part of the model called on its own device, the result brought :attr:`home`."""
        device = next((p.device for p in module.parameters()), self.home)
        out: Tensor = module(x.to(device))
        return out.to(self.home)

    def weights(self, module: nn.Module) -> tuple[Float[Tensor, "d_in d_out"], Float[Tensor, "d_out"] | None]:
        """(weight, bias) of a projection in float32, at :attr:`home`."""
        bias = bias_of(module)
        return weight_in_out(module).to(self.home).float(), None if bias is None else bias.to(self.home).float()

    @property
    def parallel(self) -> bool:
        """Whether attention and MLP read the same stream."""
        return parallel(self.anatomy, self.config)

    @property
    def vocab_size(self) -> int:
        """Number of rows of the unembedding."""
        unembed = find(self.hf, self.anatomy.unembed)
        assert unembed is not None
        return int(weight_in_out(unembed).shape[1])

    @property
    def n_embeddings(self) -> int:
        """Rows of the token embedding."""
        table = find(self.hf, self.anatomy.embed)
        return int(getattr(table, "num_embeddings", self.vocab_size))

    @property
    def max_positions(self) -> int | None:
        """Length of the learned position table; None where positions are not learned."""
        table = find(self.hf, self.anatomy.pos)
        if not isinstance(table, nn.Embedding):
            return None
        return int(table.num_embeddings) - int(getattr(table, "offset", 0))  # OPT leaves the first rows unused

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Hold the lock, without gradients and in eval mode; training flags are put back afterwards.

        Also inside ``torch.inference_mode``, whose tensors no later gradient could pass.
        """
        with self.lock, torch.inference_mode(False), torch.no_grad():
            training = [m for m in self.hf.modules() if m.training]
            for module in training:
                module.training = False
            try:
                yield
            finally:
                for module in training:
                    module.training = True

    # -- its parts, in float32 -----------------------------------------------------------------------------
    def module(self, path: str | None, layer: int | None = None) -> nn.Module:
        """The module at ``path``, inside ``layer`` when one is given."""
        found = find(self.hf if layer is None else self.layer(layer), path)
        if found is None:
            raise AnatomyError(f"{self.family} has no module {path!r}.")
        return found

    def layer(self, number: int) -> nn.Module:
        """The module of one layer."""
        layers = find(self.hf, self.anatomy.layers)
        assert isinstance(layers, nn.ModuleList)
        return layers[number]

    def norm(self, path: str, layer: int | None = None) -> FrozenNorm:
        """The norm at ``path`` as gain, bias, centring and frozen scale (probed once, kept)."""
        return self.read_norm(self.module(path, layer), self.geometry.d_model, path, layer)

    def read_norm(self, module: nn.Module, width: int, path: str, layer: int | None) -> FrozenNorm:
        """:func:`.anatomy.norms.read_norm`, kept for as long as nothing of the norm changes."""
        return self._kept((path, layer), stamp_of(module), lambda: read_norm(module, width, path, self.home))

    def _kept(self, key: Any, stamp: Any, compute: Callable[[], T]) -> T:
        """``compute()``, remembered until ``stamp`` is another (a training step, say)."""
        if self._cache.get(key, (None,))[0] != stamp:
            self._cache[key] = (stamp, compute())
        found: T = self._cache[key][1]
        return found

    def stamp(self) -> Stamp:
        """What the model is now (see :mod:`.identity.stamp`); the last call's very object while nothing changes."""
        now = stamp_of(self.hf)
        if now != self._stamp:
            self._stamp = now
        return self._stamp

    def changed(self, since: Stamp) -> list[Key]:
        """What is no longer as it was, apart from what the model's own passes write."""
        return changes(since, self.stamp(), self._moving)

    @property
    def stamped(self) -> Stamp:
        """The stamp of the last time that it was taken: right after a pass, what the pass was made with."""
        return self._stamp

    @contextmanager
    def passing(self) -> Iterator[None]:
        """A pass of the library's own: the buffers and attributes that it leaves changed are the model's to write.

        Raises:
            ModelError: a weight was written to meanwhile, by a training step in another thread, say.
        """
        before = self.stamp()
        self.settle(before)
        yield
        moved, weights = changes(before, self.stamp()), weight_keys(self.hf)
        trained = [key for key in moved if is_of(key, weights)]
        if trained and self._settled is not None:  # while it is loaded, its first pass may still lay its weights out
            raise ModelError(
                f"{named(trained[0])} of {self.name} was written to while the model ran: part of it was computed with "
                "other weights than the rest.",
                "Let what trains it rest meanwhile, and run the prompt again.",
            )
        self._moving.update(key for key in writable(moved) if not is_of(key, weights))

    def settle(self, now: Stamp) -> None:
        """What was found out about the network holds for ``now`` as well, or is found out again."""

    def kept(self, key: Any, compute: Callable[[], T], run: Run | None = None) -> T:
        """``compute()``, remembered until :meth:`forget`; with ``run``, for as long as the run lives."""
        facts = self._facts if run is None else self._of_runs.setdefault(run, {})
        if key not in facts:
            facts[key] = compute()
        found: T = facts[key]
        return found

    def keeps(self, key: Any, run: Run | None = None) -> bool:
        """Whether :meth:`kept` has it at hand."""
        return key in (self._facts if run is None else self._of_runs.get(run, {}))

    def forget(self) -> None:
        """Drop everything that was read off the weights, found out about the model, or kept beside its runs."""
        self._cache.clear()
        self._facts.clear()
        self._of_runs.clear()

    @property
    def unembed_weight(self) -> Float[Tensor, "d_model vocab"]:
        """The unembedding, in the model's dtype."""
        return weight_in_out(self.module(self.anatomy.unembed))

    @property
    def unembed_lengths(self) -> Float[Tensor, "vocab"]:
        """Length of every token's row of the unembedding (kept)."""
        module = self.module(self.anatomy.unembed)
        return self._kept("unembed", stamp_of(module), lambda: _lengths(weight_in_out(module)))

    @property
    def unembed_bias(self) -> Float[Tensor, "vocab"] | None:
        """The unembedding's bias, where it has one."""
        return bias_of(self.module(self.anatomy.unembed))

    def out_weight(
        self, layer: int
    ) -> tuple[Float[Tensor, "heads_times_d_head d_model"], Float[Tensor, "d_model"] | None]:
        """(W_O, b_O) of ``layer`` in float32."""
        module = self.module(self.anatomy.attn_out, layer)
        return self.weights(module)

    def out_lengths(self, layer: int) -> Float[Tensor, "d_model"]:
        """Length of every column of W_O (kept)."""
        module = self.module(self.anatomy.attn_out, layer)
        return self._kept(("out", layer), stamp_of(module), lambda: _lengths(self.weights(module)[0]))

    def down_weight(self, layer: int) -> tuple[Float[Tensor, "neuron d_model"], Float[Tensor, "d_model"] | None]:
        """(W_down, bias) of the MLP of ``layer`` in float32."""
        module = find(self.layer(layer), self.anatomy.mlp_down)
        if module is None or getattr(module, "weight", None) is None or getattr(module.weight, "ndim", 0) != 2:
            if self.has_experts(layer):
                raise GranularityError(
                    f"The MLP of layer {layer} is a mixture of experts: it has no neurons of its own.",
                    f"a.experts({layer}) splits it by expert.",
                )
            raise GranularityError(
                f"The MLP of layer {layer} has no down-projection {self.anatomy.mlp_down!r}: it has no plain neurons.",
                "Pass anatomy={'mlp_down': ...} with its down-projection.",
            )
        return self.weights(module)

    def has_experts(self, layer: int) -> bool:
        """Whether the MLP of ``layer`` is a mixture of experts whose parts are known."""
        experts = self.anatomy.experts
        return experts is not None and find(self.layer(layer), experts.experts) is not None

    @property
    def softcap(self) -> float | None:
        """The cap of the final logits: printed = cap * tanh(before / cap)."""
        value = getattr(self.config, self.anatomy.softcap, None) if self.anatomy.softcap else None
        return float(value) if value else None

    @property
    def multiplier(self) -> float:
        """What every sublayer's output is multiplied by before it is added to the stream; 1 in most families."""
        value = getattr(self.config, self.anatomy.multiplier, None) if self.anatomy.multiplier else None
        return 1.0 if value is None else float(value)

    @property
    def logit_scale(self) -> float:
        """What the unembedding's output is multiplied by; 1 in most families."""
        name = self.anatomy.logit_scale
        value = getattr(self.config, name.strip("/"), None) if name else None
        if name is None or value is None:
            return 1.0
        return 1 / float(value) if name.startswith("/") else float(value)

    def scaled(self, out: Float[Tensor, "*shape vocab"]) -> Float[Tensor, "*shape vocab"]:
        """The unembedding's output as the model scales it (dividing rounds otherwise than multiplying)."""
        name = self.anatomy.logit_scale
        value = getattr(self.config, name.strip("/"), None) if name else None
        if name is None or value is None:
            return out
        scaled: Tensor = out / value if name.startswith("/") else out * value
        return scaled

    def read_out(
        self, x: Float[Tensor, "*shape d_model"]
    ) -> tuple[Float[Tensor, "*shape vocab"], Float[Tensor, "*shape vocab"]]:
        """(logits before the soft cap, printed logits) of a final stream, by the model's own modules."""
        with self.quiet():
            normed = self.call(self.module(self.anatomy.final_norm), x)
            precap = self.scaled(self.call(self.module(self.anatomy.unembed), normed))
        cap = self.softcap
        return precap, precap if cap is None else torch.tanh(precap / cap) * cap


def _lengths(weight: Float[Tensor, "in out"]) -> Float[Tensor, "out"]:
    lengths: Tensor = torch.linalg.vector_norm(weight, dim=0, dtype=torch.float32)
    return lengths
