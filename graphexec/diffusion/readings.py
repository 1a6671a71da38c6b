"""Other readings of a model's predictions, as recipes. Importing this does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphexec.diffusion.faults import SigmasError
from graphexec.diffusion.types import Prediction, Sampling

__all__ = ["continuous_v", "discrete", "edm"]

PREDICTIONS: Mapping[str, Prediction] = {
    "eps": "eps",
    "v_prediction": "v",
    "lcm": "lcm",
    "x0": "x0",
    "img_to_img": "img_to_img",
    "edm": "edm",
    "edm_playground_v2.5": "edm",
}

LCM_TIMESTEPS = 50
"""What latent consistency models were distilled with."""


def discrete(old: Sampling, kind: str, *, zero_snr: bool) -> Sampling:
    """The levels of latent diffusion, read as `kind` says."""
    timesteps = LCM_TIMESTEPS if kind == "lcm" else None
    return replace(_kept(old), prediction=PREDICTIONS[kind], zero_snr=zero_snr, original_timesteps=timesteps)


def edm(old: Sampling, kind: str, sigma_min: float, sigma_max: float) -> Sampling:
    """Continuous levels, read as `kind` says; `SigmasError` for levels or a kind that cannot be."""
    if kind == "cosmos_rflow":
        raise SigmasError("cosmos_rflow belongs to the Cosmos video models, which are not supported: choose edm")
    return replace(
        _kept(old),
        prediction=PREDICTIONS[kind],
        levels="edm",
        sigma_min=sigma_min,
        sigma_max=_above(sigma_min, sigma_max),
        sigma_data=0.5 if kind.startswith("edm") else 1.0,
        latents="playground_2_5" if kind == "edm_playground_v2.5" else old.latents,
    )


def continuous_v(old: Sampling, sigma_min: float, sigma_max: float) -> Sampling:
    """Continuous levels of a model that predicts velocities; `SigmasError` for levels that cannot be."""
    sigma_max = _above(sigma_min, sigma_max)
    return replace(_kept(old), prediction="v", levels="continuous_v", sigma_min=sigma_min, sigma_max=sigma_max)


def _kept(old: Sampling) -> Sampling:
    """What of a model stays its own under any reading: how latents and pictures to edit are scaled."""
    return Sampling(latents=old.latents, scaled_edits=old.scaled_edits)


def _above(sigma_min: float, sigma_max: float) -> float:
    if not 0 < sigma_min < sigma_max:
        raise SigmasError(f"sigma_min must be above 0 and below sigma_max; they are {sigma_min:g} and {sigma_max:g}")
    return sigma_max
