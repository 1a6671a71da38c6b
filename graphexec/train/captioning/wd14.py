"""Tags by the WD14 taggers of SmilingWolf: an ONNX model and a table of its tags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort  # pyright: ignore[reportMissingTypeStubs]
from onnxruntime.capi import (  # pyright: ignore[reportMissingTypeStubs]
    onnxruntime_pybind11_state as errors,  # pyright: ignore[reportAttributeAccessIssue]
)
from PIL import Image

from graphexec.errors import ModelFileError
from graphexec.train.captioning.pictures import Picture
from graphexec.train.captioning.tags import TagRules, Tags, read_tags
from graphexec.train.captioning.weights import Weights

__all__ = ["REPOSITORY", "Wd14", "square"]

_ERRORS = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf, errors.NotImplemented)

REPOSITORY = "SmilingWolf/wd-v1-4-convnext-tagger-v2"


class Wd14:
    """A tagger. `device`: "auto", "cpu", "cuda" or "cuda:N"."""

    def __init__(self, weights: Weights, rules: TagRules, separator: str = ", ", device: str = "auto") -> None:
        folder = weights.find("model.onnx", "selected_tags.csv")
        self.tags = Tags(read_tags(folder / "selected_tags.csv"), rules)
        self.separator = separator
        self._session = _session(folder / "model.onnx", device)
        self._input = self._session.get_inputs()[0]
        _check(folder, self._input.shape, self._session.get_outputs()[0].shape, len(self.tags.tags))

    def captions(self, pictures: Sequence[Picture]) -> list[str]:
        """The tags of each picture."""
        pixels = np.stack([square(picture.image, self._input.shape[1]) for picture in pictures])
        return [self.separator.join(self.tags.chosen(row.tolist())) for row in self._confidences(pixels)]

    def _confidences(self, pixels: Any) -> Any:
        """How sure the model is of each tag [B,T], 0..1; a model made for one size of batch gets that size."""
        size = self._input.shape[0]
        if not isinstance(size, int):
            return self._run(pixels)
        spare = np.zeros((-len(pixels) % size, *pixels.shape[1:]), np.float32)
        batches = np.concatenate([pixels, spare]).reshape(-1, size, *pixels.shape[1:])
        return np.concatenate([self._run(batch) for batch in batches])[: len(pixels)]

    def _run(self, batch: Any) -> Any:
        return self._session.run(None, {self._input.name: batch})[0]


def square(image: Image.Image, size: int) -> Any:
    """A picture as the taggers were trained on them: [size,size,3] BGR in 0..255, padded with white to a square."""
    side = max(image.size)
    padded = Image.new("RGB", (side, side), "white")
    padded.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    method = Image.Resampling.BOX if side > size else Image.Resampling.LANCZOS
    return np.asarray(padded.resize((size, size), method), dtype=np.float32)[:, :, ::-1]


def _session(file: Path, device: str) -> Any:
    wanted = ("CUDAExecutionProvider", "ROCMExecutionProvider") if device != "cpu" else ()
    providers = [name for name in wanted if name in ort.get_available_providers()]
    if device.startswith("cuda") and not providers:
        raise ModelFileError("onnxruntime has no GPU here: install onnxruntime-gpu, or use --device cpu")
    number = {"device_id": device.partition(":")[2] or "0"}
    try:
        return ort.InferenceSession(
            str(file), providers=[*((name, number) for name in providers), "CPUExecutionProvider"]
        )
    except _ERRORS as error:
        raise ModelFileError(f"{file} cannot be read as an ONNX model: {error}") from error


def _check(folder: Path, pixels: Sequence[Any], confidences: Sequence[Any], tags: int) -> None:
    sides = list(pixels[1:])
    if len(pixels) != 4 or sides[2] != 3 or not isinstance(sides[0], int) or sides[0] != sides[1]:
        raise ModelFileError(f"{folder / 'model.onnx'} takes {list(pixels)}, not square pictures [B,H,W,3]")
    if len(confidences) != 2 or (isinstance(confidences[1], int) and confidences[1] != tags):
        raise ModelFileError(
            f"{folder}: the model gives {list(confidences)} confidences, and selected_tags.csv has {tags} tags; "
            "take both files from one repository"
        )
