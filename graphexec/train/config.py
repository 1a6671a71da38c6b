"""What a training run is asked to do, as plain values. Nothing here imports torch.

Names are the field's; `graphexec.train.kohya` reads sd-scripts' names into these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from graphexec.diffusion.types import Precision

__all__ = [
    "Augment",
    "Buckets",
    "CaptionRules",
    "Dataset",
    "GivenNetwork",
    "Logging",
    "LoopConfig",
    "ModelSource",
    "Network",
    "NetworkKind",
    "Noise",
    "Objective",
    "Optimiser",
    "Samples",
    "Saving",
    "Schedule",
    "ScheduleKind",
    "Subset",
    "TrainConfig",
    "Validation",
]

NetworkKind = Literal["lora", "loha", "lokr"]
ScheduleKind = Literal[
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
    "cosine_with_min_lr",
]
TrainFamily = Literal["sd15", "sd2", "sdxl"]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The base model: a checkpoint, and how it is to be read."""

    path: Path
    family: TrainFamily | None = None
    """What the configuration says the base is; the file itself decides, and a contradiction is an error."""
    v_prediction: bool | None = None
    vae: Path | None = None
    clip_skip: int = 1
    """1: the last layer."""
    max_token_length: int = 75
    """75, 150 or 225: chunks of 75 tokens, one after another."""
    vae_precision: Precision | None = None

    def predicts_v(self, *, in_file: bool) -> bool:
        """Whether the base is taken to predict v, not noise: as the configuration says, else as its file does."""
        return in_file if self.v_prediction is None else self.v_prediction


@dataclass(frozen=True, slots=True)
class GivenNetwork:
    """A network in the words of the settings, for the file's metadata; it makes no difference to what is trained."""

    module: str
    alpha: float
    """Before `rs_lora` counts in."""
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Network:
    """The adapters that are trained. A `conv_rank` makes LoCon of LoRA; `decompose` makes DoRA."""

    kind: NetworkKind = "lora"
    rank: int = 4
    alpha: float = 1.0
    conv_rank: int | None = None
    conv_alpha: float | None = None
    ends: bool = False
    """Also what stands before and after the UNet's blocks: conv_in, the time embedding, conv_out."""
    decompose: bool = False
    lokr_factor: int = -1
    block_ranks: tuple[int, ...] | None = None
    block_alphas: tuple[float, ...] | None = None
    conv_block_ranks: tuple[int, ...] | None = None
    conv_block_alphas: tuple[float, ...] | None = None
    ranks_by_name: tuple[tuple[str, int], ...] = ()
    """(regular expression over kohya's module names, rank); the first that matches counts, 0 leaves it out."""
    dropout: float = 0.0
    rank_dropout: float = 0.0
    module_dropout: float = 0.0
    scale_weight_norms: float | None = None
    train_unet: bool = True
    train_text: bool = True
    weights: Path | None = None
    """A LoRA to go on from."""
    dim_from_weights: bool = False
    given: GivenNetwork | None = None


@dataclass(frozen=True, slots=True)
class CaptionRules:
    """How a caption is made from its file, in kohya's order."""

    extension: str = ".txt"
    separator: str = ","
    shuffle: bool = False
    keep_tokens: int = 0
    keep_tokens_separator: str = ""
    secondary_separator: str = ""
    wildcards: bool = False
    prefix: str = ""
    suffix: str = ""
    dropout_rate: float = 0.0
    dropout_every_n_epochs: int = 0
    tag_dropout_rate: float = 0.0
    token_warmup_min: int = 1
    token_warmup_step: float = 0.0


@dataclass(frozen=True, slots=True)
class Augment:
    """How a picture is changed at random each time it is used."""

    flip: bool = False
    color: bool = False
    random_crop: bool = False


@dataclass(frozen=True, slots=True)
class Subset:
    """One folder of pictures (or a metadata file that lists them)."""

    image_dir: Path | None
    repeats: int = 1
    class_tokens: str | None = None
    is_reg: bool = False
    metadata_file: Path | None = None
    captions: CaptionRules = field(default_factory=CaptionRules)
    augment: Augment = field(default_factory=Augment)
    alpha_mask: bool = False
    caption_dir: Path | None = None
    """Where caption files lie when not beside the pictures; a `captions/` folder inside is found by itself."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """The sizes, in pixels, that pictures of other shapes than the resolution are scaled and cropped to."""

    min_size: int = 256
    max_size: int = 1024
    step: int = 64
    no_upscale: bool = False


@dataclass(frozen=True, slots=True)
class Dataset:
    """Folders whose pictures share a resolution (width, height) and a batch size; no `buckets`: one size for all."""

    subsets: tuple[Subset, ...]
    resolution: tuple[int, int] = (512, 512)
    batch_size: int = 1
    buckets: Buckets | None = None
    skip_resolution: tuple[int, int] | None = None
    """Pictures whose area is not above this one's are left out."""
    validation_split: float = 0.0
    validation_seed: int | None = None


@dataclass(frozen=True, slots=True)
class Noise:
    """What the noise that the model learns to see through is made of."""

    offset: float = 0.0
    offset_random: bool = False
    adaptive_scale: float = 0.0
    multires_iterations: int = 0
    multires_discount: float = 0.3
    input_perturbation: float = 0.0
    zero_terminal_snr: bool = False
    min_timestep: int = 0
    max_timestep: int = 1000


@dataclass(frozen=True, slots=True)
class Objective:
    """How a prediction's error is measured and weighed."""

    loss: Literal["l2", "l1", "huber", "smooth_l1"] = "l2"
    huber_c: float = 0.1
    huber_schedule: Literal["snr", "exponential", "constant"] = "snr"
    huber_scale: float = 1.0
    min_snr_gamma: float | None = None
    debiased: bool = False
    scale_v_pred_like_noise: bool = False
    v_pred_like: float | None = None
    prior_loss_weight: float = 1.0
    masked: bool = False


@dataclass(frozen=True, slots=True)
class Optimiser:
    """What lowers the loss, and its learning rates."""

    kind: str = "AdamW"
    learning_rate: float = 1e-4
    unet_lr: float | None = None
    text_lrs: tuple[float, ...] = ()
    """None given: `learning_rate`; one: for every text encoder; two: SDXL's CLIP-L and CLIP-G."""
    arguments: Mapping[str, object] = field(default_factory=dict[str, object])
    max_grad_norm: float = 1.0
    loraplus_unet: float | None = None
    loraplus_text: float | None = None
    block_lr: tuple[float, ...] = ()
    """Factors of the UNet's learning rate by physical block: input 0-11, middle, output 0-11 (SDXL: 9, 1, 9)."""

    @property
    def is_relative(self) -> bool:
        """Whether this is Adafactor with steps of its own choosing, which is how sd-scripts takes it by default."""
        told = self.arguments
        return self.kind.lower() == "adafactor" and bool(told.get("relative_step", True) or told.get("warmup_init"))


@dataclass(frozen=True, slots=True)
class Schedule:
    """The course of the learning rate; a warm-up below 1 is a part of all steps."""

    kind: ScheduleKind = "constant"
    warmup: float = 0
    cycles: float = 1
    power: float = 1.0
    min_lr_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """How long a run is, what it computes in and on, and what it keeps so as to compute it once."""

    max_steps: int | None = None
    max_epochs: int | None = None
    seed: int | None = None
    accumulation: int = 1
    precision: Precision = "fp32"
    gradient_checkpointing: bool = False
    cache_latents: bool = False
    cache_latents_to_disk: bool = False
    cache_text: bool = False
    cache_text_to_disk: bool = False
    ema_decay: float | None = None
    """Highest decay; at step t it is min((1 + t) / (10 + t), decay)."""
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Saving:
    """Where the LoRA and the states go, how often, and what its metadata say."""

    output_dir: Path
    output_name: str = "last"
    precision: Precision = "fp16"
    every_n_epochs: int | None = None
    every_n_steps: int | None = None
    keep_last_epochs: int | None = None
    """How many of the files that are saved by epochs stay; None: all."""
    keep_last_steps: int | None = None
    """How many of the files that are saved by steps stay; None: all."""
    state: bool = True
    """Keep beside each checkpoint (and at an interruption) what `resume` needs."""
    state_at_end: bool = False
    """Keep it at the end, also one before its time, even without `state`."""
    resume: Path | None = None
    comment: str = ""
    title: str | None = None
    author: str | None = None
    description: str | None = None
    license: str | None = None
    tags: str | None = None
    no_metadata: bool = False

    @property
    def lora(self) -> Path:
        """The file of the end."""
        return self.output_dir / f"{self.output_name}.safetensors"


@dataclass(frozen=True, slots=True)
class Samples:
    """Pictures made on the way, by a workflow or kohya's prompt lines; 0 for steps or epochs is as good as None."""

    prompts: Path | None = None
    workflow: Path | None = None
    every_n_steps: int | None = None
    every_n_epochs: int | None = None
    at_first: bool = False
    sampler: str = "ddim"


@dataclass(frozen=True, slots=True)
class Validation:
    """How often the loss on held-out pictures is measured; None for epochs means after each, as in sd-scripts."""

    every_n_steps: int | None = None
    every_n_epochs: int | None = None
    max_steps: int | None = None


@dataclass(frozen=True, slots=True)
class Logging:
    """Where the logs go (None: beside the LoRA), JSON lines always, TensorBoard's files if `tensorboard` says so."""

    directory: Path | None = None
    prefix: str = ""
    tensorboard: bool = False


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """All that a run is asked to do."""

    model: ModelSource
    datasets: tuple[Dataset, ...]
    saving: Saving
    network: Network = field(default_factory=Network)
    noise: Noise = field(default_factory=Noise)
    objective: Objective = field(default_factory=Objective)
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    loop: LoopConfig = field(default_factory=LoopConfig)
    samples: Samples = field(default_factory=Samples)
    validation: Validation = field(default_factory=Validation)
    logging: Logging = field(default_factory=Logging)
