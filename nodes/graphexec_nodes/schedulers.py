"""Nodes that choose noise levels."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from graphexec.diffusion.sampling.names import SchedulerName
from graphexec.diffusion.types import Model, Sigmas
from graphexec.node.decorator import node
from graphexec.node.fields import Name, Range, Steps, Unit, Widget

SCHEDULERS = "sampling/custom_sampling/schedulers"
SIGMAS = "sampling/custom_sampling/sigmas"
Level = Annotated[float, Range(ge=0.0, le=5000.0), Widget(step=0.01, round=False)]
Rho = Annotated[float, Range(ge=0.0, le=100.0), Widget(step=0.01, round=False)]
Shape = Annotated[float, Range(ge=0.0, le=50.0), Widget(step=0.01, round=False)]


class Split(NamedTuple):
    """Two parts of a run; the level between them is in both."""

    high_sigmas: Sigmas
    low_sigmas: Sigmas


@node("BasicScheduler", category=SCHEDULERS)
def schedule(model: Model, scheduler: SchedulerName, steps: Steps = 20, denoise: Unit = 1.0) -> Sigmas:
    """Noise levels as KSampler takes them, never more than for so many steps.

    Args:
        model: the diffusion model.
        scheduler: how noise levels are spread over the steps.
        steps: how many steps.
        denoise: below 1, the end of a longer run.
    """
    from graphexec.diffusion.sampling.discrete import model_sampling
    from graphexec.diffusion.sampling.schedules import sampling_sigmas
    from graphexec.diffusion.sampling.sigmas import to_wire

    sigmas = sampling_sigmas(model_sampling(model.sampling), scheduler, steps, denoise)
    # ddim_uniform may take more steps than were asked for: as in ComfyUI, KSampler goes all of them.
    return to_wire(sigmas[-(steps + 1) :])


@node("KarrasScheduler", category=SCHEDULERS)
def schedule_karras(
    steps: Steps = 20, sigma_max: Level = 14.614642, sigma_min: Level = 0.0291675, rho: Rho = 7.0
) -> Sigmas:
    """Noise levels of Karras et al. 2022.

    Args:
        steps: how many steps.
        sigma_max: the highest level.
        sigma_min: the lowest above 0.
        rho: the higher, the denser low levels lie.
    """
    from graphexec.diffusion.sampling.schedules import karras_sigmas
    from graphexec.diffusion.sampling.sigmas import to_wire

    return to_wire(karras_sigmas(steps, sigma_max, sigma_min, rho))


@node("ExponentialScheduler", category=SCHEDULERS)
def schedule_exponential(steps: Steps = 20, sigma_max: Level = 14.614642, sigma_min: Level = 0.0291675) -> Sigmas:
    """Noise levels with evenly spaced logarithms.

    Args:
        steps: how many steps.
        sigma_max: the highest level.
        sigma_min: the lowest above 0.
    """
    from graphexec.diffusion.sampling.schedules import exponential_sigmas
    from graphexec.diffusion.sampling.sigmas import to_wire

    return to_wire(exponential_sigmas(steps, sigma_max, sigma_min))


@node("PolyexponentialScheduler", category=SCHEDULERS)
def schedule_polyexponential(
    steps: Steps = 20, sigma_max: Level = 14.614642, sigma_min: Level = 0.0291675, rho: Rho = 1.0
) -> Sigmas:
    """Noise levels with logarithms spaced by a power.

    Args:
        steps: how many steps.
        sigma_max: the highest level.
        sigma_min: the lowest above 0.
        rho: the power; 1 spaces them evenly.
    """
    from graphexec.diffusion.sampling.schedules import polyexponential_sigmas
    from graphexec.diffusion.sampling.sigmas import to_wire

    return to_wire(polyexponential_sigmas(steps, sigma_max, sigma_min, rho))


@node("LaplaceScheduler", category=SCHEDULERS)
def schedule_laplace(
    steps: Steps = 20,
    sigma_max: Level = 14.614642,
    sigma_min: Level = 0.0291675,
    mu: Annotated[float, Range(ge=-10.0, le=10.0), Widget(step=0.1, round=False)] = 0.0,
    beta: Annotated[float, Range(ge=0.0, le=10.0), Widget(step=0.1, round=False)] = 0.5,
) -> Sigmas:
    """Noise levels whose logarithms follow a Laplace distribution; the last is not 0.

    Args:
        steps: how many levels.
        sigma_max: the highest level.
        sigma_min: the lowest.
        mu: the middle of the logarithms.
        beta: how far they spread.
    """
    from graphexec.diffusion.sampling.schedules import laplace_sigmas
    from graphexec.diffusion.sampling.sigmas import to_wire

    return to_wire(laplace_sigmas(steps, sigma_max, sigma_min, mu, beta))


@node("VPScheduler", category=SCHEDULERS)
def schedule_vp(
    steps: Steps = 20,
    beta_d: Level = 19.9,
    beta_min: Level = 0.1,
    eps_s: Annotated[float, Range(ge=0.0, le=1.0), Widget(step=0.0001, round=False)] = 0.001,
) -> Sigmas:
    """Noise levels of the continuous variance-preserving process.

    Args:
        steps: how many steps.
        beta_d: how much the speed of noising grows.
        beta_min: the speed at first.
        eps_s: the last time above 0.
    """
    from graphexec.diffusion.sampling.schedules import vp_sigmas
    from graphexec.diffusion.sampling.sigmas import to_wire

    return to_wire(vp_sigmas(steps, beta_d, beta_min, eps_s))


@node("BetaSamplingScheduler", category=SCHEDULERS)
def schedule_beta(model: Model, steps: Steps = 20, alpha: Shape = 0.6, beta: Shape = 0.6) -> Sigmas:
    """Noise levels at quantiles of a Beta distribution.

    Args:
        model: the diffusion model.
        steps: how many steps.
        alpha: the lower, the denser low levels lie.
        beta: the lower, the denser high levels lie.
    """
    from graphexec.diffusion.sampling.discrete import model_sampling
    from graphexec.diffusion.sampling.schedules import beta_sigmas
    from graphexec.diffusion.sampling.sigmas import to_wire

    return to_wire(beta_sigmas(model_sampling(model.sampling), steps, alpha, beta))


@node("SDTurboScheduler", category=SCHEDULERS)
def schedule_turbo(model: Model, steps: Annotated[int, Range(ge=1, le=10)] = 1, denoise: Unit = 1.0) -> Sigmas:
    """Noise levels that SD Turbo and SDXL Turbo were distilled for.

    Args:
        model: the diffusion model.
        steps: how many steps.
        denoise: below 1, leaves out the first of ten levels.
    """
    from graphexec.diffusion.sampling.discrete import model_sampling
    from graphexec.diffusion.sampling.schedules import turbo_sigmas
    from graphexec.diffusion.sampling.sigmas import to_wire

    return to_wire(turbo_sigmas(model_sampling(model.sampling), steps, denoise))


@node("AlignYourStepsScheduler", category=SCHEDULERS)
def schedule_ays(model_type: Literal["SD1", "SDXL", "SVD"], steps: Steps = 10, denoise: Unit = 1.0) -> Sigmas:
    """Noise levels that Align Your Steps found best for ten steps.

    Args:
        model_type: what they were found for.
        steps: how many steps.
        denoise: below 1, the end of the run.
    """
    from graphexec.diffusion.sampling.schedules import align_your_steps
    from graphexec.diffusion.sampling.sigmas import to_wire

    return to_wire(align_your_steps(model_type, steps, denoise))


@node("SplitSigmas", category=SIGMAS)
def split(sigmas: Sigmas, step: Annotated[int, Range(ge=0, le=10_000)] = 0) -> Split:
    """Cut noise levels in two.

    Args:
        sigmas: the noise levels.
        step: the step before which they are cut.
    """
    return Split(sigmas[: step + 1], sigmas[step:])


@node("SplitSigmasDenoise", category=SIGMAS)
def split_denoise(sigmas: Sigmas, denoise: Unit = 1.0) -> Split:
    """Cut noise levels in two by a fraction of the steps.

    Args:
        sigmas: the noise levels.
        denoise: how much of the steps the second part has.
    """
    from graphexec.diffusion.sampling.sigmas import split_at_fraction

    return Split(*split_at_fraction(sigmas, denoise))


@node("FlipSigmas", category=SIGMAS)
def flip(sigmas: Sigmas) -> Sigmas:
    """Turn noise levels round, to take noise to a picture instead of from it.

    Args:
        sigmas: the noise levels.
    """
    from graphexec.diffusion.sampling.sigmas import flipped

    return flipped(sigmas)


@node("SetFirstSigma", category=SIGMAS)
def set_first(
    sigmas: Sigmas, sigma: Annotated[float, Range(ge=0.0, le=20_000.0), Widget(step=0.001, round=False)] = 136.0
) -> Sigmas:
    """Begin with another noise level.

    Args:
        sigmas: the noise levels.
        sigma: what the first becomes.
    """
    from graphexec.diffusion.sampling.sigmas import with_first

    return with_first(sigmas, sigma)


@node("ExtendIntermediateSigmas", category=SIGMAS)
def extend(
    sigmas: Sigmas,
    steps: Annotated[int, Range(ge=1, le=100)] = 2,
    start_at_sigma: Annotated[float, Range(ge=-1.0, le=20_000.0), Widget(step=0.01, round=False)] = -1.0,
    end_at_sigma: Annotated[float, Range(ge=0.0, le=20_000.0), Widget(step=0.01, round=False)] = 12.0,
    *,
    spacing: Literal["linear", "cosine", "sine"],
) -> Sigmas:
    """Put more noise levels between those there are.

    Args:
        sigmas: the noise levels.
        steps: into how many each step is cut.
        start_at_sigma: steps from higher levels stay whole; -1 is no limit.
        end_at_sigma: steps from lower levels stay whole.
        spacing: how the new levels lie within a step.
    """
    from graphexec.diffusion.sampling.sigmas import extended

    return extended(sigmas, steps, start_at_sigma, end_at_sigma, spacing)


@node("SamplingPercentToSigma", category=SIGMAS)
def percent_to_sigma(
    model: Model,
    sampling_percent: Annotated[float, Range(ge=0.0, le=1.0), Widget(step=0.0001)] = 0.0,
    return_actual_sigma: bool = False,
) -> Annotated[float, Name("sigma_value")]:
    """The noise level at a fraction of the sampling range.

    Args:
        model: the diffusion model.
        sampling_percent: the fraction.
        return_actual_sigma: gives the highest and the lowest level at 0 and 1, instead of what stands for
            everything and nothing.
    """
    from graphexec.diffusion.sampling.discrete import model_sampling

    return model_sampling(model.sampling).percent_to_sigma(sampling_percent, within=return_actual_sigma)
