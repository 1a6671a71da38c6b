"""A critic tells drawn pictures from decoded ones, patch by patch, and the decoder learns to please it.

The mean of all pictures that latents may stand for has soft edges; any one of them has sharp ones. So errors alone make
pictures soft, and a critic (Isola and others 2017, https://arxiv.org/abs/1611.07004) makes them sharp.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Critic", "criticism"]

ADVERSE, ALIKE = 0.15, 0.3
"""What counts beside the errors: that the critic takes a picture for a drawn one, and that all its layers see in it
what they see in the drawn one (Wang and others 2018, https://arxiv.org/abs/1711.11585)."""
LAYERS = ((3, 32, 3, 1), (32, 32, 3, 1), (32, 64, 4, 2), (64, 128, 4, 2), (128, 128, 3, 1))
"""Channels in and out, size and stride of the convolutions; the first two see single pixels of edges."""
SURE = 4.0
"""How sure the critic may be: filters of length 1 give small numbers."""
LEAK = 0.2


class Critic(nn.Module):
    """How much patches look drawn: above 0 if they do, beyond 1 if that is sure."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(UnitConv(*layer) for layer in LAYERS)
        self.last = UnitConv(LAYERS[-1][1], 1, 3, 1)

    def forward(self, pixels: Tensor, learns: bool = True) -> tuple[Tensor, list[Tensor]]:
        """Of pictures [B, 3, H, W] in -1..1: the verdicts [B, 1, H / 4, W / 4], and what each layer sees."""
        seen = [pixels]
        for layer in self.layers:
            seen.append(F.leaky_relu(layer(seen[-1], learns), LEAK))
        return SURE * self.last(seen[-1], learns), seen[1:]


class UnitConv(nn.Module):
    """A convolution by filters of length 1, so that it cannot raise its voice without end."""

    def __init__(self, channels: int, out: int, size: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, channels, size, size) / math.sqrt(channels * size * size))
        self.bias = nn.Parameter(torch.zeros(out))
        self.stride = stride

    def forward(self, x: Tensor, learns: bool) -> Tensor:
        weight, bias = (self.weight, self.bias) if learns else (self.weight.detach(), self.bias.detach())
        length = weight.flatten(1).norm(dim=1)[:, None, None, None]
        return F.conv2d(x, weight * math.sqrt(2) / length, bias, self.stride, padding=1)


def criticism(critic: Critic, made: Tensor, drawn: Tensor) -> Tensor:
    """What the decoder is to lower of pictures `made` [B, 3, H, W], and the critic beside `drawn` ones, [B].

    Each gets the gradients of its own part only.
    """
    wanted, known = critic(drawn)
    unwanted, _seen = critic(made.detach())
    pleased, seen = critic(made, learns=False)
    apart = [_mean((one - other.detach()).abs()) for one, other in zip(seen, known, strict=True)]
    fooled = ALIKE * torch.stack(apart).sum(dim=0) - ADVERSE * _mean(pleased)
    return fooled + _mean(F.relu(1 - wanted)) + _mean(F.relu(1 + unwanted))


def _mean(of_each: Tensor) -> Tensor:
    return of_each.mean(dim=(1, 2, 3))
