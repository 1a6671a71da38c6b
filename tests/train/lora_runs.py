"""Small LoRAs trained on a tiny checkpoint and a few coloured pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from diffusion.tiny import write_checkpoint
from PIL import Image

from graphexec.train.config import (
    Dataset,
    LoopConfig,
    ModelSource,
    Network,
    Optimiser,
    Saving,
    Subset,
    TrainConfig,
)
from graphexec.train.events import Event
from graphexec.train.run import Trained, train

COLOURS = ("red", "green", "blue", "gold")


def write_pictures(folder: Path, count: int = 4) -> Path:
    """Pictures of one colour with captions that say which."""
    folder.mkdir(parents=True)
    for i in range(count):
        colour = COLOURS[i % len(COLOURS)]
        Image.new("RGB", (64, 64), colour).save(folder / f"{i}-{colour}.png")
        (folder / f"{i}-{colour}.txt").write_text(f"a {colour} square, number {i}")
    return folder


def config_of(folder: Path, family: str = "sd1", **changes: Any) -> TrainConfig:
    """A configuration in `folder`, whose checkpoint and pictures are made where they are missing."""
    checkpoint, pictures = folder / f"{family}.safetensors", folder / "pictures"
    if not checkpoint.exists():
        write_checkpoint(checkpoint, family=family)
    if not pictures.exists():
        write_pictures(pictures)
    config = TrainConfig(
        ModelSource(checkpoint),
        (Dataset((Subset(pictures),), (64, 64), batch_size=2),),
        Saving(folder / "out"),
        network=Network(rank=4, alpha=4),
        optimiser=Optimiser(learning_rate=1e-2),
        loop=LoopConfig(max_steps=6, seed=3, device="cpu"),
    )
    for part, values in changes.items():
        config = replace(config, **{part: _changed(getattr(config, part), values)})
    return config


def _changed(part: Any, values: Any) -> Any:
    return replace(part, **values) if isinstance(values, dict) else values


class Told(list[Event]):
    """Everything that a run told."""

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


def trained(config: TrainConfig, **options: Any) -> tuple[Trained, Told]:
    """Train, and what was told."""
    told = Told()
    return train(config, watch=told.append, **options), told
