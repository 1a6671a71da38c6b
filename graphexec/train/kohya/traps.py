"""Settings that can be followed but hardly mean what was wanted, and such that contradict each other."""

from __future__ import annotations

import re
from pathlib import Path

from graphexec.train.bases import text_layer
from graphexec.train.config import Objective, Optimiser, TrainConfig
from graphexec.train.data.wording import what_varies
from graphexec.train.faults import TrainingError
from graphexec.train.kohya.base import Base
from graphexec.train.kohya.build import DEFAULT_STEPS
from graphexec.train.kohya.settings import Settings
from graphexec.train.kohya.values import CONTROL
from graphexec.train.prompts import read_prompts

__all__ = ["look_for_traps"]

FILES = (
    "vae", "network_weights", "sample_prompts", "sample_workflow", "resume", "train_data_dir", "reg_data_dir", "in_json"
)  # fmt: skip
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
SMALL_FOR_SDXL = 768 * 768
OWN_RATE = ("Prodigy",)
"""Optimisers that find the learning rate themselves and want 1."""


def look_for_traps(settings: Settings, config: TrainConfig, base: Base) -> None:
    """Report, before the first step, what sd-scripts would do in silence or find out late."""
    _missing_files(settings)
    _places(settings, config)
    _overwritten(settings, config)
    _no_state(settings, config)
    _alpha(settings, config)
    _length(settings)
    _rates(settings, config.optimiser)
    _schedule(settings, config)
    _averages(settings, config)
    _what_is_trained(settings, config, base)
    _prediction(settings, config, base)
    _caches(settings, config)
    _noise(settings, config)
    _loss(settings, config.objective)
    _size(settings, config, base)
    _clip_skip(settings, config, base)
    _pictures_on_the_way(settings, config)


def _missing_files(settings: Settings) -> None:
    for key in FILES:
        if (path := settings.get(key)) is not None and not path.exists():
            settings.faults.missing(settings.source(key), key, f"there is no {path}")


def _places(settings: Settings, config: TrainConfig) -> None:
    _names(settings, config)
    device = config.loop.device
    for key, folder in (("output_dir", config.saving.output_dir), ("logging_dir", config.logging.directory)):
        if folder is not None and (file := _file_on_the_way(folder)) is not None:
            settings.error(
                "wrong_value", key, f"{file} is a file, and no folder", "name a folder; it is made if need be"
            )
    if not DEVICE.fullmatch(device):
        settings.error("wrong_value", "device", f"expected auto, cpu, cuda or cuda:N, not {device!r}")


def _names(settings: Settings, config: TrainConfig) -> None:
    """Of files, which lie in folders that other settings name."""
    for key, name, place in (
        ("output_name", config.saving.output_name, "output_dir"),
        ("log_prefix", config.logging.prefix, "logging_dir"),
    ):
        if {"/", "\\"} & set(name):
            message = f"expected a name without a folder, not {name!r}"
            settings.error("wrong_value", key, message, f"name the folder in {place}")
        elif CONTROL.search(name):
            settings.error("wrong_value", key, f"expected a name without control characters, not {name!r}")


def _file_on_the_way(folder: Path) -> Path | None:
    """What keeps a folder from being made."""
    return next((place for place in (folder, *folder.parents) if place.exists() and not place.is_dir()), None)


def _overwritten(settings: Settings, config: TrainConfig) -> None:
    """The result must not take the place of a file that it is made from."""
    if settings.faults.refused("output_name"):
        return
    result = config.saving.lora
    given = {
        "pretrained_model_name_or_path": config.model.path,
        "vae": config.model.vae,
        "network_weights": config.network.weights,
    }
    for key, path in given.items():
        if path is None or path.resolve() != result.resolve():
            continue
        message = f"{path} is also where the LoRA would be written"
        hint = "choose another output_name or output_dir"
        if key == "network_weights":
            settings.warn("overwritten", key, message + ": the weights it goes on from are replaced", hint)
        else:
            settings.error("overwritten", key, message, hint)


def _no_state(settings: Settings, config: TrainConfig) -> None:
    if not (config.saving.state or config.saving.state_at_end):
        message = "is false: of a run that is stopped, nothing is left but the LoRAs that it has saved"
        settings.warn("no_state", "save_state", message, "leave it out, or set save_state_on_train_end")


def _alpha(settings: Settings, config: TrainConfig) -> None:
    rank = config.network.rank
    is_known = not settings.faults.refused("network_dim")
    if is_known and not settings.is_set("network_alpha") and rank > 1 and config.network.weights is None:
        settings.warn(
            "default_alpha",
            "network_alpha",
            f"is not set, so it is 1 as in sd-scripts: what is learned counts alpha / rank = 1/{rank}",
            f"set network_alpha to {rank} (or half of it), or raise the learning rate on purpose",
        )


def _length(settings: Settings) -> None:
    steps, epochs = settings.get("max_train_steps"), settings.get("max_train_epochs")
    if not settings.is_set("max_train_steps") and not settings.is_set("max_train_epochs"):
        message = f"neither it nor max_train_steps is set: {DEFAULT_STEPS} steps, as in sd-scripts"
        settings.warn("default_steps", "max_train_epochs", message, "say how long to train")
    elif steps == 0 and epochs is None:
        settings.error("wrong_value", "max_train_steps", "is 0: nothing is trained", "say how long to train")
    elif steps and epochs:
        message = "of no consequence here: max_train_epochs says how long to train"
        settings.faults.note("no_consequence", settings.source("max_train_steps"), "max_train_steps", message)


def _rates(settings: Settings, optimiser: Optimiser) -> None:
    rates = {
        "learning_rate": optimiser.learning_rate,
        "unet_lr": optimiser.unet_lr,
        "text_encoder_lr": max(optimiser.text_lrs, default=None),
    }
    if optimiser.kind in OWN_RATE:
        for key, rate in rates.items():
            if rate not in (None, 0, 1):
                message = f"is {rate:g}, and {optimiser.kind} finds the learning rate itself"
                settings.warn(
                    "learning_rate", key, message, "set it to 1; d_coef in optimizer_args raises or lowers it"
                )
    elif optimiser.is_relative:
        for key in (name for name in rates if name in settings.values):
            message = "is not used: Adafactor chooses its own steps"
            hint = "add relative_step=False to optimizer_args to set it, or leave it out"
            settings.warn("learning_rate", key, message, hint)
    elif not settings.is_set("learning_rate") and not settings.is_set("unet_lr"):
        message = f"is not set, so it is {optimiser.learning_rate:g} as in sd-scripts: hardly anything is learned"
        settings.warn("learning_rate", "learning_rate", message, "1e-4 is usual for LoRAs")


def _schedule(settings: Settings, config: TrainConfig) -> None:
    is_known = not settings.faults.refused("lr_scheduler")
    if is_known and config.schedule.kind == "constant" and config.schedule.warmup:
        hint = "set lr_scheduler to constant_with_warmup"
        settings.warn("contradiction", "lr_warmup_steps", "a constant learning rate has no warm-up", hint)


def _averages(settings: Settings, config: TrainConfig) -> None:
    if config.loop.ema_decay is not None and config.optimiser.kind.endswith("ScheduleFree"):
        message = (
            f"{config.optimiser.kind} averages the weights itself, and this average would take the place of its own"
        )
        settings.error("contradiction", "ema_decay", message, "leave it out, or choose another optimiser")


def _what_is_trained(settings: Settings, config: TrainConfig, base: Base) -> None:
    network = config.network
    if not network.train_unet and not network.train_text:
        message = "neither the UNet nor a text encoder is trained"
        settings.error("contradiction", "network_train_unet_only", message, "keep one of the two options")
    elif not any(_rates_of_parts(config)) and not config.optimiser.is_relative:
        message = "every learning rate is 0: nothing would be trained"
        settings.error("wrong_value", "learning_rate", message, "give one above 0")
    if network.dim_from_weights and not settings.is_set("network_weights"):
        settings.error("contradiction", "dim_from_weights", "there are no weights", "set network_weights")
    encoders = 2 if base.family == "sdxl" else 1
    if len(config.optimiser.text_lrs) > encoders:
        message = f"{len(config.optimiser.text_lrs)} learning rates for {encoders} text encoder" + "s" * (encoders - 1)
        settings.error("wrong_value", "text_encoder_lr", message)


def _rates_of_parts(config: TrainConfig) -> tuple[float, ...]:
    """The learning rates of what is trained."""
    network, optimiser = config.network, config.optimiser
    unet = optimiser.learning_rate if optimiser.unet_lr is None else optimiser.unet_lr
    texts = optimiser.text_lrs or (optimiser.learning_rate,)
    return (unet,) * network.train_unet + texts * network.train_text


def _prediction(settings: Settings, config: TrainConfig, base: Base) -> None:
    told, in_file = config.model.v_prediction, base.layout is not None and base.layout.sampling.prediction == "v"
    if told is not None and base.layout is not None and told != in_file:
        found = "v" if in_file else "noise"
        message = f"is {str(told).lower()}, and the base looks like one that predicts {found}"
        settings.warn("prediction", "v_parameterization", message, "leave it out: the file tells")
    v_prediction = config.model.predicts_v(in_file=in_file)
    if config.noise.zero_terminal_snr and not v_prediction:
        message = "the base predicts noise, of which nothing can be learned where there is only noise"
        settings.warn("contradiction", "zero_terminal_snr", message, "use it with a base that predicts v")
    if config.objective.scale_v_pred_like_noise and not v_prediction:
        message = "is for a base that predicts v"
        settings.error("contradiction", "scale_v_pred_loss_like_noise_pred", message, "leave it out")
    if config.objective.v_pred_like and v_prediction:
        settings.error("contradiction", "v_pred_like_loss", "is for a base that predicts noise", "leave it out")


def _caches(settings: Settings, config: TrainConfig) -> None:
    subsets = [subset for dataset in config.datasets for subset in dataset.subsets]
    if config.loop.cache_text:
        key = "cache_text_encoder_outputs"
        if config.network.train_text:
            message = "the text encoder is trained, so what it says of a caption changes"
            settings.error("contradiction", key, message, "set network_train_unet_only, or leave the cache out")
        if changing := sorted({name for subset in subsets for name in what_varies(subset.captions)}):
            message = f"captions change from step to step ({', '.join(changing)}), and only one of each is kept"
            settings.error("contradiction", key, message, f"leave it out, or {' and '.join(changing)}")
    if config.loop.cache_latents:
        augmented = {
            name
            for subset in subsets
            for name, on in (("color_aug", subset.augment.color), ("random_crop", subset.augment.random_crop))
            if on
        }
        for name in sorted(augmented):
            message = "makes other pictures at each step, and cache_latents keeps one of each"
            settings.error("contradiction", name, message, f"leave out cache_latents or {name}")


def _noise(settings: Settings, config: TrainConfig) -> None:
    if config.noise.adaptive_scale and not config.noise.offset and not settings.faults.refused("noise_offset"):
        settings.error("contradiction", "adaptive_noise_scale", "there is no noise_offset to adapt", "set noise_offset")
    if config.noise.min_timestep >= config.noise.max_timestep:
        settings.error("wrong_value", "min_timestep", "must be below max_timestep")


def _loss(settings: Settings, objective: Objective) -> None:
    if objective.loss not in ("huber", "smooth_l1") or objective.huber_schedule == "snr":
        return
    if objective.huber_schedule == "exponential" and not objective.huber_c:
        message = "is 0, to which an exponential schedule cannot fall"
        settings.error("wrong_value", "huber_c", message, "give a number above 0, such as 0.1")
    elif objective.loss == "huber" and not objective.huber_c * objective.huber_scale:
        key = "huber_scale" if objective.huber_c else "huber_c"
        message = "is 0, and so would the loss be at every step: nothing is learned"
        settings.error("wrong_value", key, message, "give a number above 0, or set loss_type to l1")


def _size(settings: Settings, config: TrainConfig, base: Base) -> None:
    if base.family != "sdxl":
        return
    if any(dataset.resolution[0] * dataset.resolution[1] < SMALL_FOR_SDXL for dataset in config.datasets):
        settings.warn("resolution", "resolution", "is far below what SDXL was trained at", "1024 is usual")
    if settings.get("clip_skip"):
        settings.warn("contradiction", "clip_skip", "SDXL always skips the last layer: it is not used", "leave it out")


def _clip_skip(settings: Settings, config: TrainConfig, base: Base) -> None:
    if base.layout is None or not base.layout.encoders:
        return
    try:
        text_layer(config.model.clip_skip, base.layout)
    except TrainingError as error:
        settings.error("wrong_value", "clip_skip", str(error))


def _pictures_on_the_way(settings: Settings, config: TrainConfig) -> None:
    samples, held_out = config.samples, _held_out(settings, config)
    wanted = samples.every_n_steps or samples.every_n_epochs or samples.at_first
    if wanted and not settings.is_set("sample_prompts") and not settings.is_set("sample_workflow"):
        key = next(name for name in settings.values if name.startswith("sample_"))
        settings.error(
            "missing_key", key, "there is nothing to make pictures of", "set sample_prompts or sample_workflow"
        )
    if wanted and samples.prompts is not None and samples.prompts.exists():
        try:
            read_prompts(samples.prompts, config)
        except TrainingError as error:
            settings.error("wrong_value", "sample_prompts", str(error))
    if (config.validation.every_n_steps or config.validation.every_n_epochs) and not held_out:
        key = next(name for name in settings.values if name.startswith("validate_"))
        settings.error("missing_key", key, "no pictures are held out", "set validation_split")


def _held_out(settings: Settings, config: TrainConfig) -> bool:
    """Whether pictures are held out, or were meant to be."""
    held_out = any(dataset.validation_split for dataset in config.datasets)
    return held_out or settings.faults.refused("validation_split")
