# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math

import pytest
import torch
from diffusion.sampling.toys import Fake
from torch import Tensor

from graphexec.diffusion.faults import SigmasError
from graphexec.diffusion.guiders import Sampler
from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.sampling.names import SCHEDULERS, SchedulerName
from graphexec.diffusion.sampling.noise import SeededNoise
from graphexec.diffusion.sampling.run import drive
from graphexec.diffusion.sampling.samplers import SAMPLER_FUNCTIONS, Step, sampler_steps
from graphexec.diffusion.sampling.schedules import karras_sigmas, sampling_sigmas
from graphexec.diffusion.types import Sampling

LEVELS = model_sampling(Sampling())
STOPS_ABOVE_ZERO = {"dpm_fast", "dpm_adaptive", "uni_pc", "uni_pc_bh2"}
ORDERS = {
    "euler": 1, "heun": 2, "dpm_2": 2, "lms": 2, "dpmpp_2m": 2, "ipndm_v": 2,
    "res_multistep": 2, "uni_pc": 2, "uni_pc_bh2": 2,
}  # fmt: skip


def sample(sampler: Sampler, denoise: Fake, x: Tensor, sigmas: list[float], seen: list[Step] | None = None) -> Tensor:
    steps = sampler_steps(sampler, denoise, x, sigmas, LEVELS, SeededNoise(x, 3))
    return drive(steps, seen.append if seen is not None else None)


def gaussian(spread: float) -> Fake:
    """What a perfect model answers where latents are normal with this standard deviation."""
    return Fake(lambda x, sigma: x * (spread**2 / (spread**2 + sigma**2)))


def error(sampler: Sampler, steps: int) -> float:
    """How far a run from sigma 10 to 0.5 ends from the exact solution, which scales like the whole deviation."""
    x, spread = torch.ones(1, 1, 1, 1, dtype=torch.float64), 1.3
    sigmas = karras_sigmas(steps, 10.0, 0.5, 3.0)[:-1]
    exact = math.sqrt((spread**2 + sigmas[-1] ** 2) / (spread**2 + sigmas[0] ** 2))
    return abs(float(sample(sampler, gaussian(spread), x, sigmas)) - exact)


@pytest.mark.parametrize("name", ORDERS)
def test_deterministic_samplers_converge_with_their_order(name: str) -> None:
    assert error(Sampler(name), 161) < 0.6 ** ORDERS[name] * error(Sampler(name), 81)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dpm_fast", {}),
        ("deis", {}),
        ("dpmpp_sde", {"eta": 0.0}),
        ("dpmpp_2m_sde", {"eta": 0.0}),
        ("dpmpp_2m_sde", {"eta": 0.0, "solver_type": "heun"}),
        ("dpmpp_3m_sde", {"eta": 0.0}),
        ("seeds_2", {"eta": 0.0}),
        ("seeds_3", {"eta": 0.0}),
        ("sa_solver", {"eta": 0.0}),
        ("sa_solver", {"eta": 0.0, "simple_order_2": True, "predictor_order": 2, "corrector_order": 2}),
        ("er_sde", {"solver_type": "ODE"}),
        ("dpm_adaptive", {"rtol": 1e-4, "atol": 1e-5}),
        ("dpm_adaptive", {"order": 2, "rtol": 1e-4, "atol": 1e-5}),
    ],
)
def test_without_noise_all_solve_the_same_equation(name: str, options: dict[str, float | str | bool]) -> None:
    assert error(Sampler.of(name, **options), 161) < 3e-4


@pytest.mark.parametrize("order", [2, 3])
def test_the_adaptive_solver_goes_both_ways(order: int) -> None:
    x, sampler = torch.randn(1, 4, 2, 2), Sampler.of("dpm_adaptive", order=order, rtol=1e-4, atol=1e-5)
    noisy = sample(sampler, gaussian(1.3), x, [0.5, 2.0, 10.0])
    exact = math.sqrt((1.3**2 + 10.0**2) / (1.3**2 + 0.5**2))
    torch.testing.assert_close(noisy, x * exact, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(sample(sampler, gaussian(1.3), noisy, [10.0, 2.0, 0.5]), x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["uni_pc", "uni_pc_bh2"])
def test_levels_that_are_lost_to_uni_pc_are_named(name: str) -> None:
    with pytest.raises(SigmasError, match=r"noise level 0\.0001 is too low for uni_pc"):
        sample(Sampler(name), gaussian(1.0), torch.randn(1, 4, 2, 2), [0.0001, 1.0, 5.0])


@pytest.mark.parametrize("name", SAMPLER_FUNCTIONS)
def test_a_model_that_knows_the_answer_gives_it(name: str) -> None:
    answer, noise = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    result = sample(Sampler(name), Fake(lambda x, sigma: answer), answer + 10 * noise, [10.0, 3.0, 1.0, 0.2, 0.0])
    torch.testing.assert_close(result, answer, rtol=1e-4, atol=1.0 if name in STOPS_ABOVE_ZERO else 1e-4)


@pytest.mark.parametrize("name", SAMPLER_FUNCTIONS)
def test_what_a_run_ends_with_is_what_the_model_said_last(name: str) -> None:
    seen: list[Step] = []
    result = sample(Sampler(name), gaussian(1.0), 10 * torch.randn(1, 4, 2, 2), [10.0, 3.0, 1.0, 0.05, 0.0], seen)
    torch.testing.assert_close(result, seen[-1].denoised, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", SAMPLER_FUNCTIONS)
def test_one_step_gives_the_estimate(name: str) -> None:
    x = 10 * torch.randn(1, 4, 2, 2)
    result = sample(Sampler(name), gaussian(1.0), x, [10.0, 0.0])
    torch.testing.assert_close(result, x / 101, rtol=1e-3, atol=5e-3)


@pytest.mark.parametrize("name", SAMPLER_FUNCTIONS)
def test_short_runs_of_every_schedule_are_finite(name: str) -> None:
    runs: list[tuple[SchedulerName, int]] = [(scheduler, steps) for scheduler in SCHEDULERS for steps in (1, 2, 3, 4)]
    for scheduler, steps in runs:
        sigmas = sampling_sigmas(LEVELS, scheduler, steps)
        assert bool(sample(Sampler(name), gaussian(1.0), torch.randn(1, 4, 2, 2) * 14, sigmas).isfinite().all())


@pytest.mark.parametrize("name", SAMPLER_FUNCTIONS)
def test_steps_count_up_to_their_total(name: str) -> None:
    seen: list[Step] = []
    sample(Sampler(name), gaussian(1.0), torch.randn(1, 4, 2, 2), [5.0, 2.0, 1.0, 0.5], seen)
    assert [step.i for step in seen] == list(range(len(seen)))
    assert all(step.i < step.total for step in seen)
    assert seen[0].sigma == pytest.approx(5.0)
    if not name.startswith("dpm_"):
        assert [(step.total, step.sigma) for step in seen] == [(3, 5.0), (3, 2.0), (3, 1.0)]


@pytest.mark.parametrize("name", SAMPLER_FUNCTIONS)
def test_a_run_may_begin_with_the_largest_seed(name: str) -> None:
    x = torch.randn(1, 4, 2, 2)
    steps = sampler_steps(Sampler(name), gaussian(1.0), x, [5.0, 2.0, 1.0, 0.0], LEVELS, SeededNoise(x, 2**64 - 1))
    assert bool(drive(steps).isfinite().all())


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("euler_ancestral", "s_noise"), ("dpmpp_sde", "s_noise"), ("dpmpp_2m_sde", "s_noise"),
        ("dpmpp_3m_sde", "s_noise"), ("seeds_2", "s_noise"), ("seeds_3", "s_noise"), ("er_sde", "s_noise"),
        ("sa_solver", "s_noise"), ("dpmpp_2s_ancestral", "s_noise"), ("dpm_2_ancestral", "s_noise"),
    ],
)  # fmt: skip
def test_noise_may_be_turned_off(name: str, option: str) -> None:
    x, sigmas = torch.randn(1, 4, 2, 2) * 5, [5.0, 2.0, 1.0, 0.5]

    def run(seed: int, strength: float) -> Tensor:
        sampler = Sampler.of(name, **{option: strength})
        return drive(sampler_steps(sampler, gaussian(1.0), x, sigmas, LEVELS, SeededNoise(x, seed)))

    assert torch.equal(run(1, 0.0), run(2, 0.0))
    assert not torch.equal(run(1, 1.0), run(2, 1.0))


def test_equal_samplers_have_equal_recipes() -> None:
    assert Sampler.of("euler_ancestral", eta=0.5, s_noise=1.0) == Sampler.of("euler_ancestral", s_noise=1.0, eta=0.5)
    assert len({Sampler("euler"), Sampler("euler"), Sampler("heun")}) == 2


@pytest.mark.parametrize(
    ("sampler", "told"),
    [
        (Sampler.of("dpmpp_sde", r=0.0), "r of dpmpp_sde must be above 0"),
        (Sampler.of("dpm_adaptive", h_init=0.0), "too short"),
        (Sampler.of("dpm_adaptive", rtol=0.0, atol=0.0), "too short"),
    ],
)
def test_settings_that_lead_nowhere_are_refused(sampler: Sampler, told: str) -> None:
    with pytest.raises(SigmasError, match=told):
        sample(sampler, gaussian(1.0), torch.randn(1, 4, 2, 2), [10.0, 3.0, 1.0, 0.0])
