"""Where in a model a place is: one table, in the order of execution, for everything that reads or writes.

A :class:`Port` is one end of one module of a layer. Recording, sweeping, differentiating and hooking walk
:func:`table`; what is special about a family stands in it once. To add a site, add a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ...words.errors import AnatomyError, AttribError, ComponentError
from ..anatomy.anatomy import AltUp, Anatomy, Mixer
from ..anatomy.lookup import below, find, path_of
from ..parts.streams import one_stream

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from ..model import Model
    from ..network import Network


@dataclass(frozen=True)
class Port:
    """One end of one module of a layer, where the tensor of a site passes.

    Attributes:
        site: as in :data:`...words.places.SITES`, or one of the three of :func:`table` that have no such name.
        path: of the module in the layer; ``""`` is the layer itself.
        end: ``"input"`` or ``"output"``.
        written: whether a write changes what the model goes on with. A fused projection has no output of its own for
            queries, keys and values; the others only look.
        held: the layer keeps the very tensor as its stream: a write changes it in place, beside the module's input.
        aside: the tensor may be the stream itself: what only this module reads of it is a view.
        stacked: several streams in front of the batch, which pass side by side as one wide stream.
    """

    site: str
    path: str
    end: str
    written: bool = True
    held: bool = False
    aside: bool = False
    stacked: bool = False

    def of(self, layer: Any) -> Any:
        """The module in ``layer``, or the envoy in its envoy."""
        if not self.path:
            return layer
        if isinstance(layer, nn.Module):
            return find(layer, self.path)
        return layer.get(path_of(layer._module, self.path) if "|" in self.path else self.path)

    def exists(self, layer: Any) -> bool:
        """Whether this layer has the module (the layers of a model may differ)."""
        return not self.path or find(getattr(layer, "_module", layer), self.path) is not None

    # -- in a trace: reads and writes must follow the order of the table -----------------------------------------
    def get(self, block: Any) -> Tensor:
        """The tensor that passes here in a trace; ``block`` is the envoy of a layer."""
        return self._out(tensor_of(getattr(self.of(block), self.end)))

    def put(self, block: Any, value: Tensor) -> None:
        """Let the model go on with ``value``."""
        envoy = self.of(block)
        if self.held:
            self.get(block).copy_(value)
        else:
            before = getattr(envoy, self.end)
            setattr(envoy, self.end, with_tensor(before, self._in(value, tensor_of(before))))

    def _out(self, tensor: Tensor) -> Tensor:
        """What passes, in front of it the batch."""
        return tensor.movedim(0, -2).flatten(-2) if self.stacked else tensor

    def _in(self, tensor: Tensor, before: Tensor) -> Tensor:
        """The opposite, for a tensor in the place of ``before``."""
        return tensor.unflatten(-1, (len(before), -1)).movedim(-2, 0) if self.stacked else tensor

    def given(self, block: Any) -> dict[str, Any]:
        """What the module is given by name."""
        named: dict[str, Any] = self.of(block).inputs[1]
        return named

    def give(self, block: Any, named: dict[str, Any]) -> None:
        """Put ``named`` in place of what the module is given by these names."""
        envoy = self.of(block)
        args, before = envoy.inputs
        envoy.inputs = (args, {**before, **named})

    # -- outside a trace ------------------------------------------------------------------------------------------
    def hook(self, layer: nn.Module, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
        """A plain torch hook that lets ``layer`` go on with ``change`` of what passes here."""
        module = self.of(layer)
        if module is None:
            raise AnatomyError(f"{type(layer).__name__} has no module {self.path!r}.")

        def before(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
            if args:
                return (changed(args[0]), *args[1:]), named
            name, value = next(iter(named.items()))
            return args, {**named, name: changed(value)}

        def after(_: nn.Module, __: Any, output: Any) -> Any:
            return changed(output)

        def changed(value: Any) -> Any:
            passes = tensor_of(value)
            out = self._out(passes)
            found = change(out)
            if found is out:
                return value
            if self.held:  # beside the module, the layer goes on with this tensor as its stream
                return with_tensor(value, passes.copy_(self._in(found, passes)))
            return with_tensor(value, self._in(found, passes))

        if self.end == "input":
            handle: RemovableHandle = module.register_forward_pre_hook(before, with_kwargs=True)
        else:
            handle = module.register_forward_hook(after)
        return handle


def tensor_of(value: Any) -> Tensor:
    """The hidden states among what a module is given or gives, which some wrap in a tuple."""
    found: Tensor = value[0] if isinstance(value, tuple) else value
    return found


def with_tensor(value: Any, tensor: Tensor) -> Any:
    """``value`` with other hidden states, wrapped as they were."""
    return (tensor, *value[1:]) if isinstance(value, tuple) else tensor


PRE = Port("pre", "", "input")  # of the final norm as of a layer: what enters it
POST = Port("post", "", "output")


def ending(model: Network) -> tuple[Any, Port]:
    """(module, port) in a trace where what the final norm reads passes: its input, or the output of the last layer in
    a model that calls its norm before the layers as well."""
    if model.between.calls == 1:
        return model.traced.get(model.anatomy.final_norm), PRE
    return model.traced.get(model.anatomy.layers)[model.n_layers - 1], POST


#: No port: what a layer adds to the stream as a whole, between the stream before it and the one behind it.
WRITE = "layer"
#: Sites that are replaced where there is one stream alone, which is all that a layer reads and writes.
ONE_STREAM = ("mid", WRITE)


@lru_cache(maxsize=256)
def table(anatomy: Anatomy, is_parallel: bool, mixer: Mixer | None = None) -> tuple[Port, ...]:
    """The ports of a layer, in the order in which it runs them; of one that has a ``mixer`` in place of attention.

    Beside the sites of :mod:`...words.places`: ``"attn_added"`` and ``"mlp_added"`` are what becomes of a sublayer's
    output before it is added to the stream (a multiplier apart): behind its post-norm where there is one, else the
    output itself. ``"entered"`` is the output of the MLP's input projection. There is no ``"mid"`` where attention
    and MLP read the same stream. Of several streams ``"pre"`` is all of them side by side, ``"predict"`` and
    ``"correct"`` are the coefficients by which the layer mixes them, and ``"active"`` is the one that attention reads.
    """
    a = anatomy
    if a.attn is None or a.attn_out is None or a.mlp is None:  # a model of which whole layers are known
        return PRE, POST
    # A family without a module for the whole MLP names its last projection: it reads at its first.
    mlp_in = a.mlp_in if a.mlp == a.mlp_down and a.mlp_in else a.mlp
    writer = a.mlp_output or a.mlp
    first = [Port("beside", a.beside.path, "output")] if a.beside and a.beside.first else []
    start = [PRE]
    if a.altup is not None and a.attn_norm is not None:
        start = [*_mixed(a.altup, a.attn_norm), Port("laurel", a.altup.laurel.path, "output")]
    rows = [*start, *first, Port("attn_in", mixer.path if mixer else a.attn, "input", aside=True)]
    if a.qkv is not None and mixer is None:
        rows += [Port(which, below(a.attn, getattr(a.qkv, which)), "output", written=False) for which in "qkv"]
    rows += [] if mixer else [Port("z", a.attn_out, "input")]
    gives = mixer.path if mixer else a.attn_out
    rows += [Port("attn", gives, "output"), Port("attn_added", a.attn_post_norm or gives, "output")]
    if not is_parallel:
        rows += [Port("mid", a.mlp_norm or mlp_in, "input", written=a.altup is None, held=True)]
    rows += [Port("mlp_in", mlp_in, "input", aside=True)]
    if a.mlp_in:
        rows += [Port("entered", a.mlp_in, "output", written=False)]
    if a.mlp_down:
        rows += [Port("neuron", a.mlp_down, "input")]
    end = "input" if writer.startswith("<") else "output"
    writer = writer.removeprefix("<")
    rows += [Port("mlp", writer, end), Port("mlp_added", a.mlp_post_norm or writer, "output")]
    rows += [] if a.altup is None else [Port("correct", a.altup.correct, "output")]
    rows += [Port("beside", a.beside.path, "output")] if a.beside and not a.beside.first else []
    return (*rows, POST)


def _mixed(altup: AltUp, norm: str) -> list[Port]:
    """What a layer reads of several streams: all of them, how they are mixed, and the active one behind that."""
    return [
        Port("pre", "", "input", aside=True, stacked=True),
        Port("predict", altup.predict, "output"),
        Port("active", norm, "input", written=False),
    ]


def ports(model: Network, layer: int | None = None) -> tuple[Port, ...]:
    """The table of ``model``; that of a ``layer``: its two ends where it can be read as a whole only."""
    if layer in model.unread:
        altup, norm = model.anatomy.altup, model.anatomy.attn_norm
        if altup is None or norm is None:
            return PRE, POST
        return (*_mixed(altup, norm), Port("correct", altup.correct, "output"), POST)
    return table(model.anatomy, model.parallel, None if layer is None else model.mixer(layer))


def port(model: Model, site: str, layer: int | None = None) -> Port:
    """The port of one site; of a ``layer`` that has another mixer, its own.

    Raises:
        ComponentError: the layers of this model have no such site.
    """
    rows = ports(model)
    own = table(model.anatomy, model.parallel, model.mixer(layer)) if layer is not None else ()
    found = next((row for row in (*own, *rows) if row.site == site), None)
    if found is None:
        raise ComponentError(
            f"The layers of {model.name} have no {site!r}.", f"They have {', '.join(row.site for row in rows)}."
        )
    return found


def place(site: str, layer: int) -> tuple[str, int]:
    """The one spelling of a place: ``"stream"`` is ``"pre"``, and behind a layer is before the next."""
    if site == "post":
        return "pre", layer + 1
    return ("pre" if site == "stream" else site), layer


def require(model: Model, places: Iterable[tuple[str, int]], *, written: bool = False) -> None:
    """All of ``places`` can be read here, or with ``written`` be written.

    Raises:
        ComponentError: one of them cannot.
        GranularityError: a stream would be written to, of a model that carries several.
    """
    for site, layer in places:
        if not 0 <= layer <= model.n_layers - (site != "pre"):
            raise ComponentError(f"{model.name} has no layer {layer}.", f"Its layers are 0 to {model.n_layers - 1}.")
        if written and site in ONE_STREAM:
            one_stream(model, "no one of them is all that a layer reads or writes, so none is replaced")
        if site == WRITE:
            continue
        row = port(model, site, layer if layer < model.n_layers else None)
        if layer in model.unread and row not in ports(model, layer):
            raise ComponentError(f"Layer {layer} of {model.name} has no {site!r}: {model.unread[layer]}.")
        if layer < model.n_layers and row not in ports(model, layer) and (mixer := model.mixer(layer)):
            raise ComponentError(f"Layer {layer} of {model.name} has no {site!r}: its mixer is {mixer.name}.")
        if layer < model.n_layers and not row.exists(model.layer(layer)):
            raise ComponentError(f"Layer {layer} of {model.name} has no {site!r}: it has no {row.path}.")
        if written and not row.written:
            raise ComponentError(
                f"{site!r} can be read but not replaced.",
                'Replace what a sublayer reads or gives, "z" or "neuron" (aw.patch finds the z of other q, k and v).',
            )


def refuse_flex(model: Model) -> None:
    """Flex attention is compiled for the masks and shapes of a plain pass: others read memory that is not theirs, which
    can end the process, and it has no gradients on a CPU.

    Raises:
        AttribError: ``model`` runs with it now.
    """
    if "flex_attention" in str(getattr(model.config, "_attn_implementation", None) or ""):
        raise AttribError(
            f"{model.name} runs with flex_attention, which takes no edited passes and gives no gradients.",
            "For experiments: model.hf.set_attn_implementation('sdpa') (or 'eager'), and run the prompt again.",
        )


def mixes_before(site: str) -> bool:
    """Whether what a site holds at one position is still to be read from others in the same layer: keys are."""
    return site in ("predict", "pre", "attn_in", "k", "v")
