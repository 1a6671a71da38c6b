"""Guidance at cfg 7 is to count fully under heavy noise, and less where little is left."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from graphexec.train.noise import Levels
from guided import CFG, LEAST, Learning, guidance
from parallel import whole


class Leaning(nn.Module):
    """A network that leans towards the mean of what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        return x + self.share * context.mean(dim=(1, 2))[:, None, None, None]


@pytest.fixture
def learning() -> Learning:
    return Learning(Leaning(), torch.zeros(77, 64), "cpu", whole)


def losses(learning: Learning, timestep: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noisy, told = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 77, 64, generator=generator)
    return learning._losses(noisy, torch.full((2,), timestep), told)  # pyright: ignore[reportPrivateUsage]


def test_a_caption_counts_the_less_the_less_noise_there_is() -> None:
    made = guidance(Levels.of())
    assert made[0] == LEAST and made[999] == pytest.approx(CFG)
    assert (made.diff() >= 0).all()


def test_under_heavy_noise_nothing_is_to_change(learning: Learning) -> None:
    torch.testing.assert_close(losses(learning, 849), torch.zeros(2))


def test_under_little_noise_captions_are_to_count_for_less(learning: Learning) -> None:
    assert (losses(learning, 100) > 0).all()
    with torch.no_grad():
        cast("Leaning", learning.unet).share.fill_(LEAST / CFG)
    torch.testing.assert_close(losses(learning, 100), torch.zeros(2))
