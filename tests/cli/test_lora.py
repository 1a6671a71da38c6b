# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""`graphexec lora`: what is said of a file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from cli.shell import Shell, loaded_by

NAME = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"


def write(path: Path, **metadata: str) -> Path:
    tensors = {
        f"{NAME}.lora_up.weight": torch.zeros(8, 4),
        f"{NAME}.lora_down.weight": torch.zeros(4, 768),
        f"{NAME}.alpha": torch.tensor(2.0),
    }
    save_file(tensors, path, {"ss_sd_model_name": "v1-5.safetensors", **metadata})
    return path


def test_what_is_said(shell: Shell) -> None:
    lines = shell.run("lora", str(write(shell.folder / "x.safetensors"))).stdout.splitlines()
    assert lines[:7] == [
        "for: SD 1.x (text embeddings 768 wide)",
        "kinds: lora (1)",
        "changes: UNet (1)",
        "rank: 4",
        "alpha: 2",
        "blocks: mid_block",
        "trained on: v1-5.safetensors",
    ]
    assert [line.partition(": ")[0] for line in lines[7:]] == ["sha256", "sha256 of the weights"]


def test_json_has_everything(shell: Shell) -> None:
    found = shell.json("lora", str(write(shell.folder / "x.safetensors")), "--json")
    assert found["status"] == "done"
    assert found["ranks"] == [4] and found["alphas"] == [2.0] and found["trigger"] is None
    assert len(found["weights_sha256"]) == 64


def test_of_many_unknown_tensors_the_first_are_named(shell: Shell) -> None:
    tensors = {f"{NAME}.diff": torch.zeros(8, 768), **{f"strange_{i:04}": torch.zeros(1) for i in range(3000)}}
    save_file(tensors, shell.folder / "x.safetensors")
    (line,) = (line for line in shell.run("lora", "x.safetensors").stdout.splitlines() if line.startswith("unknown"))
    assert line.startswith("unknown tensors: strange_0000, strange_0001, ")
    assert line.endswith(", strange_0019 and 2980 more, which --json names")
    assert len(shell.json("lora", "x.safetensors", "--json")["unknown"]) == 3000


def test_metadata_do_nothing_to_a_terminal(shell: Shell) -> None:
    file = write(shell.folder / "x.safetensors", **{"modelspec.trigger_phrase": "a\x1b[2Jb\n"})
    assert "trigger phrase: a\ufffd[2Jb\ufffd\n" in shell.run("lora", str(file)).stdout


def test_what_is_no_lora(shell: Shell) -> None:
    missing = shell.run("lora", "none.safetensors")
    assert missing.exit_code == 3 and "none.safetensors" in missing.stderr
    save_file({"x": torch.zeros(1)}, shell.folder / "y.safetensors")
    document = shell.json("lora", "none.safetensors", "--json")
    assert document["status"] == "missing" and "none.safetensors" in document["error"]
    other = shell.run("lora", str(shell.folder / "y.safetensors"))
    assert other.exit_code == 2 and "is no LoRA" in other.stderr
    Path("cut.safetensors").write_bytes(Path("y.safetensors").read_bytes()[:-1])
    assert shell.run("lora", "cut.safetensors").exit_code == 2  # as of a workflow that names it


def test_torch_is_not_needed(tmp_path: Path) -> None:
    assert "torch" not in loaded_by("lora", str(write(tmp_path / "x.safetensors")))
