"""One model under study: the lock, running it, and access to its parts in float32. Its tokens are in :mod:`.tokens`."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..words.components import whole
from ..words.errors import AnatomyError, AttribError, GranularityError, PositionError, TokenizerError
from .anatomy.anatomy import Anatomy, Geometry, bias_of, find, text_config, weight_in_out
from .anatomy.norms import FrozenNorm, read_norm
from .batch import run_many
from .generate import generated_ids
from .loading import ModelCard, read_card, wrapped
from .memory import estimate, readable, require
from .run import Run
from .selfcheck.check import SelfCheck, check_model
from .tokens import Prompt as Prompt
from .tokens import Tokens
from .worker import Job, Worker

if TYPE_CHECKING:
    from .selfcheck.report import Report

T = TypeVar("T")
#: Most bytes of logits that a run of a phrase keeps as printed; beyond it they are read from the stream again.
KEPT_BYTES = 256 * 2**20

# nnsight's engine is not thread-safe, also across wrappers of one module: every forward takes this lock.
FORWARD_LOCK = threading.RLock()


class Model(Tokens):
    """A causal language model whose predictions can be taken apart. Made by :func:`load`.

    Attributes:
        hf: the transformers model, untouched.
        tokenizer: a copy of the tokenizer.
        anatomy: where its parts are; check: the self-check that was run on it.
        lock: the lock that every forward pass takes.
    """

    def __init__(
        self,
        source: Any,
        tokenizer: Any = None,
        *,
        name: str | None = None,
        anatomy: Anatomy | Mapping[str, Any] | None = None,
        embedded: bool = False,
    ) -> None:
        traced = source if hasattr(source, "trace") and hasattr(source, "_module") else None
        hf = traced._module if traced is not None else source
        tokenizer = tokenizer or getattr(traced, "tokenizer", None)
        if not isinstance(hf, nn.Module):
            raise AttribError(
                f"{type(source).__name__} is not a model.",
                "Give 'demo', a folder, a hub id, a transformers model with tokenizer=, or an nnsight model.",
            )
        if tokenizer is None:
            raise TokenizerError(
                f"{type(hf).__name__} came without its tokenizer.",
                "Pass aw.load(model, tokenizer=AutoTokenizer.from_pretrained(...)).",
            )
        absent = next((path for path, p in hf.named_parameters() if p.is_meta), None)
        if absent is not None:
            raise AttribError(
                f"{absent} has no weights in memory: they were not loaded, or device_map offloads them.",
                "Load all of it: in bfloat16, or with a device_map of devices that hold it.",
            )
        self.hf = hf
        self.tokenizer = copy.deepcopy(tokenizer)
        self.embedded = embedded  # the model that ships with the library, whatever another one is called
        self.name = name or str(getattr(hf, "name_or_path", "") or type(hf).__name__)
        self.lock = FORWARD_LOCK
        self._cache: dict[Any, tuple[Any, Any]] = {}
        with self.lock:
            # A second copy for nnsight, which sets the padding side and the pad token of the one it is given.
            self.traced: Any = traced or wrapped(hf, copy.deepcopy(tokenizer))
            self.anatomy: Anatomy
            self.geometry: Geometry
            self.check: SelfCheck
            self.anatomy, self.geometry, self.check = check_model(self, anatomy)
        if self.check.remark:
            warnings.warn(self.check.remark, stacklevel=3)

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
        """Number of query heads per layer; of the layer that has most, where they differ (``heads_of``)."""
        return self.geometry.n_heads

    def heads_of(self, layer: int) -> int:
        """Number of query heads of ``layer``: 0 where it has none, or there is no such layer."""
        return self.geometry[layer].n_heads if 0 <= layer < self.n_layers else 0

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
    def granularity(self) -> str:
        """Finest exact split: ``"heads"``, ``"sublayers"`` or ``"layers"``."""
        return self.check.granularity

    @property
    def card(self) -> ModelCard:
        """The model card that lies beside the weights; a notebook shows it formatted.

        Raises:
            AttribError: the model was not loaded from a folder with a README.md.
        """
        return read_card(str(getattr(self.hf, "name_or_path", "") or ""), self.name)

    def report(self) -> Report:
        """The self-check in full: what is exact on this model, with the numbers, and what is not, with the reason."""
        from .selfcheck.report import report

        return report(self)

    @cached_property
    def worker(self) -> Worker:
        """The one thread that computes for this model's widgets."""
        return Worker(self.name)

    def __repr__(self) -> str:
        return (
            f"{self.name} ({self.family}): {self.n_layers} layers x {self.geometry.words}, width {self.d_model}, "
            f"{str(self.dtype).removeprefix('torch.')}, exact per {self.granularity.rstrip('s')}"
            + (f" ({self.check.reason})" if self.check.reason else "")
            + f", {readable(self.memory_estimate(1000))} for a run of 1,000 tokens"
        )

    # -- running -------------------------------------------------------------------------------------------
    def run(self, prompt: Prompt, *, bos: bool | None = None, positions: Sequence[int] | None = None) -> Run:
        """Run the model once on ``prompt`` and record what attribution needs.

        Args:
            prompt: text, token ids, chat messages, or a Run (returned as it is when it belongs to this model).
            bos: True adds the beginning-of-sequence token, False drops it, None follows the tokenizer.
            positions: whose printed logits to keep; None keeps the last position's.

        Raises:
            PositionError: no tokens, too many, or a record that the free memory does not hold.
        """
        if isinstance(prompt, Run) and prompt.model is self and bos is None and positions is None:
            return prompt
        ids = self.encode(prompt, bos=bos)
        keep = None if positions is None else _kept_positions(positions, len(ids))
        require(self, self.memory_estimate(len(ids), len(keep or [0])), f"A prompt of {len(ids)} tokens")
        return Run(self, ids, self.text_of(prompt, ids), keep)

    def run_with(self, ids: Sequence[int], continuation: Sequence[int]) -> Run:
        """One run of ``ids`` and a continuation, keeping the logits that predicted every token of it (and the last).

        Raises:
            PositionError: more tokens than the model has positions for.
        """
        both, start = self.encode([*ids, *continuation]), len(ids)
        keep = range(start - 1, len(both))
        fits = 2 * len(keep) * self.vocab_size * self.dtype.itemsize <= KEPT_BYTES
        require(self, self.memory_estimate(len(both), len(keep) if fits else 1), f"A prompt of {len(both)} tokens")
        return Run(self, both, self.text_of(both, both), list(keep) if fits else None, start=start)

    def run_many(
        self,
        prompts: Sequence[Prompt],
        *,
        bos: bool | None = None,
        budget: int = 512 * 2**20,
        job: Job | None = None,
    ) -> list[Run]:
        """Run several prompts of any lengths, batched: see :func:`.batch.run_many`."""
        return run_many(self, prompts, bos=bos, budget=budget, job=job)

    def generate(self, prompt: Prompt, n: int = 20, *, temperature: float = 0.0, seed: int | None = None) -> Run:
        """Let the model continue ``prompt`` by up to ``n`` tokens, and record prompt and continuation in one run.

        ``run.continuation`` is what it wrote; ``aw.attribute(run, aw.phrase())`` explains it token by token. Greedy
        unless a ``temperature`` is given, and always by the printed logits: a checkpoint's own repetition penalty or
        top-k does not apply.

        Raises:
            PositionError: more tokens than the model has positions for.
        """
        ids = self.encode(prompt)
        return self.run_with(ids, generated_ids(self, ids, n, temperature, seed))

    def memory_estimate(self, n_tokens: int, kept: int = 1) -> int:
        """Bytes that a run of ``n_tokens`` keeps, with the logits of ``kept`` positions: see :mod:`.memory`."""
        return estimate(self, n_tokens, kept)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Hold the lock, without gradients and in eval mode; training flags are put back afterwards."""
        with self.lock, torch.no_grad():
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
        """:func:`.anatomy.norms.read_norm`, kept for as long as the norm's weights do not change."""
        return self._kept((path, layer), list(module.parameters()), lambda: read_norm(module, width, path, self.home))

    def _kept(self, key: Any, weights: Sequence[Tensor], compute: Callable[[], T]) -> T:
        """``compute()``, remembered until one of ``weights`` is replaced or written to (a training step, say)."""
        stamp = _stamp(weights)
        if self._cache.get(key, (None,))[0] != stamp:
            self._cache[key] = (stamp, compute())
        found: T = self._cache[key][1]
        return found

    def stamp(self) -> tuple[Any, ...]:
        """Changes whenever a weight is replaced or written to."""
        return _stamp(list(self.hf.parameters()))

    def forget(self) -> None:
        """Drop everything that was read off the weights."""
        self._cache.clear()

    @property
    def unembed_weight(self) -> Float[Tensor, "d_model vocab"]:
        """The unembedding, in the model's dtype."""
        return weight_in_out(self.module(self.anatomy.unembed))

    @property
    def unembed_lengths(self) -> Float[Tensor, "vocab"]:
        """Length of every token's row of the unembedding (kept)."""
        weight = self.unembed_weight
        return self._kept("unembed", [weight], lambda: _lengths(weight))

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
        weight = self.module(self.anatomy.attn_out, layer).weight
        assert isinstance(weight, Tensor)
        return self._kept(("out", layer), [weight], lambda: _lengths(self.out_weight(layer)[0]))

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


def _kept_positions(positions: Any, count: int) -> list[int]:
    """``positions`` of a prompt of ``count`` tokens, counted from 0."""
    one = whole(positions)
    given = [one] if one is not None else list(positions) if hasattr(positions, "__iter__") else [positions]
    if not given:
        raise PositionError("There are no positions to keep.", "Leave out positions= to keep the last one's logits.")
    found = []
    for position in given:
        number = whole(position)
        if number is None:
            raise PositionError(f"{position!r} is not a position.", "Count tokens from 0, or from the end with −1.")
        if not -count <= number < count:
            raise PositionError(
                f"Position {number} is outside the prompt of {count} tokens.",
                f"Use 0 to {count - 1}, or −1 for the last.",
            )
        found.append(number % count)
    return found


def _stamp(weights: Sequence[Tensor]) -> tuple[Any, ...]:
    return tuple((w.data_ptr(), -1 if w.is_inference() else w._version, w.dtype) for w in weights)


def _lengths(weight: Float[Tensor, "in out"]) -> Float[Tensor, "out"]:
    lengths: Tensor = torch.linalg.vector_norm(weight, dim=0, dtype=torch.float32)
    return lengths
