"""Going on from a LoRA: its modules, under whatever names a trainer gave them, as first values of a new network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.lorafiles import LoraReader
from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import Family
from graphexec.lora.adapters.base import Adapter, Read, scale_of
from graphexec.lora.adapters.dora import Dora
from graphexec.lora.coverage import lora_coverage
from graphexec.lora.formats import LoraModule
from graphexec.lora.header import in_file, read_header
from graphexec.train.faults import TrainingError
from graphexec.train.network.base import TrainedAdapter
from graphexec.train.network.ranks import Ranked
from graphexec.train.network.rates import Placed
from graphexec.train.network.targets import Target

__all__ = ["Start"]

ENDS = {"down": "lora_down.weight", "up": "lora_up.weight", "magnitude": "dora_scale"}
"""From parts as readers call them to the ends of sd-scripts' names, where these differ."""


@dataclass(frozen=True, slots=True)
class Start:
    """A LoRA file for a UNet and text encoders: its modules by network and weight."""

    path: Path
    modules: Mapping[tuple[str, str], LoraModule]
    kinds: Sequence[str]
    read: Read
    told: tuple[str, ...]
    """What of the file changes nothing in these models."""

    @classmethod
    def open(cls, path: Path, unet: UNet, encoders: Sequence[ClipText], family: Family) -> Start:
        """Read a file's header; `ModelFileError` if it is no LoRA, or one for other models."""
        header, kinds = read_header(path), FAMILIES[family].encoders
        texts = {kind: _shapes(encoder) for kind, encoder in zip(kinds, encoders, strict=False)}
        with in_file(path):
            coverage = lora_coverage(_shapes(unet), texts, header)
        modules: dict[tuple[str, str], LoraModule] = {}
        for network, match in coverage.matches.items():
            for weight, found in match.found.items():
                if len(found) != 1:
                    raise TrainingError(f"{path}: it changes {weight} in several ways; one of them can be gone on with")
                modules[network, weight] = next(iter(found))
        return cls(path, modules, kinds, partial(LoraReader(), WeightsFile.of(path)), coverage.warnings())

    def of(self, targets: Iterable[Target]) -> Iterator[Ranked]:
        """The layers that the file changes, with its ranks and alphas."""
        for target in targets:
            if module := self._module(target):
                adapter = _plain(module.adapter)
                # What has no rank has whole factors, which are as wide as the layer allows.
                rank = adapter.rank or max(target.layer.weight.shape[:2])
                yield Ranked(target, rank, _alpha(adapter, rank, self.read))

    def fill(self, placed: Sequence[Placed]) -> tuple[str, ...]:
        """Give adapters the values of the file; what to tell of those that only one of both has.

        The file's alphas count, not the configuration's, so that nothing is changed before the first step. Raises
        `TrainingError` if an adapter is of another kind or rank than its module of the file.
        """
        known = [(each, module) for each in placed if (module := self._module(each.target))]
        for each, module in known:
            each.adapter.load(self._tensors(module, each.adapter, each.target))
        fresh, left = len(placed) - len(known), len(self.modules) - len(known)
        told = list(self.told)
        if fresh:
            told.append(f"{fresh} of {len(placed)} modules are not in {self.path.name} and begin anew")
        if left:
            told.append(f"{left} modules of {self.path.name} are not trained, and will not be in what is saved")
        return tuple(told)

    def _module(self, target: Target) -> LoraModule | None:
        network = "unet" if target.encoder is None else self.kinds[target.encoder]
        return self.modules.get((network, f"{target.place}.weight"))

    @torch.no_grad()
    def _tensors(self, module: LoraModule, adapter: TrainedAdapter, target: Target) -> dict[str, Tensor]:
        parts = {ENDS.get(name, name): part for name, part in module.adapter.parts.items() if name != "alpha"}
        mine = {name: tensor for name, tensor in adapter.tensors().items() if name != "alpha"}
        found = {name: self.read(part.tensor) for name, part in parts.items()}
        is_turned = isinstance(module.adapter, Dora) and not module.adapter.is_by_rows(adapter.shape)
        if is_turned or _sizes(found) != _sizes(mine):
            held = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in found.items())
            wanted = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in mine.items())
            raise TrainingError(
                f"{self.path}: {target.name} cannot be gone on with, since it holds {held}, and the network has"
                f" {wanted}; give the file's kind and rank, or set dim_from_weights for its ranks"
            )
        alpha = _alpha(_plain(module.adapter), adapter.rank, self.read)
        shaped = {name: tensor.float().reshape(mine[name].shape) for name, tensor in found.items()}
        return {"alpha": torch.tensor(alpha, device="cpu"), **shaped}  # a number even where a plan counts shapes alone


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes but for kernels of 1, which a file may leave out or add."""
    return {name: tuple(side for side in tensor.shape if side != 1) for name, tensor in tensors.items()}


def _plain(adapter: Adapter) -> Adapter:
    return adapter.inner if isinstance(adapter, Dora) else adapter


def _alpha(adapter: Adapter, rank: int, read: Read) -> float:
    """What gives an adapter of this rank the file's scale, which whole factors have none of."""
    return rank if adapter.rank is None else scale_of(adapter, adapter.rank, read) * rank
