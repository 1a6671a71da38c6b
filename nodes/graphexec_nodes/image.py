"""Nodes that load and save pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Literal

from graphexec.diffusion.types import Image, Mask
from graphexec.node.decorator import node
from graphexec.node.fields import Artifact, Artifacts, FilenamePrefix, Range, Widget, WorkflowInfo
from graphexec_nodes.sockets import PictureFile

Fps = Annotated[float, Range(ge=0.01, le=1000.0), Widget(step=0.01)]
CompressLevel = Annotated[int, Range(ge=0, le=9)]
Quality = Annotated[int, Range(ge=0, le=100)]


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


@node("MaskPreview", category="mask", display_name="MaskPreview")
def preview_mask(mask: Mask, workflow: WorkflowInfo) -> Artifacts:
    """Save masks as grey pictures into the output folder's `temp`.

    Args:
        mask: the masks.
    """
    from graphexec.diffusion.imaging.masks import mask_picture

    return _pictures(mask_picture(mask), workflow, "ComfyUI_temp", "temp")


@node("SaveAnimatedPNG", category="image/animation")
def save_animated_png(
    images: Image,
    workflow: WorkflowInfo,
    filename_prefix: FilenamePrefix = "ComfyUI",
    fps: Fps = 6.0,
    compress_level: CompressLevel = 4,
) -> Artifacts:
    """Save pictures as one animated PNG file that holds the workflow they came from.

    Args:
        images: the frames.
        filename_prefix: of the file's name; may hold subfolders, `%date:yyyy-MM-dd%` and `%Node.input%`.
        fps: frames a second.
        compress_level: 0 is large and fast, 9 small and slow.
    """
    from graphexec.diffusion.imaging.animation import encode_animated_png

    data = encode_animated_png(images, fps, compress_level, _texts(workflow))
    return _files([data], images, filename_prefix, ".png")


@node("SaveAnimatedWEBP", category="image/animation")
def save_animated_webp(
    images: Image,
    workflow: WorkflowInfo,
    filename_prefix: FilenamePrefix = "ComfyUI",
    fps: Fps = 6.0,
    lossless: bool = True,
    quality: Quality = 80,
    *,
    method: Literal["default", "fastest", "slowest"],
) -> Artifacts:
    """Save pictures as one animated WebP file that holds the workflow they came from.

    Args:
        images: the frames.
        filename_prefix: of the file's name; may hold subfolders, `%date:yyyy-MM-dd%` and `%Node.input%`.
        fps: frames a second.
        lossless: keep every pixel as it is.
        quality: of the pixels, or if lossless how small the file gets, 0 to 100.
        method: how hard to look for a small file.
    """
    from graphexec.diffusion.imaging.animation import encode_animated_webp

    data = encode_animated_webp(images, fps, lossless, quality, method, _texts(workflow))
    return _files([data], images, filename_prefix, ".webp")


@node("LoadImage", category="image", display_name="Load Image", version="2")
def load_image(image: PictureFile) -> tuple[Image, Mask]:
    """Load a picture, and a mask of what its alpha leaves out.

    Args:
        image: a file of the input folder.
    """
    from graphexec.diffusion.imaging.pixels import load_picture

    return load_picture(image)


@node("LoadImageOutput", category="image", display_name="Load Image (from Outputs)")
def load_output(image: PictureFile) -> tuple[Image, Mask]:
    """Load a picture that was made before, and a mask of what its alpha leaves out.

    Args:
        image: a file of the output folder, as `name.png [output]`.
    """
    from graphexec.diffusion.imaging.pixels import load_picture

    return load_picture(image)


@node("LoadImageMask", category="mask", display_name="Load Image (as Mask)")
def load_image_mask(image: PictureFile, channel: Literal["alpha", "red", "green", "blue"]) -> Mask:
    """Load one channel of a picture as a mask; of alpha, what it leaves out.

    Args:
        image: a file of the input folder.
        channel: which one.
    """
    from graphexec.diffusion.imaging.pixels import load_mask

    return load_mask(image, channel)


def _pictures(images: Image, workflow: WorkflowInfo, prefix: str, folder: Literal["output", "temp"]) -> Artifacts:
    from graphexec.diffusion.imaging.pixels import encode_png

    texts = _texts(workflow)
    return _files((encode_png(picture, texts) for picture in images), images, prefix, ".png", folder)


def _texts(workflow: WorkflowInfo) -> dict[str, str]:
    return {
        "prompt": json.dumps(workflow.prompt),
        **{name: json.dumps(value) for name, value in workflow.extra_pnginfo.items()},
    }


def _files(
    data: Iterable[bytes], images: Image, prefix: str, suffix: str, folder: Literal["output", "temp"] = "output"
) -> Artifacts:
    height, width = images.shape[1:3]
    return Artifacts(tuple(Artifact(file, prefix, suffix, width, height, folder) for file in data))
