"""Nodes that change the pixels of pictures: colors, filters, edges, noise."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from graphexec.diffusion.types import Image
from graphexec.node.decorator import node
from graphexec.node.fields import Name, Range, Seed, Unit, Widget

Radius = Annotated[int, Range(ge=1, le=31), Widget(step=1)]
Colors = Annotated[int, Range(ge=1, le=256), Widget(step=1)]
KernelSize = Annotated[int, Range(ge=3, le=999), Widget(step=1)]
Threshold = Annotated[float, Range(ge=0.01, le=0.99), Widget(step=0.01)]


class Channels(NamedTuple):
    """Brightness and the two color differences, each a grey picture."""

    y: Annotated[Image, Name("Y")]
    u: Annotated[Image, Name("U")]
    v: Annotated[Image, Name("V")]


@node("ImageInvert", category="image", display_name="Invert Image")
def invert_image(image: Image) -> Image:
    """Turn pictures into their negatives.

    Args:
        image: the pictures.
    """
    return 1.0 - image


@node("ImageAddNoise", category="image")
def add_noise(image: Image, seed: Seed = 0, strength: Unit = 0.5) -> Image:
    """Add Gaussian noise to pictures.

    Args:
        image: the pictures.
        seed: of the noise.
        strength: its standard deviation.
    """
    from graphexec.diffusion.sampling.noise import initial_noise

    return (image + strength * initial_noise(image, seed)).clamp(0.0, 1.0)


@node("ImageBlend", category="image/postprocessing")
def blend_images(
    image1: Image,
    image2: Image,
    blend_factor: Unit = 0.5,
    *,
    blend_mode: Literal["normal", "multiply", "screen", "overlay", "soft_light", "difference"],
) -> Image:
    """Blend pictures with others.

    Args:
        image1: the pictures.
        image2: the others, which are resized to the pictures and cut to their proportions.
        blend_factor: share of the blend; the rest is the picture as it was.
        blend_mode: how two pixels become one.
    """
    from graphexec.diffusion.imaging.blend import blend

    return blend(image1, image2, blend_factor, blend_mode)


@node("ImageBlur", category="image/postprocessing")
def blur_image(
    image: Image,
    blur_radius: Radius = 1,
    sigma: Annotated[float, Range(ge=0.1, le=10.0), Widget(step=0.1)] = 1.0,
) -> Image:
    """Blur pictures.

    Args:
        image: the pictures.
        blur_radius: how far it reaches, in pixels.
        sigma: width of the bell, in radii.
    """
    from graphexec.diffusion.imaging.filters import blur

    return blur(image, blur_radius, sigma)


@node("ImageSharpen", category="image/postprocessing")
def sharpen_image(
    image: Image,
    sharpen_radius: Radius = 1,
    sigma: Annotated[float, Range(ge=0.1, le=10.0), Widget(step=0.01)] = 1.0,
    alpha: Annotated[float, Range(ge=0.0, le=5.0), Widget(step=0.01)] = 1.0,
) -> Image:
    """Sharpen pictures.

    Args:
        image: the pictures.
        sharpen_radius: how far it reaches, in pixels.
        sigma: width of the bell that is subtracted, in radii.
        alpha: how much.
    """
    from graphexec.diffusion.imaging.filters import sharpen

    return sharpen(image, sharpen_radius, sigma, alpha)


@node("ImageQuantize", category="image/postprocessing")
def quantize_image(
    image: Image,
    colors: Colors = 256,
    *,
    dither: Literal["none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16"],
) -> Image:
    """Reduce pictures to a palette.

    Args:
        image: the pictures.
        colors: how many at most.
        dither: how to feign the colors between.
    """
    from graphexec.diffusion.imaging.quantize import quantize

    return quantize(image, colors, dither)


@node("ImageRGBToYUV", category="image/batch")
def image_to_yuv(image: Image) -> Channels:
    """Take pictures apart into brightness and color differences (BT.601, full range, grey in the middle).

    Args:
        image: the pictures.
    """
    from graphexec.diffusion.imaging.color import rgb_to_yuv

    return Channels(*rgb_to_yuv(image))


@node("ImageYUVToRGB", category="image/batch")
def image_from_yuv(
    y: Annotated[Image, Name("Y")], u: Annotated[Image, Name("U")], v: Annotated[Image, Name("V")]
) -> Image:
    """Put pictures together from brightness and color differences.

    Args:
        y: brightness.
        u: blue less brightness.
        v: red less brightness.
    """
    from graphexec.diffusion.imaging.color import yuv_to_rgb

    return yuv_to_rgb(y, u, v)


@node("Morphology", category="image/postprocessing", display_name="ImageMorphology")
def morph_image(
    image: Image,
    operation: Literal["erode", "dilate", "open", "close", "gradient", "bottom_hat", "top_hat"],
    kernel_size: KernelSize = 3,
) -> Image:
    """Let dark or bright parts of pictures grow.

    Args:
        image: the pictures.
        operation: which one.
        kernel_size: side of the square that it looks at, in pixels.
    """
    from graphexec.diffusion.imaging.morphology import morphology

    return morphology(image, operation, kernel_size)


@node("Canny", category="image/preprocessors")
def find_edges(image: Image, low_threshold: Threshold = 0.4, high_threshold: Threshold = 0.8) -> Image:
    """Find the edges in pictures.

    Args:
        image: the pictures.
        low_threshold: gradient of an edge that hangs on a strong one.
        high_threshold: gradient of a strong edge.
    """
    from graphexec.diffusion.imaging.canny import canny

    return canny(image, low_threshold, high_threshold)
