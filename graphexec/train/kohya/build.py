"""Typed settings made into a `TrainConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphexec.diffusion.types import Precision
from graphexec.train.config import (
    Dataset,
    Logging,
    LoopConfig,
    ModelSource,
    Noise,
    Objective,
    Samples,
    Saving,
    TrainConfig,
    TrainFamily,
    Validation,
)
from graphexec.train.kohya.base import Base
from graphexec.train.kohya.datasets import read_datasets
from graphexec.train.kohya.network import read_network
from graphexec.train.kohya.optimiser import read_optimiser, read_schedule
from graphexec.train.kohya.settings import Settings, fill

__all__ = ["DEFAULT_STEPS", "build"]

DEFAULT_STEPS = 1600
"""What sd-scripts trains when neither steps nor epochs are given."""
REQUIRED = {"pretrained_model_name_or_path": "no base model", "output_dir": "no folder for the result"}
PRECISIONS: Mapping[str, Precision] = {"no": "fp32", "float": "fp32", "fp16": "fp16", "bf16": "bf16"}


def build(settings: Settings, base: Base) -> TrainConfig | None:
    """The configuration; faults are collected, and without a base or a place for the result there is none."""
    adapters = read_network(settings, base)
    optimiser = read_optimiser(settings, adapters.rates)
    schedule = read_schedule(settings, optimiser)
    datasets = read_datasets(settings)
    missing = [key for key in REQUIRED if key not in settings.values]
    for key in (name for name in missing if not settings.is_set(name)):
        settings.error("missing_key", key, f"{REQUIRED[key]} is named", f"set {key}")
    if missing:
        return None
    return TrainConfig(
        model=_model(settings, base.family),
        datasets=datasets,
        saving=_saving(settings),
        network=adapters.network,
        noise=Noise(**fill(settings.values, "noise")),
        objective=_objective(settings, datasets),
        optimiser=optimiser,
        schedule=schedule,
        loop=_loop(settings),
        samples=Samples(**fill(settings.values, "samples")),
        validation=Validation(**fill(settings.values, "validation")),
        logging=_logging(settings),
    )


def _model(settings: Settings, family: TrainFamily | None) -> ModelSource:
    fields: dict[str, Any] = fill(settings.values, "model") | {
        "vae_precision": "fp32" if settings.get("no_half_vae") else None
    }
    return ModelSource(path=settings.get("pretrained_model_name_or_path"), family=family, **fields)


def _objective(settings: Settings, datasets: tuple[Dataset, ...]) -> Objective:
    """Without masks there is nothing to mask the loss with; kohya's 0 turns a weighting off."""
    alpha_masks = any(subset.alpha_mask for dataset in datasets for subset in dataset.subsets)
    if settings.get("masked_loss") and not alpha_masks:
        settings.error(
            "contradiction",
            "masked_loss",
            "there are no masks",
            "put masks into the pictures' alpha channel, and set alpha_mask",
        )
    return Objective(
        **fill(settings.values, "objective"),
        masked=alpha_masks,
        min_snr_gamma=settings.get("min_snr_gamma") or None,
        v_pred_like=settings.get("v_pred_like_loss") or None,
    )


def _loop(settings: Settings) -> LoopConfig:
    """Epochs count more than steps; without either, sd-scripts' number of steps."""
    to_disk = settings.get("cache_latents_to_disk"), settings.get("cache_text_encoder_outputs_to_disk")
    steps = None if settings.get("max_train_epochs") else settings.get("max_train_steps", DEFAULT_STEPS)
    return LoopConfig(
        **fill(settings.values, "loop"),
        max_steps=steps,
        precision=PRECISIONS[settings.get("mixed_precision", "no")],
        cache_latents=settings.get("cache_latents", False) or bool(to_disk[0]),
        cache_text=settings.get("cache_text_encoder_outputs", False) or bool(to_disk[1]),
    )


def _saving(settings: Settings) -> Saving:
    fields = fill(settings.values, "saving")
    if (every := _every_by_ratio(settings)) is not None:
        fields["every_n_epochs"] = every
    precision = PRECISIONS[settings.get("save_precision", "float")]
    return Saving(output_dir=settings.get("output_dir"), precision=precision, **fields, **_kept(settings, fields))


def _kept(settings: Settings, fields: Mapping[str, Any]) -> dict[str, Any]:
    """How many checkpoints stay: kohya counts those by epochs, and of the others the steps that lie between them."""
    for kind in ("epochs", "steps"):
        if settings.get(f"save_last_n_{kind}") and not fields.get(f"every_n_{kind}"):
            message = f"nothing is saved by {kind}"
            settings.error("contradiction", f"save_last_n_{kind}", message, f"set save_every_n_{kind}")
    both, steps, every = settings.get("keep_last"), settings.get("save_last_n_steps"), fields.get("every_n_steps")
    return {
        "keep_last_epochs": settings.get("save_last_n_epochs", both),
        "keep_last_steps": steps // every + 1 if steps and every else both,
    }


def _every_by_ratio(settings: Settings) -> int | None:
    """As in sd-scripts, a ratio counts more than `save_every_n_epochs`, and one of 0 is none."""
    ratio, epochs = settings.get("save_n_epoch_ratio"), settings.get("max_train_epochs")
    if not ratio:
        return None
    if epochs is None:
        settings.error("contradiction", "save_n_epoch_ratio", "is a part of the epochs", "set max_train_epochs too")
        return None
    return max(1, epochs // ratio)


def _logging(settings: Settings) -> Logging:
    fields = fill(settings.values, "logging")
    if settings.get("log_with") and "directory" not in fields:
        settings.error("missing_key", "log_with", "TensorBoard's curves have no folder", "set logging_dir")
    return Logging(**fields, tensorboard="directory" in fields)
