"""Nodes that make and change masks."""

from __future__ import annotations

from typing import Annotated, Literal

from graphexec.diffusion.types import Image, Mask
from graphexec.node.decorator import node
from graphexec.node.fields import Range, Unit, Widget
from graphexec_nodes.measures import Cells, Color, Side

Growth = Annotated[int, Range(ge=-16_384, le=16_384), Widget(step=1)]


@node("SolidMask", category="mask")
def make_mask(value: Unit = 1.0, width: Side = 512, height: Side = 512) -> Mask:
    """Make a mask of one value.

    Args:
        value: 0 to 1.
        width: in pixels.
        height: in pixels.
    """
    import torch

    return torch.full((1, height, width), value)


@node("InvertMask", category="mask")
def invert_mask(mask: Mask) -> Mask:
    """Swap what is in a mask with what is not.

    Args:
        mask: the masks.
    """
    return 1.0 - mask


@node("CropMask", category="mask")
def crop_mask(mask: Mask, x: Cells = 0, y: Cells = 0, width: Side = 512, height: Side = 512) -> Mask:
    """Cut a part out of masks; nothing is left of a part beyond their edges.

    Args:
        mask: the masks.
        x: of its left edge.
        y: of its upper edge.
        width: of the part, in pixels.
        height: of the part, in pixels.
    """
    from graphexec.diffusion.imaging import masks

    return masks.crop_mask(mask, x, y, width, height)


@node("FeatherMask", category="mask")
def feather_mask(mask: Mask, left: Cells = 0, top: Cells = 0, right: Cells = 0, bottom: Cells = 0) -> Mask:
    """Let masks fade towards their edges.

    Args:
        mask: the masks.
        left: over how many pixels.
        top: over how many pixels.
        right: over how many pixels, less one: the last step falls on the left edge, as in ComfyUI.
        bottom: over how many pixels, less one: the last step falls on the upper edge, as in ComfyUI.
    """
    from graphexec.diffusion.imaging.masks import feather

    return feather(mask, left, top, right, bottom)


@node("GrowMask", category="mask")
def grow_mask(mask: Mask, expand: Growth = 0, tapered_corners: bool = True) -> Mask:
    """Move the edges of masks.

    Args:
        mask: the masks.
        expand: how far outwards, in pixels; a negative number shrinks.
        tapered_corners: grow less across corners.
    """
    from graphexec.diffusion.imaging.masks import grow

    return grow(mask, expand, tapered_corners)


@node("ThresholdMask", category="mask")
def threshold_mask(mask: Mask, value: Unit = 0.5) -> Mask:
    """Make masks black and white.

    Args:
        mask: the masks.
        value: what is above becomes 1, the rest 0.
    """
    from graphexec.diffusion.imaging.masks import threshold

    return threshold(mask, value)


@node("MaskToImage", category="mask", display_name="Convert Mask to Image")
def mask_to_image(mask: Mask) -> Image:
    """Show masks as grey pictures.

    Args:
        mask: the masks.
    """
    from graphexec.diffusion.imaging.masks import mask_picture

    return mask_picture(mask)


@node("ImageToMask", category="mask", display_name="Convert Image to Mask")
def image_to_mask(image: Image, channel: Literal["red", "green", "blue", "alpha"]) -> Mask:
    """Take one channel of pictures as masks.

    Args:
        image: the pictures.
        channel: which one; the alpha of pictures without one is 1 everywhere.
    """
    from graphexec.diffusion.imaging.masks import channel_mask

    return channel_mask(image, channel)


@node("ImageColorToMask", category="mask")
def color_to_mask(image: Image, color: Color = 0) -> Mask:
    """Mark where pictures have a color.

    Args:
        image: the pictures.
        color: 0xRRGGBB as a number.
    """
    from graphexec.diffusion.imaging.masks import color_mask

    return color_mask(image, color)


@node("MaskComposite", category="mask")
def composite_masks(
    destination: Mask,
    source: Mask,
    x: Cells = 0,
    y: Cells = 0,
    *,
    operation: Literal["multiply", "add", "subtract", "and", "or", "xor"],
) -> Mask:
    """Combine masks.

    Args:
        destination: the masks that are changed.
        source: what they are combined with.
        x: where its left edge lies on the destination.
        y: where its upper edge lies on the destination.
        operation: how two values become one; and, or, xor round them first.
    """
    from graphexec.diffusion.imaging.compositing import combine_masks

    return combine_masks(destination, source, x, y, operation)
