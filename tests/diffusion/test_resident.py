# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from diffusion.tiny import TEXT, checkpoint_weights
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.loading import UNET, Source, load_network
from graphexec.diffusion.lorafiles import LoraReader
from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.patch import Mix, Scale, Steps
from graphexec.diffusion.pristine import Pristine
from graphexec.diffusion.resident import Resident
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import Clip, Model, Vae

NAME = "out.2.weight"
OTHER = "time_embed.0.weight"


def resident_of(model: Model, dtype: torch.dtype = torch.float32) -> Resident[UNet]:
    base = Pristine.open(UNET, Source(model.file, model.prefix))
    return Resident(load_network(UNET, base.weights, torch.device("cpu"), dtype), base)


@pytest.fixture
def resident(recipes: tuple[Model, Clip, Vae]) -> Resident[UNet]:
    return resident_of(recipes[0])


def value(resident: Resident[UNet], name: str = NAME) -> Tensor:
    return resident.network.get_parameter(name).clone()


class TestSwitch:
    def test_only_what_differs_is_touched(self, resident: Resident[UNet]) -> None:
        double: Mapping[str, Steps] = {NAME: (Scale(2.0),), OTHER: (Scale(3.0),)}
        assert resident.switch(double) == (NAME, OTHER)
        assert resident.switch({**double, NAME: (Scale(4.0),)}) == (NAME,)
        assert resident.switch({OTHER: (Scale(3.0),)}) == (NAME,)
        assert resident.switch({OTHER: (Scale(3.0),)}) == ()

    def test_steps_are_taken_in_order_from_the_base(self, resident: Resident[UNet]) -> None:
        base = value(resident)
        resident.switch({NAME: (Scale(5.0),)})
        resident.switch({NAME: (Scale(2.0), Mix(resident.base, NAME, (Scale(3.0),), 0.5, 4.0))})
        torch.testing.assert_close(value(resident), base * (2 * 4 + 1.5))

    def test_memory_is_used_again(self, resident: Resident[UNet]) -> None:
        before = resident.network.get_parameter(NAME).data_ptr()
        resident.switch({NAME: (Scale(2.0),)})
        assert resident.network.get_parameter(NAME).data_ptr() == before

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_fewer_bits_are_rounded_once(self, recipes: tuple[Model, Clip, Vae], dtype: torch.dtype) -> None:
        exact, rounded = resident_of(recipes[0]), resident_of(recipes[0], dtype)
        steps = {NAME: (Scale(1 / 3), Scale(3.0), Scale(1 / 7)), OTHER: (Scale(0.3),)}
        for each in (exact, rounded):
            each.switch(steps)
        for name in steps:
            assert torch.equal(value(rounded, name), value(exact, name).to(dtype))

    def test_names_that_are_no_weights_of_the_network_are_left_out(self, resident: Resident[UNet]) -> None:
        assert resident.switch({"nowhere": (Scale(2.0),)}) == ()

    def test_a_change_that_failed_is_made_good(self, resident: Resident[UNet]) -> None:
        class Broken(Scale):
            def apply(self, weight: Tensor, read: LoraReader) -> Tensor:
                weight.zero_()
                raise OSError("the disk is gone")

        base = value(resident)
        with pytest.raises(OSError, match="disk"):
            resident.switch({NAME: (Broken(1.0),)})
        assert resident.switch({}) == (NAME,)
        assert torch.equal(value(resident), base)


def test_a_float32_file_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({name: tensor.float() for name, tensor in checkpoint_weights().items()}, path)
    before = path.read_bytes()
    resident = resident_of(open_checkpoint(path)[0])
    base, lies_in_file = value(resident), resident.network.get_parameter(NAME).data_ptr()
    resident.switch({NAME: (Scale(2.0),)})
    assert torch.equal(value(resident), base * 2)
    assert torch.equal(resident.base.read(NAME), base)
    resident.switch({})
    assert resident.network.get_parameter(NAME).data_ptr() == lies_in_file
    assert path.read_bytes() == before


def test_text_encoders_round_changed_weights_to_float16(weights: Path, recipes: tuple[Model, Clip, Vae]) -> None:
    """As ComfyUI, which keeps them in float16: the pictures that people have depend on it."""
    runtime, lora = Runtime("cpu"), weights / "a.safetensors"
    with runtime.text_encoder(recipes[1].encoders[0], recipes[1].patched(lora, 1.0).patches) as text:
        changed = [parameter for parameter in text.parameters() if parameter.dtype == torch.float32]
        assert all(torch.equal(parameter, parameter.half().float()) for parameter in changed)
    with runtime.unet(recipes[0].patched(lora, 1.0)) as unet:
        assert not all(torch.equal(parameter, parameter.half().float()) for parameter in unet.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_lora_changes_a_text_encoder_as_much_whatever_its_file_is_stored_as(
    tmp_path: Path, weights: Path, dtype: torch.dtype
) -> None:
    """The changes are as small as what eight bits, or bfloat16, can just tell apart."""
    stored = {name: tensor.to(dtype) for name, tensor in checkpoint_weights().items() if name.startswith(TEXT)}
    rest = {name: tensor for name, tensor in checkpoint_weights().items() if name not in stored}

    def changes(path: Path, text: Mapping[str, Tensor]) -> dict[str, Tensor]:
        save_file({**rest, **text}, path)
        clip, runtime = open_checkpoint(path)[1], Runtime("cpu")
        with runtime.text_encoder(clip.encoders[0]) as network:
            before = {name: parameter.clone() for name, parameter in network.named_parameters()}
        with runtime.text_encoder(clip.encoders[0], clip.patched(weights / "a.safetensors", 0.05).patches) as network:
            found = {name: parameter - before[name] for name, parameter in network.named_parameters()}
        with runtime.text_encoder(clip.encoders[0]) as network:
            assert all(torch.equal(parameter, before[name]) for name, parameter in network.named_parameters())
        return found

    exact = changes(tmp_path / "float32", {name: tensor.float() for name, tensor in stored.items()})
    for name, change in changes(tmp_path / "fewer bits", stored).items():
        assert (change - exact[name]).norm() <= 0.05 * exact[name].norm(), name
