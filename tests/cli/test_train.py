"""`graphexec train`: plans, faults, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from train.kohya.settings import BASE, make_desk

from cli.shell import Shell, loaded_by


@pytest.fixture
def desk(shell: Shell) -> Shell:
    """A folder with a tiny base, two pictures and settings."""
    make_desk(shell.folder)
    write("")
    return shell


def write(text: str) -> None:
    Path("style.toml").write_text(BASE + 'mixed_precision = "no"\nresolution = 64\n' + text, encoding="utf-8")


def test_a_plan_as_text(desk: Shell) -> None:
    done = desk.run("train", "style.toml", "--dry-run")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[:4] == [
        "base: base.safetensors (sd1, predicts eps)",
        "pictures: 2, used 6 times an epoch",
        "buckets: 64 x 64: 6",
        "captions, in the first epoch:",
    ]
    assert "  0.png: a cat, number 0" in lines
    assert "batches: 6 an epoch, of up to 1" in lines
    assert "training: 2 epochs, 10 steps" in lines
    assert [line.partition(":")[0] for line in lines[-4:]] == ["adapters", "memory", "time", "result"]
    assert not Path("out").exists()


def test_a_plan_as_json(desk: Shell) -> None:
    document = desk.json("train", "style.toml", "--dry-run", "--json", "--set", "xformers=true")
    plan = document["plan"]
    assert (plan["steps"], plan["epochs"], plan["batches_per_epoch"]) == (10, 2, 6)
    assert plan["buckets"] == [{"width": 64, "height": 64, "pictures": 6}]
    assert plan["cost"]["file_bytes"] == 4 * plan["cost"]["parameters"] > 0
    assert [finding["code"] for finding in document["findings"]] == ["no_consequence"]


def test_faults_come_at_once_and_say_where(desk: Shell) -> None:
    write('lr_schedule = "cosine"\nfp8_base = true')
    done = desk.run("train", "style.toml")
    assert done.exit_code == 2
    assert "error: style.toml: lr_schedule: there is no such setting [unknown_key]" in done.stderr
    assert "  hint: did you mean lr_scheduler?" in done.stderr
    assert "error: style.toml: fp8_base: cannot be followed" in done.stderr
    assert {each["key"] for each in desk.json("train", "style.toml", "--json")["findings"]} == {
        "lr_schedule",
        "fp8_base",
    }


def test_missing_files_have_their_exit_code(desk: Shell) -> None:
    assert desk.run("train", "nowhere.toml").exit_code == 3
    assert desk.run("train", "style.toml", "--set", "vae=nowhere.safetensors").exit_code == 3


def test_a_command_line(desk: Shell) -> None:
    places = "--pretrained_model_name_or_path=base.safetensors --output_dir=out --train_data_dir=train"
    line = f"accelerate launch train_network.py {places} --resolution=64 --max_train_steps=4 --network_alpha=1"
    document = desk.json("train", "--from-command", line, "--dry-run", "--json", "--set", "max_train_steps=7")
    assert document["plan"]["steps"] == 7


def test_wrong_use(desk: Shell) -> None:
    for arguments in (["train"], ["train", "a.toml", "--from-command", "x"], ["train", "style.toml", "--set", "x"]):
        assert desk.run(*arguments).exit_code == 2
    assert desk.run("train", "style.toml", "--device", "abacus").exit_code == 2


def test_folders_and_captions_that_spoil_a_run_are_found_by_the_plan(desk: Shell) -> None:
    done = desk.run("train", "style.toml", "--dry-run", "--set", "caption_extension=.tags")
    assert done.exit_code == 1
    assert "have no .tags file but a .txt file" in done.stderr


def test_help_needs_no_torch() -> None:
    assert "torch" not in loaded_by("train", "--help")
