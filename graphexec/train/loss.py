"""How far a prediction is off, per picture, and how much each picture counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from graphexec.train.config import Objective
from graphexec.train.noise import Levels, Target

__all__ = ["huber_thresholds", "picture_losses", "snr_weights"]

TOP_SNR = 1000.0
"""What signal-to-noise ratios are cut off at, where a loss is weighed by them as they are."""


def picture_losses(
    prediction: Tensor,
    target: Tensor,
    timesteps: Tensor,
    objective: Objective,
    levels: Levels,
    *,
    kind: Target,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The loss of each picture, float32 [B].

    Args:
        prediction: of the model, [B, C, h, w].
        target: what it should be, as `target_of` gives it.
        timesteps: int64 [B].
        objective: the measure and its weights.
        levels: what the timesteps stand for.
        kind: what the model predicts.
        weights: of the pictures themselves (regularisation pictures), [B].
        mask: [B, 1, h, w], 1 where a picture counts. The mean goes over all of it, so a small area counts little.
    """
    errors = MEASURES[objective.loss](prediction.float(), target.float(), timesteps, objective, levels)
    if mask is not None:
        errors = errors * mask
    losses = errors.flatten(1).mean(dim=1) * snr_weights(timesteps, objective, levels, kind)
    return losses if weights is None else losses * weights


def snr_weights(timesteps: Tensor, objective: Objective, levels: Levels, kind: Target) -> Tensor:
    """How much the timesteps count, float32 [B]: all weights that the objective asks for, multiplied.

    A timestep without any signal counts as the one before it where its own weight would be infinite.
    """
    snr = levels.snr[timesteps]
    weights = torch.ones_like(snr)
    if objective.min_snr_gamma:
        weights = weights * min_snr(snr, objective.min_snr_gamma, kind)
    if objective.scale_v_pred_like_noise:
        weights = weights * _as_noise(snr)
    heard = torch.maximum(snr, levels.lowest_snr)
    if objective.v_pred_like:
        weights = weights * (1 + objective.v_pred_like / _as_noise(heard))
    if objective.debiased:
        cut = heard.clamp(max=TOP_SNR)
        weights = weights * (cut.rsqrt() if kind == "eps" else 1 / (cut + 1))
    return weights


def min_snr(snr: Tensor, gamma: float, kind: Target) -> Tensor:
    """Min-SNR weights (Hang et al. 2023, https://arxiv.org/abs/2303.09556); 1 where nothing is left to hear (eps)."""
    if kind == "eps":
        return (gamma / snr).clamp(max=1)
    return snr.clamp(max=gamma) / (snr + 1)


def huber_thresholds(timesteps: Tensor, objective: Objective, levels: Levels) -> Tensor:
    """Where the loss turns from squares to distances, float32 [B, 1, 1, 1] (https://arxiv.org/abs/2403.16728)."""
    c = objective.huber_c
    match objective.huber_schedule:
        case "exponential":
            found = torch.exp(math.log(c) / len(levels.snr) * timesteps) * objective.huber_scale
        case "snr":
            found = (1 - c) / (1 + levels.snr[timesteps].rsqrt()) ** 2 + c
        case "constant":
            found = torch.full_like(timesteps, c * objective.huber_scale, dtype=torch.float32)
    return found[:, None, None, None]


def _as_noise(snr: Tensor) -> Tensor:
    """The factor that makes an error in v one in the noise."""
    cut = snr.clamp(max=TOP_SNR)
    return cut / (cut + 1)


def _l2(prediction: Tensor, target: Tensor, timesteps: Tensor, objective: Objective, levels: Levels) -> Tensor:
    return F.mse_loss(prediction, target, reduction="none")


def _l1(prediction: Tensor, target: Tensor, timesteps: Tensor, objective: Objective, levels: Levels) -> Tensor:
    return F.l1_loss(prediction, target, reduction="none")


def _smooth_l1(prediction: Tensor, target: Tensor, timesteps: Tensor, objective: Objective, levels: Levels) -> Tensor:
    c = huber_thresholds(timesteps, objective, levels)
    return 2 * (((prediction - target) ** 2 + c**2).sqrt() - c)


def _huber(prediction: Tensor, target: Tensor, timesteps: Tensor, objective: Objective, levels: Levels) -> Tensor:
    c = huber_thresholds(timesteps, objective, levels)
    return c * _smooth_l1(prediction, target, timesteps, objective, levels)


Measure = Callable[[Tensor, Tensor, Tensor, Objective, Levels], Tensor]

MEASURES: Mapping[str, Measure] = {"l2": _l2, "l1": _l1, "huber": _huber, "smooth_l1": _smooth_l1}
