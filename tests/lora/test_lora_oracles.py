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
