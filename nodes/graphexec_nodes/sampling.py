"""Nodes that denoise latents."""

from __future__ import annotations

from graphexec.diffusion.sampling.names import SamplerName, SchedulerName
from graphexec.diffusion.types import Conditioning, Latent, Model
from graphexec.node.decorator import node
from graphexec.node.fields import Cfg, Progress, Seed, Steps, Unit
from graphexec_nodes import facts
from graphexec_nodes.sockets import Runtime


@node("KSampler", category="sampling", infer=facts.of_sampled)
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
    )
