"""How a network that steers a UNet comes from its file, and from the UNet's own weights where it needs those."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from graphexec.diffusion.controlfiles import ControlFile, read_control
from graphexec.diffusion.faults import listed
from graphexec.diffusion.models.adapter import Adapter
from graphexec.diffusion.models.control_layout import adapter_layout, controlnet_layout
from graphexec.diffusion.models.controlnet import ControlNetwork
from graphexec.diffusion.models.layout import need
from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.stored import MappedFile
from graphexec.errors import ModelFileError
from graphexec.lora.header import in_file

__all__ = ["Steering", "load_control"]

Steering = ControlNetwork | Adapter

Read = Callable[[str], Tensor]


def load_control(path: WeightsFile, base: UNet | None, device: torch.device, dtype: torch.dtype) -> Steering:
    """The network in a file, in `dtype` on `device`; `base` is the UNet whose weights a difference is one to.

    Raises `ModelFileError` if weights are missing, unknown or do not fit.
    """
    file = read_control(path)
    with in_file(path.path), torch.device("meta"):
        try:
            network = _build(file, base)
        except (ValueError, AssertionError) as error:  # torch's own, of numbers that make no layer
            raise ModelFileError(f"the shapes of its weights make no network: {error}") from error
    expected = network.state_dict()
    pristine = base.state_dict() if base is not None and file.needs_base else {}
    stored = MappedFile(path.path)
    with in_file(path.path):
        _check_names(file, expected, pristine)

        def read(name: str) -> Tensor:
            return stored.tensor(file.names[name]).to(device)

        state = {
            name: _shaped(name, _weight(name, file, read, pristine.get(name)), empty).to(device, dtype)
            for name, empty in expected.items()
        }
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval()


def _build(file: ControlFile, base: UNet | None) -> Steering:
    if file.kind == "adapter":
        return Adapter(adapter_layout(file.shapes))
    if file.kind == "control_lora" and base is not None:
        return ControlNetwork(controlnet_layout(file.shapes, replace(base.layout, output_blocks=())))
    return ControlNetwork(controlnet_layout(file.shapes))


def _weight(name: str, file: ControlFile, read: Read, pristine: Tensor | None) -> Tensor:
    """A weight: the file's own, or the UNet's with what the file adds to it, summed in float32."""
    if pristine is None or (name in file.names and not file.difference):
        return read(name)
    delta = read(name) if file.difference else _product(name, file, read, pristine)
    if delta.numel() != pristine.numel():
        raise ModelFileError(
            f"{name!r} is {tuple(delta.shape)} here and {tuple(pristine.shape)} in the model that is to be steered:"
            " they are of different families"
        )
    return pristine.float() + delta.to(pristine.device, torch.float32).view(pristine.shape)


def _shaped(name: str, weight: Tensor, empty: Tensor) -> Tensor:
    if weight.numel() != empty.numel():
        raise ModelFileError(
            f"the weight {name!r} has the shape {tuple(weight.shape)}, where {tuple(empty.shape)} is expected"
        )
    return weight.view(empty.shape)


def _product(name: str, file: ControlFile, read: Read, pristine: Tensor) -> Tensor:
    """What a control-LoRA adds to a weight: up times down, without any scale; nothing where it has neither."""
    module = name.removesuffix(".weight")
    if f"{module}.up" not in file.names:
        return torch.zeros_like(pristine, dtype=torch.float32)
    for part in ("up", "down"):
        need(file.shapes, f"{module}.{part}")
    up, down = (read(f"{module}.{part}").float().flatten(1) for part in ("up", "down"))
    if up.shape[1] != down.shape[0]:
        raise ModelFileError(f"'{module}.up' has rank {up.shape[1]}, '{module}.down' has {down.shape[0]}")
    return up @ down


def _check_names(file: ControlFile, expected: Mapping[str, Tensor], pristine: Mapping[str, Tensor]) -> None:
    known = {name.removesuffix(".up").removesuffix(".down") for name in file.names}
    known = {f"{name}.weight" if f"{name}.up" in file.names else name for name in known}
    missing = sorted(name for name in expected if name not in file.names and name not in pristine)
    strange = sorted(known - expected.keys())
    for names, fault in ((missing, "lacks"), (strange, "has unexpected")):
        if names:
            raise ModelFileError(f"the file {fault} {len(names)} weights of its network: {listed(names)}")
