"""What LoRA modules mean, written down from their definitions in float64, and what ComfyUI 0.3.64 makes of them.

Only the kinds that ComfyUI gets wrong are here, on the axes and with the constraints on which it does.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Parts = Mapping[str, Tensor]
Formula = Callable[[Tensor, Parts, float], Tensor]
"""A weight, the parts of the LoRA module for it, and a strength, to the changed weight."""


@dataclass(frozen=True)
class Pair:
    """The right formula and ComfyUI's."""

    right: Formula
    comfys: Formula


def unchanged(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """What an error within ComfyUI leaves behind."""
    return weight


def low_rank(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """`W + strength * alpha / rank * up @ down`; without alpha, the factor is 1."""
    up, down = (parts[f"lora_{part}.weight"].flatten(1) for part in ("up", "down"))
    scale = float(parts["alpha"]) / len(down) if "alpha" in parts else 1.0
    return weight + strength * scale * (up @ down).reshape(weight.shape)


def dora(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """DoRA by rows (Liu et al. 2024, equation 5): the norm is that of the weight with the delta."""
    moved = low_rank(weight, parts, 1.0)
    return weight + strength * (_dora(moved, moved, parts) - weight)


def comfys_dora(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """The same, with the norm of the weight without the delta."""
    return weight + strength * (_dora(low_rank(weight, parts, 1.0), weight, parts) - weight)


def _dora(moved: Tensor, normed: Tensor, parts: Parts) -> Tensor:
    norm = normed.flatten(1).norm(dim=1).reshape(-1, *[1] * (moved.ndim - 1))
    return parts["dora_scale"].reshape(norm.shape) * moved / norm


def oft(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """LyCORIS' diag-OFT: the norm of Q at most alpha * out, the strength on rotation and `rescale`."""
    turned = _oft(weight, _rotations(parts, len(weight)), strength)
    if "rescale" in parts:
        turned = turned * (1 + strength * (parts["rescale"].reshape(-1, *[1] * (weight.ndim - 1)) - 1))
    return turned


def comfys_oft(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """The norm at most alpha, the strength twice, no `rescale`."""
    return _oft(weight, _rotations(parts, 1), strength**2)


def _oft(weight: Tensor, rotations: Tensor, strength: float) -> Tensor:
    partial = _toward(rotations, strength)
    blocks = weight.reshape(*rotations.shape[:2], -1)
    return torch.einsum("npq,npc->nqc", partial, blocks).reshape(weight.shape)


def boft(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """LyCORIS' BOFT: the norm of Q at most alpha * out, the strength on each stage."""
    return _boft(weight, _rotations(parts, len(weight)), strength)


def comfys_boft(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """The norm at most alpha, and the strength once more on the result."""
    return weight + strength * (_boft(weight, _rotations(parts, 1), strength) - weight)


def _boft(weight: Tensor, rotations: Tensor, strength: float) -> Tensor:
    rows = weight.flatten(1)
    for stage, rotation in enumerate(rotations):
        order = _butterfly(len(rows), 2**stage * rotation.shape[-1] // 2)
        mixed = rows[order].reshape(*rotation.shape[:2], -1)
        turned = torch.einsum("bij,bjc->bic", _toward(rotation, strength), mixed)
        rows = torch.empty_like(rows).index_copy_(0, order, turned.flatten(0, 1))
    return rows.reshape(weight.shape)


def _butterfly(count: int, apart: int) -> Tensor:
    """The order in which rows that lie `apart` apart are neighbours."""
    groups = range(0, count, 2 * apart)
    return torch.tensor([group + half * apart + row for group in groups for row in range(apart) for half in (0, 1)])


def _rotations(parts: Parts, out: int) -> Tensor:
    """Cayley: (I + Q)(I - Q)^-1 of Q = B - B^T."""
    blocks = parts["oft_blocks"]
    skewed = blocks - blocks.mT
    limit = float(parts["alpha"]) * out if "alpha" in parts else 0.0
    norm = float(skewed.norm())
    if 0 < limit < norm:
        skewed = skewed * limit / norm
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype)
    return (eye + skewed) @ torch.linalg.inv(eye - skewed)


def _toward(rotations: Tensor, strength: float) -> Tensor:
    """The point between no rotation and the whole."""
    eye = torch.eye(rotations.shape[-1], dtype=rotations.dtype)
    return strength * (rotations - eye) + eye


def lokr_tucker(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """LoKr whose second factor is a Tucker decomposition: kron(w1, t2 x w2_a x w2_b) * alpha / rank."""
    a, b, core = (parts[f"lokr_{part}"] for part in ("w2_a", "w2_b", "t2"))
    second = torch.einsum("ijhw,jr,ip->prhw", core, b, a)
    whole = torch.einsum("oi,prhw->opirhw", parts["lokr_w1"], second)
    return weight + strength * float(parts["alpha"]) / len(b) * whole.reshape(weight.shape)


def whole(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """A difference of a linear layer, on a 1x1 convolution."""
    return weight + strength * parts["diff"].reshape(weight.shape)


Q = "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
FF = "input_blocks.1.1.transformer_blocks.0.ff.net.0.proj.weight"
IN = "input_blocks.1.1.proj_in.weight"
CONV = "input_blocks.1.0.in_layers.2.weight"
TEXT = "encoder.layers.0.self_attn.q_proj.weight"
WRONG: Mapping[str, Mapping[str, Pair]] = {
    "ref_dora": dict.fromkeys((Q, CONV, TEXT), Pair(dora, comfys_dora)),
    "ref_oft": dict.fromkeys((Q, CONV, TEXT), Pair(oft, comfys_oft)),
    "ref_oft_noalpha": {Q: Pair(oft, comfys_oft)},
    "ref_boft": {**dict.fromkeys((Q, TEXT), Pair(boft, comfys_boft)), FF: Pair(boft, unchanged)},
    "ref_full_diff": {IN: Pair(whole, unchanged)},
    "ref_lokr": {CONV: Pair(lokr_tucker, unchanged)},
}
"""The weights that ComfyUI changes otherwise than it should, by file."""
