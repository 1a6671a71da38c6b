# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""`graphexec convert-checkpoint`."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from cli.shell import Shell


def test_a_pickled_checkpoint_is_converted(shell: Shell) -> None:
    torch.save({"x": torch.ones(2)}, "old.ckpt")
    result = shell.run("convert-checkpoint", "old.ckpt", "new.safetensors", "--dtype", "fp16")
    assert (result.exit_code, result.stdout) == (0, "new.safetensors\n")
    assert load_file("new.safetensors")["x"].dtype == torch.float16
    assert sorted(path.name for path in Path().glob("*safetensors*")) == ["new.safetensors"]


def test_nothing_is_replaced_and_nothing_left_behind(shell: Shell) -> None:
    Path("there.safetensors").touch()
    before = sorted(Path().iterdir())
    for names, code in (
        (("missing.ckpt", "new.safetensors"), 3),
        (("there.safetensors", "there.safetensors"), 2),
        (("there.safetensors", "new.ckpt"), 2),
        (("there.safetensors", "new.safetensors"), 3),
    ):
        assert shell.run("convert-checkpoint", *names).exit_code == code
    assert sorted(Path().iterdir()) == before
