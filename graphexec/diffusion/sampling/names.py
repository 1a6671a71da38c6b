"""The names of samplers and schedulers as workflows write them, in the order in which ComfyUI lists them."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["SAMPLERS", "SCHEDULERS", "SamplerName", "SchedulerName"]

SamplerName = Literal["euler", "euler_ancestral", "heun", "lms", "dpmpp_2m", "ddim"]
SchedulerName = Literal[
    "simple",
    "sgm_uniform",
    "karras",
    "exponential",
    "ddim_uniform",
    "beta",
    "normal",
    "linear_quadratic",
    "kl_optimal",
]

SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)
SCHEDULERS: tuple[SchedulerName, ...] = get_args(SchedulerName)
