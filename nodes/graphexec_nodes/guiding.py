"""Nodes that put a sampling run together from its parts: noise, guider, sampler and noise levels."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from graphexec.diffusion.guiders import CfgGuider, DualCfgGuider, Guider, Noise, PerpNegGuider, Sampler
from graphexec.diffusion.types import Conditioning, Latent, Model, Sigmas
from graphexec.node.decorator import node
from graphexec.node.fields import Cfg, Progress, Range, Seed, Warn, Widget
from graphexec_nodes import facts, prompt_facts
from graphexec_nodes.sockets import Runtime

NegativeScale = Annotated[float, Range(ge=0.0, le=100.0), Widget(step=0.01)]


class Sampled(NamedTuple):
    """Latents at the last noise level, and without noise as the model estimated them there."""

    output: Latent
    denoised_output: Latent


@node("RandomNoise", category="sampling/custom_sampling/noise")
def random_noise(noise_seed: Seed = 0) -> Noise:
    """Noise of a seed.

    Args:
        noise_seed: the same seed gives the same noise.
    """
    return Noise(noise_seed)


@node("DisableNoise", category="sampling/custom_sampling/noise")
def no_noise() -> Noise:
    """No noise: the latents are noisy already."""
    return Noise(None)


@node("AddNoise", category="_for_testing/custom_sampling/noise", infer=facts.of_noised)
def add_noise_to(model: Model, noise: Noise, sigmas: Sigmas, latent_image: Latent) -> Latent:
    """Add noise to latents, as much as lies between the first and the last noise level.

    Args:
        model: whose noise levels are meant.
        noise: the noise.
        sigmas: the noise levels.
        latent_image: the latents.
    """
    from graphexec.diffusion.sampling.run import add_noise

    return add_noise(model, noise, [float(sigma) for sigma in sigmas], latent_image)


@node("BasicGuider", category="sampling/custom_sampling/guiders", infer=prompt_facts.of_guider)
def lead(model: Model, conditioning: Conditioning) -> Guider:
    """Lead a model by one conditioning.

    Args:
        model: the diffusion model.
        conditioning: what the picture should show.
    """
    return Guider(model, conditioning)


@node("CFGGuider", category="sampling/custom_sampling/guiders", infer=prompt_facts.of_guider)
def lead_away(model: Model, positive: Conditioning, negative: Conditioning, cfg: Cfg = 8.0) -> Guider:
    """Lead a model towards one conditioning and away from another.

    Args:
        model: the diffusion model.
        positive: what the picture should show.
        negative: what it should not.
        cfg: how strongly the prompt leads; 1 ignores the negative one.
    """
    return CfgGuider(model, positive, negative, cfg)


@node("DualCFGGuider", category="sampling/custom_sampling/guiders", infer=prompt_facts.of_guider)
def lead_by_two(
    model: Model,
    cond1: Conditioning,
    cond2: Conditioning,
    negative: Conditioning,
    cfg_conds: Cfg = 8.0,
    cfg_cond2_negative: Cfg = 8.0,
    *,
    style: Literal["regular", "nested"],
) -> Guider:
    """Lead a model by two conditionings, each with a strength of its own.

    Args:
        model: the diffusion model.
        cond1: what the picture should show.
        cond2: what cond1 is seen against.
        negative: what cond2 is seen against.
        cfg_conds: how strongly cond1 leads away from cond2.
        cfg_cond2_negative: how strongly cond2 leads away from the negative.
        style: nested leads from the negative to where the first guidance arrives.
    """
    return DualCfgGuider(model, cond1, cond2, negative, cfg_conds, cfg_cond2_negative, style == "nested")


@node("PerpNegGuider", category="_for_testing", infer=prompt_facts.of_guider)
def lead_perpendicular(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    empty_conditioning: Conditioning,
    cfg: Cfg = 8.0,
    neg_scale: NegativeScale = 1.0,
) -> Guider:
    """Lead a model away from that part of a negative which the positive does not share.

    Args:
        model: the diffusion model.
        positive: what the picture should show.
        negative: what it should not.
        empty_conditioning: an empty prompt.
        cfg: how strongly the prompts lead.
        neg_scale: how strongly the negative counts.
    """
    return PerpNegGuider(model, positive, negative, empty_conditioning, cfg, neg_scale)


@node("SamplerCustom", category="sampling/custom_sampling", infer=prompt_facts.of_custom_sampling)
def denoise_over(
    model: Model,
    add_noise: bool = True,
    noise_seed: Seed = 0,
    cfg: Cfg = 8.0,
    *,
    positive: Conditioning,
    negative: Conditioning,
    sampler: Sampler,
    sigmas: Sigmas,
    latent_image: Latent,
    runtime: Runtime,
    progress: Progress,
    warn: Warn,
) -> Sampled:
    """Denoise latents over given noise levels.

    Args:
        model: the diffusion model.
        add_noise: disable it where the latents are noisy already.
        noise_seed: of the noise; the same seed gives the same picture.
        cfg: how strongly the prompt leads; 1 ignores the negative one.
        positive: what the picture should show.
        negative: what it should not.
        sampler: the sampler.
        sigmas: the noise levels.
        latent_image: what to start from.
    """
    from graphexec.diffusion.sampling.run import sample_sigmas

    found = sample_sigmas(
        runtime,
        CfgGuider(model, positive, negative, cfg),
        sampler,
        [float(sigma) for sigma in sigmas],
        latent_image,
        Noise(noise_seed if add_noise else None),
        seed=noise_seed,
        on_step=lambda step: progress(step.i + 1, step.total),
        warn=warn,
    )
    return Sampled(found.latent, found.denoised)


@node("SamplerCustomAdvanced", category="sampling/custom_sampling", infer=facts.of_sampled_twice)
def denoise_by_parts(
    noise: Noise,
    guider: Guider,
    sampler: Sampler,
    sigmas: Sigmas,
    latent_image: Latent,
    *,
    runtime: Runtime,
    progress: Progress,
    warn: Warn,
) -> Sampled:
    """Denoise latents over given noise levels, led by a guider.

    Args:
        noise: the noise to start with.
        guider: a model and what leads it.
        sampler: the sampler.
        sigmas: the noise levels.
        latent_image: what to start from.
    """
    from graphexec.diffusion.sampling.run import sample_sigmas

    found = sample_sigmas(
        runtime,
        guider,
        sampler,
        [float(sigma) for sigma in sigmas],
        latent_image,
        noise,
        on_step=lambda step: progress(step.i + 1, step.total),
        warn=warn,
    )
    return Sampled(found.latent, found.denoised)
