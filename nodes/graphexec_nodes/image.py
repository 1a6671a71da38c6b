"""Nodes that load and save pictures."""

from __future__ import annotations

import json
from typing import Literal

from graphexec.diffusion.types import Image, Mask
from graphexec.node.decorator import node
from graphexec.node.fields import Artifact, Artifacts, FilenamePrefix, WorkflowInfo
from graphexec_nodes.sockets import PictureFile


@node("SaveImage", category="image", display_name="Save Image")
def save_image(images: Image, workflow: WorkflowInfo, filename_prefix: FilenamePrefix = "ComfyUI") -> Artifacts:
    """Save pictures as PNG files that hold the workflow they came from.

    Args:
        images: the pictures.
        filename_prefix: of the files' names; may hold subfolders, `%date:yyyy-MM-dd%` and `%Node.input%`.
    """
    return _pictures(images, workflow, filename_prefix, "output")


@node("PreviewImage", category="image", display_name="Preview Image")
def preview_image(images: Image, workflow: WorkflowInfo) -> Artifacts:
    """Save pictures into the output folder's `temp`.

    Args:
        images: the pictures.
    """
    return _pictures(images, workflow, "ComfyUI_temp", "temp")


@node("LoadImage", category="image", display_name="Load Image")
def load_image(image: PictureFile) -> tuple[Image, Mask]:
    """Load a picture, and a mask of what its alpha leaves out.

    Args:
        image: a file of the input folder.
    """
    from graphexec.diffusion.pixels import load_picture

    return load_picture(image)


def _pictures(images: Image, workflow: WorkflowInfo, prefix: str, folder: Literal["output", "temp"]) -> Artifacts:
    from graphexec.diffusion.pixels import encode_png

    texts = {"prompt": json.dumps(workflow.prompt)}
    texts.update((name, json.dumps(value)) for name, value in workflow.extra_pnginfo.items())
    height, width = images.shape[1:3]
    return Artifacts(
        tuple(
            Artifact(encode_png(picture, texts), prefix, width=width, height=height, folder=folder)
            for picture in images
        )
    )
