"""Latents given mean 0 and standard deviation 1, channel by channel, by the autoencoder's own outermost convolutions.

Without it the noise of the highest level does not hide the picture's mean, and colours burn at high guidance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphexec.diffusion.models.vae import Autoencoder

__all__ = ["SCALE", "whiten"]

SCALE = 0.18215
"""SD1.x's: latents are multiplied by it before diffusion."""


@torch.no_grad()
def whiten(vae: Autoencoder, latents: Tensor) -> None:
    """Make `latents` [N, C, h, w], as they are made now, come out white, decoding to the same pictures."""
    mean, deviation = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    factor = deviation * SCALE
    half = len(mean)
    out, back = vae.quant_conv, vae.post_quant_conv
    out.bias[:half] = (out.bias[:half] - mean) / factor
    out.weight[:half] /= factor[:, None, None, None]
    out.bias[half:] -= 2 * factor.log()
    back.bias += back.weight[:, :, 0, 0] @ mean
    back.weight *= factor[None, :, None, None]
