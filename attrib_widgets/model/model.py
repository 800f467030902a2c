"""One model under study: its tokens, the lock, running it, and access to its parts in float32."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..components import whole
from ..errors import AnatomyError, AttribError, GranularityError, PositionError, TargetError, TokenizerError
from .anatomy import Anatomy, Geometry, bias_of, find, weight_in_out
from .loading import ModelCard, read_card, wrapped
from .norms import NormReading, read_norm
from .run import Run
from .selfcheck import SelfCheck, check_model
from .worker import Worker

T = TypeVar("T")
Prompt: TypeAlias = "str | Sequence[int] | Tensor | Run"

# nnsight's engine is not thread-safe, also across wrappers of one module: every forward takes this lock.
FORWARD_LOCK = threading.RLock()


class Model:
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
        """The model's own config."""
        return self.hf.config

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
        """Number of query heads per layer."""
        return self.geometry.n_heads

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.geometry.d_model

    @property
    def vocab_size(self) -> int:
        """Number of rows of the unembedding."""
        return int(self.unembed_weight.shape[1])

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.unembed_weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the embedding lives: prompts are sent there."""
        return next(self.hf.parameters()).device

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

    @cached_property
    def worker(self) -> Worker:
        """The one thread that computes for this model's widgets."""
        return Worker(self.name)

    def __repr__(self) -> str:
        return (
            f"{self.name} ({self.family}): {self.n_layers} layers x {self.n_heads} heads, width {self.d_model}, "
            f"{str(self.dtype).removeprefix('torch.')}, exact per {self.granularity.rstrip('s')}"
            + (f" ({self.check.reason})" if self.check.reason else "")
        )

    # -- tokens --------------------------------------------------------------------------------------------
    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """Ids of special tokens."""
        return tuple(int(i) for i in self.tokenizer.all_special_ids)

    def token(self, token_id: int) -> str:
        """The exact text of one token, its leading space included."""
        piece = self.tokenizer.convert_ids_to_tokens(int(token_id))
        if piece is None:
            return f"<{token_id}>"
        if "\u2581" in piece:  # SentencePiece writes a space so, and decoding would drop it
            return str(piece).replace("\u2581", " ")
        return str(self.tokenizer.decode([int(token_id)], clean_up_tokenization_spaces=False))

    def token_ids(self, text: str) -> list[int]:
        """Ids of ``text`` as a continuation: no special tokens added."""
        ids = [int(i) for i in self.tokenizer(text, add_special_tokens=False).input_ids]
        if "".join(self.token(i) for i in ids) != text:
            # SentencePiece tokenizers put a space in front of what they are given: look the piece up as typed.
            # A byte has a piece of its own there.
            for name in (text.replace(" ", "\u2581"), "".join(f"<0x{byte:02X}>" for byte in text.encode())):
                piece = self.tokenizer.convert_tokens_to_ids(name)
                if piece is not None and self.token(piece) == text:
                    return [int(piece)]
        return ids

    def single_token(self, spec: str | int) -> int:
        """The id of a token given as text or id.

        Raises:
            TargetError: several tokens (named, with the nearest single-token choices), or no such id.
        """
        number = whole(spec)
        if number is not None:
            if not 0 <= number < self.vocab_size:
                raise TargetError(f"Token id {number} is outside the vocabulary (0 to {self.vocab_size - 1}).")
            return number
        if not isinstance(spec, str):
            raise TargetError(f"{spec!r} is not a token.", 'Give its text, for example " Paris", or its id.')
        ids = self.token_ids(spec)
        if len(ids) == 1 and self.token(ids[0]) == spec:
            return ids[0]
        if not ids:
            raise TargetError(f"{spec!r} has no tokens.", 'Give the text of one token, for example " Paris".')
        pieces = ", ".join(repr(self.token(i)) for i in ids)
        choices = " or ".join(repr(c) for c in self._single_choices(spec, ids))
        count = "another token" if len(ids) == 1 else f"{len(ids)} tokens"
        raise TargetError(f"{spec!r} is {count} here: {pieces}.", f"A target is one token: try {choices}.")

    def _single_choices(self, text: str, ids: Sequence[int]) -> list[str]:
        bare = text.strip()
        forms = [" " + bare, bare, " " + bare.capitalize(), bare.capitalize(), " " + bare.lower(), bare.lower()]
        whole = [f for f in dict.fromkeys(forms) if f != text and len(self.token_ids(f)) == 1]
        parts = [self.token(i) for i in ids if self.token(i).strip()]
        return (whole or parts[:1] or [self.token(ids[0])])[:3]

    def encode(self, prompt: Prompt, *, bos: bool | None = None) -> list[int]:
        """Token ids of a prompt: special tokens as the tokenizer adds them, unless ``bos`` says otherwise.

        Raises:
            PositionError: no tokens, or more than the model has positions for.
            TokenizerError: ``bos=True`` and the tokenizer has no beginning-of-sequence token.
        """
        if isinstance(prompt, Run):
            return list(prompt.ids)
        if isinstance(prompt, str):
            ids = [int(i) for i in self.tokenizer(prompt, verbose=False).input_ids]
        else:
            flat = prompt.tolist() if isinstance(prompt, Tensor) else _listed(prompt)
            if len(flat) == 1 and isinstance(flat[0], list):  # a batch of one, as tokenizers return it
                flat = flat[0]
            if any(isinstance(i, list) for i in flat):
                raise PositionError(f"A batch of {len(flat)} prompts is not one prompt.", "Run them one at a time.")
            wrong = next((i for i in flat if whole(i) is None), None)
            if wrong is not None:
                raise PositionError(f"{wrong!r} is not a token id.", "A prompt is a text or a list of token ids.")
            ids = [int(i) for i in flat]
        begin = self.tokenizer.bos_token_id
        if bos and begin is None:
            raise TokenizerError("This tokenizer has no beginning-of-sequence token.", "Leave bos out.")
        if bos and ids[:1] != [begin]:
            ids = [int(begin), *ids]
        if bos is False and begin is not None and ids[:1] == [begin]:
            ids = ids[1:]
        limit = self.max_positions
        if not ids:
            raise PositionError("The prompt has no tokens.", "Type at least one word.")
        if limit is not None and len(ids) > limit:
            raise PositionError(
                f"The prompt has {len(ids)} tokens and {self.name} has {limit} positions.", "Shorten it."
            )
        outside = next((i for i in ids if not 0 <= i < self.n_embeddings), None)
        if outside is not None:
            raise TokenizerError(
                f"Token id {outside} is outside this model's vocabulary ({self.n_embeddings} tokens).",
                "Is this the tokenizer that belongs to the model?",
            )
        return ids

    @property
    def n_embeddings(self) -> int:
        """Rows of the token embedding."""
        table = find(self.hf, self.anatomy.embed)
        return int(getattr(table, "num_embeddings", self.vocab_size))

    @property
    def max_positions(self) -> int | None:
        """Length of the learned position table; None where positions are not learned."""
        table = find(self.hf, self.anatomy.pos)
        return int(table.num_embeddings) if isinstance(table, nn.Embedding) else None

    # -- running -------------------------------------------------------------------------------------------
    def run(self, prompt: Prompt, *, bos: bool | None = None, positions: Sequence[int] | None = None) -> Run:
        """Run the model once on ``prompt`` and record what attribution needs.

        Args:
            prompt: text, token ids, or a Run (returned as it is when it belongs to this model).
            bos: True adds the beginning-of-sequence token, False drops it, None follows the tokenizer.
            positions: whose printed logits to keep; None keeps the last position's.
        """
        if isinstance(prompt, Run) and prompt.model is self and bos is None and positions is None:
            return prompt
        ids = self.encode(prompt, bos=bos)
        text = prompt if isinstance(prompt, str) else prompt.text if isinstance(prompt, Run) else None
        outside = next((p for p in positions or () if not -len(ids) <= p < len(ids)), None)
        if outside is not None:
            raise PositionError(f"Position {outside} is outside the prompt of {len(ids)} tokens.")
        keep = None if positions is None else [p % len(ids) for p in positions]
        return Run(self, ids, text if text is not None else "".join(self.token(i) for i in ids), keep)

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
    def module(self, path: str, layer: int | None = None) -> nn.Module:
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

    def norm(self, path: str, layer: int | None = None) -> NormReading:
        """The norm at ``path`` as gain, bias, centring and frozen scale (probed once, kept)."""
        return self.read_norm(self.module(path, layer), self.geometry.d_model, path, layer)

    def read_norm(self, module: nn.Module, width: int, path: str, layer: int | None) -> NormReading:
        """:func:`.norms.read_norm`, kept for as long as the norm's weights do not change."""
        return self._kept((path, layer), list(module.parameters()), lambda: read_norm(module, width, path))

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
        bias = bias_of(module)
        return weight_in_out(module).float(), None if bias is None else bias.float()

    def out_lengths(self, layer: int) -> Float[Tensor, "d_model"]:
        """Length of every column of W_O (kept)."""
        weight = self.module(self.anatomy.attn_out, layer).weight
        assert isinstance(weight, Tensor)
        return self._kept(("out", layer), [weight], lambda: _lengths(self.out_weight(layer)[0]))

    def down_weight(self, layer: int) -> tuple[Float[Tensor, "neuron d_model"], Float[Tensor, "d_model"] | None]:
        """(W_down, bias) of the MLP of ``layer`` in float32."""
        module = find(self.layer(layer), self.anatomy.mlp_down)
        if module is None or getattr(module, "weight", None) is None or getattr(module.weight, "ndim", 0) != 2:
            raise GranularityError(
                f"The MLP of layer {layer} has no down-projection {self.anatomy.mlp_down!r}: it has no plain neurons.",
                "A mixture of experts is shown as one part.",
            )
        bias = bias_of(module)
        return weight_in_out(module).float(), None if bias is None else bias.float()

    @property
    def softcap(self) -> float | None:
        """The cap of the final logits: printed = cap * tanh(before / cap)."""
        value = getattr(self.config, self.anatomy.softcap, None) if self.anatomy.softcap else None
        return float(value) if value else None

    def read_out(
        self, x: Float[Tensor, "*shape d_model"]
    ) -> tuple[Float[Tensor, "*shape vocab"], Float[Tensor, "*shape vocab"]]:
        """(logits before the soft cap, printed logits) of a final stream, by the model's own modules."""
        with self.quiet():
            normed = self.module(self.anatomy.final_norm)(x)
            precap: Tensor = self.module(self.anatomy.unembed)(normed)
        cap = self.softcap
        return precap, precap if cap is None else torch.tanh(precap / cap) * cap


def _stamp(weights: Sequence[Tensor]) -> tuple[Any, ...]:
    return tuple((w.data_ptr(), -1 if w.is_inference() else w._version, w.dtype) for w in weights)


def _listed(prompt: Any) -> list[Any]:
    if isinstance(prompt, (Mapping, bytes)) or not hasattr(prompt, "__iter__"):
        raise PositionError(f"A {type(prompt).__name__} is not a prompt.", "Give a text or a list of token ids.")
    return list(prompt)


def _lengths(weight: Float[Tensor, "in out"]) -> Float[Tensor, "out"]:
    lengths: Tensor = torch.linalg.vector_norm(weight, dim=0, dtype=torch.float32)
    return lengths
