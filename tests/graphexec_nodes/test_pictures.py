"""Nodes over pictures and masks give what ComfyUI gave, or what is right where it failed."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from parity.agreement import Agreement
from recorded import DATA, REGISTRY, Ran, Recording
from torch import Tensor

import graphexec

GROUPS = (
    "load_image", "load_image_jpg", "image_scale", "image_basic", "image_blend", "blur_sharpen", "morphology", "canny",
    "porter_duff", "composite_image", "mask_basic",
)  # fmt: skip

ROUNDING = {
    "ImageBatch", "ImageBlend", "ImageBlur", "ImageCompositeMasked", "ImageScale", "ImageSharpen", "JoinImageWithAlpha",
}  # fmt: skip
"""Nodes that resample, convolve or take roots, which processors round differently; all others are exact."""

ROUNDS = 1e-6
JPEG = 2 / 255
"""Decoders differ."""

SATURATED = ("load_image", "6:0")
"""16 bits of grey, which saturate in ComfyUI."""


def behind(workflow: dict[str, Any], node: str) -> Iterator[str]:
    """The classes of a node and of all that it is made from."""
    yield workflow[node]["class_type"]
    for value in workflow[node]["inputs"].values():
        if isinstance(value, list):
            yield from behind(workflow, value[0])


def tolerance(group: str, key: str) -> float:
    if group == "load_image_jpg":
        return JPEG
    return ROUNDS if ROUNDING & set(behind(Recording(group).file["workflow"], key.split(":", maxsplit=1)[0])) else 0.0


@functools.cache
def ran(group: str) -> Ran:
    return Recording(group).run()


CASES = [(group, key) for group in GROUPS for key in Recording(group).tensors if (group, key) != SATURATED]


@pytest.mark.parity
@pytest.mark.parametrize(("group", "key"), CASES)
def test_what_comfyui_gave(group: str, key: str, agrees: Agreement) -> None:
    ran(group).compare(key, agrees, tolerance(group, key))


@pytest.mark.parametrize("key", Recording("image_basic").others)
def test_sizes(key: str) -> None:
    ran("image_basic").compare_other(key)


def run(group: str, *nodes: str) -> list[Tensor]:
    """Other nodes of a recorded workflow."""
    folders = graphexec.Folders.from_roots(DATA)
    plan = graphexec.compile(Recording(group).file["workflow"], registry=REGISTRY, folders=folders, targets=nodes)
    result = graphexec.run(plan, graphexec.Context(settings={"device": "cpu"}))
    return [result.value(node) for node in nodes]


class TestWhereComfyUIFails:
    def test_negative_offsets_show_the_rest_of_the_source(self) -> None:
        below, above, inside, outside = run("composite_image", "1", "2", "8", "9")
        expected = below.clone()
        expected[:, :7, :11] = above[:, 5:, 5:]
        assert torch.equal(inside, expected)
        assert torch.equal(outside, below)

    def test_negative_offsets_with_a_mask(self) -> None:
        below, above, whole, masked = run("composite_image", "1", "2", "5", "15")
        assert torch.equal(masked[:, 16:], below[:, 16:])
        assert torch.equal(masked[:, :, 11:], below[:, :, 11:])
        low, high = (pick(below[:, 4:16, :11], above[:, :, 5:]) for pick in (torch.minimum, torch.maximum))
        assert ((masked[:, 4:16, :11] >= low - 1e-6) & (masked[:, 4:16, :11] <= high + 1e-6)).all()
        assert whole.shape == masked.shape

    def test_a_source_without_alpha_is_opaque(self) -> None:
        (composite,) = run("composite_image", "22")
        assert torch.allclose(composite[:, 2:, 2:, 3], torch.tensor(1.0))
        assert run("image_blend", "12")[0].shape == (1, 23, 37, 4)

    def test_the_alpha_of_a_picture_without_one(self) -> None:
        assert (run("mask_basic", "36")[0] == 1).all()

    def test_a_mask_beyond_the_picture_is_empty(self) -> None:
        assert run("mask_basic", "8")[0].shape == (1, 4, 0)

    def test_sixteen_bits_do_not_saturate(self) -> None:
        grey = run("load_image", "6")[0]
        assert grey.aminmax() == (torch.tensor(527 / 65535), torch.tensor(65291 / 65535))
