"""Scaling low and high frequencies apart."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["scale_frequencies"]


def scale_frequencies(x: Tensor, *, low: float, high: float, cutoff: int) -> Tensor:
    """x [B, C, h, w] with its frequencies below `cutoff`, along both sides, times `low`, the others times `high`."""
    spectrum = torch.fft.fftshift(torch.fft.fftn(x.float(), dim=(-2, -1)), dim=(-2, -1))
    rows, columns = (slice(max(0, side // 2 - cutoff), side // 2 + cutoff) for side in x.shape[-2:])
    factors = torch.full(x.shape[-2:], high, device=x.device)
    factors[rows, columns] = low
    back = torch.fft.ifftn(torch.fft.ifftshift(spectrum * factors, dim=(-2, -1)), dim=(-2, -1))
    return back.real.to(x.dtype)
