# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.types import Prediction, Sampling

RECORDED = load_file(Path(__file__).parents[2] / "data/parity/sigmas.safetensors")
LEVELS = model_sampling(Sampling())
EDM = Sampling("edm", "edm", sigma_data=0.5)
CONTINUOUS = (EDM, Sampling("v", "continuous_v", sigma_min=0.03, sigma_max=500.0))


def recorded(kind: str) -> list[str]:
    return [key for key in RECORDED if key.startswith(f"{kind}/")]


def test_the_table_of_levels() -> None:
    assert torch.equal(LEVELS.sigmas, RECORDED["model_sampling.sigmas"])


@pytest.mark.parametrize("key", recorded("timestep_of_sigma"))
def test_recorded_timesteps(key: str) -> None:
    assert LEVELS.timestep(float(key.split("/")[1])) == RECORDED[key].item()


@pytest.mark.parametrize("key", recorded("sigma_of_timestep"))
def test_recorded_sigmas_of_timesteps(key: str) -> None:
    assert LEVELS.sigma(float(key.split("/")[1])) == RECORDED[key].item()


@pytest.mark.parametrize("key", recorded("percent_to_sigma"))
def test_recorded_sigmas_of_percents(key: str) -> None:
    assert LEVELS.percent_to_sigma(float(key.split("/")[1])) == RECORDED[key].item()


@pytest.mark.parametrize("sampling", CONTINUOUS)
@given(percent=st.floats(0.01, 0.99))
def test_continuous_levels_know_their_timesteps(sampling: Sampling, percent: float) -> None:
    levels = model_sampling(sampling)
    sigma = levels.percent_to_sigma(percent)
    assert sampling.sigma_min <= sigma <= sampling.sigma_max
    assert levels.sigma(levels.timestep(sigma)) == pytest.approx(sigma, rel=1e-6)


@pytest.mark.parametrize("prediction", ["eps", "v", "edm", "x0"])
@pytest.mark.parametrize("data", [1.0, 0.5])
def test_a_network_that_predicts_rightly_gives_the_noiseless_latent(prediction: Prediction, data: float) -> None:
    x0, noise, sigma = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2), 1.7
    levels = model_sampling(Sampling(prediction, sigma_data=data))
    v = (noise * data**2 - sigma * x0) / (data * math.sqrt(sigma**2 + data**2))
    output = {"eps": noise, "v": v, "edm": -v, "x0": x0}[prediction]
    torch.testing.assert_close(levels.denoised(output, sigma, x0 + sigma * noise), x0, rtol=1e-5, atol=1e-5)


def test_inputs_have_the_variance_of_the_data() -> None:
    x, sigma = torch.randn(4, 4, 32, 32) * math.sqrt(9 + 0.25), 3.0
    assert float(model_sampling(EDM).scale_input(x, sigma).std()) == pytest.approx(1.0, rel=0.05)
    assert model_sampling(Sampling("img_to_img")).scale_input(x, sigma) is x


def test_a_consistency_model_gives_its_input_back_without_noise() -> None:
    levels, x = model_sampling(Sampling("lcm")), torch.randn(1, 4, 2, 2)
    assert levels.timestep(LEVELS.sigma_min) == 0
    torch.testing.assert_close(levels.denoised(torch.randn_like(x), LEVELS.sigma_min, x), x)


def test_a_distilled_model_knows_every_twentieth_timestep() -> None:
    levels = model_sampling(Sampling("lcm", original_timesteps=50))
    assert torch.equal(levels.sigmas, LEVELS.sigmas[19::20])
    assert [levels.timestep(LEVELS.sigma(at)) for at in (999, 500, 19)] == [999, 499, 19]
    assert levels.sigma(999) == pytest.approx(LEVELS.sigma_max, rel=1e-6)
    assert levels.sigma(0) == pytest.approx(levels.sigma_min, rel=1e-6)


def test_zero_terminal_snr_stretches_the_levels() -> None:
    levels = model_sampling(Sampling("v", zero_snr=True))
    assert levels.sigma_max == pytest.approx(4518.76, rel=1e-5)
    assert levels.sigma_min == pytest.approx(LEVELS.sigma_min, rel=1e-4)
    assert bool((levels.sigmas.diff() > 0).all())


def test_a_full_run_counts_the_latent_as_noise() -> None:
    latent, noise = torch.ones(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    assert LEVELS.is_full(LEVELS.sigma_max * (1 - 5e-6))
    assert LEVELS.is_full(20.0)
    assert not LEVELS.is_full(14.6)
    assert torch.equal(LEVELS.scale_noise(noise, latent, 2.0, full=False), latent + noise * 2)
    assert torch.equal(LEVELS.scale_noise(noise, latent, 2.0, full=True), latent + noise * math.sqrt(5))


def test_equal_recipes_share_their_levels() -> None:
    assert model_sampling(Sampling()) is LEVELS
