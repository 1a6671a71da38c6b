"""Samplers that put noise on every estimate: DDPM and latent consistency models."""

from __future__ import annotations

import math

from graphexec.diffusion.imaging.resize import Method, upscale
from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import slope

__all__ = ["ddpm", "lcm", "lcm_upscale"]


def ddpm(run: Run) -> Steps:
    """Ancestral sampling of Ho et al. 2020, algorithm 2 (https://arxiv.org/abs/2006.11239)."""
    x, noise = run.x, run.noise.independent()
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        kept, kept_after = 1 / (sigma**2 + 1), 1 / (after**2 + 1)
        step = kept / kept_after
        mean = x * math.sqrt(kept) - slope(x, denoised, sigma) * ((1 - step) / math.sqrt(1 - kept))
        x = mean / math.sqrt(step)
        if after == 0:
            return x
        x = x + noise(sigma, after) * math.sqrt((1 - step) * (1 - kept_after) / (1 - kept))
        x = x * math.sqrt(after**2 + 1)
    return x


def lcm(run: Run) -> Steps:
    """Multistep consistency sampling of Luo et al. 2023, algorithm 3 (https://arxiv.org/abs/2310.04378)."""
    x, noise = run.x, run.noise.independent()
    for i, sigma, after in run.pairs():
        x = yield from run.look(i, x)
        if after > 0:
            x = x + noise(sigma, after) * after
    return x


def lcm_upscale(run: Run, *, ratio: float = 1.0, growing_steps: int = -1, method: Method = "bislerp") -> Steps:
    """Consistency sampling whose estimates grow to `ratio` in the first `growing_steps`, below 0 in about half."""
    x, noise = run.x, run.noise.continued()
    height, width = x.shape[-2:]
    growing = max(len(run.sigmas) // 2, 1) if growing_steps < 0 else min(growing_steps, len(run.sigmas))
    for i, _, after in run.pairs():
        x = yield from run.look(i, x)
        if i < growing:
            size = 1 + (ratio - 1) * (i + 1) / growing
            x = upscale(x, round(width * size), round(height * size), method)
        if after > 0:
            x = x + noise(x) * after
    return x
