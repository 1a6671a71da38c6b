"""The shapes of the networks of recipes, by the networks' own names whatever their files call them; without torch."""

from __future__ import annotations

from graphexec.diffusion.listing import list_file
from graphexec.diffusion.models.names import named_shapes, text_parts, unet_parts, vae_parts, without_scales
from graphexec.diffusion.types import Model, TextEncoder, Vae
from graphexec.lora.header import Shape, strip_prefix

__all__ = ["network_shapes"]


def network_shapes(recipe: Model | TextEncoder | Vae) -> dict[str, Shape]:
    """The shape of each weight of a recipe's network; `ModelFileError` if its file cannot be read any more."""
    listed = list_file(recipe.file.path, allow_pickle=True).shapes
    stored = without_scales(strip_prefix(listed, recipe.prefix))
    match recipe:
        case Model():
            return named_shapes(stored, unet_parts(stored))
        case TextEncoder():
            return named_shapes(stored, text_parts(stored))
        case Vae():
            return named_shapes(stored, vae_parts(stored))
