from __future__ import annotations

import pytest

from graphexec.diffusion.devices import pick_device
from graphexec.diffusion.faults import MissingDevice


def test_a_device_is_picked() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda")
    for name in ("gpu", "cuda:99", "cuda:-1"):
        with pytest.raises(MissingDevice, match=f"no device {name} here, but cpu.*: choose one of them, or auto"):
            pick_device(name)
