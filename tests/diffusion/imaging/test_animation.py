# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import io
import json

import pytest
import torch
from PIL import Image

from graphexec.diffusion.imaging.animation import encode_animated_png, encode_animated_webp
from graphexec.diffusion.imaging.pixels import PictureError
from graphexec.graph.pictures import workflow_in_picture

FRAMES = torch.stack([torch.full((6, 8, 3), level) for level in (0.0, 0.5, 1.0)])
TEXTS = {"prompt": json.dumps({"1": {"class_type": "X", "inputs": {}}}), "workflow": "{}"}


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_frames_durations_and_the_workflow_come_back(kind: str) -> None:
    if kind == "PNG":
        data = encode_animated_png(FRAMES, 4.0, 4, TEXTS)
    else:
        data = encode_animated_webp(FRAMES, 4.0, True, 80, "default", TEXTS)
    with Image.open(io.BytesIO(data)) as file:
        assert (file.format, getattr(file, "n_frames", 1), file.size) == (kind, 3, (8, 6))
        file.seek(1)
        file.load()
        assert file.info["duration"] == 250
        assert file.convert("RGB").getpixel((0, 0)) == (127, 127, 127)
    prompt, extra = workflow_in_picture(data, "moving")
    assert json.loads(prompt) == json.loads(TEXTS["prompt"])
    assert extra == {"workflow": {}}


def test_webp_takes_no_picture_larger_than_its_format_does() -> None:
    assert encode_animated_webp(torch.zeros(1, 1, 16383, 3), 4.0, True, 80, "fastest", {})
    with pytest.raises(PictureError, match=r"up to 16383 pixels a side, these pictures are 16384 x 1; save a PNG"):
        encode_animated_webp(torch.zeros(1, 1, 16384, 3), 4.0, True, 80, "fastest", {})


def test_nan_is_no_frame() -> None:
    with pytest.raises(PictureError):
        encode_animated_png(FRAMES * torch.nan, 4.0, 4, {})
