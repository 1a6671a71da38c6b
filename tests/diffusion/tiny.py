"""Small seeded checkpoints and LoRAs in the layouts of the Stable Diffusion families, at any width.

Names are laid out here from the description of the format, not by the code under test.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

Shape = tuple[int, ...]

UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.transformer.text_model.", "first_stage_model."


@dataclass(frozen=True)
class UNetSize:
    """One entry a level in `mult` and `attention`."""

    width: int = 32
    mult: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[bool, ...] = (True, True)
    context: int = 32
    depth: int = 1
    linear: bool = False
    channels: int = 4
    latent: int = 4
    vector: int | None = None


@dataclass(frozen=True)
class TextSize:
    """A text encoder of a checkpoint; `openclip` names and joins its weights as OpenCLIP does."""

    prefix: str
    width: int = 32
    openclip: bool = False


SIZES: Mapping[str, UNetSize] = {
    "sd1": UNetSize(),
    "sd2": UNetSize(context=64, linear=True),
    "sdxl": UNetSize(context=96, linear=True, depth=2, vector=6 * 256 + 64),
    "sdxl_refiner": UNetSize(context=64, linear=True, vector=5 * 256 + 64),
}
"""The smallest UNet of each family."""

TEXTS: Mapping[str, tuple[TextSize, ...]] = {
    "sd1": (TextSize(TEXT),),
    "sd2": (TextSize("cond_stage_model.model.", 64, openclip=True),),
    "sdxl": (
        TextSize("conditioner.embedders.0.transformer.text_model."),
        TextSize("conditioner.embedders.1.model.", 64, openclip=True),
    ),
    "sdxl_refiner": (TextSize("conditioner.embedders.0.model.", 64, openclip=True),),
}

SD15 = UNetSize(320, (1, 2, 4, 4), 2, (True, True, True, False), 768)


@dataclass(frozen=True)
class Weight:
    """A weight with its module's names in the file and in diffusers."""

    ldm: str
    diffusers: str
    shape: Shape
    bias: bool = True


def unet_weights(size: UNetSize) -> Iterator[Weight]:
    """All weights of a UNet."""
    width, emb, deepest = size.width, size.width * 4, size.width * size.mult[-1]
    yield Weight("time_embed.0", "time_embedding.linear_1", (emb, width))
    yield Weight("time_embed.2", "time_embedding.linear_2", (emb, emb))
    if size.vector is not None:
        yield Weight("label_emb.0.0", "add_embedding.linear_1", (emb, size.vector))
        yield Weight("label_emb.0.2", "add_embedding.linear_2", (emb, emb))
    skips: list[int] = []
    yield from _input_blocks(size, skips)
    yield from _res("middle_block.0", "mid_block.resnets.0", deepest, deepest, emb)
    yield from _attention("middle_block.1", "mid_block.attentions.0", deepest, size)
    yield from _res("middle_block.2", "mid_block.resnets.1", deepest, deepest, emb)
    yield from _output_blocks(size, skips)
    yield Weight("out.0", "conv_norm_out", (width * size.mult[0],))
    yield Weight("out.2", "conv_out", (size.latent, width * size.mult[0], 3, 3))


def _input_blocks(size: UNetSize, skips: list[int]) -> Iterator[Weight]:
    """Appends the channels after each block to `skips`."""
    here = size.width
    yield Weight("input_blocks.0.0", "conv_in", (here, size.channels, 3, 3))
    skips.append(here)
    for level, mult in enumerate(size.mult):
        for i in range(size.blocks):
            at, name, out = f"input_blocks.{len(skips)}", f"down_blocks.{level}", size.width * mult
            yield from _res(f"{at}.0", f"{name}.resnets.{i}", here, out, size.width * 4)
            here = out
            if size.attention[level]:
                yield from _attention(f"{at}.1", f"{name}.attentions.{i}", here, size)
            skips.append(here)
        if level < len(size.mult) - 1:
            conv = (here, here, 3, 3)
            yield Weight(f"input_blocks.{len(skips)}.0.op", f"down_blocks.{level}.downsamplers.0.conv", conv)
            skips.append(here)


def _output_blocks(size: UNetSize, skips: list[int]) -> Iterator[Weight]:
    """Takes the channels of the skip connections from `skips`."""
    here, block = skips[-1], 0
    for up, level in enumerate(reversed(range(len(size.mult)))):
        for i in range(size.blocks + 1):
            at, name, out = f"output_blocks.{block}", f"up_blocks.{up}", size.width * size.mult[level]
            yield from _res(f"{at}.0", f"{name}.resnets.{i}", here + skips.pop(), out, size.width * 4)
            here = out
            if size.attention[level]:
                yield from _attention(f"{at}.1", f"{name}.attentions.{i}", here, size)
            if level and i == size.blocks:
                conv = f"{at}.{2 if size.attention[level] else 1}.conv"
                yield Weight(conv, f"{name}.upsamplers.0.conv", (here, here, 3, 3))
            block += 1


def _res(ldm: str, diffusers: str, in_: int, out: int, emb: int) -> Iterator[Weight]:
    yield Weight(f"{ldm}.in_layers.0", f"{diffusers}.norm1", (in_,))
    yield Weight(f"{ldm}.in_layers.2", f"{diffusers}.conv1", (out, in_, 3, 3))
    yield Weight(f"{ldm}.emb_layers.1", f"{diffusers}.time_emb_proj", (out, emb))
    yield Weight(f"{ldm}.out_layers.0", f"{diffusers}.norm2", (out,))
    yield Weight(f"{ldm}.out_layers.3", f"{diffusers}.conv2", (out, out, 3, 3))
    if in_ != out:
        yield Weight(f"{ldm}.skip_connection", f"{diffusers}.conv_shortcut", (out, in_, 1, 1))


def _attention(ldm: str, diffusers: str, width: int, size: UNetSize) -> Iterator[Weight]:
    proj = (width, width) if size.linear else (width, width, 1, 1)
    yield Weight(f"{ldm}.norm", f"{diffusers}.norm", (width,))
    for name in ("proj_in", "proj_out"):
        yield Weight(f"{ldm}.{name}", f"{diffusers}.{name}", proj)
    for i in range(size.depth):
        inner = f"transformer_blocks.{i}"
        for name, context in (("attn1", width), ("attn2", size.context)):
            for part, in_ in (("to_q", width), ("to_k", context), ("to_v", context), ("to_out.0", width)):
                at = f"{inner}.{name}.{part}"
                yield Weight(f"{ldm}.{at}", f"{diffusers}.{at}", (width, in_), bias=part == "to_out.0")
        for part, shape in (("ff.net.0.proj", (8 * width, width)), ("ff.net.2", (width, 4 * width))):
            yield Weight(f"{ldm}.{inner}.{part}", f"{diffusers}.{inner}.{part}", shape)
        for norm in ("norm1", "norm2", "norm3"):
            yield Weight(f"{ldm}.{inner}.{norm}", f"{diffusers}.{inner}.{norm}", (width,))


def unet_shapes(size: UNetSize) -> dict[str, Shape]:
    """Names without prefix."""
    return dict(_named(unet_weights(size)))


def diffusers_unet(size: UNetSize) -> dict[str, str]:
    """From the name of each weight in diffusers to its name in latent diffusion."""
    pairs = [(w, leaf) for w in unet_weights(size) for leaf in ("weight", "bias") if leaf == "weight" or w.bias]
    return {f"{weight.diffusers}.{leaf}": f"{weight.ldm}.{leaf}" for weight, leaf in pairs}


def _named(weights: Iterator[Weight]) -> Iterator[tuple[str, Shape]]:
    for weight in weights:
        yield f"{weight.ldm}.weight", weight.shape
        if weight.bias:
            yield f"{weight.ldm}.bias", weight.shape[:1]


def text_weights(width: int = 32, layers: int = 2) -> Iterator[Weight]:
    """The linears and norms of a text encoder."""
    for i in range(layers):
        at = f"encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield Weight(f"{at}.self_attn.{name}", f"text_model.{at}.self_attn.{name}", (width, width))
        yield Weight(f"{at}.mlp.fc1", f"text_model.{at}.mlp.fc1", (4 * width, width))
        yield Weight(f"{at}.mlp.fc2", f"text_model.{at}.mlp.fc2", (width, 4 * width))
        for name in ("layer_norm1", "layer_norm2"):
            yield Weight(f"{at}.{name}", f"text_model.{at}.{name}", (width,))
    yield Weight("final_layer_norm", "text_model.final_layer_norm", (width,))


def text_shapes(width: int = 32, layers: int = 2) -> dict[str, Shape]:
    """Names without prefix."""
    tables = {"token": (49408, width), "position": (77, width)}
    embeddings = {f"embeddings.{name}_embedding.weight": shape for name, shape in tables.items()}
    return embeddings | dict(_named(text_weights(width, layers)))


def openclip_shapes(width: int = 64, layers: int = 2) -> dict[str, Shape]:
    """Names without prefix."""
    shapes: dict[str, Shape] = {"positional_embedding": (77, width), "token_embedding.weight": (49408, width)}
    for i in range(layers):
        at = f"transformer.resblocks.{i}"
        shapes |= {f"{at}.attn.in_proj_weight": (3 * width, width), f"{at}.attn.in_proj_bias": (3 * width,)}
        linears = {"attn.out_proj": (width, width), "mlp.c_fc": (4 * width, width), "mlp.c_proj": (width, 4 * width)}
        shapes |= dict(_named(Weight(f"{at}.{name}", "", shape) for name, shape in linears.items()))
        shapes |= dict(_named(Weight(f"{at}.{name}", "", (width,)) for name in ("ln_1", "ln_2")))
    shapes |= dict(_named(iter([Weight("ln_final", "", (width,))])))
    return shapes | {"text_projection": (width, width), "logit_scale": ()}


def vae_shapes(width: int = 32, mult: tuple[int, ...] = (1, 1, 1, 2), blocks: int = 1) -> dict[str, Shape]:
    """Names without prefix."""
    return dict(_named(_vae_weights(width, mult, blocks)))


def _vae_weights(width: int, mult: tuple[int, ...], blocks: int) -> Iterator[Weight]:
    widths = [width * m for m in mult]
    here, top = width, widths[-1]
    yield Weight("encoder.conv_in", "", (width, 3, 3, 3))
    for i, out in enumerate(widths):
        for j in range(blocks):
            yield from _vae_block(f"encoder.down.{i}.block.{j}", here, out)
            here = out
        if i < len(widths) - 1:
            yield Weight(f"encoder.down.{i}.downsample.conv", "", (here, here, 3, 3))
    yield from _vae_ends("encoder", top, top, 8)
    yield Weight("decoder.conv_in", "", (top, 4, 3, 3))
    here = top
    for i, out in reversed(list(enumerate(widths))):
        for j in range(blocks + 1):
            yield from _vae_block(f"decoder.up.{i}.block.{j}", here, out)
            here = out
        if i:
            yield Weight(f"decoder.up.{i}.upsample.conv", "", (here, here, 3, 3))
    yield from _vae_ends("decoder", top, here, 3)
    yield Weight("quant_conv", "", (8, 8, 1, 1))
    yield Weight("post_quant_conv", "", (4, 4, 1, 1))


def _vae_block(at: str, in_: int, out: int) -> Iterator[Weight]:
    yield Weight(f"{at}.norm1", "", (in_,))
    yield Weight(f"{at}.conv1", "", (out, in_, 3, 3))
    yield Weight(f"{at}.norm2", "", (out,))
    yield Weight(f"{at}.conv2", "", (out, out, 3, 3))
    if in_ != out:
        yield Weight(f"{at}.nin_shortcut", "", (out, in_, 1, 1))


def _vae_ends(side: str, middle: int, last: int, channels: int) -> Iterator[Weight]:
    for block in ("block_1", "block_2"):
        yield from _vae_block(f"{side}.mid.{block}", middle, middle)
    yield Weight(f"{side}.mid.attn_1.norm", "", (middle,))
    for name in ("q", "k", "v", "proj_out"):
        yield Weight(f"{side}.mid.attn_1.{name}", "", (middle, middle, 1, 1))
    yield Weight(f"{side}.norm_out", "", (last,))
    yield Weight(f"{side}.conv_out", "", (channels, last, 3, 3))


def random_weights(shapes: Mapping[str, Shape], seed: int, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """Weights that keep activations near unit size: ones for norms, 1 / sqrt(fan in) elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if len(shape) < 2:
            found[name] = torch.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=dtype)
        else:
            scale = 1.0 if "embedding" in name else math.prod(shape[1:]) ** -0.5
            found[name] = (torch.randn(shape, generator=generator) * scale).to(dtype)
    return found


def checkpoint_weights(
    seed: int = 0, size: UNetSize | None = None, layers: int = 2, family: str = "sd1"
) -> dict[str, Tensor]:
    """A whole checkpoint."""
    size = size or SIZES[family]
    parts = [(UNET, unet_shapes(size)), *_text_parts(family, size, layers), (VAE, vae_shapes())]
    return random_weights({prefix + name: shape for prefix, part in parts for name, shape in part.items()}, seed)


def _text_parts(family: str, size: UNetSize, layers: int) -> Iterator[tuple[str, dict[str, Shape]]]:
    for text in TEXTS[family]:
        width = size.context if family == "sd1" else text.width
        yield text.prefix, (openclip_shapes if text.openclip else text_shapes)(width, layers)


def write_checkpoint(
    path: Path, seed: int = 0, size: UNetSize | None = None, layers: int = 2, family: str = "sd1"
) -> Path:
    """Write a checkpoint of a few megabytes."""
    save_file(checkpoint_weights(seed, size, layers, family), path)
    return path


def lora_weights(
    seed: int = 0, rank: int = 4, size: UNetSize | None = None, layers: int = 2, *, only: str = "", ldm: bool = False
) -> dict[str, Tensor]:
    """A LoRA of all modules whose kohya name contains `only`, spelled as diffusers or (`ldm`) as the file does."""
    size = size or UNetSize()
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Tensor] = {}
    unet = ((f"lora_unet_{w.ldm if ldm else w.diffusers}", w) for w in unet_weights(size))
    text = ((f"lora_te_{w.diffusers}", w) for w in text_weights(size.context, layers))
    for dotted, weight in (*unet, *text):
        name = dotted.replace(".", "_")
        if len(weight.shape) < 2 or only not in name:
            continue
        out, in_, *kernel = weight.shape
        fan_in = math.prod((in_, *kernel))
        found[f"{name}.lora_up.weight"] = torch.randn(out, rank, *[1] * len(kernel), generator=generator) * 0.3
        found[f"{name}.lora_down.weight"] = torch.randn(rank, in_, *kernel, generator=generator) / fan_in**0.5
        found[f"{name}.alpha"] = torch.tensor(float(rank) / 2)
    return found


def write_lora(path: Path, seed: int = 0, rank: int = 4, *, only: str = "", size: UNetSize | None = None) -> Path:
    """Write a LoRA for a checkpoint of the same size."""
    save_file(lora_weights(seed, rank, size, only=only), path)
    return path
