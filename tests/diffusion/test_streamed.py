"""Networks whose weights wait on the host and lie on the device only while their own layer computes.

Without a GPU, weights that are not there are NaN in place of being on another device.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch
from diffusion.test_control_models import XL, adapter, controlnet, shapes_of, unet
from diffusion.test_gligen import FEATURE, gligen_weights
from diffusion.tiny import UNetSize, random_weights, text_shapes, vae_shapes
from diffusion.tiny_control import adapter_weights, controlnet_weights, light_adapter_weights, union_weights
from torch import Tensor, nn

from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.gligen import GligenNetwork, Grounded, gligen_parts
from graphexec.diffusion.models.layout import clip_layout, vae_layout
from graphexec.diffusion.models.names import named_shapes
from graphexec.diffusion.models.vae import Autoencoder

MOVED = ("task_embedding",)
"""What its user takes to the device itself."""


def let_wait(*networks: nn.Module) -> None:
    """The weights are NaN but while their layer computes."""
    for layer in (layer for network in networks for layer in network.modules()):
        own = {name: p.data for name, p in layer.named_parameters(recurse=False) if name not in MOVED}

        def bring(layer: nn.Module, inputs: object, own: dict[str, Tensor] = own) -> None:
            for name, data in own.items():
                layer.get_parameter(name).data = data

        def take(layer: nn.Module, inputs: object, output: object, own: dict[str, Tensor] = own) -> None:
            for name, data in own.items():
                layer.get_parameter(name).data = torch.full_like(data, torch.nan)

        take(layer, None, None)
        layer.register_forward_pre_hook(bring)
        layer.register_forward_hook(take)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def finite(*found: Tensor | None) -> bool:
    return all(bool(each.isfinite().all()) for each in found if each is not None)


def test_a_unet_sees_the_things_of_a_gligen() -> None:
    weights = gligen_weights(UNetSize())
    shapes = named_shapes(shapes_of(weights), gligen_parts(shapes_of(weights)))
    network, base = GligenNetwork(shapes), unet(UNetSize())
    network.load_state_dict({name: weights[part.name] for name, part in gligen_parts(shapes_of(weights)).items()})
    let_wait(network, base)
    seen = Grounded(network, network(torch.ones(1, FEATURE), torch.ones(1, 4)))
    assert finite(base(torch.ones(2, 4, 8, 8), torch.ones(2), torch.ones(2, 7, 32), taps=[seen]))


@pytest.mark.parametrize("union_type", [None, 2])
def test_a_union_controlnet(union_type: int | None) -> None:
    network = controlnet(controlnet_weights(XL) | union_weights(XL))
    let_wait(network)
    embedded = network.embed(torch.ones(1, 3, 64, 64), union_type)
    found = network(torch.ones(2, 4, 8, 8), embedded, torch.ones(2), torch.ones(2, 7, 32), None, union_type)
    assert finite(embedded, found.middle, *found.skips)


@pytest.mark.parametrize("weights", [adapter_weights(), light_adapter_weights()])
def test_an_adapter(weights: Mapping[str, Tensor]) -> None:
    network = adapter(weights)
    let_wait(network)
    assert finite(*network(torch.ones(1, 3, 64, 64)).skips)


def test_a_text_encoder() -> None:
    network = ClipText(clip_layout(text_shapes()))
    network.load_state_dict(random_weights(text_shapes(), 0, torch.float32))
    let_wait(network)
    vectors = network.embeddings.token_embedding(torch.ones(1, 77, dtype=torch.int64))
    assert finite(network(vectors, torch.ones(1, dtype=torch.int64)).hidden)


def test_an_autoencoder() -> None:
    network = Autoencoder(vae_layout(vae_shapes()))
    network.load_state_dict(random_weights(vae_shapes(), 0, torch.float32))
    let_wait(network)
    assert finite(network.decode(network.encode(torch.ones(1, 3, 64, 64))))
