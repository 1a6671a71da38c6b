"""Nodes that open files of weights."""

from __future__ import annotations

from graphexec.diffusion.types import Clip, Model, Vae
from graphexec.node.decorator import node
from graphexec_nodes import facts
from graphexec_nodes.sockets import CheckpointFile, VaeFile


@node("CheckpointLoaderSimple", category="loaders", display_name="Load Checkpoint", infer=facts.of_checkpoint)
def load_checkpoint(ckpt_name: CheckpointFile) -> tuple[Model, Clip, Vae]:
    """Open a checkpoint: the diffusion model, its text encoder and its VAE.

    Args:
        ckpt_name: a file of the checkpoints folder.
    """
    from graphexec.diffusion.checkpoint import open_checkpoint

    return open_checkpoint(ckpt_name)


@node("VAELoader", category="loaders", display_name="Load VAE")
def load_vae(vae_name: VaeFile) -> Vae:
    """Open a VAE that lies in a file of its own.

    Args:
        vae_name: a file of the vae folder.
    """
    from graphexec.diffusion.checkpoint import open_vae

    return open_vae(vae_name)
