"""Pictures to latents and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from graphexec.diffusion.faults import LatentError, NonFiniteError
from graphexec.diffusion.imaging.tiles import TileWork
from graphexec.diffusion.memory import host_budget
from graphexec.diffusion.models.vae import Autoencoder
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import DOWNSCALE, LATENT_CHANNELS, Latent, Vae

__all__ = ["Tiles", "crop_to_cells", "empty_latent", "vae_decode", "vae_encode"]

Warn = Callable[[str], object]

COLORS = 3


@dataclass(frozen=True, slots=True)
class Tiles:
    """Square tiles of `side` pixels that share `overlap` pixels; an overlap too large for them is a quarter of it."""

    side: int
    overlap: int


FOR_DECODING, FOR_ENCODING = Tiles(512, 128), Tiles(512, 64)
"""What is tried where memory is short."""


PEAK = 8
"""Numbers that a VAE holds at its peak for each pixel and channel of its last level, as measured; less to encode."""


def empty_latent(width: int, height: int, batch: int = 1) -> Latent:
    """Latents of nothing, for pictures of `width` x `height` pixels."""
    return Latent(torch.zeros(batch, LATENT_CHANNELS, height // DOWNSCALE, width // DOWNSCALE))


def vae_decode(
    runtime: Runtime, vae: Vae, latent: Latent, *, tiles: Tiles | None = None, warn: Warn = lambda message: None
) -> Tensor:
    """Pictures [B, H, W, 3], float32 in 0..1, on the CPU; in tiles where that is asked for or memory is short.

    Raises `LatentError` if the latents have another number of channels, `NonFiniteError` if a pixel is not finite.
    """
    with runtime.vae(vae, warn=warn) as network, torch.no_grad():
        scale = network.layout.downscale
        samples = _need_latents(latent.samples, network)

        def pixels_of(part: Tensor) -> Tensor:
            return network.decode(part.to(runtime.device, runtime.vae_dtype)).float().cpu()

        work = TileWork(pixels_of, scale=scale)
        memory = _Memory(runtime, network, work, "decoding", _to_decode(tiles or FOR_DECODING, scale), warn)
        pixels = memory.in_tiles(samples) if tiles else memory.at_once(samples)
        picture = ((pixels + 1) / 2).clamp(0, 1).movedim(1, -1).contiguous()
        return _finite(picture, "the decoded picture")


def vae_encode(
    runtime: Runtime, vae: Vae, image: Tensor, *, tiles: Tiles | None = None, warn: Warn = lambda message: None
) -> Latent:
    """Latents of pictures [B, H, W, C >= 3] in 0..1: the mode of the posterior, on the CPU.

    Sides that are no multiple of the VAE's scale are cropped at both ends; channels beyond the third are dropped.
    Tiles as for `vae_decode`.
    """
    with runtime.vae(vae, warn=warn) as network, torch.no_grad():
        grain = network.layout.downscale
        pixels = crop_to_cells(_need_pictures(image, grain)[..., :COLORS].movedim(-1, 1), grain)

        def latents_of(part: Tensor) -> Tensor:
            signed = part.to(runtime.device, torch.float32) * 2 - 1
            return network.encode(signed.to(runtime.vae_dtype)).float().cpu()

        work = TileWork(latents_of, grain=grain)
        memory = _Memory(runtime, network, work, "encoding", _to_encode(tiles or FOR_ENCODING, grain), warn)
        samples = memory.in_tiles(pixels) if tiles else memory.at_once(pixels)
        return Latent(_finite(samples, "the encoded latent"))


def crop_to_cells(samples: Tensor, multiple: int) -> Tensor:
    """The middle of [..., H, W] whose sides are multiples of a number."""
    (top, height), (left, width) = ((side % multiple // 2, side // multiple * multiple) for side in samples.shape[-2:])
    return samples[..., top : top + height, left : left + width]


def _to_decode(tiles: Tiles, scale: int) -> tuple[int, int]:
    """Side and overlap in cells."""
    overlap = tiles.overlap if tiles.overlap * 4 <= tiles.side else tiles.side // 4
    return max(tiles.side // scale, 2), overlap // scale


def _to_encode(tiles: Tiles, grain: int) -> tuple[int, int]:
    """Side and overlap in cells; an overlap as wide as the narrowest tiles, with which ComfyUI fails, is too large."""
    side, overlap = max(tiles.side // grain, 2), tiles.overlap // grain
    return side, overlap if overlap < side // 2 else side // 4


@dataclass(frozen=True, slots=True)
class _Memory:
    """How a VAE's work is done within the memory there is."""

    runtime: Runtime
    network: Autoencoder
    work: TileWork
    what: str
    cells: tuple[int, int]
    warn: Warn

    def at_once(self, samples: Tensor) -> Tensor:
        """The whole batch; where memory is short one after the other, then in tiles."""
        smaller = self._one_by_one if len(samples) > 1 else self._with_a_warning
        if not self._may_fit(samples):
            return smaller(samples)
        return self.runtime.within_memory(
            lambda: self.work.function(samples), self.what, smaller=[lambda: smaller(samples)], network=self.network
        )

    def in_tiles(self, samples: Tensor) -> Tensor:
        return self.runtime.within_memory(
            lambda: self.work.smoothed(samples, *self.cells), f"{self.what} in tiles", network=self.network
        )

    def _may_fit(self, samples: Tensor) -> bool:
        """Whether it is worth trying: a GPU says when it is full, but a computer ends a process that fills it.

        So there half of its memory must do.
        """
        pixels = len(samples) * math.prod(samples.shape[-2:]) * self.work.scale**2
        needed = pixels * self.network.layout.decoder.last * PEAK * self.runtime.vae_dtype.itemsize
        return self.runtime.device.type != "cpu" or needed <= host_budget()

    def _one_by_one(self, samples: Tensor) -> Tensor:
        return torch.cat([self.at_once(item) for item in samples.split(1)])

    def _with_a_warning(self, samples: Tensor) -> Tensor:
        self.warn(f"memory is too short for {self.what} at once; it is done in tiles, which differs a little")
        return self.in_tiles(samples)


def _need_latents(samples: Tensor, network: Autoencoder) -> Tensor:
    channels = network.layout.latent_channels
    if samples.ndim != 4 or samples.shape[1] != channels:
        raise LatentError(
            f"the VAE decodes latents [batch, {channels}, height, width], these are {tuple(samples.shape)}"
        )
    return samples


def _need_pictures(image: Tensor, multiple: int) -> Tensor:
    if image.ndim != 4 or image.shape[-1] < COLORS or min(image.shape[1:3]) < multiple:
        raise LatentError(
            f"the VAE encodes pictures [batch, height, width, 3] of at least {multiple} pixels a side, not"
            f" {tuple(image.shape)}"
        )
    return image


def _finite(tensor: Tensor, what: str) -> Tensor:
    if not bool(tensor.isfinite().all()):
        raise NonFiniteError(f"{what} is not finite: the latent or the weights hold NaN, infinity or huge numbers")
    return tensor
