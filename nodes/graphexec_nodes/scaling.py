"""Nodes that give pictures another size."""

from __future__ import annotations

from typing import Annotated, Literal

from graphexec.diffusion.types import Image
from graphexec.node.decorator import node
from graphexec.node.fields import Range, Widget
from graphexec_nodes.measures import Cells, Cropped, PictureMethod, Side

Factor = Annotated[float, Range(ge=0.01, le=8.0), Widget(step=0.01)]
Megapixels = Annotated[float, Range(ge=0.01, le=16.0), Widget(step=0.01)]


@node("ImageScale", category="image/upscaling", display_name="Upscale Image")
def scale_image(
    image: Image, upscale_method: PictureMethod, width: Cells = 512, height: Cells = 512, *, crop: Cropped
) -> Image:
    """Resize pictures.

    Args:
        image: the pictures.
        upscale_method: how to resample; only area and lanczos filter before shrinking.
        width: in pixels; 0 follows from the height.
        height: in pixels; 0 follows from the width.
        crop: center cuts the longer side off first, so that proportions stay.
    """
    from graphexec.diffusion.imaging.scaling import scale

    return scale(image, width, height, upscale_method, crop)


@node("ImageScaleBy", category="image/upscaling", display_name="Upscale Image By")
def scale_image_by(image: Image, upscale_method: PictureMethod, scale_by: Factor = 1.0) -> Image:
    """Resize pictures by a factor.

    Args:
        image: the pictures.
        upscale_method: how to resample; only area and lanczos filter before shrinking.
        scale_by: what both sides are multiplied with.
    """
    from graphexec.diffusion.imaging import scaling

    return scaling.scale_by(image, scale_by, upscale_method)


@node("ImageScaleToTotalPixels", category="image/upscaling")
def scale_image_to_pixels(image: Image, upscale_method: PictureMethod, megapixels: Megapixels = 1.0) -> Image:
    """Resize pictures to about so many pixels, in proportion.

    Args:
        image: the pictures.
        upscale_method: how to resample; only area and lanczos filter before shrinking.
        megapixels: times 1024 x 1024 pixels.
    """
    from graphexec.diffusion.imaging.scaling import scale_to_megapixels

    return scale_to_megapixels(image, megapixels, upscale_method)


@node("ImageScaleToMaxDimension", category="image/upscaling")
def scale_image_to_longest(
    image: Image,
    upscale_method: Literal["area", "lanczos", "bilinear", "nearest-exact", "bicubic"],
    largest_size: Cells = 512,
) -> Image:
    """Resize pictures so that their longer side has so many pixels, in proportion.

    Args:
        image: the pictures.
        upscale_method: how to resample; only area and lanczos filter before shrinking.
        largest_size: of the longer side, in pixels.
    """
    from graphexec.diffusion.imaging.scaling import scale_to_longest

    return scale_to_longest(image, largest_size, upscale_method)


@node("ResizeAndPadImage", category="image/transform")
def fit_image(
    image: Image,
    target_width: Side = 512,
    target_height: Side = 512,
    *,
    padding_color: Literal["white", "black"],
    interpolation: Literal["area", "bicubic", "nearest-exact", "bilinear", "lanczos"],
) -> Image:
    """Resize pictures in proportion until they fit into a frame, and fill the rest of it.

    Args:
        image: the pictures.
        target_width: of the frame, in pixels.
        target_height: of the frame, in pixels.
        padding_color: of the rest.
        interpolation: how to resample; only area and lanczos filter before shrinking.
    """
    from graphexec.diffusion.imaging.scaling import fit_into

    return fit_into(image, target_width, target_height, 1.0 if padding_color == "white" else 0.0, interpolation)
