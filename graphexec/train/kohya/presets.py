"""The presets of LyCORIS: which layers its adapters are on, `full` where nothing is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["OWN", "PRESETS", "Preset"]


@dataclass(frozen=True, slots=True)
class Preset:
    """All of the UNet and the text encoder, but for what is left out."""

    convolutions: bool = True
    """Of a kernel larger than 1."""
    residual: bool = True
    """Residual blocks, down- and upsamplers."""
    ends: bool = True
    """What stands before and after the blocks of SD 1.x and 2.x; it goes by names that SDXL's UNet does not have."""
    text: bool = True
    left_out: tuple[tuple[str, int], ...] = ()
    """Expressions for the names of layers that get the rank 0."""


OWN = Preset(residual=False, ends=False)
"""What sd-scripts' own modules train, which know no presets; convolutions come with a rank of their own."""
PRESETS: Mapping[str, Preset] = {
    "full": Preset(),
    "full-lin": Preset(convolutions=False),
    "attn-mlp": Preset(convolutions=False, residual=False, ends=False),
    "attn-only": Preset(
        convolutions=False, residual=False, ends=False, left_out=(("_ff_|_mlp_|_proj_in$|_proj_out$", 0),)
    ),
    "unet-only": Preset(text=False),
    "unet-transformer-only": Preset(convolutions=False, residual=False, ends=False, text=False),
    "unet-convblock-only": Preset(
        text=False, left_out=(("_transformer_blocks_|_proj_in$|_proj_out$|_time_embedding_", 0),)
    ),
}
