"""A sampling run: noise, schedule, sampler and guidance put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from graphexec.diffusion.faults import LatentError, NonFiniteError
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.discrete import ModelSampling, model_sampling
from graphexec.diffusion.sampling.guidance import Inpainting, guide
from graphexec.diffusion.sampling.names import SamplerName, SchedulerName
from graphexec.diffusion.sampling.noise import SeededNoise, initial_noise
from graphexec.diffusion.sampling.samplers import Denoiser, Step, Steps, sampler_steps
from graphexec.diffusion.sampling.schedules import sampling_sigmas
from graphexec.diffusion.types import Conditioning, Latent, Model, Sampler

__all__ = ["LATENT_SCALE", "drive", "run_sampler", "sample"]

LATENT_SCALE = 0.18215
"""Stable Diffusion 1.x works on latents times this, which have about unit variance."""

OnStep = Callable[[Step], None]


def sample(
    runtime: Runtime,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    *,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    denoise: float = 1.0,
    on_step: OnStep | None = None,
) -> Latent:
    """Noise `latent` and denoise it again, guided by the conditioning; the result lies on the CPU.

    `denoise` below 1 keeps part of the latent. `on_step` sees every step and may raise to stop the run. Raises
    `NonFiniteError` naming the step at which a NaN or infinity arose, `LatentError` for latents that do not fit.
    """
    levels = model_sampling(model.sampling)
    sigmas = sampling_sigmas(levels, scheduler, steps, denoise)
    if len(sigmas) < 2:
        return latent
    with runtime.unet(model) as unet, torch.no_grad():
        _check_latent(latent, unet.layout.in_channels)
        denoiser = guide(unet, levels, positive, negative, cfg)
        samples = latent.samples.to(runtime.device, torch.float32) * LATENT_SCALE
        noise = initial_noise(latent.samples, seed, latent.batch_index).to(samples)
        mask = _fit_mask(latent.noise_mask, samples)
        result = run_sampler(
            denoiser, levels, samples, noise, sigmas, sampler_name=sampler_name, seed=seed, mask=mask, on_step=on_step
        )
        return replace(latent, samples=(result / LATENT_SCALE).to("cpu", latent.samples.dtype))


def run_sampler(
    denoiser: Denoiser,
    levels: ModelSampling,
    latent: Tensor,
    noise: Tensor,
    sigmas: Sequence[float],
    *,
    sampler_name: SamplerName,
    seed: int,
    mask: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Run a sampler over `sigmas` from `latent` [B, C, h, w] (scaled) with `noise` on it.

    `mask` is 1 where it may change the latent. Raises `NonFiniteError` like `sample`.
    """
    if mask is not None:
        kept = initial_noise(noise.cpu(), seed + 1).to(noise) if sampler_name == "ddim" else noise
        denoiser = Inpainting(denoiser, latent, mask, kept)
    x = levels.scale_noise(noise, latent, sigmas[0], full=levels.is_full(sigmas[0]))
    steps = sampler_steps(Sampler(sampler_name), denoiser, x, sigmas, levels, SeededNoise(latent, seed))
    return drive(steps, on_step)


def drive(steps: Steps, on_step: OnStep | None = None) -> Tensor:
    """Take a sampler's steps, show each to `on_step`, and return its result; `NonFiniteError` if one is not finite."""
    finite: list[Tensor] = []
    while True:
        try:
            step = next(steps)
        except StopIteration as done:
            _check_finite(finite)
            return done.value
        finite.append(step.denoised.isfinite().all())
        if not finite[-1].is_cuda:
            # Asking a GPU would wait for it at every step; there all steps are asked once, at the end.
            _check_finite(finite)
        if on_step is not None:
            on_step(step)


def _check_finite(finite: Sequence[Tensor]) -> None:
    if not finite or (finite[-1].device.type == "cpu" and bool(finite[-1])):
        return
    bad = torch.stack(list(finite)).logical_not().nonzero()
    if len(bad):
        raise NonFiniteError(
            f"the model's prediction is not finite from step {int(bad[0]) + 1} on: a damaged file, a LoRA far too"
            " strong, or a weight in a prompt that is no number"
        )


def _check_latent(latent: Latent, channels: int) -> None:
    shape = tuple(latent.samples.shape)
    if len(shape) != 4 or shape[1] != channels:
        raise LatentError(f"the model works on latents [batch, {channels}, height, width], these are {shape}")
    if latent.batch_index is not None and len(latent.batch_index) != shape[0]:
        raise LatentError(f"{shape[0]} latents come with {len(latent.batch_index)} batch indices")


def _fit_mask(mask: Tensor | None, samples: Tensor) -> Tensor | None:
    """A mask of any size as [B, 1, h, w], soft at its edges, repeated or cut to the batch."""
    if mask is None:
        return None
    planes = mask.reshape(-1, 1, *mask.shape[-2:]).to(samples)
    fitted = F.interpolate(planes, size=samples.shape[-2:], mode="bilinear")
    return fitted.repeat(-(-len(samples) // len(fitted)), 1, 1, 1)[: len(samples)]
