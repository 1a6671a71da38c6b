"""Latents and encoded prompts that are there already, in batches, as a graph hands them to a node that trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.latent_format import to_model
from graphexec.diffusion.memory import sent
from graphexec.diffusion.sampling.inputs import size_vector
from graphexec.diffusion.types import Cond, Conditioning, Latent, Model
from graphexec.train.faults import TrainingError

__all__ = ["Example", "ExampleBatch", "Examples", "pair_examples"]

Warn = Callable[[str], object]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A picture's latent [1, C, h, w] at the model's scale, its prompt [1, T, D] and SDXL's vector [1, V]."""

    name: str
    latent: Tensor
    context: Tensor
    vector: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class ExampleBatch:
    """Examples of one size: `latents` [B, C, h, w], `context` [B, T, D], `vector` [B, V]."""

    names: tuple[str, ...]
    latents: Tensor
    context: Tensor
    vector: Tensor | None


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples in another order every epoch, those of one size together; the same again for the same seed."""

    examples: Sequence[Example]
    batch_size: int
    seed: int
    device: torch.device

    def epoch(self, epoch: int, first: int = 0) -> Iterator[ExampleBatch]:
        """The batches of an epoch from the `first`-th on."""
        draw = Random(f"{self.seed}/{epoch}")
        order = draw.sample(self.examples, len(self.examples))
        groups: dict[tuple[torch.Size, torch.Size], list[Example]] = {}
        for example in order:
            groups.setdefault((example.latent.shape, example.context.shape), []).append(example)
        batches = [
            group[start : start + self.batch_size]
            for group in groups.values()
            for start in range(0, len(group), self.batch_size)
        ]
        draw.shuffle(batches)
        for batch in batches[first:]:
            yield self._batch(batch)

    def _batch(self, batch: Sequence[Example]) -> ExampleBatch:
        vectors = [example.vector for example in batch if example.vector is not None]
        return ExampleBatch(
            tuple(example.name for example in batch),
            sent(torch.cat([example.latent for example in batch]), self.device),
            sent(torch.cat([example.context for example in batch]), self.device),
            sent(torch.cat(vectors), self.device) if vectors else None,
        )


def pair_examples(
    model: Model, latents: Sequence[Latent], positive: Sequence[Conditioning], warn: Warn
) -> list[Example]:
    """Each latent with its prompt, in their order; a single prompt is everybody's.

    Raises `TrainingError` if there are other numbers of both.
    """
    singles = [sample[None] for latent in latents for sample in latent.samples]
    conds = [cond for each in positive for cond in each.conds]
    if len(conds) == 1:
        conds *= len(singles)
    if len(conds) != len(singles):
        raise TrainingError(
            f"there are {len(singles)} pictures and {len(conds)} prompts: give as many prompts as pictures, or one"
        )
    if any(map(_is_placed, conds)):
        warn("areas, masks, controls, hooks and ranges of the prompts count for nothing while training")
    return [
        _example(f"picture {number}", model, sample, cond)
        for number, (sample, cond) in enumerate(zip(singles, conds, strict=True), 1)
    ]


def _example(name: str, model: Model, sample: Tensor, cond: Cond) -> Example:
    latent = to_model(model, sample.float())
    if not latent.isfinite().all():
        raise TrainingError(f"the latent of {name} holds NaN or infinity: look at the picture, or decode it in fp32")
    sizes = FAMILIES[model.family].size_numbers
    vector = size_vector(cond, model.family, latent, negative=False) if sizes else None
    return Example(name, latent, cond.embedding.float(), vector)


def _is_placed(cond: Cond) -> bool:
    placed = (cond.area, cond.region, cond.inpaint, cond.hooks, cond.grounding, *cond.controls)
    return any(each is not None for each in placed) or (cond.start, cond.end) != (0.0, 1.0)
