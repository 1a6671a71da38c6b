# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion.tiny import UNET, UNetSize, checkpoint_weights
from diffusion.tiny_control import (
    adapter_weights,
    applied,
    control_lora,
    controlnet_weights,
    light_adapter_weights,
    prefixed,
    union_weights,
)
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion.control import ControlRunner
from graphexec.diffusion.controlfiles import open_controlnet
from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.resize import upscale
from graphexec.diffusion.models.taps import Residuals
from graphexec.diffusion.runtime import Runtime, network_bytes
from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.types import Clip, Control, ControlNet, Model, Sampling, Vae
from graphexec.errors import ModelFileError

Recipes = tuple[Model, Clip, Vae]
SIZE = UNetSize()
LEVELS = model_sampling(Sampling())
SIGMA = 2.0


def write(path: Path, weights: Mapping[str, Tensor]) -> ControlNet:
    save_file(dict(weights), path)
    return open_controlnet(path)


def picture(batch: int = 1, height: int = 64, width: int = 64, channels: int = 3) -> Tensor:
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(batch))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> ControlNet:
    return write(tmp_path_factory.mktemp("control") / "net.safetensors", controlnet_weights(SIZE))


@pytest.fixture
def runner(runtime: Runtime, recipes: Recipes) -> ControlRunner:
    return ControlRunner(runtime, recipes[0], LEVELS)


def asked(
    runner: ControlRunner, *controls: Control, rows: int = 1, conds: int = 1, sigma: float = SIGMA, side: int = 8
) -> Residuals | None:
    generator = torch.Generator().manual_seed(4)
    x, context = torch.randn(rows, 4, side, side, generator=generator), torch.randn(rows, 7, 32, generator=generator)
    return runner(controls, x, sigma, torch.full((rows,), LEVELS.timestep(sigma)), context, conds=conds)


def middle(found: Residuals | None) -> Tensor:
    assert found is not None
    assert found.middle is not None
    return found.middle


def test_a_pass_is_the_networks_own(runner: ControlRunner, runtime: Runtime, net: ControlNet, recipes: Recipes) -> None:
    hint = picture()
    found = asked(runner, Control(net, hint))
    generator = torch.Generator().manual_seed(4)
    x, context = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 7, 32, generator=generator)
    with runtime.controlnet(net, recipes[0]) as network, torch.no_grad():
        embedded = network.embed(hint.movedim(-1, 1))  # pyright: ignore[reportCallIssue]
        scaled = x / (SIGMA**2 + 1) ** 0.5
        expected = network(scaled, embedded, torch.tensor([float(LEVELS.timestep(SIGMA))]), context)
    assert torch.equal(middle(found), middle(expected))


def test_strength_multiplies(runner: ControlRunner, net: ControlNet) -> None:
    whole, half = (middle(asked(runner, Control(net, picture(), strength))) for strength in (1.0, 0.5))
    assert torch.equal(whole * 0.5, half)


def test_several_add_up(runner: ControlRunner, net: ControlNet, tmp_path: Path) -> None:
    other = write(tmp_path / "other.safetensors", controlnet_weights(SIZE, seed=11))
    one, two = Control(net, picture(), 0.7), Control(other, picture(), 0.4)
    both = asked(runner, one, two)
    torch.testing.assert_close(middle(both), middle(asked(runner, one)) + middle(asked(runner, two)))


@pytest.mark.parametrize(("start", "end", "works"), [(0.0, 1.0, True), (0.9, 1.0, False), (0.0, 0.1, False)])
def test_it_works_in_its_part_of_the_sampling(
    runner: ControlRunner, net: ControlNet, start: float, end: float, works: bool
) -> None:
    assert (asked(runner, Control(net, picture(), 1.0, start, end)) is not None) is works


def test_the_ends_of_its_part_belong_to_it(runner: ControlRunner, net: ControlNet) -> None:
    sigma = LEVELS.percent_to_sigma(0.5)
    for start, end in ((0.5, 1.0), (0.0, 0.5)):
        assert asked(runner, Control(net, picture(), 1.0, start, end), sigma=sigma) is not None


def test_nothing_is_asked_of_a_control_without_strength(runner: ControlRunner, net: ControlNet) -> None:
    assert asked(runner, Control(net, picture(), 0.0)) is None
    assert asked(runner) is None


def test_the_picture_is_cut_to_the_ratio_of_the_latents(runner: ControlRunner, net: ControlNet) -> None:
    wide = picture(height=30, width=50)
    cut = upscale(wide.movedim(-1, 1), 64, 64, "nearest-exact", "center").movedim(1, -1)
    assert torch.equal(middle(asked(runner, Control(net, wide))), middle(asked(runner, Control(net, cut))))


def test_pictures_are_repeated_over_the_batch_and_then_over_the_conds(
    runner: ControlRunner, runtime: Runtime, net: ControlNet, recipes: Recipes
) -> None:
    two = picture(2)
    found = middle(asked(runner, Control(net, two), rows=6, conds=2))
    for row, which in enumerate((0, 1, 0, 0, 1, 0)):
        alone = ControlRunner(runtime, recipes[0], LEVELS)
        same_rows = middle(asked(alone, Control(net, two[which : which + 1]), rows=6, conds=2))
        torch.testing.assert_close(found[row], same_rows[row])


def test_a_picture_is_embedded_once_in_a_run(runner: ControlRunner, net: ControlNet) -> None:
    hint = picture()
    control = Control(net, hint)
    before = middle(asked(runner, control))
    hint.zero_()
    assert torch.equal(before, middle(asked(runner, control)))
    assert not torch.equal(before, middle(asked(runner, Control(net, hint))))
    assert middle(asked(runner, control, side=16)).shape[-1] == 8


def test_alpha_is_dropped_and_too_few_channels_are_an_error(runner: ControlRunner, net: ControlNet) -> None:
    four = picture(channels=4)
    assert torch.equal(middle(asked(runner, Control(net, four))), middle(asked(runner, Control(net, four[..., :3]))))
    with pytest.raises(LatentError, match=r"net\.safetensors reads pictures of 3 channels, this one has 1"):
        asked(runner, Control(net, picture(channels=1)))


def test_a_shuffle_net_adds_the_same_everywhere(runner: ControlRunner, net: ControlNet, tmp_path: Path) -> None:
    shuffle = write(tmp_path / "x_shuffle.safetensors", controlnet_weights(SIZE))
    mean = middle(asked(runner, Control(net, picture()))).mean((2, 3), keepdim=True)
    torch.testing.assert_close(middle(asked(runner, Control(shuffle, picture()))), mean)


def test_a_union_net_is_told_its_type(runner: ControlRunner, tmp_path: Path) -> None:
    union = write(tmp_path / "union.safetensors", controlnet_weights(SIZE) | union_weights(SIZE))
    kinds = [middle(asked(runner, Control(replace(union, union_type=kind), picture()))) for kind in (None, 0, 5)]
    assert len({float(kind.sum()) for kind in kinds}) == 3
    with pytest.raises(ModelFileError, match="knows 6 types of control, and number 7 is none"):
        asked(runner, Control(replace(union, union_type=7), picture()))


def test_a_net_for_another_family_is_an_error(runner: ControlRunner, tmp_path: Path) -> None:
    wide = write(tmp_path / "wide.safetensors", controlnet_weights(replace(SIZE, context=64)))
    with pytest.raises(ModelFileError, match=r"wide\.safetensors.*text embeddings 64 wide, this model's are 32"):
        asked(runner, Control(wide, picture()))
    xl = write(tmp_path / "xl.safetensors", controlnet_weights(SIZE, vector=48))
    with pytest.raises(ModelFileError, match="vector of sizes and pooled text 48 wide, this model's are none"):
        asked(runner, Control(xl, picture()))


class TestAdapters:
    def test_its_maps_are_the_same_at_every_level(self, runner: ControlRunner, tmp_path: Path) -> None:
        control = Control(write(tmp_path / "a.safetensors", adapter_weights()), picture(), 0.5)
        one, other = asked(runner, control, rows=2), asked(runner, control, rows=2, sigma=0.1)
        assert one is not None
        assert other is not None
        assert [i for i, maps in enumerate(one.inputs) if maps is not None] == [2, 5, 8, 11]
        assert torch.equal(torch.as_tensor(one.inputs[5]), torch.as_tensor(other.inputs[5]))

    def test_it_adds_to_a_controlnet(self, runner: ControlRunner, net: ControlNet, tmp_path: Path) -> None:
        t2i = Control(write(tmp_path / "a.safetensors", adapter_weights()), picture())
        both, alone = asked(runner, Control(net, picture()), t2i), asked(runner, t2i)
        assert both is not None
        assert alone is not None
        assert both.middle is not None
        assert torch.equal(torch.as_tensor(both.inputs[2]), torch.as_tensor(alone.inputs[2]))

    def test_one_of_a_single_channel_sees_grey(self, runner: ControlRunner, tmp_path: Path) -> None:
        grey = write(tmp_path / "grey.safetensors", adapter_weights(channels=1))
        hint = picture()
        mean = hint.mean(-1, keepdim=True).expand_as(hint)
        one, other = asked(runner, Control(grey, hint)), asked(runner, Control(grey, mean))
        assert one is not None
        assert other is not None
        torch.testing.assert_close(one.inputs[2], other.inputs[2])

    def test_one_for_sdxl_needs_sdxl(self, runtime: Runtime, recipes: Recipes, tmp_path: Path) -> None:
        xl = Control(write(tmp_path / "xl.safetensors", adapter_weights(64, xl=True)), picture())
        with pytest.raises(ModelFileError, match=r"is for SDXL, the model tiny\.safetensors is sd1"):
            asked(ControlRunner(runtime, recipes[0], LEVELS), xl)
        found = asked(ControlRunner(runtime, replace(recipes[0], family="sdxl"), LEVELS), xl, side=7)
        assert middle(found).shape[-2:] == (2, 2)

    @pytest.mark.parametrize("adapter", [adapter_weights(48), light_adapter_weights(48)], ids=["full", "light"])
    def test_one_of_other_widths_is_for_another_family(
        self, runner: ControlRunner, tmp_path: Path, adapter: Mapping[str, Tensor]
    ) -> None:
        message = r"a\.safetensors: the T2I-Adapter adds maps of 48 channels where the model tiny\.safetensors.* has 32"
        with pytest.raises(ModelFileError, match=message):
            asked(runner, Control(write(tmp_path / "a.safetensors", adapter), picture()))


class TestWeightsFromTheModel:
    def unet(self) -> dict[str, Tensor]:
        found = checkpoint_weights()
        return {name.removeprefix(UNET): tensor for name, tensor in found.items() if name.startswith(UNET)}

    def test_a_control_lora_is_the_whole_net_with_up_times_down(self, runner: ControlRunner, tmp_path: Path) -> None:
        lora = control_lora(SIZE)
        small, whole = write(tmp_path / "lora", lora), write(tmp_path / "whole", applied(lora, self.unet()))
        found, wanted = (middle(asked(runner, Control(net, picture()))) for net in (small, whole))
        torch.testing.assert_close(found, wanted)

    def test_a_difference_is_added_to_its_base_or_else_to_the_model(
        self, runner: ControlRunner, recipes: Recipes, tmp_path: Path
    ) -> None:
        unet, weights = self.unet(), controlnet_weights(SIZE)
        difference = {name: tensor - unet[name] if name in unet else tensor for name, tensor in weights.items()}
        file = write(tmp_path / "diff", prefixed(difference) | {"difference": torch.zeros(0)})
        whole = middle(asked(runner, Control(write(tmp_path / "whole", weights), picture())))
        for net in (file, open_controlnet(tmp_path / "diff", recipes[0])):
            torch.testing.assert_close(middle(asked(runner, Control(net, picture()))), whole)

    def test_a_lora_on_the_model_counts(
        self, runtime: Runtime, recipes: Recipes, weights: Path, tmp_path: Path
    ) -> None:
        net = write(tmp_path / "lora", control_lora(SIZE))
        patched = recipes[0].patched(weights / "a.safetensors", 1.0)
        plain, other = (ControlRunner(runtime, model, LEVELS) for model in (recipes[0], patched))
        assert not torch.equal(
            middle(asked(plain, Control(net, picture()))), middle(asked(other, Control(net, picture())))
        )

    def test_how_the_model_is_held_counts(self, runtime: Runtime, recipes: Recipes, tmp_path: Path) -> None:
        net = write(tmp_path / "lora", control_lora(SIZE))
        held = [replace(recipes[0], stored=stored) for stored in ("default", "fp8_e4m3fn")]
        plain, other = (middle(asked(ControlRunner(runtime, model, LEVELS), Control(net, picture()))) for model in held)
        assert not torch.equal(plain, other)

    def test_it_does_not_touch_the_model(self, runtime: Runtime, recipes: Recipes, tmp_path: Path) -> None:
        net = write(tmp_path / "lora", control_lora(SIZE))
        with runtime.controlnet(net, recipes[0]) as network, runtime.unet(recipes[0]) as unet:
            own = {parameter.data_ptr() for parameter in network.parameters()}
            assert not own & {parameter.data_ptr() for parameter in unet.parameters()}

    def test_one_of_another_family_is_an_error(self, runner: ControlRunner, recipes: Recipes, tmp_path: Path) -> None:
        net = write(tmp_path / "lora", control_lora(replace(SIZE, context=64)))
        with pytest.raises(ModelFileError, match="they are of different families"):
            asked(runner, Control(net, picture()))
        wide = prefixed(controlnet_weights(replace(SIZE, context=64))) | {"difference": torch.zeros(0)}
        write(tmp_path / "diff", wide)
        with pytest.raises(ModelFileError, match=r"another family of models than tiny\.safetensors"):
            open_controlnet(tmp_path / "diff", recipes[0])


class TestTheWeightStore:
    def test_a_network_is_kept_and_counted(self, recipes: Recipes, net: ControlNet) -> None:
        runtime = Runtime("cpu")
        with runtime.controlnet(net, recipes[0]) as first, runtime.controlnet(net, recipes[0]) as second:
            assert first is second
        assert runtime.resident_bytes() == network_bytes(first)

    def test_a_file_that_changed_is_refused(self, recipes: Recipes, tmp_path: Path) -> None:
        net, runtime = write(tmp_path / "net", controlnet_weights(SIZE)), Runtime("cpu")
        write(tmp_path / "other", controlnet_weights(SIZE, seed=9))
        (tmp_path / "other").replace(tmp_path / "net")
        with pytest.raises(ModelFileError, match="changed"), runtime.controlnet(net, recipes[0]):
            pass

    @pytest.mark.parametrize(
        ("change", "says"), [("lose", "lacks 1 weights.*time_embed.0.bias"), ("add", "unexpected 1 weights.*strange")]
    )
    def test_weights_that_are_not_those_of_the_network(
        self, recipes: Recipes, tmp_path: Path, change: str, says: str
    ) -> None:
        weights = controlnet_weights(SIZE)
        if change == "lose":
            del weights["time_embed.0.bias"]
        else:
            weights["strange.weight"] = torch.zeros(1)
        net = write(tmp_path / "net", weights)
        with pytest.raises(ModelFileError, match=says), Runtime("cpu").controlnet(net, recipes[0]):
            pass
