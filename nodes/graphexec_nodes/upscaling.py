"""Nodes that enlarge pictures with networks made for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import Image, UpscaleModel
from graphexec.node.decorator import node
from graphexec.node.fields import Folder, Progress
from graphexec_nodes import file_facts
from graphexec_nodes.sockets import AllowPickle, Runtime

UpscaleFile = Annotated[Path, Folder("upscale_models")]


@node("UpscaleModelLoader", category="loaders", display_name="Load Upscale Model", infer=file_facts.of_upscaler)
def load_upscale_model(model_name: UpscaleFile, *, allow_pickle: AllowPickle) -> UpscaleModel:
    """Open an upscale model (ESRGAN, SwinIR and others); running it needs the extra `upscale`.

    Args:
        model_name: a file of the upscale_models folder.
    """
    from graphexec.diffusion.listing import list_file

    list_file(model_name, allow_pickle=allow_pickle)
    return UpscaleModel(WeightsFile.of(model_name))


@node("ImageUpscaleWithModel", category="image/upscaling", display_name="Upscale Image (using Model)")
def upscale_image(upscale_model: UpscaleModel, image: Image, runtime: Runtime, progress: Progress) -> Image:
    """Enlarge pictures with an upscale model, in tiles that fade into each other.

    Args:
        upscale_model: the model, which sets the factor.
        image: the pictures.
    """
    from graphexec.diffusion.imaging.upscaling import upscale_with_model

    return upscale_with_model(upscale_model, image, runtime, progress)
