# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The nodes of samplers and noise levels give what the library gives, and every sampler they give can run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusion.sampling.toys import Fake
from torch import Tensor

from graphexec.diffusion.guiders import Sampler
from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.sampling.noise import SeededNoise
from graphexec.diffusion.sampling.run import drive
from graphexec.diffusion.sampling.samplers import sampler_steps
from graphexec.diffusion.sampling.schedules import sampling_sigmas
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import Model, Sampling
from graphexec_nodes import custom_sampling, schedulers
from graphexec_nodes import model_sampling as model_nodes

MODEL = Model(WeightsFile(Path("model.safetensors"), 0, 0, ()), "sd1", "model.diffusion_model.")
LEVELS = model_sampling(Sampling())
CHOSEN: list[Sampler] = [
    custom_sampling.select("heun"),
    custom_sampling.dpm_adaptive(eta=0.5),
    custom_sampling.dpm_adaptive(2),
    custom_sampling.dpmpp_2m_sde("heun", noise_device="gpu"),
    custom_sampling.dpmpp_3m_sde(noise_device="cpu"),
    custom_sampling.dpmpp_sde(noise_device="cpu"),
    custom_sampling.dpmpp_2s_ancestral(),
    custom_sampling.euler_ancestral(),
    custom_sampling.euler_ancestral_cfg_pp(),
    custom_sampling.euler_cfg_pp("regular"),
    custom_sampling.euler_cfg_pp("alternative"),
    custom_sampling.lms(100),
    custom_sampling.lcm_upscale(upscale_method="bislerp"),
    custom_sampling.er_sde("Reverse-time SDE", 2),
    custom_sampling.sa_solver(MODEL, use_pece=True, simple_order_2=True),
]


def run(sampler: Sampler, x: Tensor) -> Tensor:
    denoise = Fake(lambda x, sigma: x / (1 + sigma**2))
    return drive(sampler_steps(sampler, denoise, x, [5.0, 2.0, 1.0, 0.3, 0.0], LEVELS, SeededNoise(x, 1)))


@pytest.mark.parametrize("sampler", CHOSEN, ids=lambda sampler: sampler.name)
def test_chosen_samplers_run(sampler: Sampler) -> None:
    assert bool(run(sampler, 5 * torch.randn(1, 4, 2, 2)).isfinite().all())
    assert hash(sampler) == hash(Sampler(sampler.name, sampler.options))


def test_defaults_are_those_of_the_names() -> None:
    x = 5 * torch.randn(1, 4, 2, 2)
    pairs = (
        (custom_sampling.dpm_adaptive(), "dpm_adaptive"),
        (custom_sampling.dpmpp_2m_sde("midpoint", noise_device="gpu"), "dpmpp_2m_sde"),
        (custom_sampling.er_sde("ER-SDE"), "er_sde"),
        (custom_sampling.lms(), "lms"),
        (custom_sampling.sa_solver(MODEL, use_pece=False, simple_order_2=False), "sa_solver"),
    )
    for chosen, name in pairs:
        assert torch.equal(run(chosen, x), run(Sampler(name), x))


def test_latents_grow_on_the_way() -> None:
    x = torch.randn(1, 4, 4, 6)
    chosen = custom_sampling.lcm_upscale(2.0, 2, upscale_method="bilinear")
    assert run(chosen, x).shape == (1, 4, 8, 12)
    assert run(custom_sampling.lcm_upscale(1.5, upscale_method="area"), x).shape == (1, 4, 6, 9)
    never = custom_sampling.lcm_upscale(9.0, 0, upscale_method="area")
    assert run(never, x).shape == x.shape


MADE: list[tuple[Callable[[], Tensor], int]] = [
    (schedulers.schedule_karras, 21),
    (lambda: schedulers.schedule_exponential(4), 5),
    (lambda: schedulers.schedule_polyexponential(4), 5),
    (lambda: schedulers.schedule_laplace(4), 4),
    (lambda: schedulers.schedule_vp(4), 5),
    (lambda: schedulers.schedule_beta(MODEL, 4), 5),
    (lambda: schedulers.schedule_turbo(MODEL), 2),
    (lambda: schedulers.schedule_ays("SD1"), 11),
]


@pytest.mark.parametrize(("make", "count"), MADE)
def test_levels_are_tensors(make: Callable[[], Tensor], count: int) -> None:
    sigmas = make()
    assert sigmas.dtype == torch.float32
    assert len(sigmas) == count
    assert bool((sigmas.diff() < 0).all())


def test_basic_levels_are_those_of_a_run() -> None:
    sigmas = schedulers.schedule(MODEL, "normal", 8, 0.5)
    assert sigmas.tolist() == sampling_sigmas(LEVELS, "normal", 8, 0.5)
    assert schedulers.schedule(MODEL, "normal", 8, 0.0).shape == (0,)


@pytest.mark.parametrize("steps", [7, 11, 30])
def test_basic_levels_are_of_no_more_steps_than_asked_for(steps: int) -> None:
    run = sampling_sigmas(LEVELS, "ddim_uniform", steps)
    assert len(run) == steps + 2
    assert schedulers.schedule(MODEL, "ddim_uniform", steps).tolist() == run[1:]


def test_levels_are_cut_and_changed() -> None:
    sigmas = torch.tensor([4.0, 2.0, 1.0, 0.0])
    high, low = schedulers.split(sigmas, 1)
    assert (high.tolist(), low.tolist()) == ([4, 2], [2, 1, 0])
    assert [part.tolist() for part in schedulers.split_denoise(sigmas, 0.3)] == [[4, 2, 1], [1, 0]]
    assert schedulers.flip(sigmas)[-1] == 4
    assert schedulers.set_first(sigmas)[0] == 136
    assert schedulers.extend(sigmas, 2, -1.0, 4.0, spacing="linear").tolist() == [4, 3, 2, 1, 0]


def test_percents_are_of_the_models_levels() -> None:
    assert schedulers.percent_to_sigma(MODEL) == 999999999.9
    assert schedulers.percent_to_sigma(MODEL, 0.0, True) == LEVELS.sigma_max
    assert schedulers.percent_to_sigma(MODEL, 1.0, True) == LEVELS.sigma_min
    assert schedulers.percent_to_sigma(MODEL, 0.5, True) == LEVELS.percent_to_sigma(0.5)


def test_models_are_read_in_other_ways() -> None:
    assert model_nodes.sample_discrete(MODEL, "v_prediction", True).sampling == Sampling("v", zero_snr=True)
    assert model_nodes.sample_edm(MODEL, "v_prediction").sampling.levels == "edm"
    assert model_nodes.sample_v(MODEL, "v_prediction").sampling.sigma_max == 500
    assert model_nodes.compute_in(MODEL, "bf16").dtype == "bf16"
    assert model_nodes.compute_in(model_nodes.compute_in(MODEL, "bf16"), "default") == MODEL
