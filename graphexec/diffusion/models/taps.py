"""Places in a UNet's forward pass where something may look in and change what flows there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

__all__ = ["NO_TAPS", "AttentionKind", "Place", "Residuals", "Tap", "Taps"]

AttentionKind = Literal["self", "cross"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer sits: `block` counts within its part, `index` counts transformer blocks within one attention layer.

    `size` is the height and width of the feature map there, `full` that of the latents.
    """

    part: Literal["input", "middle", "output"]
    block: int
    index: int
    size: tuple[int, int]
    full: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Residuals:
    """What a ControlNet or T2I-Adapter adds: after each input block, the middle, and to each skip connection.

    `skips` are by input block, as the skip connections are; None adds nothing there, nor does what is of another size.
    """

    inputs: Sequence[Tensor | None] = ()
    middle: Tensor | None = None
    skips: Sequence[Tensor | None] = ()


class Tap:
    """Sees every place of a forward pass and hands back what should flow on; this one changes nothing."""

    def attention_inputs(
        self, kind: AttentionKind, q: Tensor, k: Tensor, v: Tensor, at: Place
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The tokens [B, N, C] that queries, keys and values are projected from."""
        return q, k, v

    def attend(self, kind: AttentionKind, q: Tensor, k: Tensor, v: Tensor, heads: int, at: Place) -> Tensor | None:
        """In place of attention of projected q, k, v [B, N, C]; None leaves it as it is."""
        return None

    def attention_output(self, kind: AttentionKind, out: Tensor, at: Place) -> Tensor:
        """What attention adds to its input [B, N, C]."""
        return out

    def between_attentions(self, x: Tensor, at: Place) -> Tensor:
        """The tokens between self-attention and attention to the text."""
        return x

    def input_block(self, h: Tensor, at: Place) -> Tensor:
        """The feature map [B, C, h, w] after an input block, before it is kept for the skip connection."""
        return h

    def after_skip(self, h: Tensor, at: Place) -> Tensor:
        """The feature map after an input block, once it is kept for the skip connection."""
        return h

    def join(self, h: Tensor, skip: Tensor, at: Place) -> tuple[Tensor, Tensor]:
        """The feature map and the skip connection that an output block is about to join."""
        return h, skip


Taps = Sequence[Tap]
NO_TAPS: Taps = ()
