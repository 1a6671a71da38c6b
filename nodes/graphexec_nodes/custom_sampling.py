"""Nodes that choose a sampler and its settings."""

from __future__ import annotations

from typing import Annotated, Literal

from graphexec.diffusion.guiders import Sampler
from graphexec.diffusion.sampling.names import SamplerName
from graphexec.diffusion.types import Model
from graphexec.node.decorator import node
from graphexec.node.fields import Range, Widget

CATEGORY = "sampling/custom_sampling/samplers"
NoiseDevice = Literal["gpu", "cpu"]
Amount = Annotated[float, Range(ge=0.0, le=100.0), Widget(step=0.01, round=False)]
UpToTen = Annotated[float, Range(ge=0.0, le=10.0), Widget(step=0.01, round=False)]
UpToOne = Annotated[float, Range(ge=0.0, le=1.0), Widget(step=0.01, round=False)]
Percent = Annotated[float, Range(ge=0.0, le=1.0), Widget(step=0.001)]


@node("KSamplerSelect", category=CATEGORY)
def select(sampler_name: SamplerName) -> Sampler:
    """A sampler by its name.

    Args:
        sampler_name: the sampler.
    """
    return Sampler(sampler_name)


@node("SamplerDPMAdaptative", category=CATEGORY)
def dpm_adaptive(
    order: Annotated[int, Range(ge=2, le=3)] = 3,
    rtol: Amount = 0.05,
    atol: Amount = 0.0078,
    h_init: Amount = 0.05,
    pcoeff: Amount = 0.0,
    icoeff: Amount = 1.0,
    dcoeff: Amount = 0.0,
    accept_safety: Amount = 0.81,
    eta: Amount = 0.0,
    s_noise: Amount = 1.0,
) -> Sampler:
    """DPM-Solver, which chooses its steps itself: only the first and the last noise level count.

    Args:
        order: of the solver.
        rtol: how much two orders may differ, relative to the latents.
        atol: how much they may differ at least.
        h_init: the first step, in log sigma.
        pcoeff: how much the length of a step follows the error.
        icoeff: how much it follows the error summed up.
        dcoeff: how much it follows the error's change.
        accept_safety: a step is tried again if the next would have to be shorter than this many times it.
        eta: how much noise is taken off and added again; 0 adds none.
        s_noise: how strong the added noise is.
    """
    return Sampler.of(
        "dpm_adaptive", order=order, rtol=rtol, atol=atol, h_init=h_init, pcoeff=pcoeff, icoeff=icoeff, dcoeff=dcoeff,
        accept_safety=accept_safety, eta=eta, s_noise=s_noise,
    )  # fmt: skip


@node("SamplerDPMPP_2M_SDE", category=CATEGORY)
def dpmpp_2m_sde(
    solver_type: Literal["midpoint", "heun"],
    eta: Amount = 1.0,
    s_noise: Amount = 1.0,
    *,
    noise_device: NoiseDevice,
) -> Sampler:
    """SDE-DPM-Solver++(2M).

    Args:
        solver_type: how the second order is weighed.
        eta: how much noise is taken off and added again.
        s_noise: how strong the added noise is.
        noise_device: without effect; noise is drawn on the CPU, so that a seed means the same everywhere.
    """
    return Sampler.of("dpmpp_2m_sde", solver_type=solver_type, eta=eta, s_noise=s_noise)


@node("SamplerDPMPP_3M_SDE", category=CATEGORY)
def dpmpp_3m_sde(eta: Amount = 1.0, s_noise: Amount = 1.0, *, noise_device: NoiseDevice) -> Sampler:
    """SDE-DPM-Solver++(3M).

    Args:
        eta: how much noise is taken off and added again.
        s_noise: how strong the added noise is.
        noise_device: without effect; noise is drawn on the CPU, so that a seed means the same everywhere.
    """
    return Sampler.of("dpmpp_3m_sde", eta=eta, s_noise=s_noise)


@node("SamplerDPMPP_SDE", category=CATEGORY)
def dpmpp_sde(eta: Amount = 1.0, s_noise: Amount = 1.0, r: Amount = 0.5, *, noise_device: NoiseDevice) -> Sampler:
    """DPM-Solver++ for the stochastic equation.

    Args:
        eta: how much noise is taken off and added again.
        s_noise: how strong the added noise is.
        r: where in a step the model is asked a second time.
        noise_device: without effect; noise is drawn on the CPU, so that a seed means the same everywhere.
    """
    return Sampler.of("dpmpp_sde", eta=eta, s_noise=s_noise, r=r)


@node("SamplerDPMPP_2S_Ancestral", category=CATEGORY)
def dpmpp_2s_ancestral(eta: Amount = 1.0, s_noise: Amount = 1.0) -> Sampler:
    """DPM-Solver++(2S), ancestral.

    Args:
        eta: how much noise is taken off and added again.
        s_noise: how strong the added noise is.
    """
    return Sampler.of("dpmpp_2s_ancestral", eta=eta, s_noise=s_noise)


@node("SamplerEulerAncestral", category=CATEGORY)
def euler_ancestral(eta: Amount = 1.0, s_noise: Amount = 1.0) -> Sampler:
    """Euler's method, ancestral.

    Args:
        eta: how much noise is taken off and added again.
        s_noise: how strong the added noise is.
    """
    return Sampler.of("euler_ancestral", eta=eta, s_noise=s_noise)


@node("SamplerEulerAncestralCFGPP", category=CATEGORY, display_name="SamplerEulerAncestralCFG++")
def euler_ancestral_cfg_pp(eta: UpToOne = 1.0, s_noise: UpToTen = 1.0) -> Sampler:
    """Euler's method, ancestral, with CFG++.

    Args:
        eta: how much noise is taken off and added again.
        s_noise: how strong the added noise is.
    """
    return Sampler.of("euler_ancestral_cfg_pp", eta=eta, s_noise=s_noise)


@node("SamplerEulerCFGpp", category="_for_testing", display_name="SamplerEulerCFG++")
def euler_cfg_pp(version: Literal["regular", "alternative"]) -> Sampler:
    """Euler's method with CFG++.

    Args:
        version: the published method, or an early reading of it.
    """
    return Sampler("euler_cfg_pp" if version == "regular" else "euler_cfg_pp_alternative")


@node("SamplerLMS", category=CATEGORY)
def lms(order: Annotated[int, Range(ge=1, le=100)] = 4) -> Sampler:
    """Linear multistep.

    Args:
        order: how many steps are looked back at.
    """
    return Sampler.of("lms", order=order)


@node("SamplerLCMUpscale", category=CATEGORY)
def lcm_upscale(
    scale_ratio: Annotated[float, Range(ge=0.1, le=20.0), Widget(step=0.01)] = 1.0,
    scale_steps: Annotated[int, Range(ge=-1, le=1000), Widget(step=1)] = -1,
    *,
    upscale_method: Literal["bislerp", "nearest-exact", "bilinear", "area", "bicubic"],
) -> Sampler:
    """Consistency sampling that makes the latents larger on the way.

    Args:
        scale_ratio: how many times larger they end.
        scale_steps: in how many of the first steps they grow; -1 for about half of them.
        upscale_method: how they are resampled.
    """
    return Sampler.of("lcm_upscale", ratio=scale_ratio, growing_steps=scale_steps, method=upscale_method)


@node("SamplerER_SDE", category=CATEGORY)
def er_sde(
    solver_type: Literal["ER-SDE", "Reverse-time SDE", "ODE"],
    max_stage: Annotated[int, Range(ge=1, le=3)] = 3,
    eta: Amount = 1.0,
    s_noise: Amount = 1.0,
) -> Sampler:
    """Extended reverse-time solver.

    Args:
        solver_type: the equation that is solved.
        max_stage: the highest order.
        eta: how much noise the reverse-time equation takes off and adds again.
        s_noise: how strong the added noise is.
    """
    return Sampler.of("er_sde", solver_type=solver_type, max_stage=max_stage, eta=eta, s_noise=s_noise)


@node("SamplerSASolver", category=CATEGORY)
def sa_solver(
    model: Model,
    eta: UpToTen = 1.0,
    sde_start_percent: Percent = 0.2,
    sde_end_percent: Percent = 0.8,
    s_noise: Amount = 1.0,
    predictor_order: Annotated[int, Range(ge=1, le=6)] = 3,
    corrector_order: Annotated[int, Range(ge=0, le=6)] = 4,
    *,
    use_pece: bool,
    simple_order_2: bool,
) -> Sampler:
    """Stochastic Adams solver.

    Args:
        model: whose noise levels the percents are of.
        eta: how much noise is taken off and added again, between the percents.
        sde_start_percent: where in the sampling range noise begins.
        sde_end_percent: where it ends.
        s_noise: how strong the added noise is.
        predictor_order: of the predictor.
        corrector_order: of the corrector; 0 is none.
        use_pece: asks the model once more after each correction.
        simple_order_2: takes the paper's simpler weights for order 2.
    """
    from graphexec.diffusion.sampling.discrete import model_sampling

    levels = model_sampling(model.sampling)
    return Sampler.of(
        "sa_solver", eta=eta, s_noise=s_noise, predictor_order=predictor_order, corrector_order=corrector_order,
        use_pece=use_pece, simple_order_2=simple_order_2,
        sde_start_sigma=levels.percent_to_sigma(sde_start_percent),
        sde_end_sigma=levels.percent_to_sigma(sde_end_percent),
    )  # fmt: skip
