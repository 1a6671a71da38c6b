"""A sampling run: noise, schedule, sampler and guidance put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from graphexec.diffusion.faults import LatentError, NonFiniteError
from graphexec.diffusion.guiders import CfgGuider, Guider, Noise, Sampler
from graphexec.diffusion.hooks import hook_warnings
from graphexec.diffusion.imaging.batches import as_masks
from graphexec.diffusion.latent_format import from_model, to_model
from graphexec.diffusion.options import DeepShrink
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.discrete import ModelSampling, model_sampling
from graphexec.diffusion.sampling.effects import effects_of
from graphexec.diffusion.sampling.effects.base import Effect, Setting
from graphexec.diffusion.sampling.guidance import Inpainting, guide
from graphexec.diffusion.sampling.inputs import Surroundings
from graphexec.diffusion.sampling.names import SamplerName, SchedulerName
from graphexec.diffusion.sampling.noise import SeededNoise, initial_noise
from graphexec.diffusion.sampling.predictor import Predictor
from graphexec.diffusion.sampling.samplers import Denoiser, Step, Steps, sampler_steps
from graphexec.diffusion.sampling.samplers.levels import check_levels
from graphexec.diffusion.sampling.schedules import sampling_sigmas
from graphexec.diffusion.types import Cond, Conditioning, Hook, Latent, Model

__all__ = ["Sampled", "add_noise", "drive", "run_sampler", "sample", "sample_part", "sample_sigmas"]

OnStep = Callable[[Step], None]
Warn = Callable[[str], object]
"""Told of what does not stop the run."""


def _unheard(message: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a run gives: its latent, and the noiseless latent as it was estimated at the last step."""

    latent: Latent
    denoised: Latent


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
    warn: Warn = _unheard,
) -> Latent:
    """Noise `latent` and denoise it again, guided by the conditioning; the result lies on the CPU.

    `denoise` below 1 keeps part of the latent. `on_step` sees every step and may raise to stop the run. Raises
    `NonFiniteError` naming the step at which a NaN or infinity arose, `LatentError` for latents that do not fit.
    """
    sigmas = sampling_sigmas(model_sampling(model.sampling), scheduler, steps, denoise, sampler_name)
    guider, sampler = CfgGuider(model, positive, negative, cfg), Sampler(sampler_name)
    return sample_sigmas(runtime, guider, sampler, sigmas, latent, Noise(seed), on_step=on_step, warn=warn).latent


def sample_part(
    runtime: Runtime,
    guider: Guider,
    latent: Latent,
    noise: Noise,
    *,
    seed: int,
    steps: int,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    first: int,
    last: int,
    finish: bool,
    on_step: OnStep | None = None,
    warn: Warn = _unheard,
) -> Latent:
    """Steps `first` up to `last` of a run of `steps`; `finish` takes all noise off in the last of them.

    `seed` is that of noise added on the way, which there may be without any `noise` at the start. Where there is no
    step, the latent stays as it is.
    """
    sigmas = sampling_sigmas(model_sampling(guider.model.sampling), scheduler, steps, sampler=sampler_name)
    if last < len(sigmas) - 1:
        sigmas = [*sigmas[:last], 0.0 if finish else sigmas[last]]
    if first >= len(sigmas) - 1:
        return latent
    sampler = Sampler(sampler_name)
    return sample_sigmas(
        runtime, guider, sampler, sigmas[first:], latent, noise, seed=seed, on_step=on_step, warn=warn
    ).latent


def sample_sigmas(
    runtime: Runtime,
    guider: Guider,
    sampler: Sampler,
    sigmas: Sequence[float],
    latent: Latent,
    noise: Noise,
    *,
    seed: int | None = None,
    on_step: OnStep | None = None,
    warn: Warn = _unheard,
) -> Sampled:
    """Run a sampler over noise levels; `seed` is that of noise added on the way (None: that of `noise`, or 0).

    With one level the latent is noised to it and left so, with none nothing is done. Raises like `sample`, and
    `SigmasError` for levels that no run or not this sampler can go through.
    """
    if not sigmas:
        return Sampled(latent, latent)
    check_levels(sampler, sigmas)
    model, levels = guider.model, model_sampling(guider.model.sampling)
    seed = (noise.seed or 0) if seed is None else seed
    unheeded = hook_warnings(_hooks(guider), model, None, strict_lora=runtime.strict_lora)
    for warning in (*unheeded, *_shrink_warnings(guider)):
        warn(warning)
    with runtime.unet(model, warn=warn) as unet, torch.no_grad():
        latent = _fitting(latent, unet.layout.out_channels)
        effects = effects_of(model, Setting(levels, sigmas, unet.layout.width, seed))
        samples = to_model(model, latent.samples.to(runtime.device, torch.float32))
        mask = _fit_mask(latent.noise_mask, samples)
        if _grows(sampler):
            _check_growing(guider, masked=mask is not None, shown_more=unet.layout.in_channels != samples.shape[1])
        predictor = Predictor(runtime, model, levels, Surroundings(model, samples, mask), effects)
        seen = _LastEstimate(on_step)
        result = run_sampler(
            guide(guider, predictor),
            levels,
            samples,
            start_noise(noise, latent).to(samples),
            sigmas,
            sampler=sampler,
            seed=seed,
            mask=mask,
            effects=effects,
            on_step=seen,
        )
        denoised = result if seen.denoised is None else seen.denoised
        return Sampled(_returned(model, latent, result), _returned(model, latent, denoised))


def run_sampler(
    denoiser: Denoiser,
    levels: ModelSampling,
    latent: Tensor,
    noise: Tensor,
    sigmas: Sequence[float],
    *,
    sampler: Sampler,
    seed: int,
    mask: Tensor | None = None,
    effects: Sequence[Effect] = (),
    on_step: OnStep | None = None,
) -> Tensor:
    """Run a sampler over `sigmas` from `latent` [B, C, h, w] (scaled) with `noise` on it.

    `mask` is 1 where it may change the latent. Raises `NonFiniteError` like `sample`.
    """
    if mask is not None:
        kept = initial_noise(noise.cpu(), seed + 1).to(noise) if sampler.name == "ddim" else noise
        denoiser = Inpainting(denoiser, latent, mask, kept, levels, effects)
    x = levels.scale_noise(noise, latent, sigmas[0], full=levels.is_full(sigmas[0]))
    if len(sigmas) == 1:
        return x
    steps = sampler_steps(sampler, denoiser, x, sigmas, levels, SeededNoise(latent, seed))
    return drive(steps, on_step)


def start_noise(noise: Noise, latent: Latent) -> Tensor:
    """The noise that a run of these latents starts with."""
    if noise.seed is None:
        return torch.zeros_like(latent.samples)
    return initial_noise(latent.samples, noise.seed, latent.batch_index)


def add_noise(model: Model, noise: Noise, sigmas: Sequence[float], latent: Latent) -> Latent:
    """Latents with as much noise as lies between the first and the last of `sigmas`, at the VAE's scale."""
    if not sigmas:
        return latent
    levels = model_sampling(model.sampling)
    scale = abs(sigmas[0] - sigmas[-1]) if len(sigmas) > 1 else sigmas[0]
    noisy = levels.scale_noise(start_noise(noise, latent), to_model(model, latent.samples), scale, full=False)
    return replace(latent, samples=from_model(model, noisy).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))


def drive(steps: Steps, on_step: OnStep | None = None) -> Tensor:
    """Take a sampler's steps, show each to `on_step`, and return its result; `NonFiniteError` if one is not finite."""
    finite: list[Tensor] = []
    while True:
        try:
            step = next(steps)
        except StopIteration as done:
            _check_finite(finite)
            _check_result(done.value)
            return done.value
        finite.append(step.denoised.isfinite().all())
        if not finite[-1].is_cuda:
            # Asking a GPU would wait for it at every step; there all steps are asked once, at the end.
            _check_finite(finite)
        if on_step is not None:
            on_step(step)


class _LastEstimate:
    """Remembers the noiseless latent of the last step, and passes the step on."""

    def __init__(self, on_step: OnStep | None) -> None:
        self.denoised: Tensor | None = None
        self._on_step = on_step

    def __call__(self, step: Step) -> None:
        self.denoised = step.denoised
        if self._on_step is not None:
            self._on_step(step)


def _check_finite(finite: Sequence[Tensor]) -> None:
    if not finite or (finite[-1].device.type == "cpu" and bool(finite[-1])):
        return
    bad = torch.stack(list(finite)).logical_not().nonzero()
    if len(bad):
        raise NonFiniteError(
            f"the model's prediction is not finite from step {int(bad[0]) + 1} on: a damaged file, a LoRA far too"
            " strong, or a weight in a prompt that is no number"
        )


def _hooks(guider: Guider) -> list[Hook]:
    """The hooks of all conds that lead a model."""
    return [hook for cond in _conds(guider) if cond.hooks for hook in cond.hooks.hooks]


def _check_result(result: Tensor) -> None:
    if not bool(result.isfinite().all()):
        raise NonFiniteError(
            "the latents are not finite at the end, though all that the model predicted is: the sampler cannot take"
            " these noise levels or settings; take others, or a sampler like euler"
        )


def _shrink_warnings(guider: Guider) -> list[str]:
    """What is left out of ControlNets because the model works on smaller feature maps than they do."""
    shrinks = any(isinstance(option, DeepShrink) and option.factor != 1.0 for option in guider.model.options)
    if not (shrinks and any(cond.controls for cond in _conds(guider))):
        return []
    return [
        "while PatchModelAddDownscale makes the feature map smaller, what ControlNets add there is left out: they work"
        " at the full size"
    ]


def _conds(guider: Guider) -> list[Cond]:
    parts = [getattr(guider, field.name) for field in fields(guider)]
    return [cond for part in parts if isinstance(part, Conditioning) for cond in part.conds]


def _returned(model: Model, latent: Latent, result: Tensor) -> Latent:
    return replace(latent, samples=from_model(model, result).to("cpu", latent.samples.dtype))


def _fitting(latent: Latent, channels: int) -> Latent:
    """The latents; empty ones get the channels that the model works on."""
    shape = tuple(latent.samples.shape)
    if latent.batch_index is not None and len(latent.batch_index) != shape[0]:
        raise LatentError(f"{shape[0]} latents come with {len(latent.batch_index)} batch indices")
    if len(shape) == 4 and shape[1] == channels:
        return latent
    if len(shape) != 4 or latent.samples.any():
        raise LatentError(f"the model works on latents [batch, {channels}, height, width], these are {shape}")
    return replace(latent, samples=torch.zeros(shape[0], channels, *shape[2:], dtype=latent.samples.dtype))


def _grows(sampler: Sampler) -> bool:
    """Whether a sampler makes latents larger, or smaller, on the way."""
    options = dict(sampler.options)
    return sampler.name == "lcm_upscale" and options.get("ratio", 1.0) != 1.0 and options.get("growing_steps") != 0


def _check_growing(guider: Guider, *, masked: bool, shown_more: bool) -> None:
    """Raise `LatentError` where something has the size of the latents and would not grow with them."""
    regions = (cond.region for cond in _conds(guider) if not cond.area)
    for stays, there in (
        ("the noise mask", masked),
        ("the picture that an inpainting or editing model sees", shown_more),
        ("the mask of a prompt", any(region and not region.to_bounds for region in regions)),
    ):
        if there:
            raise LatentError(
                f"SamplerLCMUpscale makes the latents larger on the way, and {stays} stays as large as it was: take the"
                " sampler lcm, and enlarge the latents between two runs (LatentUpscale)"
            )


def _fit_mask(mask: Tensor | None, samples: Tensor) -> Tensor | None:
    """A mask of any size as [B, 1, h, w], soft at its edges, repeated or cut to the batch."""
    if mask is None:
        return None
    planes = as_masks(mask)[:, None].to(samples)
    fitted = F.interpolate(planes, size=samples.shape[-2:], mode="bilinear")
    return fitted.repeat(-(-len(samples) // len(fitted)), 1, 1, 1)[: len(samples)]
