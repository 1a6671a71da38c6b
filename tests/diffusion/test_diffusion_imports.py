from __future__ import annotations

import subprocess
import sys
from typing import get_type_hints

import pytest

from graphexec.diffusion import types

LIGHT = [
    "graphexec.diffusion.types",
    "graphexec.diffusion.checkpoint",
    "graphexec.diffusion.codecs",
    "graphexec.diffusion.faults",
    "graphexec.diffusion.sampling.names",
    "graphexec.lora",
]


def test_what_checks_a_workflow_imports_no_torch() -> None:
    code = f"import sys, {', '.join(LIGHT)}; print([m for m in ('torch', 'numpy', 'safetensors') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["Image", "Mask", "Sigmas"])
def test_signatures_with_pictures_can_be_read(name: str) -> None:
    def takes(value: object) -> None: ...

    takes.__annotations__ = {"value": name}
    assert get_type_hints(takes, dict(vars(types)))["value"] is getattr(types, name)
