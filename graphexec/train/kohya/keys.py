"""Every option of sd-scripts' `train_network.py` and `sdxl_train_network.py`, and what it does here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphexec.train.kohya.values import Kind

__all__ = ["DATASET_ONLY", "FOLLOWED", "HARMLESS", "MOST_RANK", "NEUTRAL", "OURS", "REFUSED", "Key"]


@dataclass(frozen=True, slots=True)
class Key:
    """An option that is followed: the type of its value and the field of `TrainConfig` that it fills.

    What is `read` by code of its own (because several options make one field) is not filled as it is.
    """

    kind: Kind
    fills: str
    choices: tuple[str, ...] = ()
    read: bool = False
    least: float | None = None
    most: float | None = None


def _read(kind: Kind, fills: str, *choices: str) -> Key:
    return Key(kind, fills, choices, read=True)


def _part(fills: str) -> Key:
    """A part of a whole, 0 to 1."""
    return Key("number", fills, least=0, most=1)


def _count(fills: str, least: int = 1) -> Key:
    return Key("int", fills, least=least)


MOST_RANK = 2**16
"""No layer of any model is as wide, and no alpha is larger."""
SAMPLERS = (
    "ddim", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "dpmsolver++",
    "k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a",
)  # fmt: skip

FOLLOWED: Mapping[str, Key] = {
    # The base model
    "pretrained_model_name_or_path": Key("path", "model.path", read=True),
    "v2": _read("flag", "model.family"),
    "v_parameterization": Key("flag", "model.v_prediction"),
    "vae": Key("path", "model.vae"),
    "clip_skip": _count("model.clip_skip"),
    "max_token_length": Key("int", "model.max_token_length", ("75", "150", "225")),
    "no_half_vae": _read("flag", "model.vae_precision"),
    # The adapters
    "network_module": _read("text", "network.kind"),
    "network_dim": Key("int", "network.rank", least=1, most=MOST_RANK),
    "network_alpha": Key("number", "network.alpha", read=True, least=0, most=MOST_RANK),
    "network_dropout": _part("network.dropout"),
    "network_args": _read("words", "network"),
    "network_weights": Key("path", "network.weights"),
    "dim_from_weights": Key("flag", "network.dim_from_weights"),
    "scale_weight_norms": Key("number", "network.scale_weight_norms", least=0),
    "network_train_unet_only": _read("flag", "network.train_text"),
    "network_train_text_encoder_only": _read("flag", "network.train_unet"),
    # Optimiser and learning rates
    "optimizer_type": _read("text", "optimiser.kind"),
    "use_8bit_adam": _read("flag", "optimiser.kind"),
    "use_lion_optimizer": _read("flag", "optimiser.kind"),
    "optimizer_args": _read("words", "optimiser.arguments"),
    "learning_rate": Key("number", "optimiser.learning_rate", least=0),
    "unet_lr": Key("number", "optimiser.unet_lr", least=0),
    "text_encoder_lr": Key("numbers", "optimiser.text_lrs", least=0),
    "max_grad_norm": Key("number", "optimiser.max_grad_norm", least=0),
    "lr_scheduler": _read("text", "schedule.kind"),
    "lr_scheduler_args": _read("words", "schedule"),
    "lr_warmup_steps": Key("steps", "schedule.warmup", least=0),
    "lr_scheduler_num_cycles": Key("number", "schedule.cycles", least=0),
    "lr_scheduler_power": Key("number", "schedule.power", least=0),
    "lr_scheduler_min_lr_ratio": _part("schedule.min_lr_ratio"),
    # The loop
    "max_train_steps": Key("int", "loop.max_steps", read=True, least=0),
    "max_train_epochs": _count("loop.max_epochs"),
    "seed": Key("int", "loop.seed", least=0),
    "gradient_accumulation_steps": _count("loop.accumulation"),
    "mixed_precision": _read("text", "loop.precision", "no", "fp16", "bf16"),
    "gradient_checkpointing": Key("flag", "loop.gradient_checkpointing"),
    "cache_latents": _read("flag", "loop.cache_latents"),
    "cache_latents_to_disk": Key("flag", "loop.cache_latents_to_disk"),
    "cache_text_encoder_outputs": _read("flag", "loop.cache_text"),
    "cache_text_encoder_outputs_to_disk": Key("flag", "loop.cache_text_to_disk"),
    # Noise
    "noise_offset": Key("number", "noise.offset", least=0),
    "noise_offset_random_strength": Key("flag", "noise.offset_random"),
    "adaptive_noise_scale": Key("number", "noise.adaptive_scale"),
    "multires_noise_iterations": _count("noise.multires_iterations", 0),
    "multires_noise_discount": _part("noise.multires_discount"),
    "ip_noise_gamma": Key("number", "noise.input_perturbation", least=0),
    "zero_terminal_snr": Key("flag", "noise.zero_terminal_snr"),
    "min_timestep": Key("int", "noise.min_timestep", least=0, most=999),
    "max_timestep": Key("int", "noise.max_timestep", least=1, most=1000),
    # The loss
    "loss_type": Key("text", "objective.loss", ("l2", "l1", "huber", "smooth_l1")),
    "huber_c": Key("number", "objective.huber_c", least=0),
    "huber_schedule": Key("text", "objective.huber_schedule", ("snr", "exponential", "constant")),
    "huber_scale": Key("number", "objective.huber_scale", least=0),
    "min_snr_gamma": Key("number", "objective.min_snr_gamma", read=True, least=0),
    "debiased_estimation_loss": Key("flag", "objective.debiased"),
    "scale_v_pred_loss_like_noise_pred": Key("flag", "objective.scale_v_pred_like_noise"),
    "v_pred_like_loss": Key("number", "objective.v_pred_like", read=True, least=0),
    "prior_loss_weight": Key("number", "objective.prior_loss_weight", least=0),
    "masked_loss": _read("flag", "objective.masked"),
    # Files that are written
    "output_dir": Key("path", "saving.output_dir", read=True),
    "output_name": Key("filled", "saving.output_name"),
    "save_model_as": _read("text", "saving", "safetensors"),
    "save_precision": _read("text", "saving.precision", "float", "fp16", "bf16"),
    "save_every_n_epochs": _count("saving.every_n_epochs"),
    "save_every_n_steps": _count("saving.every_n_steps"),
    "save_n_epoch_ratio": Key("int", "saving.every_n_epochs", read=True, least=0),
    "save_last_n_epochs": Key("int", "saving.keep_last_epochs", read=True, least=1),
    "save_last_n_steps": Key("int", "saving.keep_last_steps", read=True, least=1),
    "save_state": Key("flag", "saving.state"),
    "save_state_on_train_end": Key("flag", "saving.state_at_end"),
    "resume": Key("path", "saving.resume"),
    "training_comment": Key("text", "saving.comment"),
    "metadata_title": Key("text", "saving.title"),
    "metadata_author": Key("text", "saving.author"),
    "metadata_description": Key("text", "saving.description"),
    "metadata_license": Key("text", "saving.license"),
    "metadata_tags": Key("text", "saving.tags"),
    "no_metadata": Key("flag", "saving.no_metadata"),
    # Pictures on the way
    "sample_prompts": Key("path", "samples.prompts"),
    "sample_every_n_steps": _count("samples.every_n_steps", 0),
    "sample_every_n_epochs": _count("samples.every_n_epochs", 0),
    "sample_at_first": Key("flag", "samples.at_first"),
    "sample_sampler": Key("text", "samples.sampler", SAMPLERS),
    # Validation and logs
    "validate_every_n_steps": _count("validation.every_n_steps"),
    "validate_every_n_epochs": _count("validation.every_n_epochs"),
    "max_validation_steps": _count("validation.max_steps"),
    "logging_dir": Key("path", "logging.directory"),
    "log_prefix": Key("text", "logging.prefix"),
    "log_with": _read("text", "logging.tensorboard", "tensorboard"),
    # Pictures and captions
    "dataset_config": _read("path", "datasets"),
    "train_data_dir": _read("path", "datasets.subsets.image_dir"),
    "reg_data_dir": _read("path", "datasets.subsets.is_reg"),
    "in_json": _read("path", "datasets.subsets.metadata_file"),
    "dataset_repeats": Key("int", "datasets.subsets.repeats", read=True, least=1),
    "train_batch_size": Key("int", "datasets.batch_size", read=True, least=1),
    "resolution": Key("size", "datasets.resolution"),
    "enable_bucket": _read("flag", "datasets.buckets"),
    "min_bucket_reso": _count("datasets.buckets.min_size"),
    "max_bucket_reso": _count("datasets.buckets.max_size"),
    "bucket_reso_steps": _count("datasets.buckets.step", 8),
    "bucket_no_upscale": Key("flag", "datasets.buckets.no_upscale"),
    "skip_image_resolution": Key("size", "datasets.skip_resolution"),
    "validation_split": _part("datasets.validation_split"),
    "validation_seed": Key("int", "datasets.validation_seed"),
    "caption_extension": _read("text", "datasets.subsets.captions.extension"),
    "caption_extention": _read("text", "datasets.subsets.captions.extension"),
    "caption_separator": Key("filled", "datasets.subsets.captions.separator"),
    "shuffle_caption": Key("flag", "datasets.subsets.captions.shuffle"),
    "keep_tokens": _count("datasets.subsets.captions.keep_tokens", 0),
    "keep_tokens_separator": Key("text", "datasets.subsets.captions.keep_tokens_separator"),
    "secondary_separator": Key("text", "datasets.subsets.captions.secondary_separator"),
    "enable_wildcard": Key("flag", "datasets.subsets.captions.wildcards"),
    "caption_prefix": Key("text", "datasets.subsets.captions.prefix"),
    "caption_suffix": Key("text", "datasets.subsets.captions.suffix"),
    "caption_dropout_rate": _part("datasets.subsets.captions.dropout_rate"),
    "caption_dropout_every_n_epochs": _count("datasets.subsets.captions.dropout_every_n_epochs", 0),
    "caption_tag_dropout_rate": _part("datasets.subsets.captions.tag_dropout_rate"),
    "token_warmup_min": _count("datasets.subsets.captions.token_warmup_min", 0),
    "token_warmup_step": Key("number", "datasets.subsets.captions.token_warmup_step", least=0),
    "color_aug": Key("flag", "datasets.subsets.augment.color"),
    "flip_aug": Key("flag", "datasets.subsets.augment.flip"),
    "random_crop": Key("flag", "datasets.subsets.augment.random_crop"),
    "alpha_mask": Key("flag", "datasets.subsets.alpha_mask"),
}

OURS: Mapping[str, Key] = {
    "sample_workflow": Key("path", "samples.workflow"),
    "ema_decay": _part("loop.ema_decay"),
    "keep_last": Key("int", "saving", read=True, least=1),
    "caption_dir": Key("path", "datasets.subsets.caption_dir"),
    "device": Key("text", "loop.device"),
    # kohya_ss' GUI writes these as settings too, where sd-scripts hears them in network_args alone.
    "loraplus_lr_ratio": Key("number", "optimiser.loraplus_unet", read=True, least=0),
    "loraplus_unet_lr_ratio": Key("number", "optimiser.loraplus_unet", read=True, least=0),
    "loraplus_text_encoder_lr_ratio": Key("number", "optimiser.loraplus_text", read=True, least=0),
}
"""Settings that sd-scripts does not have."""

DATASET_ONLY: Mapping[str, Key] = {
    "batch_size": _count("datasets.batch_size"),
    "num_repeats": _count("datasets.subsets.repeats"),
    "image_dir": Key("path", "datasets.subsets.image_dir"),
    "metadata_file": Key("path", "datasets.subsets.metadata_file"),
    "class_tokens": Key("text", "datasets.subsets.class_tokens"),
    "is_reg": Key("flag", "datasets.subsets.is_reg"),
}
"""Keys of a dataset TOML that are no options of the command line."""

_FASTEST = "attention is always computed by PyTorch's fastest way"
_LOADING = "a batch's pictures are read while the one before is trained on; with cached latents none are"
_ONE_DEVICE = "a run is on one device"
_NO_WANDB = "nothing is sent to Weights & Biases"
_MEMORY = "only changes how much memory is used; use gradient_checkpointing if memory is short"

HARMLESS: Mapping[str, str] = {
    "xformers": _FASTEST,
    "sdpa": _FASTEST,
    "mem_eff_attn": _FASTEST,
    "max_data_loader_n_workers": _LOADING,
    "persistent_data_loader_workers": _LOADING,
    "lowram": "checkpoints are mapped, not copied, into memory",
    "highvram": "the device's memory is managed by itself",
    "lowvram": "the device's memory is managed by itself",
    "epoch": "max_train_epochs or max_train_steps says how long to train, as for sd-scripts",
    "noise_offset_type": "noise_offset and multires_noise_iterations say which noise there is, as for sd-scripts",
    "vae_batch_size": "latents are the same in batches of any size",
    "text_encoder_batch_size": "encoded captions are the same in batches of any size",
    "tokenizer_cache_dir": "the tokenizer comes with the package",
    "torch_compile": "the model is not compiled; the result is the same",
    "dynamo_backend": "the model is not compiled; the result is the same",
    "ddp_timeout": _ONE_DEVICE,
    "ddp_gradient_as_bucket_view": _ONE_DEVICE,
    "ddp_static_graph": _ONE_DEVICE,
    "zero_stage": _ONE_DEVICE,
    "offload_optimizer_device": _MEMORY,
    "offload_optimizer_nvme_path": _MEMORY,
    "offload_param_device": _MEMORY,
    "offload_param_nvme_path": _MEMORY,
    "zero3_init_flag": _ONE_DEVICE,
    "zero3_save_16bit_model": _ONE_DEVICE,
    "fp16_master_weights_and_gradients": _ONE_DEVICE,
    "fused_backward_pass": _MEMORY,
    "blocks_to_swap": _MEMORY,
    "cpu_offload_checkpointing": _MEMORY,
    "unsloth_offload_checkpointing": _MEMORY,
    "disable_mmap_load_safetensors": "only changes how a file is read",
    "console_log_level": "says how messages are shown, not what is trained",
    "console_log_file": "says how messages are shown, not what is trained",
    "console_log_simple": "says how messages are shown, not what is trained",
    "cache_info": "folders are read anew; that takes no time worth saving",
    "skip_cache_check": "caches are found by content, so that a wrong one is never used",
    "save_last_n_epochs_state": "only the newest state is kept",
    "save_last_n_steps_state": "only the newest state is kept",
    "log_config": "the settings are written into the LoRA's metadata, not to the log",
    "log_tracker_name": "the log is named by log_prefix",
    "log_tracker_config": "the log needs no settings",
    "wandb_run_name": _NO_WANDB,
    "wandb_api_key": _NO_WANDB,
    "huggingface_token": "nothing is uploaded or downloaded",
    "huggingface_repo_type": "nothing is uploaded",
    "huggingface_path_in_repo": "nothing is uploaded",
    "huggingface_repo_visibility": "nothing is uploaded",
    "async_upload": "nothing is uploaded",
}
"""Options that change nothing about the file that comes out, and why."""

_UPLOAD = "nothing is uploaded: leave it out, and upload the file that comes out yourself"
_GO_ON = "a run goes on from a state, exactly where it was: use resume (or --resume)"
_HALF = "adapters are always trained in float32, which costs little and does not lose small steps: use mixed_precision"
_QUANTISED = "the base is not quantised to 8 bits: leave it out, and use mixed_precision and gradient_checkpointing"

REFUSED: Mapping[str, str] = {
    "full_fp16": _HALF,
    "full_bf16": _HALF,
    "fp8_base": _QUANTISED,
    "fp8_base_unet": _QUANTISED,
    "deepspeed": "a run is on one device: leave it out",
    "weighted_captions": "weights like (word=1.3) are not read in captions: take them out, and leave this out",
    "face_crop_aug_range": "there is no cropping around faces: crop the pictures beforehand, or use random_crop",
    "conditioning_data_dir": "masks are read from the pictures' alpha channel: put them there, and set alpha_mask",
    "custom_attributes": "there are no settings for single pictures, such as diff_output_preservation: leave it out",
    "ip_noise_gamma_random_strength": "the input perturbation has a fixed strength: leave it out",
    "dataset_class": "foreign code is not loaded: name folders in train_data_dir or a dataset_config",
    "debug_dataset": "no pictures are shown: use --dry-run, which prints what is trained on",
    "resize_interpolation": "how pictures are resized is fixed: leave it out",
    "train_inpainting": "inpainting models are not trained: leave it out",
    "base_weights": "LoRAs are not merged into the base here: merge them beforehand with a workflow (ModelSave)",
    "base_weights_multiplier": "LoRAs are not merged into the base here: merge them beforehand with a workflow",
    "initial_epoch": _GO_ON,
    "initial_step": _GO_ON,
    "skip_until_initial_step": _GO_ON,
    "stop_text_encoder_training": "text encoders are trained to the end or not at all, as in sd-scripts: leave it out",
    "lr_scheduler_type": "learning rate schedules of other packages are not loaded: use lr_scheduler",
    "lr_scheduler_timescale": "inverse_sqrt takes the warm-up as its scale: leave it out and set lr_warmup_steps",
    "lr_decay_steps": "there is no schedule with a decay of its own length: use cosine or linear, which end at zero",
    "network_multiplier": "adapters are trained at their full strength, 1: leave it out",
    "huggingface_repo_id": _UPLOAD,
    "save_state_to_huggingface": _UPLOAD,
    "resume_from_huggingface": "nothing is downloaded: fetch the state yourself, and name its folder in resume",
    "metadata_usage_hint": "is not written: use metadata_description",
    "metadata_thumbnail": "is not written: leave it out",
    "metadata_merged_from": "is not written: leave it out",
    "metadata_trigger_phrase": "is not written: use metadata_description",
    "metadata_preprocessor": "is not written: leave it out",
    "metadata_is_negative_embedding": "is not written: leave it out",
    "output_config": "no configuration is written: leave it out",
    "use_safetensors": "LoRAs are always safetensors: leave it out",
}
"""Options that cannot be followed: why, and what to do."""

NEUTRAL: Mapping[str, tuple[str, ...]] = {"network_multiplier": ("", "1", "1.0")}
"""Of refused options that are not off at false, 0 or nothing, the values that change nothing."""
