"""Tiny frozen models of each family, and what a file changes in them by the project's own LoRA reader."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusion.tiny import write_checkpoint
from torch import Tensor, nn

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.loading import TEXT, UNET, Source, Weights, load_network
from graphexec.diffusion.loras import Loaded, load_lora
from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.types import Clip, Family, Model
from graphexec.lora import list_modules
from graphexec.lora.header import Header, TensorInfo
from graphexec.train.config import Network
from graphexec.train.network import TrainedNetwork
from graphexec.train.output import save_lora

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Base:
    """A checkpoint and its networks in float32."""

    family: Family
    model: Model
    clip: Clip
    unet: UNet
    encoders: tuple[ClipText, ...]

    def attach(
        self, config: Network, seed: int = 0, warn: Callable[[str], object] = lambda message: None
    ) -> TrainedNetwork:
        return TrainedNetwork.attach(config, self.unet, self.encoders, self.family, seed, warn)

    def load(self, network: TrainedNetwork, path: Path, metadata: Mapping[str, str] | None = None) -> Loaded:
        """Save what was trained, and read it as any LoRA."""
        save_lora(path, network.tensors(), metadata or {})
        return load_lora(self.model, self.clip, path, 1.0, 1.0)

    def predict(self, unet: UNet | None = None) -> Tensor:
        """Something that the whole UNet (another one of its layout, if given) takes part in."""
        generator = torch.Generator().manual_seed(7)
        layout = self.unet.layout
        vector = layout.vector_width and torch.randn(2, layout.vector_width, generator=generator)
        context = torch.randn(2, 5, layout.context_width or 0, generator=generator)
        network = unet or self.unet
        with torch.no_grad():
            return network(torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([3, 700]), context, vector)


MakeBase = Callable[[Family], Base]


def make_base(folder: Path, family: Family) -> Base:
    """Write a checkpoint and load it."""
    path = write_checkpoint(folder / f"{family}.safetensors", family=family)
    model, clip, _ = open_checkpoint(path)
    unet = load_network(UNET, Weights(Source(model.file, model.prefix), UNET.parts), CPU, torch.float32)
    kinds = [(TEXT[each.kind], Source(each.file, each.prefix)) for each in clip.encoders]
    encoders = tuple(load_network(kind, Weights(source, kind.parts), CPU, torch.float32) for kind, source in kinds)
    return Base(family, model, clip, unet, encoders)


def shake(network: TrainedNetwork, spread: float = 0.1) -> None:
    """Give every parameter a value other than its first one."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=spread)


def are_same(first: TrainedNetwork, second: TrainedNetwork) -> bool:
    """Whether two networks would be saved alike."""
    mine, other = first.tensors(), second.tensors()
    return mine.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in mine.items())


def read_changed(tensors: Mapping[str, Tensor], name: str, layer: nn.Linear | nn.Conv2d) -> Tensor:
    """The weight of a layer after the modules of a file that are for it."""
    infos = {key: TensorInfo("F32", tuple(t.shape), 0, 0) for key, t in tensors.items() if key.startswith(f"{name}.")}
    (module,) = list_modules(Header(infos, {})).modules
    weight = layer.weight.detach().float().clone()
    assert module.adapter.fits(tuple(weight.shape))
    return module.adapter.change(weight, 1.0, lambda key: tensors[key].float())
