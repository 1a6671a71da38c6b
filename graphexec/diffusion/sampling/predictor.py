"""What a model estimates under lists of conds: grouped into as few forward passes as fit, then weighted together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from graphexec.diffusion.control import ControlRunner
from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.gligen import grounded
from graphexec.diffusion.hooks import hooked_model
from graphexec.diffusion.models.layout import UNetLayout
from graphexec.diffusion.models.taps import NO_TAPS, Taps
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.conds import Box, Prepared, prepare
from graphexec.diffusion.sampling.discrete import ModelSampling
from graphexec.diffusion.sampling.effects.base import Effect, Pass, Predict, Side
from graphexec.diffusion.sampling.inputs import Surroundings, extra_channels, size_vector
from graphexec.diffusion.types import Conditioning, Control, Model
from graphexec.errors import ModelFileError

__all__ = ["Asked", "Predictor", "Shown"]

LONGEST_REPEAT = 4
"""Conds of different lengths share a forward pass if repeating makes none more than so many times longer."""
NOTHING = 1e-37
"""Keeps places that no cond covers from a division by zero."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A cond with what the UNet is shown of it: `context` [N, T, D], `vector` [N, V], `extra` [B, E, h, w]."""

    prepared: Prepared
    context: Tensor
    vector: Tensor | None
    extra: Tensor | None
    controls: tuple[Control, ...]
    control_context: Tensor
    """What ControlNets are told; mostly the context itself."""

    def rows(self, batch: int) -> tuple[Tensor | None, Tensor | None]:
        """Its vector and extra channels for a batch, inside its box."""
        box = self.prepared.box
        extra = box.cut(self.extra) if box and self.extra is not None else self.extra
        return None if self.vector is None else _to_batch(self.vector, batch), extra


@dataclass(frozen=True, slots=True)
class Asked:
    """A list of conds to predict under, and the side it belongs to."""

    side: Side
    conds: Sequence[Shown]


@dataclass(frozen=True, slots=True)
class Job:
    """One cond of one list, in one forward pass."""

    of: int
    side: Side
    shown: Shown
    weight: Tensor | None
    model: Model

    def joins(self, group: Sequence[Job]) -> bool:
        """Whether it fits into a forward pass with others."""
        first, own = group[0].shown, self.shown
        lengths = [own.context.shape[1], *(job.shown.context.shape[1] for job in group)]
        return (
            self.model == group[0].model
            and _size(own.prepared) == _size(first.prepared)
            and [*map(id, own.controls)] == [*map(id, first.controls)]
            and own.prepared.grounding is first.prepared.grounding
            and math.lcm(*lengths) <= LONGEST_REPEAT * min(lengths)
        )


@dataclass(slots=True)
class Predictor:
    """A model on the way through one sampling run."""

    runtime: Runtime
    model: Model
    levels: ModelSampling
    around: Surroundings
    effects: Sequence[Effect] = ()
    layout: UNetLayout = field(init=False)
    """The UNet's."""
    steer: ControlRunner = field(init=False)
    _apart: bool = field(default=False, init=False)
    """Whether there was no memory for several conds in one forward pass."""
    _latest: Model | None = field(default=None, init=False)
    """The recipe of the last forward pass."""
    _known: list[Control] = field(default_factory=list[Control], init=False)
    _ready: dict[int, list[Shown]] = field(default_factory=dict[int, list[Shown]], init=False)

    def __post_init__(self) -> None:
        self.steer = ControlRunner(self.runtime, self.model, self.levels)
        with self.runtime.unet(self.model) as unet:
            self.layout = unet.layout

    def show(self, conds: Sequence[Prepared], *, negative: bool = False) -> list[Shown]:
        """Conds with what the UNet is shown of each, on its device."""
        return [self._shown(prepared, negative) for prepared in conds]

    def ready(self, conditioning: Conditioning) -> list[Shown]:
        """A conditioning of an option, made ready once."""
        if id(conditioning) not in self._ready:
            prepared = prepare(conditioning, self.levels, self.around.latent)
            self._ready[id(conditioning)] = self.show(prepared, negative=True)
        return self._ready[id(conditioning)]

    def __call__(self, x: Tensor, sigma: float, asked: Sequence[Asked], taps: Taps = NO_TAPS) -> list[Tensor]:
        """The noiseless latents [B, C, h, w] estimated from `x` at `sigma`, under each list of conds."""
        jobs = [job for of, each in enumerate(asked) for job in self._jobs(of, each, x, sigma)]
        groups = _groups(jobs)
        estimates = {id(group): self._run(group, x, sigma, taps) for group in self._in_turn(groups)}
        found: list[list[tuple[Job, Tensor]]] = [[] for _ in asked]
        for group in groups:
            for job, estimate in zip(group, estimates[id(group)], strict=True):
                found[job.of].append((job, estimate))
        return [_together(x, parts) for parts in found]

    def _shown(self, prepared: Prepared, negative: bool) -> Shown:
        cond, latent, layout = prepared.cond, self.around.latent, self.layout
        dtype = self.runtime.dtype_of(self.model)
        missing, context = layout.in_channels - latent.shape[1], cond.embedding.to(latent.device, dtype)
        with_vector = layout.vector_width is not None
        vector = size_vector(cond, self.model.family, latent, negative=negative).to(dtype) if with_vector else None
        self._check_widths(context, vector)
        return Shown(
            prepared,
            context,
            vector,
            extra_channels(cond, missing, self.around) if missing else None,
            tuple(map(self._one_of, prepared.controls)),
            context if cond.control_embedding is None else cond.control_embedding.to(context),
        )

    def _check_widths(self, context: Tensor, vector: Tensor | None) -> None:
        """Raise `ModelFileError` for a prompt that is encoded for models of another family."""
        given = context.shape[-1], None if vector is None else vector.shape[-1]
        if given != (self.layout.context_width or given[0], self.layout.vector_width):
            own = FAMILIES[self.model.family].title
            raise ModelFileError(
                f"{self.model.file.path.name} is a model of the family {own}, which takes prompts"
                f" {self.layout.context_width} wide, and this prompt is {given[0]} wide: it was encoded for another"
                " family; encode it with the text encoder that belongs to the model"
            )

    def _one_of(self, control: Control) -> Control:
        """The same object for equal controls, so that conds which share one share a forward pass."""
        known = next((known for known in self._known if _alike(known, control)), None)
        if known is None:
            self._known.append(control)
        return known or control

    def _jobs(self, of: int, asked: Asked, x: Tensor, sigma: float) -> list[Job]:
        """The conds of a list that take part; default conds fill what the others leave free."""
        active = [
            Job(of, asked.side, shown, shown.prepared.weight, self._model(shown, sigma))
            for shown in asked.conds
            if shown.prepared.active(sigma)
        ]
        jobs = [job for job in active if not job.shown.prepared.cond.default]
        defaults = [job for job in active if job.shown.prepared.cond.default]
        if not (jobs and defaults):
            return active
        left = _left(x, jobs)
        return [*jobs, *(replace(job, weight=_inside(left, job.shown.prepared.box)) for job in defaults)]

    def _model(self, shown: Shown, sigma: float) -> Model:
        return hooked_model(self.model, shown.prepared.cond.hooks, sigma, self.levels)

    def _in_turn(self, groups: list[list[Job]]) -> list[list[Job]]:
        """Groups in the order to run them: as the UNet last was first, so that hooks change it once a noise level.

        Effects may draw or remember something at each pass; with any the order stays.
        """
        if not self.effects:
            groups = sorted(groups, key=lambda group: group[0].model != self._latest)
        self._latest = groups[-1][0].model if groups else self._latest
        return groups

    def _run(self, group: Sequence[Job], x: Tensor, sigma: float, taps: Taps) -> Sequence[Tensor]:
        """The estimate for each job of a group; where memory is short, one after the other."""

        def together() -> Sequence[Tensor]:
            return self._forward(group, x, sigma, taps)

        def apart() -> Sequence[Tensor]:
            self._apart = True
            return [estimate for job in group for estimate in self._forward([job], x, sigma, taps)]

        # The group's own model: taking the run's first would put hooks off and on again at every step.
        with self.runtime.unet(group[0].model) as unet:
            first, *smaller = [together] if len(group) == 1 else [apart] if self._apart else [together, apart]
            return self.runtime.within_memory(first, "the sampling step", smaller=smaller, network=unet)

    def _forward(self, group: Sequence[Job], x: Tensor, sigma: float, taps: Taps) -> Sequence[Tensor]:
        parts = torch.cat([_inside(x, job.shown.prepared.box) for job in group])
        context, vector, extra = _stacked([job.shown for job in group], len(x))
        timesteps = torch.full((len(parts),), float(self.levels.timestep(sigma)), device=x.device)
        forward = Pass(sigma, [job.side for job in group], tuple(id(job.shown) for job in group))
        taps = [*taps, *(tap for effect in self.effects if (tap := effect.tap(forward)) is not None)]
        grounding, cells = group[0].shown.prepared.grounding, parts.shape[-2:]

        def network(scaled: Tensor) -> Tensor:
            inputs = scaled if extra is None else torch.cat([scaled, extra.to(scaled)], dim=1)
            residuals = None
            if controls := group[0].shown.controls:
                told = _joined([job.shown.control_context for job in group], len(x))
                residuals = self.steer(controls, parts, sigma, timesteps, told, vector, len(group))
            things = grounded(self.runtime, grounding, self.model, cells)
            # Asked for again: a difference that is loaded for a ControlNet may have put other patches on the UNet.
            with self.runtime.unet(group[0].model) as unet, things as seen:
                shown = inputs.to(context.dtype), timesteps, context, vector, residuals
                looks = [*taps, *seen]
                # Taps change what flows as they like, from step to step: nothing to compile.
                return (unet(*shown, looks) if looks else self.runtime.forward(unet, *shown)).to(scaled.dtype)

        predict: Predict = network
        for effect in reversed(self.effects):
            predict = partial(effect.network, forward=forward, predict=predict)
        output = predict(self.levels.scale_input(parts, sigma))
        return self.levels.denoised(output, sigma, parts).unflatten(0, (len(group), -1)).unbind()


def _alike(one: Control, other: Control) -> bool:
    if one is other:
        return True
    plain = all(getattr(one, name) == getattr(other, name) for name in ("net", "strength", "start", "end", "vae"))
    return plain and torch.equal(one.hint, other.hint) and _equal(one.mask, other.mask)


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def _left(x: Tensor, jobs: Sequence[Job]) -> Tensor:
    """The weight [B, 1, h, w] that jobs leave free."""
    left = torch.ones_like(x[:, :1])
    for job in jobs:
        _inside(left, job.shown.prepared.box).sub_(1.0 if job.weight is None else job.weight)
    return left.clamp(min=0)


def _groups(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs by forward pass, in order."""
    groups: list[list[Job]] = []
    for job in jobs:
        fitting = next((group for group in groups if job.joins(group)), None)
        if fitting is None:
            groups.append([job])
        else:
            fitting.append(job)
    return groups


def _size(prepared: Prepared) -> tuple[int, int] | None:
    return None if prepared.box is None else (prepared.box.height, prepared.box.width)


def _stacked(shown: Sequence[Shown], batch: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
    rows = [each.rows(batch) for each in shown]
    vectors = [vector for vector, _ in rows if vector is not None]
    extras = [extra for _, extra in rows if extra is not None]
    contexts = _joined([each.context for each in shown], batch)
    return contexts, torch.cat(vectors) if vectors else None, torch.cat(extras) if extras else None


def _joined(contexts: Sequence[Tensor], batch: int) -> Tensor:
    """Contexts of all conds, each for a batch, repeated to a common length."""
    length = math.lcm(*(context.shape[1] for context in contexts))
    return torch.cat([_to_batch(context, batch).repeat(1, length // context.shape[1], 1) for context in contexts])


def _to_batch(rows: Tensor, batch: int) -> Tensor:
    """Repeated or cut to a batch."""
    return rows if len(rows) == batch else rows.repeat(-(-batch // len(rows)), *[1] * (rows.ndim - 1))[:batch]


def _together(x: Tensor, parts: Sequence[tuple[Job, Tensor]]) -> Tensor:
    """The weighted mean of estimates, each inside its box; 0 where there are none."""
    if parts and all(job.weight is None and job.shown.prepared.box is None for job, _ in parts):
        estimates = [estimate for _, estimate in parts]
        return estimates[0] if len(estimates) == 1 else torch.stack(estimates).mean(0)
    total, weights = torch.zeros_like(x), torch.full_like(x, NOTHING)
    for job, estimate in parts:
        box = job.shown.prepared.box
        _inside(total, box).add_(estimate if job.weight is None else estimate * job.weight)
        _inside(weights, box).add_(1.0 if job.weight is None else job.weight)
    return total / weights


def _inside(x: Tensor, box: Box | None) -> Tensor:
    """A view of x inside a box."""
    return x if box is None else box.cut(x)
