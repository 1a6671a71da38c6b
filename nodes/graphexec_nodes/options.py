"""Nodes that change how a model is run rather than its weights."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graphexec.diffusion import options
from graphexec.diffusion.types import Model
from graphexec.node.decorator import node
from graphexec.node.fields import Unit, Widget

Multiplier = Annotated[float, Field(ge=0.0, le=1.0), Widget(step=0.01)]


@node("DifferentialDiffusion", category="_for_testing", display_name="Differential Diffusion")
def differ(model: Model, strength: Unit | None = 1.0) -> Model:
    """Let a grey noise mask say how early each place may begin to change.

    Args:
        model: the diffusion model.
        strength: below 1, mixes with the mask as it is.
    """
    return model.with_option(options.DifferentialDiffusion(1.0 if strength is None else strength))


@node("RescaleCFG", category="advanced/model")
def rescale_cfg(model: Model, multiplier: Multiplier = 0.7) -> Model:
    """Bring the guided prediction back to the contrast of the positive one, against overexposure.

    Args:
        model: the diffusion model.
        multiplier: how much of the rescaled prediction is mixed in.
    """
    return model.with_option(options.RescaleCfg(multiplier))
