from __future__ import annotations

import dataclasses
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from train.kohya.settings import BASE, Desk

from graphexec.train.config import Buckets, CaptionRules, TrainConfig
from graphexec.train.documents import format_of
from graphexec.train.kohya import ConfigError, keys, read_file
from graphexec.train.kohya.network import ARGUMENTS


def paths_of(config: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all fields of a configuration, tuples of dataclasses looked into."""
    for field in dataclasses.fields(config):
        value: Any = getattr(config, field.name)
        each: Any = value[0] if field.name in ("datasets", "subsets") else value
        yield prefix + field.name
        if dataclasses.is_dataclass(each):
            yield from paths_of(each, prefix + field.name + ".")


def test_every_key_fills_a_field_that_there_is(desk: Desk) -> None:
    there = set(paths_of(desk.config("enable_bucket = true")))
    filled = {key.fills for key in {**keys.FOLLOWED, **keys.OURS, **keys.DATASET_ONLY, **ARGUMENTS.followed}.values()}
    assert filled - there == set()


def test_tables_do_not_overlap() -> None:
    tables = [keys.FOLLOWED, keys.OURS, keys.HARMLESS, keys.REFUSED]
    assert sum(map(len, tables)) == len({name for table in tables for name in table})


OTHER: dict[str, Any] = {
    "v2": None,
    "pretrained_model_name_or_path": None,
    "dataset_config": None,
    "train_data_dir": None,
    "reg_data_dir": None,
    "in_json": None,
    "dataset_repeats": None,
    "save_model_as": None,
    "masked_loss": None,
    "caption_extention": ".tags",
    "caption_extension": ".tags",
    "network_module": "networks.loha",
    "network_args": ["conv_dim=4"],
    "optimizer_type": "Lion",
    "optimizer_args": ["weight_decay=0.5"],
    "lr_scheduler": "cosine",
    "lr_scheduler_args": ["power=3"],
    "sample_workflow": "style.toml",
    "vae": "style.toml",
    "network_weights": "style.toml",
    "sample_prompts": "style.toml",
    "resume": "style.toml",
    "resolution": "256",
    "min_bucket_reso": 64,
    "max_bucket_reso": 768,
    "clip_skip": 2,
    "skip_image_resolution": 64,
    "device": "cuda:1",
    "text_encoder_lr": 5e-5,
    "max_token_length": 150,
    "loss_type": "huber",
    "huber_schedule": "constant",
    "sample_sampler": "euler_a",
    "mixed_precision": "bf16",
    "save_precision": "bf16",
    "multires_noise_discount": 0.7,
    "huber_c": 0.3,
    "max_timestep": 500,
    "dim_from_weights": None,
    "save_state": False,
}
"""Values that are no defaults; None for keys that other tests look at."""
NEEDED = {
    "network_train_unet_only": "",
    "adaptive_noise_scale": "noise_offset = 0.1",
    "scale_v_pred_loss_like_noise_pred": "v_parameterization = true",
    "cache_text_encoder_outputs": "network_train_unet_only = true",
    "cache_text_encoder_outputs_to_disk": "network_train_unet_only = true",
    "save_last_n_epochs": "save_every_n_epochs = 1",
    "save_last_n_steps": "save_every_n_steps = 100",
    "save_n_epoch_ratio": "max_train_epochs = 10",
    "validate_every_n_steps": "validation_split = 0.5",
    "validate_every_n_epochs": "validation_split = 0.5",
    "sample_at_first": 'sample_prompts = "prompts.txt"',
    "sample_every_n_steps": 'sample_prompts = "prompts.txt"',
    "sample_every_n_epochs": 'sample_prompts = "prompts.txt"',
    "min_bucket_reso": "enable_bucket = true",
    "max_bucket_reso": "enable_bucket = true",
    "bucket_reso_steps": "enable_bucket = true",
    "bucket_no_upscale": "enable_bucket = true",
    "log_with": 'logging_dir = "logs"',
    "lr_scheduler_args": 'lr_scheduler = "polynomial"',
}
BY_KIND: dict[str, Any] = {"flag": True, "int": 8, "number": 0.25, "steps": 0.25, "text": "other", "path": "elsewhere"}
TRIED = [name for name in {**keys.FOLLOWED, **keys.OURS} if OTHER.get(name, "") is not None and name != "log_with"]


@pytest.mark.parametrize("name", TRIED)
def test_no_key_that_is_followed_goes_unheard(desk: Desk, name: str) -> None:
    Path("prompts.txt").write_text("a cat", encoding="utf-8")
    key = {**keys.FOLLOWED, **keys.OURS}[name]
    value = OTHER.get(name, BY_KIND.get(key.kind, "other"))
    needed = NEEDED.get(name, "")
    lines = [line for line in BASE.splitlines() if not line.startswith(name + " ")]
    before = desk.reading(needed, "\n".join(lines) + ('\noutput_dir = "x"' if name == "output_dir" else "")).config
    after = desk.reading(f"{needed}\n{name} = {json.dumps(value)}", "\n".join(lines)).config
    assert after != before


def test_flat_settings_and_settings_in_sections_are_the_same(desk: Desk) -> None:
    sections = "[model]\n" + BASE.replace("train_data_dir", "[data]\ntrain_data_dir")
    assert desk.reading("", sections).config == desk.config()


def test_a_setting_in_two_sections_is_a_fault(desk: Desk) -> None:
    (fault,) = desk.errors("[one]\nseed = 1\n[two]\nseed = 2")
    assert (fault.code, fault.key) == ("contradiction", "seed")


def test_numbers_are_taken_as_they_are_and_those_without_end_refused(desk: Desk) -> None:
    for seed in ("9007199254740993", '"9007199254740993"'):  # 2 ** 53 + 1
        assert desk.config(f"seed = {seed}").loop.seed == 9007199254740993
    found = desk.errors(f"seed = {'9' * 400}\nlearning_rate = {'9' * 400}")
    assert {(fault.code, fault.key) for fault in found} == {("wrong_value", "seed"), ("wrong_value", "learning_rate")}


def test_json_is_read_like_toml(desk: Desk) -> None:
    settings = {
        "pretrained_model_name_or_path": "base.safetensors", "output_dir": "out", "train_data_dir": "train",
        "max_train_steps": 10, "network_alpha": 4, "learning_rate": "1e-4", "vae": "", "seed": None,
    }  # fmt: skip
    Path("style.json").write_text(json.dumps(settings), encoding="utf-8")
    assert read_file(Path("style.json")).config == desk.config()


def test_what_a_run_is_without_further_settings_is_as_in_sd_scripts(desk: Desk) -> None:
    text = 'pretrained_model_name_or_path = "base.safetensors"\noutput_dir = "out"\ntrain_data_dir = "train"'
    reading = desk.reading("", text)
    config = reading.config
    assert (config.network.rank, config.network.alpha, config.network.kind) == (4, 1.0, "lora")
    assert (config.loop.max_steps, config.loop.max_epochs, config.optimiser.learning_rate) == (1600, None, 2e-6)
    assert (config.saving.precision, config.loop.precision) == ("fp32", "fp32")
    found = {fault.code for fault in reading.faults}
    assert found == {"default_alpha", "default_resolution", "default_steps", "learning_rate"}


def test_all_faults_come_at_once(desk: Desk) -> None:
    found = desk.errors('lr_schedule = "cosine"\nnetwork_dim = "many"\nfp8_base = true\nseed = 1.5')
    assert {(fault.code, fault.key, fault.source) for fault in found} == {
        ("unknown_key", "lr_schedule", "style.toml"),
        ("wrong_value", "network_dim", "style.toml"),
        ("refused_key", "fp8_base", "style.toml"),
        ("wrong_value", "seed", "style.toml"),
    }
    by_key = {fault.key: fault for fault in found}
    assert by_key["lr_schedule"].hint == "did you mean lr_scheduler?"
    assert "many" in by_key["network_dim"].message
    assert by_key["fp8_base"].hint


def test_refused_and_harmless_options_may_be_off(desk: Desk) -> None:
    reading = desk.reading('fp8_base = false\nhuggingface_repo_id = ""\nxformers = false\nlr_decay_steps = 0')
    assert reading.faults == ()


def test_a_network_is_trained_at_its_full_strength(desk: Desk) -> None:
    for value in ("1", "1.0", '"1.0"', '""'):
        assert desk.reading(f"network_multiplier = {value}").faults == ()
    for value in ("0", "0.5", "false"):
        (fault,) = desk.errors(f"network_multiplier = {value}")
        assert (fault.code, fault.key, fault.hint) == ("refused_key", "network_multiplier", "leave it out")


def test_harmless_options_are_noted(desk: Desk) -> None:
    reading = desk.reading("xformers = true\nmax_data_loader_n_workers = 2")
    assert [(fault.severity, fault.key) for fault in reading.faults] == [
        ("note", "xformers"),
        ("note", "max_data_loader_n_workers"),
    ]


def test_overrides_count_more_and_are_named_in_faults(desk: Desk) -> None:
    assert desk.reading(overrides={"network_dim": "8"}).config.network.rank == 8
    with pytest.raises(ConfigError) as caught:
        desk.reading(overrides={"network_dim": "much"})
    assert caught.value.faults[0].source == "--set"


@pytest.mark.parametrize(
    ("text", "code"),
    [("a = ", "not_toml"), ("[[datasets]]\nresolution = 512", "dataset_toml")],
)
def test_what_is_no_file_of_settings(desk: Desk, text: str, code: str) -> None:
    assert code in {fault.code for fault in desk.errors("", text)}


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.toml", 'output_name = "Bär"'.encode("latin-1"), "not_toml"),
        ("a.json", b"[" * 100_000, "not_json"),
        ("a.toml", b"a = " + b"[" * 100_000, "not_toml"),
    ],
)
def test_a_file_that_is_there_but_cannot_be_read_is_not_missing(
    desk: Desk, name: str, content: bytes, code: str
) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_file(Path(name))
    assert [fault.code for fault in caught.value.faults if fault.source == name and not fault.key] == [code]
    assert not any(fault.missing_file for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.toml", gzip.compress(b"seed = 1"), "compressed by gzip: unpack it first"),
        ("a.json", b"PK\x03\x04", "a ZIP archive: unpack it first"),
        ("a.toml", b"version https://git-lfs.github.com/spec/v1\nsize 12", "a pointer of Git LFS to the file"),
        ("a.toml", b"<!doctype html>", "a web page"),
        ("a.toml", "seed = 1".encode("utf-16"), "text in UTF-16: save the file as UTF-8"),
        ("a.toml", "seed = 1".encode("utf-16-le"), "zeros"),
        ("a.safetensors", b"\x08\0\0\0\0\0\0\0{}      ", "zeros"),
        ("a.toml", 'output_name = "Bär"'.encode("latin-1"), "save the file as UTF-8"),
        ("a.toml", b'{"seed": 1}', "it is JSON, so let its name end in .json"),
        ("a.json", b"seed = 1", "it is TOML, so let its name end in .toml"),
        ("a.json", b'{"seed": 1, "seed": 2}', "seed is set twice"),
        ("a.json", b"", "Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_what_a_file_is_instead_is_told_with_what_to_do(desk: Desk, name: str, content: bytes, said: str) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_file(Path(name))
    (fault,) = caught.value.faults
    assert said in fault.message and fault.code == f"not_{format_of(Path(name)).lower()}"


def test_lines_may_end_as_they_did_on_every_machine(desk: Desk) -> None:
    for end in ("\n", "\r\n", "\r"):
        Path("ends.toml").write_bytes(BASE.replace("\n", end).encode())
        assert read_file(Path("ends.toml")).config.network.alpha == 4


@pytest.mark.parametrize("path", ["C:\\models\\base.safetensors", "C:\\Users\\me", "D:\\train\\base.safetensors"])
def test_a_backslash_in_double_quotes_is_told_of(desk: Desk, path: str) -> None:
    (fault,) = (fault for fault in desk.errors(f'vae = "{path}"') if "backslash" in str(fault))
    assert "put the path between single quotes" in str(fault)


def test_a_file_that_is_not_there(desk: Desk) -> None:
    with pytest.raises(ConfigError) as caught:
        read_file(Path("nothing.toml"))
    assert caught.value.faults[0].missing_file


def test_reading_imports_no_torch(desk: Desk) -> None:
    code = (
        "import sys, pathlib; from graphexec.train.kohya import read_file; read_file(pathlib.Path('style.toml'));"
        "print('torch' in sys.modules)"
    )
    desk.config()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_pictures_every_0_steps_are_none(desk: Desk) -> None:
    samples = desk.config("sample_every_n_steps = 0\nsample_every_n_epochs = 0").samples
    assert not samples.every_n_steps
    assert not samples.every_n_epochs


def test_saving(desk: Desk) -> None:
    assert desk.config("max_train_epochs = 10\nsave_n_epoch_ratio = 4").saving.every_n_epochs == 2
    both = "max_train_epochs = 10\nsave_every_n_epochs = 3\nsave_n_epoch_ratio = "
    assert [desk.config(f"{both}{ratio}").saving.every_n_epochs for ratio in (5, 0)] == [2, 3]
    assert desk.config('save_precision = "fp16"').saving.precision == "fp16"


BY_BOTH = "save_every_n_epochs = 1\nsave_every_n_steps = 100\n"


@pytest.mark.parametrize(("text", "epochs", "steps"), [
    (BY_BOTH, None, None),
    (BY_BOTH + "save_last_n_epochs = 2", 2, None),
    (BY_BOTH + "save_last_n_steps = 250", None, 3),
    (BY_BOTH + "save_last_n_epochs = 2\nsave_last_n_steps = 250", 2, 3),
    (BY_BOTH + "keep_last = 4", 4, 4),
    (BY_BOTH + "keep_last = 4\nsave_last_n_epochs = 2", 2, 4),
    ("max_train_epochs = 10\nsave_n_epoch_ratio = 4\nsave_last_n_epochs = 1", 1, None),
])  # fmt: skip
def test_how_many_checkpoints_stay(desk: Desk, text: str, epochs: int | None, steps: int | None) -> None:
    saving = desk.config(text).saving
    assert (saving.keep_last_epochs, saving.keep_last_steps) == (epochs, steps)


def test_datasets_of_folders(desk: Desk) -> None:
    (dataset,) = desk.config('resolution = "256,320"\ntrain_batch_size = 2\nshuffle_caption = true').datasets
    (subset,) = dataset.subsets
    assert (dataset.resolution, dataset.batch_size, dataset.buckets) == ((256, 320), 2, None)
    assert (subset.image_dir, subset.repeats, subset.class_tokens) == (Path("train/3_sks cat"), 3, "sks cat")
    assert subset.captions == CaptionRules(extension=".txt", shuffle=True)


def test_buckets(desk: Desk) -> None:
    text = "enable_bucket = true\nmax_bucket_reso = 768\nbucket_no_upscale = true"
    assert desk.config(text).datasets[0].buckets == Buckets(max_size=768, no_upscale=True)


def test_a_configuration_is_a_value(desk: Desk) -> None:
    assert isinstance(desk.config(), TrainConfig)
    assert desk.config() == desk.config()


GUI = """
bucket_no_upscale = true
bucket_reso_steps = 64
cache_latents = true
caption_extension = ".txt"
clip_skip = 1
dynamo_backend = "no"
enable_bucket = true
epoch = 2
gradient_accumulation_steps = 1
huber_c = 0.1
huber_schedule = "snr"
learning_rate = 0.0001
loss_type = "l2"
lowvram = true
lr_scheduler = "cosine"
lr_scheduler_args = []
lr_scheduler_num_cycles = 2
lr_scheduler_power = 1
lr_warmup_steps = 1
max_bucket_reso = 2048
max_data_loader_n_workers = 0
max_grad_norm = 1
max_timestep = 1000
max_token_length = 75
max_train_steps = 12
min_bucket_reso = 256
mixed_precision = "fp16"
network_alpha = 8
network_args = [ "preset=full", "conv_dim=4", "conv_alpha=4", "rank_dropout=0", "module_dropout=0", \
"use_tucker=False", "use_scalar=False", "rank_dropout_scale=False", "algo=locon", "dora_wd=False", \
"bypass_mode=False", "train_norm=False",]
network_dim = 8
network_module = "lycoris.kohya"
noise_offset_type = "Original"
optimizer_args = []
optimizer_type = "AdamW8bit"
output_dir = "out"
output_name = "last"
pretrained_model_name_or_path = "base.safetensors"
prior_loss_weight = 1
resolution = "512,512"
sample_sampler = "euler_a"
save_every_n_epochs = 1
save_model_as = "safetensors"
save_precision = "fp16"
stop_text_encoder_training = 0
text_encoder_lr = 0.0001
train_batch_size = 1
train_data_dir = "train"
unet_lr = 0.0001
wandb_run_name = "last"
xformers = true
"""
"""A file as kohya_ss' GUI writes it."""


def test_the_file_of_a_gui_is_followed(desk: Desk) -> None:
    reading = desk.reading("", GUI)
    noted = {fault.key for fault in reading.faults if fault.severity == "note"}
    assert {"epoch", "noise_offset_type", "lowvram"} <= noted
    assert not [fault for fault in reading.faults if fault.severity != "note"]
    assert (reading.config.loop.max_steps, reading.config.network.conv_rank) == (12, 4)


def test_settings_of_a_gui_that_sd_scripts_passes_over(desk: Desk) -> None:
    assert desk.config("loraplus_lr_ratio = 16").optimiser.loraplus_unet == 16
    assert desk.config('loraplus_lr_ratio = 8\nnetwork_args = ["loraplus_lr_ratio=16"]').optimiser.loraplus_text == 16
    (fault,) = desk.errors("stop_text_encoder_training = 50")
    assert (fault.code, fault.key) == ("refused_key", "stop_text_encoder_training")
    (fault,) = desk.errors('network_args = ["rank_dropout_scale=True"]')
    assert (fault.code, fault.key) == ("refused_key", "network_args.rank_dropout_scale")
