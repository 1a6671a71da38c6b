from __future__ import annotations

from pathlib import Path

import pytest
from train.kohya.settings import BASE, Desk

from graphexec.train.kohya import ConfigError

PLACES = "--pretrained_model_name_or_path=base.safetensors --output_dir=out --train_data_dir=train"
LAUNCH = "accelerate launch --num_cpu_threads_per_process=2 --mixed_precision bf16"


def faults(desk: Desk, text: str) -> set[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        desk.command(text)
    return {(fault.code, fault.key) for fault in caught.value.faults if fault.severity == "error"}


def test_a_line_that_starts_the_script(desk: Desk) -> None:
    line = f"""{LAUNCH} "./train_network.py" {PLACES} \\
        --resolution="512,768" --network_dim 8 --network_alpha=8 --xformers --learning_rate=1e-4 \\
        --optimizer_args weight_decay=0.1 betas=0.9,0.99 --max_train_epochs="3" --network_args "conv_dim=4"
    """
    config = desk.command(line).config
    assert (config.network.rank, config.network.alpha, config.network.conv_rank) == (8, 8, 4)
    assert (config.loop.max_epochs, config.loop.precision) == (3, "fp32")  # the launcher's options are its own
    assert config.datasets[0].resolution == (512, 768)
    assert config.optimiser.arguments == {"weight_decay": 0.1, "betas": (0.9, 0.99)}
    assert config.model.family == "sd15"


def test_options_alone(desk: Desk) -> None:
    assert desk.command(f"{PLACES} --network_dim=8").config.network.rank == 8
    assert desk.command(f"{PLACES} --text_encoder_lr 1e-5").config.optimiser.text_lrs == (1e-5,)


def test_the_script_says_which_family_the_base_is(desk: Desk) -> None:
    found = faults(desk, f"python sdxl_train_network.py {PLACES}")
    assert ("wrong_base", "pretrained_model_name_or_path") in found


def test_other_scripts(desk: Desk) -> None:
    assert ("refused_script", "flux_train_network.py") in faults(desk, f"python flux_train_network.py {PLACES}")


def test_a_configuration_file_named_on_the_line(desk: Desk) -> None:
    Path("named.toml").write_text(BASE, encoding="utf-8")
    config = desk.command("train_network.py --config_file=named --network_dim=2").config
    assert (config.network.rank, config.network.alpha) == (2, 4)


@pytest.mark.parametrize("end", ["\\\n", "\\\r\n", "^\n", "^\r\n", "`\n", "`\r\n"])
def test_lines_go_on_as_in_every_shell(desk: Desk, end: str) -> None:
    line = f"accelerate launch .\\train_network.py {PLACES} {end}  --network_dim=8 {end}  --seed 3"
    config = desk.command(line).config
    assert (config.network.rank, config.loop.seed, config.model.family) == (8, 3, "sd15")


def test_backslashes_of_paths_and_of_quotes(desk: Desk) -> None:
    line = rf"C:\kohya\sd-scripts\train_network.py {PLACES} --logging_dir=logs\new"
    quoted = r"""--metadata_title="a \"new\" \style" --metadata_author 'C:\me' --metadata_license my\ own"""
    config = desk.command(f"{line} {quoted}").config
    assert config.logging.directory == Path(r"logs\new")
    assert (config.saving.title, config.saving.author, config.saving.license) == (
        r'a "new" \style',
        r"C:\me",
        "my own",
    )


def test_words_that_belong_to_nothing(desk: Desk) -> None:
    assert faults(desk, f"train_network.py my {PLACES}") == {("stray_word", "my")}
    assert faults(desk, f"train_network.py {PLACES} --training_comment=a b") == {("stray_word", "b")}
    assert ("not_a_command", "") in faults(desk, 'train_network.py "open')
