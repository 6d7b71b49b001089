r"""Puts any PyTorch module behind ``net(x, time, cond, control)``, by hooks that live for one call.

A call without a control is the plain call of the module. In a call with one, hooks stand on the
named modules, and come off whatever happens.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from guided.adapters.sites import FusedAttention, Kind, Site, is_self_attention, require_kind
from guided.nets.control import Control, Stacked

Caller = Callable[[nn.Module, Tensor, Tensor, Any], Tensor]
"""Calls a foreign network: ``call(net, x (B, ...), time (B,), cond) -> (B, ...)``."""


class HookedNet(nn.Module):
    r"""A foreign network that takes a :class:`~guided.nets.control.Control`.

    ============  ==========================================================================
    kind          what a control does to the module
    ============  ==========================================================================
    ``attention`` all modes of ``AttentionControl``, and ``Maps``: the module is an
                  ``nn.MultiheadAttention``, or calls ``scaled_dot_product_attention`` once,
                  as those of diffusers do. ``Skip`` scales what attention adds
    ``block``     ``Skip`` only: the module maps its first argument to a sum with it
    ============  ==========================================================================

    Layer i of a control is the i-th name. Both kinds may be given together::

        net = HookedNet(model, {"blocks.0.attn": "attention", "blocks.3": "block"}, "time_mlp")
        denoiser = NetDenoiser(net, Cosine(), "v")
        weak = Control(AttentionControl(frozenset({net.names.index("blocks.0.attn")})))
        guided = Contrast(denoiser, [Term(perturbed(weak), scale=3.0)])

    ``nn.MultiheadAttention`` that returns weights returns the unperturbed ones. In images (B, C, H,
    W) a ``blur`` takes the T tokens for square patches in rows. Gradients through a call under a
    control need a network without gradient checkpointing, which would compute it again without.

    Args:
        net: any module.
        layers: kinds of the modules that controls act on, by their names in ``named_modules()``;
            :func:`self_attentions` finds some.
        embedding: names of the modules that return the embedding (B, W) of the noise level.
        call: how the network is called; None = ``net(x, time, cond)``.

    Raises:
        ValueError: for an unknown name or kind, or attention that is no self-attention.
    """

    def __init__(
        self,
        net: nn.Module,
        layers: Mapping[str, Kind],
        embedding: str | Sequence[str] = (),
        call: Caller | None = None,
    ) -> None:
        super().__init__()
        self.net, self.kinds = net, dict(layers)
        self.embedding = (embedding,) if isinstance(embedding, str) else tuple(embedding)
        self.call = call
        modules = dict(net.named_modules())
        for name in (*self.kinds, *self.embedding):
            _require_name(name, modules, type(net).__name__)
        for name, kind in self.kinds.items():
            require_kind(name, modules[name], kind)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the layers; a control means them by their index."""
        return tuple(self.kinds)

    @property
    def layers(self) -> int:
        """Return how many modules a control can act on."""
        return len(self.kinds)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        cond: Any = None,
        control: Control | Stacked | None = None,
    ) -> Tensor:
        """Evaluate the network on x (B, ...) at time (B,).

        Args:
            x: noisy samples.
            time: as the network takes it.
            cond: as the network takes it.
            control: what to do to some layers, or to the level's embedding; None = nothing.

        Raises:
            ValueError: for a control of what the network does not have.
        """
        if control is None:
            return self._called(x, time, cond)
        self._require(control)
        with self._hooked(control, x):
            return self._called(x, time, cond)

    def _called(self, x: Tensor, time: Tensor, cond: Any) -> Tensor:
        return self.net(x, time, cond) if self.call is None else self.call(self.net, x, time, cond)

    def _require(self, control: Control | Stacked) -> None:
        control.require_layers(self.layers, type(self.net).__name__)
        if not self.embedding and _embeds(control):
            raise ValueError(
                f"the control changes the embedding of the noise level, but none of "
                f"{type(self.net).__name__} is named; give HookedNet(..., embedding=its name)"
            )

    @contextmanager
    def _hooked(self, control: Control | Stacked, x: Tensor) -> Iterator[None]:
        """Keep hooks on the named modules inside the block, and nowhere else."""
        sites = self._sites(control, x)
        embedded = dict.fromkeys(self.embedding, 0) if _embeds(control) else {}
        with ExitStack() as stack:
            fused = stack.enter_context(FusedAttention())
            for site in sites:
                for handle in _stand(self.net.get_submodule(site.name), site, fused):
                    stack.callback(handle.remove)
            for name in embedded:
                hook = _embedding_hook(control, embedded, name, len(x))
                stack.callback(self.net.get_submodule(name).register_forward_hook(hook).remove)
            yield
        for name, calls in [*((site.name, site.calls) for site in sites), *embedded.items()]:
            if not calls:
                raise ValueError(
                    f"{type(self.net).__name__} did not call its module {name!r}, so the control "
                    f"could not act; name one that is called"
                )

    def _sites(self, control: Control | Stacked, x: Tensor) -> list[Site]:
        sites = []
        for index, (name, kind) in enumerate(self.kinds.items()):
            here = control.at(index)
            if here is None:
                continue
            site = Site(name, kind, here, x.shape)
            if kind == "block" and site.attends:
                raise ValueError(
                    f"layer {index}, {name!r}, is a block, which can only be skipped; name its "
                    f"attention, of the kind 'attention'"
                )
            sites.append(site)
        return sites


def self_attentions(net: nn.Module) -> dict[str, Kind]:
    """Return the self-attention of PyTorch's and diffusers' types in a network, as layers."""
    return {name: "attention" for name, m in net.named_modules() if is_self_attention(m)}


def _stand(module: nn.Module, site: Site, fused: FusedAttention) -> Iterator[Any]:
    """Put the hooks of a site on its module."""

    def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if site.attends:
            fused.open.pop()
        return site.leave(module, args, kwargs, output)

    if site.attends:
        yield module.register_forward_pre_hook(lambda *_: fused.open.append(site))
    yield module.register_forward_hook(leave, with_kwargs=True)


def _embedding_hook(
    control: Control | Stacked, calls: dict[str, int], name: str, rows: int
) -> Callable[..., Tensor]:
    def changed(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        calls[name] += 1
        if len(output) != rows:
            raise ValueError(
                f"the embedding {name!r} has the shape {tuple(output.shape)}, expected one row for "
                f"each of the {rows} samples; name the module that returns it"
            )
        return control.embedded(output)

    return changed


def _embeds(control: Control | Stacked) -> bool:
    parts = control.parts if isinstance(control, Stacked) else (control,)
    return any(part and part.embedding for part in parts)


def _require_name(name: str, modules: Mapping[str, nn.Module], network: str) -> None:
    if name in modules:
        return
    close = get_close_matches(name, modules, cutoff=0.4)
    mend = f"did you mean {', '.join(map(repr, close))}?" if close else "see its named_modules()"
    raise ValueError(f"{network} has no module named {name!r}; {mend}")
