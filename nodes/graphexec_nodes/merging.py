"""Nodes that make one model of two, or multiply parts of one."""

from __future__ import annotations

from typing import Annotated

from graphexec.diffusion import merge
from graphexec.diffusion.types import Clip, Model
from graphexec.node.decorator import node
from graphexec.node.fields import Each, Range, Unit, Warn, Widget
from graphexec_nodes import facts

MERGING = "advanced/model_merging"
SPECIFIC = "advanced/model_merging/model_specific"
ATTENTION = "_for_testing/attention_experiments"

PARTS = ("input", "middle", "out")
MIDDLE = tuple(f"middle_block.{i}" for i in range(3))
SD1 = (
    *("time_embed.", "label_emb."),
    *(f"input_blocks.{i}." for i in range(12)),
    *(f"{name}." for name in MIDDLE),
    *(f"output_blocks.{i}." for i in range(12)),
    "out.",
)
SDXL = (
    *("time_embed.", "label_emb."),
    *(f"input_blocks.{i}" for i in range(9)),
    *MIDDLE,
    *(f"output_blocks.{i}" for i in range(9)),
    "out.",
)
"""Without dots after the numbers, as ComfyUI has them; the blocks are fewer than ten, so nothing is confused."""

Multiplier = Annotated[float, Range(ge=-10.0, le=10.0), Widget(step=0.01)]
Factor = Annotated[float, Range(ge=0.0, le=10.0), Widget(step=0.01)]
PartRatios = Annotated[Unit, Each(PARTS, 1.0)]
Sd1Ratios = Annotated[Unit, Each(SD1, 1.0)]
SdxlRatios = Annotated[Unit, Each(SDXL, 1.0)]


@node("ModelMergeSimple", category=MERGING, infer=facts.of_merged_models)
def merge_models(model1: Model, model2: Model, ratio: Unit = 1.0, *, warn: Warn) -> Model:
    """Interpolate between two models.

    Args:
        model1: the model that `ratio` is of.
        model2: the other model, of the same family.
        ratio: how much there is of the first; the rest is of the second.
    """
    merge.tell_unmerged(model1, model2, warn)
    return merge.interpolate(model1, model2, ratio)


@node("ModelMergeSubtract", category=MERGING, infer=facts.of_merged_models)
def subtract_models(model1: Model, model2: Model, multiplier: Multiplier = 1.0, *, warn: Warn) -> Model:
    """Take what one model has more than another: a difference, to be added to a model or saved as a LoRA.

    Args:
        model1: the model to take from.
        model2: the model that is taken away, of the same family.
        multiplier: of the difference.
    """
    merge.tell_unmerged(model1, model2, warn)
    return merge.subtract(model1, model2, multiplier)


@node("ModelMergeAdd", category=MERGING, infer=facts.of_merged_models)
def add_models(model1: Model, model2: Model, *, warn: Warn) -> Model:
    """Add the weights of two models, one of which is usually a difference.

    Args:
        model1: the model.
        model2: what is added, of the same family.
    """
    merge.tell_unmerged(model1, model2, warn)
    return merge.add(model1, model2)


@node("ModelMergeBlocks", category=MERGING, infer=facts.of_merged_models)
def merge_parts(model1: Model, model2: Model, *, warn: Warn, **ratios: PartRatios) -> Model:
    """Interpolate between two models, with a ratio each for the way down, the middle and the way up.

    Args:
        model1: the model that the ratios are of.
        model2: the other model, of the same family.
        ratios: how much there is of the first in this part; what is in none of them goes with `input`.
    """
    merge.tell_unmerged(model1, model2, warn)
    return merge.interpolate_blocks(model1, model2, {name: ratios[name] for name in PARTS})


@node("ModelMergeSD1", category=SPECIFIC, infer=facts.of_merged_models)
def merge_sd1(model1: Model, model2: Model, *, warn: Warn, **ratios: Sd1Ratios) -> Model:
    """Interpolate between two models of SD 1.x, with a ratio for each block.

    Args:
        model1: the model that the ratios are of.
        model2: the other model, of the same family.
        ratios: how much there is of the first in this block.
    """
    merge.tell_unmerged(model1, model2, warn)
    return merge.interpolate_blocks(model1, model2, {name: ratios[name] for name in SD1})


@node("ModelMergeSD2", category=SPECIFIC, infer=facts.of_merged_models)
def merge_sd2(model1: Model, model2: Model, *, warn: Warn, **ratios: Sd1Ratios) -> Model:
    """Interpolate between two models of SD 2.x, with a ratio for each block.

    Args:
        model1: the model that the ratios are of.
        model2: the other model, of the same family.
        ratios: how much there is of the first in this block.
    """
    merge.tell_unmerged(model1, model2, warn)
    return merge.interpolate_blocks(model1, model2, {name: ratios[name] for name in SD1})


@node("ModelMergeSDXL", category=SPECIFIC, infer=facts.of_merged_models)
def merge_sdxl(model1: Model, model2: Model, *, warn: Warn, **ratios: SdxlRatios) -> Model:
    """Interpolate between two models of SDXL, with a ratio for each block.

    Args:
        model1: the model that the ratios are of.
        model2: the other model, of the same family.
        ratios: how much there is of the first in this block.
    """
    merge.tell_unmerged(model1, model2, warn)
    return merge.interpolate_blocks(model1, model2, {name: ratios[name] for name in SDXL})


@node("CLIPMergeSimple", category=MERGING, infer=facts.of_merged_clips)
def merge_clips(clip1: Clip, clip2: Clip, ratio: Unit = 1.0, *, warn: Warn) -> Clip:
    """Interpolate between the text encoders of two models.

    Args:
        clip1: the text encoders that `ratio` is of.
        clip2: the others, of the same family.
        ratio: how much there is of the first; the rest is of the second.
    """
    merge.tell_unmerged(clip1, clip2, warn)
    return merge.interpolate(clip1, clip2, ratio)


@node("CLIPMergeSubtract", category=MERGING, infer=facts.of_merged_clips)
def subtract_clips(clip1: Clip, clip2: Clip, multiplier: Multiplier = 1.0, *, warn: Warn) -> Clip:
    """Take what the text encoders of one model have more than another's.

    Args:
        clip1: the text encoders to take from.
        clip2: those that are taken away, of the same family.
        multiplier: of the difference.
    """
    merge.tell_unmerged(clip1, clip2, warn)
    return merge.subtract(clip1, clip2, multiplier)


@node("CLIPMergeAdd", category=MERGING, infer=facts.of_merged_clips)
def add_clips(clip1: Clip, clip2: Clip, *, warn: Warn) -> Clip:
    """Add the weights of two models' text encoders, one of which is usually a difference.

    Args:
        clip1: the text encoders.
        clip2: what is added, of the same family.
    """
    merge.tell_unmerged(clip1, clip2, warn)
    return merge.add(clip1, clip2)


@node("CLIPAttentionMultiply", category=ATTENTION, infer=facts.of_clip)
def scale_clip(clip: Clip, q: Factor = 1.0, k: Factor = 1.0, v: Factor = 1.0, out: Factor = 1.0) -> Clip:
    """Multiply the attention weights of text encoders.

    Args:
        clip: the text encoders.
        q: factor of the queries.
        k: factor of the keys.
        v: factor of the values.
        out: factor of what attention gives.
    """
    return merge.scale(clip, {f"self_attn.{name}_proj": f for name, f in (("q", q), ("k", k), ("v", v), ("out", out))})


@node("UNetSelfAttentionMultiply", category=ATTENTION, infer=facts.of_model)
def scale_self(model: Model, q: Factor = 1.0, k: Factor = 1.0, v: Factor = 1.0, out: Factor = 1.0) -> Model:
    """Multiply the weights of a model's attention between the places of the picture.

    Args:
        model: the model.
        q: factor of the queries.
        k: factor of the keys.
        v: factor of the values.
        out: factor of what attention gives.
    """
    return merge.scale(model, {"attn1.to_q": q, "attn1.to_k": k, "attn1.to_v": v, "attn1.to_out.0": out})


@node("UNetCrossAttentionMultiply", category=ATTENTION, infer=facts.of_model)
def scale_cross(model: Model, q: Factor = 1.0, k: Factor = 1.0, v: Factor = 1.0, out: Factor = 1.0) -> Model:
    """Multiply the weights of a model's attention to the prompt.

    Args:
        model: the model.
        q: factor of the queries.
        k: factor of the keys.
        v: factor of the values.
        out: factor of what attention gives.
    """
    return merge.scale(model, {"attn2.to_q": q, "attn2.to_k": k, "attn2.to_v": v, "attn2.to_out.0": out})


@node("UNetTemporalAttentionMultiply", category=ATTENTION, infer=facts.of_model)
def scale_temporal(
    model: Model,
    self_structural: Factor = 1.0,
    self_temporal: Factor = 1.0,
    cross_structural: Factor = 1.0,
    cross_temporal: Factor = 1.0,
    *,
    warn: Warn,
) -> Model:
    """Multiply what a model's attention gives, apart for the picture and for time.

    Args:
        model: the model.
        self_structural: factor of attention between the places of the picture.
        self_temporal: factor of attention between frames; models of pictures have none.
        cross_structural: factor of attention to the prompt.
        cross_temporal: factor of attention to the prompt between frames; models of pictures have none.
    """
    if (self_temporal, cross_temporal) != (1.0, 1.0):
        warn("the model has no temporal attention: self_temporal and cross_temporal change nothing")
    return merge.scale(model, {"attn1.to_out.0": self_structural, "attn2.to_out.0": cross_structural})
