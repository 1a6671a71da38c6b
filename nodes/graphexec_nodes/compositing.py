"""Nodes that lay pictures and latents over each other, and join and split their alpha."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from graphexec.diffusion.types import Image, Latent, Mask
from graphexec.node.decorator import node
from graphexec_nodes.measures import Cells, EvenCells

LATENT_CELL = 8
"""Pixels a side."""

PorterDuff = Literal[
    "ADD", "CLEAR", "DARKEN", "DST", "DST_ATOP", "DST_IN", "DST_OUT", "DST_OVER", "LIGHTEN", "MULTIPLY", "OVERLAY",
    "SCREEN", "SRC", "SRC_ATOP", "SRC_IN", "SRC_OUT", "SRC_OVER", "XOR",
]  # fmt: skip


@node("ImageCompositeMasked", category="image")
def composite_images(
    destination: Image,
    source: Image,
    x: Cells = 0,
    y: Cells = 0,
    resize_source: bool = False,
    mask: Mask | None = None,
) -> Image:
    """Lay pictures over others.

    Args:
        destination: the pictures below.
        source: the pictures above; they lose or get an opaque alpha as those below have one.
        x: where their left edge lies.
        y: where their upper edge lies.
        resize_source: to the size of the pictures below.
        mask: how much of them shows, 0 to 1; it is resized to them.
    """
    from graphexec.diffusion.imaging.compositing import paste_picture

    return paste_picture(destination, source, x, y, mask, resize_source)


@node("LatentCompositeMasked", category="latent")
def composite_latents(
    destination: Latent,
    source: Latent,
    x: EvenCells = 0,
    y: EvenCells = 0,
    resize_source: bool = False,
    mask: Mask | None = None,
) -> Latent:
    """Lay latents over others.

    Args:
        destination: the latents below.
        source: the latents above.
        x: where their left edge lies, in pixels.
        y: where their upper edge lies, in pixels.
        resize_source: to the size of the latents below.
        mask: how much of them shows, 0 to 1; it is resized to them.
    """
    from graphexec.diffusion.imaging.compositing import paste

    left, top = x // LATENT_CELL, y // LATENT_CELL
    return replace(destination, samples=paste(destination.samples, source.samples, left, top, mask, resize_source))


@node("PorterDuffImageComposite", category="mask/compositing", display_name="Porter-Duff Image Composite")
def composite_with_alpha(
    source: Image, source_alpha: Mask, destination: Image, destination_alpha: Mask, mode: PorterDuff = "DST"
) -> tuple[Image, Mask]:
    """Lay pictures with alpha over others, by Porter and Duff's operators or a blend mode.

    Args:
        source: the pictures above, which are resized to those below and cut to their proportions.
        source_alpha: what is transparent of them.
        destination: the pictures below.
        destination_alpha: what is transparent of them.
        mode: which operator.
    """
    from graphexec.diffusion.imaging.porter_duff import porter_duff

    return porter_duff(source, source_alpha, destination, destination_alpha, mode)


@node("SplitImageWithAlpha", category="mask/compositing", display_name="Split Image with Alpha")
def split_image(image: Image) -> tuple[Image, Mask]:
    """Take the alpha off pictures, as masks of what is transparent.

    Args:
        image: the pictures.
    """
    from graphexec.diffusion.imaging.compositing import split_alpha

    return split_alpha(image)


@node("JoinImageWithAlpha", category="mask/compositing", display_name="Join Image with Alpha")
def join_image(image: Image, alpha: Mask) -> Image:
    """Give pictures an alpha.

    Args:
        image: the pictures.
        alpha: masks of what is transparent, which are resized to them.
    """
    from graphexec.diffusion.imaging.compositing import join_alpha

    return join_alpha(image, alpha)
