"""Nodes of ComfyUI with its names, inputs, ranges and defaults, but without torch: a latent is its shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from graphexec.node.decorator import node
from graphexec.node.fields import Artifacts, BatchSize, Pixels, Unit

LARGEST = 9223372036854775807

Upscaled = Annotated[int, Field(ge=0, le=16384)]


@dataclass(frozen=True)
class Latent:
    """The shape of a latent: batch, channels, height, width."""

    shape: tuple[int, int, int, int]


@node("EmptyLatentImage")
def empty_latent_image(width: Pixels = 512, height: Pixels = 512, batch_size: BatchSize = 1) -> Latent:
    """A latent of zeros for a picture of this size."""
    return Latent((batch_size, 4, height // 8, width // 8))


@node("LatentUpscale")
def latent_upscale(
    samples: Latent,
    upscale_method: Literal["nearest-exact", "bilinear", "area", "bicubic", "bislerp"],
    crop: Literal["disabled", "center"],
    width: Upscaled = 512,
    height: Upscaled = 512,
) -> Latent:
    """A latent of another size."""
    return Latent((*samples.shape[:2], height // 8, width // 8))


@node("LatentFlip")
def latent_flip(samples: Latent, flip_method: Literal["x-axis: vertically", "y-axis: horizontally"]) -> Latent:
    """A latent in the mirror."""
    return samples


@node("LatentBlend")
def latent_blend(samples1: Latent, samples2: Latent, blend_factor: Unit = 0.5) -> Latent:
    """A mixture of two latents."""
    return samples1


@node("PrimitiveInt")
def primitive_int(value: Annotated[int, Field(ge=-LARGEST, le=LARGEST)]) -> int:
    """A whole number."""
    return value


@node("PrimitiveFloat")
def primitive_float(value: Annotated[float, Field(ge=-LARGEST, le=LARGEST)]) -> float:
    """A number."""
    return value


@node("PrimitiveString")
def primitive_string(value: str) -> str:
    """A text."""
    return value


@node("PrimitiveBoolean")
def primitive_boolean(value: bool) -> bool:
    """True or false."""
    return value


@node("PreviewAny")
def preview_any(source: Any) -> Artifacts:
    """Shows a value."""
    return Artifacts(text=(str(source),))
