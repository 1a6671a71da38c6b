"""Nodes that make latents, and turn them into pictures and back."""

from __future__ import annotations

from graphexec.diffusion.types import Image, Latent, Vae
from graphexec.node.decorator import node
from graphexec.node.fields import BatchSize, Pixels
from graphexec_nodes import facts
from graphexec_nodes.sockets import Runtime


@node("EmptyLatentImage", category="latent", display_name="Empty Latent Image", infer=facts.of_empty_latent)
def make_empty_latent(width: Pixels = 512, height: Pixels = 512, batch_size: BatchSize = 1) -> Latent:
    """Make a batch of empty latents, to be denoised into pictures.

    Args:
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        batch_size: how many pictures at once.
    """
    from graphexec.diffusion.images import empty_latent

    return empty_latent(width, height, batch_size)


@node("VAEDecode", category="latent", display_name="VAE Decode", infer=facts.of_decoded)
def decode_latent(samples: Latent, vae: Vae, runtime: Runtime) -> Image:
    """Turn latents into pictures.

    Args:
        samples: the latents.
        vae: the VAE that they belong to.
    """
    from graphexec.diffusion.images import vae_decode

    return vae_decode(runtime, vae, samples)


@node("VAEEncode", category="latent", display_name="VAE Encode")
def encode_picture(pixels: Image, vae: Vae, runtime: Runtime) -> Latent:
    """Turn pictures into latents.

    Args:
        pixels: the pictures; sides are cut to multiples of 8.
        vae: the VAE of the model that will denoise them.
    """
    from graphexec.diffusion.images import vae_encode

    return vae_encode(runtime, vae, pixels)
