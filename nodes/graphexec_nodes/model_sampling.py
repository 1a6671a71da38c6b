"""Nodes that change how a model's predictions are read, and which noise levels it works on."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from graphexec.diffusion import readings
from graphexec.diffusion.types import Model
from graphexec.node.decorator import node
from graphexec.node.fields import Range, Widget
from graphexec_nodes import facts

CATEGORY = "advanced/model"
Level = Annotated[float, Range(ge=0.0, le=1000.0), Widget(step=0.001, round=False)]


@node("ModelSamplingDiscrete", category=CATEGORY, infer=facts.of_model)
def sample_discrete(
    model: Model, sampling: Literal["eps", "v_prediction", "lcm", "x0", "img_to_img"], zsnr: bool = False
) -> Model:
    """Say what a model of latent diffusion predicts.

    Args:
        model: the diffusion model.
        sampling: what it predicts.
        zsnr: stretches its noise levels so that the highest is pure noise.
    """
    return replace(model, sampling=readings.discrete(model.sampling, sampling, zero_snr=zsnr))


@node("ModelSamplingContinuousEDM", category=CATEGORY, infer=facts.of_model)
def sample_edm(
    model: Model,
    sampling: Literal["v_prediction", "edm", "edm_playground_v2.5", "eps", "cosmos_rflow"],
    sigma_max: Level = 120.0,
    sigma_min: Level = 0.002,
) -> Model:
    """Give a model the continuous noise levels of Karras et al. 2022.

    Args:
        model: the diffusion model.
        sampling: what it predicts.
        sigma_max: the highest level.
        sigma_min: the lowest.
    """
    return replace(model, sampling=readings.edm(model.sampling, sampling, sigma_min, sigma_max))


@node("ModelSamplingContinuousV", category=CATEGORY, infer=facts.of_model)
def sample_v(
    model: Model, sampling: Literal["v_prediction"], sigma_max: Level = 500.0, sigma_min: Level = 0.03
) -> Model:
    """Give a model that predicts velocities continuous noise levels.

    Args:
        model: the diffusion model.
        sampling: what it predicts.
        sigma_max: the highest level.
        sigma_min: the lowest.
    """
    return replace(model, sampling=readings.continuous_v(model.sampling, sigma_min, sigma_max))


@node("ModelComputeDtype", category="advanced/debug/model", infer=facts.of_model)
def compute_in(model: Model, dtype: Literal["default", "fp32", "fp16", "bf16"]) -> Model:
    """Choose the numbers a model computes with.

    Args:
        model: the diffusion model.
        dtype: the kind of numbers; the default is what the device does best.
    """
    return replace(model, dtype=None if dtype == "default" else dtype)
