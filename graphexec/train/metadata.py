"""What a trained LoRA's file says of itself: sd-scripts' `ss_` entries, and Stability AI's model spec.

The spec: https://github.com/Stability-AI/ModelSpec. Nothing here looks at the clock, so that the same run gives the
same file, byte for byte: dates stand in it only if they are given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from graphexec.diffusion.save import ARCHITECTURES
from graphexec.diffusion.types import Family
from graphexec.errors import unreadable
from graphexec.lora.header import in_file
from graphexec.train.config import GivenNetwork, Network, Noise, Objective, Optimiser, TrainConfig
from graphexec.train.hashes import weights_hash

__all__ = ["Base", "NamedFile", "Progress", "metadata"]

MINIMUM = tuple(f"ss_{name}" for name in ("v2", "base_model_version", "network_module", "network_dim", "network_alpha"))
"""What is kept, with the network's arguments and the model spec, of a file that is to say nothing of its training."""
VERSIONS: Mapping[Family, str] = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
SGM = "https://github.com/Stability-AI/generative-models"
OLD_HASH = 0x100000, 0x10000
"""Where the bytes begin of which the old short hash of a checkpoint is made, and how many they are."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file of weights by its name and hashes; the short one is of some of its bytes, as older programs have it."""

    name: str
    short: str
    sha256: str

    @classmethod
    def of(cls, path: Path) -> NamedFile:
        """Read a file; `ModelFileError` if it cannot be."""
        with in_file(path):
            try:
                with path.open("rb") as file:
                    file.seek(OLD_HASH[0])
                    part = hashlib.sha256(file.read(OLD_HASH[1])).hexdigest()
            except OSError as error:
                raise unreadable(error) from error
        return cls(path.name, part[:8], weights_hash(path))


@dataclass(frozen=True, slots=True)
class Base:
    """The model that was trained on, as it was found to be."""

    family: Family
    predicts: Literal["eps", "v"]
    checkpoint: NamedFile
    vae: NamedFile | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come: steps and epochs done, and how many there will be.

    `started` and `finished` are seconds since 1970, or None for a file that is the same whenever it was made.
    """

    seed: int
    step: int
    epoch: int
    steps: int
    epochs: int
    started: float | None = None
    finished: float | None = None


def metadata(
    config: TrainConfig,
    base: Base,
    data: Mapping[str, str],
    progress: Progress,
    size: tuple[object, object] | None = None,
) -> dict[str, str]:
    """The entries of a file; `data` are those of the pictures. A value that is not given is written as `None`.

    `size` is the rank and the alpha of a network that has them from weights, whatever the configuration says.
    """
    settings = _written({**_run(config), **_network(config.network, size), **_base(config, base)})
    whole = {**settings, **_written(_loss(config.noise, config.objective)), **data, "ss_seed": str(progress.seed)}
    session = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:8]
    moment = _written({"session_id": int(session, 16), **_moment(progress)})
    spec = _spec(config, base, progress)
    if config.saving.no_metadata:
        return {**{name: value for name, value in whole.items() if name in (*MINIMUM, "ss_network_args")}, **spec}
    return {**whole, **moment, **spec}


def _written(entries: Mapping[str, object]) -> dict[str, str]:
    return {f"ss_{name}": str(value) for name, value in entries.items()}


def _run(config: TrainConfig) -> dict[str, object]:
    loop, optimiser, schedule = config.loop, config.optimiser, config.schedule
    return {
        "output_name": config.saving.output_name,
        "training_comment": config.saving.comment or None,
        **_rates(optimiser),
        "optimizer": _optimiser(optimiser),
        "max_grad_norm": optimiser.max_grad_norm,
        "lr_scheduler": schedule.kind,
        "lr_warmup_steps": schedule.warmup,
        "gradient_checkpointing": loop.gradient_checkpointing,
        "gradient_accumulation_steps": loop.accumulation,
        "total_batch_size": config.datasets[0].batch_size * loop.accumulation if config.datasets else None,
        "mixed_precision": "no" if loop.precision == "fp32" else loop.precision,
        "cache_latents": loop.cache_latents or loop.cache_latents_to_disk,
        "ema_decay": loop.ema_decay,
        **_validation(config),
        **dict.fromkeys(("full_fp16", "lowram", "fp8_base", "fp8_base_unet"), False),
        **dict.fromkeys(("face_crop_aug_range", "resize_interpolation")),
    }


def _validation(config: TrainConfig) -> dict[str, object]:
    """What is held out is told of the first dataset, as sd-scripts has one for all."""
    first, validation = next(iter(config.datasets), None), config.validation
    return {
        "validation_split": first.validation_split if first else 0.0,
        "validation_seed": first.validation_seed if first else None,
        "max_validation_steps": validation.max_steps,
        "validate_every_n_epochs": validation.every_n_epochs,
        "validate_every_n_steps": validation.every_n_steps,
    }


def _rates(optimiser: Optimiser) -> dict[str, object]:
    texts = list(optimiser.text_lrs)
    return {
        "learning_rate": optimiser.learning_rate,
        "unet_lr": optimiser.unet_lr,
        "text_encoder_lr": (texts[0] if len(texts) == 1 else texts) if texts else None,
    }


def _optimiser(optimiser: Optimiser) -> str:
    arguments = ",".join(f"{name}={value}" for name, value in optimiser.arguments.items())
    return f"{optimiser.kind}({arguments})" if arguments else optimiser.kind


def _network(network: Network, size: tuple[object, object] | None) -> dict[str, object]:
    given = network.given or _derived(network)
    rank, alpha = size or (network.rank, given.alpha)
    return {
        "network_module": given.module,
        "network_dim": rank,
        "network_alpha": alpha,
        "network_dropout": network.dropout or None,
        "scale_weight_norms": network.scale_weight_norms,
        **({"network_args": json.dumps(dict(given.arguments))} if given.arguments else {}),
    }


def _derived(network: Network) -> GivenNetwork:
    """What settings would say of a network that was made without any."""
    is_plain = network.kind == "lora" and not network.decompose
    return GivenNetwork("networks.lora" if is_plain else "lycoris.kohya", network.alpha, _arguments(network))


def _arguments(network: Network) -> dict[str, str]:
    """As `--network_args` has them: text, and none for what is not used."""
    is_lokr = network.kind == "lokr"
    values: dict[str, object] = {
        "algo": None if network.kind == "lora" and not network.decompose else network.kind.replace("lora", "locon"),
        "dora_wd": network.decompose or None,
        "factor": network.lokr_factor if is_lokr else None,
        "conv_dim": network.conv_rank,
        "conv_alpha": network.conv_alpha,
        "block_dims": _joined(network.block_ranks),
        "block_alphas": _joined(network.block_alphas),
        "conv_block_dims": _joined(network.conv_block_ranks),
        "conv_block_alphas": _joined(network.conv_block_alphas),
        "network_reg_dims": _joined(f"{pattern}={rank}" for pattern, rank in network.ranks_by_name),
        "rank_dropout": network.rank_dropout or None,
        "module_dropout": network.module_dropout or None,
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def _joined(values: Iterable[object] | None) -> str | None:
    return ",".join(map(str, values or ())) or None


def _base(config: TrainConfig, base: Base) -> dict[str, object]:
    model = config.model
    entries: dict[str, object] = {
        "v2": base.family == "sd2",
        "base_model_version": VERSIONS[base.family] + ("_v" if base.predicts == "v" else ""),
        "clip_skip": model.clip_skip,
        "max_token_length": None if model.max_token_length == 75 else model.max_token_length,
    }
    for name, file in (("sd_model", base.checkpoint), ("vae", base.vae)):
        if file is not None:
            entries |= {f"{name}_name": file.name, f"{name}_hash": file.short, f"new_{name}_hash": file.sha256}
    return entries


def _loss(noise: Noise, objective: Objective) -> dict[str, object]:
    return {
        "noise_offset": noise.offset or None,
        "noise_offset_random_strength": noise.offset_random,
        "adaptive_noise_scale": noise.adaptive_scale or None,
        "multires_noise_iterations": noise.multires_iterations or None,
        "multires_noise_discount": noise.multires_discount,
        "ip_noise_gamma": noise.input_perturbation or None,
        "ip_noise_gamma_random_strength": False,
        "zero_terminal_snr": noise.zero_terminal_snr,
        "loss_type": objective.loss,
        "huber_schedule": objective.huber_schedule,
        "huber_scale": objective.huber_scale,
        "huber_c": objective.huber_c,
        "min_snr_gamma": objective.min_snr_gamma,
        "debiased_estimation": objective.debiased,
        "prior_loss_weight": objective.prior_loss_weight,
    }


def _moment(progress: Progress) -> dict[str, object]:
    dates = {"training_started_at": progress.started, "training_finished_at": progress.finished}
    return {
        "steps": progress.step,
        "epoch": progress.epoch,
        "max_train_steps": progress.steps,
        "num_epochs": progress.epochs,
        **{name: date for name, date in dates.items() if date is not None},
    }


def _spec(config: TrainConfig, base: Base, progress: Progress) -> dict[str, str]:
    saving, noise = config.saving, config.noise
    sides = config.datasets[0].resolution if config.datasets else None
    is_cut = (noise.min_timestep, noise.max_timestep) != (0, 1000)
    date = progress.finished if progress.finished is not None else progress.started
    entries = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{_architecture(base)}/lora",
        "implementation": SGM if base.family == "sdxl" else "diffusers",
        "title": saving.title or saving.output_name,
        "resolution": sides and f"{sides[0]}x{sides[1]}",
        "prediction_type": "v" if base.predicts == "v" else "epsilon",
        "date": date and datetime.fromtimestamp(int(date), UTC).replace(tzinfo=None).isoformat(),
        "author": saving.author,
        "description": saving.description,
        "license": saving.license,
        "tags": saving.tags,
        "timestep_range": f"{noise.min_timestep},{noise.max_timestep}" if is_cut else None,
        "encoder_layer": None if base.family == "sdxl" else str(config.model.clip_skip),
    }
    return {f"modelspec.{name}": str(value) for name, value in entries.items() if value}


def _architecture(base: Base) -> str:
    """Model spec tells SD 2.x's two models apart."""
    if base.family == "sd2":
        return "stable-diffusion-v2-768-v" if base.predicts == "v" else "stable-diffusion-v2-512"
    return ARCHITECTURES[base.family]
