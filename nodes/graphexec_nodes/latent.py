"""Nodes that make latents, and cut, turn, join and resize them."""

from __future__ import annotations

from typing import Annotated, Literal

from graphexec.diffusion.types import Latent, Mask
from graphexec.node.decorator import node
from graphexec.node.fields import BatchSize, Pixels, Range, Unit, Widget
from graphexec_nodes import facts

UpscaleMethod = Literal["nearest-exact", "bilinear", "area", "bicubic", "bislerp"]
Cropped = Literal["disabled", "center"]
Side = Annotated[int, Range(ge=0, le=16_384), Widget(step=8)]
CropSide = Annotated[int, Range(ge=64, le=16_384), Widget(step=8)]
Factor = Annotated[float, Range(ge=0.01, le=8.0), Widget(step=0.01)]
Place = Annotated[int, Range(ge=-16_384, le=16_384), Widget(step=1)]
Amount = Annotated[int, Range(ge=1, le=16_384), Widget(step=1)]


@node("EmptyLatentImage", category="latent", display_name="Empty Latent Image", infer=facts.of_empty_latent)
def make_empty_latent(width: Pixels = 512, height: Pixels = 512, batch_size: BatchSize = 1) -> Latent:
    """Make a batch of empty latents, to be denoised into pictures.

    Args:
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        batch_size: how many pictures at once.
    """
    from graphexec.diffusion.images import empty_latent

    return empty_latent(width, height, batch_size)


@node("LatentUpscale", category="latent", display_name="Upscale Latent")
def upscale_latent(
    samples: Latent, upscale_method: UpscaleMethod, width: Side = 512, height: Side = 512, *, crop: Cropped
) -> Latent:
    """Resample latents for pictures of another size.

    Args:
        samples: the latents.
        upscale_method: how values between cells are made.
        width: of the picture, in pixels; 0 follows from the height, and both 0 change nothing.
        height: of the picture, in pixels; 0 follows from the width.
        crop: whether the middle is cut out first, to keep proportions.
    """
    from graphexec.diffusion.latents.transform import upscale_to

    return upscale_to(samples, upscale_method, width, height, crop)


@node("LatentUpscaleBy", category="latent", display_name="Upscale Latent By")
def upscale_latent_by(samples: Latent, upscale_method: UpscaleMethod, scale_by: Factor = 1.5) -> Latent:
    """Resample latents to a multiple of their size.

    Args:
        samples: the latents.
        upscale_method: how values between cells are made.
        scale_by: how many times the sides get longer.
    """
    from graphexec.diffusion.latents.transform import upscale_by

    return upscale_by(samples, upscale_method, scale_by)


@node("LatentComposite", category="latent", display_name="Latent Composite", infer=facts.of_composite)
def composite_latents(samples_to: Latent, samples_from: Latent, x: Side = 0, y: Side = 0, feather: Side = 0) -> Latent:
    """Lay latents over others.

    Args:
        samples_to: what lies below.
        samples_from: what is laid over it; as many, or repeated.
        x: where its left edge lies, in pixels.
        y: where its upper edge lies, in pixels.
        feather: how far its inner edges fade, in pixels.
    """
    from graphexec.diffusion.latents.transform import composite

    return composite(samples_to, samples_from, x, y, feather)


@node("LatentBlend", category="_for_testing", display_name="Latent Blend", infer=facts.of_blend)
def blend_latents(samples1: Latent, samples2: Latent, blend_factor: Unit = 0.5) -> Latent:
    """Mix two latents.

    Args:
        samples1: the first.
        samples2: the second; resampled and cropped to the size of the first.
        blend_factor: how much of the first there is.
    """
    from graphexec.diffusion.latents.arithmetic import blend

    return blend(samples1, samples2, blend_factor)


@node("LatentCrop", category="latent/transform", display_name="Crop Latent")
def crop_latent(samples: Latent, width: CropSide = 512, height: CropSide = 512, x: Side = 0, y: Side = 0) -> Latent:
    """Cut a rectangle out of latents.

    Args:
        samples: the latents.
        width: of the rectangle, in pixels of the picture.
        height: of the rectangle, in pixels.
        x: its left edge, in pixels.
        y: its upper edge, in pixels.
    """
    from graphexec.diffusion.latents.transform import crop

    return crop(samples, width, height, x, y)


@node("LatentFlip", category="latent/transform", display_name="Flip Latent", infer=facts.of_same)
def flip_latent(samples: Latent, flip_method: Literal["x-axis: vertically", "y-axis: horizontally"]) -> Latent:
    """Mirror latents.

    Args:
        samples: the latents.
        flip_method: upside down or left to right.
    """
    from graphexec.diffusion.latents.transform import flip

    return flip(samples, flip_method)


@node("LatentRotate", category="latent/transform", display_name="Rotate Latent")
def rotate_latent(samples: Latent, rotation: Literal["none", "90 degrees", "180 degrees", "270 degrees"]) -> Latent:
    """Turn latents clockwise.

    Args:
        samples: the latents.
        rotation: how far.
    """
    from graphexec.diffusion.latents.transform import rotate

    return rotate(samples, rotation)


@node("LatentConcat", category="latent/advanced")
def concat_latents(samples1: Latent, samples2: Latent, dim: Literal["x", "-x", "y", "-y", "t", "-t"]) -> Latent:
    """Put latents side by side or one below the other.

    Args:
        samples1: the first.
        samples2: the second; as many as the first, or repeated.
        dim: along which side; with a minus the second comes first. t joins the channels of pictures.
    """
    from graphexec.diffusion.latents.transform import concat

    return concat(samples1, samples2, dim)


@node("LatentCut", category="latent/advanced")
def cut_latent(samples: Latent, dim: Literal["x", "y", "t"], index: Place = 0, amount: Amount = 1) -> Latent:
    """Keep some columns or rows of latents.

    Args:
        samples: the latents.
        dim: x for columns, y for rows; t takes channels of pictures.
        index: the first to keep, in cells; a negative one counts from the end.
        amount: how many to keep.
    """
    from graphexec.diffusion.latents.transform import cut

    return cut(samples, dim, index, amount)


@node("SetLatentNoiseMask", category="latent/inpaint", display_name="Set Latent Noise Mask", infer=facts.of_same)
def set_noise_mask(samples: Latent, mask: Mask) -> Latent:
    """Say where sampling may change latents.

    Args:
        samples: the latents.
        mask: 1 where they may change; of any size.
    """
    from graphexec.diffusion.latents.batches import with_noise_mask

    return with_noise_mask(samples, mask)
