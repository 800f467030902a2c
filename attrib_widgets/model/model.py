"""One model under study: a network with its tokenizer, the self-check that was run on it, and running it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..result import slots
from ..words.errors import AttribError, GranularityError, PositionError, TokenizerError, warn
from ..words.kinds import Kind
from ..words.several import listed
from .anatomy.anatomy import Anatomy
from .anatomy.lookup import text_config
from .built import Built
from .identity.belonging import at_home
from .identity.stamp import Stamp, changes, is_of, weight_keys
from .identity.steady import during
from .loading import ModelCard, built, check_rotation, move, read_card, read_checkpoint, read_tokenizer, unwrapped
from .network import Network
from .parts.joins import Factor, Joins
from .parts.streams import one_stream
from .run import Run, counted
from .running.batch import run_many
from .running.generate import generated_ids
from .running.memory import estimate, readable, require
from .running.worker import Job, Worker
from .selfcheck.check import causal_check, check_model
from .selfcheck.kinds import kinds_of
from .selfcheck.levels import Level, named_layers
from .selfcheck.outcome import SelfCheck
from .selfcheck.report import Report, report
from .suggestions import Suggestion, read_suggestions
from .text.known import read_words
from .text.tokens import Prompt as Prompt
from .text.tokens import Tokens
from .tracing.causality import AHEAD
from .tracing.joining import read_joins
from .tracing.wrapping import wrapped

if TYPE_CHECKING:
    from ..analysis.lens.tuned_lens import TunedLens
    from ..saes.store import Dictionaries

#: Most bytes of logits that a run of a phrase keeps as printed; beyond it they are read from the stream again.
KEPT_BYTES = 256 * 2**20


class Model(Network, Tokens):
    """A causal language model whose predictions can be taken apart. Made by :func:`load`.

    Attributes:
        tokenizer: a copy of the tokenizer.
        check: the self-check that was run on it.
    """

    def __init__(
        self,
        source: Any,
        tokenizer: Any = None,
        *,
        name: str | None = None,
        anatomy: Anatomy | Mapping[str, Any] | None = None,
    ) -> None:
        traced = source if hasattr(source, "trace") and hasattr(source, "_module") else None
        hf = unwrapped(traced._module if traced is not None else source)
        if traced is not None and hf is not traced._module:
            tokenizer, traced = tokenizer or getattr(traced, "tokenizer", None), None
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
        check_rotation(text_config(hf))
        super().__init__(hf, name)
        self._joins: tuple[frozenset[int], Anatomy, Stamp, Mapping[int, Joins]] | None = None
        self.tokenizer = copy.deepcopy(tokenizer)
        with self.lock:
            # A second copy for nnsight, which sets the padding side and the pad token of the one it is given.
            self.traced = traced or wrapped(hf, copy.deepcopy(tokenizer))
            self.check: SelfCheck
            self.anatomy, self.geometry, self.check = check_model(self, anatomy)
            self._settled = self.stamp()
        if self.check.remark:
            warn(self.check.remark)

    def settle(self, now: Stamp) -> None:
        """Look again whether later tokens matter, and what shortcuts were exact, once more than weights changed.

        Attention of another kind, a hook or a setting decides that; the numbers of weights do not.
        """
        if self._settled is None or self._settled is now:
            return
        weights = weight_keys(self.hf)
        if not all(is_of(key, weights) for key in changes(self._settled, now, self._moving)):
            self.forget()
            self.check = causal_check(self, self.check)
            if not self.check.causal:
                warn(AHEAD)
            now = self.stamp()  # what the check ran may have written to a table
        self._settled = now

    # -- what it is ----------------------------------------------------------------------------------------
    @property
    def granularity(self) -> str:
        """How far its layers split exactly: ``"heads"``, ``"sublayers"``, ``"layers"``, or ``"mixed"``: see
        ``check.levels``."""
        return self.check.granularity

    def level(self, layer: int) -> Level:
        """How far one layer splits exactly, and why not further."""
        return self.check.levels[layer]

    @property
    def part_kinds(self) -> dict[str, Kind]:
        """What its parts are where their labels alone would mislead: ``model.part_kinds["L0.attn"].words`` is
        ``"a gated delta net in place of attention: ..."``. Empty where every part is what its name says."""
        return self.kept("part kinds", lambda: kinds_of(self))

    def carry(self, layer: int) -> float:
        """What the stream behind ``layer`` is multiplied by once its sublayers are added to it; 1 in most families, and
        in a layer that is read as a whole: what that writes is what the stream is then more than before.
        """
        return self.read_carry(layer) if self.level(layer).sublayers else 1.0

    def carried(self, layer: int, until: int, part: str = "pre", mid: bool = False) -> Factor:
        """What becomes of one unit written in ``layer`` on its way to the stream before layer ``until``, or with
        ``mid`` to that between its attention and its MLP: a number, or one for every number of the stream.

        ``part`` is what wrote it: ``"attn"``, ``"mlp"`` or ``"beside"``, or ``"pre"`` what stood before the layer.

        Raises:
            GranularityError: it carries several streams, and this depends on the run and the position.
        """
        one_stream(self, "what becomes of a write depends on the prompt and on the position in it")
        factor: Factor = 1.0
        if self.anatomy.carry is None and not self.joining:
            return factor
        for i in range(layer, until + mid):
            for number, sublayer in enumerate(("attn", "mlp")[: 1 + (i < until)]):
                passes = i > layer or number >= ("pre", "attn", "mlp", "beside").index(part)
                keep = join.keep if passes and (join := self.join(sublayer, i)) is not None else None
                factor = factor if keep is None else keep * factor
            factor = factor * self.carry(i) if i < until else factor
        return factor

    def joins(self) -> Mapping[int, Joins]:
        return during(self, ("joins", self.anatomy, self.joining), self._read_joins)

    def _read_joins(self) -> Mapping[int, Joins]:
        known = self.joining, self.anatomy
        if self._joins is None or self._joins[:2] != known or self.changed(self._joins[2]):
            found = read_joins(self, sorted(self.joining))
            if set(found) != self.joining:
                where = named_layers(sorted(self.joining - set(found)))
                raise GranularityError(
                    f"What attention and MLP of {where} of {self.name} write no longer reaches the stream as it did.",
                    "Load the model again: aw.load(model.hf, model.tokenizer).",
                )
            self._joins = *known, self.stamp(), found
        return self._joins[3]

    def heads_of(self, layer: int) -> int:
        """Number of query heads of ``layer`` that are shown: 0 where it has none, or they are not exact, or there is no
        such layer."""
        shown = 0 <= layer < self.n_layers and bool(self.level(layer).heads)
        return self.geometry[layer].n_heads if shown else 0

    @property
    def folder(self) -> Path | None:
        """The folder that it was loaded from; None for a model from the hub, or made in memory."""
        source = str(getattr(self.hf, "name_or_path", "") or "")
        return Path(source) if source and Path(source).is_dir() else None

    @cached_property
    def built(self) -> Built | None:
        """What is known of a model that was built by hand (``aw.demo.circuits``); None of any other."""
        return built(self.hf)

    @property
    def called(self) -> str:
        """Its name, and that it was built by hand where it was."""
        return self.name if self.built is None else self.built.called

    @cached_property
    def saes(self) -> Dictionaries:
        """Its dictionaries of features by place: those in the folder ``saes`` beside its weights, and what is added.

        ``model.saes["L8.mlp"] = aw.read_sae(folder)`` gives it one; every call and every click then uses it.
        """
        found: Dictionaries = slots.dictionaries()(self)
        return found

    @cached_property
    def lens(self) -> TunedLens | None:
        """Its tuned lens, which the Explorer shows beside the logit lens: the one that lies beside its weights
        (``lens.save(folder)`` puts it there), or what is put here, ``model.lens = aw.TunedLens.train(model, texts)``.

        Raises:
            AttribError: the one beside its weights cannot be read, or is another model's.
        """
        found: TunedLens | None = slots.lens()(self)
        return found

    @cached_property
    def suggestions(self) -> list[Suggestion]:
        """Prompts that show what it can do, where a ``suggestions.json`` lies beside its weights, or it was built for
        one."""
        return read_suggestions(self.folder) if self.built is None else [self.built.suggestion]

    @cached_property
    def known_words(self) -> frozenset[str] | None:
        """The words that it was trained on, where a ``words.txt`` lies beside its weights; None where none does."""
        return read_words(self.folder)

    @property
    def card(self) -> ModelCard:
        """The model card that lies beside the weights, or the story of a model that was built by hand; a notebook shows
        it formatted.

        Raises:
            AttribError: the model was not loaded from a folder with a README.md.
        """
        if self.built is not None:
            return ModelCard(self.built.card)
        return read_card(str(getattr(self.hf, "name_or_path", "") or ""), self.name)

    def report(self) -> Report:
        """The self-check in full: what is exact on this model, with the numbers, and what is not, with the reason."""
        return report(self)

    @cached_property
    def worker(self) -> Worker:
        """The one thread that computes for this model's widgets."""
        return Worker(self.name)

    def __repr__(self) -> str:
        return (
            f"{self.called} ({self.family}): {self.n_layers} layers x {self.geometry.words}, width {self.d_model}, "
            f"{str(self.dtype).removeprefix('torch.')}, exact {self.check.words}"
            + (f" ({self.check.reason})" if self.check.reason else "")
            + f", {readable(self.memory_estimate(1000))} for a run of 1,000 tokens"
        )

    # -- running -------------------------------------------------------------------------------------------
    def run(self, prompt: Prompt, *, bos: bool | None = None, positions: Sequence[int] | None = None) -> Run:
        """Run the model once on ``prompt`` and record what attribution needs.

        Args:
            prompt: text, token ids, chat messages, or a Run of this model (returned as it is).
            bos: True adds the beginning-of-sequence token, False drops it, None follows the tokenizer.
            positions: whose printed logits to keep; None keeps the last position's.

        Raises:
            PositionError: no tokens, too many, or a record that the free memory does not hold.
            ModelError: a Run of another model.
        """
        if isinstance(prompt, Run):
            prompt = at_home(prompt, self)
            if bos is None and positions is None:
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
        prompts: Sequence[Prompt] | Prompt,
        *,
        bos: bool | None = None,
        budget: int = 512 * 2**20,
        job: Job | None = None,
    ) -> list[Run]:
        """Run several prompts of any lengths, batched: see :func:`.running.batch.run_many`."""
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
        """Bytes that a run of ``n_tokens`` keeps, with the logits of ``kept`` positions: see :mod:`.running.memory`."""
        return estimate(self, n_tokens, kept)


def load(
    source: Any,
    tokenizer: Any = None,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    anatomy: Anatomy | Mapping[str, Any] | None = None,
) -> Model:
    """Put a model under study.

    Args:
        source: ``"demo"`` (the small model that ships with this library), ``"demo:backup"`` or another circuit that
            was built by hand (``aw.demo.circuits`` lists them), a hub id such as ``"gpt2"``, a local folder written by
            ``save_pretrained``, a transformers model (compiled, parallel, with PEFT adapters or quantised, too), an
            nnsight model, or a Model.
        tokenizer: needed with a transformers model; otherwise the source's own. It is copied, never changed; a name is
            loaded.
        dtype: for example ``"float32"`` or ``torch.bfloat16``; None keeps the checkpoint's.
        device: for example ``"cuda"``; None leaves the model where it is.
        anatomy: paths of the model's parts, where the library does not know its family.

    Raises:
        AttribError: nothing can be loaded from ``source``.
        TokenizerError: no tokenizer.
        AnatomyError: the model is not understood well enough to explain one logit.
    """
    if isinstance(source, Model):
        return source
    name = source if isinstance(source, str) else None
    if isinstance(tokenizer, (str, Path)):
        tokenizer = read_tokenizer(str(tokenizer))
    if isinstance(source, (str, Path)):
        source, tokenizer, name = read_checkpoint(str(source), tokenizer, dtype)
    elif dtype is not None:
        raise AttribError("dtype= only applies while loading.", "Convert the model yourself: model.to(dtype).")
    elif device is not None:
        raise AttribError("device= only applies while loading.", "Move the model yourself: model.to(device).")
    if device is not None:
        move(source, device)
    return Model(source, tokenizer, name=name, anatomy=anatomy)


def _kept_positions(positions: Any, count: int) -> list[int]:
    """``positions`` of a prompt of ``count`` tokens, counted from 0."""
    given = listed(positions)
    if not given:
        raise PositionError("There are no positions to keep.", "Leave out positions= to keep the last one's logits.")
    return [counted(position, count) for position in given]
