"""Nodes that turn latents into pictures and back."""

from __future__ import annotations

from graphexec.diffusion.types import Image, Latent, Vae
from graphexec.node.decorator import node
from graphexec_nodes import facts
from graphexec_nodes.sockets import Runtime


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
