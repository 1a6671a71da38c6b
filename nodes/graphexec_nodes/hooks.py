"""Nodes for LoRAs whose strength changes while sampling goes on, and for conditionings that they change alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, NamedTuple, cast

from graphexec.diffusion.keyframes import Ease, eased, spread
from graphexec.diffusion.properties import beside, with_default, with_properties
from graphexec.diffusion.types import (
    Clip,
    Conditioning,
    Hook,
    HookKeyframes,
    Hooks,
    Keyframe,
    Mask,
    TimestepsRange,
)
from graphexec.node.decorator import node
from graphexec.node.fields import Name, NodeId, Range, Widget, Wire
from graphexec_nodes import hook_facts, prompt_facts
from graphexec_nodes.sockets import AllowPickle, CheckpointFile, LoraFile

HookStrength = Annotated[float, Range(ge=-20.0, le=20.0), Widget(step=0.01)]
Percent = Annotated[float, Range(ge=0.0, le=1.0), Widget(step=0.001)]
Eased = Annotated[float, Range(ge=0.0, le=10.0), Widget(step=0.001)]
CondStrength = Annotated[float, Range(ge=0.0, le=10.0), Widget(step=0.01)]
CondArea = Literal["default", "mask bounds"]
Keyframes = Annotated[HookKeyframes, Name("HOOK_KF")]


class Pair(NamedTuple):
    """A positive and a negative conditioning."""

    positive: Conditioning
    negative: Conditioning


class Ranges(NamedTuple):
    """A range of the sampling range, what lies before it and what after."""

    timesteps_range: Annotated[TimestepsRange, Name("TIMESTEPS_RANGE")]
    before_range: Annotated[TimestepsRange, Name("BEFORE_RANGE")]
    after_range: Annotated[TimestepsRange, Name("AFTER_RANGE")]


@node("CreateHookLora", category="advanced/hooks/create", display_name="Create Hook LoRA", infer=hook_facts.of_lora)
def hook_lora(
    lora_name: LoraFile,
    strength_model: HookStrength = 1.0,
    strength_clip: HookStrength = 1.0,
    prev_hooks: Hooks | None = None,
    *,
    node_id: NodeId,
) -> Hooks:
    """Make a hook of a LoRA: it changes only the conditionings that carry it, and may follow keyframes.

    Args:
        lora_name: a file of the loras folder.
        strength_model: how strongly the diffusion model changes.
        strength_clip: how strongly the text encoder changes.
        prev_hooks: hooks that it joins.
    """
    before = prev_hooks or Hooks()
    if strength_model == 0 and strength_clip == 0:
        return before
    return before.joined(Hooks((Hook.of_lora(lora_name, strength_model, strength_clip, node_id),)))


@node(
    "CreateHookLoraModelOnly",
    category="advanced/hooks/create",
    display_name="Create Hook LoRA (MO)",
    infer=hook_facts.of_lora_on_model,
)
def hook_lora_on_model(
    lora_name: LoraFile, strength_model: HookStrength = 1.0, prev_hooks: Hooks | None = None, *, node_id: NodeId
) -> Hooks:
    """Make a hook of a LoRA that leaves the text encoder alone.

    Args:
        lora_name: a file of the loras folder.
        strength_model: how strongly the diffusion model changes.
        prev_hooks: hooks that it joins.
    """
    return hook_lora(lora_name, strength_model, 0.0, prev_hooks, node_id=node_id)


@node(
    "CreateHookModelAsLora",
    category="advanced/hooks/create",
    display_name="Create Hook Model as LoRA",
    infer=hook_facts.of_model,
)
def hook_model(
    ckpt_name: CheckpointFile,
    strength_model: HookStrength = 1.0,
    strength_clip: HookStrength = 1.0,
    prev_hooks: Hooks | None = None,
    *,
    node_id: NodeId,
    allow_pickle: AllowPickle,
) -> Hooks:
    """Make a hook of a checkpoint: the model in use is moved towards it.

    Args:
        ckpt_name: a file of the checkpoints folder.
        strength_model: how far the diffusion model is moved; 1 is all the way.
        strength_clip: how far the text encoder is moved.
        prev_hooks: hooks that it joins.
    """
    from graphexec.diffusion.checkpoint import open_checkpoint

    model, clip, _ = open_checkpoint(ckpt_name, allow_pickle=allow_pickle)
    hook = Hook.of_model(model, clip, strength_model, strength_clip, node_id)
    return (prev_hooks or Hooks()).joined(Hooks((hook,)))


@node(
    "CreateHookModelAsLoraModelOnly",
    category="advanced/hooks/create",
    display_name="Create Hook Model as LoRA (MO)",
    infer=hook_facts.of_model_alone,
)
def hook_model_alone(
    ckpt_name: CheckpointFile,
    strength_model: HookStrength = 1.0,
    prev_hooks: Hooks | None = None,
    *,
    node_id: NodeId,
    allow_pickle: AllowPickle,
) -> Hooks:
    """Make a hook of a checkpoint that leaves the text encoder alone.

    Args:
        ckpt_name: a file of the checkpoints folder.
        strength_model: how far the diffusion model is moved; 1 is all the way.
        prev_hooks: hooks that it joins.
    """
    return hook_model(ckpt_name, strength_model, 0.0, prev_hooks, node_id=node_id, allow_pickle=allow_pickle)


@node(
    "SetHookKeyframes",
    category="advanced/hooks/scheduling",
    display_name="Set Hook Keyframes",
    infer=hook_facts.of_hooks,
)
def follow_keyframes(hooks: Hooks, hook_kf: HookKeyframes | None = None) -> Hooks:
    """Let hooks follow keyframes.

    Args:
        hooks: the hooks.
        hook_kf: their strengths over the sampling range.
    """
    if hook_kf is None:
        return hooks
    return Hooks(tuple(replace(hook, keyframes=hook_kf) for hook in hooks.hooks))


@node("CreateHookKeyframe", category="advanced/hooks/scheduling", display_name="Create Hook Keyframe")
def make_keyframe(
    strength_mult: HookStrength = 1.0, start_percent: Percent = 0.0, prev_hook_kf: HookKeyframes | None = None
) -> Keyframes:
    """Make a keyframe: from a point of the sampling range on, hooks count times a strength.

    Args:
        strength_mult: the strength.
        start_percent: the point, until the next keyframe's.
        prev_hook_kf: keyframes that it joins.
    """
    return (prev_hook_kf or HookKeyframes()).joined((Keyframe(start_percent, strength_mult),))


@node(
    "CreateHookKeyframesInterpolated",
    category="advanced/hooks/scheduling",
    display_name="Create Hook Keyframes Interp.",
)
def make_keyframes(
    strength_start: Eased = 1.0,
    strength_end: Eased = 1.0,
    *,
    interpolation: Ease,
    start_percent: Percent = 0.0,
    end_percent: Percent = 1.0,
    keyframes_count: Annotated[int, Range(ge=2, le=100), Widget(step=1)] = 5,
    print_keyframes: bool = False,
    prev_hook_kf: HookKeyframes | None = None,
) -> Keyframes:
    """Make keyframes that go from one strength to another.

    Args:
        strength_start: the first strength.
        strength_end: the last strength.
        interpolation: evenly, or slower at the start, the end or both.
        start_percent: where the first one begins.
        end_percent: where the last one begins.
        keyframes_count: how many.
        print_keyframes: has no effect.
        prev_hook_kf: keyframes that they join.
    """
    strengths = eased(strength_start, strength_end, keyframes_count, interpolation)
    return (prev_hook_kf or HookKeyframes()).joined(spread(strengths, start_percent, end_percent))


@node(
    "CreateHookKeyframesFromFloats",
    category="advanced/hooks/scheduling",
    display_name="Create Hook Keyframes From Floats",
)
def keyframes_of(
    floats_strength: Annotated[object, Wire("FLOATS"), Range(ge=-1), Widget(step=0.001)] = -1,
    start_percent: Percent = 0.0,
    end_percent: Percent = 1.0,
    print_keyframes: bool = False,
    prev_hook_kf: HookKeyframes | None = None,
) -> Keyframes:
    """Make keyframes of given strengths.

    Args:
        floats_strength: the strengths, a number or several.
        start_percent: where the first one begins.
        end_percent: where the last one begins.
        print_keyframes: has no effect.
        prev_hook_kf: keyframes that they join.
    """
    several = cast("list[float]", floats_strength if isinstance(floats_strength, list | tuple) else [floats_strength])
    strengths = [float(strength) for strength in several]
    return (prev_hook_kf or HookKeyframes()).joined(spread(strengths, start_percent, end_percent))


@node("CombineHooks2", category="advanced/hooks/combine", display_name="Combine Hooks [2]", infer=hook_facts.of_hooks)
def combine_two_hooks(
    hooks_A: Hooks | None = None,
    hooks_B: Hooks | None = None,
) -> Hooks:
    """Put hooks together."""
    return _joined(hooks_A, hooks_B)


@node("CombineHooks4", category="advanced/hooks/combine", display_name="Combine Hooks [4]", infer=hook_facts.of_hooks)
def combine_four_hooks(
    hooks_A: Hooks | None = None,
    hooks_B: Hooks | None = None,
    hooks_C: Hooks | None = None,
    hooks_D: Hooks | None = None,
) -> Hooks:
    """Put hooks together."""
    return _joined(hooks_A, hooks_B, hooks_C, hooks_D)


@node("CombineHooks8", category="advanced/hooks/combine", display_name="Combine Hooks [8]", infer=hook_facts.of_hooks)
def combine_eight_hooks(
    hooks_A: Hooks | None = None,
    hooks_B: Hooks | None = None,
    hooks_C: Hooks | None = None,
    hooks_D: Hooks | None = None,
    hooks_E: Hooks | None = None,
    hooks_F: Hooks | None = None,
    hooks_G: Hooks | None = None,
    hooks_H: Hooks | None = None,
) -> Hooks:
    """Put hooks together."""
    return _joined(hooks_A, hooks_B, hooks_C, hooks_D, hooks_E, hooks_F, hooks_G, hooks_H)


@node("SetClipHooks", category="advanced/hooks/clip", display_name="Set CLIP Hooks", infer=hook_facts.of_hooked_clip)
def hook_clip(clip: Clip, apply_to_conds: bool = True, schedule_clip: bool = False, hooks: Hooks | None = None) -> Clip:
    """Let hooks change a text encoder.

    Args:
        clip: the text encoder.
        apply_to_conds: let the hooks also change the diffusion model where it follows these prompts.
        schedule_clip: encode prompts once for each strength of the hooks, instead of once as if they had no keyframes.
        hooks: the hooks.
    """
    if hooks is None:
        return clip
    return replace(clip, hooks=hooks, scheduled=schedule_clip, led_by_hooks=apply_to_conds)


@node("ConditioningTimestepsRange", category="advanced/hooks", display_name="Timesteps Range")
def make_range(start_percent: Percent = 0.0, end_percent: Percent = 1.0) -> Ranges:
    """A part of the sampling range, and the parts before and after it.

    Args:
        start_percent: where it begins.
        end_percent: where it ends.
    """
    return Ranges(
        TimestepsRange(start_percent, end_percent), TimestepsRange(0.0, start_percent), TimestepsRange(end_percent, 1.0)
    )


@node(
    "ConditioningSetProperties",
    category="advanced/hooks/cond single",
    display_name="Cond Set Props",
    infer=prompt_facts.of_prompts,
)
def set_properties(
    cond_NEW: Conditioning,
    strength: CondStrength = 1.0,
    *,
    set_cond_area: CondArea,
    mask: Mask | None = None,
    hooks: Hooks | None = None,
    timesteps: TimestepsRange | None = None,
) -> Conditioning:
    """Set where and when a conditioning counts, and which hooks it carries.

    Args:
        cond_NEW: the conditioning.
        strength: how strongly it counts inside the mask.
        set_cond_area: also compute it only inside the mask's bounds.
        mask: where it counts.
        hooks: what changes the model for it.
        timesteps: when it counts.
    """
    return with_properties(cond_NEW, strength, set_cond_area == "mask bounds", mask, hooks, timesteps)


@node(
    "ConditioningSetPropertiesAndCombine",
    category="advanced/hooks/cond single",
    display_name="Cond Set Props Combine",
    infer=prompt_facts.of_prompts,
)
def add_with_properties(
    cond: Conditioning,
    cond_NEW: Conditioning,
    strength: CondStrength = 1.0,
    *,
    set_cond_area: CondArea,
    mask: Mask | None = None,
    hooks: Hooks | None = None,
    timesteps: TimestepsRange | None = None,
) -> Conditioning:
    """Set properties of a conditioning, and put it beside another.

    Args:
        cond: the other.
        cond_NEW: the conditioning.
        strength: how strongly it counts inside the mask.
        set_cond_area: also compute it only inside the mask's bounds.
        mask: where it counts.
        hooks: what changes the model for it.
        timesteps: when it counts.
    """
    return beside(cond, with_properties(cond_NEW, strength, set_cond_area == "mask bounds", mask, hooks, timesteps))


@node(
    "PairConditioningSetProperties",
    category="advanced/hooks/cond pair",
    display_name="Cond Pair Set Props",
    infer=prompt_facts.of_pairs,
)
def set_properties_of_both(
    positive_NEW: Conditioning,
    negative_NEW: Conditioning,
    strength: CondStrength = 1.0,
    *,
    set_cond_area: CondArea,
    mask: Mask | None = None,
    hooks: Hooks | None = None,
    timesteps: TimestepsRange | None = None,
) -> Pair:
    """Set where and when two conditionings count, and which hooks they carry.

    Args:
        positive_NEW: the positive one.
        negative_NEW: the negative one.
        strength: how strongly they count inside the mask.
        set_cond_area: also compute them only inside the mask's bounds.
        mask: where they count.
        hooks: what changes the model for them.
        timesteps: when they count.
    """
    bounds = set_cond_area == "mask bounds"
    return Pair(
        with_properties(positive_NEW, strength, bounds, mask, hooks, timesteps),
        with_properties(negative_NEW, strength, bounds, mask, hooks, timesteps),
    )


@node(
    "PairConditioningSetPropertiesAndCombine",
    category="advanced/hooks/cond pair",
    display_name="Cond Pair Set Props Combine",
    infer=prompt_facts.of_pairs,
)
def add_both_with_properties(
    positive: Conditioning,
    negative: Conditioning,
    positive_NEW: Conditioning,
    negative_NEW: Conditioning,
    strength: CondStrength = 1.0,
    *,
    set_cond_area: CondArea,
    mask: Mask | None = None,
    hooks: Hooks | None = None,
    timesteps: TimestepsRange | None = None,
) -> Pair:
    """Set properties of two conditionings, and put them beside two others.

    Args:
        positive: the other positive one.
        negative: the other negative one.
        positive_NEW: the positive one.
        negative_NEW: the negative one.
        strength: how strongly they count inside the mask.
        set_cond_area: also compute them only inside the mask's bounds.
        mask: where they count.
        hooks: what changes the model for them.
        timesteps: when they count.
    """
    bounds = set_cond_area == "mask bounds"
    return Pair(
        beside(positive, with_properties(positive_NEW, strength, bounds, mask, hooks, timesteps)),
        beside(negative, with_properties(negative_NEW, strength, bounds, mask, hooks, timesteps)),
    )


@node(
    "PairConditioningCombine",
    category="advanced/hooks/cond pair",
    display_name="Cond Pair Combine",
    infer=prompt_facts.of_pairs,
)
def combine_pairs(
    positive_A: Conditioning,
    negative_A: Conditioning,
    positive_B: Conditioning,
    negative_B: Conditioning,
) -> Pair:
    """Put two pairs of conditionings side by side."""
    return Pair(beside(positive_A, positive_B), beside(negative_A, negative_B))


@node(
    "ConditioningSetDefaultCombine",
    category="advanced/hooks/cond single",
    display_name="Cond Set Default Combine",
    infer=prompt_facts.of_prompts,
)
def add_default(
    cond: Conditioning,
    cond_DEFAULT: Conditioning,
    hooks: Hooks | None = None,
) -> Conditioning:
    """Add a conditioning that fills what the masks of others leave free.

    Args:
        cond: the others.
        cond_DEFAULT: what fills the rest.
        hooks: what changes the model for it.
    """
    return with_default(cond, cond_DEFAULT, hooks)


@node(
    "PairConditioningSetDefaultCombine",
    category="advanced/hooks/cond pair",
    display_name="Cond Pair Set Default Combine",
    infer=prompt_facts.of_pairs,
)
def add_default_to_both(
    positive: Conditioning,
    negative: Conditioning,
    positive_DEFAULT: Conditioning,
    negative_DEFAULT: Conditioning,
    hooks: Hooks | None = None,
) -> Pair:
    """Add conditionings that fill what the masks of others leave free.

    Args:
        positive: the other positive ones.
        negative: the other negative ones.
        positive_DEFAULT: what fills the rest of the positive.
        negative_DEFAULT: what fills the rest of the negative.
        hooks: what changes the model for them.
    """
    return Pair(with_default(positive, positive_DEFAULT, hooks), with_default(negative, negative_DEFAULT, hooks))


def _joined(*several: Hooks | None) -> Hooks:
    together = Hooks()
    for hooks in several:
        together = together.joined(hooks)
    return together
