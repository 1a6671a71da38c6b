"""The node that applies a hypernetwork."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from graphexec.diffusion.types import Model
from graphexec.node.decorator import node
from graphexec.node.fields import Folder, Range, Widget
from graphexec_nodes import facts


@node("HypernetworkLoader", category="loaders", infer=facts.of_model)
def apply_hypernetwork(
    model: Model,
    hypernetwork_name: Annotated[Path, Folder("hypernetworks")],
    strength: Annotated[float, Range(ge=-10.0, le=10.0), Widget(step=0.01)] = 1.0,
) -> Model:
    """Apply a hypernetwork, which changes what the model's keys and values are made of.

    Args:
        model: the diffusion model.
        hypernetwork_name: a file of the hypernetworks folder; it is read without running code.
        strength: how much of what it makes is added.
    """
    from graphexec.diffusion.options import Hypernetwork
    from graphexec.diffusion.sources import WeightsFile

    return model.with_option(Hypernetwork(WeightsFile.of(hypernetwork_name), strength))
