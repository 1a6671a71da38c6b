"""Nodes that turn latents into pictures and back."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from graphexec.diffusion.types import Conditioning, Image, Latent, Mask, Vae
from graphexec.node.decorator import node
from graphexec.node.fields import Range, Warn, Widget
from graphexec_nodes import facts, prompt_facts
from graphexec_nodes.sockets import Runtime

TileSize = Annotated[int, Range(ge=64, le=4096), Widget(step=32)]
EncodedTileSize = Annotated[int, Range(ge=64, le=4096), Widget(step=64)]
Overlap = Annotated[int, Range(ge=0, le=4096), Widget(step=32)]
Frames = Annotated[int, Range(ge=8, le=4096), Widget(step=4)]
SharedFrames = Annotated[int, Range(ge=4, le=4096), Widget(step=4)]


class Shown(NamedTuple):
    """Both sides of the guidance with what the model is shown, and latents to start from."""

    positive: Conditioning
    negative: Conditioning
    latent: Latent


@node("VAEDecode", category="latent", display_name="VAE Decode", infer=facts.of_decoded)
def decode_latent(samples: Latent, vae: Vae, runtime: Runtime, warn: Warn) -> Image:
    """Turn latents into pictures.

    Args:
        samples: the latents.
        vae: the VAE that they belong to.
    """
    from graphexec.diffusion.images import vae_decode

    return vae_decode(runtime, vae, samples, warn=warn)


@node("VAEEncode", category="latent", display_name="VAE Encode")
def encode_picture(pixels: Image, vae: Vae, runtime: Runtime, warn: Warn) -> Latent:
    """Turn pictures into latents.

    Args:
        pixels: the pictures; sides are cut to multiples of 8.
        vae: the VAE of the model that will denoise them.
    """
    from graphexec.diffusion.images import vae_encode

    return vae_encode(runtime, vae, pixels, warn=warn)


@node("VAEDecodeTiled", category="_for_testing", display_name="VAE Decode (Tiled)", infer=facts.of_decoded)
def decode_in_tiles(
    samples: Latent,
    vae: Vae,
    tile_size: TileSize = 512,
    overlap: Overlap = 64,
    temporal_size: Frames = 64,
    temporal_overlap: SharedFrames = 8,
    *,
    runtime: Runtime,
) -> Image:
    """Turn latents into pictures in overlapping tiles, which needs less memory.

    Args:
        samples: the latents.
        vae: the VAE that they belong to.
        tile_size: side of the tiles in pixels.
        overlap: what neighbours share, in pixels; at most a quarter of the side.
        temporal_size: for video models alone.
        temporal_overlap: for video models alone.
    """
    from graphexec.diffusion.images import Tiles, vae_decode

    return vae_decode(runtime, vae, samples, tiles=Tiles(tile_size, overlap))


@node("VAEEncodeTiled", category="_for_testing", display_name="VAE Encode (Tiled)")
def encode_in_tiles(
    pixels: Image,
    vae: Vae,
    tile_size: EncodedTileSize = 512,
    overlap: Overlap = 64,
    temporal_size: Frames = 64,
    temporal_overlap: SharedFrames = 8,
    *,
    runtime: Runtime,
) -> Latent:
    """Turn pictures into latents in overlapping tiles, which needs less memory.

    Args:
        pixels: the pictures; sides are cut to multiples of 8.
        vae: the VAE of the model that will denoise them.
        tile_size: side of the tiles in pixels.
        overlap: what neighbours share, in pixels; half of the side or more counts as a quarter.
        temporal_size: for video models alone.
        temporal_overlap: for video models alone.
    """
    from graphexec.diffusion.images import Tiles, vae_encode

    return vae_encode(runtime, vae, pixels, tiles=Tiles(tile_size, overlap))


@node("VAEEncodeForInpaint", category="latent/inpaint", display_name="VAE Encode (for Inpainting)")
def encode_for_inpainting(
    pixels: Image,
    vae: Vae,
    mask: Mask,
    grow_mask_by: Annotated[int, Range(ge=0, le=64), Widget(step=1)] = 6,
    *,
    runtime: Runtime,
    warn: Warn,
) -> Latent:
    """Turn pictures into latents whose masked part is grey and will be made anew.

    Args:
        pixels: the pictures; sides are cut to multiples of 8.
        vae: the VAE of the model that will denoise them.
        mask: 1 where the picture is to change.
        grow_mask_by: pixels around the mask that may change too, so that no seam shows.
    """
    from graphexec.diffusion.inpaint import encode_hidden

    return encode_hidden(runtime, vae, pixels, mask, grow_mask_by, warn=warn)


@node("InpaintModelConditioning", category="conditioning/inpaint", infer=prompt_facts.of_pairs)
def condition_inpainting(
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    pixels: Image,
    mask: Mask,
    noise_mask: bool = True,
    *,
    runtime: Runtime,
    warn: Warn,
) -> Shown:
    """Show an inpainting model the picture without what is to change.

    Args:
        positive: what the picture should show.
        negative: what it should not.
        vae: the VAE of the model.
        pixels: the pictures; sides are cut to multiples of 8.
        mask: 1 where the picture is to change.
        noise_mask: whether the rest is held fast while the picture is made.
    """
    from graphexec.diffusion.inpaint import condition_on, encode_around

    shown, latent = encode_around(runtime, vae, pixels, mask, noise_mask=noise_mask, warn=warn)
    return Shown(condition_on(positive, shown), condition_on(negative, shown), latent)


@node("InstructPixToPixConditioning", category="conditioning/instructpix2pix", infer=prompt_facts.of_pairs)
def condition_editing(
    positive: Conditioning, negative: Conditioning, vae: Vae, pixels: Image, *, runtime: Runtime, warn: Warn
) -> Shown:
    """Show a model of instruct-pix2pix the picture that it is to edit.

    Args:
        positive: the instruction.
        negative: what the picture should not show.
        vae: the VAE of the model.
        pixels: the pictures; sides are cut to multiples of 8.
    """
    from graphexec.diffusion.inpaint import condition_on, encode_to_edit

    shown, latent = encode_to_edit(runtime, vae, pixels, warn=warn)
    return Shown(condition_on(positive, shown), condition_on(negative, shown), latent)
