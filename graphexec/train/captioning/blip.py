"""Captions in words by BLIP (Li et al. 2022, arXiv:2201.12086), through transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BlipForConditionalGeneration,
    LogitsProcessor,
    LogitsProcessorList,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from graphexec.diffusion.devices import pick_device
from graphexec.errors import ModelFileError
from graphexec.train.captioning.errors import CaptionError
from graphexec.train.captioning.pictures import Picture
from graphexec.train.captioning.weights import Weights
from graphexec.train.data.faults import listed

__all__ = ["REPOSITORY", "Blip", "Decoding", "Drawn"]

REPOSITORY = "Salesforce/blip-image-captioning-large"
PROMPT = "a picture of "
"""BLIP was trained to go on from these words; they are no part of the caption."""
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
TOP_K = 50
REPETITION_PENALTY = 1.1


@dataclass(frozen=True, slots=True)
class Decoding:
    """How words are chosen: nucleus sampling (Holtzman et al. 2020), or the best of `num_beams` beams.

    Lengths count tokens, those of the prompt too.
    """

    beam_search: bool = False
    num_beams: int = 1
    top_p: float = 0.9
    max_length: int = 75
    min_length: int = 5
    seed: int = 42


class Blip:
    """A captioner. What it samples for a picture depends on seed and name, not on the pictures around it.

    Raises `CaptionError` for lengths that the model cannot keep, `MissingDevice` for a device that is not here.
    """

    def __init__(self, weights: Weights, decoding: Decoding, device: str = "auto") -> None:
        folder = weights.find("config.json", "model.safetensors", "tokenizer.json|vocab.txt")
        self.decoding = decoding
        self.device = pick_device(device)
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            self.model: Any = _model(folder)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelFileError(f"{folder} does not hold a BLIP model as transformers saves it: {error}") from error
        self._check_lengths()
        self.model.eval().to(self.device)

    def _check_lengths(self) -> None:
        shortest, longest = self.decoding.min_length, self.decoding.max_length
        if shortest > longest:
            raise CaptionError(f"min_length {shortest} is above max_length {longest}")
        least, most = len(self.tokenizer(PROMPT)["input_ids"]), self.model.config.text_config.max_position_embeddings
        if not least <= longest <= most:
            raise CaptionError(
                f"max_length {longest}: it must be from {least} (the words that every caption goes on from take"
                f" {least - 1} tokens) to {most} for this model"
            )

    @torch.inference_mode()
    def captions(self, pictures: Sequence[Picture]) -> list[str]:
        """The caption of each picture."""
        size = self.model.config.vision_config.image_size
        pixels = torch.stack([_pixels(picture.image, size) for picture in pictures]).to(self.device)
        prompts = self.tokenizer([PROMPT] * len(pictures), return_tensors="pt").to(self.device)
        words = self.model.generate(pixels, prompts["input_ids"], prompts["attention_mask"], **self._options(pictures))
        texts = self.tokenizer.batch_decode(words, skip_special_tokens=True)
        return [text.removeprefix(PROMPT.strip()).strip() for text in texts]

    def _options(self, pictures: Sequence[Picture]) -> dict[str, Any]:
        wanted = self.decoding
        options: dict[str, Any] = {
            "max_length": wanted.max_length,
            "min_length": wanted.min_length,
            "do_sample": False,
            "num_beams": wanted.num_beams if wanted.beam_search else 1,
        }
        if wanted.beam_search:
            return options
        names = [picture.name for picture in pictures]
        processors = [TopKLogitsWarper(TOP_K), TopPLogitsWarper(wanted.top_p), Drawn(wanted.seed, names)]
        return options | {
            "repetition_penalty": REPETITION_PENALTY,
            "logits_processor": LogitsProcessorList(processors),
        }


def _model(folder: Path) -> Any:
    """Raises ValueError where transformers would go on with random numbers for weights that are missing."""
    found: Any = BlipForConditionalGeneration.from_pretrained(
        str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    model, about = found
    if missing := sorted(about["missing_keys"]):
        raise ValueError(f"model.safetensors lacks {listed(missing)}")
    return model


class Drawn(LogitsProcessor):
    """Makes the largest score a draw from the distribution, by Gumbel noise from one generator a picture."""

    def __init__(self, seed: int, names: Sequence[str]) -> None:
        self._generators = [_generator(seed, name) for name in names]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        drawn = [torch.rand(scores.shape[1], generator=each, dtype=torch.float64) for each in self._generators]
        noise = -torch.log(-torch.log(torch.stack(drawn).clamp_min(torch.finfo(torch.float64).tiny)))
        return scores + noise.to(scores)


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _pixels(image: Image.Image, size: int) -> Tensor:
    """[3,size,size], without regard to the proportions, as BLIP was trained."""
    resized = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32) / 255.0
    return torch.from_numpy((resized - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)).permute(2, 0, 1)
