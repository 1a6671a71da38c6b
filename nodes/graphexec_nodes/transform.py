"""Nodes that make, cut, turn, extend and gather pictures."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from graphexec.diffusion.types import Image, Mask
from graphexec.node.decorator import node
from graphexec.node.fields import BatchSize, Range, Widget
from graphexec_nodes.measures import Cells, Color, EvenCells, Side

BatchIndex = Annotated[int, Range(ge=0, le=4095)]
Spacing = Annotated[int, Range(ge=0, le=1024), Widget(step=2)]


class ImageSize(NamedTuple):
    """Width and height in pixels, and how many pictures."""

    width: int
    height: int
    batch_size: int


@node("GetImageSize", category="image", display_name="Get Image Size")
def image_size(image: Image) -> ImageSize:
    """Tell the size of pictures.

    Args:
        image: the pictures.
    """
    count, height, width = image.shape[:3]
    return ImageSize(width, height, count)


@node("EmptyImage", category="image")
def make_image(width: Side = 512, height: Side = 512, batch_size: BatchSize = 1, color: Color = 0) -> Image:
    """Make pictures of one color.

    Args:
        width: in pixels.
        height: in pixels.
        batch_size: how many.
        color: 0xRRGGBB as a number.
    """
    from graphexec.diffusion.imaging.transform import solid

    return solid(width, height, batch_size, color)


@node("ImageCrop", category="image/transform", display_name="Image Crop")
def crop_image(image: Image, width: Side = 512, height: Side = 512, x: Cells = 0, y: Cells = 0) -> Image:
    """Cut a part out of pictures; what lies beyond their edges is left out.

    Args:
        image: the pictures.
        width: of the part, in pixels.
        height: of the part, in pixels.
        x: of its left edge; a place beyond the picture is the last column.
        y: of its upper edge; a place beyond the picture is the last row.
    """
    from graphexec.diffusion.imaging.transform import crop

    return crop(image, x, y, width, height)


@node("ImageFlip", category="image/transform")
def flip_image(image: Image, flip_method: Literal["x-axis: vertically", "y-axis: horizontally"]) -> Image:
    """Mirror pictures.

    Args:
        image: the pictures.
        flip_method: upside down, or left to right.
    """
    return image.flip(1 if flip_method.startswith("x") else 2)


@node("ImageRotate", category="image/transform")
def rotate_image(image: Image, rotation: Literal["none", "90 degrees", "180 degrees", "270 degrees"]) -> Image:
    """Turn pictures clockwise.

    Args:
        image: the pictures.
        rotation: how far.
    """
    quarters = ("none", "90 degrees", "180 degrees", "270 degrees").index(rotation)
    return image.rot90(quarters, (2, 1))


@node("ImageStitch", category="image/transform", display_name="Image Stitch")
def stitch_images(
    image1: Image,
    direction: Literal["right", "down", "left", "up"] = "right",
    match_image_size: bool = True,
    spacing_width: Spacing = 0,
    spacing_color: Literal["white", "black", "red", "green", "blue"] = "white",
    image2: Image | None = None,
) -> Image:
    """Put two pictures side by side.

    Args:
        image1: the first.
        direction: where the second lies, seen from the first.
        match_image_size: resize the second to the height (or width) of the first; else the smaller one gets bars.
        spacing_width: between them, in pixels; an odd number grows by one.
        spacing_color: between them; of the bars, too, as far as white and black go.
        image2: the second; without it the first comes back.
    """
    from graphexec.diffusion.imaging.transform import stitch

    if image2 is None:
        return image1
    return stitch(image1, image2, direction, match_image_size, spacing_width, spacing_color)


@node("ImagePadForOutpaint", category="image", display_name="Pad Image for Outpainting")
def pad_for_outpaint(
    image: Image,
    left: EvenCells = 0,
    top: EvenCells = 0,
    right: EvenCells = 0,
    bottom: EvenCells = 0,
    feathering: Cells = 40,
) -> tuple[Image, Mask]:
    """Extend pictures with grey, and mark what is new.

    Args:
        image: the pictures.
        left: how far, in pixels.
        top: how far, in pixels.
        right: how far, in pixels.
        bottom: how far, in pixels.
        feathering: over how many pixels the mask fades into the picture.
    """
    from graphexec.diffusion.imaging.transform import outpaint_frame

    return outpaint_frame(image, left, top, right, bottom, feathering)


@node("ImageBatch", category="image", display_name="Batch Images")
def batch_images(image1: Image, image2: Image) -> Image:
    """Gather pictures in one batch.

    Args:
        image1: the first ones.
        image2: the others, which are resized to the first ones and cut to their proportions.
    """
    from graphexec.diffusion.imaging.transform import batch

    return batch(image1, image2)


@node("ImageFromBatch", category="image/batch")
def image_from_batch(image: Image, batch_index: BatchIndex = 0, length: BatchSize = 1) -> Image:
    """Take some pictures out of a batch.

    Args:
        image: the batch.
        batch_index: of the first one, from 0; beyond the end it is the last one.
        length: how many, as far as there are.
    """
    from graphexec.diffusion.imaging.batches import pick

    return pick(image, batch_index, length)


@node("RepeatImageBatch", category="image/batch")
def repeat_images(image: Image, amount: BatchSize = 1) -> Image:
    """Repeat a batch of pictures.

    Args:
        image: the batch.
        amount: how many times.
    """
    return image.repeat(amount, 1, 1, 1)


@node("RebatchImages", category="image/batch", display_name="Rebatch Images")
def rebatch_images(images: list[Image], batch_size: BatchSize = 1) -> list[Image]:
    """Gather pictures of a list in batches of another size.

    Args:
        images: the batches.
        batch_size: of the new ones; the last may be smaller, and one ends where the size of pictures changes.
    """
    from graphexec.diffusion.imaging.batches import rebatch

    return rebatch(images, batch_size)
