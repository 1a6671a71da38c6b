"""Nodes that save and load latents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from graphexec.diffusion.types import Latent
from graphexec.node.decorator import node
from graphexec.node.fields import Artifact, Artifacts, FilenamePrefix, Folder, WorkflowInfo

LatentFile = Annotated[Path, Folder("input")]


@node("SaveLatent", category="_for_testing")
def save_latent(
    samples: Latent, workflow: WorkflowInfo, filename_prefix: FilenamePrefix = "latents/ComfyUI"
) -> Artifacts:
    """Save latents as a file that holds the workflow they came from.

    Args:
        samples: the latents; noise mask and batch index are not saved.
        filename_prefix: of the file's name; may hold subfolders, `%date:yyyy-MM-dd%` and `%Node.input%`.
    """
    from graphexec.diffusion.latents.files import encode_latent

    return Artifacts((Artifact(encode_latent(samples, workflow.texts()), filename_prefix, suffix=".latent"),))


@node("LoadLatent", category="_for_testing")
def load_saved_latent(latent: LatentFile) -> Latent:
    """Load latents that were saved.

    Args:
        latent: a file of the input folder.
    """
    from graphexec.diffusion.latents.files import load_latent

    return load_latent(latent)
