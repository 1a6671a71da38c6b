"""What a training run tells while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cached", "Event", "Finished", "Sampled", "Saved", "Started", "Stepped", "Validated", "Warned"]


@dataclass(frozen=True, slots=True)
class Cached:
    """Before the first step, the latents of `done` pictures of all are there."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Started:
    """`first` is the number of steps that were done before (by the run that this one goes on from)."""

    total: int
    first: int = 0


@dataclass(frozen=True, slots=True)
class Stepped:
    """An optimiser step was done, the `step`-th (from 1), in an `epoch` (from 1).

    `loss` is the mean over its pictures; `lr` by group; `rate` in steps a second; `left` in seconds.
    """

    step: int
    total: int
    epoch: int
    loss: float
    lr: Mapping[str, float]
    rate: float
    left: float


@dataclass(frozen=True, slots=True)
class Saved:
    """A LoRA, or the state of the run, was written."""

    path: Path
    step: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Sampled:
    """Pictures were made with what is learned so far."""

    paths: tuple[Path, ...]
    step: int


@dataclass(frozen=True, slots=True)
class Validated:
    """The loss on pictures that are held out."""

    loss: float
    step: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something does not stop the run but should be known."""

    message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """All steps are done; `loss` is the last one's."""

    steps: int
    seconds: float
    loss: float


Event = Cached | Started | Stepped | Saved | Sampled | Validated | Warned | Finished
