"""Nodes that steer a diffusion model with pictures: ControlNets, control-LoRAs, T2I-Adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from graphexec.diffusion.types import Conditioning, Control, ControlNet, Image, Model, Vae
from graphexec.node.decorator import node
from graphexec.node.fields import Folder, Name, Range, Widget
from graphexec_nodes import file_facts, prompt_facts

ControlFile = Annotated[Path, Folder("controlnet")]
ControlStrength = Annotated[float, Range(ge=0.0, le=10.0), Widget(step=0.01)]
Percent = Annotated[float, Range(ge=0.0, le=1.0), Widget(step=0.001)]
UnionType = Literal[
    "auto",
    "openpose",
    "depth",
    "hed/pidi/scribble/ted",
    "canny/lineart/anime_lineart/mlsd",
    "normal",
    "segment",
    "tile",
    "repaint",
]


class Steered(NamedTuple):
    """Both sides of the guidance."""

    positive: Conditioning
    negative: Conditioning


@node("ControlNetLoader", category="loaders", display_name="Load ControlNet Model", infer=file_facts.of_controlnet)
def load_controlnet(control_net_name: ControlFile) -> ControlNet:
    """Open a ControlNet, a control-LoRA or a T2I-Adapter.

    A difference to a model's weights is added to whichever model it steers.

    Args:
        control_net_name: a file of the controlnet folder.
    """
    from graphexec.diffusion.controlfiles import open_controlnet

    return open_controlnet(control_net_name)


@node(
    "DiffControlNetLoader",
    category="loaders",
    display_name="Load ControlNet Model (diff)",
    infer=file_facts.of_diff_controlnet,
)
def load_diff_controlnet(model: Model, control_net_name: ControlFile) -> ControlNet:
    """Open a ControlNet that is kept as the difference to a model's weights.

    Args:
        model: what the difference is added to; other ControlNets do not need it.
        control_net_name: a file of the controlnet folder.
    """
    from graphexec.diffusion.controlfiles import open_controlnet

    return open_controlnet(control_net_name, model)


@node(
    "ControlNetApply",
    category="conditioning/controlnet",
    display_name="Apply ControlNet (OLD)",
    infer=prompt_facts.of_control,
)
def apply_controlnet(
    conditioning: Conditioning, control_net: ControlNet, image: Image, strength: ControlStrength = 1.0
) -> Conditioning:
    """Steer a model with a picture, on the negative side too unless that has a ControlNet of its own.

    Args:
        conditioning: the prompt.
        control_net: the ControlNet.
        image: what it is shown; brought to the size of the picture that is made.
        strength: how much of what it says is added; 0 leaves it out.
    """
    from graphexec.diffusion.steer import steer

    return steer(conditioning, Control(control_net, image, strength))


@node(
    "ControlNetApplyAdvanced",
    category="conditioning/controlnet",
    display_name="Apply ControlNet",
    infer=prompt_facts.of_controls,
)
def apply_controlnet_to_both(
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    image: Image,
    strength: ControlStrength = 1.0,
    start_percent: Percent = 0.0,
    end_percent: Percent = 1.0,
    vae: Vae | None = None,
) -> Steered:
    """Steer a model with a picture, on both sides of the guidance, in a part of the sampling.

    Args:
        positive: what the picture should show.
        negative: what it should not.
        control_net: the ControlNet.
        image: what it is shown; brought to the size of the picture that is made.
        strength: how much of what it says is added; 0 leaves it out.
        start_percent: where in the sampling it begins.
        end_percent: where in the sampling it ends.
        vae: for ControlNets of other families, which look at latents; none of these does.
    """
    from graphexec.diffusion.steer import steer_both

    control = Control(control_net, image, strength, start_percent, end_percent, vae)
    return Steered(*steer_both(positive, negative, control))


@node("SetUnionControlNetType", category="conditioning/controlnet", infer=prompt_facts.of_union)
def set_union_type(control_net: ControlNet, kind: Annotated[UnionType, Name("type")]) -> ControlNet:
    """Tell a union ControlNet what its pictures are; others do not care.

    Args:
        control_net: the ControlNet.
        kind: what the pictures are; auto leaves it to the network.
    """
    from graphexec.diffusion.steer import with_union_type

    return with_union_type(control_net, kind)
