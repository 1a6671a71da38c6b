"""Nodes that open files of weights."""

from __future__ import annotations

from typing import Annotated, Literal

from graphexec.diffusion.types import Clip, Model, Stored, Vae
from graphexec.errors import ModelFileError
from graphexec.node.decorator import node
from graphexec.node.fields import Name
from graphexec_nodes import file_facts
from graphexec_nodes.sockets import (
    AllowPickle,
    CheckpointFile,
    ConfigFile,
    DiffusersFolder,
    EncoderFile,
    UnetFile,
    VaeFile,
)


@node("CheckpointLoaderSimple", category="loaders", display_name="Load Checkpoint", infer=file_facts.of_checkpoint)
def load_checkpoint(ckpt_name: CheckpointFile, *, allow_pickle: AllowPickle) -> tuple[Model, Clip, Vae]:
    """Open a checkpoint: the diffusion model, its text encoder and its VAE.

    Args:
        ckpt_name: a file of the checkpoints folder.
    """
    from graphexec.diffusion.checkpoint import open_checkpoint

    return open_checkpoint(ckpt_name, allow_pickle=allow_pickle)


@node("VAELoader", category="loaders", display_name="Load VAE")
def load_vae(vae_name: VaeFile, *, allow_pickle: AllowPickle) -> Vae:
    """Open a VAE that lies in a file of its own.

    Args:
        vae_name: a file of the vae folder.
    """
    from graphexec.diffusion.checkpoint import open_vae

    return open_vae(vae_name, allow_pickle=allow_pickle)


@node(
    "CheckpointLoader",
    category="advanced/loaders",
    display_name="Load Checkpoint With Config (DEPRECATED)",
    infer=file_facts.of_checkpoint,
)
def load_configured_checkpoint(
    config_name: ConfigFile, ckpt_name: CheckpointFile, *, allow_pickle: AllowPickle
) -> tuple[Model, Clip, Vae]:
    """Open a checkpoint, with a configuration of latent diffusion that says what it predicts. Rarely needed.

    Args:
        config_name: a YAML file of the configs folder.
        ckpt_name: a file of the checkpoints folder.
    """
    from graphexec.diffusion.separate import open_configured

    return open_configured(config_name, ckpt_name, allow_pickle=allow_pickle)


def _folder_state(model_path: DiffusersFolder) -> list[tuple[str, int, int]]:
    from graphexec.diffusion.separate import folder_state

    return folder_state(model_path)


@node(
    "DiffusersLoader", category="advanced/loaders/deprecated", fingerprint=_folder_state, infer=file_facts.of_diffusers
)
def load_diffusers(model_path: DiffusersFolder) -> tuple[Model, Clip, Vae]:
    """Open a folder in the layout of diffusers.

    Args:
        model_path: a folder of the diffusers folder that has a model_index.json.
    """
    from graphexec.diffusion.separate import open_diffusers

    return open_diffusers(model_path)


@node("UNETLoader", category="advanced/loaders", display_name="Load Diffusion Model", infer=file_facts.of_unet)
def load_unet(unet_name: UnetFile, weight_dtype: Stored) -> Model:
    """Open a diffusion model that lies in a file of its own.

    Args:
        unet_name: a file of the diffusion_models (or unet) folder; any of several parts stands for all.
        weight_dtype: the precision that the weights are rounded to; default leaves them as they are in the file.
    """
    from dataclasses import replace

    from graphexec.diffusion.separate import open_unet

    return replace(open_unet(unet_name), stored=weight_dtype)


ClipType = Literal[
    "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart", "cosmos", "lumina2", "wan",
    "hidream", "chroma", "ace", "omnigen2", "qwen_image", "hunyuan_image",
]  # fmt: skip
DualClipType = Literal["sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image"]
ClipDevice = Literal["default", "cpu"]


@node("CLIPLoader", category="advanced/loaders", display_name="Load CLIP", infer=file_facts.of_clip)
def load_clip(
    clip_name: EncoderFile, kind: Annotated[ClipType, Name("type")], device: ClipDevice | None = None
) -> Clip:
    """Open a text encoder that lies in a file of its own.

    Args:
        clip_name: a file of the text_encoders (or clip) folder; any of several parts stands for all.
        kind: the kind of model that it is for; stable_diffusion alone is supported.
        device: takes part in nothing: text encoders run where everything else does.
    """
    from graphexec.diffusion.separate import open_clip

    _check_kind(kind, "stable_diffusion")
    return open_clip(clip_name)


@node("DualCLIPLoader", category="advanced/loaders", infer=file_facts.of_clips)
def load_two_clips(
    clip_name1: EncoderFile,
    clip_name2: EncoderFile,
    kind: Annotated[DualClipType, Name("type")],
    device: ClipDevice | None = None,
) -> Clip:
    """Open the two text encoders of SDXL, in either order.

    Args:
        clip_name1: a file of the text_encoders (or clip) folder.
        clip_name2: the other one.
        kind: the kind of model that they are for; sdxl alone is supported.
        device: takes part in nothing: text encoders run where everything else does.
    """
    from graphexec.diffusion.separate import open_clips

    _check_kind(kind, "sdxl")
    return open_clips(clip_name1, clip_name2)


def _check_kind(kind: str, supported: str) -> None:
    if kind != supported:
        raise ModelFileError(f"text encoders of type {kind!r} cannot be run; only {supported!r} can")
