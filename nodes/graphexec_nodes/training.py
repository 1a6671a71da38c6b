"""Nodes that train LoRAs inside a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from graphexec.diffusion.sources import LoraModel
from graphexec.diffusion.types import Clip, Conditioning, Image, Latent, LossMap, Model
from graphexec.node.decorator import node
from graphexec.node.fields import (
    Artifact,
    Artifacts,
    FilenamePrefix,
    Folder,
    Name,
    Progress,
    Strength,
    Warn,
    Widget,
    WorkflowInfo,
)
from graphexec_nodes import facts
from graphexec_nodes.sockets import Embeddings, Runtime, StrictLora

NONE = "[None]"
PicturesFolder = Annotated[Path, Folder("input_folders")]
ExistingLora = Annotated[Path, Folder("loras", choices=(NONE,))]
FitMethod = Literal["None", "Stretch", "Crop", "Pad"]
Side = Annotated[int, Field(ge=-1, le=10_000), Widget(step=1)]
BatchSize = Annotated[int, Field(ge=1, le=10_000), Widget(step=1)]
Accumulation = Annotated[int, Field(ge=1, le=1024), Widget(step=1)]
TrainSteps = Annotated[int, Field(ge=1, le=100_000)]
LearningRate = Annotated[float, Field(ge=1e-07, le=1.0), Widget(step=1e-06)]
TrainRank = Annotated[int, Field(ge=1, le=128)]
PlainSeed = Annotated[int, Field(ge=0, le=0xFFFF_FFFF_FFFF_FFFF)]
Optimizer = Literal["AdamW", "Adam", "SGD", "RMSprop"]
LossFunction = Literal["MSE", "L1", "Huber", "SmoothL1"]
TrainDtype = Literal["bf16", "fp32"]
Algorithm = Literal["LoRA", "LoHa", "LoKr", "OFT"]


@node("LoadImageDataSetFromFolder", category="dataset", display_name="Load Image Dataset from Folder")
def load_images(folder: PicturesFolder, *, warn: Warn) -> Annotated[list[Image], Name("images")]:
    """Load the pictures of a folder, each of its own size.

    Args:
        folder: a folder of the input folder.
    """
    from graphexec.train.folder import load_pictures

    return load_pictures(folder, warn)


@node("LoadImageTextDataSetFromFolder", category="dataset", display_name="Load Image and Text Dataset from Folder")
def load_images_and_texts(
    folder: PicturesFolder, *, warn: Warn
) -> tuple[Annotated[list[Image], Name("images")], Annotated[list[str], Name("texts")]]:
    """Load the pictures of a folder, each of its own size, and the captions in .txt files beside them.

    Pictures of a subfolder `10_sks cat` come ten times, and are captioned `sks cat` where they have no file.

    Args:
        folder: a folder of the input folder.
    """
    from graphexec.train.folder import load_with_captions

    return load_with_captions(folder, warn)


@node("LoadImageSetFromFolderNode", category="loaders", display_name="Load Image Dataset from Folder")
def load_image_batch(folder: PicturesFolder, resize_method: FitMethod | None = "None", *, warn: Warn) -> Image:
    """Load the pictures of a folder as one batch.

    Args:
        folder: a folder of the input folder.
        resize_method: how pictures get the size of the first; None wants them all alike.
    """
    from graphexec.train.folder import load_pictures, one_batch

    return one_batch(load_pictures(folder, warn), resize_method or "None")


@node("LoadImageTextSetFromFolderNode", category="loaders", display_name="Load Image and Text Dataset from Folder")
def load_image_batch_and_prompts(
    folder: PicturesFolder,
    clip: Clip,
    resize_method: FitMethod | None = "None",
    width: Side | None = -1,
    height: Side | None = -1,
    *,
    runtime: Runtime,
    embeddings: Embeddings,
    warn: Warn,
) -> tuple[Image, Conditioning]:
    """Load the pictures of a folder as one batch, and their captions encoded one for each picture.

    Args:
        folder: a folder of the input folder.
        clip: the text encoder.
        resize_method: how pictures get the size asked for; None wants them all alike.
        width: of the batch in pixels; -1 for that of the first picture.
        height: of the batch in pixels; -1 for that of the first picture.
    """
    from graphexec.diffusion.encode import encode_prompt
    from graphexec.train.folder import load_with_captions, one_batch

    pictures, texts = load_with_captions(folder, warn)
    prompts = {text: encode_prompt(runtime, clip, text, embeddings=embeddings, warn=warn) for text in texts}
    conds = tuple(cond for text in texts for cond in prompts[text].conds)
    return one_batch(pictures, resize_method or "None", width or -1, height or -1), Conditioning(conds)


@node("TrainLoraNode", category="training", display_name="Train LoRA", infer=facts.of_trained)
def train_lora(
    model: Model,
    latents: list[Latent],
    positive: list[Conditioning],
    batch_size: BatchSize = 1,
    grad_accumulation_steps: Accumulation = 1,
    steps: TrainSteps = 16,
    learning_rate: LearningRate = 0.0005,
    rank: TrainRank = 8,
    optimizer: Optimizer = "AdamW",
    loss_function: LossFunction = "MSE",
    seed: PlainSeed = 0,
    training_dtype: TrainDtype = "bf16",
    lora_dtype: TrainDtype = "bf16",
    algorithm: Algorithm = "LoRA",
    gradient_checkpointing: bool = True,
    existing_lora: ExistingLora = Path(NONE),
    *,
    runtime: Runtime,
    progress: Progress,
    warn: Warn,
) -> tuple[
    Annotated[Model, Name("model_with_lora")],
    Annotated[LoraModel, Name("lora")],
    Annotated[LossMap, Name("loss")],
    Annotated[int, Name("steps")],
]:
    """Train a LoRA of the diffusion model on latents and their prompts. The same inputs give the same LoRA.

    Args:
        model: the diffusion model; LoRAs that are on it stay as they are.
        latents: of the pictures, as a VAE encodes them, of any sizes.
        positive: a prompt for each picture, or one for all.
        batch_size: pictures at a time; those of one size go together.
        grad_accumulation_steps: batches whose gradients make one step.
        steps: how many steps to train.
        learning_rate: how far each step goes.
        rank: how many numbers a row of the LoRA's matrices has.
        optimizer: what makes steps of gradients.
        loss_function: how a prediction's error is measured.
        seed: of the LoRA's first values, the order of pictures, and the noise.
        training_dtype: what the model computes in while it trains; the LoRA itself is trained in fp32.
        lora_dtype: the precision that the LoRA is kept in.
        algorithm: the kind of adapter.
        gradient_checkpointing: compute activations twice instead of keeping them: slower, in less memory.
        existing_lora: a LoRA to go on from, with its own kind, ranks and alphas.
    """
    from graphexec.diffusion.loras import load_lora
    from graphexec.train.recipe import Settings, train_on_recipe

    settings = Settings(
        batch_size, grad_accumulation_steps, steps, learning_rate, rank, optimizer, loss_function, seed,
        training_dtype, lora_dtype, algorithm, gradient_checkpointing,
        existing=None if str(existing_lora) == NONE else existing_lora,
    )  # fmt: skip
    trained = train_on_recipe(runtime, model, latents, positive, settings, on_step=progress, warn=warn)
    patched = load_lora(model, None, trained.lora, 1.0, 0.0).model
    return patched or model, trained.lora, trained.losses, trained.steps


@node("LoraModelLoader", category="loaders", display_name="Load LoRA Model", infer=facts.of_model)
def apply_trained_lora(
    model: Model, lora: LoraModel, strength_model: Strength = 1.0, *, warn: Warn, strict_lora: StrictLora
) -> Model:
    """Apply a LoRA that was trained in this graph to a diffusion model.

    Args:
        model: the diffusion model.
        lora: the LoRA.
        strength_model: how strongly the diffusion model changes; negative turns the effect round.
    """
    from graphexec.diffusion.loras import load_lora, unused

    if strength_model == 0:
        return model
    loaded = load_lora(model, None, lora, strength_model, 0.0)
    for warning in unused(loaded.coverage, lora.path, strict=strict_lora):
        warn(warning)
    return loaded.model or model


@node("SaveLoRA", category="loaders", display_name="Save LoRA Weights")
def save_trained_lora(
    lora: LoraModel, prefix: FilenamePrefix = "loras/ComfyUI_trained_lora", steps: int | None = None
) -> Artifacts:
    """Save a LoRA that was trained in this graph, in sd-scripts' format.

    Args:
        lora: the LoRA.
        prefix: of the file's name, in the output folder.
        steps: the steps that it was trained for, which then stand in the name.
    """
    name = prefix if steps is None else f"{prefix}_{steps}_steps"
    return Artifacts((Artifact(lora.content, name, ".safetensors"),))


@node("SaveLoRANode", category="loaders", display_name="Save LoRA Weights")
def save_trained_lora_of_0_3(
    lora: LoraModel, prefix: FilenamePrefix = "loras/ComfyUI_trained_lora", steps: int | None = None
) -> Artifacts:
    """SaveLoRA as ComfyUI 0.3 calls it.

    Args:
        lora: the LoRA.
        prefix: of the file's name, in the output folder.
        steps: the steps that it was trained for, which then stand in the name.
    """
    return save_trained_lora(lora, prefix, steps)


@node("LossGraphNode", category="training", display_name="Plot Loss Graph")
def draw_loss(loss: LossMap, workflow: WorkflowInfo, filename_prefix: FilenamePrefix = "loss_graph") -> Artifacts:
    """Draw the loss of each step, and save the picture.

    Args:
        loss: of a training run.
        filename_prefix: of the picture's name.
    """
    from graphexec.diffusion.imaging.pixels import encode_png
    from graphexec.train.lossgraph import SIZE, loss_graph

    data = encode_png(loss_graph(loss.losses)[0], workflow.texts())
    return Artifacts((Artifact(data, filename_prefix, width=SIZE[0], height=SIZE[1]),))
