"""What takes a model through a sampling run: sampler, guider, noise to start with. Importing this imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from graphexec.diffusion.types import Conditioning, Model

__all__ = ["CfgGuider", "DualCfgGuider", "Guider", "Noise", "PerpNegGuider", "Sampler"]


@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampler by name, with the options that differ from its defaults."""

    name: str
    options: tuple[tuple[str, float | str | bool], ...] = ()

    @classmethod
    def of(cls, name: str, **options: float | str | bool) -> Self:
        """A sampler with options given by name."""
        return cls(name, tuple(sorted(options.items())))


@dataclass(frozen=True, slots=True)
class Noise:
    """Where the noise of a run comes from: a seed, or None for no noise at all."""

    seed: int | None


@dataclass(frozen=True, slots=True)
class Guider:
    """A model led by one conditioning (`BasicGuider`); the other kinds lead it further."""

    model: Model
    positive: Conditioning


@dataclass(frozen=True, slots=True)
class CfgGuider(Guider):
    """Classifier-free guidance (Ho and Salimans 2022, https://arxiv.org/abs/2207.12598)."""

    negative: Conditioning
    cfg: float


@dataclass(frozen=True, slots=True)
class DualCfgGuider(Guider):
    """Guidance by `positive` above `middle` at `cfg`, and by `middle` above `negative` at `cfg_middle`.

    With `nested`, the second guidance goes from `negative` to the result of the first.
    """

    middle: Conditioning
    negative: Conditioning
    cfg: float
    cfg_middle: float
    nested: bool


@dataclass(frozen=True, slots=True)
class PerpNegGuider(Guider):
    """Guidance away from the part of `negative` that is perpendicular to `positive`, both above `empty`.

    Armandpour et al. 2023, https://arxiv.org/abs/2304.04968.
    """

    negative: Conditioning
    empty: Conditioning
    cfg: float
    neg_scale: float
