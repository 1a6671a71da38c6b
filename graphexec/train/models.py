"""The base model of a training run: its networks from their files, frozen, in the precision that they train in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from graphexec.diffusion.checkpoint import open_checkpoint, open_vae, read_layout
from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.loading import TEXT, UNET, VAE, Kind, Source, load_network
from graphexec.diffusion.memory import sent
from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.models.vae import Autoencoder
from graphexec.diffusion.precisions import DTYPES
from graphexec.diffusion.pristine import Pristine
from graphexec.diffusion.types import EncoderKind, Family, Precision
from graphexec.train.bases import TRAINED, check_base, text_layer
from graphexec.train.config import ModelSource
from graphexec.train.faults import TrainingError
from graphexec.train.hashes import weights_hash
from graphexec.train.noise import Target

__all__ = ["BaseModel"]

NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True, slots=True, eq=False)
class BaseModel:
    """Frozen networks of their own, which no sampling shares, and how they are read.

    `kinds` are the text encoders', `layer` is whose output of theirs the UNet attends to, counted from the end.
    """

    source: ModelSource
    family: Family
    target: Target
    unet: UNet
    encoders: tuple[ClipText, ...]
    kinds: tuple[EncoderKind, ...]
    layer: int
    vae: Autoencoder
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def load(
        cls,
        source: ModelSource,
        precision: Precision,
        device: torch.device,
        warn: Callable[[str], object] = lambda message: None,
    ) -> BaseModel:
        """Read a checkpoint. The VAE computes in float32 unless the source says otherwise.

        `warn` is told of what else is in its files.

        Raises `ModelFileError` for a file that is no checkpoint, `TrainingError` for one that cannot be trained so.
        """
        layout = read_layout(source.path)
        check_base(source, layout)
        layer = text_layer(source.clip_skip, layout)
        model, clip, vae = open_checkpoint(source.path)
        _check_family(source, model.family)
        target: Target = "v" if source.predicts_v(in_file=model.sampling.prediction == "v") else "eps"
        if source.vae is not None:
            vae = open_vae(source.vae)
        dtype, vae_dtype = DTYPES[precision], DTYPES[source.vae_precision or "fp32"]
        unet = _load(UNET, Source(model.file, model.prefix), device, dtype, warn)
        encoders = tuple(
            _load(TEXT[each.kind], Source(each.file, each.prefix), device, dtype, warn) for each in clip.encoders
        )
        autoencoder = _load(VAE, Source(vae.file, vae.prefix), device, vae_dtype, warn)
        kinds: tuple[EncoderKind, ...] = tuple(encoder.kind for encoder in clip.encoders)
        return cls(source, model.family, target, unet, encoders, kinds, layer, autoencoder, device, dtype)

    def take(self, tensor: Tensor) -> Tensor:
        """A tensor of the host on the device, without waiting."""
        return sent(tensor, self.device)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Latents [B, 4, h, w] at the model's scale of pixels [B, 3, H, W] in -1..1: the mean of the posterior."""
        weight = self.vae.quant_conv.weight
        return self.vae.encode(pixels.to(weight.device, weight.dtype)).float() * FAMILIES[self.family].latent_scale

    def latents_key(self) -> str:
        """What latents depend on besides the picture: the VAE's file, precision and device, the family's scale."""
        vae = weights_hash(self.source.vae or self.source.path)
        return f"{vae} {self.source.vae_precision or 'fp32'} {self.family} {self.device.type}"

    def text_key(self) -> str:
        """What encoded captions depend on besides the captions; no two kinds of devices round alike."""
        encoders = weights_hash(self.source.path)
        return f"{encoders} {self.layer} {self.source.max_token_length} {self.dtype} {self.device.type}"


def _load(
    kind: Kind[NetworkT],
    source: Source,
    device: torch.device,
    dtype: torch.dtype,
    warn: Callable[[str], object],
) -> NetworkT:
    return load_network(kind, Pristine.open(kind, source).weights, device, dtype, warn)


def _check_family(source: ModelSource, family: Family) -> None:
    if source.family not in (None, TRAINED[family]):
        wanted = next(FAMILIES[each].title for each, name in TRAINED.items() if name == source.family)
        title = FAMILIES[family].title
        raise TrainingError(f"{source.path}: this is a model of {title}, but the configuration is for {wanted}")
