"""The values that flow between the operations: recipes of models, conditioning, latents, pictures.

Importing this module does not import torch. `Image`, `Mask` and `Sigmas` are plain tensors to a type checker and
marker classes at run time, so that a signature that names them can be read without torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from graphexec.diffusion.sources import LoraModel, LoraSource, WeightsFile

if TYPE_CHECKING:
    from typing import TypeAlias

    from torch import Tensor

    Image: TypeAlias = Tensor
    Mask: TypeAlias = Tensor
    Sigmas: TypeAlias = Tensor
else:

    class Image:
        """Pictures: float32 [B, H, W, C], 0 to 1."""

    class Mask:
        """Masks: float32 [B, H, W], 0 to 1; 1 is where something happens."""

    class Sigmas:
        """Noise levels of a sampling run: float32 [steps + 1], falling."""


__all__ = [
    "DOWNSCALE",
    "LATENT_CHANNELS",
    "Area",
    "Clip",
    "Cond",
    "Conditioning",
    "Control",
    "ControlNet",
    "EncoderKind",
    "Family",
    "Gligen",
    "GroundedBox",
    "Grounding",
    "Hook",
    "HookKeyframes",
    "Hooks",
    "Image",
    "Inpaint",
    "Keyframe",
    "Latent",
    "LoraPatch",
    "LossMap",
    "Mask",
    "MergePatch",
    "Model",
    "ModelOption",
    "Patch",
    "Precision",
    "Prediction",
    "Region",
    "Sampling",
    "ScalePatch",
    "Sigmas",
    "SizeHint",
    "Stored",
    "TextEncoder",
    "TimestepsRange",
    "UpscaleModel",
    "Vae",
    "Weighting",
]

Family = Literal["sd1", "sd2", "sdxl", "sdxl_refiner"]

Prediction = Literal["eps", "v", "x0", "lcm", "edm", "img_to_img"]
"""What a network predicts: the noise, the velocity (Salimans and Ho 2022), the noiseless latent, as LCM or EDM does.

`img_to_img` predicts the noiseless latent too, and takes its input as it is instead of scaled.
"""

EncoderKind = Literal["clip_l", "clip_h", "clip_g"]

LATENT_CHANNELS = 4
DOWNSCALE = 8
"""Pixels a side of a latent's cell, and the numbers that it holds, in every family."""

Weighting = Literal["comfy", "a1111", "compel"]
"""How the weights of a prompt's pieces change its embedding."""

Precision = Literal["fp32", "fp16", "bf16"]
"""What a UNet computes in."""


Stored = Literal["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]
"""A precision that a model's weights are rounded to before they are computed with; default: as in the file."""


@dataclass(frozen=True, slots=True)
class Latent:
    """Latents as the VAE's encoder gives them (not scaled): `samples` [B, C, h, w].

    `noise_mask` ([B, H, W] or [B, 1, H, W], any size): 1 where sampling may change them. `batch_index`: which item of
    a batch each one is, so that it draws the same noise alone as it would in its batch.
    """

    samples: Tensor
    noise_mask: Tensor | None = None
    batch_index: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class LossMap:
    """The loss of each step of a training run."""

    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LoraPatch:
    """A LoRA file at a strength, with factors for parts of the UNet by the beginning of a weight's name.

    `comfy`: computed as ComfyUI does even where it is wrong and pictures may depend on that.
    """

    file: LoraSource
    strength: float
    blocks: tuple[tuple[str, float], ...] = ()
    comfy: bool = False

    @classmethod
    def of(cls, lora: Path | LoraModel, strength: float, blocks: tuple[tuple[str, float], ...] = ()) -> Self:
        """A file as it is now (`ModelFileError` if there is none), or a LoRA that lies in none."""
        return cls(lora if isinstance(lora, LoraModel) else WeightsFile.of(lora), strength, blocks)


@dataclass(frozen=True, slots=True)
class Keyframe:
    """From the fraction `start` of the sampling range on, hooks count times `strength`."""

    start: float
    strength: float


@dataclass(frozen=True, slots=True)
class HookKeyframes:
    """Strengths over the sampling range, each until the next begins; the first also counts before its start."""

    frames: tuple[Keyframe, ...] = ()

    def joined(self, others: Iterable[Keyframe]) -> HookKeyframes:
        """These and others, in the order of their starts; of equal starts the later given counts."""
        by_start = {frame.start: frame for frame in (*self.frames, *others)}
        return HookKeyframes(tuple(by_start[start] for start in sorted(by_start)))


@dataclass(frozen=True, slots=True)
class Hook:
    """A LoRA, or another model instead of one, whose strengths follow keyframes; None leaves that network alone.

    `made_by`: the node that made it. Hooks of two nodes add up, however equal; by two ways from one node they are one.
    """

    model: LoraPatch | MergePatch | None
    clip: LoraPatch | MergePatch | None
    keyframes: HookKeyframes = HookKeyframes()
    made_by: str | None = None

    @classmethod
    def of_lora(cls, path: Path, strength_model: float, strength_clip: float, made_by: str | None = None) -> Self:
        """A LoRA file as it is now; strength 0 leaves a network alone."""
        strengths = (strength_model, strength_clip)
        model, clip = (LoraPatch.of(path, strength) if strength else None for strength in strengths)
        return cls(model, clip, made_by=made_by)

    @classmethod
    def of_model(
        cls, model: Model, clip: Clip, strength_model: float, strength_clip: float, made_by: str | None = None
    ) -> Self:
        """A model towards which the one in use is moved: at strength 1 it takes its place.

        As with a LoRA, what the one in use is changed by besides is added: the move is from it without patches.
        """

        def towards(other: Model | Clip, strength: float) -> MergePatch | None:
            return MergePatch(other, (("", strength, 1.0 - strength),)) if strength else None

        return cls(towards(model, strength_model), towards(clip, strength_clip), made_by=made_by)

    def is_one_with(self, other: Hook) -> bool:
        """Whether both came from one node, by whichever ways and with whatever keyframes."""
        return self.made_by is not None and replace(self, keyframes=other.keyframes) == other


@dataclass(frozen=True, slots=True)
class Hooks:
    """Hooks that go together."""

    hooks: tuple[Hook, ...] = ()

    def joined(self, other: Hooks | None) -> Hooks:
        """These and others; of those that came from one node the first stays."""
        found = list(self.hooks)
        for hook in other.hooks if other else ():
            if not any(hook.is_one_with(known) for known in found):
                found.append(hook)
        return Hooks(tuple(found))


@dataclass(frozen=True, slots=True)
class TimestepsRange:
    """Fractions of the sampling range."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class MergePatch:
    """Another recipe of the same kind mixed in: a weight W becomes `W * own + other's W * strength`.

    `ratios` are (prefix, strength, own); of the prefixes that a weight's name begins with, the longest counts, and a
    weight that begins with none stays as it is.
    """

    other: Model | Clip
    ratios: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, slots=True)
class ScalePatch:
    """Weights and biases of the modules whose names end with a suffix, multiplied by its factor."""

    factors: tuple[tuple[str, float], ...]


Patch = LoraPatch | MergePatch | ScalePatch
"""What changes the weights of a network; patches are applied in their order."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model's predictions are read, and the noise levels it works on.

    `levels` are those of the 1,000 discrete timesteps of latent diffusion, or continuous ones between `sigma_min` and
    `sigma_max` (EDM, Karras et al. 2022, with `sigma_data`). `zero_snr` makes the last timestep pure noise (Lin et
    al. 2023, https://arxiv.org/abs/2305.08891). `original_timesteps`: how many timesteps a distilled model (LCM) knows.
    `latents`: how latents are brought to the model's scale, by its family's factor or as Playground 2.5 does.
    `scaled_edits`: whether a model that edits a picture is shown it at its family's scale, not as the VAE gives it.
    """

    prediction: Prediction = "eps"
    levels: Literal["discrete", "edm", "continuous_v"] = "discrete"
    zero_snr: bool = False
    original_timesteps: int | None = None
    sigma_min: float = 0.002
    sigma_max: float = 120.0
    sigma_data: float = 1.0
    latents: Literal["family", "playground_2_5"] = "family"
    scaled_edits: bool = False


@dataclass(frozen=True, slots=True)
class ModelOption:
    """Base of what changes how a model is run rather than its weights: FreeU, HyperTile, RescaleCFG and the like."""


@dataclass(frozen=True, slots=True)
class Model:
    """Recipe of a diffusion model: the tensors below `prefix` in `file`, what is patched into them, how it is run."""

    file: WeightsFile
    family: Family
    prefix: str
    patches: tuple[Patch, ...] = ()
    sampling: Sampling = Sampling()
    options: tuple[ModelOption, ...] = ()
    stored: Stored = "default"
    dtype: Precision | None = None
    """What it computes with; None leaves it to the device."""

    def patched(self, lora: Path | LoraModel, strength: float, blocks: tuple[tuple[str, float], ...] = ()) -> Model:
        """This model with one more LoRA, whose file is not read yet; strength 0 gives the model itself."""
        return self if strength == 0 else replace(self, patches=(*self.patches, LoraPatch.of(lora, strength, blocks)))

    def with_option(self, option: ModelOption) -> Model:
        """This model with one more option; a later one of a kind comes after the earlier."""
        return replace(self, options=(*self.options, option))


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """One text encoder: the tensors below `prefix` in `file`."""

    kind: EncoderKind
    file: WeightsFile
    prefix: str


@dataclass(frozen=True, slots=True)
class Clip:
    """Recipe of a family's text encoders, in the order in which their embeddings are joined.

    `last_layer` -1 takes the last layer's output, -2 the one before ("CLIP skip 2"); None what the family was trained
    with (-1 for SD 1.x, -2 for SD 2.x and SDXL). `hooks` change the encoders too: as if they had no keyframes, or
    `scheduled`, once for each strength. With `led_by_hooks` they also change the model where it follows these prompts.
    """

    encoders: tuple[TextEncoder, ...]
    family: Family
    patches: tuple[Patch, ...] = ()
    last_layer: int | None = None
    weighting: Weighting = "comfy"
    hooks: Hooks | None = None
    scheduled: bool = False
    led_by_hooks: bool = True

    def patched(self, lora: Path | LoraModel, strength: float) -> Clip:
        """These encoders with one more LoRA, whose file is not read yet; strength 0 gives the encoders themselves."""
        return self if strength == 0 else replace(self, patches=(*self.patches, LoraPatch.of(lora, strength)))


@dataclass(frozen=True, slots=True)
class Vae:
    """Recipe of an autoencoder: the tensors below `prefix` in `file`."""

    file: WeightsFile
    prefix: str


@dataclass(frozen=True, slots=True)
class UpscaleModel:
    """Recipe of a network that enlarges pictures, in a file of its own."""

    file: WeightsFile


@dataclass(frozen=True, slots=True)
class ControlNet:
    """Recipe of a network that steers a UNet with a picture: ControlNet, control-LoRA or T2I-Adapter.

    `union_type` chooses a control type of a union ControlNet by number; None leaves it to the network. `base` is the
    model whose weights a difference (diff ControlNet) is added to.
    """

    file: WeightsFile
    prefix: str = ""
    union_type: int | None = None
    base: Model | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Control:
    """A ControlNet in use: `hint` is pictures [B, H, W, C] in 0..1, of any size. It equals itself alone.

    It steers at `strength` between the fractions `start` and `end` of the sampling range. `vae` encodes the hint where
    the network wants latents. `mask` [B, H, W]: what an inpainting ControlNet is shown besides the hint.
    """

    net: ControlNet
    hint: Tensor
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    vae: Vae | None = None
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of the picture: in pixels, or in fractions of the picture's sides where `relative`."""

    width: float
    height: float
    x: float
    y: float
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Gligen:
    """Recipe of a GLIGEN network, which puts described things at places of the picture (Li et al. 2023)."""

    file: WeightsFile


@dataclass(frozen=True, slots=True, eq=False)
class GroundedBox:
    """A thing and its place: `feature` [1, C] is its text's pooled output before any projection."""

    feature: Tensor
    area: Area


@dataclass(frozen=True, slots=True, eq=False)
class Grounding:
    """The things that a GLIGEN network is to place. It equals itself alone."""

    net: Gligen
    boxes: tuple[GroundedBox, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """A mask [B, H, W] of any size, 1 where a cond counts; `to_bounds` also computes it only on the mask's box."""

    mask: Tensor
    strength: float = 1.0
    to_bounds: bool = False


@dataclass(frozen=True, slots=True)
class SizeHint:
    """What SDXL is told of a picture's size, in pixels; the refiner takes an aesthetic score instead of a target."""

    width: int = 1024
    height: int = 1024
    crop_w: int = 0
    crop_h: int = 0
    target_width: int = 1024
    target_height: int = 1024
    aesthetic_score: float | None = None


@dataclass(frozen=True, slots=True)
class Inpaint:
    """What models with more input channels are shown besides the noisy latent.

    `latent` [B, C, h, w] as the VAE gives it; `mask` [B, H, W] is 1 where the picture is to change (inpainting models),
    None where there is none (instruct-pix2pix).
    """

    latent: Tensor
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Cond:
    """One encoded prompt: `embedding` [1, T, C]; `pooled` [1, C]; and where, when and how strongly it counts.

    `start` and `end` are fractions of the sampling range in which it takes part. `default`: it fills what the other
    conds' masks and areas leave free. `hooks` change the model for this cond alone. `span`: the fractions, the end not
    included, for which a scheduled text encoder made this embedding. `control_embedding`: what ControlNets are told
    instead of it. A cond equals itself alone.
    """

    embedding: Tensor
    pooled: Tensor | None = None
    area: Area | None = None
    strength: float = 1.0
    region: Region | None = None
    start: float = 0.0
    end: float = 1.0
    size: SizeHint | None = None
    controls: tuple[Control, ...] = ()
    control_uncond: bool = False
    control_embedding: Tensor | None = None
    inpaint: Inpaint | None = None
    default: bool = False
    hooks: Hooks | None = None
    span: tuple[float, float] = (0.0, 1.0)
    grounding: Grounding | None = None


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What a model is conditioned on; the predictions of several conds are averaged."""

    conds: tuple[Cond, ...]

    def placed(self, area: Area, strength: float) -> Conditioning:
        """The same, counting only in an area; conds that have a mask too are computed on the area, not its box."""
        return Conditioning(
            tuple(
                replace(
                    cond,
                    area=area,
                    strength=strength,
                    region=None if cond.region is None else replace(cond.region, to_bounds=False),
                )
                for cond in self.conds
            )
        )

    def strengthened(self, strength: float) -> Conditioning:
        """The same, counting so strongly."""
        return Conditioning(tuple(replace(cond, strength=strength) for cond in self.conds))

    def timed(self, start: float, end: float) -> Conditioning:
        """The same, taking part only between two fractions of the sampling range."""
        return Conditioning(tuple(replace(cond, start=start, end=end) for cond in self.conds))
