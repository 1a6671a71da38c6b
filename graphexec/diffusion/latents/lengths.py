"""How many latents come of two batches. Importing this imports no torch."""

from __future__ import annotations

from graphexec.diffusion.faults import LatentError

__all__ = ["blended_length"]


def blended_length(one: int, two: int) -> int:
    """The longer of two batches, for which a single latent is repeated; `LatentError` for other lengths."""
    if one != two and 1 not in (one, two):
        raise LatentError(f"batches of {one} and {two} cannot be blended: give them one length, or one item")
    return max(one, two)
