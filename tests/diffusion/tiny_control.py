"""Small seeded ControlNets, control-LoRAs and T2I-Adapters, in the layouts of the files that people have.

Names are laid out here from the description of the formats, not by the code under test.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusion.tiny import Shape, UNetSize, diffusers_unet, random_weights, unet_shapes
from torch import Tensor

HINT = ((3, 16), (16, 16), (16, 32), (32, 32), (32, 96), (96, 96), (96, 256))
"""Channels of the first seven convolutions over the picture; the last leads to the UNet's width."""
ENCODER = ("input_blocks.", "middle_block.", "time_embed.", "label_emb.")
UNION_TYPES, UNION_EMBEDDING = 6, 32


def encoder_shapes(size: UNetSize, vector: int | None = None) -> dict[str, Shape]:
    """The half of a UNet that a ControlNet copies."""
    emb = 4 * size.width
    label = {} if vector is None else _linear("label_emb.0.0", emb, vector) | _linear("label_emb.0.2", emb, emb)
    return {name: shape for name, shape in unet_shapes(size).items() if name.startswith(ENCODER)} | label


def own_shapes(size: UNetSize) -> dict[str, Shape]:
    """What a ControlNet has besides its copy of the encoder."""
    hint = (*HINT, (256, size.width))
    found = {f"input_hint_block.{2 * i}.weight": (out, in_, 3, 3) for i, (in_, out) in enumerate(hint)}
    found |= {f"zero_convs.{i}.0.weight": (width, width, 1, 1) for i, width in enumerate(skip_widths(size))}
    deepest = size.width * size.mult[-1]
    found["middle_block_out.0.weight"] = (deepest, deepest, 1, 1)
    return found | {name.replace("weight", "bias"): shape[:1] for name, shape in found.items()}


def skip_widths(size: UNetSize) -> list[int]:
    """Channels after each input block."""
    widths = [size.width]
    for level, mult in enumerate(size.mult):
        down = level < len(size.mult) - 1
        widths += [size.width * mult] * (size.blocks + down)
    return widths


def controlnet_weights(size: UNetSize, seed: int = 5, vector: int | None = None) -> dict[str, Tensor]:
    """A ControlNet without prefix; its "zero" convolutions are not zero."""
    return random_weights(encoder_shapes(size, vector) | own_shapes(size), seed, torch.float32)


def diffusers_controlnet(weights: Mapping[str, Tensor], size: UNetSize) -> dict[str, Tensor]:
    """The same ControlNet as diffusers names it."""
    names = {ldm: diffusers for diffusers, ldm in diffusers_unet(size).items()}
    for leaf in ("weight", "bias"):
        names |= {f"zero_convs.{i}.0.{leaf}": f"controlnet_down_blocks.{i}.{leaf}" for i in range(20)}
        names |= {f"label_emb.0.{i}.{leaf}": f"add_embedding.linear_{1 + i // 2}.{leaf}" for i in (0, 2)}
        hint = ["conv_in", *(f"blocks.{i}" for i in range(6)), "conv_out"]
        names |= {
            f"input_hint_block.{2 * i}.{leaf}": f"controlnet_cond_embedding.{at}.{leaf}" for i, at in enumerate(hint)
        }
        names[f"middle_block_out.0.{leaf}"] = f"controlnet_mid_block.{leaf}"
    return {names.get(name, name): tensor for name, tensor in weights.items()}


def union_weights(size: UNetSize, seed: int = 6) -> dict[str, Tensor]:
    """What a union ControlNet has besides, as its files name it."""
    width, emb = size.width, 4 * size.width
    shapes: dict[str, Shape] = {
        "task_embedding": (UNION_TYPES, width),
        "transformer_layes.0.attn.in_proj_weight": (3 * width, width),
        "transformer_layes.0.attn.in_proj_bias": (3 * width,),
        **_linear("transformer_layes.0.attn.out_proj", width, width),
        **_linear("transformer_layes.0.mlp.c_fc", 4 * width, width),
        **_linear("transformer_layes.0.mlp.c_proj", width, 4 * width),
        **{f"transformer_layes.0.ln_{i}.{leaf}": (width,) for i in (1, 2) for leaf in ("weight", "bias")},
        **_linear("spatial_ch_projs", width, width),
        **_linear("control_add_embedding.linear_1", emb, UNION_TYPES * UNION_EMBEDDING),
        **_linear("control_add_embedding.linear_2", emb, emb),
    }
    return random_weights(shapes, seed, torch.float32)


def control_lora(size: UNetSize, rank: int = 4, seed: int = 7) -> dict[str, Tensor]:
    """Products for the matrices of a UNet's encoder, biases and norms of its own, and a ControlNet's own parts."""
    generator = torch.Generator().manual_seed(seed)
    found = {"lora_controlnet": torch.zeros(0), **random_weights(own_shapes(size), seed, torch.float32)}
    for name, shape in encoder_shapes(size).items():
        module = name.removesuffix(".weight")
        if len(shape) < 2:
            found[name] = torch.rand(shape, generator=generator)
            continue
        out, in_, *kernel = shape
        found[f"{module}.up"] = torch.randn(out, rank, *[1] * len(kernel), generator=generator) * 0.1
        found[f"{module}.down"] = torch.randn(rank, in_, *kernel, generator=generator) * 0.1
    return found


def applied(lora: Mapping[str, Tensor], unet: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The whole ControlNet that a control-LoRA makes of a UNet."""
    found = {name: tensor for name, tensor in lora.items() if name.endswith((".weight", ".bias"))}
    for name in lora:
        if name.endswith(".up"):
            module = name.removesuffix(".up")
            base, up, down = unet[f"{module}.weight"].float(), lora[name], lora[f"{module}.down"]
            found[f"{module}.weight"] = base + torch.tensordot(up.flatten(1), down, 1).reshape(base.shape)
    return found


def adapter_weights(width: int = 32, channels: int = 3, *, xl: bool = False, seed: int = 8) -> dict[str, Tensor]:
    """A full T2I-Adapter as TencentARC names it: two residual blocks a level."""
    widths = [width, 2 * width, 4 * width, 4 * width]
    shapes = _conv("conv_in", widths[0], channels * (256 if xl else 64), 3)
    for level, out in enumerate(widths):
        in_ = widths[max(level - 1, 0)]
        if in_ != out:
            shapes |= _conv(f"body.{2 * level}.in_conv", out, in_, 1)
        for i in (0, 1):
            shapes |= _conv(f"body.{2 * level + i}.block1", out, out, 3) | _conv(
                f"body.{2 * level + i}.block2", out, out, 1
            )
    return random_weights(shapes, seed, torch.float32)


def light_adapter_weights(width: int = 32, channels: int = 3, seed: int = 9) -> dict[str, Tensor]:
    """A light T2I-Adapter as TencentARC names it: four residual blocks a level, a quarter as wide."""
    widths, shapes, in_ = [width, 2 * width, 4 * width, 4 * width], dict[str, Shape](), channels * 64
    for level, out in enumerate(widths):
        shapes |= _conv(f"body.{level}.in_conv", out // 4, in_, 1) | _conv(f"body.{level}.out_conv", out, out // 4, 1)
        for i in range(4):
            for block in ("block1", "block2"):
                shapes |= _conv(f"body.{level}.body.{i}.{block}", out // 4, out // 4, 3)
        in_ = out
    return random_weights(shapes, seed, torch.float32)


def diffusers_adapter(weights: Mapping[str, Tensor], *, light: bool = False) -> dict[str, Tensor]:
    """The same T2I-Adapter as diffusers names it: levels, and residual blocks within them."""
    nested = _nested_light if light else _nested
    return {f"adapter.{nested(name)}": tensor for name, tensor in weights.items()}


def _nested(name: str) -> str:
    part, *rest = name.split(".")
    if part == "conv_in":
        return name
    level, i = divmod(int(rest[0]), 2)
    inner = ".".join(rest[1:])
    return f"body.{level}.{inner}" if rest[1] == "in_conv" else f"body.{level}.resnets.{i}.{inner}"


def _nested_light(name: str) -> str:
    return "body." + name.removeprefix("body.").replace("body", "resnets")


def prefixed(weights: Mapping[str, Tensor], prefix: str = "control_model.") -> dict[str, Tensor]:
    """The same below a prefix."""
    return {prefix + name: tensor for name, tensor in weights.items()}


def zeroed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A ControlNet before its training: what it hands out is zero."""
    ends = ("zero_convs.", "middle_block_out.")
    return {name: torch.zeros_like(t) if name.startswith(ends) else t for name, t in weights.items()}


def _linear(name: str, out: int, in_: int) -> dict[str, Shape]:
    return {f"{name}.weight": (out, in_), f"{name}.bias": (out,)}


def _conv(name: str, out: int, in_: int, side: int) -> dict[str, Shape]:
    return {f"{name}.weight": (out, in_, side, side), f"{name}.bias": (out,)}
