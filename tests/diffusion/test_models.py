# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from diffusion.tiny import SD15, UNetSize, random_weights, text_shapes, unet_shapes, vae_shapes
from torch import nn
from torch.overrides import TorchFunctionMode

from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.layout import clip_layout, unet_layout, vae_layout
from graphexec.diffusion.models.taps import Residuals
from graphexec.diffusion.models.unet import Attention, UNet, timestep_embedding
from graphexec.diffusion.models.vae import Autoencoder


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(
    "size",
    [
        SD15,
        UNetSize(),
        UNetSize(64, (1, 2, 2), 1, (True, True, True), 64),
        UNetSize(32, (1, 2, 4), 3, (False, False, True), 48, depth=2, linear=True),
        UNetSize(32, (1,), 2, (False,)),
    ],
)
def test_a_unet_has_exactly_the_weights_it_was_read_from(size: UNetSize) -> None:
    with torch.device("meta"):
        unet = UNet(unet_layout(unet_shapes(size)))
    assert shapes_of(unet) == unet_shapes(size)


def test_text_encoder_and_autoencoder_have_exactly_the_weights_they_were_read_from() -> None:
    text, vae = text_shapes(768, 12), vae_shapes(128, (1, 2, 4, 4), 2)
    with torch.device("meta"):
        assert shapes_of(ClipText(clip_layout(text))) == text
        assert shapes_of(Autoencoder(vae_layout(vae))) == vae
    assert clip_layout(text).heads == 12
    assert vae_layout(vae).downscale == 8


def loaded(size: UNetSize) -> UNet:
    unet = UNet(unet_layout(unet_shapes(size)))
    unet.load_state_dict(random_weights(unet_shapes(size), 0, torch.float32))
    return unet


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7), (1, 3)])
def test_sizes_that_do_not_halve_come_back_whole(height: int, width: int) -> None:
    size = UNetSize(32, (1, 1, 1), 1, (True, False, True))
    with torch.no_grad():
        out = loaded(size)(torch.randn(2, 4, height, width), torch.tensor([1, 999]), torch.randn(2, 77, 32))
    assert out.shape == (2, 4, height, width)


def test_linear_and_convolutional_projections_of_equal_weights_agree() -> None:
    conv, linear = loaded(UNetSize()), loaded(UNetSize(linear=True))
    weights = {name: w.reshape(linear.get_parameter(name).shape) for name, w in conv.state_dict().items()}
    linear.load_state_dict(weights)
    for module in linear.modules():
        if isinstance(module, Attention):
            module.heads = 8  # as in SD 1.x, which projects by convolutions
    x, t, context = torch.randn(1, 4, 8, 8), torch.tensor([500]), torch.randn(1, 77, 32)
    with torch.no_grad():
        torch.testing.assert_close(conv(x, t, context), linear(x, t, context), rtol=1e-4, atol=1e-5)


def test_residuals_are_added_where_they_fit() -> None:
    unet, given = loaded(UNetSize()), (torch.randn(1, 4, 8, 8), torch.tensor([500]), torch.randn(1, 77, 32))
    other = [torch.ones(1, 1, 4, 4)], torch.ones(1, 1, 8, 8)
    with torch.no_grad():
        plain = unet(*given)
        assert torch.equal(unet(*given, residuals=Residuals(other[0], other[1], other[0])), plain)
        everywhere = unet(*given, residuals=Residuals(middle=torch.ones(1, 1, 1, 1)))
        assert torch.equal(everywhere, unet(*given, residuals=Residuals(middle=torch.ones(1, 1, 4, 4))))
        assert not torch.equal(everywhere, plain)


def test_the_timestep_embedding() -> None:
    embedding = timestep_embedding(torch.tensor([0, 10]), 8)
    assert torch.equal(embedding[0], torch.tensor([1.0] * 4 + [0.0] * 4))
    torch.testing.assert_close(embedding[1, 1], torch.tensor(10 * 10000 ** (-1 / 4)).cos())
    assert timestep_embedding(torch.tensor([3]), 5).shape == (1, 5)


def test_the_autoencoder_keeps_its_scale() -> None:
    vae = Autoencoder(vae_layout(vae_shapes()))
    vae.load_state_dict(random_weights(vae_shapes(), 0, torch.float32))
    with torch.no_grad():
        latent = vae.encode(torch.randn(1, 3, 16, 24))
        assert latent.shape == (1, 4, 2, 3)
        assert vae.decode(latent).shape == (1, 3, 16, 24)


def test_the_vaes_attention_needs_no_matrix_of_pixels_by_pixels() -> None:
    """torch's kernels that do without take only what lies channel by channel."""

    class Watching(TorchFunctionMode):
        strides: ClassVar[list[int]] = []

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func.__name__ == "scaled_dot_product_attention":
                self.strides.extend(each.stride(-1) for each in args[:3])
            return func(*args, **kwargs or {})

    vae = Autoencoder(vae_layout(vae_shapes()))
    with Watching() as seen, torch.no_grad():
        vae.decode(torch.zeros(1, 4, 6, 8))
    assert seen.strides == [1, 1, 1]
