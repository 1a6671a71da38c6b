"""Which device is computed on."""

from __future__ import annotations

import torch

from graphexec.diffusion.faults import MissingDevice

__all__ = ["pick_device"]


def pick_device(device: str) -> torch.device:
    """The device `cpu`, `cuda` or `cuda:N`; `auto` is CUDA where there is one. Raises `MissingDevice`."""
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    if device not in ("cpu", *gpus) and not (device == "cuda" and gpus):
        here = ", ".join(["cpu", *gpus])
        raise MissingDevice(f"there is no device {device} here, but {here}: choose one of them, or auto")
    return torch.device(device)
