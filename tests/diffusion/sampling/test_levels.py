# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math

import pytest
import torch
from diffusion.sampling.toys import Fake
from torch import Tensor

from graphexec.diffusion.faults import NonFiniteError, SigmasError
from graphexec.diffusion.guiders import Sampler
from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.sampling.names import SCHEDULERS
from graphexec.diffusion.sampling.noise import SeededNoise
from graphexec.diffusion.sampling.run import drive
from graphexec.diffusion.sampling.samplers import SAMPLER_FUNCTIONS, sampler_steps
from graphexec.diffusion.sampling.samplers.levels import check_levels
from graphexec.diffusion.sampling.schedules import sampling_sigmas
from graphexec.diffusion.types import Sampling

LEVELS = model_sampling(Sampling())


@pytest.mark.parametrize(
    ("sigmas", "told"),
    [
        ([0.0, 3.0, 0.0], "noise level 1 of 3 is 0: only the last may be"),
        ([5.0, 0.0, 0.0], "noise level 2 of 3 is 0: only the last may be"),
        ([math.inf, 1.0, 0.0], "noise level 1 of 3 is inf"),
        ([5.0, math.nan, 0.0], "noise level 2 of 3 is nan"),
        ([5.0, 1.0, -1.0], "noise level 3 of 3 is -1"),
        ([math.nan], "noise level 1 of 1 is nan"),
    ],
)
def test_levels_of_no_run_are_named(sigmas: list[float], told: str) -> None:
    with pytest.raises(SigmasError, match=told):
        check_levels(Sampler("euler"), sigmas)


@pytest.mark.parametrize("name", SAMPLER_FUNCTIONS)
def test_levels_of_schedules_are_good_for_all(name: str) -> None:
    for scheduler in SCHEDULERS:
        for steps in (1, 2, 20):
            check_levels(Sampler(name), sampling_sigmas(LEVELS, scheduler, steps))


@pytest.mark.parametrize("name", SAMPLER_FUNCTIONS)
@pytest.mark.parametrize("sigmas", [[9.0, 5.0, 5.0, 2.0, 1.0], [9.0, 9.0, 2.0, 0.0], [9.0, 2.0, 2.0, 0.0]], ids=repr)
def test_levels_twice_the_same_are_refused_where_a_sampler_fails_on_them(name: str, sigmas: list[float]) -> None:
    x, sampler = 9 * torch.randn(1, 4, 2, 2), Sampler(name)
    steps = sampler_steps(sampler, Fake(lambda x, sigma: x / (1 + sigma**2)), x, sigmas, LEVELS, SeededNoise(x, 3))
    try:
        check_levels(sampler, sigmas)
    except SigmasError as error:
        assert f"as the one before, and {name.removesuffix('_gpu')} divides" in str(error)
        with pytest.raises((ZeroDivisionError, NonFiniteError, RuntimeWarning)):
            drive(steps)
    else:
        drive(steps)


RISING = [0.5, 1.0, 3.0, 10.0]


@pytest.mark.parametrize("name", SAMPLER_FUNCTIONS)
def test_rising_levels_are_refused_where_a_sampler_adds_noise(name: str) -> None:
    try:
        check_levels(Sampler(name), RISING)
    except SigmasError as error:
        needs = (
            f"{name.removesuffix('_gpu')} adds noise and needs falling levels, and noise level 1 of 4, 0.5, is below"
        )
        assert needs in str(error)
        with pytest.raises(ValueError, match="math domain"):
            rise(Sampler(name))
    else:
        assert rise(Sampler(name)).isfinite().all()


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler.of("dpmpp_2m_sde", eta=0.0), Sampler.of("dpmpp_3m_sde", s_noise=0.0), Sampler.of("seeds_2", eta=0.0),
        Sampler.of("seeds_3", s_noise=0.0), Sampler.of("sa_solver", eta=0.0), Sampler.of("dpm_adaptive", s_noise=0.0),
    ],
    ids=lambda sampler: sampler.name,
)  # fmt: skip
def test_without_noise_levels_may_rise(sampler: Sampler) -> None:
    check_levels(sampler, RISING)
    assert rise(sampler).isfinite().all()


def test_the_adaptive_solver_with_noise_needs_falling_levels() -> None:
    sampler = Sampler.of("dpm_adaptive", eta=0.5)
    check_levels(sampler, [10.0, 1.0, 3.0, 0.0])
    with pytest.raises(SigmasError, match="dpm_adaptive adds noise and needs falling levels"):
        check_levels(sampler, RISING)


def rise(sampler: Sampler) -> Tensor:
    x = torch.randn(1, 4, 2, 2)
    return drive(
        sampler_steps(sampler, Fake(lambda x, sigma: x / (1 + sigma**2)), x, RISING, LEVELS, SeededNoise(x, 3))
    )


def test_more_steps_than_levels_repeat_them() -> None:
    sigmas = sampling_sigmas(LEVELS, "simple", 1500)
    check_levels(Sampler("euler"), sigmas)
    with pytest.raises(SigmasError, match="and dpmpp_2m divides by the length of its steps"):
        check_levels(Sampler("dpmpp_2m"), sigmas)
