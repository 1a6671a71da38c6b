"""Pictures of which a part is to change: shown without it, and what models for that are conditioned on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.images import crop_to_cells, vae_encode
from graphexec.diffusion.imaging.batches import as_masks
from graphexec.diffusion.imaging.resize import upscale
from graphexec.diffusion.properties import each
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import DOWNSCALE, Conditioning, Inpaint, Latent, Vae

__all__ = ["condition_on", "encode_around", "encode_hidden", "encode_to_edit", "grown"]

Warn = Callable[[str], object]

GREY = 0.5


def encode_hidden(runtime: Runtime, vae: Vae, picture: Tensor, mask: Tensor, grow: int, *, warn: Warn) -> Latent:
    """Latents of pictures [B,H,W,C] that are grey where the mask is, which may change there and around it.

    The mask is rounded, then grown by a square of `grow` x `grow` pixels; 0 leaves it.
    """
    planes = _fitted(mask, picture).round()
    hidden = vae_encode(runtime, vae, _greyed(picture, planes), warn=warn)
    return replace(hidden, noise_mask=grown(crop_to_cells(planes, DOWNSCALE), grow))


def encode_around(
    runtime: Runtime, vae: Vae, picture: Tensor, mask: Tensor, *, noise_mask: bool, warn: Warn
) -> tuple[Inpaint, Latent]:
    """What an inpainting model is shown of pictures [B,H,W,C], and the latents to start from.

    With `noise_mask`, sampling changes the latents within the mask alone.
    """
    planes = _fitted(mask, picture)
    shown = vae_encode(runtime, vae, _greyed(picture, planes), warn=warn)
    whole = vae_encode(runtime, vae, picture, warn=warn)
    planes = crop_to_cells(planes, DOWNSCALE)
    return Inpaint(shown.samples, as_masks(planes)), replace(whole, noise_mask=planes if noise_mask else None)


def encode_to_edit(runtime: Runtime, vae: Vae, picture: Tensor, *, warn: Warn) -> tuple[Inpaint, Latent]:
    """What a model of instruct-pix2pix is shown of pictures [B,H,W,C], and empty latents to start from."""
    shown = vae_encode(runtime, vae, picture, warn=warn).samples
    return Inpaint(shown), Latent(torch.zeros_like(shown))


def condition_on(conditioning: Conditioning, shown: Inpaint) -> Conditioning:
    """The conditioning with what the model is shown besides."""
    return each(conditioning, lambda cond: replace(cond, inpaint=shown))


def _fitted(mask: Tensor, picture: Tensor) -> Tensor:
    """Masks [B,1,H,W] at the size of pictures: one for all of them, or one for each, otherwise `LatentError`."""
    masks = as_masks(mask)[:, None]
    if picture.ndim != 4 or len(masks) not in (1, len(picture)):
        raise LatentError(
            f"inpainting takes pictures [batch, height, width, channels] with one mask for all or one for each, not"
            f" {tuple(picture.shape)} with {len(masks)} masks"
        )
    return upscale(masks.float(), picture.shape[2], picture.shape[1], "bilinear")


def _greyed(picture: Tensor, planes: Tensor) -> Tensor:
    return (picture[..., :3] - GREY) * (1.0 - planes.round().movedim(1, -1)) + GREY


def grown(planes: Tensor, by: int) -> Tensor:
    """1 where a square of `by` pixels a side meets a mask of zeros and ones; an even one reaches further up and left.

    So the mask grows by one pixel more to the right and below, as in ComfyUI.
    """
    if by == 0:
        return planes
    height, width = planes.shape[-2:]
    return F.max_pool2d(planes, by, stride=1, padding=by // 2)[..., :height, :width]
