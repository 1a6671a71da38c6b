"""The names of tensors in LoRA files: which module a tensor belongs to, and which part of it it is.

Every trainer spells them otherwise; here they get one name each.
"""

from __future__ import annotations

import re

__all__ = ["split_name"]

HADAMARD = tuple(f"hada_w{i}_{side}" for i in "12" for side in "ab")
KRONECKER = tuple(f"lokr_w{i}{side}" for i in "12" for side in ("", "_a", "_b"))
SHARED = (*HADAMARD, *KRONECKER, "hada_t1", "hada_t2", "lokr_t2")
"""Parts that LyCORIS and PEFT write alike."""
PLAIN = (*SHARED, "alpha", "dora_scale", "diff", "diff_b", "w_norm", "b_norm", "set_weight")
ROTATIONS = ("oft_blocks", "oft_diag", "rescale", "on_input")

ENDINGS = {
    ".lora_up.weight": "up",
    ".lora_down.weight": "down",
    ".lora_mid.weight": "mid",
    "_lora.up.weight": "up",
    "_lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".weight": "ia3",
    **{f".{part}.weight": part for part in ("a1", "a2", "b1", "b2", "bm")},
    **{f".{part}": part for part in (*PLAIN, *ROTATIONS)},
}
"""The ends of tensor names of kohya's sd-scripts, LyCORIS and old diffusers."""

PEFT = {
    "lora_A": "down",
    "lora_B": "up",
    "lora_magnitude_vector": "magnitude",
    **{part: part for part in (*SHARED, "oft_R", "boft_R", "boft_s", "ia3_l")},
}
"""PEFT's parts, which the name of the adapter and `.weight` may follow."""

_ENDING = re.compile(f"(.+?)({'|'.join(map(re.escape, sorted(ENDINGS, key=len, reverse=True)))})$")
_PEFT = re.compile(rf"(.+?)\.({'|'.join(PEFT)})(?:\.(?!weight$|bias$)[^.]+)?(?:\.weight)?$")


def split_name(tensor: str) -> tuple[str, str] | None:
    """The module of a tensor and the part it is, None for a name of no known format."""
    if found := _PEFT.match(tensor):
        return found[1], PEFT[found[2]]
    if found := _ENDING.match(tensor):
        return found[1], ENDINGS[found[2]]
    return None
