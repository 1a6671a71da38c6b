"""Nodes that change how a model is run rather than its weights."""

from __future__ import annotations

from typing import Annotated

from graphexec.diffusion import options
from graphexec.diffusion.types import Conditioning, Model
from graphexec.node.decorator import node
from graphexec.node.fields import Name, Range, Unit, Widget
from graphexec_nodes import facts

Patched = Annotated[Model, Name("patched_model")]
Weight = Annotated[float, Range(ge=0.0, le=10.0), Widget(step=0.01)]
Percent = Annotated[float, Range(ge=0.0, le=1.0), Widget(step=0.001)]


@node("DifferentialDiffusion", category="_for_testing", display_name="Differential Diffusion", infer=facts.of_model)
def differ(model: Model, strength: Unit | None = 1.0) -> Model:
    """Let a grey noise mask say how early each place may begin to change.

    Args:
        model: the diffusion model.
        strength: between 0 and 1, mixes with the mask as it is.
    """
    return model.with_option(options.DifferentialDiffusion(1.0 if strength is None else strength))


@node("RescaleCFG", category="advanced/model", infer=facts.of_model)
def rescale_cfg(model: Model, multiplier: Unit = 0.7) -> Model:
    """Bring the guided prediction back to the contrast of the positive one, against overexposure.

    Args:
        model: the diffusion model.
        multiplier: how much of the rescaled prediction is mixed in.
    """
    return model.with_option(options.RescaleCfg(multiplier))


@node("FreeU", category="model_patches/unet", infer=facts.of_model)
def free_u(model: Model, b1: Weight = 1.1, b2: Weight = 1.2, s1: Weight = 0.9, s2: Weight = 0.2) -> Model:
    """Raise a UNet's backbone and lower the low frequencies of its skip connections.

    Args:
        model: the diffusion model.
        b1: of the backbone at the deepest width.
        b2: of the backbone at the second deepest.
        s1: of the skip connections at the deepest width.
        s2: of the skip connections at the second deepest.
    """
    return model.with_option(options.FreeU(b1, b2, s1, s2, by_structure=False))


@node("FreeU_V2", category="model_patches/unet", infer=facts.of_model)
def free_u_v2(model: Model, b1: Weight = 1.3, b2: Weight = 1.4, s1: Weight = 0.9, s2: Weight = 0.2) -> Model:
    """Raise a UNet's backbone where more is going on, and lower the low frequencies of its skip connections.

    Args:
        model: the diffusion model.
        b1: of the backbone at the deepest width.
        b2: of the backbone at the second deepest.
        s1: of the skip connections at the deepest width.
        s2: of the skip connections at the second deepest.
    """
    return model.with_option(options.FreeU(b1, b2, s1, s2, by_structure=True))


@node("HyperTile", category="model_patches/unet", infer=facts.of_model)
def hyper_tile(
    model: Model,
    tile_size: Annotated[int, Range(ge=1, le=2048)] = 256,
    swap_size: Annotated[int, Range(ge=1, le=128)] = 2,
    max_depth: Annotated[int, Range(ge=0, le=10)] = 0,
    scale_depth: bool = False,
) -> Model:
    """Attend inside tiles: faster for large pictures.

    Args:
        model: the diffusion model.
        tile_size: the smallest tile, in pixels.
        swap_size: how many sizes of tiles are taken in turn.
        max_depth: how many times halved feature maps are tiled too.
        scale_depth: larger tiles for halved feature maps.
    """
    return model.with_option(options.HyperTile(tile_size, swap_size, max_depth, scale_depth))


@node("TomePatchModel", category="model_patches/unet", infer=facts.of_model)
def merge_tokens(model: Model, ratio: Unit = 0.3) -> Model:
    """Merge tokens that are alike before attention: faster.

    Args:
        model: the diffusion model.
        ratio: how many of them.
    """
    return model.with_option(options.TokenMerging(ratio))


@node("PerturbedAttentionGuidance", category="model_patches/unet", infer=facts.of_model)
def perturb_attention(
    model: Model, scale: Annotated[float, Range(ge=0.0, le=100.0), Widget(step=0.01, round=0.01)] = 3.0
) -> Model:
    """Lead away from what the model makes of the prompt without self-attention in its middle.

    Args:
        model: the diffusion model.
        scale: how strongly.
    """
    return model.with_option(options.PerturbedAttention(scale))


@node("SelfAttentionGuidance", category="_for_testing", display_name="Self-Attention Guidance", infer=facts.of_model)
def blur_attention(
    model: Model,
    scale: Annotated[float, Range(ge=-2.0, le=5.0), Widget(step=0.01)] = 0.5,
    blur_sigma: Annotated[float, Range(ge=0.0, le=10.0), Widget(step=0.1)] = 2.0,
) -> Model:
    """Lead away from what the model makes of a picture that is blurred where it attends most.

    Args:
        model: the diffusion model.
        scale: how strongly.
        blur_sigma: how far the blur reaches, in latent cells.
    """
    return model.with_option(options.SelfAttention(scale, blur_sigma))


@node(
    "PatchModelAddDownscale",
    category="model_patches/unet",
    display_name="PatchModelAddDownscale (Kohya Deep Shrink)",
    infer=facts.of_model,
)
def deep_shrink(
    model: Model,
    block_number: Annotated[int, Range(ge=1, le=32), Widget(step=1)] = 3,
    downscale_factor: Annotated[float, Range(ge=0.1, le=9.0), Widget(step=0.001)] = 2.0,
    start_percent: Percent = 0.0,
    end_percent: Percent = 0.35,
    downscale_after_skip: bool = True,
    *,
    downscale_method: options.Resampling,
    upscale_method: options.Resampling,
) -> Model:
    """Compose a large picture like a small one: the feature map is smaller inside, for part of the steps.

    Args:
        model: the diffusion model.
        block_number: the input block from which on it is smaller.
        downscale_factor: how many times smaller.
        start_percent: of the sampling range.
        end_percent: of the sampling range.
        downscale_after_skip: leave the skip connection of that block as it is.
        downscale_method: how it is made smaller.
        upscale_method: how it is made larger again.
    """
    return model.with_option(
        options.DeepShrink(
            block_number,
            downscale_factor,
            start_percent,
            end_percent,
            downscale_after_skip,
            downscale_method,
            upscale_method,
        )
    )


@node("APG", category="sampling/custom_sampling", display_name="Adaptive Projected Guidance", infer=facts.of_model)
def project_guidance(
    model: Model,
    eta: Annotated[float, Range(ge=-10.0, le=10.0), Widget(step=0.01)] = 1.0,
    norm_threshold: Annotated[float, Range(ge=0.0, le=50.0), Widget(step=0.1)] = 5.0,
    momentum: Annotated[float, Range(ge=-5.0, le=1.0), Widget(step=0.01)] = 0.0,
) -> Model:
    """Weigh guidance along the estimate apart from guidance across it, and limit both.

    Args:
        model: the diffusion model.
        eta: of the guidance along the estimate; 1 is plain guidance.
        norm_threshold: how long the guidance may be; 0 is no limit.
        momentum: of a running sum of the guidance; 0 is none.
    """
    return model.with_option(options.AdaptiveProjection(eta, norm_threshold, momentum))


@node("CFGNorm", category="advanced/guidance", infer=facts.of_model)
def limit_guided(model: Model, strength: Annotated[float, Range(ge=0.0, le=100.0), Widget(step=0.01)] = 1.0) -> Patched:
    """Let the guided estimate nowhere be longer than the positive one.

    Args:
        model: the diffusion model.
        strength: times so much.
    """
    return model.with_option(options.CfgNorm(strength))


@node("CFGZeroStar", category="advanced/guidance", infer=facts.of_model)
def fit_negative(model: Model) -> Patched:
    """Let the negative count by how well it fits the positive.

    Args:
        model: the diffusion model.
    """
    return model.with_option(options.CfgZeroStar())


@node(
    "Mahiro",
    category="_for_testing",
    display_name="Mahiro is so cute that she deserves a better guidance function!! (。・ω・。)",
    infer=facts.of_model,
)
def mahiro(model: Model) -> Patched:
    """Scale guidance more along the positive prompt, the less the negative is like it.

    Args:
        model: the diffusion model.
    """
    return model.with_option(options.Mahiro())


@node("TCFG", category="advanced/guidance", display_name="Tangential Damping CFG", infer=facts.of_model)
def damp_negative(model: Model) -> Patched:
    """Take from the negative what is tangential to the positive.

    Args:
        model: the diffusion model.
    """
    return model.with_option(options.TangentialDamping())


@node("Epsilon Scaling", category="model_patches/unet", infer=facts.of_model)
def scale_epsilon(
    model: Model, scaling_factor: Annotated[float, Range(ge=0.5, le=1.5), Widget(step=0.001)] = 1.005
) -> Model:
    """Divide the predicted noise by a factor, against exposure bias.

    Args:
        model: the diffusion model.
        scaling_factor: the factor.
    """
    return model.with_option(options.EpsilonScaling(scaling_factor))


@node("FreSca", category="_for_testing", infer=facts.of_model)
def scale_guidance_frequencies(
    model: Model,
    scale_low: Annotated[float, Range(ge=0.0, le=10.0), Widget(step=0.01)] = 1.0,
    scale_high: Annotated[float, Range(ge=0.0, le=10.0), Widget(step=0.01)] = 1.25,
    freq_cutoff: Annotated[int, Range(ge=1, le=10_000), Widget(step=1)] = 20,
) -> Model:
    """Scale low and high frequencies of the guidance apart.

    Args:
        model: the diffusion model.
        scale_low: of frequencies below the cutoff.
        scale_high: of frequencies above it.
        freq_cutoff: in periods per side.
    """
    return model.with_option(options.FreSca(scale_low, scale_high, freq_cutoff))


@node("EasyCache", category="advanced/debug/model", infer=facts.of_model)
def easy_cache(
    model: Model,
    reuse_threshold: Annotated[float, Range(ge=0.0, le=3.0), Widget(step=0.01)] = 0.2,
    start_percent: Unit = 0.15,
    end_percent: Unit = 0.95,
    verbose: bool = False,
) -> Model:
    """Leave forward passes out while little changes.

    Args:
        model: the diffusion model.
        reuse_threshold: how much change may add up before one is computed again.
        start_percent: of the sampling range.
        end_percent: of the sampling range.
        verbose: has no effect; progress events tell the steps.
    """
    return model.with_option(options.EasyCache(reuse_threshold, start_percent, end_percent))


@node("LazyCache", category="advanced/debug/model", infer=facts.of_model)
def lazy_cache(
    model: Model,
    reuse_threshold: Annotated[float, Range(ge=0.0, le=3.0), Widget(step=0.01)] = 0.2,
    start_percent: Unit = 0.15,
    end_percent: Unit = 0.95,
    verbose: bool = False,
) -> Model:
    """Leave whole steps out while little changes.

    Args:
        model: the diffusion model.
        reuse_threshold: how much change may add up before one is computed again.
        start_percent: of the sampling range.
        end_percent: of the sampling range.
        verbose: has no effect; progress events tell the steps.
    """
    return model.with_option(options.LazyCache(reuse_threshold, start_percent, end_percent))


@node("PerpNeg", category="_for_testing", display_name="Perp-Neg (DEPRECATED by PerpNegGuider)", infer=facts.of_model)
def lead_from_perpendicular(
    model: Model,
    empty_conditioning: Conditioning,
    neg_scale: Annotated[float, Range(ge=0.0, le=100.0), Widget(step=0.01)] = 1.0,
) -> Model:
    """Lead away from that part of the negative which the positive does not share.

    Args:
        model: the diffusion model.
        empty_conditioning: an empty prompt.
        neg_scale: how strongly the negative counts.
    """
    return model.with_option(options.PerpNeg(empty_conditioning, neg_scale))
