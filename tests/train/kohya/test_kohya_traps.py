# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from train.kohya.settings import BASE, Desk

from graphexec.train.kohya import ConfigError

UNET_ONLY = "network_train_unet_only = true\n"


def errors(desk: Desk, text: str) -> set[tuple[str, str]]:
    return {(fault.code, fault.key) for fault in desk.errors(text)}


def warnings(desk: Desk, text: str, base: str = BASE) -> set[tuple[str, str]]:
    return {(fault.code, fault.key) for fault in desk.warnings(text, base)}


def test_a_good_configuration_has_no_warnings(desk: Desk) -> None:
    assert warnings(desk, "") == set()


def test_alpha_that_was_left_out(desk: Desk) -> None:
    (fault,) = desk.warnings("network_dim = 32", BASE.replace("network_alpha = 4", ""))
    assert fault.code == "default_alpha"
    assert "1/32" in fault.message
    assert warnings(desk, "network_dim = 1", BASE.replace("network_alpha = 4", "")) == set()


def test_length_and_learning_rate_that_were_left_out(desk: Desk) -> None:
    assert warnings(desk, "", BASE.replace("max_train_steps = 10", "")) == {("default_steps", "max_train_epochs")}
    assert warnings(desk, "", BASE.replace("learning_rate = 1e-4", "")) == {("learning_rate", "learning_rate")}


def test_epochs_count_more_than_steps(desk: Desk) -> None:
    reading = desk.reading("max_train_epochs = 3")
    assert [(fault.severity, fault.key) for fault in reading.faults] == [("note", "max_train_steps")]
    assert (reading.config.loop.max_epochs, reading.config.loop.max_steps) == (3, None)
    assert desk.reading("max_train_epochs = 3\nmax_train_steps = 0").faults == ()
    assert errors(desk, "max_train_steps = 0") == {("wrong_value", "max_train_steps")}


@pytest.mark.parametrize(
    "text",
    [
        "network_alpha = -1",
        "max_train_steps = -1",
        "learning_rate = -1",
        'resolution = "wide"',
        "output_dir = 5",
        "train_data_dir = 5",
        "sample_prompts = 5\nsample_every_n_steps = 1",
        "validation_split = 2\nvalidate_every_n_steps = 1",
        "network_dim = 0\nnetwork_alpha = ''",
        'lr_scheduler = "cosin"\nlr_warmup_steps = 5',
    ],
)
def test_what_has_a_wrong_value_is_the_only_fault(desk: Desk, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        desk.reading(text)
    (fault,) = caught.value.faults
    assert (fault.code, fault.key) == ("wrong_value", text.partition(" ")[0])


def test_a_resolution_that_was_left_out(desk: Desk) -> None:
    assert warnings(desk, "", BASE.replace("resolution = 512", "")) == {("default_resolution", "resolution")}
    write = Path("data.toml").write_text
    write('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "train/3_sks cat"', encoding="utf-8")
    base = BASE.replace('train_data_dir = "train"', 'dataset_config = "data.toml"')
    assert warnings(desk, "", base) == set()
    (fault,) = desk.warnings("", base.replace("resolution = 512", ""))
    assert (fault.code, fault.source, fault.key) == ("default_resolution", "data.toml", "datasets[0].resolution")


def test_prodigy_wants_a_learning_rate_of_1(desk: Desk) -> None:
    text = 'optimizer_type = "Prodigy"\nunet_lr = 1\ntext_encoder_lr = [0.5]'
    assert warnings(desk, text) == {("learning_rate", "learning_rate"), ("learning_rate", "text_encoder_lr")}


@pytest.mark.parametrize("option", ["shuffle_caption = true", "caption_dropout_rate = 0.1", "enable_wildcard = true"])
def test_captions_that_change_are_not_encoded_once(desk: Desk, option: str) -> None:
    found = errors(desk, f"{UNET_ONLY}cache_text_encoder_outputs = true\n{option}")
    assert found == {("contradiction", "cache_text_encoder_outputs")}


def test_a_text_encoder_that_is_trained_is_not_kept(desk: Desk) -> None:
    assert errors(desk, "cache_text_encoder_outputs = true") == {("contradiction", "cache_text_encoder_outputs")}
    assert warnings(desk, f"{UNET_ONLY}cache_text_encoder_outputs = true") == set()


@pytest.mark.parametrize("key", ["color_aug", "random_crop"])
def test_pictures_that_change_are_not_encoded_once(desk: Desk, key: str) -> None:
    assert errors(desk, f"cache_latents = true\n{key} = true") == {("contradiction", key)}
    assert warnings(desk, "cache_latents = true\nflip_aug = true") == set()


def test_tensorboard_needs_a_folder(desk: Desk) -> None:
    (fault,) = desk.errors('log_with = "tensorboard"')
    assert (fault.code, fault.key, fault.hint) == ("missing_key", "log_with", "set logging_dir")
    assert warnings(desk, 'log_with = "tensorboard"\nlogging_dir = "logs"') == set()


@pytest.mark.parametrize("loss", ["huber", "smooth_l1"])
def test_an_exponential_schedule_does_not_fall_to_nothing(desk: Desk, loss: str) -> None:
    text = f'loss_type = "{loss}"\nhuber_c = 0\nhuber_schedule = '
    assert errors(desk, f'{text}"exponential"') == {("wrong_value", "huber_c")}
    assert warnings(desk, f'{text}"snr"') == set()


@pytest.mark.parametrize("schedule", ["constant", "exponential"])
def test_a_huber_loss_that_is_always_0_is_refused(desk: Desk, schedule: str) -> None:
    text = f'huber_schedule = "{schedule}"\nloss_type = '
    (fault,) = desk.errors(f'{text}"huber"\nhuber_scale = 0')
    assert (fault.code, fault.key) == ("wrong_value", "huber_scale")
    assert "nothing is learned" in fault.message
    assert warnings(desk, f'{text}"smooth_l1"\nhuber_scale = 0') == set()
    assert errors(desk, f'{text}"huber"\nhuber_c = 0') == {("wrong_value", "huber_c")}
    assert warnings(desk, 'loss_type = "huber"\nhuber_schedule = "snr"\nhuber_c = 0\nhuber_scale = 0') == set()


def test_a_run_that_could_not_go_on(desk: Desk) -> None:
    assert warnings(desk, "save_state = false") == {("no_state", "save_state")}
    assert warnings(desk, "save_state = false\nsave_state_on_train_end = true") == set()


def test_an_average_of_what_averages_itself(desk: Desk) -> None:
    free = 'ema_decay = 0.99\noptimizer_type = "schedulefree.radamschedulefree"'
    assert errors(desk, free) == {("contradiction", "ema_decay")}
    assert warnings(desk, "ema_decay = 0.99") == set()


def test_prediction(desk: Desk) -> None:
    assert warnings(desk, "v_parameterization = true") == {("prediction", "v_parameterization")}
    assert warnings(desk, "zero_terminal_snr = true") == {("contradiction", "zero_terminal_snr")}
    assert errors(desk, "scale_v_pred_loss_like_noise_pred = true") == {
        ("contradiction", "scale_v_pred_loss_like_noise_pred")
    }
    assert ("contradiction", "v_pred_like_loss") in errors(desk, "v_parameterization = true\nv_pred_like_loss = 0.1")


def test_an_sdxl_base_under_settings_of_sd(desk: Desk) -> None:
    desk.base("sdxl", "xl.safetensors")
    xl = BASE.replace("base.safetensors", "xl.safetensors")
    (fault,) = desk.errors("v2 = true", xl)
    assert (fault.code, fault.hint) == ("wrong_base", "leave out v2, and use sdxl_train_network.py")
    assert warnings(desk, "resolution = 512", xl) == {("resolution", "resolution")}
    assert warnings(desk, "resolution = 1024\nclip_skip = 2", xl) == {("contradiction", "clip_skip")}
    assert desk.reading("resolution = 1024\ntext_encoder_lr = [1e-5, 2e-5]", xl).config.model.family == "sdxl"


def test_an_sd_base_under_settings_of_another(desk: Desk) -> None:
    (fault,) = desk.errors("v2 = true")
    assert "Stable Diffusion 1" in fault.message


@pytest.mark.parametrize(
    "key",
    [
        "vae", "network_weights", "sample_prompts", "sample_workflow", "resume", "train_data_dir", "reg_data_dir",
        "in_json",
    ],
)  # fmt: skip
def test_files_that_are_not_there(desk: Desk, key: str) -> None:
    (fault,) = desk.errors(f'{key} = "nowhere.safetensors"')
    assert (fault.key, fault.missing_file) == (key, True)


@pytest.mark.parametrize("key", ["output_dir", "logging_dir"])
def test_folders_that_are_files(desk: Desk, key: str) -> None:
    for place in ("base.safetensors", "base.safetensors/deeper"):
        (fault,) = desk.errors(f'{key} = "{place}"')
        assert (fault.code, fault.key, fault.message) == (
            "wrong_value",
            key,
            "base.safetensors is a file, and no folder",
        )


def test_bases_that_are_none(desk: Desk) -> None:
    for name, code, hint in (
        ("runwayml/stable-diffusion-v1-5", "missing_file", "nothing is downloaded: name a file on this machine"),
        ("train", "wrong_base", "use the single file of the checkpoint (.safetensors)"),
        ("train/3_sks cat/0.png", "wrong_base", None),
    ):
        (fault,) = desk.errors("", BASE.replace("base.safetensors", name))
        assert (fault.code, fault.hint) == (code, hint)


def test_bases_that_lack_a_part(desk: Desk) -> None:
    whole = load_file(desk.folder / "base.safetensors")
    for start, says in (("cond_stage_model.", "no text encoder"), ("first_stage_model.", "no VAE")):
        part = {name: weight for name, weight in whole.items() if not name.startswith(start)}
        save_file(part, desk.folder / "part.safetensors")
        (fault,) = desk.errors("", BASE.replace("base.safetensors", "part.safetensors"))
        assert (fault.code, says in fault.message) == ("wrong_base", True)
    assert desk.reading('vae = "base.safetensors"', BASE.replace("base.safetensors", "part.safetensors"))


def test_a_base_for_inpainting(desk: Desk) -> None:
    whole = load_file(desk.folder / "base.safetensors")
    name = "model.diffusion_model.input_blocks.0.0.weight"
    whole[name] = torch.zeros(whole[name].shape[0], 9, 3, 3)
    save_file(whole, desk.folder / "nine.safetensors")
    (fault,) = desk.errors("", BASE.replace("base.safetensors", "nine.safetensors"))
    assert "takes 9 channels" in fault.message


def test_a_base_on_other_levels_of_noise(desk: Desk) -> None:
    marks = {f"edm_vpred.sigma_{name}": torch.tensor(value) for name, value in (("min", 0.002), ("max", 120.0))}
    save_file(load_file(desk.folder / "base.safetensors") | marks, desk.folder / "edm.safetensors")
    (fault,) = desk.errors("", BASE.replace("base.safetensors", "edm.safetensors"))
    assert fault.code == "wrong_base"
    assert "predicts v on edm levels of noise, which cannot be trained" in fault.message


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("adaptive_noise_scale = 0.1", "adaptive_noise_scale"),
        ("min_timestep = 500\nmax_timestep = 500", "min_timestep"),
        ("dim_from_weights = true", "dim_from_weights"),
        ("text_encoder_lr = [1e-5, 1e-5]", "text_encoder_lr"),
        ("sample_every_n_steps = 5", "sample_every_n_steps"),
        ("validate_every_n_steps = 5", "validate_every_n_steps"),
        ("save_last_n_steps = 5", "save_last_n_steps"),
        ("save_last_n_epochs = 5\nsave_every_n_steps = 5", "save_last_n_epochs"),
        ("save_n_epoch_ratio = 5", "save_n_epoch_ratio"),
        ("masked_loss = true", "masked_loss"),
    ],
)
def test_settings_that_need_others(desk: Desk, text: str, key: str) -> None:
    assert {found for _, found in errors(desk, text)} == {key}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("output_name", "v1/style"),
        ("output_name", "v1\\style"),
        ("log_prefix", "../v1"),
        ("output_name", ""),
        ("caption_separator", ""),
        ("text_encoder_lr", "-1e-5"),
        ("device", "gpu"),
        ("device", "cuda:"),
    ],
)
def test_names_that_are_none(desk: Desk, key: str, value: str) -> None:
    assert errors(desk, f"{key} = '{value}'") == {("wrong_value", key)}


@pytest.mark.parametrize("key", ["output_name", "log_prefix"])
def test_a_name_with_control_characters(desk: Desk, key: str) -> None:
    assert errors(desk, rf'{key} = "a\u0000b"') == {("wrong_value", key)}


def test_a_dataset_toml_without_a_separator(desk: Desk) -> None:
    text = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "train/3_sks cat"\ncaption_separator = ""'
    Path("data.toml").write_text(text, encoding="utf-8")
    base = BASE.replace('train_data_dir = "train"', 'dataset_config = "data.toml"')
    (fault,) = desk.errors("", base)
    assert (fault.source, fault.key) == ("data.toml", "datasets[0].subsets[0].caption_separator")


def test_a_warm_up_of_a_constant_rate(desk: Desk) -> None:
    assert warnings(desk, "lr_warmup_steps = 5") == {("contradiction", "lr_warmup_steps")}


def test_text_encoders_with_a_rate_of_0_are_not_trained(desk: Desk) -> None:
    assert not desk.config("text_encoder_lr = 0").network.train_text


@pytest.mark.parametrize(
    "text",
    [
        "learning_rate = 0",
        "unet_lr = 0\ntext_encoder_lr = 0",
        "unet_lr = 0\nnetwork_train_unet_only = true",
        "learning_rate = 0\nunet_lr = 1e-4\nnetwork_train_text_encoder_only = true",
    ],
)
def test_learning_rates_that_are_all_0(desk: Desk, text: str) -> None:
    assert errors(desk, text) == {("wrong_value", "learning_rate")}
    assert desk.config("learning_rate = 0\nunet_lr = 1e-4").network.train_unet


def test_what_is_needed(desk: Desk) -> None:
    found = {fault.key for fault in desk.errors("", "seed = 1")}
    assert found == {"pretrained_model_name_or_path", "output_dir", "train_data_dir"}
    assert Path("train").is_dir()


def test_the_result_does_not_take_the_place_of_what_it_is_made_from(desk: Desk) -> None:
    text = BASE.replace('"out"', '"."')
    (fault,) = desk.errors('output_name = "base"', text)
    assert (fault.code, fault.key) == ("overwritten", "pretrained_model_name_or_path")
    desk.base("sd1", "other.safetensors")
    (fault,) = desk.errors('output_name = "other"\nvae = "./other.safetensors"', text)
    assert (fault.code, fault.key) == ("overwritten", "vae")


def test_weights_that_the_result_replaces_are_told(desk: Desk) -> None:
    save_file({"x": torch.zeros(1)}, "style.safetensors")
    text = BASE.replace('"out"', '"."')
    assert warnings(desk, 'output_name = "style"\nnetwork_weights = "style.safetensors"', text) == {
        ("overwritten", "network_weights")
    }


def test_adafactor_chooses_its_own_steps(desk: Desk) -> None:
    text = 'optimizer_type = "Adafactor"\nunet_lr = 1e-4'
    assert warnings(desk, text) == {("learning_rate", "learning_rate"), ("learning_rate", "unet_lr")}
    assert warnings(desk, 'optimizer_type = "Adafactor"', BASE.replace("learning_rate = 1e-4", "")) == set()
    assert warnings(desk, text + '\noptimizer_args = ["relative_step=False"]') == set()


def test_alphas_are_those_of_weights_that_are_gone_on_from(desk: Desk) -> None:
    save_file({"x": torch.zeros(1)}, "earlier.safetensors")
    text = 'network_dim = 8\nnetwork_weights = "earlier.safetensors"\nnetwork_args = ["conv_dim=4"]'
    assert warnings(desk, text, BASE.replace("network_alpha = 4", "")) == set()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resolution = 1000000000", "expected sides of at most 65536 pixels, not 1000000000"),
        ("resolution = 500", "500 x 500 has sides that are no multiples of 8"),
        ("resolution = 512\nenable_bucket = true\nmin_bucket_reso = 1024", "min_bucket_reso 1024 is above"),
        ("clip_skip = 99", "clip_skip 99: it must be from 1 to 2"),
    ],
)
def test_what_no_run_could_follow_is_known_from_the_settings(desk: Desk, text: str, words: str) -> None:
    (fault,) = desk.errors(text)
    assert (fault.code, fault.key) == ("wrong_value", text.partition(" ")[0])
    assert words in fault.message


def test_a_resolution_of_a_dataset_toml_that_no_picture_can_have(desk: Desk) -> None:
    text = '[[datasets]]\nresolution = 500\n[[datasets.subsets]]\nimage_dir = "train/3_sks cat"'
    Path("data.toml").write_text(text, encoding="utf-8")
    (fault,) = desk.errors("", BASE.replace('train_data_dir = "train"', 'dataset_config = "data.toml"'))
    assert (fault.source, fault.key) == ("data.toml", "datasets[0].resolution")


@pytest.mark.parametrize(("prompts", "words"), [(b"\xff", "cannot be read"), (b"", "no prompt"), (b"a --q 1", "--q")])
def test_prompts_that_cannot_be_read(desk: Desk, prompts: bytes, words: str) -> None:
    Path("prompts.txt").write_bytes(prompts)
    (fault,) = desk.errors('sample_prompts = "prompts.txt"\nsample_at_first = true')
    assert (fault.code, fault.key) == ("wrong_value", "sample_prompts")
    assert "prompts.txt" in fault.message and words in fault.message
