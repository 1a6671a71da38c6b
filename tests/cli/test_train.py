# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""`graphexec train`: plans, faults, exit codes, runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from train.kohya.settings import BASE, make_desk

import graphexec_nodes
from cli.shell import Shell, environment, loaded_by
from graphexec.cli.main import build_cli
from graphexec.node.registry import Registry


@pytest.fixture
def desk(shell: Shell) -> Shell:
    """A folder with a tiny base, two pictures and settings, and commands over the built-in nodes."""
    make_desk(shell.folder)
    write("")
    shell.cli = build_cli(lambda: Registry().with_nodes(graphexec_nodes))
    return shell


def write(text: str) -> None:
    Path("style.toml").write_text(BASE.replace("= 512", "= 64") + 'mixed_precision = "no"\n' + text, encoding="utf-8")


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
    assert document["status"] == "done"


def test_faults_come_at_once_and_say_where(desk: Shell) -> None:
    write('lr_schedule = "cosine"\nfp8_base = true')
    done = desk.run("train", "style.toml")
    assert done.exit_code == 2
    assert "error: style.toml: lr_schedule: there is no such setting [unknown_key]" in done.stderr
    assert "  hint: did you mean lr_scheduler?" in done.stderr
    assert "error: style.toml: fp8_base: cannot be followed" in done.stderr
    document = desk.json("train", "style.toml", "--json")
    assert document["status"] == "invalid"
    assert {each["key"] for each in document["findings"]} == {"lr_schedule", "fp8_base"}


def test_missing_files_have_their_exit_code(desk: Shell) -> None:
    assert desk.run("train", "nowhere.toml").exit_code == 3
    assert desk.run("train", "style.toml", "--set", "vae=nowhere.safetensors").exit_code == 3


@pytest.mark.parametrize(
    "path", ["../nowhere.safetensors", "..\\\\nowhere.ckpt", "D:\\\\nowhere.ckpt", "D:/nowhere.ckpt"]
)
def test_a_path_that_leads_nowhere_is_a_finding_beside_the_others(desk: Shell, path: str) -> None:
    write(f'vae = "{path}"\nfp8_base = true')
    found = desk.json("train", "style.toml", "--json")["findings"]
    assert {each["key"] for each in found} == {"vae", "fp8_base"}


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_settings_that_no_run_could_follow_have_the_exit_code_of_wrong_ones(desk: Shell, options: list[str]) -> None:
    for setting in ("resolution=500", "clip_skip=99"):
        assert desk.run("train", "style.toml", "--set", setting, *options).exit_code == 2


def test_a_state_to_go_on_from_that_is_not_there_is_a_missing_file(desk: Shell) -> None:
    done = desk.run("train", "style.toml", "--resume")
    assert done.exit_code == 3
    assert f"error: --resume: there is no {Path('out/last.state')} to go on from" in done.stderr


def test_the_base_may_be_named_as_workflows_name_it(desk: Shell) -> None:
    checkpoints = Path("elsewhere/checkpoints")
    checkpoints.mkdir(parents=True)
    Path("base.safetensors").rename(checkpoints / "base.safetensors")
    assert desk.run("train", "style.toml", "--dry-run").exit_code == 3
    done = desk.run("train", "style.toml", "--dry-run", "--models", "elsewhere")
    assert done.exit_code == 0, done.output
    assert "base.safetensors (sd1, predicts eps)" in done.stdout


def test_a_command_line(desk: Shell) -> None:
    places = "--pretrained_model_name_or_path=base.safetensors --output_dir=out --train_data_dir=train"
    line = f"accelerate launch train_network.py {places} --resolution=64 --max_train_steps=4 --network_alpha=1"
    document = desk.json("train", "--from-command", line, "--dry-run", "--json", "--set", "max_train_steps=7")
    assert document["plan"]["steps"] == 7


def test_wrong_use(desk: Shell) -> None:
    for arguments in (["train"], ["train", "a.toml", "--from-command", "x"], ["train", "style.toml", "--set", "x"]):
        assert desk.run(*arguments).exit_code == 2
    assert desk.run("train", "style.toml", "--device", "abacus").exit_code == 2


def test_settings_that_are_taken_for_a_state(desk: Shell) -> None:
    done = desk.run("train", "--resume", "style.toml")
    assert done.exit_code == 2
    assert "graphexec train style.toml --resume" in " ".join(done.stderr.split())


def test_folders_and_captions_that_spoil_a_run_are_found_by_the_plan(desk: Shell) -> None:
    done = desk.run("train", "style.toml", "--dry-run", "--set", "caption_extension=.tags")
    assert done.exit_code == 1
    assert "have no .tags file but a .txt file" in done.stderr


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_json_says_what_stopped_a_run(desk: Shell, options: tuple[str, ...]) -> None:
    done = desk.run("train", "style.toml", "--json", "--set", "caption_extension=.tags", *options)
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["status"] == "failed"
    assert "have no .tags file but a .txt file" in document["error"]
    assert "have no .tags file but a .txt file" in done.stderr


def test_json_of_a_run_that_is_interrupted_before_its_first_step(desk: Shell) -> None:
    def registry() -> Registry:
        raise KeyboardInterrupt

    desk.cli = build_cli(registry)
    write_workflow("euler")
    done = desk.run("train", "style.toml", "--json")
    assert (done.exit_code, done.stderr) == (130, "interrupted\n")
    assert json.loads(done.stdout) == {"status": "interrupted", "error": None}


SEEDED = 'seed = 1\ndevice = "cpu"\n'


def trained(desk: Shell, *arguments: str) -> bytes:
    """The LoRA's weights after a run."""
    done = desk.run("train", "style.toml", *arguments)
    assert done.exit_code == 0, done.output
    return weights(Path(done.stdout.strip()))


def weights(path: Path) -> bytes:
    return b"".join(array.tobytes() for _, array in sorted(load_file(path).items()))


@pytest.mark.filterwarnings("ignore")  # those of matplotlib and the like are none of ours
def test_a_run_from_pictures_to_a_lora_that_a_workflow_loads(desk: Shell) -> None:
    Path("prompts.txt").write_text("a cat --w 64 --h 64 --s 1\n", encoding="utf-8")
    write(SEEDED + 'sample_prompts = "prompts.txt"\nsample_every_n_steps = 2\nsample_sampler = "euler"')
    done = desk.run("train", "style.toml", "--set", "max_train_steps=3")
    assert done.exit_code == 0, done.output
    assert done.stdout == "out/last.safetensors\n"
    assert len(list(Path("out/sample").glob("last_000002*.png"))) == 1
    assert "step 3 of 3: loss" in done.stderr
    assert "3 steps in" in done.stderr


def write_workflow(sampler: str) -> None:
    """A workflow that makes a picture with the LoRA under training."""
    sizes = {"width": 64, "height": 64, "batch_size": 1}
    nodes = {
        "base": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "base.safetensors"}},
        "lora": {
            "class_type": "LoraLoader",
            "inputs": {
                "model": ["base", 0], "clip": ["base", 1], "lora_name": "last.safetensors",
                "strength_model": 1.0, "strength_clip": 1.0,
            },
        },
        "text": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["lora", 1], "text": "a cat"}},
        "latent": {"class_type": "EmptyLatentImage", "inputs": sizes},
        "sampler": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["lora", 0], "positive": ["text", 0], "negative": ["text", 0], "latent_image": ["latent", 0],
                "seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": sampler, "scheduler": "normal", "denoise": 1.0,
            },
        },
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sampler", 0], "vae": ["base", 2]}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "style"}},
    }  # fmt: skip
    Path("mine.json").write_text(json.dumps(nodes), encoding="utf-8")
    write(SEEDED + 'sample_workflow = "mine.json"\nsample_every_n_steps = 2')


@pytest.mark.filterwarnings("ignore")
def test_a_prediction_that_the_base_contradicts_is_told_once(desk: Shell) -> None:
    write(SEEDED + "v_parameterization = true")
    done = desk.run("train", "style.toml", "--set", "max_train_steps=1")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("warning:") == 1


@pytest.mark.filterwarnings("ignore")
def test_pictures_by_a_workflow(desk: Shell) -> None:
    write_workflow("euler")
    assert desk.run("train", "style.toml", "--set", "max_train_steps=2").exit_code == 0
    assert len(list(Path("out/sample").iterdir())) == 1


def test_a_workflow_of_which_no_picture_can_be_made_is_known_before_the_first_step(desk: Shell) -> None:
    write_workflow("eular")
    done = desk.run("train", "style.toml")
    assert done.exit_code == 2
    assert "eular" in done.stderr
    assert "(mine.json, line 1)" in done.stderr
    assert "last.sample.safetensors" not in done.stderr
    assert not Path("out").exists()


@pytest.mark.filterwarnings("ignore")
def test_an_interrupted_run_goes_on_to_the_same_lora(desk: Shell) -> None:
    write(SEEDED)
    whole = trained(desk, "--set", "max_train_steps=20", "--output-dir", "whole")
    command = [sys.executable, "-m", "graphexec", "train", "style.toml", "--set", "max_train_steps=20", "--json"]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 2 of 20"):
                process.send_signal(signal.SIGTERM)
                break
        told = process.stderr.read()
        assert process.wait() == 143, told
        document = json.loads(process.stdout.read())
    assert document == {"status": "terminated", "error": None, "state": str(Path("out/last.state"))}
    assert "the same command with --resume goes on from there" in told
    assert trained(desk, "--set", "max_train_steps=20", "--resume") == whole


WITHOUT_TORCH = """
import sys

class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name=name)

sys.meta_path.insert(0, Lacking())
from graphexec.cli.main import main
main()
"""


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_without_torch_the_extra_for_training_is_named(desk: Shell, options: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, "train", "style.toml", *options]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "torch is needed to train: pip install 'graphexec[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_needs_no_torch() -> None:
    assert "torch" not in loaded_by("train", "--help")
