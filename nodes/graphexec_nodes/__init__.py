"""The built-in nodes: thin functions between workflows and the diffusion library."""

from graphexec.diffusion.codecs import CODECS
from graphexec_nodes import conditioning, image, latent, loaders, lora, primitives, sampling
from graphexec_nodes.sockets import RESOURCES

__all__ = ["CODECS", "RESOURCES", "conditioning", "image", "latent", "loaders", "lora", "primitives", "sampling"]
