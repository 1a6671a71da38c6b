"""Targets that vary less: the noise in a noisy picture, were it any of the pictures that its caption may mean.

Stable target field (Xu, Tong and Jaakkola 2023, https://arxiv.org/abs/2302.00670): under heavy noise one drawing,
placed at random, is a poor sample of what the noise may hide. The mean of several, each by how likely it is to have
become these pixels, has the same expectation (as they grow many) and a fraction of the variance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphexec.train.noise import Levels, Noised, at_each

__all__ = ["stable_noise"]


def stable_noise(noised: Noised, alike: Tensor, missing: Tensor, levels: Levels) -> Tensor:
    """What to find in noisy latents [B, 4, h, w]; `alike` [B, K, 4, h, w], their own first, but `missing` [B, K]."""
    signal, noise = (at_each(table, noised.timesteps) for table in (levels.signal, levels.noise))
    apart = (noised.noisy[:, None] - signal[:, None] * alike).flatten(2).square().sum(dim=2)
    likely = torch.softmax((-apart / (2 * noise.flatten(1) ** 2)).masked_fill(missing, -torch.inf), dim=1)
    return (noised.noisy - signal * torch.einsum("bk,bkchw->bchw", likely, alike)) / noise
