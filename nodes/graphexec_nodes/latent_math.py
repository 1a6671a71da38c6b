"""Nodes that calculate with latents."""

from __future__ import annotations

from typing import Annotated

from graphexec.diffusion.latents.kinds import LatentOperation, Sharpen, TonemapReinhard
from graphexec.diffusion.options import OperateOnGuidance
from graphexec.diffusion.types import Latent, Model
from graphexec.node.decorator import node
from graphexec.node.fields import Range, Unit, Widget
from graphexec_nodes import facts

CATEGORY = "latent/advanced"
OPERATIONS = "latent/advanced/operations"

Multiplier = Annotated[float, Range(ge=-10.0, le=10.0), Widget(step=0.01)]
Steepness = Annotated[float, Range(ge=0.0, le=100.0), Widget(step=0.01)]
Radius = Annotated[int, Range(ge=1, le=31), Widget(step=1)]
Sigma = Annotated[float, Range(ge=0.1, le=10.0), Widget(step=0.1)]
Alpha = Annotated[float, Range(ge=0.0, le=5.0), Widget(step=0.01)]


@node("LatentAdd", category=CATEGORY, infer=facts.of_first)
def add_latents(samples1: Latent, samples2: Latent) -> Latent:
    """Add latents.

    Args:
        samples1: the first.
        samples2: the second, resampled, cropped and repeated to be like the first.
    """
    from graphexec.diffusion.latents.arithmetic import add

    return add(samples1, samples2)


@node("LatentSubtract", category=CATEGORY, infer=facts.of_first)
def subtract_latents(samples1: Latent, samples2: Latent) -> Latent:
    """Take latents off others.

    Args:
        samples1: the first.
        samples2: what is taken off, resampled, cropped and repeated to be like the first.
    """
    from graphexec.diffusion.latents.arithmetic import subtract

    return subtract(samples1, samples2)


@node("LatentMultiply", category=CATEGORY, infer=facts.of_same)
def multiply_latent(samples: Latent, multiplier: Multiplier = 1.0) -> Latent:
    """Multiply latents by a number.

    Args:
        samples: the latents.
        multiplier: the number.
    """
    from graphexec.diffusion.latents.arithmetic import multiply

    return multiply(samples, multiplier)


@node("LatentInterpolate", category=CATEGORY, infer=facts.of_first)
def interpolate_latents(samples1: Latent, samples2: Latent, ratio: Unit = 1.0) -> Latent:
    """Mix latents by direction and by strength.

    Args:
        samples1: the first.
        samples2: the second, resampled, cropped and repeated to be like the first.
        ratio: how much of the first there is.
    """
    from graphexec.diffusion.latents.arithmetic import interpolate

    return interpolate(samples1, samples2, ratio)


@node("LatentApplyOperation", category=OPERATIONS, infer=facts.of_same)
def operate_on_latent(samples: Latent, operation: LatentOperation) -> Latent:
    """Apply an operation to latents.

    Args:
        samples: the latents.
        operation: what is done.
    """
    from graphexec.diffusion.latents.operations import apply_operation

    return apply_operation(samples, operation)


@node("LatentApplyOperationCFG", category=OPERATIONS, infer=facts.of_model)
def operate_on_guidance(model: Model, operation: LatentOperation) -> Model:
    """Apply an operation to what guidance adds, at every step of sampling.

    Args:
        model: the diffusion model.
        operation: what is done.
    """
    return model.with_option(OperateOnGuidance(operation))


@node("LatentOperationTonemapReinhard", category=OPERATIONS)
def tonemap_reinhard(multiplier: Steepness = 1.0) -> LatentOperation:
    """An operation that presses high contrasts together.

    Args:
        multiplier: of the highest contrast; less presses more, and 0 leaves nothing.
    """
    return TonemapReinhard(multiplier)


@node("LatentOperationSharpen", category=OPERATIONS)
def sharpen(sharpen_radius: Radius = 9, sigma: Sigma = 1.0, alpha: Alpha = 0.1) -> LatentOperation:
    """An operation that sharpens.

    Args:
        sharpen_radius: how many cells around count.
        sigma: how wide the blur is that is taken off, in radiuses.
        alpha: how strong it is.
    """
    return Sharpen(sharpen_radius, sigma, alpha)
