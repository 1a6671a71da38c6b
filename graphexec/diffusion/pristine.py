"""A network's weights as its file has them, opened once for all recipes that start from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from graphexec.diffusion.loading import TEXT, UNET, Kind, Source, Weights
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import Clip, Model
from graphexec.errors import ModelFileError
from graphexec.lora.header import Shape, Shapes

__all__ = ["Pristine", "check_current", "opened", "shapes_of"]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Pristine:
    """Weights that are mapped, not read; two of one source are equal. `aliases`: what LoRA files call them."""

    source: Source
    weights: Weights = field(compare=False, repr=False)
    aliases: Mapping[str, str] = field(compare=False, repr=False)

    @classmethod
    def open(cls, kind: Kind[Any], source: Source) -> Pristine:
        """Map the file; `ModelFileError` if it is not what it was when the recipe was made, or has no such network."""
        check_current(source.file)
        weights = Weights(source, kind.parts)
        if not weights.shapes:
            raise ModelFileError(f"{source.file.path}: {kind.absent}")
        return cls(source, weights, kind.aliases(weights.shapes))

    @property
    def shapes(self) -> Shapes:
        """The weights' shapes by the network's names for them."""
        return self.weights.shapes

    def read(self, name: str) -> Tensor:
        """A weight in the dtype of its file, on the CPU, not to be changed: it may lie in the mapped file."""
        return self.weights.tensor(name)


def opened(recipe: Model | Clip) -> dict[str, Pristine]:
    """The networks of a recipe: a model's under an empty name, text encoders under their kinds."""
    if isinstance(recipe, Model):
        return {"": Pristine.open(UNET, Source(recipe.file, recipe.prefix, recipe.stored))}
    return {
        encoder.kind: Pristine.open(TEXT[encoder.kind], Source(encoder.file, encoder.prefix))
        for encoder in recipe.encoders
    }


def shapes_of(recipe: Model | Clip) -> dict[str, Shape]:
    """The shapes of all weights of a recipe, an encoder's after its kind."""
    return {
        f"{kind}.{name}" if kind else name: shape
        for kind, base in opened(recipe).items()
        for name, shape in base.shapes.items()
    }


def check_current(file: WeightsFile) -> None:
    """Raise `ModelFileError` unless a file is as it was when it was opened."""
    if not file.is_current():
        raise ModelFileError(
            f"{file.path}: the file was changed or removed after it was opened; run the workflow again"
        )
