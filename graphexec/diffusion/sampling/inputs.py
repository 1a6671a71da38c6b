"""What a UNet is shown besides the noisy latents and the text: SDXL's vector, extra channels of inpainting models."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from graphexec.diffusion.families import FAMILIES, SIZE_WIDTH
from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.batches import as_masks
from graphexec.diffusion.imaging.resize import upscale
from graphexec.diffusion.latent_format import to_model
from graphexec.diffusion.models.unet import timestep_embedding
from graphexec.diffusion.types import DOWNSCALE, Cond, Family, Model, SizeHint

__all__ = ["Surroundings", "extra_channels", "size_vector"]

POSITIVE_SCORE, NEGATIVE_SCORE = 6.0, 2.5
GREY = (0.8223, -0.6876, 0.6364, 0.1380)
"""Medium grey as scaled SD 1.x latents: what inpainting models see where they are shown no picture."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all conds of a run share: the latents (scaled) [B, C, h, w] and the mask of what may change [B, 1, h, w]."""

    model: Model
    latent: Tensor
    mask: Tensor | None


def size_vector(cond: Cond, family: Family, like: Tensor, *, negative: bool) -> Tensor:
    """SDXL's vector [B, V] of a cond (Podell et al. 2023, https://arxiv.org/abs/2307.01952): pooled text, then sizes.

    Sizes that a cond does not tell are those of the picture. Raises `LatentError` if there is no pooled text.
    """
    if cond.pooled is None:
        raise LatentError(
            "SDXL needs the pooled output of its text encoders, which this conditioning does not have: encode the"
            " prompt with the CLIP of the same checkpoint"
        )
    sizes = torch.tensor(_sizes(cond.size, family, like, negative=negative), dtype=torch.float32)
    embedded = timestep_embedding(sizes, SIZE_WIDTH).flatten()[None].to(like.device)
    pooled = cond.pooled.to(like.device, torch.float32)
    return torch.cat([pooled, embedded.expand(len(pooled), -1)], dim=1)


def extra_channels(cond: Cond, missing: int, around: Surroundings) -> Tensor:
    """The channels [B, missing, h, w] that come after the noisy latents.

    One more than the latents' own: a mask and the picture without what it covers, for inpainting (Rombach et al. 2022).
    As many: the picture to edit, for instruct-pix2pix (Brooks et al. 2022, https://arxiv.org/abs/2211.09800).
    """
    channels = around.latent.shape[1]
    if missing == channels:
        return _edited(cond, around)
    if missing != channels + 1:
        raise LatentError(f"the model takes {missing} channels more than its latents have, which is of no known kind")
    mask = around.mask if cond.inpaint is None or cond.inpaint.mask is None else cond.inpaint.mask
    if mask is None:
        grey = torch.tensor(GREY).view(1, -1, 1, 1).to(around.latent).expand_as(around.latent)
        return torch.cat([torch.ones_like(around.latent[:, :1]), grey], dim=1)
    shown = around.latent if cond.inpaint is None else to_model(around.model, cond.inpaint.latent)
    planes = _fit(as_masks(mask)[:, None], around.latent).round()
    return torch.cat([planes, _fit(shown, around.latent)], dim=1)


def _edited(cond: Cond, around: Surroundings) -> Tensor:
    """The picture's latents, scaled or as the VAE gives them: as the model was trained."""
    if cond.inpaint is None:
        return torch.zeros_like(around.latent)
    scale = FAMILIES[around.model.family].latent_scale if around.model.sampling.scaled_edits else 1.0
    return _fit(cond.inpaint.latent, around.latent) * scale


def _sizes(size: SizeHint | None, family: Family, like: Tensor, *, negative: bool) -> list[float]:
    height, width = (side * DOWNSCALE for side in like.shape[-2:])
    told = size or SizeHint(width, height, 0, 0, width, height)
    crops = [told.height, told.width, told.crop_h, told.crop_w]
    if family != "sdxl_refiner":
        return [*crops, told.target_height, told.target_width]
    usual = NEGATIVE_SCORE if negative else POSITIVE_SCORE
    return [*crops, usual if told.aesthetic_score is None else told.aesthetic_score]


def _fit(picture: Tensor, like: Tensor) -> Tensor:
    """At the latents' size and batch: the middle of it where the sides are of another ratio.

    Where the batch is of another number, neighbours share a picture, or some are left out, the first and last not.
    """
    rows, columns = like.shape[-2:]
    picture = picture.to(like)
    if picture.shape[-2:] != like.shape[-2:]:
        picture = upscale(picture, columns, rows, "bilinear", "center")
    return picture if len(picture) == len(like) else picture[_spread(len(picture), len(like))]


def _spread(pictures: int, batch: int) -> list[int]:
    """Which of so many pictures each of a batch gets; in float64, whose rounding is ComfyUI's too."""
    if pictures < batch:
        return [math.floor((i + 0.5) * (pictures / batch)) for i in range(batch)]
    return [round(i * ((pictures - 1) / max(batch - 1, 1))) for i in range(batch)]
