"""Training a tuned lens: for every stream an affine map, so that the model's own last norm and unembedding read from it
what the model will print (Belrose et al. 2023, arXiv 2303.08112)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm.auto import tqdm

from ...model.parts.streams import as_one
from ...model.running.batch import together
from ...model.running.worker import Cancelled
from ...model.tracing.record import record_many
from ...words.components import whole
from ...words.errors import AttribError, said_of
from ...words.several import listed
from ...words.text import kind_of
from .files import Content, stream_names

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.running.worker import Job

#: Logits held at once, of one place.
CHUNK = 2**23
#: Samples by which the streams are whitened, and the share of a typical variance below which none counts.
WHITENED, FLOOR = 4096, 1e-4
#: Texts that the reported KL is measured on, an eighth at most; half as many others decide when to stop.
HELD_OUT = 64
#: Steps between two looks at what is held out; it stops once so many looks in a row gain less than a share of the KL.
EVERY, PATIENCE, GAIN = 25, 3, 2e-3
_BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class LensSettings:
    """What decides a tuned lens, with its model and its texts: steps of Adam, each over ``rows`` texts of at most
    ``context`` tokens; the learning rate falls to 0 in a straight line."""

    steps: int = 150
    rows: int = 8
    context: int = 64
    learning_rate: float = 1e-2
    seed: int = 0


def settings_of(steps: Any, rows: Any, context: Any, learning_rate: Any, seed: Any) -> LensSettings:
    """The settings, once it is known that they are numbers to train by.

    Raises:
        AttribError: one is none, or trains nothing.
    """
    given = {"steps": steps, "rows": rows, "context": context}
    counts = {name: counted(value, name) for name, value in given.items()}
    if type(learning_rate) not in (int, float) or not 0 < learning_rate < float("inf"):
        raise AttribError(
            f"learning_rate={learning_rate!r} trains nothing.", "Leave out learning_rate=, or give more than 0."
        )
    if (drawn := whole(seed)) is None:
        raise AttribError(f"seed={seed!r} is no whole number.", "Use 0, for example.")
    return LensSettings(**counts, learning_rate=float(learning_rate), seed=drawn)


def counted(value: Any, name: str) -> int:
    """A setting as a whole number above 0."""
    if (found := whole(value) or 0) < 1:
        raise AttribError(f"{name}={value!r} trains nothing.", f"Leave out {name}=, or give 1 or more.")
    return found


def unembed_norms(model: Model) -> list[float]:
    """The lengths of some rows of the unembedding, by which a model is known again in any dtype."""
    some = torch.linspace(0, model.vocab_size - 1, 8).long().to(model.home)
    return [float(f"{v:.5g}") for v in model.unembedding.outputs(some).float().norm(dim=-1).tolist()]


class _Split(NamedTuple):
    """Token ids that train, that decide when to stop, and that the reported KL is measured on."""

    train: list[list[int]]
    stop: list[list[int]]
    report: list[list[int]]


class _Translators:
    """h + A h + b for every place, of whitened streams: ``A = size * matrix @ root`` with what whitens as ``root``.

    All directions of a stream are then learned equally fast: those of a few huge numbers, as many models have, would
    drown the others. The start, with ``matrix`` and ``vector`` 0, is the identity.
    """

    def __init__(self, x: Float[Tensor, "place sample d_model"], linear: bool) -> None:
        places, count, width = x.shape
        self.mean = x.mean(1)
        centred = x - self.mean[:, None]
        values, vectors = torch.linalg.eigh(centred.mT @ centred / count)
        floor = (FLOOR * values.mean(1, keepdim=True)).clamp_min(1e-30)
        self.root = vectors @ (values.clamp_min(0) + floor).rsqrt()[:, :, None].mul(vectors.mT)
        self.size = x.square().mean((1, 2)).sqrt()
        self.matrix = torch.zeros(places, width, width, device=x.device)
        self.vector = torch.zeros(places, width, device=x.device)
        self.trained = [self.matrix, self.vector] if linear else [self.vector]
        for tensor in self.trained:
            tensor.requires_grad_()

    def __call__(self, i: int, h: Float[Tensor, "sample d_model"]) -> Float[Tensor, "sample d_model"]:
        white = (h - self.mean[i]) @ self.root[i]
        found: Tensor = h + self.size[i] * (white @ self.matrix[i].T + self.vector[i])
        return found

    def plain(self) -> tuple[Float[Tensor, "place d_model d_model"], Float[Tensor, "place d_model"]]:
        """(A, b) as they act on the stream itself."""
        weight = self.size[:, None, None] * (self.matrix.detach() @ self.root)
        bias = self.size[:, None] * self.vector.detach() - (weight @ self.mean[..., None])[..., 0]
        return weight, bias


class _Reader:
    """The model's last norm and unembedding in float32, as a gradient can pass them, and what its prompts gave."""

    def __init__(self, model: Model, mid: bool) -> None:
        self.model, self.mid = model, mid
        self.norm: nn.Module = model.norm(model.anatomy.final_norm).module
        unembedding = model.unembedding
        self.weight, self.bias = unembedding.rows(0, unembedding.d_in), unembedding.bias

    def logits(self, h: Float[Tensor, "sample d_model"]) -> Float[Tensor, "sample vocab"]:
        """What is read from the final stream ``h``: scale and soft cap included."""
        out: Tensor = self.norm(h) @ self.weight
        out = self.model.scaled(out if self.bias is None else out + self.bias)
        cap = self.model.softcap
        return out if cap is None else torch.tanh(out / cap) * cap

    def samples(self, rows: Sequence[list[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """(streams [place, sample, d_model], final streams [sample, d_model]) of some prompts, those of one length in
        one pass: nothing is ever padded."""
        model = self.model
        for chunk in together(model, list(enumerate(rows)), 512 * 2**20):
            found = record_many(model, [ids for _, ids in chunk])
            streams = [
                torch.cat([as_one(model, one, i).to(model.home) for one in found]) for i in range(model.n_layers + 1)
            ]
            x = [streams[0]]
            for i in range(model.n_layers):
                x += [torch.cat([one.mid(i).to(model.home) for one in found])] if self.mid else []
                x += [streams[i + 1]] if i + 1 < model.n_layers else []
            yield torch.stack(x).float(), streams[-1]

    def chunks(self, rows: Sequence[list[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """(streams, probabilities of what the model prints), as many samples at a time as :data:`CHUNK` allows."""
        size = max(1, CHUNK // self.model.vocab_size)
        for x, final in self.samples(rows):
            for start in range(0, len(final), size):
                printed = self.model.read_out(final[start : start + size])[1]
                yield x[:, start : start + size], printed.float().softmax(-1)


def _dot(p: Float[Tensor, "sample vocab"], log_q: Float[Tensor, "sample vocab"]) -> Float[Tensor, ""]:
    """The sum of p log q, in nats: in one pass, and no third tensor of this size."""
    return torch.dot(p.flatten(), log_q.flatten())


def trained(
    model: Model, texts: Any, settings: LensSettings, mid: bool, job: Job | None = None, linear: bool = True
) -> Content:
    """Translators for the streams of ``model``, with what they were trained on and their KL on texts held out.

    For every place the best that a look at the held-out texts saw is kept, whenever it was; the identity is the first.
    ``linear``: False trains the vectors alone.

    Raises:
        AttribError: too few texts, or something else than texts.
    """
    given = _texts(texts)
    split = _split(model, given, settings)
    with torch.inference_mode(False), torch.enable_grad():
        reader, places = _Reader(model, mid), stream_names(model.n_layers, mid)
        few = split.train[: max(1, WHITENED // settings.context)]
        translators = _Translators(torch.cat([x for x, _ in reader.samples(few)], 1), linear)
        best = _Best(translators, _measured(reader, translators, split.stop), places)
        why = ""
        try:
            why = _descended(reader, translators, split, settings, best, job)
        except (Cancelled, KeyboardInterrupt):  # what was found so far is kept
            why = "cancelled"
        plain = _measured(reader, None, split.report)
        best.into(translators)
        own = _measured(reader, translators, split.report)
    weight, bias = (t.cpu() for t in translators.plain())
    metadata = {
        "model_name": model.name,
        "weights_sha256": model.saes.digest(),
        "unembed_norms": unembed_norms(model),
        "texts": len(given),
        "texts_sha256": sha256("\0".join(given).encode("utf-8", "surrogatepass")).hexdigest(),
        "settings": asdict(settings),
        "steps": best.steps,
        "stopped": why,
        "held_out": len(split.report),
        "kl": _listed(own),
        "logit_lens_kl": _listed(plain),
        "progress": best.progress,
    }
    return Content(places, weight, bias, model.n_layers, metadata)


class _Best:
    """What a look at the held-out texts found best of every place, and all looks: ``[step, KL of every place]``."""

    def __init__(self, translators: _Translators, first: Float[Tensor, "place"], places: list[str]) -> None:
        self.kl, self.places, self.steps = first.clone(), places, 0
        self.matrix, self.vector = translators.matrix.detach().clone(), translators.vector.detach().clone()
        self.progress: list[list[Any]] = [[0, [round(v, 4) for v in first.tolist()]]]
        self._level, self._idle = float(first.sum()), 0

    def look(self, step: int, translators: _Translators, found: Float[Tensor, "place"]) -> bool:
        """Keep what is better; whether it is time to stop."""
        better = found < self.kl
        self.kl = torch.where(better, found, self.kl)
        self.matrix[better] = translators.matrix.detach()[better]
        self.vector[better] = translators.vector.detach()[better]
        self.progress.append([step, [round(v, 4) for v in found.tolist()]])
        gained = float(self.kl.sum()) < (1 - GAIN) * self._level
        self._level, self._idle = float(self.kl.sum()) if gained else self._level, 0 if gained else self._idle + 1
        return self._idle >= PATIENCE

    def into(self, translators: _Translators) -> None:
        """Put the best back."""
        with torch.no_grad():
            translators.matrix.copy_(self.matrix)
            translators.vector.copy_(self.vector)

    @property
    def said(self) -> str:
        """The KL of every place, for a line of progress."""
        return "KL " + ", ".join(f"{name} {v:.2f}" for name, v in zip(self.places, self.kl.tolist(), strict=True))


def _descended(
    reader: _Reader, translators: _Translators, split: _Split, chosen: LensSettings, best: _Best, job: Job | None
) -> str:
    """Train until the steps are done or nothing is gained any more; why it ended, "" for the former."""
    rng = random.Random(chosen.seed)
    optimiser = torch.optim.Adam(translators.trained, lr=chosen.learning_rate, betas=_BETAS)
    bar = tqdm(range(chosen.steps), desc="tuned lens", mininterval=1, disable=job is not None)
    for step in bar:
        if job is not None:
            job.progress(step, chosen.steps, best.said)
        for group in optimiser.param_groups:
            group["lr"] = chosen.learning_rate * (1 - step / chosen.steps)
        rows = rng.sample(split.train, min(chosen.rows, len(split.train)))
        tokens = sum(map(len, rows))
        optimiser.zero_grad(set_to_none=True)
        for x, p in reader.chunks(rows):
            for i, h in enumerate(x):
                # the entropy of p, which is what KL has beside this, has no gradient
                (-_dot(p, reader.logits(translators(i, h)).log_softmax(-1)) / tokens).backward()
        optimiser.step()
        best.steps = step + 1
        if (step + 1) % EVERY == 0 or step + 1 == chosen.steps:
            if best.look(step + 1, translators, _measured(reader, translators, split.stop)):
                return "nothing was gained any more"
            bar.set_postfix_str(best.said, refresh=False)
    if job is not None:
        job.progress(chosen.steps, chosen.steps, best.said)
    return ""


def measured(
    model: Model, texts: Any, context: int, mid: bool, translate: Callable[[int, Tensor], Tensor]
) -> tuple[int, list[float], list[float]]:
    """How many different beginnings the texts have, and over these the KL of every place through the logit lens, and
    through ``translate`` of a place's number and its streams.

    Raises:
        AttribError: something else than texts, or none.
    """
    reader, rows = _Reader(model, mid), _rows(model, _texts(texts), counted(context, "context"))
    if not rows:
        raise AttribError("There are no texts to measure on.", "Give some that it was not trained on.")
    with torch.inference_mode(False):
        plain, own = (_measured(reader, through, rows) for through in (None, translate))
    return len(rows), _listed(plain), _listed(own)


def _listed(found: Float[Tensor, "place"]) -> list[float]:
    return [round(v, 5) for v in found.tolist()]


@torch.no_grad()
def _measured(
    reader: _Reader, translate: Callable[[int, Tensor], Tensor] | None, rows: list[list[int]]
) -> Float[Tensor, "place"]:
    """Mean KL(model's output || read through its translator) of every place, in nats; None: with none."""
    total: Tensor | None = None
    for x, p in reader.chunks(rows):
        least = torch.special.entr(p).sum().double()
        read = (reader.logits(h if translate is None else translate(i, h)) for i, h in enumerate(x))
        found = torch.stack([-_dot(p, logits.log_softmax(-1)).double() - least for logits in read]).cpu()
        total = found if total is None else total + found
    assert total is not None
    return (total / sum(map(len, rows))).float()


def _texts(given: Any) -> list[str]:
    """Several texts, each once."""
    found = None if isinstance(given, str) else listed(given)
    if found is None or not all(isinstance(text, str) for text in found):
        odd = "One text" if found is None else kind_of(next(t for t in found if not isinstance(t, str)), start=True)
        raise AttribError(f"{odd} is no list of texts.", 'Give many: aw.TunedLens.train(model, ["...", "..."]).')
    return list(dict.fromkeys(found))


def _rows(model: Model, texts: list[str], context: int) -> list[list[int]]:
    """The beginnings of the texts as token ids, each once."""
    rows, longest = [], min(context, model.max_positions or context)
    for number, text in enumerate(texts):
        with said_of(f"Text {number}"):
            rows.append(tuple(model.encode(text)[:longest]))
    return [list(ids) for ids in dict.fromkeys(rows)]


def _split(model: Model, texts: list[str], chosen: LensSettings) -> _Split:
    """The beginnings of the texts as token ids, shuffled and divided."""
    rows = _rows(model, texts, chosen.context)
    random.Random(chosen.seed).shuffle(rows)
    held = min(HELD_OUT, len(rows) // 8)
    if not held:
        raise AttribError(
            f"{len(rows)} different texts are too few for a lens: some are held out to measure it.",
            "Give 8 or more; it takes a few hundred.",
        )
    stop = held + (held + 1) // 2
    return _Split(rows[stop:], rows[held:stop], rows[:held])
