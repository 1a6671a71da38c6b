"""What a sampler is given, and what it yields.

All samplers share one contract, `denoise(x, sigma) -> x0`, the model's estimate of the noiseless latent (Karras et
al. 2022, https://arxiv.org/abs/2206.00364). Progress, previews, cancellation and checks live in the consumer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from graphexec.diffusion.sampling.discrete import ModelSampling

__all__ = ["Denoiser", "Noise", "NoiseSource", "Run", "SamplerFunction", "Step", "Steps"]


class Denoiser(Protocol):
    """Estimates the noiseless latent in `x` [B, C, h, w], noised to `sigma`."""

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor: ...

    def with_uncond(self, x: Tensor, sigma: float, /) -> tuple[Tensor, Tensor]:
        """The guided estimate, and that without the prompt, which is computed even where guidance needs none."""
        ...


class Noise(Protocol):
    """Draws noise of unit variance for the step from one sigma to another."""

    def __call__(self, sigma: float, sigma_next: float, /) -> Tensor: ...


class NoiseSource(Protocol):
    """Where samplers that add noise on the way get it from."""

    def independent(self) -> Noise:
        """Each draw is new, whatever the step."""
        ...

    def brownian(self, sigmas: Sequence[float], /) -> Noise:
        """Draws are increments of one Brownian path over the levels: finer steps see the same noise in more detail."""
        ...

    def continued(self) -> Callable[[Tensor], Tensor]:
        """Draws in the shape of what is given, going on where the initial noise ended."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One step, seen before it is taken: `x` at `sigma`, and the noiseless latent estimated from it."""

    i: int
    total: int
    sigma: float
    x: Tensor
    denoised: Tensor


Steps = Generator[Step, None, Tensor]


@dataclass(frozen=True, slots=True)
class Run:
    """A sampler's task: bring `x` [B, C, h, w] from the first of `sigmas`, which mostly fall, to the last."""

    denoise: Denoiser
    x: Tensor
    sigmas: Sequence[float]
    levels: ModelSampling
    noise: NoiseSource

    def pairs(self) -> Iterator[tuple[int, float, float]]:
        """Each step's number, its sigma and the next."""
        for i in range(len(self.sigmas) - 1):
            yield i, self.sigmas[i], self.sigmas[i + 1]

    def look(self, i: int, x: Tensor) -> Generator[Step, None, Tensor]:
        """The estimate at step `i`, after it was shown: `denoised = yield from run.look(i, x)`."""
        denoised = self.denoise(x, self.sigmas[i])
        yield self.step(i, x, denoised)
        return denoised

    def look_uncond(self, i: int, x: Tensor) -> Generator[Step, None, tuple[Tensor, Tensor]]:
        """Like `look`, with the estimate without the prompt."""
        denoised, uncond = self.denoise.with_uncond(x, self.sigmas[i])
        yield self.step(i, x, denoised)
        return denoised, uncond

    def step(self, i: int, x: Tensor, denoised: Tensor) -> Step:
        """What is shown of step `i`."""
        return Step(i, len(self.sigmas) - 1, self.sigmas[i], x, denoised)


SamplerFunction = Callable[..., Steps]
"""Takes a `Run` and the sampler's options by name."""
