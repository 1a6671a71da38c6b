"""Nodes that save models, parts of them, and differences between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from graphexec.diffusion.families import check_encoders
from graphexec.diffusion.types import Clip, Model, Vae
from graphexec.node.decorator import node
from graphexec.node.fields import Artifact, Artifacts, FilenamePrefix, Progress, Range, Widget, WorkflowInfo
from graphexec_nodes import facts

if TYPE_CHECKING:
    from graphexec.diffusion.save import Saved

SUFFIX = ".safetensors"
Rank = Annotated[int, Range(ge=1, le=4096), Widget(step=1)]


@node("CheckpointSave", category="advanced/model_merging", display_name="Save Checkpoint", infer=facts.of_saved)
def save_checkpoint(
    model: Model, clip: Clip, vae: Vae, workflow: WorkflowInfo, filename_prefix: FilenamePrefix = "checkpoints/ComfyUI"
) -> Artifacts:
    """Save a model, its text encoders and its VAE as one file, with all that was merged and patched into them.

    Args:
        model: the diffusion model.
        clip: its text encoders.
        vae: its VAE.
        filename_prefix: of the file's name.
    """
    from graphexec.diffusion.save import checkpoint_tensors, model_metadata

    metadata = model_metadata(model, filename_prefix, workflow.prompt, workflow.extra_pnginfo)
    check_encoders(model, clip)
    return _file(lambda: checkpoint_tensors(model, clip, vae), metadata, filename_prefix)


@node("ModelSave", category="advanced/model_merging")
def save_model(
    model: Model, workflow: WorkflowInfo, filename_prefix: FilenamePrefix = "diffusion_models/ComfyUI"
) -> Artifacts:
    """Save a diffusion model, with all that was merged and patched into it.

    Args:
        model: the diffusion model.
        filename_prefix: of the file's name.
    """
    from graphexec.diffusion.save import model_metadata, model_tensors

    metadata = model_metadata(model, filename_prefix, workflow.prompt, workflow.extra_pnginfo)
    return _file(lambda: model_tensors(model), metadata, filename_prefix)


@node("CLIPSave", category="advanced/model_merging")
def save_clip(clip: Clip, workflow: WorkflowInfo, filename_prefix: FilenamePrefix = "clip/ComfyUI") -> Artifacts:
    """Save text encoders, each as a file of its own.

    Args:
        clip: the text encoders.
        filename_prefix: of the files' names, before the kind of the encoder.
    """
    from graphexec.diffusion.save import clip_tensors, workflow_metadata

    metadata = workflow_metadata(workflow.prompt, workflow.extra_pnginfo)
    saved = [
        _file(lambda encoder=encoder: clip_tensors(clip, encoder), metadata, f"{filename_prefix}_{encoder.kind}")
        for encoder in clip.encoders
    ]
    return Artifacts(tuple(file for artifacts in saved for file in artifacts.files))


@node("VAESave", category="advanced/model_merging")
def save_vae(vae: Vae, workflow: WorkflowInfo, filename_prefix: FilenamePrefix = "vae/ComfyUI_vae") -> Artifacts:
    """Save a VAE.

    Args:
        vae: the VAE.
        filename_prefix: of the file's name.
    """
    from graphexec.diffusion.save import vae_tensors, workflow_metadata

    metadata = workflow_metadata(workflow.prompt, workflow.extra_pnginfo)
    return _file(lambda: vae_tensors(vae), metadata, filename_prefix)


@node("LoraSave", category="_for_testing", display_name="Extract and Save Lora")
def save_lora(
    filename_prefix: FilenamePrefix = "loras/ComfyUI_extracted_lora",
    rank: Rank = 8,
    *,
    lora_type: Literal["standard", "full_diff"],
    bias_diff: bool = True,
    model_diff: Model | None = None,
    text_encoder_diff: Clip | None = None,
    progress: Progress,
) -> Artifacts:
    """Save a difference between models as a LoRA.

    Args:
        filename_prefix: of the file's name.
        rank: how many numbers a row of the LoRA's matrices has; more is nearer to the difference.
        lora_type: matrices of that rank, or the whole difference.
        bias_diff: whether biases and norms are saved too.
        model_diff: the difference of two models, from ModelMergeSubtract.
        text_encoder_diff: the difference of their text encoders, from CLIPMergeSubtract.
    """
    from graphexec.diffusion.extract import count_weights, lora_tensors

    total, done = count_weights(model_diff, text_encoder_diff), iter(range(1, 1 << 62))
    tensors = lora_tensors(
        model_diff, text_encoder_diff, rank, lora_type, bias=bias_diff,
        on_weight=lambda name: progress(next(done), total),
    )  # fmt: skip
    return _file(lambda: tensors, {}, filename_prefix)


def _file(tensors: Callable[[], list[Saved]], metadata: dict[str, Any], prefix: str) -> Artifacts:
    """A file that is written one weight after the other, when it is put in its place."""
    from graphexec.diffusion.save import safetensors_chunks

    return Artifacts((Artifact(lambda: safetensors_chunks(tensors(), metadata), prefix, SUFFIX),))
