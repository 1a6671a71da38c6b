# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from graphexec.train.config import Noise
from graphexec.train.noise import Levels, Target, draw_noised, target_of

Array = NDArray[np.float64]
LATENTS = torch.randn(3, 4, 16, 24, generator=torch.Generator().manual_seed(5)) + 0.3


def kept() -> Array:
    """The product of 1 - beta, in fp64."""
    return np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(**options: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    noised = draw_noised(LATENTS, Noise(**options), Levels.of(), seeded())
    return noised.noisy, noised.noise, noised.timesteps


def test_levels_are_those_of_latent_diffusion() -> None:
    levels, alphas = Levels.of(), kept()
    np.testing.assert_allclose(levels.signal.numpy(), alphas**0.5, rtol=3e-7)
    np.testing.assert_allclose(levels.noise.numpy(), (1 - alphas) ** 0.5, rtol=3e-7)
    np.testing.assert_allclose(levels.snr.numpy(), alphas / (1 - alphas), rtol=3e-7)
    assert float(levels.lowest_snr) == float(levels.snr[-1])


def test_levels_may_end_without_signal() -> None:
    levels, root = Levels.of(zero_terminal_snr=True), kept() ** 0.5
    expected = (root - root[-1]) * root[0] / (root[0] - root[-1])
    np.testing.assert_allclose(levels.signal.numpy(), expected, rtol=2e-5, atol=1e-9)
    assert (float(levels.signal[-1]), float(levels.noise[-1]), float(levels.snr[-1])) == (0.0, 1.0, 0.0)
    assert float(levels.lowest_snr) == float(levels.snr[-2]) > 0


def test_latents_are_noised_by_the_forward_process() -> None:
    noisy, noise, timesteps = drawn()
    alphas = kept()[timesteps.numpy()][:, None, None, None]
    expected = alphas**0.5 * LATENTS.double().numpy() + (1 - alphas) ** 0.5 * noise.double().numpy()
    np.testing.assert_allclose(noisy.numpy(), expected, atol=1e-6)
    assert noise.mean().abs() < 0.05
    assert 0.95 < noise.std() < 1.05


@pytest.mark.parametrize("kind", ["eps", "v"])
def test_targets(kind: Target) -> None:
    levels = Levels.of()
    noised = draw_noised(LATENTS, Noise(), levels, seeded())
    alphas = kept()[noised.timesteps.numpy()][:, None, None, None]
    noise, latents = noised.noise.double().numpy(), LATENTS.double().numpy()
    expected = noise if kind == "eps" else alphas**0.5 * noise - (1 - alphas) ** 0.5 * latents
    np.testing.assert_allclose(target_of(kind, LATENTS, noised, levels).numpy(), expected, atol=1e-6)


def test_timesteps_are_even_between_their_bounds() -> None:
    latents = torch.zeros(4000, 1, 1, 1)
    noised = draw_noised(latents, Noise(min_timestep=200, max_timestep=210), Levels.of(), seeded())
    counts = torch.bincount(noised.timesteps)
    assert (int(noised.timesteps.min()), int(noised.timesteps.max())) == (200, 209)
    assert counts[200:].min() > 330


def test_noise_is_offset_by_channel() -> None:
    plain, offset = drawn()[1], drawn(offset=0.1)[1]
    shift = offset - plain
    generator = seeded()
    torch.randn(LATENTS.shape, generator=generator)
    expected = 0.1 * torch.randn(3, 4, 1, 1, generator=generator)
    torch.testing.assert_close(shift, expected.expand_as(shift))


def test_an_offset_may_be_random_and_follow_the_picture() -> None:
    plain, fixed = drawn()[1], drawn(offset=0.1)[1] - drawn()[1]
    some = (drawn(offset=0.1, offset_random=True)[1] - plain) / fixed
    assert 0 < float(some.mean()) < 1
    assert float(some.std()) < 1e-3
    adaptive = drawn(offset=0.1, adaptive_scale=0.5)[1] - plain
    means = LATENTS.mean(dim=(2, 3), keepdim=True).abs()
    torch.testing.assert_close(adaptive, fixed * (0.1 + 0.5 * means) / 0.1, atol=1e-5, rtol=1e-4)
    shrunk = drawn(offset=0.1, adaptive_scale=-9.0)[1] - plain
    assert float(shrunk.abs().max()) == 0.0


def test_multires_noise_has_unit_deviation_and_coarse_parts() -> None:
    plain, coarse = drawn()[1], drawn(multires_iterations=6, multires_discount=0.8)[1]
    assert float(coarse.std()) == pytest.approx(1.0, abs=1e-5)
    assert coarse.mean(dim=(2, 3)).std() > 3 * plain.mean(dim=(2, 3)).std()


def test_perturbed_inputs_keep_their_target() -> None:
    noisy, noise, timesteps = drawn(input_perturbation=0.1)
    alphas = torch.tensor(kept())[timesteps][:, None, None, None].float()
    seen = (noisy - alphas.sqrt() * LATENTS) / (1 - alphas).sqrt() - noise
    assert float(seen.std()) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("options", [{}, {"offset": 0.1, "offset_random": True}, {"multires_iterations": 4}])
def test_everything_is_drawn_from_the_generator(options: dict[str, Any]) -> None:
    first, second = drawn(**options), drawn(**options)
    assert all(map(torch.equal, first, second))
    other = draw_noised(LATENTS, Noise(**options), Levels.of(), seeded(2))
    assert not torch.equal(other.noise, first[1])
