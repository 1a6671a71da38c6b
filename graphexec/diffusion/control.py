"""ControlNets at work: what pictures add to a UNet's feature maps in one forward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from graphexec.diffusion.controlfiles import check_family
from graphexec.diffusion.controlload import Steering
from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.resize import upscale
from graphexec.diffusion.models.adapter import Adapter
from graphexec.diffusion.models.controlnet import ControlNetwork
from graphexec.diffusion.models.taps import Residuals
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import Control, Model
from graphexec.errors import ModelFileError

__all__ = ["ControlRunner", "Levels"]

PIXELS = 8
"""Pixels a side of one latent cell."""

POOLED = ("_shuffle", "_shuffle_fp16")
"""How the names of ControlNets end that were trained to add the same at every place."""


class Levels(Protocol):
    """The noise levels of a model."""

    def percent_to_sigma(self, percent: float, /) -> float:
        """The level at a fraction of the sampling range: 0 lies above all levels, 1 is none."""
        ...

    def scale_input(self, x: Tensor, sigma: float, /) -> Tensor:
        """Latents as the network wants them."""
        ...


@dataclass(frozen=True, slots=True)
class Shown:
    """What the UNet is shown in one forward pass over `conds` conds, each for the whole batch, one after the other."""

    x: Tensor
    sigma: float
    timesteps: Tensor
    context: Tensor
    vector: Tensor | None
    conds: int

    @property
    def batch(self) -> int:
        """Pictures that are made at once."""
        return len(self.x) // self.conds

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the latents."""
        return self.x.shape[-2], self.x.shape[-1]


Key = tuple[Control, tuple[int, int], int]
"""A control, the latents' size, and how many pictures are made at once."""


@dataclass(slots=True, eq=False)
class ControlRunner:
    """The ControlNets of one sampling run; pictures are brought to size and embedded once, not at every step.

    Call it before the UNet is taken from the runtime: a control-LoRA or a difference may need the UNet itself.
    """

    runtime: Runtime
    model: Model
    levels: Levels
    _embedded: dict[Key, Tensor] = field(default_factory=dict[Key, Tensor], init=False)
    _adapted: dict[Key, Residuals] = field(default_factory=dict[Key, Residuals], init=False)

    def __call__(
        self,
        controls: Sequence[Control],
        x: Tensor,
        sigma: float,
        timesteps: Tensor,
        context: Tensor,
        vector: Tensor | None = None,
        conds: int = 1,
    ) -> Residuals | None:
        """What `controls` add together to the UNet that sees x at `sigma`; None for nothing.

        `x` [N, C, h, w] are the noisy latents as the sampler has them, without the extra channels of inpainting models;
        `timesteps` [N], `context` [N, T, D] and `vector` [N, V] are as the UNet gets them. N is `conds` times the
        batch. Raises `ModelFileError` for a network of another family than the model's, `LatentError` for pictures
        that it cannot take.
        """
        shown = Shown(x, sigma, timesteps, context, vector, conds)
        total: Residuals | None = None
        for control in controls:
            if self._active(control, sigma):
                found = self._residuals(control, shown)
                total = found if total is None else _sum(total, found)
        return total

    def _active(self, control: Control, sigma: float) -> bool:
        highest, lowest = self.levels.percent_to_sigma(control.start), self.levels.percent_to_sigma(control.end)
        return control.strength != 0 and lowest <= sigma <= highest

    def _residuals(self, control: Control, shown: Shown) -> Residuals:
        with self.runtime.controlnet(control.net, self.model) as network, torch.no_grad():
            key = (control, shown.size, shown.batch)
            if isinstance(network, Adapter):
                if key not in self._adapted:
                    self._adapted[key] = _adapted(network, control, self.model, shown)
                found = _mapped(self._adapted[key], lambda maps: _to_batch(maps, shown))
            else:
                if key not in self._embedded:
                    self._embedded[key] = _embedded(network, control, shown)
                found = _steered(network, self._embedded[key], control, shown, self.levels)
            return _mapped(found, lambda maps: maps * control.strength)


def _adapted(network: Adapter, control: Control, model: Model, shown: Shown) -> Residuals:
    check_family(control.net, model)
    step = network.layout.downscale
    height, width = (math.ceil(side * PIXELS / step) * step for side in shown.size)
    return network(_hint(network, network.layout.channels, control, shown, (height, width)))


def _embedded(network: ControlNetwork, control: Control, shown: Shown) -> Tensor:
    """The picture as the network's feature map; checks that all the rest will fit too."""
    _check_fit(network, control, shown)
    height, width = (side * PIXELS for side in shown.size)
    hint = _hint(network, network.layout.hint_channels, control, shown, (height, width))
    return network.embed(hint, control.net.union_type)


def _hint(network: Steering, channels: int, control: Control, shown: Shown, size: tuple[int, int]) -> Tensor:
    """The pictures of a batch, at a size, in the network's channels: alpha is dropped, grey is a mean."""
    height, width = size
    pictures = control.hint[: shown.batch].movedim(-1, 1).to(shown.x.device, torch.float32)
    pictures = upscale(pictures, width, height, "nearest-exact", "center")
    if channels == 1:
        pictures = pictures.mean(1, keepdim=True)
    if pictures.shape[1] < channels:
        raise LatentError(
            f"{control.net.file.path.name} reads pictures of {channels} channels, this one has {pictures.shape[1]}"
        )
    return pictures[:, :channels].to(next(network.parameters()).dtype)


def _steered(network: ControlNetwork, embedded: Tensor, control: Control, shown: Shown, levels: Levels) -> Residuals:
    dtype = embedded.dtype
    found = network(
        levels.scale_input(shown.x, shown.sigma).to(dtype),
        _to_batch(embedded, shown),
        shown.timesteps,
        shown.context.to(dtype),
        None if shown.vector is None else shown.vector.to(dtype),
        control.net.union_type,
    )
    pooled = control.net.file.path.stem.endswith(POOLED)
    return _mapped(found, _mean_over_places) if pooled else found


def _check_fit(network: ControlNetwork, control: Control, shown: Shown) -> None:
    encoder, union = network.layout.encoder, network.layout.union
    vector = None if shown.vector is None else shown.vector.shape[-1]
    for what, own, given in (
        ("text embeddings", encoder.context_width, shown.context.shape[-1]),
        ("a vector of sizes and pooled text", encoder.vector_width, vector),
        ("latents", encoder.in_channels, shown.x.shape[1]),
    ):
        if own not in (None, given):
            raise ModelFileError(
                f"{control.net.file.path}: the ControlNet is for another family of models: it takes {what} {own} wide,"
                f" this model's are {given or 'none'}"
            )
    if union is not None and (control.net.union_type or 0) >= union.types:
        raise ModelFileError(
            f"{control.net.file.path}: this union ControlNet knows {union.types} types of control, and number"
            f" {control.net.union_type} is none of them; choose another with SetUnionControlNetType"
        )


def _to_batch(maps: Tensor, shown: Shown) -> Tensor:
    """One row for each picture, repeated over the batch and then over the conds; a single one fits anything."""
    if len(maps) == 1:
        return maps
    return maps.repeat(-(-shown.batch // len(maps)), 1, 1, 1)[: shown.batch].repeat(shown.conds, 1, 1, 1)


def _mean_over_places(maps: Tensor) -> Tensor:
    return maps.mean(dim=(2, 3), keepdim=True)


def _mapped(residuals: Residuals, change: Callable[[Tensor], Tensor]) -> Residuals:
    return Residuals(
        inputs=[None if maps is None else change(maps) for maps in residuals.inputs],
        middle=None if residuals.middle is None else change(residuals.middle),
        skips=[None if maps is None else change(maps) for maps in residuals.skips],
    )


def _sum(one: Residuals, other: Residuals) -> Residuals:
    return Residuals(
        inputs=_sums(one.inputs, other.inputs),
        middle=_plus(one.middle, other.middle),
        skips=_sums(one.skips, other.skips),
    )


def _sums(one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> list[Tensor | None]:
    length = max(len(one), len(other))
    return [_plus(one[i] if i < len(one) else None, other[i] if i < len(other) else None) for i in range(length)]


def _plus(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
