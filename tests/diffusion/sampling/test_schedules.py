# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.sampling.names import SCHEDULERS, SchedulerName
from graphexec.diffusion.sampling.schedules import SCHEDULES, sampling_sigmas
from graphexec.diffusion.types import Sampling

LEVELS = model_sampling(Sampling())
RECORDED = load_file(Path(__file__).parents[2] / "data/parity/sigmas.safetensors")
RUNS = [(name, key) for name in SCHEDULERS for key in RECORDED if key.startswith(f"{name}/")]


@pytest.mark.parametrize(("scheduler", "run"), RUNS)
def test_recorded_levels(scheduler: SchedulerName, run: str) -> None:
    _, steps, denoise = run.split("/")
    ours = torch.tensor(sampling_sigmas(LEVELS, scheduler, int(steps[5:]), float(denoise[7:])))
    theirs = RECORDED[run]
    if theirs.isnan().any():  # one step of kl_optimal: there 0 / 0, here the highest level
        theirs = torch.tensor([LEVELS.sigma_max, 0.0])
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_the_table_of_levels() -> None:
    assert torch.equal(LEVELS.sigmas, RECORDED["model_sampling.sigmas"])


@pytest.mark.parametrize("key", [key for key in RECORDED if key.startswith("timestep_of_sigma/")])
def test_recorded_timesteps(key: str) -> None:
    assert LEVELS.timestep(float(key.split("/")[1])) == RECORDED[key].item()


@pytest.mark.parametrize("key", [key for key in RECORDED if key.startswith("sigma_of_timestep/")])
def test_recorded_sigmas_of_timesteps(key: str) -> None:
    assert LEVELS.sigma(float(key.split("/")[1])) == pytest.approx(RECORDED[key].item(), rel=1e-6)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 1000])
def test_levels_fall_to_zero_from_below_the_highest(scheduler: SchedulerName, steps: int) -> None:
    sigmas = sampling_sigmas(LEVELS, scheduler, steps)
    assert sigmas[-1] == 0
    assert sigmas[0] <= LEVELS.sigma_max * (1 + 1e-6)
    assert all(before > after for before, after in pairwise(sigmas))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_denoise_keeps_the_end_of_a_longer_run(scheduler: SchedulerName) -> None:
    assert sampling_sigmas(LEVELS, scheduler, 4, 0.5) == sampling_sigmas(LEVELS, scheduler, 8)[-5:]


def test_nothing_to_do_is_no_levels() -> None:
    assert sampling_sigmas(LEVELS, "normal", 0) == sampling_sigmas(LEVELS, "normal", 4, 0.0) == []


def test_every_name_has_a_schedule() -> None:
    assert tuple(SCHEDULES) == SCHEDULERS
