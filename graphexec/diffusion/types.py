"""The values that flow between the operations: recipes of models, conditioning, latents, pictures.

Importing this module does not import torch. `Image`, `Mask` and `Sigmas` are plain tensors to a type checker and
marker classes at run time, so that a signature that names them can be read without torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from graphexec.errors import ModelFileError

if TYPE_CHECKING:
    from typing import TypeAlias

    from torch import Tensor

    Image: TypeAlias = Tensor
    Mask: TypeAlias = Tensor
    Sigmas: TypeAlias = Tensor
else:

    class Image:
        """Pictures: float32 [B, H, W, C], 0 to 1."""

    class Mask:
        """Masks: float32 [B, H, W], 0 to 1; 1 is where something happens."""

    class Sigmas:
        """Noise levels of a sampling run: float32 [steps + 1], falling."""


__all__ = [
    "Clip",
    "Cond",
    "Conditioning",
    "Family",
    "Image",
    "Latent",
    "LoraPatch",
    "Mask",
    "Model",
    "Sigmas",
    "Vae",
    "WeightsFile",
]

Family = Literal["sd1"]


@dataclass(frozen=True, slots=True)
class Latent:
    """Latents as the VAE's encoder gives them (not scaled): `samples` [B, C, h, w].

    `noise_mask` ([B, H, W] or [B, 1, H, W], any size): 1 where sampling may change them. `batch_index`: which item of
    a batch each one is, so that it draws the same noise alone as it would in its batch.
    """

    samples: Tensor
    noise_mask: Tensor | None = None
    batch_index: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Cond:
    """One encoded prompt: `embedding` [1, T, C]; `pooled` [1, C]."""

    embedding: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What a model is conditioned on; the predictions of several conds are averaged."""

    conds: tuple[Cond, ...]


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file of weights as it was when the recipe was made."""

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """The file as it is now; `ModelFileError` if there is none."""
        try:
            stat = path.stat()
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read ({error.strerror or error})") from error
        return cls(path, stat.st_size, stat.st_mtime_ns)

    def is_current(self) -> bool:
        """Whether the file is still there and unchanged."""
        try:
            stat = self.path.stat()
        except OSError:
            return False
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self.mtime_ns)


@dataclass(frozen=True, slots=True)
class LoraPatch:
    """A LoRA file at a strength."""

    file: WeightsFile
    strength: float

    @classmethod
    def of(cls, path: Path, strength: float) -> Self:
        """The file as it is now; `ModelFileError` if there is none."""
        return cls(WeightsFile.of(path), strength)


@dataclass(frozen=True, slots=True)
class Model:
    """Recipe of a diffusion model: the tensors below `prefix` in `file`, and the LoRAs on top of them."""

    file: WeightsFile
    family: Family
    prefix: str
    patches: tuple[LoraPatch, ...] = ()

    def patched(self, path: Path, strength: float) -> Model:
        """This model with one more LoRA, whose file is not read yet; strength 0 gives the model itself."""
        return self if strength == 0 else replace(self, patches=(*self.patches, LoraPatch.of(path, strength)))


@dataclass(frozen=True, slots=True)
class Clip:
    """Recipe of a text encoder. `last_layer` -1 takes the last layer's output, -2 the one before ("CLIP skip 2")."""

    file: WeightsFile
    family: Family
    prefix: str
    patches: tuple[LoraPatch, ...] = ()
    last_layer: int = -1

    def patched(self, path: Path, strength: float) -> Clip:
        """This text encoder with one more LoRA, whose file is not read yet; strength 0 gives the encoder itself."""
        return self if strength == 0 else replace(self, patches=(*self.patches, LoraPatch.of(path, strength)))


@dataclass(frozen=True, slots=True)
class Vae:
    """Recipe of an autoencoder: the tensors below `prefix` in `file`."""

    file: WeightsFile
    prefix: str
