"""Samplers: each a generator that yields a `Step` for every noise level and returns the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from graphexec.diffusion.guiders import Sampler
from graphexec.diffusion.sampling.discrete import ModelSampling
from graphexec.diffusion.sampling.samplers import (
    dpm_2,
    dpm_solver,
    dpmpp,
    dpmpp_sde,
    er_sde,
    euler,
    gradient_estimation,
    heun,
    lcm,
    multistep,
    res_multistep,
    sa_solver,
    seeds,
    uni_pc,
)
from graphexec.diffusion.sampling.samplers.contract import Denoiser, NoiseSource, Run, SamplerFunction, Step, Steps

__all__ = ["SAMPLER_FUNCTIONS", "Denoiser", "NoiseSource", "Run", "Step", "Steps", "sampler_steps"]

SAMPLER_FUNCTIONS: Mapping[str, SamplerFunction] = {
    "euler": euler.euler,
    "euler_cfg_pp": euler.euler_cfg_pp,
    "euler_cfg_pp_alternative": euler.euler_cfg_pp_alternative,
    "euler_ancestral": euler.euler_ancestral,
    "euler_ancestral_cfg_pp": euler.euler_ancestral_cfg_pp,
    "heun": heun.heun,
    "heunpp2": heun.heunpp2,
    "dpm_2": dpm_2.dpm_2,
    "dpm_2_ancestral": dpm_2.dpm_2_ancestral,
    "lms": multistep.lms,
    "dpm_fast": dpm_solver.dpm_fast,
    "dpm_adaptive": dpm_solver.dpm_adaptive,
    "dpmpp_2s_ancestral": dpmpp.dpmpp_2s_ancestral,
    "dpmpp_2s_ancestral_cfg_pp": dpmpp.dpmpp_2s_ancestral_cfg_pp,
    "dpmpp_sde": dpmpp_sde.dpmpp_sde,
    # Noise is drawn on the CPU whatever the name says, so that a seed gives the same picture on every device.
    "dpmpp_sde_gpu": dpmpp_sde.dpmpp_sde,
    "dpmpp_2m": dpmpp.dpmpp_2m,
    "dpmpp_2m_cfg_pp": dpmpp.dpmpp_2m_cfg_pp,
    "dpmpp_2m_sde": dpmpp_sde.dpmpp_2m_sde,
    "dpmpp_2m_sde_gpu": dpmpp_sde.dpmpp_2m_sde,
    "dpmpp_2m_sde_heun": dpmpp_sde.dpmpp_2m_sde_heun,
    "dpmpp_2m_sde_heun_gpu": dpmpp_sde.dpmpp_2m_sde_heun,
    "dpmpp_3m_sde": dpmpp_sde.dpmpp_3m_sde,
    "dpmpp_3m_sde_gpu": dpmpp_sde.dpmpp_3m_sde,
    "ddpm": lcm.ddpm,
    "lcm": lcm.lcm,
    "lcm_upscale": lcm.lcm_upscale,
    "ipndm": multistep.ipndm,
    "ipndm_v": multistep.ipndm_v,
    "deis": multistep.deis,
    "res_multistep": res_multistep.res_multistep,
    "res_multistep_cfg_pp": res_multistep.res_multistep_cfg_pp,
    "res_multistep_ancestral": res_multistep.res_multistep_ancestral,
    "res_multistep_ancestral_cfg_pp": res_multistep.res_multistep_ancestral_cfg_pp,
    "gradient_estimation": gradient_estimation.gradient_estimation,
    "gradient_estimation_cfg_pp": gradient_estimation.gradient_estimation_cfg_pp,
    "er_sde": er_sde.er_sde,
    "seeds_2": seeds.seeds_2,
    "seeds_3": seeds.seeds_3,
    "sa_solver": sa_solver.sa_solver,
    "sa_solver_pece": sa_solver.sa_solver_pece,
    # DDIM without its noise is Euler; what is its own, new noise around an inpainting mask, is not the sampler's.
    "ddim": euler.euler,
    "uni_pc": uni_pc.uni_pc,
    "uni_pc_bh2": uni_pc.uni_pc_bh2,
}


def sampler_steps(
    sampler: Sampler, denoise: Denoiser, x: Tensor, sigmas: Sequence[float], levels: ModelSampling, noise: NoiseSource
) -> Steps:
    """The steps of `sampler` from `x` [B, C, h, w], noised to the first of `sigmas`; their end is the result."""
    return SAMPLER_FUNCTIONS[sampler.name](Run(denoise, x, sigmas, levels, noise), **dict(sampler.options))
