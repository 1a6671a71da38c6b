"""Which noise levels a run can go through, and which of them only some samplers can."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from graphexec.diffusion.faults import SigmasError
from graphexec.diffusion.guiders import Sampler

__all__ = ["check_levels"]

DIVIDE_BY_STEPS = frozenset((
    "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde", "seeds_3", "res_multistep",
    "res_multistep_cfg_pp", "res_multistep_ancestral", "res_multistep_ancestral_cfg_pp", "uni_pc", "uni_pc_bh2",
))  # fmt: skip
"""Samplers that divide by the length of the step which they take."""

DIVIDE_BY_EARLIER_STEPS = frozenset((
    "lms", "dpmpp_2m", "dpmpp_2m_cfg_pp", "ipndm_v", "deis", "er_sde", "sa_solver", "sa_solver_pece",
))  # fmt: skip
"""Samplers that divide by the length of steps which they took, in all steps but the one to 0."""

ADD_NOISE = frozenset((
    "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde", "ddpm", "seeds_2", "seeds_3", "sa_solver", "sa_solver_pece",
))  # fmt: skip
"""Samplers that add as much noise as falling levels leave room for."""


def check_levels(sampler: Sampler, sigmas: Sequence[float]) -> None:
    """Raise `SigmasError` where no run, or none with this sampler, goes through these levels."""
    for i, sigma in enumerate(sigmas):
        if not (math.isfinite(sigma) and sigma >= 0):
            raise SigmasError(f"{_place(i, sigmas)} is {sigma:g}; a noise level is a number of at least 0")
        if sigma == 0 and i < len(sigmas) - 1:
            raise SigmasError(
                f"{_place(i, sigmas)} is 0: only the last may be, there is no noise to take away after it"
            )
    name = sampler.name.removesuffix("_gpu")
    _check_steps(name, sigmas)
    if _adds_noise(name, dict(sampler.options)):
        _check_falling(name, sigmas)


def _check_falling(name: str, sigmas: Sequence[float]) -> None:
    for i, (sigma, after) in enumerate(pairwise(_visited(name, sigmas))):
        if sigma < after:
            without = "" if name == "ddpm" else ", its eta 0"
            raise SigmasError(
                f"{name} adds noise and needs falling levels, and {_place(i, sigmas)}, {sigma:g}, is below the next:"
                f" take other levels{without}, or a sampler like euler"
            )


def _adds_noise(name: str, options: Mapping[str, float | str | bool]) -> bool:
    if name == "dpm_adaptive":  # Its eta is mostly 0, and changes its steps too, whatever s_noise is.
        return bool(options.get("eta"))
    return name in ADD_NOISE and 0 not in (options.get("eta"), options.get("s_noise"))


def _visited(name: str, sigmas: Sequence[float]) -> Sequence[float]:
    """The levels that count: dpm_adaptive chooses those between the first and the last above 0 itself."""
    if name != "dpm_adaptive" or len(sigmas) < 2:
        return sigmas
    return sigmas[0], sigmas[-1] or sigmas[-2]


def _check_steps(name: str, sigmas: Sequence[float]) -> None:
    for i, (sigma, after) in enumerate(pairwise(sigmas)):
        goes_on = any(level > 0 for level in sigmas[i + 2 : i + 3])
        if sigma == after and (name in DIVIDE_BY_STEPS or (goes_on and name in DIVIDE_BY_EARLIER_STEPS)):
            raise SigmasError(
                f"{_place(i + 1, sigmas)} is {after:g} as the one before, and {name} divides by the length of its"
                " steps: take fewer steps, other settings of the scheduler, or a sampler like euler"
            )


def _place(i: int, sigmas: Sequence[float]) -> str:
    return f"noise level {i + 1} of {len(sigmas)}"
