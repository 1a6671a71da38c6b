"""Every adapter against what LyCORIS and PEFT make of the same tensors: recorded, and live where they are installed."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import importlib.util
import warnings

import pytest
import torch
from lora.headers import header_of
from lora.oracles import Case, lycoris_cases, peft_cases, recorded_cases
from torch import Tensor

from graphexec.lora import list_modules

RECORDED = {case.name: case for case in recorded_cases()}


def ours(case: Case) -> dict[str, Tensor]:
    """The layer's weight and bias after the modules of the file."""
    shapes = {name: tuple(tensor.shape) for name, tensor in case.tensors.items()}
    file = list_modules(header_of(shapes, case.metadata))
    assert not file.strangers
    changed = dict(case.base)
    for module in file.modules:
        fits = module.adapter.fits(tuple(changed[module.target].shape))
        assert fits or module.optional, module
        if fits:
            weight = changed[module.target].clone()
            changed[module.target] = module.adapter.change(weight, case.strength, case.tensors.__getitem__)
    return changed


def check(case: Case) -> None:
    found = ours(case)
    for part, expected in case.expected.items():
        torch.testing.assert_close(found[part], expected, rtol=1e-5, atol=2e-6)
    assert not torch.allclose(case.expected["weight"], case.base["weight"], atol=1e-3)


@pytest.mark.parametrize("name", RECORDED)
def test_what_was_recorded(name: str) -> None:
    check(RECORDED[name])


@pytest.mark.parametrize("library", ["lycoris", "peft"])
def test_what_the_library_says_now(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed; pip install 'graphexec[oracles]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        cases = list({"lycoris": lycoris_cases, "peft": peft_cases}[library]())
    for case in cases:
        check(case)


@pytest.mark.parametrize("by_rows", [True, False])
def test_as_comfyui_only_dora_by_rows_differs(by_rows: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    weight, up, down = (torch.randn(shape, generator=generator) for shape in ((5, 4), (5, 2), (2, 4)))
    tensors = {
        "lora_unet_m.lora_up.weight": up,
        "lora_unet_m.lora_down.weight": down,
        "lora_unet_m.dora_scale": torch.ones((5, 1) if by_rows else (1, 4)),
    }
    (module,) = list_modules(header_of({name: tuple(tensor.shape) for name, tensor in tensors.items()})).modules
    found = module.adapter.as_comfyui().change(weight.clone(), 0.5, tensors.__getitem__)
    normed = (weight if by_rows else weight + up @ down).norm(dim=1 if by_rows else 0, keepdim=True)
    torch.testing.assert_close(found, weight + 0.5 * ((weight + up @ down) / normed - weight))
