"""What a network predicts, told by a file's names, its metadata and, for SD 2.x, one small tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from graphexec.diffusion.listing import Listing
from graphexec.diffusion.models.layout import UNetLayout
from graphexec.diffusion.models.names import Parts
from graphexec.diffusion.types import Family, Prediction, Sampling
from graphexec.errors import ModelFileError

__all__ = ["sampling_of"]

SPREAD_OF_V = 0.09
"""Above this standard deviation of one bias an SD 2.x model predicts v; the published models lie on either side."""
METADATA = ("modelspec.prediction_type", "modelspec.predict_key")
PREDICTIONS: Mapping[str, Prediction] = {
    **dict.fromkeys(("epsilon", "eps"), "eps"),
    **dict.fromkeys(("v", "v_prediction", "v-prediction", "vpred"), "v"),
}


def sampling_of(listing: Listing, family: Family, unet: UNetLayout, parts: Parts, prefix: str) -> Sampling:
    """How the UNet below `prefix` is sampled, whose weights lie in the file as `parts` say.

    Tensors that mark a model which was trained otherwise than its family count first, then the file's metadata, last
    a bias of SD 2.x models. Raises `ModelFileError` for a kind of model that cannot be run.
    """
    if {"edm_mean", "edm_std"} <= listing.shapes.keys():
        raise ModelFileError("this is a Playground 2.5 model ('edm_mean' is in it), which cannot be run")
    if "edm_vpred.sigma_max" in listing.shapes:
        # CosXL Edit; instruct-pix2pix on SDXL of other kinds is shown what the VAE gives.
        edits = family == "sdxl" and unet.in_channels == 2 * unet.out_channels
        return replace(_edm(listing), scaled_edits=edits)
    zero_snr = "ztsnr" in listing.shapes
    if "v_pred" in listing.shapes:
        return Sampling("v", zero_snr=zero_snr)
    told = next((listing.metadata[key].lower() for key in METADATA if key in listing.metadata), "")
    if told in PREDICTIONS:
        return Sampling(PREDICTIONS[told], zero_snr=zero_snr)
    # The inpainting model of SD 2 predicts eps, whatever this bias is.
    plain = unet.in_channels == unet.out_channels
    if family == "sd2" and plain and _spread(listing, unet, parts, prefix) > SPREAD_OF_V:
        return Sampling("v", zero_snr=zero_snr)
    return Sampling(zero_snr=zero_snr)


def _edm(listing: Listing) -> Sampling:
    """A model that predicts v on continuous noise levels, whose range is in the file (CosXL)."""
    plain = Sampling("v", "edm")
    return Sampling(
        plain.prediction,
        plain.levels,
        sigma_min=_number(listing, "edm_vpred.sigma_min", plain.sigma_min),
        sigma_max=_number(listing, "edm_vpred.sigma_max", plain.sigma_max),
    )


def _number(listing: Listing, name: str, default: float) -> float:
    if name not in listing.shapes:
        return default
    values = listing.numbers(name)
    if len(values) != 1 or not math.isfinite(values[0]) or values[0] <= 0:
        raise ModelFileError(f"{name!r} must be one positive number")
    return values[0]


def _spread(listing: Listing, unet: UNetLayout, parts: Parts, prefix: str) -> float:
    """The standard deviation of the bias of the last block's first norm; 0 where there is none."""
    part = parts.get(f"output_blocks.{len(unet.output_blocks) - 1}.1.transformer_blocks.0.norm1.bias")
    values = listing.numbers(prefix + part.name) if part else ()
    if not values:
        return 0.0
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
