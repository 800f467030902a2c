"""Dictionaries that other libraries have loaded: a ``sae_lens.SAE``, a ``SparseCoder``, whatever encodes and decodes.

What is known of a library is read like its files. Of anything else what can be asked is asked: whether each activation
is encoded by itself, whether what is decoded is linear in the activations, without which contributions do not add up,
and whether a call is the two after each other. The matrix is then found, and the encoder called as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..words.errors import AttribError
from ..words.places import Place, PlaceLike, dictionary_place
from ..words.text import kind_of
from .formats import read_sae as read_folder
from .formats import saelens, sparsify
from .formats.files import single
from .hub import fetched
from .sae import SAE

#: Names under which libraries keep the width of what is read.
_WIDTHS = ("d_in", "activation_dim", "d_model", "act_size", "input_dim")
#: Activations that are decoded at once where the matrix has to be asked for, and features of which it may have.
BLOCK, MOST = 1024, 2**17
#: How far from linear what is decoded may be, as a share of its size: what float32 (or a narrower type) rounds away.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
_COARSE = 2e-2


def is_loaded(given: Any) -> bool:
    """Whether an object encodes and decodes."""
    return not isinstance(given, SAE | str | Path) and all(
        callable(getattr(given, n, None)) for n in ("encode", "decode")
    )


def read_sae(given: Any, site: PlaceLike | None = None, scale: float | None = None, *, download: bool = False) -> SAE:
    """Read a dictionary in any format that is known here, or take one that another library has loaded.

    Args:
        given: the folder with its files, or one that holds just one such folder at any depth (of several the one for
            ``site``); a file that is a dictionary by itself; a ``sae_lens.SAE``, or any object with ``encode`` and
            ``decode``.
        site: the place that it reads, for a format or a folder that does not say; whatever its files say.
        scale: what activations were multiplied by before it was trained on them, where its files say that they were
            and not by what (``normalize_activations: expected_average_only_in`` of SAELens). It is folded into the
            weights.
        download: fetch a folder or a file of the Hugging Face hub, given as ``"owner/name/folder"``, unless there is
            one of that name on this machine. Nothing is fetched without it.

    Raises:
        AttribError: no such folder, no known format, files that are broken or contradict each other, a setting that
            is not read here, or an object whose arithmetic does not add up.
    """
    if download and isinstance(given, str) and not (given and Path(given).expanduser().exists()):
        given = fetched(given)
    if not is_loaded(given):
        return read_folder(given, site, scale)
    if scale is not None:
        raise AttribError(f"{kind_of(given, start=True)} was loaded as it is.", f"Leave out scale = {scale!r}.")
    return of_object(given, None if site is None else dictionary_place(site))


def of_object(given: Any, site: Place | None = None) -> SAE:
    """The dictionary of an object.

    Raises:
        AttribError: a setting that is not read here, or arithmetic that does not add up.
    """
    name = Path(type(given).__name__)  # takes the part of the folder in what is said of settings
    config = _config(given)
    state = _state(given)
    if config is not None and "architecture" in config and "W_dec" in state:
        return _own(site, lambda place: saelens.of_object(dict(config), dict(state), place, name))
    if config is not None and "num_latents" in config and "encoder.weight" in state:
        config.setdefault("d_in", state["encoder.weight"].shape[-1])
        return _own(site, lambda place: sparsify.of_object(config, state, place, name))
    if site is None:
        raise AttribError(
            f"{kind_of(given, start=True)} does not say where it reads.", 'Say it: aw.read_sae(sae, site="L8.mlp").'
        )
    return _asked(given, site, state)


def _own(site: Place | None, read: Callable[[Place | None], SAE]) -> SAE:
    """With the place that it names itself, and its coordinates, where that is the one that is asked for."""
    try:
        found = read(None)
    except AttribError:
        if site is None:
            raise
        return read(site)
    return found if site in (None, found.site, found.target) else read(site)


def _config(given: Any) -> dict[str, Any] | None:
    """The settings of an object, by name."""
    config = getattr(given, "cfg", None)
    made = getattr(config, "to_dict", None)
    if not callable(made):
        return None
    found = made()
    if not isinstance(found, Mapping):
        return None
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in found.items()}


def _state(given: Any) -> dict[str, Tensor]:
    """Its tensors of floating point numbers, in float32 and finite."""
    made = getattr(given, "state_dict", None)
    found = made() if callable(made) else vars(given) if hasattr(given, "__dict__") else {}
    name = Path(type(given).__name__)
    return {
        key: single(value.detach().cpu(), key, name)
        for key, value in found.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }


def _asked(given: Any, site: Place, state: dict[str, Tensor]) -> SAE:
    """A dictionary of which only what it does is known."""
    width = _width(given, state)
    tensor = next((t for t in _parameters(given)), None)
    dtype, device = (torch.float32, torch.device("cpu")) if tensor is None else (tensor.dtype, tensor.device)

    def called(function: Callable[[Tensor], Any], x: Tensor) -> Tensor:
        with torch.no_grad():
            found = function(x.to(device, dtype))
        if not isinstance(found, Tensor):
            raise _refused(given, f"{function.__name__} returns {kind_of(found)}, no tensor")
        dense: Tensor = found.to_dense() if found.layout != torch.strided else found
        return dense.detach().float().cpu()

    def encode(x: Tensor) -> Tensor:
        found = called(given.encode, x.reshape(-1, width))
        return found.reshape(*x.shape[:-1], found.shape[-1])

    def decode(values: Tensor) -> Tensor:
        return called(given.decode, values)

    slack = TOLERANCE.get(dtype, _COARSE)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, width, generator=generator)
    try:
        active: Tensor = called(given.encode, x)
        if active.ndim != 2 or len(active) != len(x):
            raise _refused(given, f"encode returns {list(active.shape)} for {list(x.shape)}")
        alone = torch.cat([encode(row[None]) for row in x])
        if not _close(active, alone, slack):
            raise _refused(given, "encode returns something else for an activation alone than among others")
        bias, w_dec = _linear(given, encode, decode, active, x, state, slack)
        whole = _call(given, x.to(device, dtype))
        if whole is not None and whole.shape == (len(x), len(bias)) and not _close(whole, decode(active), slack):
            raise _refused(given, "a call of it gives more than decode(encode(x)), as a skip connection does")
    except AttribError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as reason:  # what torch says of shapes and devices
        said = f"{type(reason).__name__}: {reason}".splitlines()[0].removesuffix(": ")
        raise _refused(given, f"calling it ended in {said[:140]}") from reason
    blank = torch.zeros(1)
    return SAE(
        site,
        "given",
        blank.expand(width, len(w_dec)),
        blank.expand(len(w_dec)),
        w_dec,
        bias,
        subtract=False,
        encoder=encode,
    )


def _call(given: Any, x: Tensor) -> Tensor | None:
    """What it gives when it is called: a skip connection may stand in neither half. None where that is no tensor."""
    if not callable(given):
        return None
    try:
        with torch.no_grad():
            found = given(x)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError):  # a call asks for other things
        return None
    first = found[0] if isinstance(found, tuple) and found else found
    return first.detach().float().cpu() if isinstance(first, Tensor) else None


def _linear(
    given: Any,
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    active: Float[Tensor, "row feature"],
    x: Float[Tensor, "row d_in"],
    state: dict[str, Tensor],
    slack: float,
) -> tuple[Float[Tensor, "d_out"], Float[Tensor, "feature d_out"]]:
    """(bias, matrix) of what is decoded.

    Raises:
        AttribError: it is not linear in the activations, or depends on what was encoded before, or on more features
            than can be asked for.
    """
    features = active.shape[-1]
    bias = decode(torch.zeros(1, features))[0]
    if bias.shape != x.shape[1:]:
        raise _refused(given, f"it reads {x.shape[1]} numbers and decodes to {list(bias.shape)}")
    few = torch.rand(6, features, generator=torch.Generator().manual_seed(1))
    first = decode(few)
    encode(100 * x[:1] + 7)
    if not _close(first, decode(few), slack):
        raise _refused(given, "what it decodes depends on what it encoded before, as where it undoes a norm")
    asked = torch.randint(features, (min(8, features),), generator=torch.Generator().manual_seed(2)).unique()
    rows = decode(torch.eye(features)[asked] if features <= BLOCK else _units(asked, features)) - bias
    for matrix in _matrices(state, features, len(bias)):
        if _close(matrix[asked], rows, slack):
            w_dec = matrix
            break
    else:
        if features > MOST:
            raise _refused(
                given, f"none of its tensors is its decoder, and {features} features are too many to ask for"
            )
        blocks = torch.arange(features).split(BLOCK)
        w_dec = torch.cat([decode(_units(block, features)) - bias for block in blocks])
    if not _close(few @ w_dec + bias, first, slack) or not _close(active @ w_dec + bias, decode(active), slack):
        raise _refused(given, "what it decodes is not linear in the activations")
    return bias, w_dec


def _units(which: Tensor, features: int) -> Tensor:
    """Activations in which one feature fires at 1."""
    return torch.zeros(len(which), features).scatter_(1, which[:, None], 1.0)


def _matrices(state: dict[str, Tensor], features: int, width: int) -> Iterator[Tensor]:
    """Tensors that may be the decoder, as [feature, d_out]."""
    for t in state.values():
        if t.shape == (features, width):
            yield t
        if t.shape == (width, features):
            yield t.T


def _width(given: Any, state: dict[str, Tensor]) -> int:
    """How many numbers it reads.

    Raises:
        AttribError: neither it nor its matrices say so.
    """
    for owner in (given, getattr(given, "cfg", None), getattr(given, "config", None)):
        for name in _WIDTHS:
            value = owner.get(name) if isinstance(owner, Mapping) else getattr(owner, name, None)
            if type(value) is int and value > 0:
                return value
    matrices = [t for t in state.values() if t.ndim == 2]
    if matrices and min(matrices[0].shape) < max(matrices[0].shape):
        return min(matrices[0].shape)
    raise _refused(given, f"it does not say how many numbers it reads, under none of the names {', '.join(_WIDTHS)}")


def _parameters(given: Any) -> Iterator[Tensor]:
    made = getattr(given, "parameters", None)
    found = made() if callable(made) else getattr(given, "__dict__", {}).values()
    return (t for t in found if isinstance(t, Tensor) and t.is_floating_point())


def _close(a: Tensor, b: Tensor, slack: float) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= slack * (1 + b.abs().max()))


def _refused(given: Any, why: str) -> AttribError:
    return AttribError(
        f"{kind_of(given, start=True)} cannot be used as a dictionary: {why}.",
        "It needs encode(x) -> activations and decode(activations) -> x, an activation at a time, the second linear.",
    )
