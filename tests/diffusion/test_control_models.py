# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from diffusion.tiny import SD15, UNetSize, random_weights, unet_shapes
from diffusion.tiny_control import (
    adapter_weights,
    controlnet_weights,
    light_adapter_weights,
    union_weights,
    zeroed,
)
from torch import Tensor, nn
from torch.nn import functional as F

from graphexec.diffusion.models.adapter import Adapter
from graphexec.diffusion.models.control_layout import adapter_layout, controlnet_layout
from graphexec.diffusion.models.controlnet import ControlNetwork
from graphexec.diffusion.models.layout import unet_layout
from graphexec.diffusion.models.taps import Residuals
from graphexec.diffusion.models.unet import UNet
from graphexec.errors import ModelFileError

FOUR = UNetSize(32, (1, 2, 4, 4), 2, (True, True, True, False))
"""The levels and blocks of SD 1.x."""
XL = UNetSize(32, (1, 2, 4), 2, (False, True, True), linear=True)
"""Those of SDXL."""


def shapes_of(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def controlnet(weights: Mapping[str, Tensor]) -> ControlNetwork:
    network = ControlNetwork(controlnet_layout(shapes_of(weights)))
    network.load_state_dict(dict(weights))
    return network


def adapter(weights: Mapping[str, Tensor]) -> Adapter:
    network = Adapter(adapter_layout(shapes_of(weights)))
    network.load_state_dict(dict(weights))
    return network


def unet(size: UNetSize) -> UNet:
    network = UNet(unet_layout(unet_shapes(size)))
    network.load_state_dict(random_weights(unet_shapes(size), 0, torch.float32))
    return network


def run(network: ControlNetwork, union_type: int | None = None, vector: Tensor | None = None) -> Residuals:
    generator = torch.Generator().manual_seed(3)
    hint = torch.rand(1, network.layout.hint_channels, 64, 64, generator=generator)
    x, context = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 7, 32, generator=generator)
    with torch.no_grad():
        embedded = network.embed(hint, union_type)
        return network(x, embedded, torch.tensor([500.0, 20.0]), context, vector, union_type)


def there(maps: list[Tensor | None] | tuple[Tensor | None, ...]) -> dict[int, tuple[int, ...]]:
    return {i: tuple(map_.shape[1:]) for i, map_ in enumerate(maps) if map_ is not None}


@pytest.mark.parametrize("size", [UNetSize(), FOUR, XL])
def test_a_controlnet_has_exactly_the_weights_it_was_read_from(size: UNetSize) -> None:
    weights = controlnet_weights(size, vector=48) | union_weights(size)
    with torch.device("meta"):
        network = ControlNetwork(controlnet_layout(shapes_of(weights)))
    assert shapes_of(network.state_dict()) == shapes_of(weights)


@pytest.mark.parametrize("size", [UNetSize(), FOUR, XL])
def test_every_skip_connection_and_the_middle_get_maps_of_their_own_size(size: UNetSize) -> None:
    found = run(controlnet(controlnet_weights(size)))
    x, context, base = torch.randn(2, 4, 8, 8), torch.randn(2, 7, 32), unet(size)
    with torch.no_grad():
        plain = base(x, torch.tensor([3.0, 3.0]), context)
        steered = base(x, torch.tensor([3.0, 3.0]), context, residuals=found)
    assert len(found.skips) == len(base.input_blocks)
    assert plain.shape == steered.shape
    assert not torch.allclose(plain, steered)


def test_an_untrained_controlnet_adds_nothing() -> None:
    found = run(controlnet(zeroed(controlnet_weights(FOUR))))
    assert found.middle is not None
    assert not any(bool(map_.any()) for map_ in (*found.skips, found.middle) if map_ is not None)


def test_the_picture_comes_in_after_the_first_block() -> None:
    network = controlnet(controlnet_weights(UNetSize()))
    x, context, time = torch.randn(1, 4, 8, 8), torch.randn(1, 7, 32), torch.tensor([5.0])
    with torch.no_grad():
        embedded = network.embed(torch.rand(1, 3, 64, 64))
        assert embedded.shape == (1, 32, 8, 8)
        first = network(x, embedded, time, context).skips[0]
        torch.testing.assert_close(
            first, network.zero_convs[0](network.get_submodule("input_blocks.0.0")(x) + embedded)
        )


def test_a_union_controlnet_is_told_what_the_picture_is() -> None:
    weights = controlnet_weights(XL) | union_weights(XL)
    network = controlnet(weights)
    auto, depth, canny = (run(network, kind).middle for kind in (None, 1, 3))
    assert auto is not None
    assert depth is not None
    assert canny is not None
    assert len({float(each.sum()) for each in (auto, depth, canny)}) == 3


def test_the_shift_of_a_union_controlnet_by_hand() -> None:
    weights = controlnet_weights(XL) | union_weights(XL)
    network, hint = controlnet(weights), torch.rand(2, 3, 64, 64)
    at = "transformer_layes.0"
    with torch.no_grad():
        plain, shifted = network.embed(hint), network.embed(hint, 2)
        token = plain.mean((2, 3)) + weights["task_embedding"][2]
        # Attention of a single token to itself is its value.
        value = F.layer_norm(token, (32,)) @ weights[f"{at}.attn.in_proj_weight"][64:].T
        token = token + value @ weights[f"{at}.attn.out_proj.weight"].T
        inner = F.layer_norm(token, (32,)) @ weights[f"{at}.mlp.c_fc.weight"].T
        token = token + (inner * torch.sigmoid(1.702 * inner)) @ weights[f"{at}.mlp.c_proj.weight"].T
        expected = plain + (token @ weights["spatial_ch_projs.weight"].T)[:, :, None, None]
    torch.testing.assert_close(shifted, expected)


def test_no_type_is_an_embedding_of_zeros() -> None:
    network = controlnet(controlnet_weights(XL) | union_weights(XL))
    told = network.control_add_embedding
    cosines_then_sines = torch.tensor(([1.0] * 16 + [0.0] * 16) * 6)[None]
    with torch.no_grad():
        expected = told.linear_2(F.silu(told.linear_1(cosines_then_sines)))
        torch.testing.assert_close(told(None, torch.zeros(1)), expected)


@pytest.mark.parametrize("missing", ["input_hint_block.0.weight", "zero_convs.0.0.weight", "middle_block_out.0.weight"])
def test_a_missing_weight_is_named(missing: str) -> None:
    shapes = shapes_of(controlnet_weights(UNetSize()))
    del shapes[missing]
    with pytest.raises(ModelFileError, match=missing):
        controlnet_layout(shapes)


def test_the_picture_is_halved_three_times_in_the_real_layout() -> None:
    weights = {name: shape for name, shape in shapes_of(controlnet_weights(SD15)).items() if "hint" in name}
    encoder = controlnet_layout(shapes_of(controlnet_weights(UNetSize()))).encoder
    shapes = weights | {f"zero_convs.{i}.0.weight": (320, 320, 1, 1) for i in range(len(encoder.input_blocks))}
    shapes["middle_block_out.0.weight"] = (1280, 1280, 1, 1)
    network = ControlNetwork(controlnet_layout(shapes, encoder))
    strides = [layer.stride[0] for layer in network.input_hint_block if isinstance(layer, nn.Conv2d)]
    assert strides == [1, 1, 2, 1, 2, 1, 2, 1]


class TestAdapters:
    @pytest.mark.parametrize(
        "weights", [adapter_weights(), adapter_weights(channels=1), adapter_weights(xl=True), light_adapter_weights()]
    )
    def test_an_adapter_has_exactly_the_weights_it_was_read_from(self, weights: dict[str, Tensor]) -> None:
        assert shapes_of(adapter(weights).state_dict()) == shapes_of(weights)

    @pytest.mark.parametrize("weights", [adapter_weights(), light_adapter_weights()])
    def test_each_level_of_sd1_ends_with_a_map(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            found = adapter(weights)(torch.rand(2, 3, 64, 64))
        assert there(list(found.inputs)) == {2: (32, 8, 8), 5: (64, 4, 4), 8: (128, 2, 2), 11: (128, 1, 1)}
        assert found.middle is None
        assert not found.skips

    def test_sdxl_gets_maps_from_its_first_halving_on(self) -> None:
        with torch.no_grad():
            found = adapter(adapter_weights(xl=True, channels=1))(torch.rand(2, 1, 64, 64))
        assert there(list(found.inputs)) == {3: (32, 4, 4), 5: (64, 4, 4), 8: (128, 2, 2)}
        assert found.middle is not None
        assert found.middle.shape == (2, 128, 2, 2)

    @pytest.mark.parametrize(("xl", "size"), [(False, FOUR), (True, XL)])
    def test_the_maps_fit_the_unet_at_odd_sizes_too(self, xl: bool, size: UNetSize) -> None:
        x, context, base = torch.randn(1, 4, 7, 9), torch.randn(1, 7, 32), unet(size)
        height, width = (64, 80) if xl else (56, 72)
        with torch.no_grad():
            found = adapter(adapter_weights(xl=xl))(torch.rand(1, 3, height, width))
            steered = base(x, torch.tensor([3.0]), context, residuals=found)
            assert not torch.allclose(steered, base(x, torch.tensor([3.0]), context))

    def test_a_strided_convolution_may_halve_the_size(self) -> None:
        weights = adapter_weights()
        plain = adapter(weights)
        for level, width in ((1, 32), (2, 64), (3, 128)):
            weights[f"body.{2 * level}.down_opt.op.weight"] = torch.zeros(width, width, 3, 3)
            weights[f"body.{2 * level}.down_opt.op.bias"] = torch.zeros(width)
        strided, hint = adapter(weights), torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            one, other = plain(hint).inputs, strided(hint).inputs
        assert there(list(one)) == there(list(other))
        assert torch.equal(one[2] - other[2], torch.zeros(1, 32, 8, 8))  # pyright: ignore[reportOptionalOperand]
        assert not bool(torch.as_tensor(other[5]).any())
