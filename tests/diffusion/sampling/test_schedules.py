# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from parity.agreement import Agreement
from safetensors.torch import load_file

from graphexec.diffusion.sampling import schedules
from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.sampling.names import SCHEDULERS, SamplerName, SchedulerName
from graphexec.diffusion.sampling.schedules import SCHEDULES, sampling_sigmas
from graphexec.diffusion.types import Sampling

LEVELS = model_sampling(Sampling())
RECORDED = load_file(Path(__file__).parents[2] / "data/parity/sigmas.safetensors")
RUNS = [(name, key) for name in SCHEDULERS for key in RECORDED if key.startswith(f"{name}/")]
HIGH, LOW = 14.614642, 0.0291675
NODES: dict[str, Callable[[int], list[float]]] = {
    "KarrasScheduler": lambda steps: schedules.karras_sigmas(steps, HIGH, LOW, 7.0),
    "ExponentialScheduler": lambda steps: schedules.exponential_sigmas(steps, HIGH, LOW),
    "PolyexponentialScheduler": lambda steps: schedules.polyexponential_sigmas(steps, HIGH, LOW, 1.0),
    "LaplaceScheduler": lambda steps: schedules.laplace_sigmas(steps, HIGH, LOW, 0.0, 0.5),
    "VPScheduler": lambda steps: schedules.vp_sigmas(steps, 19.9, 0.1, 0.001),
}


@pytest.mark.parity
@pytest.mark.parametrize(("scheduler", "run"), RUNS)
def test_recorded_levels(scheduler: SchedulerName, run: str, agrees: Agreement) -> None:
    _, steps, denoise, sampler = run.split("/")
    discards: SamplerName = "dpm_2" if sampler == "dpm_2" else "euler"
    ours = torch.tensor(sampling_sigmas(LEVELS, scheduler, int(steps[5:]), float(denoise[7:]), discards))
    theirs = RECORDED[run]
    if theirs.isnan().any():  # one step of kl_optimal: there 0 / 0, here the highest level
        theirs = torch.tensor([LEVELS.sigma_max, 0.0])
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    agrees("schedules", ours, theirs, 1e-6)


@pytest.mark.parametrize("key", [key for key in RECORDED if key.startswith("node/")])
def test_recorded_levels_of_nodes(key: str) -> None:
    _, node, steps = key.split("/")
    torch.testing.assert_close(torch.tensor(NODES[node](int(steps))), RECORDED[key], rtol=2e-7, atol=0)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(zero_snr=True), Sampling(original_timesteps=50)])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 40])
def test_levels_fall_to_zero_from_below_the_highest(scheduler: SchedulerName, sampling: Sampling, steps: int) -> None:
    levels = model_sampling(sampling)
    sigmas = sampling_sigmas(levels, scheduler, steps)
    assert sigmas[-1] == 0
    assert sigmas[0] <= levels.sigma_max * (1 + 1e-6)
    assert all(before > after for before, after in pairwise(sigmas))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_levels_of_continuous_models(scheduler: SchedulerName) -> None:
    levels = model_sampling(Sampling("edm", "edm", sigma_min=0.002, sigma_max=80.0, sigma_data=0.5))
    sigmas = sampling_sigmas(levels, scheduler, 6)
    assert sigmas[0] <= 80 * (1 + 1e-5)
    assert all(before > after for before, after in pairwise(sigmas))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_denoise_keeps_the_end_of_a_longer_run(scheduler: SchedulerName) -> None:
    assert sampling_sigmas(LEVELS, scheduler, 4, 0.5) == sampling_sigmas(LEVELS, scheduler, 8)[-5:]


def test_nothing_to_do_is_no_levels() -> None:
    assert sampling_sigmas(LEVELS, "normal", 0) == sampling_sigmas(LEVELS, "normal", 4, 0.0) == []


def test_align_your_steps_interpolates_its_table() -> None:
    table = schedules.ALIGN_YOUR_STEPS["SD1"]
    assert schedules.align_your_steps("SD1", 10, 1.0) == pytest.approx([*table[:-1], 0.0])
    assert schedules.align_your_steps("SD1", 20, 1.0)[0:20:2] == pytest.approx(table[:-1])
    assert schedules.align_your_steps("SDXL", 20, 0.5) == schedules.align_your_steps("SDXL", 20, 1.0)[-11:]
    assert schedules.align_your_steps("SD1", 10, 0.0) == []


def test_turbo_steps_are_a_hundred_timesteps_apart() -> None:
    expected = [LEVELS.sigma(timestep) for timestep in (999, 899)]
    assert schedules.turbo_sigmas(LEVELS, 2, 1.0) == [*expected, 0.0]
    assert schedules.turbo_sigmas(LEVELS, 4, 0.1) == [LEVELS.sigma(99), 0.0]


def test_every_name_has_a_schedule() -> None:
    assert tuple(SCHEDULES) == SCHEDULERS
