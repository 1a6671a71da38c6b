"""The blocks of a UNet in the order in which values for them are listed.

Values by block are for input blocks, the middle and output blocks as the checkpoint numbers them: 25 for SD 1.x and
2.x, 19 for SDXL. sd-scripts lists 23 for SDXL: one for what stands before the blocks, three for the middle, one for
what comes after; where there are no such two, the first and the last block's count there. A UNet of fewer blocks has
fewer values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.types import Family
from graphexec.train.faults import TrainingError

__all__ = ["block_places", "physical_block"]


def physical_block(place: str, inputs: int) -> int:
    """The number of the block that a layer of a UNet with so many input blocks is in."""
    first = {"time_embed": 0, "input_blocks": 0, "middle_block": inputs, "output_blocks": inputs + 1, "out": 2 * inputs}
    return _numbered(place, first, ("input_blocks", "output_blocks"))


def block_places(unet: UNet, family: Family, values: Sequence[float], name: str) -> Callable[[str], int]:
    """Which of the values listed by block is a layer's; `TrainingError` if there are not as many as blocks."""
    inputs, outputs = len(unet.input_blocks), len(unet.output_blocks)
    whole = inputs + 1 + outputs
    lengths = {whole: physical_block, **({whole + 4: _as_sdxl} if family.startswith("sdxl") else {})}
    if len(values) not in lengths:
        wanted = " or ".join(map(str, lengths))
        raise TrainingError(
            f"{name} has {len(values)} values; this UNet has {inputs} input blocks, a middle and {outputs} output"
            f" blocks: give {wanted}"
        )
    index = lengths[len(values)]
    return lambda place: index(place, inputs)


def _as_sdxl(place: str, inputs: int) -> int:
    first = {
        "time_embed": 0, "input_blocks": 1, "middle_block": 1 + inputs, "output_blocks": 4 + inputs,
        "out": 4 + 2 * inputs,
    }  # fmt: skip
    return _numbered(place, first, ("input_blocks", "middle_block", "output_blocks"))


def _numbered(place: str, first: Mapping[str, int], counted: Sequence[str]) -> int:
    part, number, *_ = place.split(".")
    return first[part] + (int(number) if part in counted else 0)
