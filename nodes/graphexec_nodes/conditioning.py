"""Nodes that turn prompts into conditioning, join it, and say where and when it counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from graphexec.diffusion.types import Area, Clip, Conditioning, EncoderKind, Mask, SizeHint, Weighting
from graphexec.node.decorator import node
from graphexec.node.fields import Range, Text, Unit, Warn, Widget
from graphexec_nodes import facts, prompt_facts
from graphexec_nodes.sockets import Embeddings, Runtime

Size = Annotated[int, Range(ge=0, le=16_384)]
Side = Annotated[int, Range(ge=64, le=16_384), Widget(step=8)]
Place = Annotated[int, Range(ge=0, le=16_384), Widget(step=8)]
Layer = Annotated[int, Range(ge=-24, le=-1), Widget(step=1)]
CondStrength = Annotated[float, Range(ge=0.0, le=10.0), Widget(step=0.01)]
Fraction = Annotated[float, Range(ge=0.0, le=1.0), Widget(step=0.001)]
Score = Annotated[float, Range(ge=0.0, le=1000.0), Widget(step=0.01)]


@node("CLIPTextEncode", category="conditioning", display_name="CLIP Text Encode (Prompt)", infer=prompt_facts.of_text)
def encode_text(text: Text, clip: Clip, runtime: Runtime, embeddings: Embeddings, warn: Warn) -> Conditioning:
    """Encode a prompt for the diffusion model to be led by.

    Args:
        text: the prompt; `(words:1.2)` weighs them, `embedding:name` stands for a file of the embeddings folder.
        clip: the text encoder.
    """
    from graphexec.diffusion.encode import encode_prompt

    return encode_prompt(runtime, clip, text, embeddings=embeddings, warn=warn)


@node("CLIPTextEncodeControlnet", category="_for_testing/conditioning", infer=prompt_facts.of_prompts)
def encode_for_control(
    clip: Clip, conditioning: Conditioning, text: Text, *, runtime: Runtime, embeddings: Embeddings, warn: Warn
) -> Conditioning:
    """Encode a prompt that ControlNets are told, while the diffusion model is led by a conditioning of its own.

    Args:
        clip: the text encoder.
        conditioning: what the diffusion model is led by.
        text: what ControlNets are told.
    """
    from graphexec.diffusion.encode import encode_prompt

    told = encode_prompt(runtime, clip, text, embeddings=embeddings, warn=warn).conds[0].embedding
    return Conditioning(tuple(replace(cond, control_embedding=told) for cond in conditioning.conds))


@node("CLIPTextEncodeSDXL", category="advanced/conditioning", infer=prompt_facts.of_sdxl_text)
def encode_sdxl(
    clip: Clip,
    width: Size = 1024,
    height: Size = 1024,
    crop_w: Size = 0,
    crop_h: Size = 0,
    target_width: Size = 1024,
    target_height: Size = 1024,
    *,
    text_g: Text,
    text_l: Text,
    runtime: Runtime,
    embeddings: Embeddings,
    warn: Warn,
) -> Conditioning:
    """Encode a prompt for SDXL: a text for each of its encoders, and what it is told of the picture's size.

    Args:
        clip: SDXL's text encoders.
        width: of the picture that this is a copy of, in pixels.
        height: of that picture.
        crop_w: how much is cut off at its left.
        crop_h: how much is cut off at its top.
        target_width: of the picture itself.
        target_height: of the picture itself.
        text_g: the prompt for the large encoder.
        text_l: the prompt for the small encoder.
    """
    from graphexec.diffusion.encode import encode_prompt

    size = SizeHint(width, height, crop_w, crop_h, target_width, target_height)
    texts: dict[EncoderKind, str] = {"clip_l": text_l, "clip_g": text_g}
    return encode_prompt(runtime, clip, texts, embeddings=embeddings, size=size, warn=warn)


@node("CLIPTextEncodeSDXLRefiner", category="advanced/conditioning", infer=prompt_facts.of_refiner_text)
def encode_refiner(
    ascore: Score = 6.0,
    width: Size = 1024,
    height: Size = 1024,
    *,
    text: Text,
    clip: Clip,
    runtime: Runtime,
    embeddings: Embeddings,
    warn: Warn,
) -> Conditioning:
    """Encode a prompt for SDXL's refiner, with the size and the beauty that the picture should have.

    Args:
        ascore: how beautiful the picture is, up to 10.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        text: the prompt.
        clip: the refiner's text encoder.
    """
    from graphexec.diffusion.encode import encode_prompt

    size = SizeHint(width, height, 0, 0, width, height, ascore)
    return encode_prompt(runtime, clip, text, embeddings=embeddings, size=size, warn=warn)


@node("CLIPSetLastLayer", category="conditioning", display_name="CLIP Set Last Layer", infer=facts.of_last_layer)
def set_last_layer(clip: Clip, stop_at_clip_layer: Layer = -1) -> Clip:
    """Take the output of an earlier layer of the text encoder ("CLIP skip").

    Args:
        clip: the text encoder.
        stop_at_clip_layer: -1 is the last layer, -2 the one before.
    """
    return replace(clip, last_layer=stop_at_clip_layer)


@node("CLIPSetWeighting", category="conditioning", display_name="CLIP Set Weighting", infer=facts.of_clip)
def set_weighting(clip: Clip, weighting: Weighting = "comfy") -> Clip:
    """Choose how the weights of a prompt's words work; a node of graphexec's own.

    Args:
        clip: the text encoder.
        weighting: comfy moves words away from the empty prompt; a1111 multiplies them and keeps the mean; compel moves
            them away from the empty prompt too, and lowers words by drawing towards the prompt without them.
    """
    return replace(clip, weighting=weighting)


@node(
    "ConditioningCombine", category="conditioning", display_name="Conditioning (Combine)", infer=prompt_facts.of_prompts
)
def combine(conditioning_1: Conditioning, conditioning_2: Conditioning) -> Conditioning:
    """Let the model be led by both; their predictions are averaged.

    Args:
        conditioning_1: the one.
        conditioning_2: the other.
    """
    return Conditioning(conditioning_1.conds + conditioning_2.conds)


@node(
    "ConditioningConcat", category="conditioning", display_name="Conditioning (Concat)", infer=prompt_facts.of_prompts
)
def concat(conditioning_to: Conditioning, conditioning_from: Conditioning, *, warn: Warn) -> Conditioning:
    """Put the tokens of one prompt behind those of another.

    Args:
        conditioning_to: whose tokens come first.
        conditioning_from: whose tokens are added.
    """
    from graphexec.diffusion.conditioning import concat as join

    _warn_of_many(conditioning_from, warn)
    return join(conditioning_to, conditioning_from)


@node("ConditioningAverage", category="conditioning", infer=prompt_facts.of_prompts)
def average(
    conditioning_to: Conditioning,
    conditioning_from: Conditioning,
    conditioning_to_strength: Unit = 1.0,
    *,
    warn: Warn,
) -> Conditioning:
    """Mix the embeddings of two prompts.

    Args:
        conditioning_to: the one prompt.
        conditioning_from: the other.
        conditioning_to_strength: how much of the first; the rest is of the second.
    """
    from graphexec.diffusion.conditioning import average as mix

    _warn_of_many(conditioning_from, warn)
    return mix(conditioning_to, conditioning_from, conditioning_to_strength)


@node(
    "ConditioningSetArea",
    category="conditioning",
    display_name="Conditioning (Set Area)",
    infer=prompt_facts.of_area,
)
def set_area(
    conditioning: Conditioning,
    width: Side = 64,
    height: Side = 64,
    x: Place = 0,
    y: Place = 0,
    strength: CondStrength = 1.0,
) -> Conditioning:
    """Let a prompt count only in a part of the picture.

    Args:
        conditioning: the prompt.
        width: of the part, in pixels.
        height: of the part, in pixels.
        x: of its left side.
        y: of its upper side.
        strength: how strongly the prompt counts there.
    """
    return conditioning.placed(Area(width, height, x, y), strength)


@node(
    "ConditioningSetAreaPercentage",
    category="conditioning",
    display_name="Conditioning (Set Area with Percentage)",
    infer=prompt_facts.of_prompts,
)
def set_area_percentage(
    conditioning: Conditioning,
    width: Unit = 1.0,
    height: Unit = 1.0,
    x: Unit = 0.0,
    y: Unit = 0.0,
    strength: CondStrength = 1.0,
) -> Conditioning:
    """Let a prompt count only in a part of the picture, given in fractions of its sides.

    Args:
        conditioning: the prompt.
        width: of the part.
        height: of the part.
        x: of its left side.
        y: of its upper side.
        strength: how strongly the prompt counts there.
    """
    return conditioning.placed(Area(width, height, x, y, relative=True), strength)


@node("ConditioningSetAreaStrength", category="conditioning", infer=prompt_facts.of_prompts)
def set_area_strength(conditioning: Conditioning, strength: CondStrength = 1.0) -> Conditioning:
    """Say how strongly a prompt counts beside others.

    Args:
        conditioning: the prompt.
        strength: how strongly it counts.
    """
    return conditioning.strengthened(strength)


@node(
    "ConditioningSetMask",
    category="conditioning",
    display_name="Conditioning (Set Mask)",
    infer=prompt_facts.of_prompts,
)
def set_mask(
    conditioning: Conditioning,
    mask: Mask,
    strength: CondStrength = 1.0,
    *,
    set_cond_area: Literal["default", "mask bounds"],
) -> Conditioning:
    """Let a prompt count only where a mask is white.

    Args:
        conditioning: the prompt.
        mask: where it counts.
        strength: how strongly it counts there.
        set_cond_area: mask bounds computes it on the box around the mask alone.
    """
    from graphexec.diffusion.conditioning import set_mask as mark

    return mark(conditioning, mask, strength, to_bounds=set_cond_area == "mask bounds")


@node("ConditioningSetTimestepRange", category="advanced/conditioning", infer=prompt_facts.of_prompts)
def set_timestep_range(conditioning: Conditioning, start: Fraction = 0.0, end: Fraction = 1.0) -> Conditioning:
    """Let a prompt count only during a part of the sampling.

    Args:
        conditioning: the prompt.
        start: the fraction of the sampling at which it begins to count.
        end: the fraction at which it ends.
    """
    return conditioning.timed(start, end)


@node("ConditioningZeroOut", category="advanced/conditioning", infer=prompt_facts.of_prompts)
def zero_out(conditioning: Conditioning) -> Conditioning:
    """Put zeros in place of a prompt's embedding.

    Args:
        conditioning: the prompt.
    """
    from graphexec.diffusion.conditioning import zero_out as clear

    return clear(conditioning)


def _warn_of_many(conditioning: Conditioning, warn: Warn) -> None:
    if len(conditioning.conds) > 1:
        warn(f"conditioning_from holds {len(conditioning.conds)} prompts; only the first one is used")
