"""Recipes written as files of weights: whole checkpoints in the layout of latent diffusion, single networks, LoRAs.

Nothing is held in memory but one weight at a time. A weight is stored in the precision of the file it came from,
or in fp16 if that has eight bits and a scale.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from graphexec.diffusion.families import check_encoders
from graphexec.diffusion.faults import NonFiniteError
from graphexec.diffusion.loading import TEXT, UNET, VAE, Kind, Source
from graphexec.diffusion.lorafiles import LoraReader
from graphexec.diffusion.patch import Patching, Steps, patched_weight
from graphexec.diffusion.precisions import is_finite
from graphexec.diffusion.pristine import Pristine
from graphexec.diffusion.stored import DTYPES
from graphexec.diffusion.types import Clip, Family, Model, Sampling, TextEncoder, Vae

__all__ = [
    "Patched",
    "Saved",
    "checkpoint_tensors",
    "clip_tensors",
    "lora_reader",
    "model_metadata",
    "model_tensors",
    "patched_text",
    "patched_unet",
    "safetensors_chunks",
    "vae_tensors",
    "whole",
    "whole_text",
    "widest_first",
    "workflow_metadata",
]

NAMES = {dtype: name for name, dtype in DTYPES.items()}
TEXT_PREFIX: Mapping[tuple[Family, str], str] = {
    ("sd1", "clip_l"): "cond_stage_model.transformer.text_model.",
    ("sd2", "clip_h"): "cond_stage_model.model.",
    ("sdxl", "clip_l"): "conditioner.embedders.0.transformer.text_model.",
    ("sdxl", "clip_g"): "conditioner.embedders.1.model.",
    ("sdxl_refiner", "clip_g"): "conditioner.embedders.0.model.",
}
ARCHITECTURES: Mapping[Family, str] = {
    "sd1": "stable-diffusion-v1",
    "sd2": "stable-diffusion-v2",
    "sdxl": "stable-diffusion-xl-v1-base",
    "sdxl_refiner": "stable-diffusion-xl-v1-refiner",
}
LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
OPENCLIP_LAYER = {
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
}
OPENCLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
}
THIRDS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


@dataclass(frozen=True, slots=True)
class Saved:
    """A tensor to be written; it is made when its turn comes."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    make: Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class Patched:
    """A network of a recipe, its weights not made yet. `read` gives the tensors of its LoRAs, each wanted once."""

    base: Pristine
    steps: Mapping[str, Steps]
    read: LoraReader

    def weight(self, name: str) -> Tensor:
        """A weight as the recipe gives it, in float32."""
        return patched_weight(self.base.read(name), self.steps.get(name, ()), self.read)

    def saved(self, name: str, as_: str = "") -> Saved:
        """A weight to be written under another name."""
        dtype = self.base.weights.dtype(name)

        def make() -> Tensor:
            if name not in self.steps:
                return self.base.read(name).to(dtype)
            return whole(name, self.weight(name).to(dtype), lambda: self.base.read(name))

        return Saved(as_, dtype, self.base.shapes[name], make)


def checkpoint_tensors(model: Model, clip: Clip, vae: Vae) -> list[Saved]:
    """A whole checkpoint, named as in latent diffusion.

    Raises `ModelFileError` for text encoders of another family than the model's: no program could open such a file.
    """
    check_encoders(model, clip)
    read = lora_reader()
    text = [tensor for encoder in clip.encoders for tensor in _text(clip, encoder, read)]
    return [*_unet(model, read), *text, *vae_tensors(vae, "first_stage_model.")]


def model_tensors(model: Model) -> list[Saved]:
    """The UNet of a recipe with its patches, and the tensors that say how it is sampled."""
    return _unet(model, lora_reader())


def clip_tensors(clip: Clip, encoder: TextEncoder) -> list[Saved]:
    """One text encoder of a recipe with its patches, named as in transformers."""
    network = patched_text(clip, encoder, lora_reader())
    return [network.saved(name, _alone(name)) for name in network.base.shapes]


def vae_tensors(vae: Vae, prefix: str = "") -> list[Saved]:
    """The autoencoder of a recipe, named as in latent diffusion."""
    network = Patched(Pristine.open(VAE, Source(vae.file, vae.prefix)), {}, lora_reader())
    return [_kernel(network.saved(name, prefix + name)) for name in network.base.shapes]


def whole(name: str, made: Tensor, before: Callable[[], Tensor] | None = None) -> Tensor:
    """A tensor to be written. Raises `NonFiniteError` if it holds NaN or infinity, unless it did so `before`."""
    if not is_finite(made) and (before is None or is_finite(before())):
        kind = str(made.dtype).removeprefix("torch.")
        raise NonFiniteError(
            f"{name} cannot be saved: it holds NaN, infinity or numbers that are too large for {kind}; take smaller"
            " strengths, or look for a model or LoRA among those it is made of that is damaged"
        )
    return made


def lora_reader() -> LoraReader:
    """Opens each LoRA once for all weights of a file; each of its tensors is wanted once, so that none is kept."""
    return LoraReader(limit=0)


def patched_unet(model: Model, read: LoraReader) -> Patched:
    """The UNet of a recipe with its patches."""

    def find(other: Model | Clip) -> Pristine | None:
        return _open(UNET, other) if isinstance(other, Model) else None

    base = _open(UNET, model)
    return Patched(base, Patching().steps(model.patches, base, find), read)


def patched_text(clip: Clip, encoder: TextEncoder, read: LoraReader) -> Patched:
    """One text encoder of a recipe with its patches."""

    def find(other: Model | Clip) -> Pristine | None:
        encoders = other.encoders if isinstance(other, Clip) else ()
        return next((_open(TEXT[each.kind], each) for each in encoders if each.kind == encoder.kind), None)

    base = _open(TEXT[encoder.kind], encoder)
    return Patched(base, Patching().steps(clip.patches, base, find), read)


def model_metadata(model: Model, title: str, prompt: object, extra: Mapping[str, object]) -> dict[str, str]:
    """What a checkpoint says of itself: modelspec 1.0.0, and the workflow as ComfyUI keeps it."""
    predicts = {"eps": "epsilon", "v": "v"}.get(model.sampling.prediction)
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.implementation": "sgm",
        "modelspec.architecture": ARCHITECTURES[model.family],
        "modelspec.title": title,
        **({"modelspec.predict_key": predicts} if predicts else {}),
        **workflow_metadata(prompt, extra),
    }


def workflow_metadata(prompt: object, extra: Mapping[str, object]) -> dict[str, str]:
    """The workflow as ComfyUI keeps it in a file of weights."""
    return {"prompt": json.dumps(prompt), **{name: json.dumps(value) for name, value in extra.items()}}


def widest_first(tensors: Iterable[Saved]) -> list[Saved]:
    """Tensors as safetensors orders them, the widest numbers first, so that each is aligned; else as they are given."""
    return sorted(tensors, key=lambda tensor: -tensor.dtype.itemsize)


def safetensors_chunks(tensors: Sequence[Saved], metadata: Mapping[str, str]) -> Iterator[bytes]:
    """A safetensors file: its header, then the bytes of each tensor, which is made when its turn comes.

    https://github.com/huggingface/safetensors#format
    """
    header: dict[str, object] = {"__metadata__": {name: whole_text(text) for name, text in metadata.items()}}
    at = 0
    for tensor in tensors:
        end = at + math.prod(tensor.shape) * tensor.dtype.itemsize
        header[tensor.name] = {
            "dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]
        }  # fmt: skip
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for tensor in tensors:
        yield _bytes(tensor.make())


def whole_text(text: str) -> str:
    """The text as a safetensors file can hold it: halves of characters, as in odd names of folders, are `?`."""
    return text.encode(errors="replace").decode()


def _open(kind: Kind[Any], recipe: Model | TextEncoder) -> Pristine:
    stored = recipe.stored if isinstance(recipe, Model) else "default"
    return Pristine.open(kind, Source(recipe.file, recipe.prefix, stored))


def _unet(model: Model, read: LoraReader) -> list[Saved]:
    network = patched_unet(model, read)
    weights = [network.saved(name, f"model.diffusion_model.{name}") for name in network.base.shapes]
    return [*weights, *(_value(name, value) for name, value in _marks(model.sampling))]


def _text(clip: Clip, encoder: TextEncoder, read: LoraReader) -> Iterator[Saved]:
    """A text encoder as checkpoints hold it: OpenCLIP's under its own names, q, k and v as one."""
    network = patched_text(clip, encoder, read)
    prefix = TEXT_PREFIX[clip.family, encoder.kind]
    if encoder.kind == "clip_l":
        yield from (network.saved(name, prefix + name) for name in network.base.shapes)
        return
    for name in network.base.shapes:
        saved = network.saved(name, prefix + OPENCLIP.get(name, name))
        layer = LAYER.fullmatch(name)
        if name == "text_projection.weight":
            yield Saved(saved.name, saved.dtype, saved.shape[::-1], _transposed(saved.make))
        elif layer is None:
            yield saved
        elif layer[2] == THIRDS[0]:
            yield _joined(network, layer, f"{prefix}transformer.resblocks.{layer[1]}.attn.in_proj_{layer[3]}")
        elif layer[2] not in THIRDS:
            inner = OPENCLIP_LAYER.get(layer[2], layer[2])
            at = f"{prefix}transformer.resblocks.{layer[1]}.{inner}.{layer[3]}"
            yield Saved(at, saved.dtype, saved.shape, saved.make)


def _marks(sampling: Sampling) -> Iterator[tuple[str, Tensor]]:
    """What marks a model that is sampled otherwise than most of its family; empty tensors, or the noise's range."""
    if sampling.prediction == "v" and sampling.levels == "discrete":
        yield "v_pred", torch.empty(0)
    if sampling.zero_snr:
        yield "ztsnr", torch.empty(0)
    if sampling.prediction == "v" and sampling.levels == "edm":
        yield "edm_vpred.sigma_max", torch.tensor(sampling.sigma_max)
        yield "edm_vpred.sigma_min", torch.tensor(sampling.sigma_min)


def _value(name: str, value: Tensor) -> Saved:
    return Saved(name, value.dtype, tuple(value.shape), lambda: value)


def _joined(network: Patched, layer: re.Match[str], name: str) -> Saved:
    parts = [network.saved(f"encoder.layers.{layer[1]}.{third}.{layer[3]}") for third in THIRDS]
    rows = sum(part.shape[0] for part in parts)
    return Saved(name, parts[0].dtype, (rows, *parts[0].shape[1:]), lambda: torch.cat([part.make() for part in parts]))


def _transposed(make: Callable[[], Tensor]) -> Callable[[], Tensor]:
    return lambda: make().t()


def _kernel(saved: Saved) -> Saved:
    """An autoencoder's weight: diffusers projects by matrices in its attention, latent diffusion by 1x1 kernels."""
    if len(saved.shape) != 2:
        return saved
    shape = (*saved.shape, 1, 1)
    return replace(saved, shape=shape, make=lambda: saved.make().view(shape))


def _alone(name: str) -> str:
    """The name of a weight in a file that holds a text encoder alone."""
    return name if name.startswith(("text_projection", "logit_scale")) else f"text_model.{name}"


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
