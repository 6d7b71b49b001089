"""The models of diffusers as denoisers, with every guidance method of this library.

The package itself is not needed here: what it makes is recognised by what it has.
"""

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from guided.adapters.hooks import HookedNet, self_attentions
from guided.adapters.sites import Kind
from guided.adapters.timesteps import DiffusersFlow, schedule_of
from guided.cond import tree_map
from guided.denoiser import Denoiser, NetDenoiser, Parameterization, Prediction, predicted
from guided.rng import Rng
from guided.schedule import Level
from guided.wrappers import Through

PREDICTIONS: dict[str, Parameterization] = {
    "epsilon": "eps",
    "v_prediction": "v",
    "sample": "x0",
    "flow_prediction": "flow",
}
EMBEDDINGS = ("time_embedding", "timestep_embedder")  # what their models call it


class DiffusersDenoiser(NetDenoiser):
    """A model of diffusers behind the denoiser contract: a U-Net, a DiT, one with text.

    A condition is what the model takes besides x and the timestep: a dict of its arguments, or one
    tensor for the main one (``encoder_hidden_states``, else ``class_labels``). None is the null
    condition, where there is one. Example::

        pipe = DiTPipeline.from_pretrained(folder)
        denoiser = DiffusersDenoiser(pipe.transformer, pipe.scheduler, vae=pipe.vae)
        pipe.scheduler.set_timesteps(50)
        times = timesteps_grid(pipe.scheduler)
        sampler = DDIM(CFG(denoiser, 4.0, denoiser.null))
        x = sampler.initial((8, 4, 32, 32), times, Rng(0))
        z = sampler.sample(x, times, labels, rng=Rng(1))
        images = denoiser.decode(z)

    Inputs are cast to the type of the model and predictions back to that of x. Channels of a
    learned variance are dropped. Put the model into ``eval()`` before sampling.

    Args:
        model: called as ``model(x, timestep=..., **cond, return_dict=False)``.
        scheduler: any whose noise levels are those of the model's training; it says what the model
            predicts, and is not used otherwise.
        layers: what controls act on, by name, see :class:`~guided.adapters.hooks.HookedNet`; None =
            all self-attention. ``names`` lists them in the order of their indices.
        null: the null condition: a label, or the tensors of one sample (1, ...), in a dict where
            conditions are dicts. None = the model's own, where it has one (DiT).
        vae: the autoencoder of a latent model, for :meth:`encode` and :meth:`decode`.

    Raises:
        ValueError: for an unknown scheduler or prediction.

    Source: von Platen et al. 2022, Diffusers, https://github.com/huggingface/diffusers.
    """

    def __init__(
        self,
        model: nn.Module,
        scheduler: Any,
        layers: Mapping[str, Kind] | None = None,
        null: int | Tensor | dict[str, Any] | None = None,
        vae: nn.Module | None = None,
    ) -> None:
        names = [n for n, _ in model.named_modules() if n.rpartition(".")[2] in EMBEDDINGS]
        net = HookedNet(
            model, self_attentions(model) if layers is None else layers, names, call=_called
        )
        schedule = schedule_of(scheduler)
        flow = isinstance(schedule, DiffusersFlow)
        super().__init__(net, schedule, "flow" if flow else _prediction(scheduler))
        self.vae, self.names = vae, net.names
        self.takes = _arguments(model)
        self.empty = _own_null(model) if null is None else tree_map(_one_sample, null)

    @property
    def model(self) -> Any:
        """Return the model itself."""
        return self.net.net

    def output(self, x: Tensor, level: Level, cond: Any = None, control: Any = None) -> Tensor:
        """Call the model on x (B, ...); see the class for ``cond``.

        Raises:
            ValueError: for a condition that is not what the model takes.
        """
        if cond is None and self.empty is not None:
            cond = _filled(self.empty, x)
        given = cond if isinstance(cond, dict) else {} if cond is None else {self._main: cond}
        unknown = [name for name in given if name not in self.takes]
        missing = [name for name, needed in self.takes.items() if needed and name not in given]
        if unknown or missing:
            mends = [*(f"drop {name}" for name in unknown), *(f"give {name}" for name in missing)]
            raise ValueError(
                f"{type(self.model).__name__} is conditioned on {', '.join(self.takes)}, got "
                f"{', '.join(given) or 'nothing'}; {' and '.join(mends)}"
            )
        return super().output(x, level, given, control)

    def null(self, cond: Any) -> Any:
        """Return the null condition in the form of ``cond`` (B, ...).

        Raises:
            ValueError: for a model without one, unless it is given.
        """
        if self.empty is None:
            raise ValueError(
                f"the null condition of {type(self.model).__name__} is not known; give "
                f"DiffusersDenoiser(..., null=the label or embedding it was trained with)"
            )
        if cond is None:
            return None
        given = cond if isinstance(cond, dict) else {self._main: cond}
        empty = self.empty if isinstance(self.empty, dict) else {self._main: self.empty}
        found = _replaced(given, empty)
        return found if isinstance(cond, dict) else found[self._main]

    def encode(self, images: Tensor, rng: Rng | None = None) -> Tensor:
        """Return the latents of images in [-1, 1], (B, C, H, W), as the model sees them.

        Args:
            images: to encode.
            rng: draws from the encoder's law; None takes its mode.
        """
        vae, mean, std = self._autoencoder()
        law = vae.encode(images.to(vae.dtype)).latent_dist
        latents = law.mean
        if rng is not None:
            latents = latents + law.std * rng.normal(latents.shape, latents.dtype, latents.device)
        return ((latents - mean) / std).to(images.dtype)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images, in [-1, 1], of latents (B, C, H, W); it has gradients."""
        vae, mean, std = self._autoencoder()
        return vae.decode((latents * std + mean).to(vae.dtype)).sample.to(latents.dtype)

    @property
    def _main(self) -> str:
        """The argument that a condition of one tensor stands for."""
        text = "encoder_hidden_states"
        return text if text in self.takes else "class_labels"

    def _autoencoder(self) -> tuple[Any, Any, Any]:
        """Return the autoencoder, and the mean and deviation by which latents are scaled."""
        if self.vae is None:
            raise ValueError("there is no autoencoder; give DiffusersDenoiser(..., vae=...)")
        vae: Any = self.vae
        mean, std = (
            torch.tensor(own, dtype=vae.dtype, device=vae.device)[:, None, None] if own else free
            for own, free in (
                (vae.config.get("latents_mean"), vae.config.get("shift_factor") or 0.0),
                (vae.config.get("latents_std"), 1.0),
            )
        )
        return vae, mean, std / vae.config.scaling_factor

    def _time(self, x: Tensor, level: Level) -> Tensor:
        """Return the timesteps in float32, which half precision would round."""
        schedule: Any = self.schedule
        n = schedule.timestep(level.t)
        if isinstance(n, Tensor) and n.ndim:
            return n.reshape(len(x)).to(x.device, torch.float32)
        return torch.full((len(x),), float(n), dtype=torch.float32, device=x.device)

    def _random_level(self, x0: Tensor, rng: Rng, axes: int) -> Level:
        """Draw from the timesteps 1, ..., N of training, as diffusers does."""
        schedule: Any = self.schedule
        n = rng.integers(1, schedule.count + 1, x0.shape[:axes])
        t = (n / schedule.count).to(x0).reshape(*x0.shape[:axes], *[1] * (x0.ndim - axes))
        return self.schedule.level(t)


class ClipSample(Through):
    r"""Clips the clean estimate, as schedulers of diffusers with ``clip_sample`` do in every step.

    It goes around guidance: ``DDIM(ClipSample(CFG(denoiser, ...)))``.

    Args:
        denoiser: a denoiser.
        bound: of the absolute value, ``clip_sample_range``; infinite is neutral.
        consistent: derive eps anew, :math:`(x - \alpha x_0) / \sigma`, as ``DDPMScheduler`` does;
            else keep it, as ``DDIMScheduler`` does.

    Raises:
        ValueError: for a bound that is not positive.

    Source: von Platen et al. 2022, Diffusers, the ``step`` of both schedulers.
    """

    def __init__(self, denoiser: Denoiser, bound: float = 1.0, consistent: bool = False) -> None:
        super().__init__(denoiser)
        if not bound > 0:
            raise ValueError(f"ClipSample needs a positive bound, got {bound}; infinite is neutral")
        self.bound, self.consistent = bound, consistent

    def controlled(self, x: Tensor, level: Level, cond: Any, control: Any) -> Prediction:
        """Predict under a control, None = nothing, and clip x0."""
        x0, eps = predicted(self.denoiser, x, level, cond, control)
        clipped = x0.clamp(-self.bound, self.bound)
        if self.consistent:
            eps = eps + (level.alpha / level.sigma) * (x0 - clipped)
        return Prediction(clipped, eps)


def _prediction(scheduler: Any) -> Parameterization:
    """Return what a scheduler says that its network predicts."""
    name = scheduler.config.get("prediction_type", "epsilon")
    if name not in PREDICTIONS:
        raise ValueError(
            f"{type(scheduler).__name__} has the prediction_type {name!r}, expected one of "
            f"{', '.join(PREDICTIONS)}"
        )
    return PREDICTIONS[name]


def _arguments(model: nn.Module) -> dict[str, bool]:
    """Return what a model takes besides x and the timestep, and whether it needs it."""
    _, *rest = signature(model.forward).parameters.items()
    own = ("timestep", "return_dict")
    return {name: p.default is p.empty for name, p in rest if name not in own}


def _called(model: Any, x: Tensor, time: Tensor, cond: dict[str, Any]) -> Tensor:
    given = tree_map(lambda leaf: leaf.to(model.dtype) if leaf.is_floating_point() else leaf, cond)
    out = model(x.to(model.dtype), timestep=time, **given, return_dict=False)[0]
    if out.shape[1] not in (x.shape[1], 2 * x.shape[1]):
        raise ValueError(
            f"{type(model).__name__} returned {out.shape[1]} channels for {x.shape[1]}; expected "
            f"as many, or twice as many for a learned variance"
        )
    return out[:, : x.shape[1]].to(x.dtype)


def _own_null(model: Any) -> int | None:
    """Return the label that a DiT was trained with where the label was dropped."""
    return model.config.get("num_embeds_ada_norm")


def _one_sample(leaf: Tensor) -> Tensor:
    if leaf.ndim == 0 or len(leaf) != 1:
        raise ValueError(
            f"a null condition is of one sample, (1, ...), got the shape {tuple(leaf.shape)}"
        )
    return leaf


def _filled(empty: Any, x: Tensor) -> Any:
    """Return the null condition for every row of x."""
    if isinstance(empty, int):
        return torch.full((len(x),), empty, device=x.device)
    if isinstance(empty, dict):
        return {name: _filled(own, x) for name, own in empty.items()}
    return empty.to(x.device).expand(len(x), *empty.shape[1:])


def _replaced(cond: Any, empty: Any) -> Any:
    """Return a condition with the leaves of the null condition in place of its own."""
    if isinstance(cond, dict):
        return {k: _replaced(v, empty[k]) if k in empty else v for k, v in cond.items()}
    if isinstance(empty, int):
        return torch.full_like(cond, empty)
    return empty.to(cond).expand(len(cond), *empty.shape[1:])
