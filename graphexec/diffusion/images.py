"""Pictures to latents and back."""

from __future__ import annotations

import torch
from torch import Tensor

from graphexec.diffusion.faults import LatentError, NonFiniteError
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import DOWNSCALE, LATENT_CHANNELS, Latent, Vae

__all__ = ["empty_latent", "vae_decode", "vae_encode"]


def empty_latent(width: int, height: int, batch: int = 1) -> Latent:
    """Latents of nothing, for pictures of `width` x `height` pixels."""
    return Latent(torch.zeros(batch, LATENT_CHANNELS, height // DOWNSCALE, width // DOWNSCALE))


def vae_decode(runtime: Runtime, vae: Vae, latent: Latent) -> Tensor:
    """Pictures [B, H, W, 3], float32 in 0..1, on the CPU.

    Raises `LatentError` if the latents have another number of channels, `NonFiniteError` if a pixel is not finite.
    """
    with runtime.vae(vae) as network, torch.no_grad():
        channels = network.layout.latent_channels
        if latent.samples.ndim != 4 or latent.samples.shape[1] != channels:
            raise LatentError(
                f"the VAE decodes latents [batch, {channels}, height, width], these are {tuple(latent.samples.shape)}"
            )
        pixels = network.decode(latent.samples.to(runtime.device, torch.float32))
        picture = ((pixels + 1) / 2).clamp(0, 1).movedim(1, -1).cpu().contiguous()
        return _finite(picture, "the decoded picture")


def vae_encode(runtime: Runtime, vae: Vae, image: Tensor) -> Latent:
    """Latents of pictures [B, H, W, C >= 3] in 0..1: the mode of the posterior, on the CPU.

    Sides that are no multiple of the VAE's scale are cropped at both ends; channels beyond the third are dropped.
    """
    with runtime.vae(vae) as network, torch.no_grad():
        pixels = _crop(image, network.layout.downscale)[..., :3]
        inputs = pixels.to(runtime.device, torch.float32).movedim(-1, 1) * 2 - 1
        return Latent(_finite(network.encode(inputs).cpu(), "the encoded latent"))


def _crop(image: Tensor, multiple: int) -> Tensor:
    if image.ndim != 4 or image.shape[-1] < 3 or min(image.shape[1:3]) < multiple:
        raise LatentError(
            f"the VAE encodes pictures [batch, height, width, 3] of at least {multiple} pixels a side, not"
            f" {tuple(image.shape)}"
        )
    (top, height), (left, width) = ((side % multiple // 2, side // multiple * multiple) for side in image.shape[1:3])
    return image[:, top : top + height, left : left + width]


def _finite(tensor: Tensor, what: str) -> Tensor:
    if not bool(tensor.isfinite().all()):
        raise NonFiniteError(f"{what} is not finite: the latent or the weights hold NaN, infinity or huge numbers")
    return tensor
