"""Nodes that denoise latents."""

from __future__ import annotations

from typing import Annotated, Literal

from graphexec.diffusion.sampling.names import SamplerName, SchedulerName
from graphexec.diffusion.types import Conditioning, Latent, Model
from graphexec.node.decorator import node
from graphexec.node.fields import Cfg, Progress, Range, Seed, Steps, Unit, Warn
from graphexec_nodes import prompt_facts
from graphexec_nodes.sockets import Runtime

Toggle = Literal["enable", "disable"]
Step = Annotated[int, Range(ge=0, le=10_000)]


@node("KSampler", category="sampling", infer=prompt_facts.of_sampling)
def denoise_latent(
    model: Model,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 8.0,
    *,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: Unit = 1.0,
    runtime: Runtime,
    progress: Progress,
    warn: Warn,
) -> Latent:
    """Denoise latents with a model, led towards one conditioning and away from another.

    Args:
        model: the diffusion model.
        seed: of the noise; the same seed gives the same picture.
        steps: how many times the latents are denoised.
        cfg: how strongly the prompt leads; 1 ignores the negative one.
        sampler_name: the sampler.
        scheduler: how noise levels are spread over the steps.
        positive: what the picture should show.
        negative: what it should not.
        latent_image: what to start from.
        denoise: 1 starts from noise alone; less keeps more of the latents.
    """
    from graphexec.diffusion.sampling.run import sample

    return sample(
        runtime,
        model,
        positive,
        negative,
        latent_image,
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler_name=sampler_name,
        scheduler=scheduler,
        denoise=denoise,
        on_step=lambda step: progress(step.i + 1, step.total),
        warn=warn,
    )


@node("KSamplerAdvanced", category="sampling", display_name="KSampler (Advanced)", infer=prompt_facts.of_sampling)
def denoise_part(
    model: Model,
    add_noise: Toggle,
    noise_seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 8.0,
    *,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    start_at_step: Step = 0,
    end_at_step: Step = 10_000,
    return_with_leftover_noise: Literal["disable", "enable"],
    runtime: Runtime,
    progress: Progress,
    warn: Warn,
) -> Latent:
    """Take some of the steps of a run, so that another sampler can take the rest.

    Args:
        model: the diffusion model.
        add_noise: disable it where the latents are noisy already.
        noise_seed: of the noise; the same seed gives the same picture.
        steps: of the whole run.
        cfg: how strongly the prompt leads; 1 ignores the negative one.
        sampler_name: the sampler.
        scheduler: how noise levels are spread over the steps.
        positive: what the picture should show.
        negative: what it should not.
        latent_image: what to start from.
        start_at_step: the first step to take, from 0.
        end_at_step: the step to stop before.
        return_with_leftover_noise: disable it to take all noise off in the last step.
    """
    from graphexec.diffusion.guiders import CfgGuider, Noise
    from graphexec.diffusion.sampling.run import sample_part

    return sample_part(
        runtime,
        CfgGuider(model, positive, negative, cfg),
        latent_image,
        Noise(noise_seed if add_noise == "enable" else None),
        seed=noise_seed,
        steps=steps,
        sampler_name=sampler_name,
        scheduler=scheduler,
        first=start_at_step,
        last=end_at_step,
        finish=return_with_leftover_noise == "disable",
        on_step=lambda step: progress(step.i + 1, step.total),
        warn=warn,
    )
