"""ComfyUI's nodes for Stable Diffusion that are not here, and why: what documents, findings and tests say of them."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ABSENT"]

_BY_REASON: Mapping[str, tuple[str, ...]] = {
    "It belongs to models of the Flux, SD3, AuraFlow or Stable Cascade families, which graphexec does not run.": (
        "ControlNetInpaintingAliMamaApply",
        "ModelSamplingAuraFlow",
        "ModelSamplingFlux",
        "ModelSamplingSD3",
        "ModelSamplingStableCascade",
        "OptimalStepsScheduler",
        "SkipLayerGuidanceDiT",
        "SkipLayerGuidanceDiTSimple",
        "T5TokenizerOptions",
    ),
    "It belongs to video models, which graphexec does not run.": ("ContextWindowsManual", "WanContextWindowsManual"),
    "It belongs to unCLIP models, which are out of scope.": ("unCLIPCheckpointLoader", "unCLIPConditioning"),
    "It belongs to Stability's x4 upscaler, a model with a UNet of its own, which graphexec does not run.": (
        "SD_4XUpscale_Conditioning",
    ),
    "PhotoMaker brings an identity encoder of its own, which graphexec does not run.": (
        "PhotoMakerEncode",
        "PhotoMakerLoader",
    ),
    "Its noise levels are a table of 285 rows that is nowhere but in ComfyUI's own code.": ("GITSScheduler",),
    "CLIP's picture encoder serves unCLIP models, which are out of scope, and style models, which exist for Stable"
    " Diffusion 1.4 alone and as pickles.": (
        "CLIPVisionEncode",
        "CLIPVisionLoader",
        "StyleModelApply",
        "StyleModelLoader",
    ),
    "It writes SVG files, and no node for Stable Diffusion makes any.": ("SaveSVGNode",),
}

ABSENT: Mapping[str, str] = {name: reason for reason, names in _BY_REASON.items() for name in names}
"""Name of a node -> why it is not here."""
