"""What the files of other libraries call a network's weights, and where in their tensors each weight lies.

The names of the networks here are those of latent diffusion for UNet and autoencoder, and Hugging Face's (without
`text_model.`) for text encoders. Files of diffusers and of OpenCLIP name, split and turn the same weights otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from graphexec.lora.header import Shape, Shapes

__all__ = [
    "SCALE",
    "THIRDS",
    "Part",
    "Parts",
    "named_shapes",
    "text_parts",
    "unet_parts",
    "vae_parts",
    "without_scales",
]

THIRDS = ("q_proj", "k_proj", "v_proj")
"""OpenCLIP keeps these three, in this order, as the rows of one tensor (as `torch.nn.MultiheadAttention` does)."""

SCALE = ".scale_weight"
"""Of a layer whose weight is stored in eight bits: what it is to be multiplied by, as ComfyUI writes it."""
SCALED = (SCALE, ".scale_input", "scaled_fp8")
"""How the names end of what comes with such weights; the scale of a layer's input is for sums in eight bits alone."""


@dataclass(frozen=True, slots=True)
class Part:
    """A weight as its file keeps it: a tensor, one third of its rows, or the tensor transposed."""

    name: str
    third: int | None = None
    transposed: bool = False

    def shape(self, whole: Shape) -> Shape:
        """The weight's shape, where `whole` is that of the file's tensor."""
        if self.third is not None and whole:
            return (whole[0] // 3, *whole[1:])
        return whole[::-1] if self.transposed else whole


Parts = Mapping[str, Part]
"""From each weight's name in the network to where it lies."""


def named_shapes(stored: Shapes, parts: Parts) -> dict[str, Shape]:
    """The shapes of a network's weights by its own names, from those of the tensors that they lie in."""
    return {name: part.shape(stored[part.name]) for name, part in parts.items()}


def without_scales(stored: Shapes) -> dict[str, Shape]:
    """The shapes of a file's weights, without those of the numbers that scale them."""
    return {name: shape for name, shape in stored.items() if not name.endswith(SCALED)}


def unet_parts(shapes: Shapes) -> Parts:
    """The weights of a UNet named as in latent diffusion or as in diffusers; names that are neither stay."""
    if "conv_in.weight" not in shapes:
        return _same(shapes)
    rename = partial(_unet_name, _Blocks.of(shapes))
    return _renamed(shapes, rename)


def vae_parts(shapes: Shapes) -> Parts:
    """The weights of an autoencoder named as in latent diffusion or as in diffusers; names that are neither stay."""
    ups = {int(match[1]) for name in shapes if (match := _UP_LEVEL.match(name))}
    if not ups:
        return _same(shapes)
    return _renamed(shapes, partial(_vae_name, max(ups)))


def text_parts(shapes: Shapes) -> Parts:
    """The weights of a text encoder named as in transformers or as in OpenCLIP; names that are neither stay."""
    if "token_embedding.weight" in shapes:
        return dict(_openclip(shapes))
    parts = {name.removeprefix("text_model."): Part(name) for name in shapes}
    if "text_projection" in shapes:
        del parts["text_projection"]
        parts["text_projection.weight"] = Part("text_projection", transposed=True)
    return parts


def _same(names: Iterable[str]) -> Parts:
    return {name: Part(name) for name in names}


def _renamed(names: Iterable[str], rename: Callable[[str], str | None]) -> Parts:
    """Names are cut into module and `weight` or `bias`, and the module's is replaced."""
    parts: dict[str, Part] = {}
    for name in names:
        module, dot, leaf = name.rpartition(".")
        parts[f"{rename(module) or module}{dot}{leaf}"] = Part(name)
    return parts


# UNets of diffusers

_WHOLE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_MIDDLE_LAYER = {("resnets", 0): 0, ("attentions", 0): 1, ("resnets", 1): 2}


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The number in latent diffusion of the first block of each level, and which levels have attention."""

    first: Mapping[tuple[str, int], int]
    resnets: Mapping[tuple[str, int], int]
    attention: frozenset[tuple[str, int]]

    @classmethod
    def of(cls, names: Iterable[str]) -> _Blocks:
        found: dict[str, dict[tuple[str, int], int]] = {}
        for name in names:
            if match := _UNET_BLOCK.match(name):
                levels = found.setdefault(match[3], {})
                level = (match[1], int(match[2]))
                levels[level] = max(levels.get(level, 0), int(match[4]) + 1)
        resnets = found.get("resnets", {})
        at, first = {"down": 1, "up": 0}, dict[tuple[str, int], int]()
        for side, level in sorted(resnets):
            first[side, level] = at[side]
            # Downsampling is a block of its own; upsampling belongs to the last block of its level.
            at[side] += resnets[side, level] + ((side, level) in found.get("downsamplers", {}))
        return cls(first, resnets, frozenset(found.get("attentions", {})))


def _unet_name(blocks: _Blocks, module: str) -> str | None:
    if match := _MIDDLE.fullmatch(module):
        kind, i, inner = match[1], int(match[2]), match[3]
        layer = _MIDDLE_LAYER.get((kind, i))
        return None if layer is None else f"middle_block.{layer}.{_RES.get(inner, inner)}"
    if match := _UNET_BLOCK.fullmatch(module):
        level = (match[1], int(match[2]))
        return _block_name(blocks, level, match[3], int(match[4]), match[5]) if level in blocks.first else None
    return _WHOLE.get(module)


def _block_name(blocks: _Blocks, level: tuple[str, int], kind: str, i: int, inner: str) -> str:
    first, resnets = blocks.first[level], blocks.resnets[level]
    side = "input_blocks" if level[0] == "down" else "output_blocks"
    match kind:
        case "resnets":
            return f"{side}.{first + i}.0.{_RES.get(inner, inner)}"
        case "attentions":
            return f"{side}.{first + i}.1.{inner}"
        case "downsamplers":
            return f"{side}.{first + resnets}.0.op"
        case _:
            return f"{side}.{first + resnets - 1}.{1 + (level in blocks.attention)}.conv"


# Autoencoders of diffusers

_UP_LEVEL = re.compile(r"decoder\.up_blocks\.(\d+)\.")
_VAE_BLOCK = re.compile(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)")
_VAE_MIDDLE = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_VAE_ATTENTION = {
    "group_norm": "norm",
    **{"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"},
    **{"query": "q", "key": "k", "value": "v", "proj_attn": "proj_out"},
}


def _vae_name(last_up: int, module: str) -> str | None:
    if match := _VAE_MIDDLE.fullmatch(module):
        part, kind, i, inner = match.groups()
        if kind == "resnets":
            return f"{part}.mid.block_{int(i) + 1}.{_vae_res(inner)}"
        return f"{part}.mid.attn_{int(i) + 1}.{_VAE_ATTENTION.get(inner, inner)}"
    if match := _VAE_BLOCK.fullmatch(module):
        part, side, level, kind, i, inner = match.groups()
        # diffusers numbers both sides as they are run through; latent diffusion from the finest level.
        at = f"{part}.{side}.{int(level) if side == 'down' else last_up - int(level)}"
        return f"{at}.block.{i}.{_vae_res(inner)}" if kind == "resnets" else f"{at}.{kind[:-2]}.{inner}"
    return module.replace("conv_norm_out", "norm_out") if module.endswith(".conv_norm_out") else None


def _vae_res(inner: str) -> str:
    return "nin_shortcut" if inner == "conv_shortcut" else inner


# OpenCLIP

_OPENCLIP = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_RESBLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)")
_LAYER = {
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
}
_IN_PROJ = re.compile(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")


def _openclip(names: Iterable[str]) -> Iterator[tuple[str, Part]]:
    for name in names:
        if match := _IN_PROJ.fullmatch(name):
            for third, projection in enumerate(THIRDS):
                yield f"encoder.layers.{match[1]}.self_attn.{projection}.{match[2]}", Part(name, third)
        elif name == "text_projection":
            # The bare parameter is multiplied from the right; a linear's weight is its transpose.
            yield "text_projection.weight", Part(name, transposed=True)
        else:
            yield _openclip_name(name), Part(name)


def _openclip_name(name: str) -> str:
    if match := _RESBLOCK.fullmatch(name):
        return f"encoder.layers.{match[1]}.{_LAYER.get(match[2], match[2])}.{match[3]}"
    return _OPENCLIP.get(name, name)
