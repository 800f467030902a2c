"""A model under study, which may change meanwhile: passes that leave it as it was, and what is remembered of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from ...words.errors import ModelError
from .stamp import Key, Stamp, changes, is_of, modules_of, named, stamp_of, weight_keys, writable

if TYPE_CHECKING:
    from ..run import Run

T = TypeVar("T")

# nnsight's engine is not thread-safe, also across wrappers of one module: every forward takes this lock.
FORWARD_LOCK = threading.RLock()


class Studied:
    """A transformers model that others may train or edit while it is studied; what its parts are it does not know.

    Attributes:
        hf: the transformers model, untouched.
        lock: the lock that every forward pass takes.
    """

    def __init__(self, hf: nn.Module, name: str | None = None) -> None:
        self.hf = hf
        self.name = name or str(getattr(hf, "name_or_path", "") or type(hf).__name__)
        self.lock = FORWARD_LOCK
        self._quiet = 0  # how many blocks of :meth:`quiet` are open, under the lock
        self._cache: dict[Any, tuple[Any, Any]] = {}
        self._stamp: Stamp = {}
        self._settled: Stamp | None = None  # what the model was when it was last checked
        self._moving: set[Key] = set()  # what the model itself writes to while it runs, a rotary table say
        self._facts: dict[Any, Any] = {}
        self._of_runs: WeakKeyDictionary[Run, dict[Any, Any]] = WeakKeyDictionary()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Hold the lock, without gradients and in eval mode; training flags are put back afterwards.

        Also inside ``torch.inference_mode``, whose tensors no later gradient could pass. One inside another finds the
        model quiet already.
        """
        with self.lock, torch.inference_mode(False), torch.no_grad():
            training = [] if self._quiet else [m for _, m in modules_of(self.hf) if m.training]
            for module in training:
                module.training = False
            self._quiet += 1
            try:
                yield
            finally:
                self._quiet -= 1
                for module in training:
                    module.training = True

    def _kept(self, key: Any, stamp: Any, compute: Callable[[], T]) -> T:
        """``compute()``, remembered until ``stamp`` is another (a training step, say)."""
        if self._cache.get(key, (None,))[0] != stamp:
            self._cache[key] = (stamp, compute())
        found: T = self._cache[key][1]
        return found

    def stamp(self) -> Stamp:
        """What the model is now (see :mod:`.stamp`); the last call's very object while nothing changes."""
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
        moved = changes(before, self.stamp())
        weights = weight_keys(self.hf) if moved else set()
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
