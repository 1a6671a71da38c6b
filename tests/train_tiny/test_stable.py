"""Targets are the noise where a picture stands alone, and the mean over what it might be where it does not."""

from __future__ import annotations

import torch
from torch import Tensor

from graphexec.train.config import Noise
from graphexec.train.noise import Levels, Noised, draw_noised
from stable import stable_noise

LEVELS = Levels.of()


def noised(latents: Tensor, timestep: int) -> Noised:
    return draw_noised(
        latents, Noise(min_timestep=timestep, max_timestep=timestep + 1), LEVELS, torch.Generator().manual_seed(3)
    )


def seen(found: Tensor, made: Noised) -> Tensor:
    """The picture that is left when noise is taken out."""
    signal, noise = (table[made.timesteps][:, None, None, None] for table in (LEVELS.signal, LEVELS.noise))
    return (made.noisy - noise * found) / signal


def test_without_like_pictures_the_target_is_the_noise() -> None:
    latents = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    alike = torch.stack([latents, torch.full_like(latents, 7.0)], dim=1)
    missing = torch.tensor([[False, True]]).expand(3, 2)
    for timestep in (20, 980):
        made = noised(latents, timestep)
        torch.testing.assert_close(stable_noise(made, alike, missing, LEVELS), made.noise, atol=1e-4, rtol=1e-4)


def test_under_light_noise_a_picture_is_itself_and_under_heavy_noise_the_mean_of_all() -> None:
    random = torch.Generator().manual_seed(1)
    alike = torch.randn(2, 5, 4, 2, 2, generator=random) * 0.5
    missing = torch.zeros(2, 5, dtype=torch.bool)
    light, heavy = noised(alike[:, 0], 5), noised(alike[:, 0] * 0, 999)
    torch.testing.assert_close(seen(stable_noise(light, alike, missing, LEVELS), light), alike[:, 0])
    left = seen(stable_noise(heavy, alike, missing, LEVELS), heavy)
    torch.testing.assert_close(left, alike.mean(dim=1), atol=0.15, rtol=0)


def test_the_mean_over_noise_is_the_expectation_given_the_noisy_picture() -> None:
    """Two like pictures, as likely as each other: Bayes' rule, computed by hand in fp64."""
    first, second = torch.full((1, 4, 1, 1), 0.6), torch.full((1, 4, 1, 1), -0.4)
    made = noised(first, 600)
    alike = torch.stack([first, second], dim=1)
    found = seen(stable_noise(made, alike, torch.zeros(1, 2, dtype=torch.bool), LEVELS), made)
    signal, noise = LEVELS.signal[600].double(), LEVELS.noise[600].double()
    odds = [float((-((made.noisy - signal * x) ** 2).sum() / (2 * noise**2)).exp()) for x in (first, second)]
    expected = (0.6 * odds[0] - 0.4 * odds[1]) / (odds[0] + odds[1])
    torch.testing.assert_close(found, torch.full((1, 4, 1, 1), expected), atol=1e-4, rtol=1e-4)
