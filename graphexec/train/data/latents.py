"""Pictures as latents, encoded when they are needed or kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from graphexec.diffusion.faults import NonFiniteError
from graphexec.train.data.cache import TensorStore, content_key, file_hash
from graphexec.train.data.pictures import Picture
from graphexec.train.data.pixels import Seen, seen
from graphexec.train.data.views import View

__all__ = ["Encode", "KeptLatents", "Latents", "encoded"]

Encode = Callable[[Tensor], Tensor]
"""Pixels [B, 3, H, W] in -1..1 to latents [B, 4, h, w] at the model's scale; the posterior's mean, best.

sd-scripts draws a sample of the posterior, once for each picture if latents are cached. Its deviation is some
thousandths of a latent's, and a cache that is made anew would train otherwise.
"""

FORMAT = "latents-1"

Latents = Mapping[str, Tensor]
"""`latents` [B, 4, h, w] and, where there are alpha masks, `masks` [B, 1, h, w]."""


def encoded(pictures: Sequence[Picture], every: Sequence[Seen], encode: Encode) -> Latents:
    """The latents of pictures as they are seen, of one size, encoded together, on the CPU in float32.

    Raises `NonFiniteError`, which names the pictures, for latents that are not finite.
    """
    with torch.no_grad():
        latents = encode(torch.stack([each.pixels for each in every])).detach().to("cpu", torch.float32)
    every_latent = zip(pictures, latents, strict=True)
    broken = [picture.path.name for picture, each in every_latent if not torch.isfinite(each).all()]
    if broken:
        raise NonFiniteError(
            f"the VAE gives NaN or infinity for {', '.join(broken)}; SDXL's own VAE does so in fp16: "
            "let the VAE compute in fp32 (no_half_vae)"
        )
    if all(each.mask is None for each in every):
        return {"latents": latents}
    masks = [torch.ones_like(each.pixels[:1]) if each.mask is None else each.mask for each in every]
    return {"latents": latents, "masks": F.interpolate(torch.stack(masks), size=latents.shape[-2:], mode="area")}


class KeptLatents:
    """Latents that are encoded once, each picture alone, and found again by content, size, view and VAE.

    `vae` names the autoencoder and whatever else of it changes latents, such as its precision and scale.
    """

    def __init__(self, store: TensorStore, vae: str) -> None:
        self._store = store
        self._vae = vae
        self._hashes: dict[Path, str] = {}

    def get(self, picture: Picture, view: View, encode: Encode) -> Latents:
        """As `encoded`, of one picture in one view."""
        key = self._key(picture, view)
        known = self._store.get(key)
        if known is None:
            known = encoded([picture], [seen(picture, view)], encode)
            self._store.put(key, known)
        return known

    def _key(self, picture: Picture, view: View) -> str:
        if picture.path not in self._hashes:
            self._hashes[picture.path] = file_hash(picture.path)
        place = picture.fit
        masked = picture.subset.alpha_mask
        return content_key(FORMAT, self._vae, self._hashes[picture.path], place.bucket, place.resized, masked, view)
