from __future__ import annotations

import pytest
from diffusion.tiny import SD15, unet_shapes
from hypothesis import given
from hypothesis import strategies as st

from graphexec.errors import ModelFileError
from graphexec.lora.blocks import LAYOUTS, PRESETS, block_factor, check_blocks, parse_blocks

NAMES = list(unet_shapes(SD15))
ATTENTION = [name for name in NAMES if "attn" in name]


@pytest.mark.parametrize("length", LAYOUTS)
def test_a_layout_has_a_block_for_each_value(length: int) -> None:
    assert len(LAYOUTS[length]) == len(set(LAYOUTS[length])) == length


@given(st.sampled_from(list(LAYOUTS)), st.data())
def test_each_value_is_for_its_block_and_the_rest_is_off(length: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.floats(-2, 2), min_size=length, max_size=length))
    weights = parse_blocks(",".join(map(str, values)))
    by_block = dict(zip(LAYOUTS[length], values, strict=True))
    assert weights.base == by_block.get("BASE", 1.0)
    for name in NAMES:
        part, number, _ = name.split(".", 2)
        block = next((b for b in (f"{part}.{number}", part) if b in by_block), None)
        numbered = part in ("input_blocks", "middle_block", "output_blocks")
        expected = by_block[block] if block else (0.0 if numbered else 1.0)
        assert block_factor(weights.blocks, name) == expected


def test_input_block_1_is_not_input_block_10() -> None:
    weights = parse_blocks(",".join(["1", *("1" if i == 1 else "0" for i in range(25))]))
    assert block_factor(weights.blocks, "input_blocks.1.0.in_layers.2.weight") == 1
    assert block_factor(weights.blocks, "input_blocks.10.0.in_layers.2.weight") == 0


def test_presets_are_vectors_of_17() -> None:
    for name in PRESETS:
        assert len(parse_blocks(name).values) == 17
        assert parse_blocks(f"SD-{name}") == parse_blocks(name)
    assert parse_blocks("X:" + PRESETS["MIDD"]) == parse_blocks("MIDD")


def test_letters_and_the_inverse() -> None:
    vector = ",".join(["A", "a", "B", "b"] + ["0"] * 8)
    assert parse_blocks(vector, 4.0, 1.0).values[:4] == (4.0, 2.0, 1.0, 0.5)
    assert parse_blocks(vector, 4.0, 1.0, inverse=True).values[:5] == (-3.0, -1.0, 0.0, 0.5, 1.0)
    assert parse_blocks(",".join("R" * 12), seed=3) == parse_blocks(",".join("R" * 12), seed=3)
    assert parse_blocks(",".join("U" * 12), seed=3) != parse_blocks(",".join("U" * 12), seed=4)


@pytest.mark.parametrize(
    "vector",
    ["", "1,2", ",".join("1" * 18), ",".join("x" * 12), ",".join(["nan"] * 12), ",".join(["-inf"] * 12), "%default=1"],
)
def test_what_is_no_vector_is_refused(vector: str) -> None:
    with pytest.raises(ModelFileError, match="block weight"):
        parse_blocks(vector)


def told(vector: str, family: str = "sd1", changed: list[str] = ATTENTION) -> str:
    return "; ".join(check_blocks(parse_blocks(vector).values, family, changed))


def test_values_for_blocks_that_the_lora_does_not_change_are_named() -> None:
    inert = (*(f"input_blocks.{i}" for i in (0, 3, 6, 9, 10, 11)), *(f"output_blocks.{i}" for i in (0, 1, 2)))
    assert told(",".join("1" * 26)) == (
        f"block weights that change nothing, since the LoRA has nothing there: {', '.join(inert)}"
    )
    assert not told("ALL")


def test_blocks_that_the_vector_leaves_out_are_named() -> None:
    convolutions = [
        *ATTENTION,
        "input_blocks.3.0.op.weight",
        "time_embed.0.weight",
        "input_blocks.10.0.in_layers.2.bias",
    ]
    assert told("ALL", changed=convolutions) == (
        "blocks that the LoRA changes but the block weights leave out, so that they get 0: input_blocks.3,"
        " input_blocks.10"
    )


@pytest.mark.parametrize("length", LAYOUTS)
def test_a_vector_for_another_family_is_told(length: int) -> None:
    vector = ",".join("1" * length)
    assert ("are for models of" in told(vector, "sdxl")) == (length not in (12, 20, 21))
    assert ("are for models of SDXL, this one is of the family sd2" in told(vector, "sd2")) == (length in (12, 20, 21))
