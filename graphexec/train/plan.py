"""What a run will do, known before its first step: what `--dry-run` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphexec.diffusion.checkpoint import read_layout
from graphexec.diffusion.faults import MissingLibrary
from graphexec.train.bases import check_base, text_layer
from graphexec.train.config import Optimiser, TrainConfig
from graphexec.train.data.buckets import Size
from graphexec.train.data.find import find_pictures
from graphexec.train.data.pictures import Data
from graphexec.train.data.seeds import generator
from graphexec.train.data.wording import Moment, caption

if TYPE_CHECKING:
    from graphexec.train.estimate import Cost

__all__ = ["Plan", "make_plan"]

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """A run before it is run. `steps` are the optimiser's; `seconds` is a rough estimate without what is cached first.

    `cost` is that of the largest bucket; `captions` are examples, as the first epoch would have them.
    """

    base: Path
    family: str
    prediction: str
    pictures: int
    used_per_epoch: int
    regularisation: int
    held_out: int
    buckets: Mapping[Size, int]
    captions: Sequence[tuple[str, str]]
    batch_sizes: Sequence[int]
    batches_per_epoch: int
    epochs: int
    steps: int
    cost: Cost
    seconds: float
    device: str
    output: Path
    warnings: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON."""
        cost = {name: getattr(self.cost, name) for name in (*COST_FIELDS, "memory_bytes")}
        plain = {name: getattr(self, name) for name in PLAIN_FIELDS}
        return {
            **plain,
            "base": str(self.base),
            "output": str(self.output),
            "buckets": [{"width": size[0], "height": size[1], "pictures": n} for size, n in self.buckets.items()],
            "captions": [{"picture": picture, "caption": text} for picture, text in self.captions],
            "cost": cost,
        }


COST_FIELDS = (
    "adapters",
    "parameters",
    "file_bytes",
    "weight_bytes",
    "training_bytes",
    "activation_bytes",
    "operations",
)
PLAIN_FIELDS = (
    "family",
    "prediction",
    "pictures",
    "used_per_epoch",
    "regularisation",
    "held_out",
    "batch_sizes",
    "batches_per_epoch",
    "epochs",
    "steps",
    "seconds",
    "device",
    "warnings",
)


def make_plan(config: TrainConfig) -> Plan:
    """Look at pictures and base, count what a step costs, and time how fast the device multiplies.

    Raises `GraphexecError` for what cannot be trained.
    """
    from graphexec.train.estimate import count_cost, measure_speed

    missing = _missing_library(config.optimiser)
    seed = config.loop.seed or 0
    data, layout = find_pictures(config.datasets, seed), read_layout(config.model.path)
    check_base(config.model, layout)
    text_layer(config.model.clip_skip, layout)
    steps, epochs = _length(config, data)
    cost = count_cost(config, layout, *data.largest_batch)
    speed = measure_speed(config.loop.device, config.loop.precision)
    batches = steps * config.loop.accumulation
    return Plan(
        base=config.model.path,
        family=layout.family,
        prediction="v" if config.model.predicts_v(in_file=layout.sampling.prediction == "v") else "eps",
        pictures=len(data.pictures),
        used_per_epoch=sum(picture.repeats for picture in data.pictures),
        regularisation=sum(picture.subset.is_reg for picture in data.pictures),
        held_out=len(data.validation.pictures) if data.validation is not None else 0,
        buckets=data.buckets,
        captions=_examples(data, seed, steps),
        batch_sizes=[dataset.batch_size for dataset in config.datasets],
        batches_per_epoch=data.batches_per_epoch,
        epochs=epochs,
        steps=steps,
        cost=cost,
        seconds=batches * cost.operations / speed.operations,
        device=speed.device,
        output=config.saving.lora,
        warnings=[*data.warnings, *cost.warnings, *missing],
    )


def _missing_library(optimiser: Optimiser) -> list[str]:
    """What the optimiser lacks here: a plan can be made all the same."""
    from graphexec.train.optimisers import check_arguments

    try:
        check_arguments(optimiser)
    except MissingLibrary as error:
        return [str(error)]
    return []


def _length(config: TrainConfig, data: Data) -> tuple[int, int]:
    """Steps of the optimiser, and epochs that they take."""
    each = math.ceil(data.batches_per_epoch / config.loop.accumulation)
    if config.loop.max_epochs is not None:
        return config.loop.max_epochs * each, config.loop.max_epochs
    steps = config.loop.max_steps or 0
    return steps, math.ceil(steps / each)


def _examples(data: Data, seed: int, steps: int) -> list[tuple[str, str]]:
    """The first pictures with the captions that they have in the first epoch."""
    moment = Moment(steps=steps)
    return [
        (
            picture.path.name,
            caption(picture.text, picture.subset.captions, moment, generator(seed, 0, number, 0, "caption")),
        )
        for number, picture in enumerate(data.pictures[:EXAMPLES])
    ]
