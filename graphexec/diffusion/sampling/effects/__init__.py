"""What the options of a model recipe do while it is sampled: one file for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphexec.diffusion.options import DifferentialDiffusion, RescaleCfg
from graphexec.diffusion.sampling.effects import guidance, inpainting
from graphexec.diffusion.sampling.effects.base import Effect, Setting
from graphexec.diffusion.types import Model, ModelOption

__all__ = ["EFFECTS", "effects_of"]

EFFECTS: Mapping[type[ModelOption], Callable[[Any, Setting], Effect]] = {
    DifferentialDiffusion: inpainting.Differential,
    RescaleCfg: guidance.Rescale,
}


def effects_of(model: Model, setting: Setting) -> list[Effect]:
    """What a model's options do in a run, in their order."""
    return [EFFECTS[type(option)](option, setting) for option in model.options]
