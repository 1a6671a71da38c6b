"""LoRAs whose strength changes while sampling goes on. One rule serves the model and its text encoders.

A keyframe counts from its start until the next one's, that end not included; the first counts before its start too.
Text encoders that are not scheduled know no keyframes: there hooks count whole.
(ComfyUI counts keyframes that begin inside one step a step each, and its text encoders before the first one as 1.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from graphexec.diffusion.loras import coverage_in, unused
from graphexec.diffusion.merge import check_families, unmerged
from graphexec.diffusion.types import Clip, Hook, HookKeyframes, Hooks, Keyframe, LoraPatch, MergePatch, Model

__all__ = ["Segment", "clip_segments", "hook_warnings", "hooked_model"]

RecipeT = TypeVar("RecipeT", Model, Clip)


class Levels(Protocol):
    """The noise levels of a model."""

    def percent_to_sigma(self, percent: float, /) -> float:
        """The level at a fraction of the sampling range: 0 lies above all levels, 1 is none."""
        ...


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the sampling range, its end not included, and the text encoders there."""

    start: float
    end: float
    clip: Clip


def hooked_model(model: Model, hooks: Hooks | None, sigma: float, levels: Levels) -> Model:
    """The model as hooks change it at a noise level."""
    if hooks is None:
        return model
    return _changed(model, ((hook.model, _at_sigma(hook.keyframes, sigma, levels)) for hook in hooks.hooks))


def clip_segments(clip: Clip) -> list[Segment]:
    """The text encoders for each part of the sampling range in which their hooks' strengths stay the same."""
    if clip.hooks is None:
        return [Segment(0.0, 1.0, clip)]
    if not clip.scheduled:
        whole = Hooks(tuple(replace(hook, keyframes=HookKeyframes()) for hook in clip.hooks.hooks))
        return [Segment(0.0, 1.0, _hooked_clip(clip, whole, 0.0))]
    starts = {0.0, *(frame.start for hook in clip.hooks.hooks for frame in hook.keyframes.frames)}
    edges = sorted(start for start in starts if start < 1)
    segments: list[Segment] = []
    for start, end in zip(edges, [*edges[1:], 1.0], strict=True):
        hooked = _hooked_clip(clip, clip.hooks, start)
        if segments and segments[-1].clip == hooked:
            segments[-1] = replace(segments[-1], end=end)
        else:
            segments.append(Segment(start, end, hooked))
    return segments


def hook_warnings(
    hooks: Sequence[Hook], model: Model | None, clip: Clip | None, *, strict_lora: bool = False
) -> list[str]:
    """What of hooks changes nothing in a model or its text encoders.

    Raises `ModelFileError` for a LoRA or model of another family, with `strict_lora` for one that is used in part.
    """
    found: dict[str, None] = {}
    if model:
        for patch in dict.fromkeys(hook.model for hook in hooks):
            found |= dict.fromkeys(_unused(patch, model, None, strict_lora))
    if clip:
        for patch in dict.fromkeys(hook.clip for hook in hooks):
            found |= dict.fromkeys(_unused(patch, None, clip, strict_lora))
    return list(found)


def _unused(
    patch: LoraPatch | MergePatch | None, model: Model | None, clip: Clip | None, strict_lora: bool
) -> list[str]:
    recipe = model or clip
    if isinstance(patch, LoraPatch):
        coverage = coverage_in(model, clip, patch.file)
        told = unused(coverage, patch.file.path, strict=strict_lora)
        return [f"{patch.file.path.name}: {warning}" for warning in told]
    if patch is None or recipe is None:
        return []
    check_families(recipe, patch.other)
    names = unmerged(recipe, patch.other)
    return [f"{len(names)} weights have none of their size in the other model and stay as they are"] if names else []


def _hooked_clip(clip: Clip, hooks: Hooks, fraction: float) -> Clip:
    return _changed(replace(clip, hooks=None), ((hook.clip, _at_fraction(hook, fraction)) for hook in hooks.hooks))


def _changed(recipe: RecipeT, patches: Iterable[tuple[LoraPatch | MergePatch | None, float]]) -> RecipeT:
    """The recipe with patches times their factors, without those that come to nothing."""
    unpatched, changed = replace(recipe, patches=()), recipe
    for patch, factor in patches:
        if patch is None or factor == 0:
            continue
        if isinstance(patch, LoraPatch):
            parts: list[LoraPatch | MergePatch] = [replace(patch, strength=patch.strength * factor)]
        else:
            shares = [(prefix, strength * factor) for prefix, strength, _ in patch.ratios]
            parts = [*_moved(unpatched, patch.other, shares, alone=not changed.patches)]
        changed = replace(changed, patches=(*changed.patches, *parts))
    return changed


def _moved(
    unpatched: Model | Clip, other: Model | Clip, shares: Sequence[tuple[str, float]], *, alone: bool
) -> list[MergePatch]:
    """What adds shares of the difference between another recipe and the unpatched one, whatever else is added."""
    if alone:
        # The same, without the rounding of adding and taking away.
        return [MergePatch(other, tuple((prefix, share, 1.0 - share) for prefix, share in shares))]
    return [
        MergePatch(other, tuple((prefix, share, 1.0) for prefix, share in shares)),
        MergePatch(unpatched, tuple((prefix, -share, 1.0) for prefix, share in shares)),
    ]


def _at_sigma(keyframes: HookKeyframes, sigma: float, levels: Levels) -> float:
    begun = [frame for frame in keyframes.frames if sigma <= levels.percent_to_sigma(frame.start)]
    return _strength(keyframes, begun)


def _at_fraction(hook: Hook, fraction: float) -> float:
    return _strength(hook.keyframes, [frame for frame in hook.keyframes.frames if frame.start <= fraction])


def _strength(keyframes: HookKeyframes, begun: Sequence[Keyframe]) -> float:
    if not keyframes.frames:
        return 1.0
    return begun[-1].strength if begun else keyframes.frames[0].strength
