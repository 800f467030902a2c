"""The tuned lens: what would be predicted if the model stopped after a layer, read through a small affine map that was
trained for that layer (Belrose et al. 2023, arXiv 2303.08112), so that an early stream is read in its own coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...model.model import load
from ...model.parts.streams import one_stream
from ...model.running.memory import readable
from ...result import Result, Table
from ...saes.fit import another
from ...saes.folders import TEXTS, read_texts
from ...saes.formats import local
from ...words.errors import AttribError, GranularityError, ModelError
from ...words.text import enumerated, kind_of, number
from .files import FILE, Content, read, stream_names, write
from .training import LensSettings, measured, settings_of, trained, unembed_norms

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model
    from ...model.running.worker import Job

_TRAIN = "Train one: aw.TunedLens.train(model, texts)."


@dataclass(eq=False, repr=False)
class TunedLens(Result):
    """Translators h + A h + b for the streams of one model; its last norm and unembedding read what they give.

    ``aw.logit_lens(run, " Paris", lens=tuned)`` reads through them. The stream behind the last layer has none: that is
    the model's own output, always. ``model.lens`` is the one that lies beside a model's weights, or was put there; the
    Explorer shows it beside the logit lens.

    Attributes:
        places: the streams that it reads: ``"embed"`` (before layer 0), ``"L0.post"``, and, where it was trained for
            them, ``"L0.mid"`` (between attention and MLP).
        weight, bias: A and b of every place, float32; A maps ``h`` as ``A @ h``.
        n_layers: of its model.
        metadata: whose it is (``model_name``, ``weights_sha256``, or the ``unembed_hash`` of a published one), what it
            was trained on, and ``kl`` beside ``logit_lens_kl``: KL(model's output || lens) of every place in nats, over
            texts that neither trained it nor decided when to stop, or that were ``given`` later.
    """

    places: list[str]
    weight: Float[Tensor, "place d_model d_model"]
    bias: Float[Tensor, "place d_model"]
    n_layers: int
    metadata: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def identity(model: Model | str, mid: bool = False) -> TunedLens:
        """The lens before any training, A = 0 and b = 0: it reads what the logit lens reads."""
        model = load(model)
        places, d = stream_names(model.n_layers, mid), model.d_model
        return TunedLens(places, torch.zeros(len(places), d, d), torch.zeros(len(places), d), model.n_layers)

    @staticmethod
    def train(
        model: Model | str,
        texts: Sequence[str] | None = None,
        *,
        steps: int = LensSettings.steps,
        seed: int = LensSettings.seed,
        mid: bool = False,
        rows: int = LensSettings.rows,
        context: int = LensSettings.context,
        learning_rate: float = LensSettings.learning_rate,
        job: Job | None = None,
    ) -> TunedLens:
        """Train one: KL(model's output || lens) falls at every place by Adam, from the identity on.

        Everything is computed in float32; prompts of equal length share a pass, and none is padded. An eighth of the
        texts (64 at most) gives the reported KL, half as many others decide when nothing is gained any more. The same
        model, texts and settings give the same lens on one machine.

        Args:
            model: the model whose streams are read.
            texts: a few hundred, of the kind that will be asked about; None takes those beside the model's
                dictionaries (the embedded model has 2,000).
            steps: at most; it stops where nothing is gained any more.
            seed: of the shuffling of the texts.
            mid: also for the streams between attention and MLP, at twice the price.
            rows, context: each step takes so many texts, and of each so many tokens from its beginning at most.
            learning_rate: at first; it falls to 0.
            job: told the steps, with the KL of every place on held-out texts, and asked whether to stop; without one a
                bar shows the same. Once it is cancelled, or the cell is interrupted, the best so far is returned.

        Raises:
            AttribError: no texts, too few, or a setting below 1.
            GranularityError: ``mid`` of a model whose layers have no such stream.
        """
        settings, model = settings_of(steps, rows, context, learning_rate, seed), load(model)
        if mid:
            refuse_without_mid(model)
        return _made(trained(model, _beside(model) if texts is None else texts, settings, mid, job))

    @staticmethod
    def load(source: str | Path, model: Model | None = None) -> TunedLens:
        """Read one: the file that :meth:`save` wrote (or the folder it is in), or a folder with the ``config.json`` and
        ``params.pt`` of the tuned-lens package, whose number i reads the stream before layer i.

        Weights alone are read: nothing in a file is run. A published lens was made for logits without a soft cap; here
        the cap is applied to what is read, as the model does.

        Args:
            source: file or folder.
            model: where given, a lens of another model is refused here already; ``aw.logit_lens`` does so anyway.

        Raises:
            AttribError: there is none, or it cannot be read as it stands; ModelError: it is not one of ``model``.
        """
        found = _made(read(local(source)))
        if model is not None:
            found.check(model)
        return found

    def save(self, target: str | Path, dtype: torch.dtype = torch.float32) -> Path:
        """Write it to a ``.safetensors`` file, or into a folder (beside a model's weights it becomes ``model.lens``);
        where it went. In float32 what is loaded again is the same bit by bit."""
        return write(Content(self.places, self.weight, self.bias, self.n_layers, self.metadata), Path(target), dtype)

    def measured(self, model: Model, texts: Sequence[str], *, context: int = LensSettings.context) -> TunedLens:
        """The same lens with its KL, and the logit lens's, measured on texts of yours (a published one comes without).

        Raises:
            AttribError: no texts; ModelError: it is another model's.
        """
        self.check(model)
        mid = any(name.endswith(".mid") for name in self.places)
        count, plain, own = measured(
            model, texts, context, mid, lambda i, h: self.translate([self.places[i]], h[None])[0]
        )
        found = {**self.metadata, "held_out": count, "given": True, "logit_lens_kl": plain, "kl": own}
        return replace(self, metadata=found)

    def translate(
        self, places: Sequence[str], x: Float[Tensor, "place *shape d_model"]
    ) -> Float[Tensor, "place *shape d_model"]:
        """Streams as the last norm shall read them, in their own dtype; computed in float32.

        Raises:
            AttribError: a place that it has no translator for.
        """
        if missing := [name for name in places if name not in self.places]:
            mids = all(name.endswith(".mid") for name in missing)
            how = "Train one that has: aw.TunedLens.train(model, texts, mid=True)." if mids else _TRAIN
            raise AttribError(f"This tuned lens has no translator for {enumerated(missing, 3)}.", how)
        translated = []
        for name, h in zip(places, x, strict=True):
            i, wide = self.places.index(name), h.float()
            weight, bias = self.weight[i].to(h.device), self.bias[i].to(h.device)
            translated.append((wide + (wide @ weight.T + bias)).to(h.dtype))
        return torch.stack(translated)

    def reads(self, places: Sequence[str]) -> bool:
        """Whether it has a translator for all of these."""
        return set(places) <= set(self.places)

    def check(self, model: Model) -> None:
        """Let pass a model that it can be one of.

        Raises:
            ModelError: the model has another width or number of layers, or the lens says that it is another's.
        """
        for what, own, others in (
            ("numbers wide", self.weight.shape[-1], model.d_model),
            ("layers deep", self.n_layers, model.n_layers),
        ):
            if own != others:
                raise ModelError(
                    f"The tuned lens is for a model {own} {what}, and {model.name} is {others} {what}.", _TRAIN
                )
        whose = another(model, self.metadata, model.saes.digest)
        hashed, norms = self.metadata.get("unembed_hash"), self.metadata.get("unembed_norms")
        if not whose and hashed and hashed not in unembed_hashes(model):
            whose = f"{self.metadata.get('model_name', 'a model')} with another unembedding"
        if not whose and norms and not _near(norms, unembed_norms(model)):
            whose = f"{self.metadata.get('model_name') or 'a model'} with another unembedding"
        if whose:
            raise ModelError(
                f"The tuned lens was trained on {whose}, and this is {model.name}.",
                f"{_TRAIN} If it fits all the same, say so: dataclasses.replace(lens, metadata={{}}).",
            )

    @property
    def given(self) -> bool:
        """Whether its KL is on texts that were given to :meth:`measured`: nobody knows whether these were held out."""
        return bool(self.metadata.get("given"))

    def kl_of(self, name: str) -> tuple[float, float] | None:
        """(KL through the logit lens, KL through this one) of a place on held-out texts; None where nobody measured."""
        own, plain = self.metadata.get("kl"), self.metadata.get("logit_lens_kl")
        if not own or not plain or name not in self.places:
            return None
        i = self.places.index(name)
        return float(plain[i]), float(own[i])

    # -- showing -------------------------------------------------------------------------------------------
    def title(self) -> str:
        """Whose it is, and what it gained over all places, in one line."""
        name = self.metadata.get("model_name")
        found = f"Tuned lens of {name}" if name else "A tuned lens"
        measured = [kl for place in self.places if (kl := self.kl_of(place))]
        if not measured:
            return f"{found}: {len(self.places)} streams, nobody measured it here"
        plain, own = (sum(column) / len(measured) for column in zip(*measured, strict=True))
        return f"{found}: {number(own)} nats from the model's output in the mean, {number(plain)} by the logit lens"

    def summary(self) -> Table:
        rows, bars = [], list[float | None]()
        for place in reversed(self.places):  # layers upwards, as on the page
            measured = self.kl_of(place)
            rows.append([place, *(("", "") if measured is None else map(number, measured))])
            bars.append(None if measured is None else measured[1])
        told = self.metadata
        steps = f", {told['steps']} steps" if "steps" in told else ""
        trained_on = f"Trained on {told['texts']} texts{steps}" if "texts" in told else ""
        why = f"; it ended because {told['stopped']}" if told.get("stopped") else ""
        why = why.replace("because cancelled", "when it was cancelled, with the best so far")
        note = f"{trained_on}{why}" if trained_on else ""
        if "held_out" in told:
            kind = "texts that were given later" if self.given else "other texts" if note else "texts"
            note = "; ".join([*filter(None, [note]), f"{told['held_out']} {kind} give the KL."])
        columns = ["stream", "KL by the logit lens", "KL by this lens"]
        footer = f"nats; {readable(4 * (self.weight.numel() + self.bias.numel()))} in memory"
        return Table(self.title(), columns, rows, bars, note, footer)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per stream: its place and the two held-out KLs in nats."""
        import pandas as pd

        rows = [(place, *(self.kl_of(place) or (float("nan"),) * 2)) for place in self.places]
        return pd.DataFrame(rows, columns=["place", "logit_lens_kl", "kl"])


def _made(content: Content) -> TunedLens:
    return TunedLens(*content)


def of(model: Model) -> TunedLens | None:
    """The lens that lies beside a model's weights; None where none does.

    Raises:
        AttribError: it cannot be read, or is another model's.
    """
    file = None if model.folder is None else model.folder / FILE
    return TunedLens.load(file, model) if file is not None and file.is_file() else None


def refuse_without_mid(model: Model) -> None:
    """Between attention and MLP there is a stream in every layer.

    Raises:
        GranularityError: there is none, or it is not known.
    """
    one_stream(model, "between attention and MLP there is one of them alone", "Leave out mid=.")
    if model.parallel:
        raise GranularityError(
            f"Attention and MLP of {model.name} read the same stream: there is none between them.", "Leave out mid=."
        )
    whole = next((i for i in range(model.n_layers) if not model.level(i).sublayers), None)
    if whole is not None:
        raise GranularityError(
            f"Layer {whole} of {model.name} is read as a whole: the stream after its attention is not known.",
            "Leave out mid=.",
        )


def refuse_no_lens(given: Any) -> None:
    """Nothing where ``given`` is a tuned lens.

    Raises:
        AttribError: it is none.
    """
    if not isinstance(given, TunedLens):
        raise AttribError(f"{kind_of(given, start=True)} is no tuned lens.", "Read it: aw.TunedLens.load(path).")


def _near(one: Any, other: list[float]) -> bool:
    """Whether two lists of lengths are of the same rows, up to the rounding of a dtype."""
    return isinstance(one, list) and len(one) == len(other) and bool(np.allclose(one, other, rtol=0.02))


def unembed_hashes(model: Model) -> set[str]:
    """How the tuned-lens package may know this unembedding: SHA-256 of what numpy prints of it with one digit, in the
    types that it may have been loaded in. (Of a large matrix numpy prints the corners: others may share them.)"""
    weight = model.unembed_weight.T.detach().cpu()
    with np.printoptions(threshold=1000, edgeitems=3, linewidth=75, suppress=False, sign="-", floatmode="maxprec"):
        printed = [np.array_str(weight.to(dtype).numpy(), precision=1) for dtype in (torch.float32, torch.float16)]
    return {sha256(text.encode()).hexdigest() for text in printed}


def _beside(model: Model) -> list[str]:
    """The texts beside the dictionaries of a model.

    Raises:
        AttribError: there are none.
    """
    file = None if model.saes.folder is None else model.saes.folder / TEXTS
    if file is None or not file.is_file():
        raise AttribError(
            f"{model.name} comes without texts to train on.",
            'Give a few hundred like those that are asked about: aw.TunedLens.train(model, ["...", "..."]).',
        )
    return read_texts(file)
